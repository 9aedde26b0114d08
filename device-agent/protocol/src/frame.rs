//! Frames: how messages become bytes on a link, and how bytes become messages again.
//!
//! ```text
//! payload      = [session u32 LE][seq u32 LE][message, postcard][crc32 u32 LE over everything before]
//! stream link  = PREAMBLE once, then [len u32 LE][payload] ...      (standard streams, sockets)
//! byte link    = [cobs(payload)][0x00] ...                          (UART, RTT)
//! ```
//!
//! A decoder never allocates, never panics, and never takes a payload whose CRC does not fit or that has bytes left over.

use crate::message::{Event, Reply, Request};
use crate::wire::{Put, Reader, Take, Writer};

/// What a program writes once on a stream link before its first frame, so that a banner in front of it can be skipped.
pub const PREAMBLE: &[u8; 8] = b"BPROOF1\n";
/// Bytes around a message in a payload.
pub const OVERHEAD: usize = 12;
/// Largest payload on a stream link.
pub const STREAM_FRAME_MAX: usize = 256 * 1024;
/// Largest payload on a byte link.
pub const BYTE_FRAME_MAX: usize = 1024;
/// Room that a `Chunk` or `Data` message needs around its bytes, in any version.
pub const MESSAGE_MARGIN: usize = 128;

const _: () = assert!(BYTE_FRAME_MAX > OVERHEAD + MESSAGE_MARGIN && STREAM_FRAME_MAX > BYTE_FRAME_MAX);

#[cfg(target_os = "none")]
use small_crc::checksum;

#[cfg(not(target_os = "none"))]
fn checksum(bytes: &[u8]) -> u32 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}

/// The same checksum where flash is scarce: a table of 64 bytes instead of 1024, and two steps for a byte.
#[cfg(any(test, target_os = "none"))]
mod small_crc {
    const TABLE: [u32; 16] = {
        let (mut table, mut nibble) = ([0; 16], 0);
        while nibble < 16 {
            let (mut value, mut bit) = (nibble as u32, 0);
            while bit < 4 {
                // The polynomial of CRC-32/ISO-HDLC, lowest bit first.
                value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
                bit += 1;
            }
            table[nibble] = value;
            nibble += 1;
        }
        table
    };

    pub fn checksum(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            let step = |crc: u32| (crc >> 4) ^ TABLE[(crc & 15) as usize];
            step(step(crc ^ u32::from(*byte)))
        })
    }
}

/// Who a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the host in `Hello`; frames of another session are stale.
    pub session: u32,
    /// Number of the request; an answer repeats it.
    pub seq: u32,
}

/// A message that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// A payload that is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than a header and a CRC.
    Short,
    /// Some byte is not what was sent.
    Crc,
    /// The bytes are whole but no message of this version; the header could be read.
    Malformed(Header),
}

/// Writes a request into `out`; returns the payload.
pub fn encode_request<'o>(header: Header, request: &Request<'_>, out: &'o mut [u8]) -> Result<&'o [u8], TooLarge> {
    encode(header, request, out)
}

/// Writes a reply into `out`; returns the payload.
pub fn encode_reply<'o>(header: Header, reply: &Reply<'_>, out: &'o mut [u8]) -> Result<&'o [u8], TooLarge> {
    encode(header, reply, out)
}

/// Writes an event of a runner into `out`; session and sequence number are 0 there.
pub fn encode_event<'o>(event: &Event<'_>, out: &'o mut [u8]) -> Result<&'o [u8], TooLarge> {
    encode(Header { session: 0, seq: 0 }, event, out)
}

/// Reads a request.
pub fn decode_request(payload: &[u8]) -> Result<(Header, Request<'_>), DecodeError> {
    decode(payload)
}

/// Reads a reply.
pub fn decode_reply(payload: &[u8]) -> Result<(Header, Reply<'_>), DecodeError> {
    decode(payload)
}

/// Reads an event of a runner.
pub fn decode_event(payload: &[u8]) -> Result<Event<'_>, DecodeError> {
    decode(payload).map(|(_, event)| event)
}

fn encode<'o, T: Put>(header: Header, message: &T, out: &'o mut [u8]) -> Result<&'o [u8], TooLarge> {
    let end = out.len().checked_sub(4).filter(|end| *end >= 8).ok_or(TooLarge)?;
    out[..4].copy_from_slice(&header.session.to_le_bytes());
    out[4..8].copy_from_slice(&header.seq.to_le_bytes());
    let mut writer = Writer::new(&mut out[8..end]);
    message.put(&mut writer);
    let body = writer.end().ok_or(TooLarge)?;
    let crc = checksum(&out[..8 + body]);
    out[8 + body..12 + body].copy_from_slice(&crc.to_le_bytes());
    Ok(&out[..12 + body])
}

