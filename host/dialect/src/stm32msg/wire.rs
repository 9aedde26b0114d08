//! Packets: messages on the line.
//!
//! ```text
//! host to device   33 bytes each: [n][n bytes][padding], n at most 32; the message is [length, varint][protobuf].
//!                  after each packet but the last the device asks for the next one with 0xAA
//! device to host   33 bytes each: [n | 0x80 in the last][n bytes][padding]; the message is [protobuf], without a length.
//!                  every packet but the last is full; the last may be empty; nothing is acknowledged
//! ```

use super::fault::Fault;
use crate::bytes::read_some;
use crate::{Bytes, LineError};
use std::time::{Duration, Instant};

/// Bytes of a message in a packet.
pub(super) const PAYLOAD: usize = 32;
/// Bytes of a packet.
pub(super) const PACKET: usize = 1 + PAYLOAD;
/// The last packet of a message from the device.
pub(super) const LAST: u8 = 0x80;
/// The device wants the next packet.
pub(super) const NEXT: u8 = 0xaa;
/// Largest message that is taken from a device.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Most packets that a message which was given up is filled with: 256 KiB, half a minute at 115200 baud.
const FILL_MAX: usize = 8192;
/// Most bytes that are thrown away at once.
const STALE_MAX: usize = 1024 * 1024;

/// How long the parts of a conversation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to `SYNC`, per attempt.
    pub sync: Duration,
    /// For the device to take a packet, or to go on with a message that it began.
    pub packet: Duration,
    /// For the first packet of any other answer.
    pub answer: Duration,
    /// For the first packet after an inference began, and between two operators.
    pub inference: Duration,
}

impl Default for Patience {
    /// What the vendor's runner waits.
    fn default() -> Self {
        Self {
            sync: Duration::from_millis(500),
            packet: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            inference: Duration::from_secs(50),
        }
    }
}

/// A message cut into the packets that carry it to the device.
pub(super) fn packets(message: &[u8]) -> Vec<[u8; PACKET]> {
    let mut whole = Vec::with_capacity(message.len() + 5);
    let mut length = message.len();
    while length >= 0x80 {
        whole.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    whole.push(length as u8);
    whole.extend_from_slice(message);
    let cut = whole.chunks(PAYLOAD).map(|piece| {
        let mut packet = [0; PACKET];
        packet[0] = piece.len() as u8;
        packet[1..=piece.len()].copy_from_slice(piece);
        packet
    });
    cut.collect()
}

/// Sends a message whole, or says at which packet it stopped: half a request is never taken for one.
pub(super) fn send(line: &mut impl Bytes, message: &[u8], step: &str, patience: Duration) -> Result<(), Fault> {
    let packets = packets(message);
    let failed = |source| Fault::Line { step: step.to_owned(), source };
    for (index, packet) in packets.iter().enumerate() {
        let deadline = Instant::now() + patience;
        line.write(packet, deadline).map_err(failed)?;
        if index + 1 == packets.len() {
            break;
        }
        let mut byte = [0];
        let found = match read_some(line, &mut byte, deadline) {
            Ok(_) if byte[0] == NEXT => continue,
            Ok(_) => format!("{:#04x}", byte[0]),
            Err(LineError::TimedOut) => format!("nothing in {patience:?}"),
            Err(error) => return Err(failed(error)),
        };
        return Err(Fault::NotAcknowledged { step: step.to_owned(), packet: index + 1, packets: packets.len(), found });
    }
    Ok(())
}

/// The next message of the device: `first` for its first packet, `each` for every other.
pub(super) fn receive(line: &mut impl Bytes, step: &str, first: Duration, each: Duration) -> Result<Vec<u8>, Fault> {
    let mut message = Vec::new();
    let mut patience = first;
    while message.len() < MESSAGE_MAX {
        let packet = read_packet(line, step, patience, message.len())?;
        let (count, last) = (usize::from(packet[0] & !LAST), packet[0] & LAST != 0);
        // Only the last packet may be short, and none is longer than a packet.
        if count > PAYLOAD || (!last && count < PAYLOAD) {
            return Err(Fault::NoPacket { step: step.to_owned(), shown: shown(&packet) });
        }
        message.extend_from_slice(&packet[1..=count]);
        if last {
            return Ok(message);
        }
        patience = each;
    }
    Err(Fault::NoMessage { step: step.to_owned(), lacking: format!("an end after {} bytes", message.len()) })
}

/// Feeds zeros to a device that waits for the rest of a message, until it asks no more. What it makes of the message is thrown away.
pub(super) fn fill(line: &mut impl Bytes, step: &str, patience: Duration) -> Result<(), Fault> {
    let mut packet = [0; PACKET];
    packet[0] = PAYLOAD as u8;
    for _ in 0..FILL_MAX {
        let deadline = Instant::now() + patience;
        let failed = |source| Fault::Line { step: step.to_owned(), source };
        line.write(&packet, deadline).map_err(failed)?;
        let mut byte = [0];
        match read_some(line, &mut byte, deadline) {
            Ok(_) if byte[0] == NEXT => {}
            Ok(_) | Err(LineError::TimedOut) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn read_packet(line: &mut impl Bytes, step: &str, waited: Duration, before: usize) -> Result<[u8; PACKET], Fault> {
    let deadline = Instant::now() + waited;
    let mut packet = [0; PACKET];
    let mut count = 0;
    while count < PACKET {
        match read_some(line, &mut packet[count..], deadline) {
            Ok(read) => count += read,
            Err(LineError::TimedOut) if before == 0 && packet[..count] == [NEXT] => {
                return Err(Fault::Asked { step: step.to_owned() });
            }
            // Text, or the rest of a packet: showing it tells more than that the packet is not whole.
            Err(LineError::TimedOut) if count > 0 && before == 0 && packet[0] & !LAST > PAYLOAD as u8 => {
                return Err(Fault::NoPacket { step: step.to_owned(), shown: shown(&packet[..count]) });
            }
            Err(LineError::TimedOut) => {
                return Err(Fault::Silent { step: step.to_owned(), waited, bytes: before + count });
            }
            Err(source) => return Err(Fault::Line { step: step.to_owned(), source }),
        }
    }
    Ok(packet)
}

/// Throws away what has arrived by now; returns how much.
pub(super) fn drain(line: &mut impl Bytes, step: &str) -> Result<usize, Fault> {
    let mut piece = [0; 512];
    let mut count = 0;
    while count < STALE_MAX {
        match read_some(line, &mut piece, Instant::now()) {
            Ok(read) => count += read,
            Err(LineError::TimedOut) => break,
            Err(source) => return Err(Fault::Line { step: step.to_owned(), source }),
        }
    }
    Ok(count)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_with_its_length_in_front() {
        let short = packets(&[7; 3]);
        assert_eq!(short.len(), 1);
        assert_eq!(short[0][..6], [4, 3, 7, 7, 7, 0]);
        // 200 bytes need two for their length: 202 in seven packets.
        let long = packets(&[9; 200]);
        assert_eq!((long.len(), &long[0][..4]), (7, &[32, 0xc8, 0x01, 9][..]));
        assert_eq!((long[6][0], long[6][10], long[6][11]), (10, 9, 0));
        // A message that fills its packets exactly has no empty one after it.
        assert_eq!(packets(&[1; 31]).len(), 1);
        assert_eq!(packets(&[1; 32]).len(), 2);
        assert_eq!(
            packets(&[]),
            [[0; PACKET]].map(|mut packet| {
                packet[0] = 1;
                packet
            })
        );
    }
}
