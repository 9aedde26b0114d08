//! The host's reading of what a unit answers: a stale, damaged or repeated answer is never taken, events come in order and without
//! gaps, a pass that is reported whole is whole, and every call comes to its end.

use crate::Seed;
use crate::bytes::{Bytes, put_piece};
use crate::messages::{golden, payload};
use boardproof_lab::events::Event as Said;
use boardproof_lab::held::Held;
use boardproof_lab::link::client::{Client, Patience, Slow};
use boardproof_lab::link::{Link, LinkError};
use boardproof_lab::measure::{Asked, Job, Part, environment, run_pass};
use boardproof_lab::ship::{Blob, ship};
use boardproof_lab::store::RecordFolder;
use boardproof_plan::{builtin, parse_target};
use boardproof_protocol::frame::{Header, decode_reply, decode_request, encode_reply};
use boardproof_protocol::{Dtype, Ended, Event, Output, Phase, RANK_MAX, Reply, Stream};
use boardproof_record::observation::{Ended as HowEnded, FileRef, PassObservation, Shipped};
use boardproof_record::plan::{Cell, Pass, PassPlan, Role, Target};
use boardproof_record::{CellId, Digest, EngineName, ModelName, TargetName, UnitName, VariantName};
use safetensors::SafeTensors;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Answers that leave nothing to do make the host wait a little: a script may have so many of them.
const IDLE_MAX: u32 = 4;
/// Number of the job that every pass has here.
const JOB: u32 = 1;
/// Samples and iterations that are asked for.
const SAMPLES: u64 = 4;
const ITERATIONS: u32 = 8;

/// What went over the link.
#[derive(Default)]
struct Log {
    /// Header of the last request.
    asked: Option<Header>,
    /// Payloads that came under the header that was asked with, since then.
    fitting: Vec<Vec<u8>>,
    idle: u32,
}

/// A unit that answers what the script says.
struct Scripted<'a> {
    script: Bytes<'a>,
    log: Rc<RefCell<Log>>,
}

impl Link for Scripted<'_> {
    fn send(&mut self, payload: &[u8], _: Instant) -> Result<(), LinkError> {
        let (header, _) = decode_request(payload).expect("the host sends requests");
        self.log.borrow_mut().asked = Some(header);
        Ok(())
    }

    fn receive(&mut self, _: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        let mut log = self.log.borrow_mut();
        let header = log.asked.expect("a host asks before it listens");
        if self.script.is_empty() || log.idle > IDLE_MAX {
            return Err(LinkError::Closed { unit: "script".into(), status: "its end".into(), stderr: String::new() });
        }
        let how = self.script.u8();
        let mut bytes = payload(header.session, header.seq, self.script.piece());
        match how {
            251 => return Ok(None),
            252 => bytes = payload(header.session ^ 1, header.seq, &bytes[8..bytes.len() - 4]),
            253 => bytes = payload(header.session, header.seq.wrapping_sub(1), &bytes[8..bytes.len() - 4]),
            254 => bytes[usize::from(how) % 12] ^= 4,
            255 => bytes.truncate(bytes.len() / 2),
            _ => {
                log.idle +=
                    u32::from(matches!(decode_reply(&bytes), Ok((_, Reply::Pending { .. } | Reply::Done { .. }))));
                log.fitting.push(bytes.clone());
            }
        }
        Ok(Some(bytes))
    }

    fn traffic(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// A script of answers: what the host asks for first, then the answers.
pub fn client(input: &[u8]) -> bool {
    let mut script = Bytes(input);
    let what = script.u8();
    let log = Rc::new(RefCell::new(Log::default()));
    let link = Scripted { script, log: Rc::clone(&log) };
    // Nothing waits: an answer that is not there at once does not come.
    let mut client = Client::new(link, Patience { answer: Duration::ZERO, asks: 3 }, || false);
    if client.hello().is_err() {
        return false;
    }
    assert!(client.chunk_bytes() >= 1);
    match what % 6 {
        0 => raw_events(&mut client, &log),
        1 => environment(&mut client, JOB).is_ok(),
        2 => upload(&mut client),
        3 => pass(&mut client, Pass::Latency),
        4 => pass(&mut client, Pass::Inspect),
        _ => pass(&mut client, Pass::Accuracy),
    }
}

/// Every event that is taken came under the right header with the next number, and the end is told by a `Done` that counts them all.
fn raw_events(client: &mut Client<Scripted<'_>>, log: &RefCell<Log>) -> bool {
    log.borrow_mut().fitting.clear();
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let far = Instant::now() + Duration::from_secs(3600);
    let take = |event: &Event<'_>| {
        let index = taken.len() as u32;
        let bytes = encoded(&Reply::Event { job: JOB, index, event: *event });
        let came = log.borrow().fitting.iter().any(
            |payload| matches!(decode_reply(payload), Ok((_, reply @ Reply::Event { .. })) if encoded(&reply) == bytes),
        );
        assert!(came, "event {index} was never sent");
        taken.push(bytes);
        Ok(())
    };
    let done = client.pull(JOB, far, take, |_| Ok(())).is_ok();
    let told = log.borrow().fitting.iter().any(|payload| {
        matches!(decode_reply(payload), Ok((_, Reply::Done { job: JOB, events })) if events as usize == taken.len())
    });
    assert!(!done || told, "a job that was never done");
    done
}

