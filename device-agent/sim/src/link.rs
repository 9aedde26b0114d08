//! A link in memory that treats frames badly, by the throw of a seeded dice. Time is virtual: nothing here ever waits, and what passes is
//! counted in frames that the host sends.

use crate::{Dice, SimDevice};
use boardproof_core::Session;
use boardproof_protocol::frame::STREAM_FRAME_MAX;
use std::collections::VecDeque;

/// How often what happens to a frame, in frames of a thousand, in either direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// It does not arrive.
    pub loss: u32,
    /// It arrives twice.
    pub repeat: u32,
    /// It arrives after the one behind it.
    pub reorder: u32,
    /// Its end is missing.
    pub truncate: u32,
    /// One bit of it is wrong.
    pub flip: u32,
    /// The device is reset when it arrives.
    pub reset: u32,
    /// The device stops when it arrives: nothing is answered until so many more frames were sent, then all that came meanwhile is.
    pub stall: u32,
}

/// Longest stall, in frames. Longer than any host asks the same question again, so that both ends of a stall are seen: the host that
/// is answered late, and the one that has given up and connects anew.
const STALL_FRAMES_MAX: u64 = 24;

/// A device behind a bad link.
pub struct SimLink {
    device: SimDevice,
    session: Session,
    plan: FaultPlan,
    dice: Dice,
    /// Arrived and not yet looked at: only a device that stalls leaves something here.
    to_device: VecDeque<Vec<u8>>,
    to_host: VecDeque<Vec<u8>>,
    /// Where answers are built.
    scratch: Vec<u8>,
    /// Frames that the device will still let pass without a look.
    stalled: u64,
    /// Frames that went either way.
    pub frames: u64,
    /// Frames to which something happened.
    pub faults: u64,
}

impl SimLink {
    /// Connects to a device.
    pub fn new(device: SimDevice, plan: FaultPlan, seed: u64) -> Self {
        Self {
            device,
            session: Session::default(),
            plan,
            dice: Dice::new(seed),
            to_device: VecDeque::new(),
            to_host: VecDeque::new(),
            scratch: vec![0; STREAM_FRAME_MAX],
            stalled: 0,
            frames: 0,
            faults: 0,
        }
    }

    /// A payload from the host; what arrives of it is answered at once, unless the device stalls.
    pub fn send(&mut self, payload: &[u8]) {
        let arrived = self.mistreat(payload);
        self.to_device.extend(arrived);
        if self.stalls() {
            return;
        }
        while let Some(payload) = self.to_device.pop_front() {
            self.arrive(&payload);
        }
    }

    /// The next payload for the host; `None` when there is none, however long one would wait.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.to_host.pop_front()
    }

    fn stalls(&mut self) -> bool {
        if self.stalled > 0 {
            self.stalled -= 1;
        } else if self.dice.hits(self.plan.stall) {
            self.faults += 1;
            self.stalled = 1 + self.dice.roll() % STALL_FRAMES_MAX;
        }
        self.stalled > 0
    }

    fn arrive(&mut self, payload: &[u8]) {
        if self.dice.hits(self.plan.reset) {
            self.faults += 1;
            self.device.reset();
            self.session = Session::default();
            return;
        }
        let mut answers = Vec::new();
        let take = &mut |answer: &[u8]| answers.push(answer.to_vec());
        self.session.handle(&mut self.device, payload, &mut self.scratch, take);
        for answer in answers {
            let arrived = self.mistreat(&answer);
            self.to_host.extend(arrived);
        }
        let waiting = self.to_host.len();
        if waiting >= 2 && self.dice.hits(self.plan.reorder) {
            self.faults += 1;
            self.to_host.swap(waiting - 1, waiting - 2);
        }
    }

    fn mistreat(&mut self, payload: &[u8]) -> Vec<Vec<u8>> {
        self.frames += 1;
        let plan = self.plan;
        let mut frame = payload.to_vec();
        if self.dice.hits(plan.loss) {
            self.faults += 1;
            return Vec::new();
        }
        if self.dice.hits(plan.truncate) {
            self.faults += 1;
            frame.truncate(self.dice.roll() as usize % frame.len().max(1));
        }
        if !frame.is_empty() && self.dice.hits(plan.flip) {
            self.faults += 1;
            let bit = self.dice.roll() as usize % (frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if self.dice.hits(plan.repeat) {
            self.faults += 1;
            return vec![frame.clone(), frame];
        }
        vec![frame]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_protocol::frame::{Header, encode_request};
    use boardproof_protocol::{HostHello, Request, SCHEMA, VERSION_CURRENT, VERSION_MIN};

    #[test]
    fn a_stalled_device_answers_nothing_and_then_everything() {
        let hello = HostHello {
            version_min: VERSION_MIN,
            version_max: VERSION_CURRENT,
            schema: SCHEMA,
            build: "test",
            frame_max: 4096,
        };
        for seed in 1..50 {
            let plan = FaultPlan { stall: 1000, ..FaultPlan::default() };
            let mut link = SimLink::new(SimDevice::new(1, 1 << 20), plan, seed);
            let mut sent = 0;
            while link.to_host.is_empty() {
                sent += 1;
                assert!(sent <= 1 + STALL_FRAMES_MAX, "seed {seed}: it never went on");
                let mut scratch = [0; 256];
                let header = Header { session: 1, seq: sent as u32 };
                link.send(encode_request(header, &Request::Hello(hello), &mut scratch).expect("it is short"));
            }
            assert!(sent > 1, "seed {seed}: it did not stall");
            assert_eq!(link.to_host.len() as u64, sent, "seed {seed}");
        }
    }
}
