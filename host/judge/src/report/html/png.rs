//! A small picture as PNG, to stand in a page: not compressed, so that no library is needed for it.

/// Base64 of a PNG of `channels` bytes per pixel: 1 is grey, 3 are red, green and blue.
pub fn picture(width: usize, height: usize, channels: usize, pixels: &[u8]) -> String {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let colour = if channels == 3 { 2 } else { 0 };
    let mut head = [(width as u32).to_be_bytes(), (height as u32).to_be_bytes()].concat();
    head.extend([8, colour, 0, 0, 0]);
    chunk(&mut png, b"IHDR", &head);
    // Each line begins with its filter: none.
    let lines = pixels.chunks(width * channels).flat_map(|line| std::iter::once(0).chain(line.iter().copied()));
    chunk(&mut png, b"IDAT", &stored(&lines.collect::<Vec<u8>>()));
    chunk(&mut png, b"IEND", &[]);
    base64(&png)
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    png.extend((content.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(content);
    let sum = crc32(&png[start..]);
    png.extend(sum.to_be_bytes());
}

/// A zlib stream of blocks that are stored as they are (RFC 1950 and 1951).
fn stored(bytes: &[u8]) -> Vec<u8> {
    const BLOCK_MAX: usize = 0xffff;
    let mut stream = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(BLOCK_MAX).peekable();
    while let Some(block) = blocks.next() {
        let size = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend(size.to_le_bytes());
        stream.extend((!size).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(bytes).to_be_bytes());
    stream
}

/// RFC 1950, section 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

/// The checksum of PNG (ISO/IEC 15948, annex D), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_letters_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_large_picture_is_more_than_one_block() {
        let stream = stored(&vec![5; 70_000]);
        assert_eq!(stream.len(), 2 + 2 * 5 + 70_000 + 4);
        assert_eq!((stream[2], stream[2 + 5 + 0xffff]), (0, 1));
        assert!(picture(2, 2, 1, &[0, 1, 2, 3]).starts_with("iVBORw0KGgo"));
    }
}
