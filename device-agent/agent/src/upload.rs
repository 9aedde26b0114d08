//! One upload: coded bytes go to a partial file, a second thread decodes and hashes them as they come.
//!
//! The partial file alone is the state: after a cut or a restart the thread reads it from its start again. So the digest is ready
//! almost as soon as the last byte is, and memory does not grow with the blob: what it takes is the frame's own window.

use crate::digest::Hasher;
use crate::store::{self, Store, StoreError};
use boardproof_protocol::branches::Branches;
use boardproof_protocol::{Begin, Coding, Digest};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Largest window of a zstd frame that is taken, as a power of two: the decoder keeps that much in memory, here 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;
/// What zstd says when it gets no memory for its window.
const NOT_ENOUGH_MEMORY: &str = "not enough memory";
/// Bytes decoded or read at once.
const PIECE: usize = 64 * 1024;

/// An upload could not go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum UploadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("upload of {digest}: expected an offset of at most {expected}, got {got}")]
    Offset { digest: Digest, expected: u64, got: u64 },
    #[error("upload of {digest}: expected at most {expected} coded bytes, got {got}")]
    TooLong { digest: Digest, expected: u64, got: u64 },
    #[error("upload of {digest} is not complete: expected {expected} coded bytes, got {got}")]
    Incomplete { digest: Digest, expected: u64, got: u64 },
    #[error("the content does not have its digest: expected {expected}, got {got}")]
    Mismatch { expected: Digest, got: String },
}

/// An upload in progress.
#[derive(Debug)]
pub struct Upload {
    begin: Begin,
    path: PathBuf,
    file: File,
    received: u64,
    feed: Arc<Feed>,
    decoder: Option<JoinHandle<Result<Digest, DecodeError>>>,
    decoded: Option<PathBuf>,
}

impl Upload {
    /// Starts an upload or takes up what is there of it. Refuses when content and coded bytes do not fit into the store.
    pub fn begin(store: &Store, begin: &Begin) -> Result<Self, UploadError> {
        let coding = match begin.coding {
            Coding::Plain => "plain",
            Coding::Zstd => "zstd",
            Coding::ZstdArm64 => "zstd-arm64",
        };
        let name = format!("{}.{coding}.{}", begin.digest, begin.coded_size);
        let path = store.partial().join(&name);
        forget_others(store, begin.digest, &name)?;
        // A longer file than was announced cannot be a beginning of it.
        let mut received = store::open_plain(&path)?.map_or(Ok(0), |f| f.metadata().map(|m| m.len())).unwrap_or(0);
        if received > begin.coded_size {
            store::remove(&path)?;
            received = 0;
        }
        let content = if begin.coding == Coding::Plain { 0 } else { begin.size };
        store.make_room(content.saturating_add(begin.coded_size - received), begin.digest)?;
        let file = create(&path, true)?;
        let decoded =
            (begin.coding != Coding::Plain).then(|| store.partial().join(format!("{}.decoded", begin.digest)));
        let feed = Arc::new(Feed::new(received));
        let decoder = Some(spawn_decoder(begin, &path, decoded.as_deref(), Arc::clone(&feed))?);
        Ok(Self { begin: *begin, path, file, received, feed, decoder, decoded })
    }

    /// Is this the upload that `begin` means?
    pub fn is(&self, begin: &Begin) -> bool {
        let Begin { digest, size, coded_size, coding, .. } = self.begin;
        (digest, size, coded_size, coding) == (begin.digest, begin.size, begin.coded_size, begin.coding)
    }

