//! Bringing things to a unit: blobs over the protocol, content-addressed, compressed, in pieces, resumed where they stopped.

use crate::build::Artifact;
use crate::events::{Event, Events};
use crate::held::Held;
use crate::link::Link;
use crate::link::client::{Client, ClientError};
use boardproof_protocol as wire;
use boardproof_protocol::branches::Branches;
use boardproof_protocol::{Begin, Coding, RefusalCode, Reply, Request};
use boardproof_record::Digest;
use boardproof_record::observation::Shipped;
use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Something that is to be on the unit.
#[derive(Debug, Clone)]
pub struct Blob {
    /// What it is, for messages.
    pub what: String,
    /// The file on this machine.
    pub path: PathBuf,
    /// Its content.
    pub digest: Digest,
    /// It is a program.
    pub program: bool,
}

impl Blob {
    /// A runner that was built.
    pub fn runner(built: &Artifact) -> Self {
        Self { what: "runner".into(), path: built.path.clone(), digest: built.build.digest, program: true }
    }

    /// Size of the file.
    pub(crate) fn bytes(&self) -> Result<u64, ShipError> {
        Ok(std::fs::metadata(&self.path).map_err(|source| read_error(self, source))?.len())
    }
}

/// A blob that cannot be shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// It cannot be read here.
    #[error("could not read the {what}, {}", path.display())]
    Read {
        /// What it is.
        what: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the {what}, {}, has changed: expected digest {expected}, got {found}", path.display())]
    Changed {
        /// What it is.
        what: String,
        /// The file.
        path: PathBuf,
        /// Digest wanted.
        expected: Digest,
        /// Digest of the file.
        found: Digest,
    },
    /// The unit or the link would not.
    #[error("could not ship the {what}")]
    Client {
        /// What it is.
        what: String,
        /// Why.
        #[source]
        source: ClientError,
    },
}

