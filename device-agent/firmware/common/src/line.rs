//! Frames on a line of bytes, and the session behind them.

use crate::engine::Engine;
use crate::{Agent, Hardware};
use boardproof_core::{Device, Next, Session};
use boardproof_protocol::frame::{BYTE_FRAME_MAX, CobsDeframer, Deframed, encode_cobs};

/// Bytes of a payload as it travels: one more per 254, and the zero behind it.
pub const CODED_BYTES: usize = BYTE_FRAME_MAX + BYTE_FRAME_MAX / 254 + 2;

/// Memory of a line's frames: one that comes in, one that is made, and one that goes out.
#[derive(Debug)]
pub struct Frames {
    incoming: [u8; CODED_BYTES],
    scratch: [u8; BYTE_FRAME_MAX],
    outgoing: [u8; CODED_BYTES],
}

impl Frames {
    /// Empty ones.
    pub const fn new() -> Self {
        Self { incoming: [0; CODED_BYTES], scratch: [0; BYTE_FRAME_MAX], outgoing: [0; CODED_BYTES] }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// What a byte led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// More bytes are needed, or what came was no request.
    Nothing,
    /// A request was answered.
    Answered,
    /// The host said goodbye, and was answered.
    Closed,
}

/// What came since a line was last served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Bytes.
    pub bytes: bool,
    /// A request that was understood.
    pub request: bool,
}

/// The device's end of a line: any way of bytes (UART, RTT).
#[derive(Debug)]
pub struct Line<'b> {
    deframer: CobsDeframer<'b>,
    session: Session,
    scratch: &'b mut [u8],
    outgoing: &'b mut [u8],
    #[cfg(feature = "tiny")]
    text: crate::tiny::Text,
}

impl<'b> Line<'b> {
    /// A line without a session.
    pub fn new(frames: &'b mut Frames) -> Self {
        let Frames { incoming, scratch, outgoing } = frames;
        Self {
            deframer: CobsDeframer::new(incoming),
            session: Session::default(),
            scratch,
            outgoing,
            #[cfg(feature = "tiny")]
            text: crate::tiny::Text::new(),
        }
    }

    /// Forgets a frame that is not whole.
    pub fn forget(&mut self) {
        let _ = self.deframer.push(&mut &[0][..]);
    }

    /// Takes a byte; a request that it completes is answered at once, by `send`, which returns when it has taken the bytes.
    pub fn push<D: Device>(&mut self, byte: u8, device: &mut D, send: &mut dyn FnMut(&[u8])) -> Pushed {
        let Deframed::Payload(payload) = self.deframer.push(&mut &[byte][..]) else { return Pushed::Nothing };
        let outgoing = &mut *self.outgoing;
        let mut answered = false;
        let mut frame = |answer: &[u8]| {
            if let Ok(used) = encode_cobs(answer, outgoing) {
                send(&outgoing[..used]);
                answered = true;
            }
        };
        match self.session.handle(device, payload, self.scratch, &mut frame) {
            Next::Close => Pushed::Closed,
            Next::Continue if answered => Pushed::Answered,
            Next::Continue => Pushed::Nothing,
        }
    }

    /// Takes all bytes that are waiting.
    pub fn serve<H: Hardware, E: Engine>(
        &mut self,
        take: &mut dyn FnMut() -> Option<u8>,
        agent: &mut Agent<'_, H, E>,
        send: &mut dyn FnMut(&[u8]),
    ) -> Heard {
        let mut heard = Heard { bytes: false, request: false };
        while let Some(byte) = take() {
            heard.bytes = true;
            let pushed = self.push(byte, agent, send);
            // Every byte goes to both: a frame has its checksum, a command its first word.
            #[cfg(feature = "tiny")]
            {
                heard.request |= self.text.push(byte, agent, send);
            }
            heard.request |= pushed != Pushed::Nothing;
            if pushed == Pushed::Closed {
                agent.closed();
            }
            if pushed != Pushed::Nothing && agent.wants_rate() {
                // What comes next comes at another rate.
                break;
            }
        }
        heard
    }
}