    /// Did the decoder give up in the middle, for a full disk or bytes that are no frame? Whoever begins again then needs a new upload:
    /// it reads the partial file from its start. Before the end of an upload a decoder in good health waits for more.
    pub fn has_failed(&self) -> bool {
        self.decoder.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The content that will result.
    pub fn digest(&self) -> Digest {
        self.begin.digest
    }

    /// Next coded offset wanted.
    pub fn offset(&self) -> u64 {
        self.received
    }

    /// Takes a piece. What lies below the offset wanted is ignored; a gap is refused. Returns the next offset wanted.
    pub fn chunk(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, UploadError> {
        let Begin { digest, coded_size, .. } = self.begin;
        if offset > self.received {
            return Err(UploadError::Offset { digest, expected: self.received, got: offset });
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if end > coded_size {
            return Err(UploadError::TooLong { digest, expected: coded_size, got: end });
        }
        let known = usize::try_from(self.received - offset).unwrap_or(usize::MAX);
        let fresh = bytes.get(known..).unwrap_or_default();
        if let Err(error) = self.file.write_all(fresh) {
            // Whatever part of the piece reached the disk is cut off, so that the file holds what was acknowledged.
            let _ = self.file.set_len(self.received);
            return Err(StoreError::io("write", &self.path, coded_size - self.received)(error).into());
        }
        self.received += fresh.len() as u64;
        self.feed.grow(self.received);
        Ok(self.received)
    }

    /// Verifies the content and keeps it. Content that does not have its digest is removed.
    pub fn finish(mut self, store: &Store) -> Result<(), UploadError> {
        let Begin { digest, coded_size, program, .. } = self.begin;
        if self.received < coded_size {
            return Err(UploadError::Incomplete { digest, expected: coded_size, got: self.received });
        }
        self.feed.close(End::Complete);
        match self.join() {
            Ok(found) if found == digest => {
                store.keep(self.decoded.as_deref().unwrap_or(&self.path), digest, program)?;
                store::remove(&self.path)?;
                Ok(())
            }
            Ok(found) => self.reject(digest, found.to_string()),
            Err(DecodeError::Io(source)) => Err(StoreError::io("decode", &self.path, self.begin.size)(source).into()),
            Err(DecodeError::Content(why)) => self.reject(digest, why),
        }
    }

    fn reject(&self, expected: Digest, got: String) -> Result<(), UploadError> {
        store::remove(&self.path)?;
        Err(UploadError::Mismatch { expected, got })
    }

    fn join(&mut self) -> Result<Digest, DecodeError> {
        match self.decoder.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // A decoder that panics on hostile input has found that the input is no frame.
            Some(Err(_)) | None => Err(DecodeError::Content("bytes that the zstd decoder gave up on".into())),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.feed.close(End::Abandoned);
        if let Some(decoder) = self.decoder.take() {
            let _ = decoder.join();
        }
        // Decoded content is cheap to make again; the coded bytes are what a resumed upload needs.
        if let Some(decoded) = &self.decoded {
            let _ = store::remove(decoded);
        }
    }
}

/// Removes uploads of the same content in another coding, and decoded leftovers.
fn forget_others(store: &Store, digest: Digest, keep: &str) -> Result<(), StoreError> {
    let prefix = format!("{digest}.");
    let partial = store.partial();
    let entries = std::fs::read_dir(&partial).map_err(StoreError::io("list", &partial, 0))?;
    for name in entries.flatten().map(|e| e.file_name()) {
        if name.to_str().is_some_and(|n| n.starts_with(&prefix) && n != keep) {
            store::remove(&partial.join(name))?;
        }
    }
    Ok(())
}

fn create(path: &Path, append: bool) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    options.open(path).map_err(StoreError::io("open", path, 0))
}

/// How much of the partial file may be read.
#[derive(Debug)]
struct Feed {
    state: Mutex<(u64, Option<End>)>,
    changed: Condvar,
}

/// Why no more bytes will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Abandoned,
}

impl Feed {
    fn new(available: u64) -> Self {
        Self { state: Mutex::new((available, None)), changed: Condvar::new() }
    }

    fn grow(&self, available: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = available;
        self.changed.notify_one();
    }

    fn close(&self, end: End) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = state.1.or(Some(end));
        self.changed.notify_one();
    }

