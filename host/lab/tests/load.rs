//! Blobs that a debug probe writes: only the unit says that it has one, and what the probe could not do is left to the line.

use boardproof_lab::hands::{Hands, HandsError, Look, Restart};
use boardproof_lab::held::Held;
use boardproof_lab::link::client::{Client, Patience};
use boardproof_lab::link::{Link, LinkError};
use boardproof_lab::load::load;
use boardproof_lab::ship::Blob;
use boardproof_protocol::frame::{Header, STREAM_FRAME_MAX, decode_request, encode_reply};
use boardproof_protocol::{RefusalCode, Refused, Reply, Request};
use boardproof_record::Digest;
use boardproof_record::observation::{Attempt, Shipped};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

const PLACE: u64 = 0x2100_0000;
/// What the unit had before.
const RECEIVED: u64 = 1000;

/// A unit's end of the link: memory that a probe writes, and what is answered from it.
#[derive(Clone)]
struct Unit {
    memory: Rc<RefCell<Vec<u8>>>,
    has_places: bool,
    answers: Rc<RefCell<VecDeque<Vec<u8>>>>,
}

impl Unit {
    fn answer(&self, header: Header, request: &Request<'_>) {
        let refused = |code| Reply::Refused(Refused { code, detail: "", number: 0 });
        let reply = match request {
            Request::Stat { .. } => Reply::Stat { present: false, received: RECEIVED },
            Request::Begin(_) => Reply::Ready { offset: RECEIVED },
            Request::Place { .. } if self.has_places => Reply::Placed { address: PLACE },
            Request::Arrived { offset, .. } => Reply::Ready { offset: *offset },
            Request::Finish { digest, .. } if Digest::of(&self.memory.borrow()).0 == digest.0 => {
                Reply::Stored { digest: *digest }
            }
            Request::Finish { .. } => refused(RefusalCode::DigestMismatch),
            _ => refused(RefusalCode::Limit),
        };
        let mut frame = vec![0; STREAM_FRAME_MAX];
        let payload = encode_reply(header, &reply, &mut frame).expect("it fits").to_vec();
        self.answers.borrow_mut().push_back(payload);
    }
}

impl Link for Unit {
    fn send(&mut self, payload: &[u8], _deadline: Instant) -> Result<(), LinkError> {
        let (header, request) = decode_request(payload).expect("the host sends requests");
        self.answer(header, &request);
        Ok(())
    }

    fn receive(&mut self, _deadline: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        Ok(self.answers.borrow_mut().pop_front())
    }

    fn traffic(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// What a probe does with what it is to write.
#[derive(Clone, Copy, PartialEq)]
enum Probe {
    Writes,
    Damages,
    Fails,
    MayNot,
}

struct ProbeOf(Unit, Probe);

impl Hands for ProbeOf {
    fn look(&mut self, _stands: bool) -> Option<Result<Look, HandsError>> {
        None
    }

    fn restarts(&self) -> Vec<Restart> {
        Vec::new()
    }

    fn restart(&mut self, _how: Restart) -> Result<(), HandsError> {
        Err("there is no way".into())
    }

    fn writes(&self) -> bool {
        self.1 != Probe::MayNot
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), HandsError> {
        if self.1 == Probe::Fails {
            return Err("the probe was unplugged".into());
        }
        let mut memory = self.0.memory.borrow_mut();
        let at = (address - PLACE) as usize;
        memory.resize(at + bytes.len(), 0);
        memory[at..].copy_from_slice(bytes);
        memory[at] ^= u8::from(self.1 == Probe::Damages);
        Ok(())
    }
}

/// Loads so many bytes; says whether the unit has them, what was tried, and what was counted.
fn loaded(length: usize, probe: Probe, has_places: bool) -> (bool, Vec<Attempt>, Shipped) {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
    let path = folder.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let blob = Blob { what: "model".into(), path, digest: Digest::of(&bytes), program: false };
    let known = bytes[..bytes.len().min(RECEIVED as usize)].to_vec();
    let unit = Unit { memory: Rc::new(RefCell::new(known)), has_places, answers: Rc::default() };
    let patience = Patience { answer: Duration::from_secs(1), asks: 1 };
    let mut client = Client::new(unit.clone(), patience, || false);
    let (mut shipped, mut told) = (Shipped::default(), Vec::new());
    let mut hands = ProbeOf(unit, probe);
    let mut held = Held::new(1, "a host");
    let done = load(&mut client, &mut held, &blob, &mut hands, &mut shipped, &mut told, &mut |_| {});
    (done.unwrap(), told, shipped)
}

#[test]
fn a_blob_goes_through_the_probe_from_where_it_had_stopped() {
    // More than one piece.
    let length = 600_000;
    let (is_there, told, shipped) = loaded(length, Probe::Writes, true);
    assert!(is_there, "{told:?}");
    assert_eq!((told.len(), &*told[0].action, &told[0].error), (1, "load the model by the debug probe", &None));
    let counted = (shipped.probe_bytes, shipped.content_bytes, shipped.wire_bytes);
    assert_eq!(counted, (length as u64 - RECEIVED, length as u64, 0));
}

#[test]
fn what_the_probe_could_not_do_is_told_and_left_to_the_line() {
    for (probe, has_places, words) in [
        (Probe::Fails, true, "could not write 9000 bytes at 0x210003e8: the probe was unplugged"),
        (Probe::Damages, true, "DigestMismatch"),
        (Probe::Writes, false, "could not ask for the place of an upload: the agent refused"),
    ] {
        let (is_there, told, shipped) = loaded(10_000, probe, has_places);
        let error = told[0].error.as_deref().unwrap_or_default();
        assert!(!is_there && told.len() == 1 && error.contains(words), "{told:?}");
        assert_eq!(shipped.content_bytes, 0, "{words}");
    }
}

#[test]
fn nothing_is_tried_without_the_grant_or_for_what_is_small() {
    for (length, probe) in [(10_000, Probe::MayNot), (8191, Probe::Writes)] {
        let (is_there, told, _) = loaded(length, probe, true);
        assert!(!is_there && told.is_empty(), "{told:?}");
    }
}
