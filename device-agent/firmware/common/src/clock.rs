//! A counter of some bits made one that never wraps.

/// Extends a counter that counts up and wraps. It must be asked at least once per turn of the counter.
#[derive(Debug, Clone, Copy)]
pub struct Extended {
    mask: u64,
    last: u64,
    turns: u64,
}

impl Extended {
    /// A counter of so many bits, at most 63, that now says `now`.
    pub const fn new(bits: u32, now: u32) -> Self {
        Self { mask: (1 << bits) - 1, last: now as u64 & ((1 << bits) - 1), turns: 0 }
    }

    /// Ticks since the counter was 0, given what it says now.
    pub fn at(&mut self, now: u32) -> u64 {
        let now = u64::from(now) & self.mask;
        if now < self.last {
            self.turns += self.mask + 1;
        }
        self.last = now;
        self.turns + now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted() {
        let mut clock = Extended::new(24, 0xff_ff00);
        assert_eq!(clock.at(0xff_ff80), 0xff_ff80);
        assert_eq!(clock.at(0x10), 0x100_0010);
        assert_eq!(clock.at(0x0f), 0x200_000f);
        let mut clock = Extended::new(32, 5);
        assert_eq!(clock.at(4), (1 << 32) + 4);
        assert_eq!(clock.at(u32::MAX), (1 << 32) + u64::from(u32::MAX));
    }
}