    /// Waits until more than `position` bytes are there or no more will come.
    fn wait(&self, position: u64) -> (u64, Option<End>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |s: &mut (u64, Option<End>)| s.0 <= position && s.1.is_none();
        *self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the partial file up to what was received and waits for more at its end.
struct Follow {
    file: File,
    position: u64,
    feed: Arc<Feed>,
}

impl Read for Follow {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (available, end) = self.feed.wait(self.position);
        if end == Some(End::Abandoned) {
            return Err(io::Error::other("the upload was given up"));
        }
        let most = usize::try_from(available - self.position).unwrap_or(usize::MAX).min(out.len());
        let read = self.file.read(&mut out[..most])?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Why there is no digest.
#[derive(Debug)]
enum DecodeError {
    /// The store failed.
    Io(io::Error),
    /// The bytes are not what was announced.
    Content(String),
}

fn spawn_decoder(
    begin: &Begin,
    path: &Path,
    decoded: Option<&Path>,
    feed: Arc<Feed>,
) -> Result<JoinHandle<Result<Digest, DecodeError>>, StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path, 0))?;
    let source = BufReader::with_capacity(PIECE, Follow { file, position: 0, feed });
    let sink = decoded.map(|p| create(p, false)).transpose()?;
    let size = begin.size;
    let branches = (begin.coding == Coding::ZstdArm64).then(Branches::default);
    let work = move || match sink {
        None => pour(source, None, size, None),
        Some(sink) => unpack(source, sink, size, branches),
    };
    // The decoder keeps its tables on the heap; the default stack of a thread would only be address space.
    let started = std::thread::Builder::new().name("decode".into()).stack_size(256 * 1024).spawn(work);
    started.map_err(StoreError::io("start the decoder of", path, 0))
}

/// Decodes exactly one zstd frame of `size` bytes.
fn unpack(
    mut source: BufReader<Follow>,
    sink: File,
    size: u64,
    branches: Option<Branches>,
) -> Result<Digest, DecodeError> {
    let mut frame = zstd::stream::read::Decoder::with_buffer(&mut source).map_err(DecodeError::Io)?.single_frame();
    frame.window_log_max(WINDOW_LOG_MAX).map_err(DecodeError::Io)?;
    let digest = pour(frame, Some(sink), size, branches)?;
    match source.read(&mut [0]) {
        Ok(0) => Ok(digest),
        Ok(_) => Err(DecodeError::Content("bytes after the end of the zstd frame".into())),
        Err(error) => Err(DecodeError::Io(error)),
    }
}

/// Hashes what `source` gives and writes it to `sink`; it must be `size` bytes.
fn pour(
    mut source: impl Read,
    mut sink: Option<File>,
    size: u64,
    mut branches: Option<Branches>,
) -> Result<Digest, DecodeError> {
    let (mut hasher, mut total, mut piece) = (Hasher::default(), 0, vec![0; PIECE]);
    loop {
        let read = fill(&mut source, &mut piece)?;
        if read == 0 {
            break;
        }
        if let Some(branches) = &mut branches {
            branches.to_distances(&mut piece[..read]);
        }
        total += read as u64;
        if total > size {
            return Err(DecodeError::Content(format!("more than the {size} bytes announced")));
        }
        hasher.update(&piece[..read]);
        if let Some(sink) = &mut sink {
            sink.write_all(&piece[..read]).map_err(DecodeError::Io)?;
        }
    }
    if total < size {
        return Err(DecodeError::Content(format!("{total} bytes instead of the {size} announced")));
    }
    Ok(hasher.finish())
}

/// Reads until the piece is full or the source is at its end: only the last piece is shorter.
fn fill(source: &mut impl Read, piece: &mut [u8]) -> Result<usize, DecodeError> {
    let mut filled = 0;
    while filled < piece.len() {
        match source.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(decode_error(error)),
        }
    }
    Ok(filled)
}