impl ShipError {
    /// The client's error, when it was one.
    pub fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Compression level for programs: they are compressed once per build and shipped often.
const PROGRAM_LEVEL: i32 = 19;
/// Compression level for everything else.
const DATA_LEVEL: i32 = 3;

/// Codes a program for the wire and keeps that in the cache, so that no run has to wait for it; returns its bytes on the wire.
pub fn prepare(program: &Blob, cache: &Path) -> Result<u64, ShipError> {
    coded(program, program.bytes()?, cache).map(|bytes| bytes.len() as u64)
}

/// Makes sure that the unit has this blob. Bytes that it has already are not sent; what is sent is added to `shipped`, also when it
/// was in vain. `cache` keeps coded programs; without one, blobs go as they are: to a unit on this machine, coding takes longer than it
/// saves. The lease is renewed while pieces are sent.
pub fn ship<L: Link>(
    client: &mut Client<L>,
    held: &mut Held<'_>,
    blob: &Blob,
    cache: Option<&Path>,
    shipped: &mut Shipped,
    events: &mut dyn Events,
) -> Result<(), ShipError> {
    let start = Instant::now();
    let done = ship_one(client, held, blob, cache, shipped, events);
    shipped.elapsed_ms += start.elapsed().as_millis() as u64;
    done
}

fn ship_one<L: Link>(
    client: &mut Client<L>,
    held: &mut Held<'_>,
    blob: &Blob,
    cache: Option<&Path>,
    shipped: &mut Shipped,
    events: &mut dyn Events,
) -> Result<(), ShipError> {
    let epoch = held.epoch;
    let failed = |source| ShipError::Client { what: blob.what.clone(), source };
    let size = blob.bytes()?;
    let digest = wire::Digest(blob.digest.0);
    let present = client.ask("ask for a blob", &Request::Stat { digest }, |reply| match reply {
        Reply::Stat { present, .. } => Some(*present),
        _ => None,
    });
    if present.map_err(failed)? {
        shipped.cached_bytes += size;
        return Ok(());
    }
    let (coding, coded) = match cache {
        Some(cache) => (coding(blob), coded(blob, size, cache)?),
        None => (Coding::Plain, content(blob)?),
    };
    let begin = Begin { epoch, digest, size, coded_size: coded.len() as u64, coding, program: blob.program };
    let offset = client.ask("begin an upload", &Request::Begin(begin), ready).map_err(failed)?;
    let mut advanced = |done| {
        events.hear(Event::Shipped { what: blob.what.clone(), done, total: coded.len() as u64 });
    };
    let upload = Upload { held, digest, coded: &coded, sent: &mut shipped.wire_bytes, advanced: &mut advanced };
    upload.run(client, offset).map_err(failed)?;
    let stored = client.ask("finish an upload", &Request::Finish { epoch, digest }, |reply| match reply {
        Reply::Stored { .. } => Some(()),
        _ => None,
    });
    stored.map_err(failed)?;
    shipped.content_bytes += size;
    Ok(())
}

pub(crate) fn ready(reply: &Reply<'_>) -> Option<u64> {
    match reply {
        Reply::Ready { offset } => Some(*offset),
        _ => None,
    }
}

/// An upload that was begun.
struct Upload<'a, 'h> {
    held: &'a mut Held<'h>,
    digest: wire::Digest,
    coded: &'a [u8],
    /// Coded bytes sent, counted whether they arrive or not.
    sent: &'a mut u64,
    /// Is told how much the unit has taken.
    advanced: &'a mut dyn FnMut(u64),
}

impl Upload<'_, '_> {
    /// Sends the coded bytes from `offset` on, as many chunks at a time as the unit gives credit for; the unit says after each what it
    /// wants next.
    fn run<L: Link>(self, client: &mut Client<L>, offset: u64) -> Result<(), ClientError> {
        const ACTION: &str = "upload a piece";
        let Self { held, digest, coded, sent, advanced } = self;
        let epoch = held.epoch;
        let mut next = offset as usize;
        let mut on_the_way: VecDeque<u32> = VecDeque::new();
        // In a row: a lossy link may fail often on a long way, as long as it gets on.
        let mut failures = 0;
        loop {
            if on_the_way.is_empty() && next < coded.len() && held.is_due() {
                held.renew(client)?;
            }
            // Before the lease is renewed, what is on the way has to be answered.
            let renews = !on_the_way.is_empty() && held.is_due();
            while !renews && on_the_way.len() < client.chunk_window() && next < coded.len() {
                let bytes = &coded[next..(next + client.chunk_bytes()).min(coded.len())];
                let piece = client.piece(epoch, digest, next as u64, bytes);
                on_the_way.push_back(client.post_next(ACTION, &piece)?);
                next += bytes.len();
                *sent += bytes.len() as u64;
            }
            let Some(seq) = on_the_way.pop_front() else { return Ok(()) };
            let answered = match client.answer_to(ACTION, seq, ready) {
                Err(ClientError::Refused { code: RefusalCode::Offset, .. }) if failures < client.asks() => Ok(None),
                answered => answered,
            };
            match answered? {
                Some(taken) => {
                    failures = 0;
                    advanced(taken);
                }
                None if failures >= client.asks() => return Err(client.silent(ACTION)),
                None => {
                    // A piece or its answer was lost: everything behind it is of no use. Ask where to go on.
                    failures += 1;
                    on_the_way.clear();
                    let begin = client.ask("ask where to go on", &Request::Stat { digest }, |reply| match reply {
                        Reply::Stat { received, .. } => Some(*received),
                        _ => None,
                    })?;
                    next = begin as usize;
                }
            }
        }
    }
}

/// How a blob travels, which is a question of what it is: the head of a program for 64 bit ARM says so.
fn coding(blob: &Blob) -> Coding {
    let mut head = [0; 20];
    let read = std::fs::File::open(&blob.path).and_then(|mut file| file.read_exact(&mut head));
    let is_arm64 = read.is_ok() && head.starts_with(b"\x7fELF\x02\x01") && head[18..] == [183, 0];
    if blob.program && is_arm64 { Coding::ZstdArm64 } else { Coding::Zstd }
}

/// The blob in its coded form, from the cache of this machine when it was coded before.
fn coded(blob: &Blob, size: u64, cache: &Path) -> Result<Vec<u8>, ShipError> {
    let coding = coding(blob);
    let name = if coding == Coding::ZstdArm64 { "arm64.zst" } else { "zst" };
    let kept = cache.join("coded").join(format!("{}.{name}", blob.digest));
    if blob.program
        && let Ok(bytes) = std::fs::read(&kept)
        && is_coded(&bytes, coding, blob.digest, size)
    {
        return Ok(bytes);
    }
    let mut content = content(blob)?;
    if coding == Coding::ZstdArm64 {
        Branches::default().to_addresses(&mut content);
    }
    let level = if blob.program { PROGRAM_LEVEL } else { DATA_LEVEL };
    let bytes = compress(&content, level).map_err(|source| read_error(blob, source))?;
    if blob.program {
        // A cache that cannot be written costs time and nothing else.
        let part = kept.with_extension(format!("part-{}", std::process::id()));
        let _ = std::fs::create_dir_all(cache.join("coded"));
        let _ = std::fs::write(&part, &bytes).and_then(|()| std::fs::rename(&part, &kept));
    }
    Ok(bytes)
}

pub(crate) fn content(blob: &Blob) -> Result<Vec<u8>, ShipError> {
    let content = std::fs::read(&blob.path).map_err(|source| read_error(blob, source))?;
    let found = Digest::of(&content);
    if found == blob.digest {
        return Ok(content);
    }
    let (what, path) = (blob.what.clone(), blob.path.clone());
    Err(ShipError::Changed { what, path, expected: blob.digest, found })
}

/// Do these bytes decode to the content? A file of the cache may have been torn or changed; sending it would waste an upload.
fn is_coded(bytes: &[u8], coding: Coding, digest: Digest, size: u64) -> bool {
    let content = usize::try_from(size).ok().and_then(|size| zstd::bulk::decompress(bytes, size).ok());
    content.is_some_and(|mut content| {
        if coding == Coding::ZstdArm64 {
            Branches::default().to_distances(&mut content);
        }
        Digest::of(&content) == digest
    })
}

/// Compresses with a window of 2 MiB: a board needs that much memory to decode, and a larger window saves 2 % more.
fn compress(content: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(21))?;
    compressor.compress(content)
}

