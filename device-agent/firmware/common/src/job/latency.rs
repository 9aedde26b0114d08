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
        let step = costs.iter().copied().filter(|cost| *cost > 0).min().unwrap_or(1);
        let (overhead, step) = (self.ns(median(&costs)), self.ns(step));
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

/// The middle one of an odd number of readings: as many are not above it as are not below. Without sorting, which costs 3 kB of flash.
fn median(readings: &[u64; READINGS]) -> u64 {
    let is_middle = |value: &u64| {
        let below = readings.iter().filter(|other| *other < value).count();
        let above = readings.iter().filter(|other| *other > value).count();
        below <= READINGS / 2 && above <= READINGS / 2
    };
    readings.iter().copied().find(is_middle).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_readings() {
        for seed in 1..50_u64 {
            let readings = core::array::from_fn(|i| ((i as u64 * 2_654_435_761 * seed) >> 7) % (seed + 3));
            let mut sorted = readings;
            sorted.sort_unstable();
            assert_eq!(median(&readings), sorted[READINGS / 2]);
        }
    }
}
