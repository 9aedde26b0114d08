//! From the order to a model that can run.

use super::{At, Halt, POISON, Step, Working};
use crate::engine::{Engine, Loaded, Unfit};
use crate::{Hardware, Text};
use boardproof_protocol::{CannotRun, Ended, Event, Key, Pass, Phase, Stage, TextKey};

impl<H: Hardware, E: Engine> Working<'_, '_, '_, H, E> {
    pub(super) fn start(&mut self) -> Step {
        self.events.push(&Event::Phase(Phase::Started))?;
        self.events.push(&Event::Phase(Phase::Loading))?;
        self.events.push(&Event::Text { key: TextKey::Engine, index: 0, value: E::TITLE })?;
        self.job.at = At::Load;
        Ok(())
    }

    pub(super) fn load(&mut self) -> Step {
        self.hardware.paint_stack();
        self.arena.fill(POISON[0]);
        let before = self.hardware.now();
        let loaded = match self.engine.load(self.job.model, self.arena) {
            Ok(loaded) => loaded,
            Err(Unfit::Refused { stage, reason }) => return Err(self.cannot_run(stage, reason.as_str())),
            Err(Unfit::NoRoom { needed }) => return Err(self.no_room(needed)),
        };
        let took = self.hardware.now().saturating_sub(before);
        let needed = loaded.arena_bytes();
        let per_sample = loaded.sample_bytes() as u64;
        self.job.loaded = Some(loaded);
        self.fits(needed)?;
        self.has_samples(per_sample)?;
        let load_ns = self.ns(took);
        self.number(Key::LoadNs, 0, load_ns)?;
        self.number(Key::ModelBytes, 0, self.job.model.len() as u64)?;
        self.job.at = match self.job.order.pass {
            Pass::Inspect => At::Operator(0),
            Pass::Accuracy => At::Announce(0),
            Pass::Latency => At::Warm(0),
            Pass::Memory => At::Memory(0),
        };
        Ok(())
    }

    /// Does all fit into what a product of this kind has, and into what the host allows?
    fn fits(&mut self, arena: usize) -> Step {
        let (sections, budget) = (self.hardware.sections(), self.hardware.budget());
        let flash = u64::from(sections.flash()) + self.job.model.len() as u64;
        if flash > budget.flash {
            let (firmware, model) = (sections.flash(), self.job.model.len());
            let (needed, limit) = (flash, budget.flash);
            let words =
                format_args!("flash: {needed} bytes needed ({firmware} firmware + {model} model), {limit} available");
            return Err(self.out_of_memory(limit, &Text::of(words)));
        }
        let limit = match self.job.order.memory_limit_bytes {
            0 => budget.ram,
            asked => asked.min(budget.ram),
        };
        let fixed = sections.static_ram;
        let needed = arena as u64 + u64::from(fixed);
        if arena > self.arena.len() || needed > limit {
            return Err(self.no_room(arena));
        }
        Ok(())
    }

    /// The arena is too small for the model, or the RAM for the arena. 0 stands for a need that the engine does not tell.
    fn no_room(&mut self, arena: usize) -> Halt {
        let (fixed, stack) = (self.hardware.sections().static_ram, self.hardware.sections().stack);
        let limit = match self.job.order.memory_limit_bytes {
            0 => self.hardware.budget().ram,
            asked => asked.min(self.hardware.budget().ram),
        };
        let room = (self.arena.len() as u64).min(limit.saturating_sub(u64::from(fixed)));
        let words = match arena {
            0 => Text::of(format_args!("arena: the engine needs more than the {room} bytes that are available")),
            arena => Text::of(format_args!(
                "arena: {arena} bytes needed, {room} available (RAM {limit}, of it {fixed} static, {stack} for the stack)"
            )),
        };
        self.out_of_memory(limit, &words)
    }

    fn out_of_memory(&mut self, limit_bytes: u64, words: &Text<160>) -> Halt {
        let reason = words.as_str();
        let event = Event::CannotRun(CannotRun { stage: Stage::Prepare, operator: "", node: "", reason });
        match self.events.push(&event) {
            Ok(()) => Halt::Over(Ended::OutOfMemory { limit_bytes }),
            Err(full) => full.into(),
        }
    }

    /// Are the samples there that were asked for? If not, that is no fault of the model.
    fn has_samples(&mut self, per_sample: u64) -> Step {
        let order = &self.job.order;
        let (found, end) = (self.job.samples.len() as u64, order.first.checked_add(order.count));
        let wanted = end.and_then(|end| end.checked_mul(per_sample));
        if order.count > 0 && wanted.is_some_and(|wanted| wanted <= found) {
            return Ok(());
        }
        let (first, count) = (order.first, order.count);
        let words: Text<160> = Text::of(format_args!(
            "samples: {count} from {first} on, {per_sample} bytes each, were asked for; the evalset has {found} bytes"
        ));
        let _ = self.cannot_run(Stage::Evalset, words.as_str());
        Err(Halt::Over(Ended::NotStarted))
    }
}