fn encoded(reply: &Reply<'_>) -> Vec<u8> {
    let mut room = vec![0; 64 * 1024];
    encode_reply(Header { session: 0, seq: 0 }, reply, &mut room).expect("it came in a frame").to_vec()
}

fn upload(client: &mut Client<Scripted<'_>>) -> bool {
    thread_local!(static MATERIAL: (TempDir, Blob) = material());
    MATERIAL.with(|(folder, blob)| {
        ship(client, &mut Held::new(1, "fuzz"), blob, Some(folder.path()), &mut Shipped::default(), &mut |_: Said| {})
            .is_ok()
    })
}

fn material() -> (TempDir, Blob) {
    let folder = tempfile::tempdir().expect("a folder for the blob");
    let content: Vec<u8> = (0..3000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
    let path = folder.path().join("blob");
    std::fs::write(&path, &content).expect("the blob can be written");
    (folder, Blob { what: "blob".into(), path, digest: Digest::of(&content), program: false })
}

fn host() -> Target {
    let (name, text) = builtin::TARGETS.iter().find(|(name, _)| name.contains("host")).expect("a target of boardproof");
    parse_target(name, text).expect("it parses")
}

/// A pass that comes back complete has every sample's answer, or every tick, in a file that says so.
fn pass(client: &mut Client<Scripted<'_>>, pass: Pass) -> bool {
    thread_local!(static FOLDER: (TempDir, RecordFolder) = record_folder());
    let plan = PassPlan {
        pass,
        batch: 1,
        samples: SAMPLES,
        warmup: 0,
        iterations: if pass == Pass::Latency { ITERATIONS } else { 0 },
        enough: 0,
        again: false,
        stage: 0,
        deadline_ms: 1000,
        sketch: None,
        memory_limit_bytes: None,
    };
    let cell = cell(&plan);
    let target = host();
    let blob = || Blob { what: "none".into(), path: "none".into(), digest: Digest([0; 32]), program: false };
    let job = Job {
        cell: &cell,
        runner: Some(blob()),
        library: None,
        model: blob(),
        evalset: blob(),
        sample_bytes: None,
        options: "{}".into(),
        target: &target,
        agent_digest: None,
    };
    let part = Part { blob: blob(), first: 0, samples: SAMPLES };
    let (number, epoch, holder) = (JOB, 1, "fuzz");
    let (job, plan, part, options) = (&job, &plan, &part, "{}");
    let slow = Slow { at_work: &|| false, quiet: None };
    let (first, count, deadline_ms) = (0, SAMPLES, plan.deadline_ms);
    let asked = Asked { job, plan, part, first, count, deadline_ms, options, number, epoch, holder, slow };
    FOLDER.with(|(root, folder)| match run_pass(client, &asked, folder, &mut |_: Said| {}) {
        Ok(seen) => {
            check_pass(&seen, root.path());
            seen.ended == HowEnded::Completed
        }
        Err(_) => false,
    })
}

fn check_pass(seen: &PassObservation, root: &Path) {
    let whole = seen.ended == HowEnded::Completed;
    assert_eq!(seen.outputs.is_some(), whole && seen.pass == Pass::Accuracy);
    assert_eq!(seen.ticks.is_some(), whole && seen.pass == Pass::Latency);
    assert!(!(whole && seen.cannot_run.is_some()), "a model that cannot run has run");
    let read = |file: &FileRef| {
        let bytes = std::fs::read(root.join(&file.path)).expect("it was written");
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (file.digest, file.bytes));
        bytes
    };
    if let Some(file) = &seen.outputs {
        let bytes = read(file);
        let outputs = SafeTensors::deserialize(&bytes).expect("a file that the judge can open");
        assert!(!outputs.is_empty());
        for (name, view) in outputs.tensors() {
            assert_eq!(view.shape().first(), Some(&(SAMPLES as usize)), "output {name}");
        }
    }
    if let Some(file) = &seen.ticks {
        let bytes = read(file);
        let ticks = SafeTensors::deserialize(&bytes).expect("a file that the judge can open");
        assert_eq!(ticks.tensor("ticks").expect("its only tensor").shape(), [ITERATIONS as usize]);
        assert_eq!(seen.inferences, u64::from(ITERATIONS));
    }
    let numbers: &BTreeMap<String, u64> = &seen.facts.numbers;
    assert!(numbers.keys().all(|key| !key.is_empty() && !key.contains(char::is_uppercase)));
}

