//! Takes an input apart into the choices of a script. An input that is too short gives zeros and empty pieces, never an error: so every
//! mutation of a script is a script.

/// What is left of an input.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Little endian, with zeros for what is missing.
    fn number<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.take(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.number())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.number())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }

    /// A piece with its length in two bytes before it.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(usize::from(length))
    }
}

/// Writes a piece as [`Bytes::piece`] reads it.
pub fn put_piece(script: &mut Vec<u8>, piece: &[u8]) {
    let length = u16::try_from(piece.len()).expect("seeds are small");
    script.extend(length.to_le_bytes());
    script.extend(piece);
}

/// The content of a program for 64 bit ARM, whose branches travel as addresses.
pub fn of_arm64(mut coded: Vec<u8>) -> Vec<u8> {
    boardproof_protocol::branches::Branches::default().to_distances(&mut coded);
    coded
}
