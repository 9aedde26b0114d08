//! Models and samples into a microcontroller's RAM by its debug probe, which is faster than its line.
//!
//! The agent says where a blob may lie, proves its digest when it is there, and alone decides whether it has it. What the probe could not do
//! goes over the line.

use crate::events::{Event, Events};
use crate::hands::Hands;
use crate::held::Held;
use crate::link::Link;
use crate::link::client::{Client, ClientError};
use crate::ship::{Blob, ShipError, content, ready};
use boardproof_protocol as wire;
use boardproof_protocol::{Begin, Coding, Reply, Request};
use boardproof_record::observation::{Attempt, Shipped};
use std::time::Instant;

/// Smaller blobs are over the line before a probe is attached.
const LOAD_MIN: u64 = 8 * 1024;
/// Bytes between two looks at the lease.
const PIECE: usize = 256 * 1024;

/// A blob that did not get there by the probe.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the debug probe could not write {bytes} bytes at {address:#010x}")]
    Write {
        bytes: usize,
        address: u64,
        #[source]
        source: crate::hands::HandsError,
    },
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Brings a blob that the unit lacks there by its probe; false when it has still to go over the line. `told` hears of every try, `shipped`
/// counts what was written.
///
/// # Errors
/// A blob that cannot be read, and a link that is gone.
pub fn load<L: Link>(
    client: &mut Client<L>,
    held: &mut Held<'_>,
    blob: &Blob,
    hands: &mut dyn Hands,
    shipped: &mut Shipped,
    told: &mut Vec<Attempt>,
    events: &mut dyn Events,
) -> Result<bool, ShipError> {
    let bytes = content(blob)?;
    if (bytes.len() as u64) < LOAD_MIN || !hands.writes() {
        return Ok(false);
    }
    let failed = |source| ShipError::Client { what: blob.what.clone(), source };
    let digest = wire::Digest(blob.digest.0);
    let present = client.ask("ask for a blob", &Request::Stat { digest }, |reply| match reply {
        Reply::Stat { present, .. } => Some(*present),
        _ => None,
    });
    if present.map_err(failed)? {
        return Ok(false);
    }
    let start = Instant::now();
    let done = Loading { client, held, digest, bytes: &bytes, what: &blob.what }.run(hands, shipped, events);
    let elapsed = start.elapsed().as_millis() as u64;
    shipped.elapsed_ms += elapsed;
    let error = done.as_ref().err().map(|error| crate::measure::causes(error).join(": "));
    told.push(Attempt { action: format!("load the {} by the debug probe", blob.what), elapsed_ms: elapsed, error });
    match done {
        Ok(()) => {
            shipped.content_bytes += bytes.len() as u64;
            Ok(true)
        }
        Err(LoadError::Client(error)) if error.link_is_gone() || matches!(error, ClientError::Interrupted) => {
            Err(failed(error))
        }
        Err(_) => Ok(false),
    }
}

/// A blob on its way.
struct Loading<'a, 'h, L> {
    client: &'a mut Client<L>,
    held: &'a mut Held<'h>,
    digest: wire::Digest,
    bytes: &'a [u8],
    what: &'a str,
}

impl<L: Link> Loading<'_, '_, L> {
    fn run(self, hands: &mut dyn Hands, shipped: &mut Shipped, events: &mut dyn Events) -> Result<(), LoadError> {
        let Self { client, held, digest, bytes, what } = self;
        let (epoch, size) = (held.epoch, bytes.len() as u64);
        let begin = Begin { epoch, digest, size, coded_size: size, coding: Coding::Plain, program: false };
        let from = client.ask("begin an upload", &Request::Begin(begin), ready)? as usize;
        let place =
            client.ask("ask for the place of an upload", &Request::Place { epoch, digest }, |reply| match reply {
                Reply::Placed { address } => Some(*address),
                _ => None,
            })?;
        let mut at = from.min(bytes.len());
        for piece in bytes[at..].chunks(PIECE) {
            if held.is_due() {
                held.renew(client)?;
            }
            let address = place.wrapping_add(at as u64);
            let wrong = |source| LoadError::Write { bytes: piece.len(), address, source };
            hands.write(address, piece).map_err(wrong)?;
            at += piece.len();
            shipped.probe_bytes += piece.len() as u64;
            events.hear(Event::Shipped { what: what.to_owned(), done: at as u64, total: size });
        }
        client.ask("say what has arrived", &Request::Arrived { epoch, digest, offset: size }, ready)?;
        client.ask("finish an upload", &Request::Finish { epoch, digest }, |reply| match reply {
            Reply::Stored { .. } => Some(()),
            _ => None,
        })?;
        Ok(())
    }
}
