//! Packets: messages on the line.
//!
//! ```text
//! host to device   [n][n bytes][padding], n at most 32; the message is [length, varint][protobuf].
//!                  after each packet but the last the device asks for the next one with 0xAA
//! device to host   [n | last][n bytes][padding]; the message is [protobuf], without a length.
//!                  every packet but the last is full; the last may be empty; nothing is acknowledged
//!
//! n                one byte, last is 0x80: packets of 33 bytes                        Framing::Byte
//!                  two bytes, high first, last is 0x8000: packets of 34 bytes         Framing::Word
//! ```

use super::fault::Fault;
use crate::bytes::read_some;
use crate::{Bytes, LineError};
use std::time::{Duration, Instant};

/// Bytes of a message in a packet.
pub(super) const PAYLOAD: usize = 32;
/// In the first byte of the last packet of a message from the device.
pub(super) const LAST: u8 = 0x80;
/// The device wants the next packet.
pub(super) const NEXT: u8 = 0xaa;
/// Largest message that is taken from a device.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Most packets that a message which was given up is filled with: 256 KiB, half a minute at 115200 baud.
const FILL_MAX: usize = 8192;
/// Most bytes that are thrown away at once.
const STALE_MAX: usize = 1024 * 1024;

/// How a packet says how long it is. Firmware of either kind calls itself 3.1, and neither understands the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// In one byte: packets of 33 bytes.
    #[default]
    Byte,
    /// In two: packets of 34 bytes. Firmware of later tools.
    Word,
}

impl Framing {
    pub(super) fn header(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
        }
    }

    pub(super) fn packet(self) -> usize {
        self.header() + PAYLOAD
    }

    /// A packet of a message; `last` is set by devices only.
    pub(super) fn write(self, piece: &[u8], last: bool, padding: u8) -> Vec<u8> {
        let mut packet = vec![0; self.header() - 1];
        packet.push(piece.len() as u8);
        packet[0] |= if last { LAST } else { 0 };
        packet.extend_from_slice(piece);
        packet.resize(self.packet(), padding);
        packet
    }

    /// What the beginning of a packet says: bytes in it, and whether it is the last.
    fn read(self, packet: &[u8]) -> (usize, bool) {
        let first = usize::from(packet[0] & !LAST);
        let count = match self {
            Self::Byte => first,
            Self::Word => first << 8 | usize::from(packet[1]),
        };
        (count, packet[0] & LAST != 0)
    }
}

/// How long the parts of a conversation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to `SYNC`, per attempt.
    pub sync: Duration,
    /// For the device to take a packet, or to go on with a message that it began.
    pub packet: Duration,
    /// For all of a message, after its first packet: a large tensor at 115200 baud takes 3 ms per packet.
    pub message: Duration,
    /// For the first packet of any other answer.
    pub answer: Duration,
    /// For the first packet after an inference began, and between two operators.
    pub inference: Duration,
}

impl Default for Patience {
    /// What the vendor's runner waits; it has no limit for a whole message.
    fn default() -> Self {
        Self {
            sync: Duration::from_millis(500),
            packet: Duration::from_secs(5),
            message: Duration::from_secs(300),
            answer: Duration::from_secs(10),
            inference: Duration::from_secs(50),
        }
    }
}

