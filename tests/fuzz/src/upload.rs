//! The agent's uploads: chunks of any offset and content, cut and taken up again. What is kept has the digest that was announced, what
//! is not kept leaves nothing that could be taken for it, and a hostile frame takes no more memory than its window.

use crate::Seed;
use crate::bytes::{Bytes, of_arm64, put_piece};
use boardproof_agent::{Store, Upload, Wish, digest_of_reader};
use boardproof_protocol::{Begin, Coding, Digest};
use std::cell::RefCell;
use tempfile::TempDir;

/// Content larger than this is not what a script of 16 kB is about.
const CONTENT_BYTES_MAX: usize = 256 * 1024;

/// A store that is emptied between scripts.
fn with_store<T>(work: impl FnOnce(&Store) -> T) -> T {
    thread_local!(static STORE: RefCell<(TempDir, Store)> = RefCell::new(fresh()));
    STORE.with_borrow(|(_, store)| {
        store.clean().expect("the store can be emptied");
        work(store)
    })
}

fn fresh() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let wish = Wish { folder: Some(folder.path().join("store")), ..Wish::default() };
    let store = Store::open(&wish, 1).expect("a store in a folder of its own");
    (folder, store)
}

/// Coding, how size and digest are announced, the coded bytes, then what becomes of them piece by piece.
pub fn upload(input: &[u8]) -> bool {
    let mut script = Bytes(input);
    let (coding, honest) = (script.u8(), script.u8());
    let coding = [Coding::Plain, Coding::Zstd, Coding::Zstd, Coding::ZstdArm64][usize::from(coding % 4)];
    let (size, coded) = (script.u32(), script.piece());
    // Another decoder says what the content is; what only one of the two takes is seen below.
    let content = match coding {
        Coding::Plain => Some(coded.to_vec()),
        Coding::Zstd => zstd::bulk::decompress(coded, CONTENT_BYTES_MAX).ok(),
        Coding::ZstdArm64 => zstd::bulk::decompress(coded, CONTENT_BYTES_MAX).ok().map(of_arm64),
    };
    let right = content.as_deref().map(|content| digest_of_reader(&mut &content[..]).expect("it is in memory"));
    let announced = if honest % 8 == 7 { Digest([honest; 32]) } else { right.unwrap_or(Digest([1; 32])) };
    let size = match &content {
        Some(content) if honest % 4 != 3 => content.len() as u64,
        _ => u64::from(size),
    };
    let begin =
        Begin { epoch: 1, digest: announced, size, coded_size: coded.len() as u64, coding, program: honest % 2 == 1 };
    with_store(|store| {
        let Ok(kept) = send(store, &begin, coded, &mut script) else { return false };
        assert_eq!(store.present(announced).expect("the store can be asked"), kept);
        if kept {
            let bytes = std::fs::read(store.blob(announced)).expect("it is present");
            assert_eq!(
                digest_of_reader(&mut &bytes[..]).expect("it is in memory"),
                announced,
                "another content was kept"
            );
            assert_eq!(bytes.len() as u64, size, "a content of another size was kept");
            assert!(
                std::fs::read_dir(store.partial()).expect("a folder").next().is_none(),
                "something was left behind"
            );
        } else {
            assert!(!store.blob(announced).exists(), "what was refused is there");
        }
        kept
    })
}

/// Sends the pieces; `Ok(true)` when the blob was kept.
fn send(
    store: &Store,
    begin: &Begin,
    coded: &[u8],
    script: &mut Bytes<'_>,
) -> Result<bool, boardproof_agent::UploadError> {
    let mut upload = Upload::begin(store, begin)?;
    assert_eq!(upload.offset(), 0, "an upload that was never begun goes on");
    for _ in 0..8 {
        let before = upload.offset();
        match script.u8() {
            // The next piece, as a host sends it.
            0..128 => {
                let piece = coded.get(before as usize..).unwrap_or_default();
                let piece = &piece[..piece.len().min(1 + 64 * usize::from(script.u8()))];
                assert_eq!(upload.chunk(before, piece)?, before + piece.len() as u64);
            }
            // A piece from anywhere: what is known is not taken twice, a gap is not jumped.
            128..192 => {
                let offset = u64::from(script.u16());
                let piece = script.piece();
                let end = offset + piece.len() as u64;
                match upload.chunk(offset, piece) {
                    Ok(next) => assert!(offset <= before && next == before.max(end) && next <= begin.coded_size),
                    Err(_) => assert!(offset > before || end > begin.coded_size),
                }
            }
            // A cut: what was received stays received.
            192..224 => {
                drop(upload);
                assert_eq!(store.received(begin.digest)?, before);
                upload = Upload::begin(store, begin)?;
                assert_eq!(upload.offset(), before);
            }
            _ => break,
        }
    }
    let rest = coded.get(upload.offset() as usize..).unwrap_or_default();
    upload.chunk(upload.offset(), rest)?;
    Ok(upload.finish(store).is_ok())
}

pub fn seeds() -> Vec<Seed> {
    let script = |coding: u8, honest: u8, coded: &[u8], steps: &[u8]| {
        let mut script = vec![coding, honest];
        script.extend(2000_u32.to_le_bytes());
        put_piece(&mut script, coded);
        script.extend(steps);
        script
    };
    let text: Vec<u8> = (0..2000_u32).map(|i| (i / 7) as u8).collect();
    let noise: Vec<u8> = (0..2000_u32).map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // Calls of one function from many places, and a piece of a word at the end.
    let calls: Vec<u8> = (0..500_u32).flat_map(|i| (0x9400_0000 | (900 - i)).to_le_bytes()).chain([0x94; 3]).collect();
    let coded = |content: &[u8], level| zstd::bulk::compress(content, level).expect("it is in memory");
    let steps = [0, 0, 200, 0, 1, 130, 5, 0, 3, 0, 9, 9, 9, 0, 5];
    vec![
        ("plain".into(), script(0, 0, &text, &steps)),
        ("zstd_text".into(), script(1, 0, &coded(&text, 19), &steps)),
        ("zstd_noise".into(), script(1, 1, &coded(&noise, 3), &[0, 200])),
        ("zstd_arm64".into(), script(3, 1, &coded(&calls, 3), &steps)),
        ("zstd_zeros".into(), script(1, 0, &coded(&vec![0; 200_000], 3), &[])),
    ]
}
