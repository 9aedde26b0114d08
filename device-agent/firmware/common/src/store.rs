//! Blobs in memory: models and samples, one behind the other, each proved by its digest before it is used.
//!
//! The list of proved blobs lies in the memory itself, so that a reset that leaves the memory alone costs no upload; what is found there is
//! proved anew before it is believed.

use boardproof_core::{BlobState, Refusal};
use boardproof_protocol::{Begin, Coding, Digest, RefusalCode};
use core::marker::PhantomData;
use core::ops::Range;
use sha2::{Digest as _, Sha256};

/// Most blobs at a time.
pub const BLOBS_MAX: usize = 8;
/// Places begin at a multiple of this.
const ALIGN: usize = 8;

/// The list in memory: a magic, entries of digest, offset and size, and the digest of all that.
const MAGIC: [u8; 8] = *b"bpStore1";
const ENTRY_BYTES: usize = 32 + 4 + 4;
const LIST_BYTES: usize = 8 + BLOBS_MAX * ENTRY_BYTES;
/// Bytes of the memory that the list takes.
pub const HEAD_BYTES: usize = (LIST_BYTES + 32).next_multiple_of(ALIGN);

/// What is known of a blob's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is coming in.
    Open,
    /// It was proved before a reset.
    Kept,
    /// It is what its digest says.
    Proved,
}

/// A blob or a part of one.
#[derive(Debug, Clone, Copy)]
struct Entry {
    digest: Digest,
    epoch: u64,
    offset: usize,
    size: usize,
    received: usize,
    state: State,
    /// When it was last asked for, in questions.
    used: u32,
}

impl Entry {
    fn end(&self) -> usize {
        (self.offset + self.size).next_multiple_of(ALIGN)
    }

    fn place(&self) -> Range<usize> {
        self.offset..self.offset + self.size
    }
}

/// The digest of what has come in of one upload.
#[derive(Debug, Clone)]
struct Running {
    digest: Digest,
    hash: Sha256,
    /// Bytes that it has seen.
    seen: usize,
}

/// The store.
#[derive(Debug)]
pub struct Store<'m> {
    base: *mut u8,
    length: usize,
    entries: [Option<Entry>; BLOBS_MAX],
    running: Option<Running>,
    questions: u32,
    /// Somebody may have slices of proved blobs: they must neither move nor change.
    lent: bool,
    memory: PhantomData<&'m mut [u8]>,
}

