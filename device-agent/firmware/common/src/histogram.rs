//! Ticks of inferences, counted in the bins of the protocol.

use boardproof_protocol::{TICKS_BINS, ticks_bin};

/// The counts.
#[derive(Debug)]
pub struct Histogram {
    bins: [u16; TICKS_BINS],
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Self {
        Self { bins: [0; TICKS_BINS] }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bins.fill(0);
    }

    /// Counts.
    pub fn add(&mut self, ticks: u64) {
        let bin = &mut self.bins[ticks_bin(ticks)];
        *bin = bin.saturating_add(1);
    }

    /// The first bin from here on that has something: its number and its count.
    pub fn next(&self, from: usize) -> Option<(usize, u16)> {
        let rest = self.bins.iter().enumerate().skip(from);
        rest.filter(|(_, count)| **count > 0).map(|(i, count)| (i, *count)).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_bin_by_bin_and_stop_at_what_fits() {
        let mut counts = Histogram::new();
        [3, 1000, 1001].iter().for_each(|t| counts.add(*t));
        assert_eq!(counts.next(0), Some((3, 1)));
        assert_eq!(counts.next(4), Some((ticks_bin(1000), 2)));
        assert_eq!(counts.next(ticks_bin(1000) + 1), None);
        (0..70_000).for_each(|_| counts.add(3));
        assert_eq!(counts.next(0), Some((3, u16::MAX)));
    }
}
