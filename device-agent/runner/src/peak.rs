//! What one core of this unit can do at most: multiply-accumulates in a second, on floats and on 8-bit integers, and bytes read out of main
//! memory. Short, and nothing of a model in it: the roof that an engine is held against.
//!
//! The highest rate that was seen is the answer: whatever else runs on the unit only ever takes some of it away.

mod kernels;
mod memory;

use crate::clock;
use crate::pass::{RunError, clip};
use crate::wire::Wire;
use boardproof_protocol::{Event, Key, SelfCheck, TextKey};
use kernels::{FLOATS, INTEGERS, Kernel};

/// How long one timing takes, about. Longer than what starting it costs, much shorter than a scheduler's slice, so that on a busy unit some lie
/// between two interruptions.
const TIMED_NS: u64 = 1_000_000;
/// Timings of each kernel, at least: a core that slept takes some to reach its frequency.
const TIMINGS_MIN: u32 = 8;
/// The time after which there are no more.
const ENOUGH_NS: u64 = 80_000_000;
/// The best rate is known when the two best lie this close to each other, as a part of a thousand.
const CLOSE_MILLI: u64 = 5;

/// Measures and reports all three, each by itself: one that cannot be had says why.
pub fn report(wire: &mut Wire) -> Result<(), RunError> {
    let mut used = Vec::new();
    for (key, kernels) in [(Key::PeakF32MacPerS, FLOATS), (Key::PeakI8MacPerS, INTEGERS)] {
        match fastest(kernels) {
            Some((name, value)) => {
                used.push(name);
                wire.send(&Event::Number { key, index: 0, value })?;
            }
            None => wire.send(&Event::Missing { key, reason: "the clock did not move while a kernel ran" })?,
        }
    }
    wire.send(&Event::Text { key: TextKey::CpuFeatures, index: 0, value: &used.join(" ") })?;
    match memory::read_rate() {
        Ok(memory::Rate { bytes_per_s: value, over }) => {
            wire.send(&Event::Number { key: Key::PeakReadBytesPerS, index: 0, value })?;
            wire.send(&Event::Text { key: TextKey::CpuFeatures, index: 1, value: &over })?;
        }
        Err(reason) => wire.send(&Event::Missing { key: Key::PeakReadBytesPerS, reason: clip(&reason) })?,
    }
    // Every inspection tells what was compared. Here it is nothing, and nobody asks.
    let detail = "this pass looked at the unit and at no model";
    wire.send(&Event::SelfCheck(SelfCheck {
        samples: 0,
        agree: false,
        max_abs: 0.0,
        sqnr_db: 0.0,
        operator: "",
        detail,
    }))
}

/// The kernel of this processor that did most, by name, and its multiply-accumulates in a second.
fn fastest(kernels: &[Kernel]) -> Option<(&'static str, u64)> {
    let usable = kernels.iter().filter(|kernel| (kernel.usable)());
    usable.filter_map(|kernel| Some((kernel.name, best_rate(kernel)?))).max_by_key(|(_, rate)| *rate)
}

fn best_rate(kernel: &Kernel) -> Option<u64> {
    let rounds = rounds_for(kernel);
    best_of(|_| rate(rounds * kernel.macs_per_round, time(kernel, rounds)))
}

/// The best of as many timings as it takes until another one came as near to it as makes no difference, or time is up. What else runs on the
/// unit only ever makes one slower, so two that agree at the top were both alone.
fn best_of(mut timing: impl FnMut(u32) -> Option<u64>) -> Option<u64> {
    let (mut best, mut second) = (None, None);
    let began = clock::now();
    for count in 1.. {
        let found = timing(count - 1);
        (best, second) = (best.max(found), second.max(best.min(found)));
        let is_known = best.zip(second).is_some_and(|(best, second)| (best - second) * 1000 <= best * CLOSE_MILLI);
        if (count >= TIMINGS_MIN && is_known) || clock::now() - began > ENOUGH_NS {
            break;
        }
    }
    best
}

/// As many rounds as take the time of one timing; the first ones wake the unit up.
fn rounds_for(kernel: &Kernel) -> u64 {
    let mut rounds = 1024;
    // The shorter of two: one that was interrupted would make do with too few.
    while time(kernel, rounds).min(time(kernel, rounds)) < TIMED_NS && rounds < u64::MAX / 2 {
        rounds *= 2;
    }
    rounds
}

fn time(kernel: &Kernel, rounds: u64) -> u64 {
    let start = clock::now();
    std::hint::black_box((kernel.run)(std::hint::black_box(rounds)));
    clock::now() - start
}

/// So many in a second.
fn rate(count: u64, ns: u64) -> Option<u64> {
    let per_s = u128::from(count) * u128::from(clock::TICK_HZ) / u128::from((ns > 0).then_some(ns)?);
    u64::try_from(per_s).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_that_this_processor_has_does_some_work() {
        for kernels in [FLOATS, INTEGERS] {
            let (name, rate) = fastest(kernels).expect("a kernel for every processor");
            eprintln!("{name}: {:.1} G multiply-accumulates in a second", rate as f64 / 1e9);
            assert!(rate > 1_000_000, "{name}: {rate}");
        }
    }

    /// A kernel that the compiler has taken apart would take no time at all for more rounds.
    #[test]
    fn twice_the_rounds_take_about_twice_the_time() {
        for kernel in FLOATS.iter().chain(INTEGERS).filter(|kernel| (kernel.usable)()) {
            let rounds = rounds_for(kernel);
            let least = |rounds| (0..8).map(|_| time(kernel, rounds)).min().expect("some");
            let (one, four) = (least(rounds), least(rounds * 4));
            assert!(four > 2 * one, "{}: {one} ns and {four} ns", kernel.name);
        }
    }

    #[test]
    fn the_best_of_some_timings_is_one_that_another_one_confirms() {
        // Interrupted, alone, interrupted: the ninth is as good as the third, and there is no tenth.
        let rates = [10, 20, 1000, 30, 40, 500, 60, 70, 999, 2000];
        let mut asked = 0;
        let found = best_of(|at| {
            asked += 1;
            Some(rates[at as usize])
        });
        assert_eq!((found, asked), (Some(1000), 9));
        // A clock that stands gives no rate and no end but the clock's.
        assert_eq!(best_of(|at| (at > 3).then_some(7)), Some(7));
    }

    #[test]
    fn a_rate_is_a_count_in_a_second() {
        assert_eq!(rate(3, 1_500_000_000), Some(2));
        assert_eq!(rate(u64::MAX, 1), None);
        assert_eq!(rate(1, 0), None);
    }
}
