//! The latency pass: the ticks of every inference, as they are and in a histogram.

use super::{At, Step, Working};
use crate::Hardware;
use crate::engine::Engine;
use boardproof_protocol::{Event, Key, Phase, Stream, TextKey};

/// Readings of the clock that its cost is made of.
const READINGS: usize = 31;

impl<H: Hardware, E: Engine> Working<'_, '_, '_, H, E> {
    /// What reading the clock costs, as the median of some readings, and its smallest step that was seen.
    fn clock_facts(&mut self) -> Step {
        let mut costs = [0_u64; READINGS];
        self.hardware.undisturbed(&mut |now| {
            for cost in &mut costs {
                let before = now();
                *cost = now().saturating_sub(before);
            }
        });
        costs.sort_unstable();
        let step = costs.iter().copied().find(|cost| *cost > 0).unwrap_or(1);
        let (overhead, step) = (self.ns(costs[READINGS / 2]), self.ns(step));
        self.number(Key::TimerOverheadNs, 0, overhead)?;
        self.number(Key::TimerStepNs, 0, step)?;
        let clock = self.hardware.about().clock;
        self.events.push(&Event::Text { key: TextKey::ClockSource, index: 0, value: clock })?;
        Ok(())
    }

    pub(super) fn warm(&mut self, done: u32) -> Step {
        let order = self.job.order;
        if done == 0 {
            // By itself, and no part of the warm-up.
            let ticks = self.infer(0)?;
            let ns = self.ns(ticks);
            self.number(Key::FirstInferenceNs, 0, ns)?;
            self.clock_facts()?;
            self.events.push(&Event::Phase(Phase::Warming))?;
        }
        if done < order.warmup {
            self.infer(u64::from(done) % order.count)?;
            self.job.at = At::Warm(done + 1);
            return Ok(());
        }
        self.events.push(&Event::Phase(Phase::Measuring))?;
        self.job.histogram.clear();
        self.job.measuring = self.hardware.now();
        self.job.at = At::Measure(0);
        Ok(())
    }

    pub(super) fn measure(&mut self, done: u32) -> Step {
        let order = self.job.order;
        if done < order.iterations {
            // Samples go round, so that a cached answer cannot look fast; putting them into the arena is outside of the window.
            let ticks = self.infer(u64::from(done) % order.count)?;
            self.job.histogram.add(ticks);
            self.job.kept.take(Stream::Ticks, u64::from(done) * 8, &ticks.to_le_bytes(), self.events)?;
            self.progress(u64::from(done) + 1, u64::from(order.iterations))?;
            self.job.at = At::Measure(done + 1);
            return Ok(());
        }
        self.job.kept.flush(self.events)?;
        let took = self.hardware.now().saturating_sub(self.job.measuring);
        let ns = self.ns(took);
        self.number(Key::MeasuredWallNs, 0, ns)?;
        self.job.at = At::Bin(0);
        Ok(())
    }

    pub(super) fn bin(&mut self, from: usize) -> Step {
        match self.job.histogram.next(from) {
            Some((bin, count)) => {
                self.number(Key::TicksHistogram, bin as u16, u64::from(count))?;
                self.job.at = At::Bin(bin + 1);
            }
            None => self.job.at = At::Finish,
        }
        Ok(())
    }
}
