//! Bytes from an interrupt to the main loop.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// A queue with one writer and one reader. `N` must be a power of two; one place stays empty.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    bytes: [AtomicU8; N],
    written: AtomicUsize,
    read: AtomicUsize,
    lost: AtomicU32,
}

impl<const N: usize> Ring<N> {
    /// An empty one.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two()) };
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            lost: AtomicU32::new(0),
        }
    }

    /// Adds a byte; one that has no place is counted and lost.
    pub fn push(&self, byte: u8) {
        let at = self.written.load(Ordering::Relaxed);
        let next = (at + 1) % N;
        if next == self.read.load(Ordering::Acquire) {
            self.count_lost(1);
            return;
        }
        self.bytes[at % N].store(byte, Ordering::Relaxed);
        self.written.store(next, Ordering::Release);
    }

    /// Bytes that the receiver says were lost before they came here. Only the writer calls this.
    pub fn count_lost(&self, more: u32) {
        self.lost.store(self.lost.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
    }

    /// Takes the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        let at = self.read.load(Ordering::Relaxed);
        if at == self.written.load(Ordering::Acquire) {
            return None;
        }
        let byte = self.bytes[at % N].load(Ordering::Relaxed);
        self.read.store((at + 1) % N, Ordering::Release);
        Some(byte)
    }

    /// Nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.read.load(Ordering::Relaxed) == self.written.load(Ordering::Acquire)
    }

    /// Bytes lost so far.
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_round_the_end_and_what_has_no_place_is_counted() {
        let ring: Ring<8> = Ring::new();
        for round in 0..5_u8 {
            (0..6).for_each(|i| ring.push(round * 6 + i));
            let out: Vec<u8> = std::iter::from_fn(|| ring.pop()).collect();
            assert_eq!(out, (0..6).map(|i| round * 6 + i).collect::<Vec<_>>());
        }
        (0..10).for_each(|i| ring.push(i));
        assert_eq!(ring.lost(), 3);
        assert_eq!(std::iter::from_fn(|| ring.pop()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
        assert!(ring.is_empty());
    }
}