/// A message with its length in front.
fn delimited(message: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(message.len() + 5);
    let mut length = message.len();
    while length >= 0x80 {
        whole.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    whole.push(length as u8);
    whole.extend_from_slice(message);
    whole
}

/// A line that carries messages.
pub(super) struct Wire<B> {
    pub(super) line: B,
    pub(super) framing: Framing,
    pub(super) patience: Patience,
}

impl<B: Bytes> Wire<B> {
    /// Sends a message whole, or says at which packet it stopped: half a request is never taken for one.
    pub(super) fn send(&mut self, message: &[u8], step: &str) -> Result<(), Fault> {
        let whole = delimited(message);
        let packets = whole.len().div_ceil(PAYLOAD);
        for (index, piece) in whole.chunks(PAYLOAD).enumerate() {
            let deadline = Instant::now() + self.patience.packet;
            let packet = self.framing.write(piece, false, 0);
            self.line.write(&packet, deadline).map_err(|source| failed(step, source))?;
            if index + 1 == packets {
                break;
            }
            let mut byte = [0];
            let found = match read_some(&mut self.line, &mut byte, deadline) {
                Ok(_) if byte[0] == NEXT => continue,
                Ok(_) => format!("{:#04x}", byte[0]),
                Err(LineError::TimedOut) => format!("nothing in {:?}", self.patience.packet),
                Err(error) => return Err(failed(step, error)),
            };
            return Err(Fault::NotAcknowledged { step: step.to_owned(), packet: index + 1, packets, found });
        }
        Ok(())
    }

    /// The next message of the device; its first packet is given `first`, every other what packets are given.
    pub(super) fn receive(&mut self, step: &str, first: Duration) -> Result<Vec<u8>, Fault> {
        let header = self.framing.header();
        let end = Instant::now() + first + self.patience.message;
        let mut message = Vec::new();
        let mut patience = first;
        while message.len() < MESSAGE_MAX {
            let packet = self.read_packet(step, patience, end, message.len())?;
            let (count, last) = self.framing.read(&packet);
            // Only the last packet may be short, and none is longer than a packet.
            if count > PAYLOAD || (!last && count < PAYLOAD) {
                return Err(Fault::NoPacket { step: step.to_owned(), shown: shown(&packet) });
            }
            message.extend_from_slice(&packet[header..header + count]);
            if last {
                return Ok(message);
            }
            patience = self.patience.packet;
        }
        Err(Fault::NoMessage { step: step.to_owned(), lacking: format!("an end after {} bytes", message.len()) })
    }

    fn read_packet(&mut self, step: &str, waited: Duration, end: Instant, before: usize) -> Result<Vec<u8>, Fault> {
        let deadline = end.min(Instant::now() + waited);
        let step = step.to_owned();
        // What goes on after the end is read no further, however fast it comes.
        if Instant::now() > end {
            return Err(Fault::Silent { step, waited, bytes: before });
        }
        let mut packet = vec![0; self.framing.packet()];
        let mut count = 0;
        while count < packet.len() {
            match read_some(&mut self.line, &mut packet[count..], deadline) {
                Ok(read) => count += read,
                Err(LineError::TimedOut) if before == 0 && packet[..count] == [NEXT] => {
                    return Err(Fault::Asked { step });
                }
                // Text, or the rest of a packet: showing it tells more than that the packet is not whole.
                Err(LineError::TimedOut) if before == 0 && packet[0] & !LAST > PAYLOAD as u8 => {
                    return Err(Fault::NoPacket { step, shown: shown(&packet[..count]) });
                }
                Err(LineError::TimedOut) => return Err(Fault::Silent { step, waited, bytes: before + count }),
                Err(source) => return Err(Fault::Line { step, source }),
            }
        }
        Ok(packet)
    }

    /// Feeds zeros to a device that waits for the rest of a message, until it asks no more. What it makes of the message is thrown away.
    pub(super) fn fill(&mut self, step: &str) -> Result<(), Fault> {
        let packet = self.framing.write(&[0; PAYLOAD], false, 0);
        for _ in 0..FILL_MAX {
            let deadline = Instant::now() + self.patience.sync;
            self.line.write(&packet, deadline).map_err(|source| failed(step, source))?;
            let mut byte = [0];
            match read_some(&mut self.line, &mut byte, deadline) {
                Ok(_) if byte[0] == NEXT => {}
                Ok(_) | Err(LineError::TimedOut) => return Ok(()),
                Err(error) => return Err(failed(step, error)),
            }
        }
        Ok(())
    }

    /// Throws away what has arrived by now.
    pub(super) fn drain(&mut self, step: &str) -> Result<(), Fault> {
        let mut piece = [0; 512];
        let mut count = 0;
        while count < STALE_MAX {
            match read_some(&mut self.line, &mut piece, Instant::now()) {
                Ok(read) => count += read,
                Err(LineError::TimedOut) => break,
                Err(error) => return Err(failed(step, error)),
            }
        }
        Ok(())
    }
}

fn failed(step: &str, source: LineError) -> Fault {
    Fault::Line { step: step.to_owned(), source }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(message: &[u8], framing: Framing) -> Vec<Vec<u8>> {
        delimited(message).chunks(PAYLOAD).map(|piece| framing.write(piece, false, 0)).collect()
    }

    #[test]
    fn a_message_is_cut_with_its_length_in_front() {
        let short = packets(&[7; 3], Framing::Byte);
        assert_eq!((short.len(), short[0].len(), &short[0][..6]), (1, 33, &[4, 3, 7, 7, 7, 0][..]));
        // 200 bytes need two for their length: 202 in seven packets.
        let long = packets(&[9; 200], Framing::Byte);
        assert_eq!((long.len(), &long[0][..4]), (7, &[32, 0xc8, 0x01, 9][..]));
        assert_eq!((long[6][0], long[6][10], long[6][11]), (10, 9, 0));
        // A message that fills its packets exactly has no empty one after it.
        assert_eq!(packets(&[1; 31], Framing::Byte).len(), 1);
        assert_eq!(packets(&[1; 32], Framing::Byte).len(), 2);
        assert_eq!(packets(&[], Framing::Byte)[0][..2], [1, 0]);
        let word = packets(&[7; 3], Framing::Word);
        assert_eq!((word[0].len(), &word[0][..6]), (34, &[0, 4, 3, 7, 7, 7][..]));
    }

    #[test]
    fn the_beginning_of_a_packet_says_its_length() {
        assert_eq!(Framing::Byte.read(&[0x80 | 14]), (14, true));
        assert_eq!(Framing::Byte.read(&[32]), (32, false));
        assert_eq!(Framing::Word.read(&[0x80, 14]), (14, true));
        assert_eq!(Framing::Word.read(&[0x01, 2]), (258, false));
        assert_eq!(Framing::Word.write(&[5], true, 9)[..4], [0x80, 1, 5, 9]);
    }
}
