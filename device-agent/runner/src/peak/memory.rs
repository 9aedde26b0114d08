//! How fast one core reads main memory: over a buffer that no cache holds, as far as the unit has room and the probe has time for one.

use super::{best_of, rate};
use crate::clock;
use std::hint::black_box;
use std::path::Path;

/// Caches of the first processor, a folder each; the last is the largest that it shares.
const CACHES: &str = "/sys/devices/system/cpu/cpu0/cache";
/// A buffer for a unit that tells nothing of its caches: larger than those of any board.
const BYTES_WANTED_MIN: usize = 64 << 20;
/// Times the last cache that the buffer is to be: less would be read in part from there.
const CACHES_WIDE: usize = 2;
/// No buffer is larger: filling one takes longer than reading it, and a server's cache is larger than a board's memory.
const BYTES_MAX: usize = 256 << 20;
/// Share of the available memory that it may take.
const SHARE_OF_MEMORY: u64 = 4;
/// What is filled before the clock is looked at, and read in one timing. A buffer is at least this large.
const PIECE_BYTES: usize = 4 << 20;
/// Time for filling it. A unit that is slower than this reads a smaller one.
const FILL_NS: u64 = 400_000_000;

/// What was read and how fast.
pub struct Rate {
    /// Bytes in a second.
    pub bytes_per_s: u64,
    /// The buffer, in words: whether a cache may have held it.
    pub over: String,
}

/// The highest rate, or why it is not known.
pub fn read_rate() -> Result<Rate, String> {
    let cache = last_cache(Path::new(CACHES));
    let wanted = wanted(cache);
    let room = room(wanted, crate::memory::available_bytes()?)?;
    let buffer = filled(room)?;
    let pieces: Vec<&[u64]> = buffer.chunks_exact(PIECE_BYTES / size_of::<u64>()).collect();
    // One piece after the other, over and over: what a cache held of the last round is gone, unless it holds the whole buffer.
    let best = best_of(|at| {
        let piece = pieces[at as usize % pieces.len()];
        let start = clock::now();
        black_box(sum(black_box(piece)));
        rate(size_of_val(piece) as u64, clock::now() - start)
    });
    let bytes_per_s = best.ok_or("the clock did not move while memory was read")?;
    Ok(Rate { bytes_per_s, over: in_words(size_of_val(buffer.as_slice()), wanted, cache) })
}

fn wanted(cache: Option<usize>) -> usize {
    cache.unwrap_or(0).saturating_mul(CACHES_WIDE).max(BYTES_WANTED_MIN)
}

/// Bytes that the buffer may have, or why it may have none.
fn room(wanted: usize, available: u64) -> Result<usize, String> {
    let share = usize::try_from(available / SHARE_OF_MEMORY).unwrap_or(usize::MAX);
    match wanted.min(BYTES_MAX).min(share) {
        room if room >= PIECE_BYTES => Ok(room),
        room => Err(format!(
            "a quarter of the {available} bytes that are available are {room}: too few to read main memory with"
        )),
    }
}

/// A buffer of so many bytes, each page written, so that it is there and is its own; fewer where that takes too long.
fn filled(bytes: usize) -> Result<Vec<u64>, String> {
    const WORDS: usize = PIECE_BYTES / size_of::<u64>();
    let mut buffer: Vec<u64> = Vec::new();
    let words = bytes / size_of::<u64>();
    buffer.try_reserve_exact(words).map_err(|error| format!("a buffer of {bytes} bytes: {error}"))?;
    let began = clock::now();
    while buffer.len() + WORDS <= words && (buffer.is_empty() || clock::now() - began < FILL_NS) {
        let from = buffer.len() as u64;
        buffer.extend(from..from + WORDS as u64);
    }
    Ok(buffer)
}

/// What was read, and whether a cache may have held some of it.
fn in_words(bytes: usize, wanted: usize, cache: Option<usize>) -> String {
    let read = format!("a buffer of {} MiB", bytes >> 20);
    match cache {
        _ if bytes >= wanted / PIECE_BYTES * PIECE_BYTES => read,
        Some(cache) => format!("{read}; the last cache has {} MiB and may have held some of it", cache >> 20),
        None => format!("{read}; a cache may have held some of it"),
    }
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
    fn the_buffer_is_bounded_and_a_unit_without_room_says_so() {
        const MIB: u64 = 1 << 20;
        let mib = |cache: Option<u64>, available: u64| {
            room(wanted(cache.map(|mib| (mib * MIB) as usize)), available * MIB).map(|bytes| bytes as u64 / MIB)
        };
        assert_eq!(mib(None, 4096), Ok(64));
        assert_eq!(mib(Some(48), 4096), Ok(96));
        assert_eq!(mib(Some(260), 24_000), Ok(256));
        assert_eq!(mib(Some(1), 64), Ok(16));
        assert!(mib(None, 15).unwrap_err().contains("too few"));
    }

    #[test]
    fn what_a_cache_may_have_held_is_said() {
        let said = |mib: usize, cache: Option<usize>| {
            let cache = cache.map(|mib| mib << 20);
            in_words(mib << 20, wanted(cache), cache)
        };
        assert_eq!(said(64, None), "a buffer of 64 MiB");
        assert_eq!(said(96, Some(48)), "a buffer of 96 MiB");
        assert_eq!(
            said(256, Some(260)),
            "a buffer of 256 MiB; the last cache has 260 MiB and may have held some of it"
        );
        assert!(said(16, None).contains("a cache may have held"));
    }

    #[test]
    fn memory_is_read_at_some_rate_or_there_is_a_reason() {
        match read_rate() {
            Ok(rate) => {
                eprintln!("{:.1} GB in a second, {}", rate.bytes_per_s as f64 / 1e9, rate.over);
                assert!(rate.bytes_per_s > 10_000_000, "{}", rate.bytes_per_s);
                assert!(rate.over.starts_with("a buffer of "), "{}", rate.over);
            }
            Err(reason) => assert!(reason.contains("bytes"), "{reason}"),
        }
    }
}
