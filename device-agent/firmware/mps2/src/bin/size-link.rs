//! No agent: what protocol and link take of flash and RAM. The device behind them does nothing, in a way that no compiler sees.
#![no_std]
#![no_main]

use boardproof_core::{BlobState, Device, Lease, Refusal, Step};
use boardproof_firmware_common::cortex::{Board, Chip};
use boardproof_firmware_common::{Frames, Hardware, Line, Ring};
use boardproof_firmware_mps2::Mps2;
use boardproof_protocol::{Acquire, Begin, Chunk, DeviceHello, Digest, Event, Part, Run};
use core::hint::black_box;

type An386 = Mps2<386>;

static RECEIVER: Ring<4096> = Ring::new();

#[cortex_m_rt::exception]
unsafe fn DefaultHandler(number: i16) {
    if number == An386::RECEIVE_INTERRUPT {
        An386::receive(&mut |byte| RECEIVER.push(byte), &mut |lost| RECEIVER.count_lost(lost));
    }
}

/// Every answer that there is, from memory that nobody knows.
struct Opaque {
    hello: DeviceHello<'static>,
    refusal: Option<Refusal<'static>>,
    lease: Lease<'static>,
    step: Step<'static>,
    number: u64,
}

impl Opaque {
    fn answer<T>(&self, answer: T) -> Result<T, Refusal<'_>> {
        match black_box(&self.refusal) {
            Some(refusal) => Err(*refusal),
            None => Ok(answer),
        }
    }

    fn number<T>(&self, asked: T) -> Result<u64, Refusal<'_>> {
        black_box(asked);
        self.answer(*black_box(&self.number))
    }
}

impl Device for Opaque {
    fn hello(&mut self) -> DeviceHello<'_> {
        *black_box(&self.hello)
    }
    fn acquire(&mut self, wish: &Acquire<'_>) -> Result<Lease<'_>, Refusal<'_>> {
        black_box(wish);
        self.answer(*black_box(&self.lease))
    }
    fn release(&mut self, epoch: u64) -> Result<(), Refusal<'_>> {
        self.number(epoch).map(|_| ())
    }
    fn holds(&mut self, epoch: u64) -> bool {
        self.number(epoch).is_ok()
    }
    fn stat(&mut self, digest: Digest) -> Result<BlobState, Refusal<'_>> {
        self.number(digest).map(|received| BlobState { present: received > 9, received })
    }
    fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'_>> {
        self.number(begin)
    }
    fn chunk(&mut self, chunk: &Chunk<'_>) -> Result<u64, Refusal<'_>> {
        self.number(chunk)
    }
    fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'_>> {
        self.number(digest).map(|_| ())
    }
    fn run(&mut self, run: &Run<'_>) -> Result<(), Refusal<'_>> {
        self.number(run).map(|_| ())
    }
    fn environment(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        self.number(job).map(|_| ())
    }
    fn event(&mut self, job: u32, index: u32) -> Step<'_> {
        black_box((job, index));
        *black_box(&self.step)
    }
    fn acknowledged(&mut self, job: u32, below: u32) {
        black_box((job, below));
    }
    fn cancel(&mut self, job: u32) -> Result<(), Refusal<'_>> {
        self.number(job).map(|_| ())
    }
    fn clean(&mut self) -> Result<u64, Refusal<'_>> {
        self.number(())
    }
    fn reset_session(&mut self) {
        black_box(());
    }
    fn upload(&mut self, name: u32) -> Option<(u64, Digest)> {
        self.number(name).ok().map(|epoch| (epoch, Digest([epoch as u8; 32])))
    }
    fn part(&mut self, epoch: u64, digest: Digest, part: &Part<'_>) -> Result<u64, Refusal<'_>> {
        self.number((epoch, digest, part))
    }
    fn place(&mut self, digest: Digest) -> Result<u64, Refusal<'_>> {
        self.number(digest)
    }
    fn arrived(&mut self, digest: Digest, offset: u64) -> Result<u64, Refusal<'_>> {
        self.number((digest, offset))
    }
    fn baud(&mut self, rate: u32) -> Result<u32, Refusal<'_>> {
        self.number(rate).map(|rate| rate as u32)
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut board = Board::<An386>::start(|| RECEIVER.lost());
    let Some(frames) = cortex_m::singleton!(: Frames = Frames::new()) else { panic!() };
    let hello = DeviceHello {
        version: 0,
        schema: 0,
        build: "",
        architecture: "",
        system: "",
        identity: "",
        tick_hz: 0,
        memory_bytes: 0,
        store_free_bytes: 0,
        engines: "",
        frame_max: 0,
        chunk_window: 0,
        boot: 0,
    };
    let lease = Lease::Leased { epoch: 0, ttl_ms: 0 };
    let step = Step::Event(Event::Progress { done: 0, total: 0 });
    let mut device = black_box(Opaque { hello, refusal: None, lease, step, number: 0 });
    let mut line = Line::new(frames);
    loop {
        while let Some(byte) = RECEIVER.pop() {
            black_box(line.push(byte, &mut device, &mut |bytes| An386::send(bytes)));
        }
        core::hint::black_box(board.now());
        board.wait(|| RECEIVER.is_empty());
    }
}
