//! The measuring clock: CLOCK_MONOTONIC_RAW, which no time daemon slews.

use rustix::time::{ClockId, clock_gettime};

/// Ticks per second of [`now`].
pub const TICK_HZ: u64 = 1_000_000_000;

/// Nanoseconds since some point before boot.
#[inline(always)]
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::MonotonicRaw);
    t.tv_sec as u64 * TICK_HZ + t.tv_nsec as u64
}

/// What reading the clock costs and how finely it steps, both in nanoseconds.
pub struct Cost {
    /// Median time between two readings in a row.
    pub overhead_ns: u64,
    /// Smallest step above 0 that was seen; 0 when the clock never moved.
    pub step_ns: u64,
}

/// Measures the clock on itself.
pub fn cost() -> Cost {
    let mut gaps: Vec<u64> = (0..1001).map(|_| now().abs_diff(now())).collect();
    gaps.sort_unstable();
    Cost { overhead_ns: gaps[gaps.len() / 2], step_ns: gaps.iter().copied().find(|g| *g > 0).unwrap_or(0) }
}
