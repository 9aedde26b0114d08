//! The latency pass: what is timed, what is counted beside it, and whether the answers were those that were asked for.

use super::{Job, Step, Stop, number, read, reading};
use crate::clock;
use crate::counters::Counters;
use crate::freshness::{Asked, Freshness, compare};
use crate::memory::{self, Poisoned};
use crate::wire::Wire;
use boardproof_engines::Loaded;
use boardproof_protocol::{Event, Key, Phase, Stage, Stream};

impl Job<'_> {
    pub(super) fn latency(&self, wire: &mut Wire) -> Step<()> {
        let mut loaded = self.load(wire, self.run.batch.max(1) as usize)?;
        let batch = self.run.batch.max(1) as usize;
        self.first_inference(wire, loaded.as_mut(), batch)?;
        let cost = clock::cost();
        number(wire, Key::TimerOverheadNs, cost.overhead_ns)?;
        number(wire, Key::TimerStepNs, cost.step_ns)?;
        wire.send(&Event::Phase(Phase::Warming))?;
        let (first, count) = (self.run.first as usize, self.run.count as usize);
        let warming = clock::now();
        for i in 0..self.run.warmup as usize {
            self.prepare(loaded.as_mut(), first + i % count, batch)?;
            loaded.run()?;
        }
        number(wire, Key::WarmupWallNs, clock::now() - warming)?;
        wire.send(&Event::Phase(Phase::Measuring))?;
        let mut ticks = Vec::with_capacity(self.run.iterations as usize);
        let faults_before = memory::faults();
        let mut counters = Counters::open();
        let wall = clock::now();
        for i in 0..self.run.iterations as usize {
            // Inputs vary so that a cached answer cannot look fast; preparing them is outside of the window.
            self.prepare(loaded.as_mut(), first + i % count, batch)?;
            let start = clock::now();
            let done = loaded.run();
            ticks.push(clock::now() - start);
            done?;
            // Told between the windows, a hundred times in all.
            wire.progress(i as u64 + 1, u64::from(self.run.iterations))?;
            if self.options.is_enough(i as u64 + 1, clock::now() - wall) {
                break;
            }
        }
        number(wire, Key::MeasuredWallNs, clock::now() - wall)?;
        self.report_faults(wire, faults_before)?;
        if let Some(last) = ticks.len().checked_sub(1) {
            self.check_answers(loaded.as_mut(), first, first + last % count, batch)?;
        }
        self.count_instructions(wire, loaded.as_mut(), &mut counters)?;
        self.gpu_splits(wire, loaded.as_mut())?;
        let bytes: Vec<u8> = ticks.iter().flat_map(|t| t.to_le_bytes()).collect();
        wire.data(Stream::Ticks, &mut 0, &bytes)?;
        Ok(())
    }

    /// Compares the answers to `latest`, which are still in the model, with what comes when it is asked anew, with new memory that looks like no
    /// answer. Where all samples that are looked at are the same there is nothing to compare.
    fn check_answers(&self, loaded: &mut dyn Loaded, first: usize, latest: usize, batch: usize) -> Step<()> {
        let asked = self.samples.batch(latest, batch)?;
        let range = first..first + self.run.count as usize;
        let Some((at, other)) = self.samples.another(range, latest, &asked, batch)? else { return Ok(()) };
        let model = read(self.model)?;
        let load = || self.engine.load(&model, &self.load_options(batch));
        let asked = Asked { sample: latest, inputs: asked.views()? };
        let _poisoned = Poisoned::memory();
        match compare(loaded, &asked, &Asked { sample: at, inputs: other.views()? }, load)? {
            Freshness::Fresh => Ok(()),
            Freshness::Stale(reason) => Err(self.stale(&reason)),
        }
    }

    pub(super) fn stale(&self, reason: &str) -> Stop {
        let reason = format!("answers of {} do not follow their inputs: {reason}", self.engine.name());
        Stop::Refused { stage: Stage::Run, operator: String::new(), node: String::new(), reason }
    }

    fn report_faults(&self, wire: &mut Wire, before: Result<(u64, u64), String>) -> Step<()> {
        let after = memory::faults();
        let (minor, major) = match (before, after) {
            (Ok((a, b)), Ok((c, d))) => (Ok(c - a), Ok(d - b)),
            (Err(reason), _) | (_, Err(reason)) => (Err(reason.clone()), Err(reason)),
        };
        reading(wire, Key::MinorFaults, minor)?;
        reading(wire, Key::MajorFaults, major)?;
        Ok(())
    }

    /// Counts over inferences of their own: switching counters costs system calls that must not be in the timed windows.
    fn count_instructions(&self, wire: &mut Wire, loaded: &mut dyn Loaded, counters: &mut Counters) -> Step<()> {
        const INFERENCES: u64 = 20;
        counters.start();
        for _ in 0..INFERENCES {
            loaded.run()?;
        }
        let totals = counters.stop();
        reading(wire, Key::InstructionsMilli, totals.instructions.map(|n| n * 1000 / INFERENCES))?;
        reading(wire, Key::CyclesMilli, totals.cycles.map(|n| n * 1000 / INFERENCES))?;
        Ok(())
    }
}
