use super::*;

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn begin(bytes: &[u8]) -> Begin {
    let size = bytes.len() as u64;
    Begin { epoch: 1, digest: digest(bytes), size, coded_size: size, coding: Coding::Plain, program: false }
}

fn put(store: &mut Store<'_>, bytes: &[u8]) {
    assert_eq!(store.begin(&begin(bytes)), Ok(0));
    for (i, piece) in bytes.chunks(100).enumerate() {
        store.piece(digest(bytes), i as u64 * 100, piece).unwrap();
    }
    store.finish(digest(bytes)).unwrap();
}

fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(seed) ^ seed).collect()
}

#[test]
fn an_upload_is_resumed_repeated_and_proved() {
    let mut memory = vec![0x5a; HEAD_BYTES + 1000];
    let mut store = Store::new(&mut memory);
    let bytes = content(3, 250);
    let digest = digest(&bytes);
    assert_eq!(store.begin(&begin(&bytes)), Ok(0));
    assert_eq!(store.piece(digest, 0, &bytes[..100]), Ok(100));
    assert_eq!(store.begin(&begin(&bytes)), Ok(100));
    assert_eq!(store.piece(digest, 200, &bytes[200..]).unwrap_err().number, 100);
    assert_eq!(store.finish(digest).unwrap_err().code, RefusalCode::Offset);
    // Behind bytes that are known, and beside them.
    assert_eq!(store.piece(digest, 50, &bytes[50..200]), Ok(200));
    assert_eq!(store.piece(digest, 0, &bytes[..10]), Ok(200));
    assert_eq!(store.piece(digest, 200, &[0; 51]).unwrap_err().code, RefusalCode::Limit);
    assert_eq!((store.blob(digest), store.stat(digest).received), (None, 200));
    assert_eq!(store.piece(digest, 200, &bytes[200..]), Ok(250));
    store.finish(digest).unwrap();
    store.finish(digest).unwrap();
    assert_eq!(store.blob(digest), Some(&bytes[..]));
    // What is proved does not change any more.
    assert_eq!(store.piece(digest, 0, &[9; 250]), Ok(250));
    assert_eq!(store.blob(digest), Some(&bytes[..]));
}

#[test]
fn what_is_not_what_it_should_be_is_gone() {
    let mut memory = vec![0; HEAD_BYTES + 1000];
    let mut store = Store::new(&mut memory);
    let bytes = content(3, 64);
    store.begin(&begin(&bytes)).unwrap();
    store.piece(digest(&bytes), 0, &[7; 64]).unwrap();
    assert_eq!(store.finish(digest(&bytes)).unwrap_err().code, RefusalCode::DigestMismatch);
    assert_eq!((store.stat(digest(&bytes)).received, store.free()), (0, 1000));
    let coded = Begin { coding: Coding::Zstd, ..begin(&bytes) };
    assert_eq!(store.begin(&coded).unwrap_err().code, RefusalCode::Limit);
    let large = Begin { size: 1001, coded_size: 1001, ..begin(&bytes) };
    let refused = store.begin(&large).unwrap_err();
    assert_eq!((refused.code, refused.number), (RefusalCode::NoSpace, 1000));
    let endless = Begin { size: u64::MAX, coded_size: u64::MAX, ..begin(&bytes) };
    assert_eq!(store.begin(&endless).unwrap_err().code, RefusalCode::NoSpace);
}

#[test]
fn what_was_not_used_for_the_longest_makes_room_but_not_while_a_job_runs() {
    let mut memory = vec![0; HEAD_BYTES + 1000];
    let mut store = Store::new(&mut memory);
    let blobs: Vec<_> = (1..5).map(|seed| content(seed, 300)).collect();
    (0..3).for_each(|i| put(&mut store, &blobs[i]));
    assert_eq!(store.blob(digest(&blobs[0])), Some(&blobs[0][..]));
    assert_eq!(store.begin(&begin(&blobs[3])).unwrap_err().code, RefusalCode::Busy);
    assert_eq!(store.clean().unwrap_err().code, RefusalCode::Busy);
    // SAFETY: the slice above is gone.
    #[expect(unsafe_code, reason = "a test")]
    unsafe {
        store.take_back();
    }
    put(&mut store, &blobs[3]);
    let present: Vec<bool> = blobs.iter().map(|b| store.stat(digest(b)).present).collect();
    assert_eq!(present, [true, false, true, true]);
    for blob in [&blobs[0], &blobs[2], &blobs[3]] {
        assert_eq!(store.blob(digest(blob)), Some(&blob[..]));
    }
}

#[test]
fn more_blobs_than_entries_make_room_for_each_other() {
    let mut memory = vec![0; HEAD_BYTES + 10_000];
    let mut store = Store::new(&mut memory);
    let blobs: Vec<_> = (1..12).map(|seed| content(seed, 50)).collect();
    blobs.iter().for_each(|blob| put(&mut store, blob));
    let present = blobs.iter().filter(|b| store.stat(digest(b)).present).count();
    assert_eq!(present, BLOBS_MAX);
    assert!(!store.stat(digest(&blobs[0])).present);
}

#[test]
fn a_reset_keeps_proved_blobs_and_only_as_long_as_they_are_unharmed() {
    let mut memory = vec![0; HEAD_BYTES + 1000];
    let blobs = [content(3, 100), content(5, 77), content(7, 50)];
    let mut store = Store::new(&mut memory);
    put(&mut store, &blobs[0]);
    put(&mut store, &blobs[1]);
    store.begin(&begin(&blobs[2])).unwrap();
    let harmed = HEAD_BYTES + 104;
    assert_eq!(memory[harmed], blobs[1][0]);
    memory[harmed] ^= 1;
    let mut store = Store::new(&mut memory);
    let present: Vec<bool> = blobs.iter().map(|b| store.stat(digest(b)).present).collect();
    assert_eq!(present, [true, false, false]);
    assert_eq!(store.blob(digest(&blobs[0])), Some(&blobs[0][..]));
    memory[9] ^= 1;
    assert!(!Store::new(&mut memory).stat(digest(&blobs[0])).present);
}

#[test]
fn bytes_that_a_probe_wrote_are_proved_at_the_end() {
    let mut memory = vec![0; HEAD_BYTES + 1000];
    let mut store = Store::new(&mut memory);
    let bytes = content(3, 250);
    let digest = digest(&bytes);
    assert_eq!(store.place(digest).unwrap_err().code, RefusalCode::Offset);
    store.begin(&begin(&bytes)).unwrap();
    let place = store.place(digest).unwrap();
    assert_eq!(place as usize, store.bytes(HEAD_BYTES..HEAD_BYTES + 1).as_ptr().addr());
    assert_eq!(store.arrived(digest, 251).unwrap_err().code, RefusalCode::Limit);
    assert_eq!(store.arrived(digest, 250), Ok(250));
    // The probe is late; the digest is made of what is there when it is asked for.
    store.bytes_mut(HEAD_BYTES..HEAD_BYTES + 250).copy_from_slice(&bytes);
    store.finish(digest).unwrap();
    assert_eq!(store.blob(digest), Some(&bytes[..]));
}

#[test]
fn a_memory_too_small_for_anything_refuses_and_does_not_panic() {
    for length in [0, 8, LIST_BYTES, HEAD_BYTES] {
        let mut memory = vec![0xff; length];
        let mut store = Store::new(&mut memory);
        let refused = store.begin(&begin(&[1; 8])).unwrap_err();
        assert_eq!((refused.code, refused.number), (RefusalCode::NoSpace, 0));
        assert_eq!(store.clean(), Ok(0));
    }
}
