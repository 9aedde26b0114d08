//! The inspect pass: the operators that run, and whether answers depend on what memory held before.

use super::{At, Halt, POISON, Step, Working};
use crate::Hardware;
use crate::engine::{Engine, Loaded};
use boardproof_protocol::{Ended, Event, Key, Operator, SelfCheck};

impl<H: Hardware, E: Engine> Working<'_, '_, '_, H, E> {
    pub(super) fn operator(&mut self, index: usize) -> Step {
        let Some(loaded) = &self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        let Some(facts) = loaded.operator(index) else {
            self.job.at = At::Check(0);
            return Ok(());
        };
        let (name, op, dtypes, kernel) = (facts.name, facts.op, facts.dtypes, facts.kernel);
        self.events.push(&Event::Operator(Operator { index: index as u32, name, op, dtypes, kernel }))?;
        self.job.at = At::Operator(index + 1);
        Ok(())
    }

    /// Every sample twice, in an arena that held something else before: no answer may depend on that.
    pub(super) fn check(&mut self, done: u64) -> Step {
        let (sample, look) = (done / 2, (done % 2) as usize);
        if sample == self.job.order.count {
            return self.told_check();
        }
        self.arena.fill(POISON[look]);
        let ticks = self.infer(sample)?;
        if done == 0 {
            let ns = self.ns(ticks);
            self.number(Key::FirstInferenceNs, 0, ns)?;
        }
        let Some(loaded) = &self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        let digest = digest(loaded, self.arena);
        match look {
            0 => self.job.answers = digest,
            _ => self.job.differ |= digest != self.job.answers,
        }
        if look == 1 {
            self.progress(sample + 1, self.job.order.count)?;
        }
        self.job.at = At::Check(done + 1);
        Ok(())
    }

    fn told_check(&mut self) -> Step {
        let agree = !self.job.differ;
        let check = SelfCheck {
            samples: u32::try_from(self.job.order.count).unwrap_or(u32::MAX),
            agree,
            max_abs: if agree { 0.0 } else { f64::INFINITY },
            sqnr_db: if agree { f64::INFINITY } else { f64::NEG_INFINITY },
            operator: "",
            detail: "each sample twice, the arena filled with 0x55 before the first time and with 0xaa before the second",
        };
        self.events.push(&Event::SelfCheck(check))?;
        self.job.at = At::Sections;
        Ok(())
    }
}

/// FNV-1a over all outputs.
fn digest(loaded: &impl Loaded, arena: &[u8]) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for index in 0..loaded.outputs() {
        for byte in arena.get(loaded.output(index).place).unwrap_or_default() {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    digest
}
