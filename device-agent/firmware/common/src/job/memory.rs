//! The memory pass: what is taken of flash and RAM, part by part.

use super::{At, Halt, POISON, Step, Working};
use crate::Hardware;
use crate::engine::{Engine, Loaded};
use boardproof_protocol::{Ended, Key, Phase, Stage};

impl<H: Hardware, E: Engine> Working<'_, '_, '_, H, E> {
    /// A first inference, then as many as were asked for.
    pub(super) fn memory(&mut self, done: u32) -> Step {
        let order = self.job.order;
        if done > order.iterations {
            self.job.at = At::Sections;
            return Ok(());
        }
        let ticks = self.infer(u64::from(done) % order.count)?;
        if done == 0 {
            let ns = self.ns(ticks);
            self.number(Key::FirstInferenceNs, 0, ns)?;
            self.events.push(&boardproof_protocol::Event::Phase(Phase::Measuring))?;
        } else {
            self.progress(u64::from(done), u64::from(order.iterations))?;
        }
        self.job.at = At::Memory(done + 1);
        Ok(())
    }

    pub(super) fn sections(&mut self) -> Step {
        let Some(loaded) = &self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        let needed = loaded.arena_bytes();
        // The last poison was that of the second look in the inspect pass, of the only one else.
        let is_poison = |byte: &u8| POISON.contains(byte);
        if let Some(beyond) = self.arena.get(needed..).and_then(|rest| rest.iter().rposition(|byte| !is_poison(byte))) {
            let words: crate::Text<120> =
                crate::Text::of(format_args!("it wrote {} bytes beyond the {needed} of its arena", beyond + 1));
            return Err(self.cannot_run(Stage::Run, words.as_str()));
        }
        let sections = self.hardware.sections();
        let stack = u64::from(self.hardware.stack_peak());
        for (key, index, value) in [
            (Key::FlashBytes, 0, u64::from(sections.flash())),
            (Key::FlashBytes, 1, u64::from(sections.code)),
            (Key::FlashBytes, 2, u64::from(sections.constants)),
            (Key::FlashBytes, 3, u64::from(sections.initial)),
            (Key::StaticRamBytes, 0, u64::from(sections.static_ram)),
            (Key::ArenaPeakBytes, 0, needed as u64),
            (Key::ArenaBytes, 0, self.arena.len() as u64),
            (Key::StackPeakBytes, 0, stack),
            (Key::StackBytes, 0, u64::from(sections.stack)),
        ] {
            self.number(key, index, value)?;
        }
        self.job.at = At::Finish;
        Ok(())
    }
}