const fn refuse(code: RefusalCode, detail: &'static str, number: u64) -> Refusal<'static> {
    Refusal { code, detail, number }
}

const NOT_BEGUN: Refusal<'static> = refuse(RefusalCode::Offset, "begin the upload first", 0);
const TOO_MANY: &str = "more bytes than were announced: the number is the size";
const BUSY: Refusal<'static> = refuse(RefusalCode::Busy, "a job is running on what is stored", 0);

impl<'m> Store<'m> {
    /// A store in this memory, with what a store before it has left there.
    pub fn new(memory: &'m mut [u8]) -> Self {
        let (base, length) = (memory.as_mut_ptr(), memory.len());
        let mut store = Self {
            base,
            length,
            entries: [None; BLOBS_MAX],
            running: None,
            questions: 0,
            lent: false,
            memory: PhantomData,
        };
        store.read_list();
        store
    }

    /// Bytes for blobs.
    pub fn capacity(&self) -> usize {
        self.length.saturating_sub(HEAD_BYTES)
    }

    /// Bytes that another blob would get without one of those that are here going.
    pub fn free(&self) -> usize {
        self.length.saturating_sub(self.end())
    }

    fn end(&self) -> usize {
        self.entries.iter().flatten().map(Entry::end).max().unwrap_or(HEAD_BYTES)
    }

    /// A part of the memory. Empty where it is not inside.
    #[expect(unsafe_code, reason = "proved blobs are read by a job while others come in")]
    fn bytes(&self, place: Range<usize>) -> &'m [u8] {
        if place.start > place.end || place.end > self.length {
            return &[];
        }
        // SAFETY: inside of the memory that was given for `'m` and that nobody else has. `bytes_mut` is the only writer: it writes the
        // head, which is not lent, blobs that are open, which `blob` does not lend, and moves blobs only while nothing is lent.
        unsafe { core::slice::from_raw_parts(self.base.add(place.start), place.len()) }
    }

    /// A part of the memory, for writing. Empty where it is not inside.
    #[expect(unsafe_code, reason = "proved blobs are read by a job while others come in")]
    fn bytes_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        if place.start > place.end || place.end > self.length {
            return &mut [];
        }
        // SAFETY: as above; callers give places of the head, of open blobs, or anything while nothing is lent.
        unsafe { core::slice::from_raw_parts_mut(self.base.add(place.start), place.len()) }
    }

    fn find(&self, digest: Digest) -> Option<usize> {
        self.entries.iter().position(|e| e.is_some_and(|e| e.digest == digest))
    }

    /// The entry of a blob, which was asked for just now. One that was kept across a reset is proved, or gone.
    fn entry(&mut self, digest: Digest) -> Option<&mut Entry> {
        let index = self.find(digest)?;
        let entry = self.entries[index]?;
        if entry.state == State::Kept {
            let is_it = Sha256::digest(self.bytes(entry.place()))[..] == digest.0;
            self.entries[index] = is_it.then_some(Entry { state: State::Proved, ..entry });
            if !is_it {
                self.write_list();
            }
        }
        self.questions = self.questions.wrapping_add(1);
        let used = self.questions;
        let entry = self.entries[index].as_mut()?;
        entry.used = used;
        Some(entry)
    }

    /// What is known of a blob.
    pub fn stat(&mut self, digest: Digest) -> BlobState {
        match self.entry(digest) {
            Some(entry) => BlobState { present: entry.state == State::Proved, received: entry.received as u64 },
            None => BlobState { present: false, received: 0 },
        }
    }

    /// Proved blobs, the one that was asked for last first.
    #[cfg(feature = "tiny")]
    pub fn latest(&self) -> [Option<Digest>; BLOBS_MAX] {
        let mut before = u32::MAX;
        [(); BLOBS_MAX].map(|()| {
            let older = self.entries.iter().flatten().filter(|e| e.state != State::Open && e.used < before);
            let next = older.max_by_key(|e| e.used)?;
            before = next.used;
            Some(next.digest)
        })
    }

    /// Starts or resumes an upload. What was not asked for the longest makes room, when there is none.
    ///
    /// # Errors
    /// A coding that is not plain, a program, no room, or no way to make room while a job runs.
    pub fn begin(&mut self, begin: &Begin) -> Result<u64, Refusal<'static>> {
        if begin.coding != Coding::Plain || begin.coded_size != begin.size {
            return Err(refuse(RefusalCode::Limit, "this unit takes blobs as they are, not coded", 0));
        }
        if begin.program {
            return Err(refuse(RefusalCode::Limit, "this unit runs no programs: its firmware has the engine", 0));
        }
        if let Some(entry) = self.entry(begin.digest) {
            if entry.size as u64 != begin.size {
                let number = entry.size as u64;
                return Err(refuse(
                    RefusalCode::Limit,
                    "this content was begun with another size: the number is it",
                    number,
                ));
            }
            entry.epoch = begin.epoch;
            return Ok(entry.received as u64);
        }
        let (capacity, digest) = (self.capacity(), begin.digest);
        let size = usize::try_from(begin.size).ok().filter(|size| *size <= capacity / ALIGN * ALIGN);
        let size = size.ok_or(refuse(RefusalCode::NoSpace, "the number is all the room there is", capacity as u64))?;
        let index = self.make_room(size)?;
        let offset = self.end();
        let (epoch, used, state) = (begin.epoch, self.questions, State::Open);
        self.entries[index] = Some(Entry { digest, epoch, offset, size, received: 0, state, used });
        self.running = Some(Running { digest, hash: Sha256::new(), seen: 0 });
        Ok(0)
    }

    /// A free entry, and `size` bytes behind the last blob: other uploads go first, then what was not used for the longest.
    fn make_room(&mut self, size: usize) -> Result<usize, Refusal<'static>> {
        let has_room = |store: &Self| store.entries.iter().position(Option::is_none).filter(|_| size <= store.free());
        if let Some(index) = has_room(self) {
            return Ok(index);
        }
        if self.lent {
            return Err(BUSY);
        }
        self.entries.iter_mut().for_each(|slot| *slot = slot.filter(|e| e.state != State::Open));
        loop {
            self.close_gaps();
            if let Some(index) = has_room(self) {
                self.write_list();
                return Ok(index);
            }
            let oldest = (0..BLOBS_MAX).filter(|i| self.entries[*i].is_some());
            let oldest = oldest.min_by_key(|i| self.entries[*i].map_or(0, |e| e.used));
            let Some(oldest) = oldest else {
                return Err(refuse(RefusalCode::NoSpace, "the number is what is free", self.free() as u64));
            };
            self.entries[oldest] = None;
        }
    }

    /// Moves blobs to the front. Nothing may be lent.
    fn close_gaps(&mut self) {
        let mut to = HEAD_BYTES;
        let mut last = 0;
        while let Some(index) = self.next_from(last) {
            let Some(entry) = self.entries[index] else { return };
            last = entry.offset + 1;
            let length = self.length;
            self.bytes_mut(0..length).copy_within(entry.place(), to);
            self.entries[index] = Some(Entry { offset: to, ..entry });
            to = (to + entry.size).next_multiple_of(ALIGN);
        }
    }

    /// The entry that comes first in memory from this offset on.
    fn next_from(&self, offset: usize) -> Option<usize> {
        let at = |i: usize| self.entries[i].map_or(usize::MAX, |e| e.offset);
        (0..BLOBS_MAX).filter(|i| (offset..usize::MAX).contains(&at(*i))).min_by_key(|i| at(*i))
    }

    /// The upload that a part with this name belongs to.
    pub fn upload(&self, name: u32) -> Option<(u64, Digest)> {
        self.entries.iter().flatten().find(|e| e.digest.upload() == name).map(|e| (e.epoch, e.digest))
    }

    /// Takes a piece; one that is known is passed over. Returns the next offset wanted.
    ///
    /// # Errors
    /// An upload that was not begun, a piece that is missing before this one, or more than was announced.
    pub fn piece(&mut self, digest: Digest, offset: u64, bytes: &[u8]) -> Result<u64, Refusal<'static>> {
        let Some(entry) = self.find(digest).and_then(|index| self.entries[index]) else { return Err(NOT_BEGUN) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset > entry.received {
            return Err(refuse(RefusalCode::Offset, "an earlier piece is missing", entry.received as u64));
        }
        let new = bytes.get(entry.received - offset..).unwrap_or_default();
        if new.len() > entry.size - entry.received {
            return Err(refuse(RefusalCode::Limit, TOO_MANY, entry.size as u64));
        }
        if entry.state == State::Open {
            let from = entry.offset + entry.received;
            self.bytes_mut(from..from + new.len()).copy_from_slice(new);
            self.received(digest, entry.received + new.len());
        }
        Ok((entry.received + new.len()) as u64)
    }

    /// All bytes of an open upload below this offset are here: they go into its digest while the host sends the next ones.
    fn received(&mut self, digest: Digest, below: usize) {
        let Some(entry) = self.find(digest).and_then(|index| self.entries[index].as_mut()) else { return };
        entry.received = entry.received.max(below);
        let (offset, below) = (entry.offset, entry.received);
        let Some(mut running) = self.running.take_if(|running| running.digest == digest) else { return };
        running.hash.update(self.bytes(offset + running.seen..offset + below));
        running.seen = below;
        self.running = Some(running);
    }

    /// Address of a begun upload.
    ///
    /// # Errors
    /// An upload that was not begun, or is complete: its bytes must not change.
    pub fn place(&mut self, digest: Digest) -> Result<u64, Refusal<'static>> {
        let entry = self.entries.iter().flatten().find(|e| e.digest == digest && e.state == State::Open);
        let offset = entry.ok_or(NOT_BEGUN)?.offset;
        Ok(self.base.wrapping_add(offset).expose_provenance() as u64)
    }

    /// Somebody else has written all bytes below this offset. Returns the next offset wanted.
    ///
    /// # Errors
    /// An upload that was not begun, or more than was announced.
    pub fn arrived(&mut self, digest: Digest, offset: u64) -> Result<u64, Refusal<'static>> {
        let Some(entry) = self.find(digest).and_then(|index| self.entries[index]) else { return Err(NOT_BEGUN) };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset > entry.size {
            return Err(refuse(RefusalCode::Limit, TOO_MANY, entry.size as u64));
        }
        // Nothing goes into the digest before the end: what the probe writes may change until then.
        if let Some(index) = self.find(digest).filter(|_| entry.state == State::Open) {
            self.entries[index] = Some(Entry { received: entry.received.max(offset), ..entry });
        }
        Ok(entry.received.max(offset) as u64)
    }

    /// Proves a blob by its digest. One that is not what it should be is gone.
    ///
    /// # Errors
    /// No such upload, bytes that are missing, or another content.
    pub fn finish(&mut self, digest: Digest) -> Result<(), Refusal<'static>> {
        let Some(entry) = self.entry(digest).copied() else {
            return Err(refuse(RefusalCode::MissingBlob, "no such upload", 0));
        };
        if entry.state == State::Proved {
            return Ok(());
        }
        if entry.received < entry.size {
            return Err(refuse(RefusalCode::Offset, "the upload is not complete", entry.received as u64));
        }
        let running = self.running.take_if(|running| running.digest == digest);
        let Running { mut hash, seen, .. } = running.unwrap_or(Running { digest, hash: Sha256::new(), seen: 0 });
        hash.update(self.bytes(entry.offset + seen..entry.offset + entry.size));
        let is_it = hash.finalize()[..] == digest.0;
        if let Some(index) = self.find(digest) {
            self.entries[index] = is_it.then_some(Entry { state: State::Proved, ..entry });
        }
        self.write_list();
        let mismatch = refuse(RefusalCode::DigestMismatch, "the content is not what was announced", 0);
        if is_it { Ok(()) } else { Err(mismatch) }
    }

    /// A proved blob. It stays where and as it is until [`Self::take_back`].
    pub fn blob(&mut self, digest: Digest) -> Option<&'m [u8]> {
        let entry = self.entry(digest).copied().filter(|e| e.state == State::Proved)?;
        self.lent = true;
        Some(self.bytes(entry.place()))
    }

    /// Blobs may move and go again.
    ///
    /// # Safety
    /// Nobody has a slice that [`Self::blob`] returned.
    #[expect(unsafe_code, reason = "only the caller knows")]
    pub unsafe fn take_back(&mut self) {
        self.lent = false;
    }

    /// Forgets everything; returns the bytes that were used.
    ///
    /// # Errors
    /// While a job runs.
    pub fn clean(&mut self) -> Result<u64, Refusal<'static>> {
        if self.lent {
            return Err(BUSY);
        }
        let used = self.end() - HEAD_BYTES;
        (self.entries, self.running) = ([None; BLOBS_MAX], None);
        self.write_list();
        Ok(used as u64)
    }

    /// Writes the list of proved blobs, for the start after the next reset.
    fn write_list(&mut self) {
        let entries = self.entries;
        let Some((head, digest)) = self.bytes_mut(0..LIST_BYTES + 32).split_at_mut_checked(LIST_BYTES) else { return };
        head.fill(0);
        head[..8].copy_from_slice(&MAGIC);
        let kept = entries.iter().flatten().filter(|e| e.state != State::Open);
        for (to, entry) in head[8..].chunks_exact_mut(ENTRY_BYTES).zip(kept) {
            to[..32].copy_from_slice(&entry.digest.0);
            to[32..36].copy_from_slice(&(entry.offset as u32).to_le_bytes());
            to[36..].copy_from_slice(&(entry.size as u32).to_le_bytes());
        }
        digest.copy_from_slice(&Sha256::digest(&*head));
    }

    /// Reads what a start before this one has left, if it is whole.
    fn read_list(&mut self) {
        let Some((head, digest)) = self.bytes(0..LIST_BYTES + 32).split_at_checked(LIST_BYTES) else { return };
        if head[..8] != MAGIC || Sha256::digest(head)[..] != *digest {
            return;
        }
        let length = self.length;
        for (slot, from) in self.entries.iter_mut().zip(head[8..].chunks_exact(ENTRY_BYTES)) {
            let (digest, word) = (from.first_chunk::<32>(), |at: usize| from.get(at..at + 4)?.first_chunk::<4>());
            let (Some(digest), Some(offset), Some(size)) = (digest, word(32), word(36)) else { return };
            let [offset, size] = [*offset, *size].map(|word| u32::from_le_bytes(word) as usize);
            let inside = offset >= HEAD_BYTES && offset.checked_add(size).is_some_and(|end| end <= length);
            let (digest, epoch, received, state) = (Digest(*digest), 0, size, State::Kept);
            *slot = inside.then_some(Entry { digest, epoch, offset, size, received, state, used: 0 });
        }
    }
}

#[cfg(test)]
mod tests;
