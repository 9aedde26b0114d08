//! Blobs in memory: models and samples, one behind the other, each proved by its digest before it is used.

use boardproof_core::{BlobState, Refusal};
use boardproof_protocol::{Begin, Coding, Digest, RefusalCode};
use sha2::Digest as _;

/// Most blobs at a time.
const BLOBS_MAX: usize = 8;
/// Places begin at a multiple of this.
const ALIGN: usize = 8;

/// A blob or a part of one.
#[derive(Debug, Clone, Copy)]
struct Entry {
    digest: Digest,
    epoch: u64,
    offset: usize,
    size: usize,
    received: usize,
    proved: bool,
}

/// The store.
#[derive(Debug)]
pub struct Store<'m> {
    memory: &'m mut [u8],
    entries: [Option<Entry>; BLOBS_MAX],
    used: usize,
}

const fn refuse(code: RefusalCode, detail: &'static str, number: u64) -> Refusal<'static> {
    Refusal { code, detail, number }
}

const NOT_BEGUN: Refusal<'static> = refuse(RefusalCode::Offset, "begin the upload first", 0);

impl<'m> Store<'m> {
    /// An empty one in this memory.
    pub fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, entries: [None; BLOBS_MAX], used: 0 }
    }

    /// Bytes free for another blob.
    pub fn free(&self) -> usize {
        self.memory.len() - self.used
    }

    fn entry(&mut self, digest: Digest) -> Option<&mut Entry> {
        self.entries.iter_mut().flatten().find(|e| e.digest == digest)
    }

    /// What is known of a blob.
    pub fn stat(&mut self, digest: Digest) -> BlobState {
        match self.entry(digest) {
            Some(entry) => BlobState { present: entry.proved, received: entry.received as u64 },
            None => BlobState { present: false, received: 0 },
        }
    }

    /// Starts or resumes an upload.
    pub fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'static>> {
        if begin.coding != Coding::Plain || begin.coded_size != begin.size {
            return Err(refuse(RefusalCode::Limit, "this unit takes blobs as they are, not coded", 0));
        }
        if begin.program {
            return Err(refuse(RefusalCode::Limit, "this unit runs no programs: its firmware has the engine", 0));
        }
        if let Some(entry) = self.entry(begin.digest) {
            entry.epoch = begin.epoch;
            return Ok(entry.received as u64);
        }
        let free = self.free();
        let size = usize::try_from(begin.size).ok().filter(|size| *size <= free);
        let size = size.ok_or(refuse(RefusalCode::NoSpace, "the number is what is free", free as u64))?;
        let Some(slot) = self.entries.iter_mut().find(|slot| slot.is_none()) else {
            return Err(refuse(RefusalCode::NoSpace, "too many blobs: clean the unit", BLOBS_MAX as u64));
        };
        let (digest, epoch, offset) = (begin.digest, begin.epoch, self.used);
        *slot = Some(Entry { digest, epoch, offset, size, received: 0, proved: false });
        self.used = (offset + size).next_multiple_of(ALIGN).min(self.memory.len());
        Ok(0)
    }

    /// The upload that a part with this name belongs to.
    pub fn upload(&self, name: u32) -> Option<(u64, Digest)> {
        self.entries.iter().flatten().find(|e| e.digest.upload() == name).map(|e| (e.epoch, e.digest))
    }

    /// Takes a piece; one that is known is passed over.
    pub fn piece(&mut self, digest: Digest, offset: u64, bytes: &[u8]) -> Result<u64, Refusal<'static>> {
        let Some(entry) = self.entries.iter_mut().flatten().find(|e| e.digest == digest) else { return Err(NOT_BEGUN) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset > entry.received {
            return Err(refuse(RefusalCode::Offset, "an earlier piece is missing", entry.received as u64));
        }
        let new = bytes.get(entry.received - offset..).unwrap_or_default();
        let room = self.memory.get_mut(entry.offset + entry.received..entry.offset + entry.size).unwrap_or_default();
        let Some(room) = room.get_mut(..new.len()) else {
            return Err(refuse(RefusalCode::Limit, "more bytes than were announced", entry.size as u64));
        };
        room.copy_from_slice(new);
        entry.received += new.len();
        Ok(entry.received as u64)
    }

    /// Where a begun upload lies.
    pub fn place(&mut self, digest: Digest) -> Result<*const u8, Refusal<'static>> {
        let Some(entry) = self.entries.iter().flatten().find(|e| e.digest == digest) else { return Err(NOT_BEGUN) };
        Ok(self.memory[entry.offset..].as_ptr())
    }

    /// Somebody else has written all bytes below this offset.
    pub fn arrived(&mut self, digest: Digest, offset: u64) -> Result<u64, Refusal<'static>> {
        let Some(entry) = self.entry(digest) else { return Err(NOT_BEGUN) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset > entry.size {
            return Err(refuse(RefusalCode::Limit, "more bytes than were announced", entry.size as u64));
        }
        entry.received = entry.received.max(offset);
        Ok(entry.received as u64)
    }

    /// Proves a blob by its digest. One that is not what it should be is gone, and its room with it if it was the last.
    pub fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'static>> {
        let found = self.entries.iter().position(|e| e.is_some_and(|e| e.digest == digest));
        let Some((index, entry)) = found.and_then(|i| Some((i, self.entries[i]?))) else {
            return Err(refuse(RefusalCode::MissingBlob, "no such upload", 0));
        };
        if entry.proved {
            return Ok(());
        }
        if entry.received < entry.size {
            return Err(refuse(RefusalCode::Offset, "the upload is not complete", entry.received as u64));
        }
        let content = &self.memory[entry.offset..entry.offset + entry.size];
        if sha2::Sha256::digest(content)[..] == digest.0 {
            self.entries[index] = Some(Entry { proved: true, ..entry });
            return Ok(());
        }
        self.entries[index] = None;
        self.used =
            self.entries.iter().flatten().map(|e| (e.offset + e.size).next_multiple_of(ALIGN)).max().unwrap_or(0);
        Err(refuse(RefusalCode::DigestMismatch, "the content is not what was announced", 0))
    }

    /// A proved blob.
    pub fn blob(&self, digest: Digest) -> Option<&[u8]> {
        let entry = self.entries.iter().flatten().find(|e| e.digest == digest && e.proved)?;
        self.memory.get(entry.offset..entry.offset + entry.size)
    }

    /// Forgets everything; returns the bytes that were used.
    pub fn clean(&mut self) -> u64 {
        self.entries = [None; BLOBS_MAX];
        core::mem::take(&mut self.used) as u64
    }
}