/// Errors of the decoder come as `Other`, that of a frame without its end as `UnexpectedEof`; those of the file carry their own kind.
fn decode_error(error: io::Error) -> DecodeError {
    match error.kind() {
        // zstd has no kind for it; what was received is as good as before.
        io::ErrorKind::Other if error.to_string().contains(NOT_ENOUGH_MEMORY) => {
            DecodeError::Io(io::Error::new(io::ErrorKind::OutOfMemory, error))
        }
        io::ErrorKind::Other | io::ErrorKind::UnexpectedEof => {
            DecodeError::Content(format!("bytes that are no zstd frame: {error}"))
        }
        _ => DecodeError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{digest_of, store};

    fn content() -> Vec<u8> {
        (0..300_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect()
    }

    fn begin_of(content: &[u8], coded: &[u8], coding: Coding) -> Begin {
        let (size, coded_size) = (content.len() as u64, coded.len() as u64);
        Begin { epoch: 1, digest: digest_of(content), size, coded_size, coding, program: false }
    }

    fn send(store: &Store, begin: &Begin, coded: &[u8]) -> Result<(), UploadError> {
        let mut upload = Upload::begin(store, begin)?;
        for (i, piece) in coded.chunks(1000).enumerate() {
            upload.chunk(i as u64 * 1000, piece)?;
        }
        upload.finish(store)
    }

    fn left(store: &Store) -> Vec<String> {
        let names = std::fs::read_dir(store.partial()).unwrap().map(|e| e.unwrap().file_name());
        names.map(|n| n.into_string().unwrap()).collect()
    }

    #[test]
    fn all_codings_arrive_and_leave_nothing_behind() {
        let mut content = content();
        // A call in every piece, and an end that is no whole word.
        content.chunks_mut(1024).for_each(|chunk| chunk[3] = 0x94);
        content.push(1);
        let mut with_addresses = content.clone();
        Branches::default().to_addresses(&mut with_addresses);
        let packed = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for (coding, coded) in [
            (Coding::Plain, content.clone()),
            (Coding::Zstd, packed(&content)),
            (Coding::ZstdArm64, packed(&with_addresses)),
        ] {
            let (_folder, store) = store(None);
            let begin = begin_of(&content, &coded, coding);
            send(&store, &begin, &coded).unwrap();
            assert!(store.present(begin.digest).unwrap());
            assert_eq!(std::fs::read(store.blob(begin.digest)).unwrap(), content);
            assert_eq!(left(&store), Vec::<String>::new());
        }
    }

    #[test]
    fn an_upload_that_was_cut_goes_on_where_it_stopped() {
        let content = content();
        let coded = zstd::encode_all(&content[..], 3).unwrap();
        let (_folder, store) = store(None);
        let begin = begin_of(&content, &coded, Coding::Zstd);
        let half = coded.len() / 2;
        let mut first = Upload::begin(&store, &begin).unwrap();
        first.chunk(0, &coded[..half]).unwrap();
        drop(first);
        assert_eq!(store.received(begin.digest).unwrap(), half as u64);
        let mut second = Upload::begin(&store, &begin).unwrap();
        assert_eq!(second.offset(), half as u64);
        // Overlapping what is known is no harm; leaving a gap is.
        assert!(matches!(second.chunk(half as u64 + 1, &[1]), Err(UploadError::Offset { .. })));
        assert_eq!(second.chunk(half as u64 - 10, &coded[half - 10..]).unwrap(), coded.len() as u64);
        assert_eq!(second.chunk(5, &coded[5..20]).unwrap(), coded.len() as u64);
        second.finish(&store).unwrap();
        assert!(store.present(begin.digest).unwrap());
    }

    #[test]
    fn a_decoder_that_gave_up_shows_and_a_healthy_one_waits() {
        let content = content();
        let coded = zstd::encode_all(&content[..], 3).unwrap();
        let (_folder, store) = store(None);
        let begin = begin_of(&content, &coded, Coding::Zstd);
        let mut upload = Upload::begin(&store, &begin).unwrap();
        upload.chunk(0, &coded).unwrap();
        assert!(!upload.has_failed(), "all is there, and it waits to be told so");
        drop(upload);
        let begin = begin_of(b"something else", &coded, Coding::Zstd);
        let mut upload = Upload::begin(&store, &begin).unwrap();
        upload.chunk(0, &[0; 100]).unwrap();
        let start = std::time::Instant::now();
        while !upload.has_failed() {
            assert!(start.elapsed().as_secs() < 60, "zeros are no frame");
            std::thread::yield_now();
        }
    }

    #[test]
    fn content_with_another_digest_is_refused_and_removed() {
        let (_folder, store) = store(None);
        let begin = Begin { digest: digest_of(b"other"), ..begin_of(b"content", b"content", Coding::Plain) };
        assert!(matches!(send(&store, &begin, b"content"), Err(UploadError::Mismatch { .. })));
        assert_eq!(left(&store), Vec::<String>::new());
        assert!(!store.present(begin.digest).unwrap());
    }

    #[test]
    fn hostile_frames_are_refused_with_the_reason() {
        let content = content();
        let whole = zstd::encode_all(&content[..], 3).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x40;
        let cases: [(&str, Vec<u8>); 5] = [
            ("garbage", b"this is no frame at all".to_vec()),
            ("cut", whole[..whole.len() - 3].to_vec()),
            ("tail", [&whole[..], b"x"].concat()),
            ("flipped", flipped),
            ("longer", zstd::encode_all(&[&content[..], b"x"].concat()[..], 3).unwrap()),
        ];
        for (name, coded) in cases {
            let (_folder, store) = store(None);
            let begin = begin_of(&content, &coded, Coding::Zstd);
            let error = send(&store, &begin, &coded).unwrap_err();
            assert!(matches!(error, UploadError::Mismatch { .. }), "{name}: {error:?}");
            assert_eq!(left(&store), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn a_window_that_would_eat_the_boards_memory_is_refused() {
        let content = content();
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(26).unwrap();
        encoder.write_all(&content).unwrap();
        let coded = encoder.finish().unwrap();
        let (_folder, store) = store(None);
        let error = send(&store, &begin_of(&content, &coded, Coding::Zstd), &coded).unwrap_err();
        assert!(error.to_string().contains("requires too much memory"), "{error}");
    }

    #[test]
    fn want_of_memory_is_no_damage() {
        let said = |text: &str| decode_error(io::Error::other(text.to_owned()));
        assert!(matches!(said("Allocation error : not enough memory"), DecodeError::Io(_)));
        assert!(matches!(said("Frame requires too much memory for decoding"), DecodeError::Content(_)));
        assert!(matches!(said("Data corruption detected"), DecodeError::Content(_)));
        let no_disk = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(decode_error(no_disk), DecodeError::Io(_)));
    }

    #[test]
    fn finishing_early_is_refused_and_keeps_what_came() {
        let (_folder, store) = store(None);
        let begin = begin_of(b"content", b"content", Coding::Plain);
        let mut upload = Upload::begin(&store, &begin).unwrap();
        upload.chunk(0, b"cont").unwrap();
        assert!(matches!(upload.finish(&store), Err(UploadError::Incomplete { expected: 7, got: 4, .. })));
        assert_eq!(store.received(begin.digest).unwrap(), 4);
    }

    #[test]
    fn more_than_announced_is_refused() {
        let (_folder, store) = store(None);
        let mut upload = Upload::begin(&store, &begin_of(b"abc", b"abc", Coding::Plain)).unwrap();
        assert!(matches!(upload.chunk(0, b"abcd"), Err(UploadError::TooLong { expected: 3, got: 4, .. })));
        assert!(matches!(upload.chunk(0, &[]), Ok(0)));
    }

    #[test]
    fn an_upload_that_cannot_fit_is_refused_before_its_first_byte() {
        let (_folder, store) = store(Some(1000));
        let begin = Begin { size: 900, coded_size: 101, ..begin_of(b"", b"", Coding::Zstd) };
        let error = Upload::begin(&store, &begin).unwrap_err();
        let UploadError::Store(StoreError::NoSpace { needed, free, .. }) = error else { panic!("{error:?}") };
        assert_eq!((needed, free), (1001, 1000));
        assert_eq!(left(&store), Vec::<String>::new());
    }
}
