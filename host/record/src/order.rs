//! The order in which a pass that may stop early visits samples: at random, and each slice in proportion.
//!
//! A pass that stops sees the first samples alone. Those must be a fair part of the evalset whatever the order of its file, and nobody must be
//! able to choose which: the order follows from the content of the evalset, and who judges a record draws it again.

use crate::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Tensor of an ordered evalset: for each of its samples, the number that it has in the evalset that was ordered (I64).
pub const ORDER: &str = "order.of";

/// The seed of an evalset's order: its digest, so that there is one order and no choice among many.
pub fn seed(evalset: &Digest) -> u32 {
    let [a, b, c, d, ..] = evalset.0;
    u32::from_be_bytes([a, b, c, d])
}

/// Numbers of samples in the order in which they are visited. `strata` says of each sample which stratum it is of: samples that all slices
/// have in common.
///
/// Within a stratum the order is random (Fisher and Yates), so that no sample is likelier to come first than another. The strata take turns:
/// of `k` samples visited, a stratum with the share `w` of all has more than `k w - 1` and fewer than `k w + 1` for every `k`. Of those that
/// would not be ahead of their share, the one goes next whose share comes due first: with deadlines that add up to one sample per turn the
/// earliest deadline misses none (Liu and Layland 1973; Tijdeman 1980 for the bound).
pub fn order(seed: u32, strata: &[u64]) -> Vec<u64> {
    let mut random = Random(u64::from(seed));
    let mut members: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (sample, stratum) in strata.iter().enumerate() {
        members.entry(*stratum).or_default().push(sample as u64);
    }
    let mut queues: Vec<Vec<u64>> = members.into_values().collect();
    queues.iter_mut().for_each(|queue| random.shuffle(queue));
    // Which of two that come due at once goes first is drawn as well.
    random.shuffle(&mut queues);
    let all = strata.len() as u128;
    let mut visited = vec![0_u128; queues.len()];
    let next = |turn: u128, visited: &[u128]| {
        let of = |i: usize| (visited[i], queues[i].len() as u128);
        let released = |i: &usize| {
            let (seen, size) = of(*i);
            seen < size && seen * all < size * (turn + 1)
        };
        let due = |i: &usize| {
            let (seen, size) = of(*i);
            ((seen + 1) * all).div_ceil(size)
        };
        (0..queues.len()).filter(released).min_by_key(due)
    };
    let mut order = Vec::with_capacity(strata.len());
    for turn in 0..all {
        let Some(queue) = next(turn, &visited) else { break };
        order.push(queues[queue][visited[queue] as usize]);
        visited[queue] += 1;
    }
    order
}

/// Strata of samples, from the codes of all slices of each: samples with the same codes are of one.
pub fn strata<C: Ord>(codes: &[Vec<C>]) -> Vec<u64> {
    let mut numbers: BTreeMap<&[C], u64> = BTreeMap::new();
    let known: Vec<&[C]> = codes.iter().map(Vec::as_slice).collect::<BTreeSet<_>>().into_iter().collect();
    numbers.extend(known.into_iter().zip(0..));
    codes.iter().map(|codes| numbers[codes.as_slice()]).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same on every machine and in every version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // The high half of a product is even to one part in 2^64 over the length (Lemire 2019, without the rejection).
            let at = (u128::from(self.next()) * (last as u128 + 1)) >> 64;
            items.swap(last, at as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strata of samples, by their sizes: in blocks, as a file that is sorted has them.
    fn sorted(sizes: &[usize]) -> Vec<u64> {
        sizes.iter().enumerate().flat_map(|(stratum, size)| std::iter::repeat_n(stratum as u64, *size)).collect()
    }

    #[test]
    fn every_sample_is_visited_once_and_every_prefix_holds_each_stratum_in_proportion() {
        let many: Vec<usize> = (0..40).map(|i| 1 + i * i % 97).collect();
        for sizes in [&[1][..], &[7], &[1000, 1], &[500, 300, 200], &[37, 1, 1, 400, 12], &[5; 30], &many] {
            for seed in [0, 1, 0xffff_ffff] {
                let strata = sorted(sizes);
                let found = order(seed, &strata);
                let mut all = found.clone();
                all.sort_unstable();
                assert_eq!(all, (0..strata.len() as u64).collect::<Vec<_>>(), "{sizes:?}");
                let mut seen = vec![0_i64; sizes.len()];
                for (turn, sample) in found.iter().enumerate() {
                    seen[strata[*sample as usize] as usize] += 1;
                    for (stratum, size) in sizes.iter().enumerate() {
                        // |seen - k size / all| < 1, in whole numbers.
                        let all = strata.len() as i64;
                        let apart = seen[stratum] * all - (turn as i64 + 1) * *size as i64;
                        assert!(apart.abs() < all, "{sizes:?}: {} of stratum {stratum} after {turn}", seen[stratum]);
                    }
                }
            }
        }
        assert!(order(1, &[]).is_empty());
    }

    #[test]
    fn an_order_is_that_of_its_seed_and_no_sample_is_likelier_to_come_first() {
        let strata = sorted(&[60, 40]);
        assert_eq!(order(7, &strata), order(7, &strata));
        assert_ne!(order(7, &strata), order(8, &strata));
        let mut among_the_first_ten = [0_u32; 100];
        for seed in 0..4000 {
            order(seed, &strata).iter().take(10).for_each(|sample| among_the_first_ten[*sample as usize] += 1);
        }
        // 400 expected, six standard deviations of 19.
        assert!(among_the_first_ten.iter().all(|n| (286..514).contains(n)), "{among_the_first_ten:?}");
    }

    #[test]
    fn the_order_of_an_evalset_never_changes() {
        // Records rely on it: an order that comes out otherwise makes all that were measured before unreadable.
        assert_eq!(order(1, &sorted(&[4, 2, 2])), [0, 5, 1, 7, 3, 4, 2, 6]);
        assert_eq!(seed(&Digest::of(b"shapes")), u32::from_be_bytes(Digest::of(b"shapes").0[..4].try_into().unwrap()));
    }
}
