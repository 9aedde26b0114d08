//! RTT: bytes through memory, to and from a debug probe. One channel each way, found by the name `_SEGGER_RTT`.
//!
//! The layout is the one that probes look for: an identifier of 16 bytes, the numbers of channels up and down, and for each channel name,
//! buffer, size, two offsets and flags.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// Bytes of a channel: a frame, and then some.
const CHANNEL_BYTES: usize = 2048;
/// Looks at a full channel before what was to be said is given up: some tens of milliseconds. A probe that reads takes less.
const LOOKS: u32 = 200_000;

#[repr(C)]
struct Channel {
    name: AtomicPtr<u8>,
    buffer: AtomicPtr<u8>,
    size: AtomicU32,
    written: AtomicU32,
    read: AtomicU32,
    flags: AtomicU32,
}

impl Channel {
    const fn new() -> Self {
        Self {
            name: AtomicPtr::new(core::ptr::null_mut()),
            buffer: AtomicPtr::new(core::ptr::null_mut()),
            size: AtomicU32::new(0),
            written: AtomicU32::new(0),
            read: AtomicU32::new(0),
            flags: AtomicU32::new(0),
        }
    }
}

#[repr(C)]
struct Control {
    id: [AtomicU8; 16],
    up_count: AtomicU32,
    down_count: AtomicU32,
    up: Channel,
    down: Channel,
}

#[unsafe(export_name = "_SEGGER_RTT")]
static CONTROL: Control = Control {
    id: [const { AtomicU8::new(0) }; 16],
    up_count: AtomicU32::new(0),
    down_count: AtomicU32::new(0),
    up: Channel::new(),
    down: Channel::new(),
};

/// A channel's bytes. Both sides know by the offsets which of them are whose.
struct Bytes(UnsafeCell<[u8; CHANNEL_BYTES]>);

// SAFETY: this side touches a byte only while the offsets say that it is its own, and by volatile accesses.
unsafe impl Sync for Bytes {}

static UP: Bytes = Bytes(UnsafeCell::new([0; CHANNEL_BYTES]));
static DOWN: Bytes = Bytes(UnsafeCell::new([0; CHANNEL_BYTES]));

/// This side of both channels. There is one.
#[derive(Debug)]
pub struct Rtt {
    _one: (),
}

impl Rtt {
    /// Makes the control block; a probe finds it from then on. To be called once.
    pub fn start() -> Self {
        for (channel, bytes) in [(&CONTROL.up, &UP), (&CONTROL.down, &DOWN)] {
            channel.name.store(c"boardproof".as_ptr().cast_mut().cast(), Ordering::Relaxed);
            channel.buffer.store(bytes.0.get().cast(), Ordering::Relaxed);
            channel.size.store(CHANNEL_BYTES as u32, Ordering::Relaxed);
        }
        CONTROL.up_count.store(1, Ordering::Relaxed);
        CONTROL.down_count.store(1, Ordering::Relaxed);
        // Last, and from its end: a probe must not find half of a block, nor the identifier in flash.
        for (at, byte) in b"TTR REGGES".iter().enumerate() {
            CONTROL.id[9 - at].store(*byte, Ordering::Release);
        }
        Self { _one: () }
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        let at = CONTROL.down.read.load(Ordering::Relaxed) as usize;
        if at == CONTROL.down.written.load(Ordering::Acquire) as usize || at >= CHANNEL_BYTES {
            return None;
        }
        // SAFETY: inside of the buffer, and the probe writes no byte before it is told that it was read.
        let byte = unsafe { DOWN.0.get().cast::<u8>().add(at).read_volatile() };
        CONTROL.down.read.store(((at + 1) % CHANNEL_BYTES) as u32, Ordering::Release);
        Some(byte)
    }

    /// Sends bytes. Without a probe that reads they are given up after a while: the host asks again.
    pub fn send(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let at = CONTROL.up.written.load(Ordering::Relaxed) as usize % CHANNEL_BYTES;
            let next = (at + 1) % CHANNEL_BYTES;
            let mut looks = 0;
            while next == CONTROL.up.read.load(Ordering::Acquire) as usize {
                looks += 1;
                if looks == LOOKS {
                    return;
                }
            }
            // SAFETY: inside of the buffer, and the probe reads no byte before it is told that it was written.
            unsafe { UP.0.get().cast::<u8>().add(at).write_volatile(*byte) };
            CONTROL.up.written.store(next as u32, Ordering::Release);
        }
    }
}

/// Starts the line over RTT, where the firmware has one.
#[cfg(feature = "rtt")]
#[macro_export]
macro_rules! rtt_line {
    ($rtt:ident) => {
        let mut $rtt = {
            let frames = ::cortex_m::singleton!(: $crate::Frames = $crate::Frames::new());
            let Some(frames) = frames else { panic!() };
            let rtt = ::core::cell::RefCell::new($crate::cortex::rtt::Rtt::start());
            (rtt, $crate::Line::new(frames))
        };
    };
}

/// Starts the line over RTT, where the firmware has one.
#[cfg(not(feature = "rtt"))]
#[macro_export]
macro_rules! rtt_line {
    ($rtt:ident) => {
        let $rtt = ();
    };
}

/// Serves the line over RTT, where the firmware has one.
#[cfg(feature = "rtt")]
#[macro_export]
macro_rules! rtt_serve {
    ($rtt:ident, $agent:ident) => {
        let (channels, line) = &mut $rtt;
        line.serve(&mut || channels.borrow_mut().pop(), $agent, &mut |bytes| channels.borrow_mut().send(bytes));
    };
}

/// Serves the line over RTT, where the firmware has one.
#[cfg(not(feature = "rtt"))]
#[macro_export]
macro_rules! rtt_serve {
    ($rtt:ident, $agent:ident) => {
        let () = $rtt;
    };
}