fn decode<'p, T: Take<'p>>(payload: &'p [u8]) -> Result<(Header, T), DecodeError> {
    let (rest, crc) = payload.split_last_chunk::<4>().ok_or(DecodeError::Short)?;
    let (session, after) = rest.split_first_chunk::<4>().ok_or(DecodeError::Short)?;
    let (seq, body) = after.split_first_chunk::<4>().ok_or(DecodeError::Short)?;
    if checksum(rest) != u32::from_le_bytes(*crc) {
        return Err(DecodeError::Crc);
    }
    let header = Header { session: u32::from_le_bytes(*session), seq: u32::from_le_bytes(*seq) };
    let mut reader = Reader::new(body);
    let message = T::take(&mut reader);
    if reader.is_whole() { Ok((header, message)) } else { Err(DecodeError::Malformed(header)) }
}

/// What a deframer made of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Deframed<'b> {
    /// A payload is complete.
    Payload(&'b [u8]),
    /// More bytes are needed.
    Incomplete,
    /// On a stream link a length that no frame can have: what follows cannot be trusted. On a byte link: bytes were dropped, the
    /// next frame will be found by itself.
    Broken {
        /// Length that was announced or reached.
        length: usize,
        /// Largest that is taken.
        limit: usize,
    },
}

/// Cuts a stream into payloads. Works on the caller's buffer; bytes may come in pieces of any size.
#[derive(Debug)]
pub struct StreamDeframer<'b> {
    buffer: &'b mut [u8],
    head: [u8; 4],
    head_filled: usize,
    filled: usize,
}

impl<'b> StreamDeframer<'b> {
    /// Takes payloads of up to `buffer.len()` bytes.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, head: [0; 4], head_filled: 0, filled: 0 }
    }

    /// Takes bytes from the front of `input` until a payload is complete or the input is empty.
    pub fn push(&mut self, input: &mut &[u8]) -> Deframed<'_> {
        while self.head_filled < 4 {
            let Some((byte, rest)) = input.split_first() else { return Deframed::Incomplete };
            self.head[self.head_filled] = *byte;
            self.head_filled += 1;
            *input = rest;
        }
        let length = u32::from_le_bytes(self.head) as usize;
        if length > self.buffer.len() {
            return Deframed::Broken { length, limit: self.buffer.len() };
        }
        let take = (length - self.filled).min(input.len());
        let (now, rest) = input.split_at(take);
        self.buffer[self.filled..self.filled + take].copy_from_slice(now);
        self.filled += take;
        *input = rest;
        if self.filled < length {
            return Deframed::Incomplete;
        }
        (self.head_filled, self.filled) = (0, 0);
        Deframed::Payload(&self.buffer[..length])
    }
}

/// Finds payloads between zero bytes. After garbage it is in step again at the next zero byte.
#[derive(Debug)]
pub struct CobsDeframer<'b> {
    buffer: &'b mut [u8],
    filled: usize,
    overrun: usize,
}

impl<'b> CobsDeframer<'b> {
    /// Takes encoded payloads of up to `buffer.len()` bytes (one more per 254 than the payload).
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, filled: 0, overrun: 0 }
    }

    /// Takes bytes from the front of `input` until a payload is complete or the input is empty.
    pub fn push(&mut self, input: &mut &[u8]) -> Deframed<'_> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            if *byte != 0 {
                match self.buffer.get_mut(self.filled) {
                    Some(slot) => {
                        *slot = *byte;
                        self.filled += 1;
                    }
                    None => self.overrun += 1,
                }
                continue;
            }
            let (length, overrun) = (core::mem::take(&mut self.filled), core::mem::take(&mut self.overrun));
            if overrun > 0 {
                return Deframed::Broken { length: length + overrun, limit: self.buffer.len() };
            }
            if length == 0 {
                continue;
            }
            return match cobs::decode_in_place(&mut self.buffer[..length]) {
                Ok(decoded) => Deframed::Payload(&self.buffer[..decoded]),
                Err(_) => Deframed::Broken { length, limit: self.buffer.len() },
            };
        }
        Deframed::Incomplete
    }
}

/// Writes a payload for a byte link, delimiter included; returns the bytes used.
pub fn encode_cobs(payload: &[u8], out: &mut [u8]) -> Result<usize, TooLarge> {
    if out.len() < cobs::max_encoding_length(payload.len()) + 1 {
        return Err(TooLarge);
    }
    let used = cobs::encode(payload, out);
    out[used] = 0;
    Ok(used + 1)
}

/// Looks for [`PREAMBLE`] byte by byte.
#[derive(Debug, Default)]
pub struct PreambleScanner {
    matched: usize,
}