fn read_error(blob: &Blob, source: std::io::Error) -> ShipError {
    ShipError::Read { what: blob.what.clone(), path: blob.path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_of_the_cache_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let content = b"a program ".repeat(1000);
        let path = folder.path().join("runner");
        std::fs::write(&path, &content).unwrap();
        let blob = Blob { what: "runner".into(), path, digest: Digest::of(&content), program: true };
        let code = || coded(&blob, content.len() as u64, folder.path()).unwrap();
        let right = code();
        let kept = folder.path().join("coded").join(format!("{}.zst", blob.digest));
        assert_eq!(std::fs::read(&kept).unwrap(), right);
        let mut flipped = right.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let other = compress(&b"b program ".repeat(1000), 3).unwrap();
        let longer = compress(&b"a program ".repeat(1001), 3).unwrap();
        for damaged in [&b""[..], b"no frame at all", &right[..right.len() / 2], &flipped, &other, &longer] {
            std::fs::write(&kept, damaged).unwrap();
            assert_eq!(code(), right, "{} bytes", damaged.len());
            assert_eq!(std::fs::read(&kept).unwrap(), right, "it is whole again");
        }
        // What is whole is taken as it is: it is the program's file that is not read again.
        std::fs::remove_file(&blob.path).unwrap();
        assert_eq!(code(), right);
    }
}
