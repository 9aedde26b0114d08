//! Memory of this process: resident set as the kernel counts it, heap as the allocator is asked for it, and new memory that looks like no
//! answer where answers are to be checked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

/// What the allocator does besides allocating: one load tells it, because that is in every timed inference.
static BESIDES: AtomicU8 = AtomicU8::new(0);
const COUNTS: u8 = 1;
const POISONS: u8 = 2;
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// A huge number in every float and above half of the range in every integer, and finite in all of them: what an engine reads and multiplies by
/// zero, or forgets, changes nothing, and what it leaves for an answer is far from any.
const POISON: u8 = 0x7b;

/// The system allocator, which counts while [`start_counting`] is in force and poisons while a [`Poisoned`] lives.
pub struct Counting;

/// New memory is full of what no answer is while this lives, so that an answer that nobody writes is none of before. Takes time: nothing may be
/// timed meanwhile.
#[must_use]
pub struct Poisoned;

impl Poisoned {
    /// From now on.
    pub fn memory() -> Self {
        BESIDES.fetch_or(POISONS, Relaxed);
        Self
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        BESIDES.fetch_and(!POISONS, Relaxed);
    }
}

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    // Blocks from before counting started may be freed while it goes on and take LIVE below zero; those are no peak.
    if (live as isize) > 0 {
        PEAK.fetch_max(live, Relaxed);
    }
}

/// Fills the bytes of a new block from this one on. It has `to` bytes, or is null where there was no memory.
#[expect(unsafe_code, reason = "memory that nobody has written to is no slice")]
unsafe fn poison(block: *mut u8, from: usize, to: usize) {
    if !block.is_null() && from < to {
        // SAFETY: the block has so many bytes, and nobody else knows of it yet.
        unsafe { block.add(from).write_bytes(POISON, to - from) };
    }
}

#[expect(unsafe_code, reason = "an allocator can only be written with the unsafe trait")]
// SAFETY: every call goes to `System` with the very arguments it came with. The counters touch no memory of the caller, and poison is written
// to bytes that are new to it and whose content it may not rely on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let besides = BESIDES.load(Relaxed);
        if besides & COUNTS != 0 {
            grow(layout.size());
        }
        let block = unsafe { System.alloc(layout) };
        if besides & POISONS != 0 {
            unsafe { poison(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if BESIDES.load(Relaxed) & COUNTS != 0 {
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if BESIDES.load(Relaxed) & COUNTS != 0 {
            grow(layout.size());
        }
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let besides = BESIDES.load(Relaxed);
        if besides & COUNTS != 0 {
            LIVE.fetch_sub(layout.size(), Relaxed);
            grow(size);
        }
        let block = unsafe { System.realloc(block, layout, size) };
        if besides & POISONS != 0 {
            unsafe { poison(block, layout.size(), size) };
        }
        block
    }
}

/// Counts from now on; what is live already counts as nothing.
pub fn start_counting() {
    LIVE.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    BESIDES.fetch_or(COUNTS, Relaxed);
}

/// Largest sum of live allocations since [`start_counting`].
pub fn peak_bytes() -> u64 {
    PEAK.load(Relaxed) as u64
}

/// Resident set in bytes (`VmRSS`) or its high-water mark (`VmHWM`), or why it cannot be read.
pub fn status_bytes(field: &str) -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|k| k * 1024).ok_or_else(|| format!("/proc/self/status has no {field} in kB"))
}

/// Memory that is available on the unit, in bytes, or why it cannot be read.
pub fn available_bytes() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| "/proc/meminfo has no MemAvailable in kB".into())
}

/// Minor and major page faults of this process so far (fields 10 and 12 of `/proc/self/stat`).
pub fn faults() -> Result<(u64, u64), String> {
    let text = std::fs::read_to_string("/proc/self/stat").map_err(|e| format!("/proc/self/stat: {e}"))?;
    // The second field is the program's name in parentheses and may hold spaces: count from the last parenthesis.
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|f| f.parse::<u64>().ok());
    field(10).zip(field(12)).ok_or_else(|| "/proc/self/stat is shorter than expected".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poisons() -> bool {
        BESIDES.load(Relaxed) & POISONS != 0
    }

    /// The bytes of a block of 64 that is new, and of its second half once it has grown to 128.
    #[expect(unsafe_code, reason = "what is in new memory, only its address tells")]
    fn new_memory() -> (Vec<u8>, Vec<u8>) {
        let (small, large) = (Layout::from_size_align(64, 8).unwrap(), Layout::from_size_align(128, 8).unwrap());
        // SAFETY: the block is written whole before it is read, by the allocator or here, and freed with the layout that it has by then.
        unsafe {
            let block = Counting.alloc(small);
            if !poisons() {
                block.write_bytes(0, 64);
            }
            let first = std::slice::from_raw_parts(block, 64).to_vec();
            block.write_bytes(7, 64);
            let block = Counting.realloc(block, small, 128);
            if !poisons() {
                block.add(64).write_bytes(0, 64);
            }
            let whole = std::slice::from_raw_parts(block, 128).to_vec();
            Counting.dealloc(block, large);
            assert_eq!(whole[..64], [7; 64], "what was written stays");
            (first, whole[64..].to_vec())
        }
    }

    #[test]
    fn new_memory_looks_like_no_answer_while_it_is_asked_for_and_no_longer() {
        let poisoned = Poisoned::memory();
        let (first, grown) = new_memory();
        drop(poisoned);
        assert_eq!((first, grown), (vec![POISON; 64], vec![POISON; 64]));
        assert!((1e30..f32::MAX).contains(&f32::from_ne_bytes([POISON; 4])));
        assert!(!poisons());
        assert_eq!(new_memory(), (vec![0; 64], vec![0; 64]));
    }
}