impl PreambleScanner {
    /// Takes one byte; true when the preamble is complete.
    pub fn push(&mut self, byte: u8) -> bool {
        // The first byte does not occur again in the preamble, so a mismatch can only start anew at this byte.
        self.matched = match byte {
            b if b == PREAMBLE[self.matched] => self.matched + 1,
            b if b == PREAMBLE[0] => 1,
            _ => 0,
        };
        if self.matched == PREAMBLE.len() {
            self.matched = 0;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(out: &mut [u8]) -> &[u8] {
        let request = Request::Pull { job: 7, from: 300, credit: 64 };
        encode_request(Header { session: 9, seq: 4 }, &request, out).unwrap()
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let mut out = [0; 64];
        let good = frame(&mut out).to_vec();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_request(&bad).unwrap_err(), DecodeError::Crc, "bit {bit}");
        }
    }

    #[test]
    fn both_ways_to_the_checksum_lead_to_the_same() {
        let bytes: Vec<u8> = (0..700_u32).map(|i| (i * i / 3) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(small_crc::checksum(&bytes[..length]), checksum(&bytes[..length]), "length {length}");
        }
        assert_eq!(small_crc::checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn any_cut_is_found_and_trailing_bytes_are_refused() {
        let mut out = [0; 64];
        let good = frame(&mut out).to_vec();
        for length in 0..good.len() {
            assert!(decode_request(&good[..length]).is_err(), "length {length}");
        }
        let mut long = good[..good.len() - 4].to_vec();
        long.push(0);
        long.extend(checksum(&long).to_le_bytes());
        assert_eq!(decode_request(&long).unwrap_err(), DecodeError::Malformed(Header { session: 9, seq: 4 }));
    }

    #[test]
    fn a_buffer_that_is_too_small_is_an_error_at_every_size() {
        let mut out = [0; 64];
        let needed = frame(&mut out).len();
        for size in 0..needed {
            let request = Request::Pull { job: 7, from: 300, credit: 64 };
            assert_eq!(encode_request(Header { session: 9, seq: 4 }, &request, &mut out[..size]), Err(TooLarge));
        }
    }

    #[test]
    fn a_stream_is_cut_the_same_in_pieces_of_any_size() {
        let payloads: [&[u8]; 4] = [b"one", b"", b"three", &[7; 90]];
        let stream: Vec<u8> = payloads.iter().flat_map(|p| [&(p.len() as u32).to_le_bytes()[..], p].concat()).collect();
        for piece in 1..stream.len() {
            let mut buffer = [0; 90];
            let mut deframer = StreamDeframer::new(&mut buffer);
            let mut found = Vec::new();
            for mut input in stream.chunks(piece) {
                while !input.is_empty() {
                    match deframer.push(&mut input) {
                        Deframed::Payload(p) => found.push(p.to_vec()),
                        Deframed::Incomplete => {}
                        Deframed::Broken { .. } => panic!("broken at pieces of {piece}"),
                    }
                }
                // An empty payload is complete as soon as its length is: ask once more.
                if let Deframed::Payload(p) = deframer.push(&mut input) {
                    found.push(p.to_vec());
                }
            }
            assert_eq!(found, payloads, "pieces of {piece}");
        }
    }

    #[test]
    fn an_impossible_length_names_both_values() {
        let mut buffer = [0; 16];
        let mut input: &[u8] = &[17, 0, 0, 0];
        assert_eq!(StreamDeframer::new(&mut buffer).push(&mut input), Deframed::Broken { length: 17, limit: 16 });
    }

    #[test]
    fn a_frame_that_does_not_fit_is_told_of_even_where_nothing_fits() {
        for room in 0..4 {
            let mut buffer = vec![0; room];
            let mut input: &[u8] = &[5, 1, 2, 3, 4, 0];
            let broken = Deframed::Broken { length: 5, limit: room };
            assert_eq!(CobsDeframer::new(&mut buffer).push(&mut input), broken);
        }
    }

    #[test]
    fn a_byte_link_is_in_step_again_after_garbage() {
        let mut wire = vec![5, 9, 9, 0];
        let mut out = [0; 64];
        for payload in [&b"a\0b"[..], &[0; 20], b"x"] {
            let used = encode_cobs(payload, &mut out).unwrap();
            wire.extend(&out[..used]);
        }
        let mut buffer = [0; 32];
        let mut deframer = CobsDeframer::new(&mut buffer);
        let mut found = Vec::new();
        for byte in wire {
            if let Deframed::Payload(p) = deframer.push(&mut &[byte][..]) {
                found.push(p.to_vec());
            }
        }
        assert_eq!(found, [&b"a\0b"[..], &[0; 20], b"x"]);
    }

    #[test]
    fn the_preamble_is_found_behind_a_banner_that_looks_like_it() {
        let mut scanner = PreambleScanner::default();
        let text = b"Welcome\nBPROOBPROOF0BBPROOF1\nrest";
        let end = text.iter().position(|b| scanner.push(*b)).unwrap();
        assert_eq!(&text[end + 1..], b"rest");
    }
}
