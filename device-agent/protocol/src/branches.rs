//! Calls of AArch64 programs, written so that they compress better: the same function is called from many places, and its address is the
//! same everywhere while the distance to it is not. The opcode of a call stays what it is, so the way back is exact for any bytes, whether
//! they are a program or not.

/// Walks over a program from its start.
#[derive(Debug, Default)]
pub struct Branches {
    /// Words passed, modulo 2^26: as far as a call reaches.
    word: u32,
}

/// The opcode of `BL` is its upper six bits.
const CALL: u32 = 0x9400_0000;
const OPCODE: u32 = 0xfc00_0000;

impl Branches {
    /// Makes distances of calls into addresses. Every piece but the last is a multiple of four bytes long.
    pub fn to_addresses(&mut self, piece: &mut [u8]) {
        self.walk(piece, u32::wrapping_add);
    }

    /// Makes addresses into distances: the way back, with pieces of any such length.
    pub fn to_distances(&mut self, piece: &mut [u8]) {
        self.walk(piece, u32::wrapping_sub);
    }

    fn walk(&mut self, piece: &mut [u8], change: fn(u32, u32) -> u32) {
        for bytes in piece.as_chunks_mut::<4>().0 {
            let word = u32::from_le_bytes(*bytes);
            if word & OPCODE == CALL {
                *bytes = (CALL | (change(word, self.word) & !OPCODE)).to_le_bytes();
            }
            self.word = self.word.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    #[test]
    fn calls_of_one_function_become_the_same_word() {
        // Two calls forward and one back, to the word 5; a branch and a number that are none.
        let mut program = words(&[0x9400_0005, 0x9400_0004, 0x1400_0003, 0, 0, 7, 0x97ff_ffff]);
        Branches::default().to_addresses(&mut program);
        assert_eq!(program, words(&[0x9400_0005, 0x9400_0005, 0x1400_0003, 0, 0, 7, 0x9400_0005]));
    }

    #[test]
    fn the_way_back_is_exact_for_any_bytes_in_pieces_of_any_length() {
        let mut state = 1_u64;
        let random = |_: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Many calls among them.
            if state >> 62 == 0 { CALL | (state >> 32) as u32 & !OPCODE } else { (state >> 32) as u32 }
        };
        let mut bytes: Vec<u8> = (0..5000).map(random).flat_map(u32::to_le_bytes).collect();
        bytes.extend([0x94, 0x94, 0x94]);
        let mut coded = bytes.clone();
        Branches::default().to_addresses(&mut coded);
        assert_ne!(coded, bytes);
        for length in [4, 64, 4096, 1 << 20] {
            let (mut back, mut branches) = (coded.clone(), Branches::default());
            back.chunks_mut(length).for_each(|piece| branches.to_distances(piece));
            assert_eq!(back, bytes, "{length}");
        }
    }
}
