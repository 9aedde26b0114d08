//! Seeded mutations of an input: less clever than libFuzzer, the same on every machine.

use crate::INPUT_BYTES_MAX;
use boardproof_sim::Dice;

/// Numbers at which programs go wrong.
const EDGES: [u64; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Changes an input in one to four places. `other` is another input of the same target, to take pieces from.
pub fn mutate(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.roll() % 4 {
        change(&mut bytes, other, dice);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// A number below `limit`; 0 when there is none.
fn below(limit: usize, dice: &mut Dice) -> usize {
    (dice.roll() % limit.max(1) as u64) as usize
}

/// A range of `of`, short ones more often.
fn range(of: &[u8], dice: &mut Dice) -> std::ops::Range<usize> {
    let start = below(of.len() + 1, dice);
    let longest = if dice.hits(700) { 8 } else { of.len() };
    let length = below(longest.min(of.len() - start) + 1, dice);
    start..start + length
}

fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = below(bytes.len() + 1, dice);
    match dice.roll() % 8 {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (dice.roll() % 8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = dice.roll() as u8;
            }
        }
        3 => {
            let edge = EDGES[below(EDGES.len(), dice)].to_le_bytes();
            let width = 1 << (dice.roll() % 4);
            bytes.iter_mut().skip(at).zip(&edge[..width]).for_each(|(byte, new)| *byte = *new);
        }
        4 => drop(bytes.drain(range(bytes, dice))),
        5 => {
            let piece = bytes[range(bytes, dice)].to_vec();
            bytes.splice(at..at, piece);
        }
        6 => {
            let piece = other[range(other, dice)].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let piece: Vec<u8> = (0..=dice.roll() % 4).map(|_| dice.roll() as u8).collect();
            bytes.splice(at..at, piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_mutation_and_two_give_two() {
        let input: Vec<u8> = (0..100).collect();
        let with = |seed| mutate(&input, b"other", &mut Dice::new(seed));
        assert_eq!(with(1), with(1));
        assert!((1..100).filter(|seed| with(*seed) == input).count() < 10);
        assert!(
            (1..100).any(|seed| with(seed).len() > input.len()) && (1..100).any(|seed| with(seed).len() < input.len())
        );
    }

    #[test]
    fn an_empty_input_can_be_mutated() {
        assert!((1..100).any(|seed| !mutate(b"", b"", &mut Dice::new(seed)).is_empty()));
    }
}
