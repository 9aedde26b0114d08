//! A link in memory that treats frames badly, by the throw of a seeded dice. Time is virtual: nothing here ever waits.

use crate::{Dice, SimDevice};
use boardproof_core::Session;
use std::collections::VecDeque;

/// How often what happens to a frame, in frames of a thousand, in either direction.
#[derive(Debug, Clone, Copy, Default)]
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
}

/// A device behind a bad link.
pub struct SimLink {
    device: SimDevice,
    session: Session,
    plan: FaultPlan,
    dice: Dice,
    to_host: VecDeque<Vec<u8>>,
    /// Frames that went either way.
    pub frames: u64,
    /// Frames to which something happened.
    pub faults: u64,
}

impl SimLink {
    /// Connects to a device.
    pub fn new(device: SimDevice, plan: FaultPlan, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self { device, session: Session::default(), plan, dice, to_host: VecDeque::new(), frames: 0, faults: 0 }
    }

    /// A payload from the host; what arrives of it is answered at once.
    pub fn send(&mut self, payload: &[u8]) {
        for arrived in self.mistreat(payload) {
            if self.dice.hits(self.plan.reset) {
                self.faults += 1;
                self.device.reset();
                self.session = Session::default();
                continue;
            }
            let mut answers = Vec::new();
            let mut scratch = vec![0; 4096];
            self.session.handle(&mut self.device, &arrived, &mut scratch, &mut |answer| answers.push(answer.to_vec()));
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
    }

    /// The next payload for the host; `None` when there is none, however long one would wait.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.to_host.pop_front()
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