fn record_folder() -> (TempDir, RecordFolder) {
    let root = tempfile::tempdir().expect("a folder for the record");
    let folder = RecordFolder::create(root.path()).expect("it is empty");
    (root, folder)
}

fn cell(plan: &PassPlan) -> Cell {
    let (model, variant) = (ModelName::new("m").expect("a name"), VariantName::new("v").expect("a name"));
    let (unit, engine) = (UnitName::new("u").expect("a name"), EngineName::new("affine").expect("a name"));
    Cell {
        id: CellId::new(&model, &variant, &unit, &engine),
        model,
        variant,
        unit,
        target: TargetName::new("t").expect("a name"),
        engine,
        role: Role::Device,
        judged: true,
        passes: vec![plan.clone()],
    }
}

/// Conversations that go well, for each thing a host asks.
pub fn seeds() -> Vec<Seed> {
    let replies: BTreeMap<_, _> = golden("reply").into_iter().collect();
    let said = |reply: &Reply<'_>| encoded(reply)[8..].to_vec();
    let message = |reply: &Reply<'_>| {
        let mut bytes = said(reply);
        bytes.truncate(bytes.len() - 4);
        bytes
    };
    let script = |what: u8, answers: &[Vec<u8>]| {
        let mut script = vec![what, 0];
        put_piece(&mut script, &replies["Hello"]);
        for answer in answers {
            script.push(0);
            put_piece(&mut script, answer);
        }
        script
    };
    let job = |accept: bool, events: &[Event<'_>]| {
        let mut answers = if accept { vec![message(&Reply::Accepted { job: JOB })] } else { Vec::new() };
        for (index, event) in (0..).zip(events) {
            answers.push(message(&Reply::Event { job: JOB, index, event: *event }));
        }
        answers.push(message(&Reply::Done { job: JOB, events: events.len() as u32 }));
        answers
    };
    let mut dims = [0; RANK_MAX];
    (dims[0], dims[1]) = (SAMPLES, 2);
    let output = Output { index: 0, name: "y", dtype: Dtype::U8, rank: 2, dims };
    let data = |stream, bytes| Event::Data { stream, offset: 0, bytes };
    let completed = Event::Ended(Ended::Completed);
    let accuracy = [
        Event::Phase(Phase::Started),
        Event::Output(output),
        data(Stream::Output(0), &[1, 2, 3, 4, 5, 6, 7, 8]),
        completed,
    ];
    let latency = [data(Stream::Ticks, &[9; 8 * ITERATIONS as usize]), completed];
    let every: Vec<Vec<u8>> = golden("event").into_iter().map(|(_, bytes)| bytes).collect();
    let every: Vec<Event<'_>> = every.iter().filter_map(|bytes| postcard::from_bytes(bytes).ok()).collect();
    let facts: Vec<Event<'_>> = every.iter().filter(|event| !matches!(event, Event::Data { .. })).copied().collect();
    let inspect: Vec<Event<'_>> =
        facts.iter().filter(|e| !matches!(e, Event::CannotRun(_))).copied().chain([completed]).collect();
    let uploaded = [
        Reply::Stat { present: false, received: 0 },
        Reply::Ready { offset: 0 },
        Reply::Ready { offset: 5 },
        Reply::Stored { digest: boardproof_protocol::Digest([0xab; 32]) },
    ];
    let uploaded: Vec<Vec<u8>> = uploaded.iter().map(message).collect();
    vec![
        ("events".into(), script(0, &job(false, &every))),
        ("environment".into(), script(1, &job(true, &facts))),
        ("upload".into(), script(2, &uploaded)),
        ("latency".into(), script(3, &job(true, &latency))),
        ("inspect".into(), script(4, &job(true, &inspect))),
        ("accuracy".into(), script(5, &job(true, &accuracy))),
    ]
}
