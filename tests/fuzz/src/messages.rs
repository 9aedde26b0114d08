//! Messages: what a payload with a checksum that fits becomes.

use crate::Seed;
use boardproof_protocol::frame::{
    DecodeError, Header, OVERHEAD, TooLarge, decode_event, decode_reply, decode_request, encode_event, encode_reply,
    encode_request,
};

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
/// Golden bytes of every message of the version that this build speaks.
const GOLDEN: &str = include_str!("../../../device-agent/protocol/tests/golden/v2.txt");

/// Puts the checksum behind header and message, so that a made-up message gets past it.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &CRC.checksum(bytes).to_le_bytes()].concat()
}

/// A payload from its parts.
pub fn payload(session: u32, seq: u32, message: &[u8]) -> Vec<u8> {
    sealed(&[&session.to_le_bytes()[..], &seq.to_le_bytes(), message].concat())
}

/// The golden bytes of all messages of a kind (`request`, `reply`, `event`), by name.
pub fn golden(kind: &str) -> Vec<(&'static str, Vec<u8>)> {
    let of_kind = GOLDEN.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix('.')?.split_once(' '));
    of_kind.map(|(name, hex)| (name, from_hex(hex))).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("golden bytes are hexadecimal") as u8;
    hex.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) * 16 + digit(*low)).collect()
}

/// Decodes, and encodes what was decoded into a buffer; returns the bytes used.
type Again = dyn Fn(&[u8], &mut [u8]) -> Result<usize, Refusal>;

/// What a kind of message does with bytes.
struct Kind<'a> {
    again: &'a Again,
    /// The header comes back, too.
    header: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Decode(DecodeError),
    Encode,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<TooLarge> for Refusal {
    fn from(_: TooLarge) -> Self {
        Self::Encode
    }
}

fn check(input: &[u8], kind: &Kind<'_>) -> bool {
    let mut room = vec![0; input.len() + OVERHEAD];
    // As it comes: only the checksum can let it in, which made-up bytes do not have.
    let as_it_comes = (kind.again)(input, &mut room);
    assert_ne!(as_it_comes, Err(Refusal::Encode), "what was decoded does not fit where it came from");
    let good = sealed(input);
    let used = match (kind.again)(&good, &mut room) {
        Ok(used) => used,
        Err(Refusal::Encode) => panic!("a message grew when it was encoded again"),
        Err(Refusal::Decode(DecodeError::Crc)) => panic!("the checksum does not fit itself"),
        Err(Refusal::Decode(DecodeError::Short)) => {
            assert!(input.len() < 8, "a whole header and a checksum are not short");
            return false;
        }
        Err(Refusal::Decode(DecodeError::Malformed(_))) => return false,
    };
    // What was accepted means the same once more, byte for byte.
    let first = room[..used].to_vec();
    assert!(used <= good.len(), "a message grew from {} to {used} bytes", good.len());
    assert_eq!((kind.again)(&first, &mut room), Ok(used));
    assert_eq!(first, room[..used]);
    if kind.header {
        assert_eq!(first[..8], good[..8], "the header changed");
    }
    // One bit more or less is found; so is a buffer that is too small.
    let mut bad = good.clone();
    let bit = input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % (bad.len() * 8);
    bad[bit / 8] ^= 1 << (bit % 8);
    assert_eq!((kind.again)(&bad, &mut room), Err(Refusal::Decode(DecodeError::Crc)), "bit {bit}");
    assert_eq!((kind.again)(&good, &mut room[..used - 1]), Err(Refusal::Encode));
    true
}

/// Header and message of a request.
pub fn request(input: &[u8]) -> bool {
    let again = |bytes: &[u8], room: &mut [u8]| {
        let (header, message) = decode_request(bytes)?;
        Ok(encode_request(header, &message, room)?.len())
    };
    check(input, &Kind { again: &again, header: true })
}

/// Header and message of a reply.
pub fn reply(input: &[u8]) -> bool {
    let again = |bytes: &[u8], room: &mut [u8]| {
        let (header, message) = decode_reply(bytes)?;
        Ok(encode_reply(header, &message, room)?.len())
    };
    check(input, &Kind { again: &again, header: true })
}

/// Header and message of an event.
pub fn event(input: &[u8]) -> bool {
    let again = |bytes: &[u8], room: &mut [u8]| {
        let message = decode_event(bytes)?;
        Ok(encode_event(&message, room)?.len())
    };
    check(input, &Kind { again: &again, header: false })
}

fn seeds(kind: &str) -> Vec<Seed> {
    let Header { session, seq } = Header { session: 9, seq: 4 };
    let head = [session.to_le_bytes(), seq.to_le_bytes()].concat();
    golden(kind).into_iter().map(|(name, message)| (name.to_lowercase(), [&head[..], &message].concat())).collect()
}

pub fn request_seeds() -> Vec<Seed> {
    seeds("request")
}

pub fn reply_seeds() -> Vec<Seed> {
    seeds("reply")
}

pub fn event_seeds() -> Vec<Seed> {
    seeds("event")
}
