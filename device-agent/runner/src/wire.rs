//! The runner's side of the pipe to the agent: one request in, events out, in the stream framing of the protocol.

use crate::pass::RunError;
use boardproof_protocol::frame::{DecodeError, STREAM_FRAME_MAX, decode_request, encode_event};
use boardproof_protocol::{Event, Request, Run, Stream};
use std::io::{BufWriter, Read, StdinLock, StdoutLock, Write};

/// Bytes of a stream in one event: far below the largest frame, so that the agent's buffer stays small.
const DATA_MAX: usize = 32 * 1024;
/// Progress is reported at most this often per pass.
const PROGRESS_STEPS: u64 = 100;

/// Standard input and output of the runner.
pub struct Wire {
    input: StdinLock<'static>,
    output: BufWriter<StdoutLock<'static>>,
    scratch: Vec<u8>,
    /// Bytes that wait for more of their stream, one entry per stream.
    gathered: Vec<Gathered>,
    progress_next: u64,
}

/// Bytes of one stream that make one event: an answer may be a few bytes, and an event costs the board and the host more than those.
struct Gathered {
    stream: Stream,
    offset: u64,
    bytes: Vec<u8>,
}

/// The request as it came; [`Request::run`] borrows from it.
pub struct RequestBytes(Vec<u8>);

impl RequestBytes {
    /// The run that was asked for.
    pub fn run(&self) -> Result<Run<'_>, RunError> {
        let wrong = |what: String| RunError::Request(what.into());
        match decode_request(&self.0) {
            Ok((_, Request::Run(run))) => Ok(run),
            Ok((_, other)) => Err(wrong(format!("expected Run, got {other:?}"))),
            Err(DecodeError::Short) => Err(wrong("it is too short".into())),
            Err(DecodeError::Crc) => Err(wrong("its CRC does not fit".into())),
            Err(DecodeError::Malformed(_)) => Err(wrong("it is no request of this version".into())),
        }
    }
}

impl Wire {
    /// Takes standard input and output; nothing else may write there.
    pub fn open() -> Result<Self, RunError> {
        let output = BufWriter::with_capacity(2 * DATA_MAX, std::io::stdout().lock());
        Ok(Self {
            input: std::io::stdin().lock(),
            output,
            scratch: vec![0; 2 * DATA_MAX],
            gathered: Vec::new(),
            progress_next: 0,
        })
    }

    /// Reads the one request.
    pub fn request(&mut self) -> Result<RequestBytes, RunError> {
        let mut head = [0; 4];
        self.input.read_exact(&mut head).map_err(|e| RunError::Request(e.into()))?;
        let length = u32::from_le_bytes(head) as usize;
        if length > STREAM_FRAME_MAX {
            return Err(RunError::Request(format!("expected at most {STREAM_FRAME_MAX} bytes, got {length}").into()));
        }
        let mut payload = vec![0; length];
        self.input.read_exact(&mut payload).map_err(|e| RunError::Request(e.into()))?;
        Ok(RequestBytes(payload))
    }

    /// Writes an event behind the data that came before it. Facts leave at once, so that what was learnt before a crash is known.
    pub fn send(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        self.write_gathered()?;
        self.write(event)?;
        self.output.flush().map_err(RunError::Write)
    }

    /// Takes bytes of a stream from `offset` on, and moves the offset. They leave when there are enough of them or with the next fact.
    pub fn data(&mut self, stream: Stream, offset: &mut u64, bytes: &[u8]) -> Result<(), RunError> {
        for piece in bytes.chunks(DATA_MAX) {
            let at = self.gathered.iter().position(|g| g.stream == stream).unwrap_or_else(|| {
                self.gathered.push(Gathered { stream, offset: *offset, bytes: Vec::with_capacity(DATA_MAX) });
                self.gathered.len() - 1
            });
            if self.gathered[at].bytes.len() + piece.len() > DATA_MAX {
                self.write_one(at)?;
            }
            let gathered = &mut self.gathered[at];
            if gathered.bytes.is_empty() {
                gathered.offset = *offset;
            }
            gathered.bytes.extend_from_slice(piece);
            *offset += piece.len() as u64;
        }
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), RunError> {
        (0..self.gathered.len()).try_for_each(|at| self.write_one(at))
    }

    fn write_one(&mut self, at: usize) -> Result<(), RunError> {
        let Gathered { stream, offset, ref mut bytes } = self.gathered[at];
        if bytes.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(bytes);
        let written = self.write(&Event::Data { stream, offset, bytes: &bytes });
        let gathered = &mut self.gathered[at];
        gathered.bytes = bytes;
        gathered.bytes.clear();
        written
    }

    /// Reports progress, now and then.
    pub fn progress(&mut self, done: u64, total: u64) -> Result<(), RunError> {
        if done < self.progress_next && done != total {
            return Ok(());
        }
        self.progress_next = done + (total / PROGRESS_STEPS).max(1);
        self.send(&Event::Progress { done, total })
    }

    fn write(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        let payload = encode_event(event, &mut self.scratch)
            .map_err(|_| RunError::Write(std::io::Error::other("an event is larger than the buffer for it")))?;
        let head = (payload.len() as u32).to_le_bytes();
        self.output.write_all(&head).and_then(|()| self.output.write_all(payload)).map_err(RunError::Write)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The last data may still be waiting; a reader that is gone needs no error.
        let _ = self.write_gathered();
        let _ = self.output.flush();
    }
}
