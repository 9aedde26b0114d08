//! Frames on a line of bytes, and the session behind them.

use crate::{Agent, Hardware};
use boardproof_core::{Next, Session};
use boardproof_protocol::frame::{BYTE_FRAME_MAX, CobsDeframer, Deframed, encode_cobs};

/// Bytes of a payload as it travels: one more per 254, and the zero behind it.
const CODED_MAX: usize = BYTE_FRAME_MAX + BYTE_FRAME_MAX / 254 + 2;

/// Where bytes go.
pub trait Sink {
    /// Sends bytes; returns when they are on their way.
    fn send(&mut self, bytes: &[u8]);
}

/// The device's end of a line. `'b` is the memory of one frame that comes in.
#[derive(Debug)]
pub struct Line<'b> {
    deframer: CobsDeframer<'b>,
    session: Session,
    scratch: [u8; BYTE_FRAME_MAX],
    coded: [u8; CODED_MAX],
}

/// Memory for one frame that comes in.
pub const FRAME_BYTES: usize = CODED_MAX;

impl<'b> Line<'b> {
    /// A line without a session.
    pub fn new(frame: &'b mut [u8]) -> Self {
        let deframer = CobsDeframer::new(frame);
        Self { deframer, session: Session::default(), scratch: [0; BYTE_FRAME_MAX], coded: [0; CODED_MAX] }
    }

    /// Takes a byte; a request that it completes is answered at once. True when a request was understood.
    pub fn push<H: Hardware>(&mut self, byte: u8, agent: &mut Agent<'_, H>, sink: &mut dyn Sink) -> bool {
        let Deframed::Payload(payload) = self.deframer.push(&mut &[byte][..]) else { return false };
        let coded = &mut self.coded;
        let mut answered = false;
        let send = &mut |answer: &[u8]| {
            if let Ok(used) = encode_cobs(answer, coded) {
                sink.send(&coded[..used]);
                answered = true;
            }
        };
        let next = self.session.handle(agent, payload, &mut self.scratch, send);
        if next == Next::Close {
            agent.closed();
        }
        answered
    }
}
