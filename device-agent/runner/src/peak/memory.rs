//! How fast one core reads main memory: over a buffer that no cache holds.

use super::rate;
use crate::clock;
use std::hint::black_box;
use std::path::Path;

/// Caches of the first processor, a folder each; the last is the largest that it shares.
const CACHES: &str = "/sys/devices/system/cpu/cpu0/cache";
/// A buffer for a unit that tells nothing of its caches: larger than those of any board.
const BYTES_MIN: usize = 64 << 20;
/// Times the last cache that the buffer must be: less would be read in part from there.
const CACHES_WIDE: usize = 2;
/// A buffer that any cache holds, and the time for the large one after which that is all that is asked.
const BYTES_SMALL: usize = 1 << 20;
const TOO_LONG_MS: u64 = 300;
/// Share of the available memory that it may take.
const SHARE_OF_MEMORY: u64 = 4;
/// Readings that are timed, at most, and the time after which there are no more.
const READINGS: u32 = 4;
const ENOUGH_NS: u64 = 150_000_000;

/// Bytes in a second, or why they are not known.
pub fn read_rate() -> Result<u64, String> {
    let cache = last_cache(Path::new(CACHES)).unwrap_or(0);
    let wanted = (cache * CACHES_WIDE).max(BYTES_MIN);
    let available = crate::memory::available_bytes()?;
    if wanted as u64 > available / SHARE_OF_MEMORY {
        return Err(format!(
            "a buffer of {wanted} bytes, which no cache holds, is more than a quarter of the {available} bytes that are available"
        ));
    }
    // Where the core is what is slow, as an emulated one, no buffer is read faster than a small one, and a large one takes minutes.
    let small = best_of(BYTES_SMALL)?;
    if wanted as u64 * 1000 / small.max(1) >= TOO_LONG_MS {
        return Ok(small);
    }
    best_of(wanted)
}

/// The highest rate at which a buffer of so many bytes was read.
fn best_of(bytes: usize) -> Result<u64, String> {
    let mut buffer: Vec<u64> = Vec::new();
    let words = bytes / size_of::<u64>();
    buffer.try_reserve_exact(words).map_err(|error| format!("a buffer of {bytes} bytes: {error}"))?;
    // Written, so that each page is there and is its own.
    buffer.extend(0..words as u64);
    let mut best = None;
    let began = clock::now();
    for _ in 0..READINGS {
        let start = clock::now();
        black_box(sum(black_box(&buffer)));
        best = best.max(rate(bytes as u64, clock::now() - start));
        if clock::now() - began > ENOUGH_NS {
            break;
        }
    }
    best.ok_or_else(|| "the clock did not move while memory was read".into())
}

/// Adds in as many lanes as keep the loads going.
fn sum(words: &[u64]) -> u64 {
    const LANES: usize = 16;
    let mut lanes = [0_u64; LANES];
    let (chunks, _) = words.as_chunks::<LANES>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, word)| *lane = lane.wrapping_add(*word));
    }
    lanes.into_iter().fold(0, u64::wrapping_add)
}

/// Size of the largest cache in bytes, where the kernel tells.
fn last_cache(folder: &Path) -> Option<usize> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.filter_map(|entry| size(&std::fs::read_to_string(entry.path().join("size")).ok()?)).max()
}

/// Bytes of `32768K`.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => match text.strip_suffix('M') {
            Some(number) => (number, 1 << 20),
            None => (text, 1),
        },
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_kernel_writes_them() {
        let cases =
            [("48K\n", Some(49_152)), ("105M", Some(110_100_480)), ("512", Some(512)), ("big", None), ("", None)];
        for (text, bytes) in cases {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn memory_is_read_at_some_rate_or_there_is_a_reason() {
        match read_rate() {
            Ok(rate) => {
                eprintln!("{:.1} GB in a second", rate as f64 / 1e9);
                assert!(rate > 10_000_000, "{rate}");
            }
            Err(reason) => assert!(reason.contains("bytes"), "{reason}"),
        }
    }
}
