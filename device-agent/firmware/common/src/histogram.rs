//! Ticks of inferences, counted in bins that widen with them: eight to the octave, so that a bin is at most an eighth wide.

/// Bins: 32 octaves of eight, and those below eight one by one.
pub const BINS: usize = 8 + 32 * 8;

/// The counts.
#[derive(Debug)]
pub struct Histogram {
    bins: [u16; BINS],
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Self {
        Self { bins: [0; BINS] }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bins.fill(0);
    }

    /// Counts.
    pub fn add(&mut self, ticks: u64) {
        let bin = &mut self.bins[bin(ticks)];
        *bin = bin.saturating_add(1);
    }

    /// The first bin from here on that has something: its number and its count.
    pub fn next(&self, from: usize) -> Option<(usize, u16)> {
        let rest = self.bins.iter().enumerate().skip(from);
        rest.filter(|(_, count)| **count > 0).map(|(i, count)| (i, *count)).next()
    }
}

/// Number of the bin. Below eight each number has its own; above, bin `8 * (octave + 1) + eighth` begins at `(8 + eighth) << octave`.
pub fn bin(ticks: u64) -> usize {
    if ticks < 8 {
        return ticks as usize;
    }
    let octave = 60 - ticks.leading_zeros() as usize;
    let eighth = (ticks >> octave) as usize & 7;
    (8 * (octave + 1) + eighth).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_begin_where_they_say_and_none_is_left_out() {
        let start = |bin: usize| if bin < 8 { bin as u64 } else { (8 + bin as u64 % 8) << (bin / 8 - 1) };
        for number in 0..BINS - 1 {
            assert_eq!(bin(start(number)), number);
            assert_eq!(bin(start(number + 1) - 1), number);
        }
        assert_eq!(bin(u64::MAX), BINS - 1);
        let mut counts = Histogram::new();
        [3, 1000, 1001].iter().for_each(|t| counts.add(*t));
        assert_eq!(counts.next(0), Some((3, 1)));
        assert_eq!(counts.next(4), Some((bin(1000), 2)));
        assert_eq!(counts.next(bin(1000) + 1), None);
    }
}
