//! Where tensors lie in the arena: those that live at the same time apart from each other, in as few bytes as can be found.

/// Something that needs a place: bytes, from the first to the last operator that needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

impl Block {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Places begin at a multiple of this: numbers are read in words.
const ALIGN: usize = 4;
/// Orders that are tried by chance, always the same ones.
const TRIES: u32 = 300;

/// An offset for each block, and the bytes of the whole.
pub fn place(blocks: &[Block]) -> (Vec<usize>, usize) {
    let by = |key: fn(&Block) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(key(&blocks[*i])));
        order
    };
    let bound = least(blocks);
    let mut orders = vec![
        by(|b| (b.bytes, b.last - b.first)),
        by(|b| (b.last - b.first, b.bytes)),
        by(|b| (b.bytes * (b.last - b.first + 1), b.bytes)),
        (0..blocks.len()).collect(),
    ];
    let mut best: Option<(Vec<usize>, usize)> = None;
    let mut state = 0x9e37_79b9_u32;
    for round in 0..TRIES {
        let order = match orders.pop() {
            Some(order) => order,
            None => shuffled(by(|b| (b.bytes, 0)), round, &mut state),
        };
        let found = place_in(blocks, &order);
        if best.as_ref().is_none_or(|known| found.1 < known.1) {
            best = Some(found);
        }
        if best.as_ref().is_some_and(|known| known.1 <= bound) {
            break;
        }
    }
    best.unwrap_or_default()
}

/// Bytes that live at once, at most: no placement needs fewer.
pub fn least(blocks: &[Block]) -> usize {
    let at = |step: usize| -> usize {
        blocks.iter().filter(|b| (b.first..=b.last).contains(&step)).map(|b| b.bytes.next_multiple_of(ALIGN)).sum()
    };
    blocks.iter().map(|b| at(b.first)).max().unwrap_or(0)
}

/// A few neighbours exchanged.
fn shuffled(mut order: Vec<usize>, round: u32, state: &mut u32) -> Vec<usize> {
    for _ in 0..=round / 20 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        let length = order.len().max(1) as u32;
        let (a, b) = ((*state % length) as usize, ((*state >> 16) % length) as usize);
        if a < order.len() && b < order.len() {
            order.swap(a, b);
        }
    }
    order
}

/// Each block as low as those before it in the order leave room.
fn place_in(blocks: &[Block], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut whole = 0;
    for block in order {
        let own = &blocks[*block];
        let mut taken: Vec<(usize, usize)> =
            placed.iter().filter(|p| blocks[**p].meets(own)).map(|p| (offsets[*p], blocks[*p].bytes)).collect();
        taken.sort_unstable();
        let mut at = 0_usize;
        for (offset, bytes) in taken {
            if at + own.bytes <= offset {
                break;
            }
            at = at.max((offset + bytes).next_multiple_of(ALIGN));
        }
        offsets[*block] = at;
        whole = whole.max(at + own.bytes);
        placed.push(*block);
    }
    (offsets, whole.next_multiple_of(ALIGN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(blocks: &[(usize, usize, usize)], expected: usize) {
        let blocks: Vec<Block> =
            blocks.iter().map(|(bytes, first, last)| Block { bytes: *bytes, first: *first, last: *last }).collect();
        let (offsets, whole) = place(&blocks);
        assert_eq!(whole, expected, "{offsets:?}");
        for (i, a) in blocks.iter().enumerate() {
            for (j, b) in blocks.iter().enumerate().skip(i + 1) {
                let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                assert!(!a.meets(b) || apart, "{i} and {j}: {offsets:?}");
            }
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        check(&[(100, 0, 0), (60, 0, 1), (80, 1, 2), (20, 2, 2)], 160);
    }

    #[test]
    fn what_lives_long_does_not_split_the_room() {
        check(&[(8, 0, 9), (100, 0, 1), (100, 1, 2), (100, 2, 3), (4, 0, 9)], 212);
        check(&[], 0);
    }
}
