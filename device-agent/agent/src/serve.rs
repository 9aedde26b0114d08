//! The loop of `serve`: bytes from standard input become frames, frames become answers on standard output. Decides nothing.

use crate::arguments::Serve;
use crate::device::{Board, BoardError};
use boardproof_core::{Next, Session};
use boardproof_protocol::frame::{Deframed, PREAMBLE, STREAM_FRAME_MAX, StreamDeframer};
use std::io::{self, BufWriter, Read, Write};

/// Bytes read from the link at once, and written at once.
const PIECE: usize = 64 * 1024;

/// The link ended otherwise than by its end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error("could not {action} the link")]
    Link { action: &'static str, source: io::Error },
    #[error("the link is out of step: expected a frame of at most {limit} bytes, got {length}")]
    OutOfStep { length: usize, limit: usize },
}

/// Serves one host until it says goodbye or its end of the link is gone. Jobs that still run then are killed; what was uploaded stays.
pub fn serve(options: &Serve) -> Result<(), ServeError> {
    let mut board = Board::open(&options.store)?;
    let mut link = Link { output: BufWriter::with_capacity(PIECE, io::stdout().lock()), log: options.log };
    link.note(&format!("{} in {}", board.build(), board.store_root().display()));
    link.output.write_all(PREAMBLE).and_then(|()| link.output.flush()).map_err(failed("write to"))?;
    let closed = link.run(&mut board)?;
    link.note(if closed { "the host said goodbye" } else { "the link ended" });
    if closed {
        board.say_goodbye();
    }
    Ok(())
}

struct Link {
    output: BufWriter<io::StdoutLock<'static>>,
    log: bool,
}

impl Link {
    /// Handles frames until the end; true when the host said goodbye.
    fn run(&mut self, board: &mut Board) -> Result<bool, ServeError> {
        let mut input = io::stdin().lock();
        let (mut session, mut piece) = (Session::default(), vec![0; PIECE]);
        let (mut buffer, mut scratch) = (vec![0; STREAM_FRAME_MAX], vec![0; STREAM_FRAME_MAX]);
        let mut deframer = StreamDeframer::new(&mut buffer);
        loop {
            let mut bytes = match input.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(read) => &piece[..read],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read from")(error)),
            };
            while !bytes.is_empty() {
                match deframer.push(&mut bytes) {
                    Deframed::Payload(payload) => {
                        if self.handle(&mut session, board, payload, &mut scratch)? == Next::Close {
                            return Ok(true);
                        }
                    }
                    Deframed::Incomplete => {}
                    Deframed::Broken { length, limit } => return Err(ServeError::OutOfStep { length, limit }),
                }
            }
        }
    }

    fn handle(
        &mut self,
        session: &mut Session,
        board: &mut Board,
        payload: &[u8],
        scratch: &mut [u8],
    ) -> Result<Next, ServeError> {
        let mut written = Ok(());
        let next = session.handle(board, payload, scratch, &mut |answer| {
            let head = u32::try_from(answer.len()).unwrap_or(u32::MAX).to_le_bytes();
            if written.is_ok() {
                written = self.output.write_all(&head).and_then(|()| self.output.write_all(answer));
            }
        });
        written.and_then(|()| self.output.flush()).map_err(failed("write to"))?;
        Ok(next)
    }

    fn note(&self, text: &str) {
        if self.log {
            eprintln!("boardproof-agent: {text}");
        }
    }
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Link { action, source }
}
