//! The simulated device as a board at the far end of a wire: a receiver of some bytes, a rate, and a clock that is the wire's.

use super::{FarEnd, Turn};
use crate::link::bytes::{CODED_MAX, Pieces};
use boardproof_core::{Next, Session};
use boardproof_protocol::frame::{BYTE_FRAME_MAX, DecodeError, decode_request, encode_cobs};
use boardproof_sim::SimDevice;
use std::collections::VecDeque;
use std::time::Duration;

/// The simulated board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// Rate at which it starts, in bits per second.
    pub rate: u32,
    /// Bytes that its receiver keeps while it is busy; what comes then is lost.
    pub ring_bytes: usize,
    /// Time to take one byte out of the receiver.
    pub byte_time: Duration,
    /// Time to carry out one request.
    pub request_time: Duration,
    /// Time from a reset until it hears.
    pub boot_time: Duration,
    /// Once it has understood something at a new rate it stays there, whatever it hears.
    pub stubborn: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            rate: 115_200,
            ring_bytes: 8 * 1024,
            byte_time: Duration::ZERO,
            request_time: Duration::from_micros(200),
            boot_time: Duration::from_millis(300),
            stubborn: false,
        }
    }
}

/// A device that understands nothing at a new rate for so long goes back to the rate of its start.
const FALLBACK_NS: u64 = 2_000_000_000;

pub(super) struct SimBoard {
    device: SimDevice,
    session: Session,
    board: Board,
    rate: u32,
    /// When the device goes on at another rate, and at which.
    switch: Option<(u64, u32)>,
    ring: VecDeque<u8>,
    pieces: Pieces,
    /// Since when bytes come that make no frame.
    puzzled_since: Option<u64>,
    /// Something was understood at the rate in force.
    proved: bool,
    scratch: Vec<u8>,
    coded: Vec<u8>,
}

impl SimBoard {
    pub(super) fn new(device: SimDevice, board: Board) -> Self {
        Self {
            device,
            session: Session::default(),
            board,
            rate: board.rate,
            switch: None,
            ring: VecDeque::new(),
            pieces: Pieces::new(),
            puzzled_since: None,
            proved: false,
            scratch: vec![0; BYTE_FRAME_MAX],
            coded: vec![0; CODED_MAX],
        }
    }

    /// Carries out the next request, if there is a whole one.
    fn handle(&mut self, send: &mut dyn FnMut(&[u8])) -> Option<Turn> {
        let whole = |payload: &[u8]| !matches!(decode_request(payload), Err(DecodeError::Crc | DecodeError::Short));
        let payload = self.pieces.next(whole)?;
        (self.puzzled_since, self.proved) = (None, true);
        let coded = &mut self.coded;
        let take = &mut |answer: &[u8]| {
            let used = encode_cobs(answer, coded).expect("an answer is no longer than the scratch it was made in");
            send(&coded[..used]);
        };
        let next = self.session.handle(&mut self.device, &payload, &mut self.scratch, take);
        if next == Next::Close {
            self.session = Session::default();
        }
        Some(Turn { requests: 1, took: self.board.request_time })
    }
}

impl FarEnd for SimBoard {
    fn rate(&mut self, now: u64) -> u32 {
        if let Some((_, rate)) = self.switch.take_if(|(at, _)| *at <= now) {
            (self.rate, self.proved) = (rate, false);
            self.puzzled_since = None;
        }
        let since = *self.puzzled_since.get_or_insert(now);
        let stays = self.board.stubborn && self.proved;
        if self.rate != self.board.rate && !stays && now - since >= FALLBACK_NS {
            self.rate = self.board.rate;
            self.puzzled_since = None;
        }
        self.rate
    }

    fn receive(&mut self, byte: u8) -> bool {
        let has_place = self.ring.len() < self.board.ring_bytes;
        self.ring.extend(has_place.then_some(byte));
        has_place
    }

    fn is_due(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Takes what its receiver holds, up to the end of the next request.
    fn turn(&mut self, _now: u64, send: &mut dyn FnMut(&[u8])) -> Turn {
        while let Some(byte) = self.ring.pop_front() {
            self.pieces.arrived().push(byte);
            if byte == 0
                && let Some(turn) = self.handle(send)
            {
                return turn;
            }
            if self.board.byte_time > Duration::ZERO {
                return Turn { requests: 0, took: self.board.byte_time };
            }
        }
        // Rows without an end are dropped here, too.
        self.handle(send).unwrap_or_default()
    }

    fn done(&mut self, at: u64) {
        if let Some(rate) = self.device.take_rate() {
            self.switch = Some((at, rate));
        }
    }

    fn reset(&mut self) {
        self.device.reset();
        self.device.take_rate();
        self.session = Session::default();
        self.ring.clear();
        self.pieces.forget();
        (self.rate, self.switch, self.puzzled_since) = (self.board.rate, None, None);
    }
}
