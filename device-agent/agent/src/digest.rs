//! SHA-256 of streams and files. Owns no paths; refuses to keep a file in memory.

use boardproof_protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};

/// Bytes read at once.
const PIECE: usize = 64 * 1024;

/// A digest in the making.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Digest of everything that `reader` still gives.
pub fn of_reader(reader: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Digest and size in bytes of the program that runs.
pub fn of_this_program() -> io::Result<(Digest, u64)> {
    let mut file = File::open("/proc/self/exe")?;
    Ok((of_reader(&mut file)?, file.metadata()?.len()))
}

/// First eight bytes of the SHA-256 of a text: a number that differs when the text does.
pub fn short_of(text: &str) -> u64 {
    let mut hasher = Hasher::default();
    hasher.update(text.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = hasher.finish().0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_example_comes_out() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_reader(&mut &b"abc"[..]).unwrap().to_string(), expected);
    }

    #[test]
    fn pieces_and_whole_give_one_digest() {
        let bytes = vec![7; 3 * PIECE + 1];
        let mut hasher = Hasher::default();
        bytes.chunks(1000).for_each(|c| hasher.update(c));
        assert_eq!(hasher.finish(), of_reader(&mut &bytes[..]).unwrap());
    }
}
