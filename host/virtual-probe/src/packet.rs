//! Packets of the gdb remote protocol: `$payload#checksum`, escapes and run lengths. No I/O.

/// A packet that is longer is not one of QEMU's (it says 4096 bytes).
pub(crate) const PACKET_BYTES_MAX: usize = 64 * 1024;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A payload, unescaped.
    Packet(Vec<u8>),
    /// The other side took a packet of ours.
    Taken,
    /// The other side wants our last packet again.
    Again,
    /// A packet whose checksum or form is wrong.
    Damaged,
}

/// A packet around `payload`, whose bytes need no escape.
pub(crate) fn encode(payload: &str) -> Vec<u8> {
    debug_assert!(!payload.contains(['$', '#', '}', '*']), "{payload} needs escapes");
    format!("${payload}#{:02x}", checksum(payload.as_bytes())).into_bytes()
}

/// `bytes` as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        digits.push(char::from(DIGITS[usize::from(byte >> 4)]));
        digits.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    digits
}

/// The bytes that hexadecimal digits stand for; `None` when they do not fill `bytes` exactly.
pub(crate) fn unhex(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = 16 * digit(pair[0])? + digit(pair[1])?;
    }
    Some(())
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

fn checksum(payload: &[u8]) -> u8 {
    payload.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Takes bytes as they come and gives items.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes what was received.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next item, if all of it is here. Bytes between packets that mean nothing are dropped.
    pub(crate) fn next(&mut self) -> Option<Item> {
        let noise = self.bytes.iter().position(|byte| matches!(byte, b'+' | b'-' | b'$')).unwrap_or(self.bytes.len());
        self.bytes.drain(..noise);
        let item = match self.bytes.first()? {
            b'+' => Item::Taken,
            b'-' => Item::Again,
            _ => return self.packet(),
        };
        self.bytes.remove(0);
        Some(item)
    }

    /// What begins with `$`. An escape never hides a `#`.
    fn packet(&mut self) -> Option<Item> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'#') else {
            return (self.bytes.len() > PACKET_BYTES_MAX).then(|| self.give_up());
        };
        let sum = self.bytes.get(end + 1..end + 3)?;
        let mut said = [0];
        let sum_is_said = unhex(sum, &mut said).is_some();
        let body = &self.bytes[1..end];
        let payload = if sum_is_said && said[0] == checksum(body) { expand(body) } else { None };
        self.bytes.drain(..end + 3);
        Some(payload.map_or(Item::Damaged, Item::Packet))
    }

    fn give_up(&mut self) -> Item {
        self.bytes.clear();
        Item::Damaged
    }
}

/// Undoes escapes (`}` and the byte with bit 5 flipped) and run lengths (a byte, `*`, and how often again plus 29).
fn expand(body: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'}' => payload.push(bytes.next()? ^ 0x20),
            b'*' => {
                let again = usize::from(bytes.next()?.checked_sub(29)?);
                let last = *payload.last()?;
                payload.extend(std::iter::repeat_n(last, again));
            }
            _ => payload.push(*byte),
        }
    }
    (payload.len() <= PACKET_BYTES_MAX).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Item> {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        std::iter::from_fn(|| decoder.next()).collect()
    }

    #[test]
    fn a_packet_has_its_checksum() {
        assert_eq!(encode("m0,4"), b"$m0,4#fd");
        assert_eq!(encode(""), b"$#00");
    }

    #[test]
    fn what_was_encoded_is_decoded_one_byte_at_a_time() {
        let sent = [b"+".to_vec(), encode("T02thread:01;"), b"-".to_vec(), encode("OK")].concat();
        let mut decoder = Decoder::default();
        let mut got = vec![];
        for byte in sent {
            decoder.feed(&[byte]);
            got.extend(std::iter::from_fn(|| decoder.next()));
        }
        let packet = |text: &str| Item::Packet(text.as_bytes().to_vec());
        assert_eq!(got, [Item::Taken, packet("T02thread:01;"), Item::Again, packet("OK")]);
    }

    #[test]
    fn a_wrong_checksum_is_damage_and_the_next_packet_is_whole() {
        assert_eq!(decode(b"$OK#9b$OK#9a"), [Item::Damaged, Item::Packet(b"OK".to_vec())]);
        assert_eq!(decode(b"$OK#zz"), [Item::Damaged]);
    }

    /// A packet around bytes that may be escapes.
    fn raw(body: &[u8]) -> Vec<u8> {
        [b"$", body, format!("#{:02x}", checksum(body)).as_bytes()].concat()
    }

    #[test]
    fn escapes_and_run_lengths_are_undone() {
        assert_eq!(decode(&raw(b"a}\x03b")), [Item::Packet(b"a#b".to_vec())]);
        assert_eq!(decode(&raw(b"0* ")), [Item::Packet(b"0000".to_vec())]);
        for hostile in [&b"* "[..], b"0}", b"0*", b"0*\x01"] {
            assert_eq!(decode(&raw(hostile)), [Item::Damaged], "{}", String::from_utf8_lossy(hostile));
        }
    }

    #[test]
    fn what_lies_between_packets_is_dropped_and_what_never_ends_too() {
        assert_eq!(decode(b"\x00noise$OK#9a"), [Item::Packet(b"OK".to_vec())]);
        assert_eq!(decode(b"$never"), []);
        let mut decoder = Decoder::default();
        decoder.feed(b"$");
        decoder.feed(&vec![b'x'; PACKET_BYTES_MAX]);
        assert_eq!(decoder.next(), Some(Item::Damaged));
    }

    #[test]
    fn hexadecimal_digits_must_fill_the_bytes() {
        let mut bytes = [0; 2];
        assert_eq!(unhex(b"00fF", &mut bytes), Some(()));
        assert_eq!((bytes, hex(&bytes)), ([0, 255], "00ff".to_owned()));
        for wrong in [&b"00f"[..], b"00ff0", b"E14", b"0x00", b""] {
            assert_eq!(unhex(wrong, &mut bytes), None, "{}", String::from_utf8_lossy(wrong));
        }
    }
}
