//! Golden bytes: every message of every version as it goes over the wire, byte by byte.
//!
//! When a test here breaks, a device in the field and this host no longer understand each other. Do one of two things:
//! - you did not mean to change the wire: undo it (enums grow at the end only, fields never move);
//! - you did: it is a new version. Raise `VERSION_CURRENT`, keep the old version's bytes, add a file of its own (`v7.txt`), and write the
//!   reason into docs/decisions. `BOARDPROOF_GOLDEN=write cargo test -p boardproof-protocol` writes the newest file.

use boardproof_protocol::*;
use serde::{Deserialize, Serialize};
use std::fmt::{Debug, Write};

const D: Digest = Digest([0xab; 32]);

fn line<T: Serialize>(text: &mut String, name: &str, message: &T) {
    let mut buffer = [0; 512];
    let bytes = postcard::to_slice(message, &mut buffer).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    writeln!(text, "{name} {hex}").unwrap();
}

fn requests() -> Vec<(&'static str, Request<'static>)> {
    let hello = HostHello { version_min: 1, version_max: 1, schema: 7, build: "host", frame_max: 300 };
    let begin = Begin { epoch: 300, digest: D, size: 70_000, coded_size: 128, coding: Coding::Zstd, program: true };
    let run = Run {
        epoch: 300,
        job: 2,
        runner: D,
        model: D,
        evalset: D,
        engine: "tract",
        pass: Pass::Latency,
        batch: 16,
        first: 0,
        count: 2000,
        warmup: 50,
        iterations: 700,
        deadline_ms: 600_000,
        memory_limit_bytes: 0,
        options: "{}",
    };
    vec![
        ("Hello", Request::Hello(hello)),
        ("Acquire", Request::Acquire(Acquire { epoch: 300, holder: "me", ttl_ms: 60_000 })),
        ("Release", Request::Release { epoch: 300 }),
        ("Stat", Request::Stat { digest: D }),
        ("Begin", Request::Begin(begin)),
        ("Chunk", Request::Chunk(Chunk { epoch: 300, digest: D, offset: 128, bytes: &[1, 2, 3] })),
        ("Finish", Request::Finish { epoch: 300, digest: D }),
        ("Run", Request::Run(run)),
        ("Environment", Request::Environment { job: 1 }),
        ("Pull", Request::Pull { job: 1, from: 128, credit: 32 }),
        ("Cancel", Request::Cancel { job: 1 }),
        ("Clean", Request::Clean { epoch: 300 }),
        ("Bye", Request::Bye),
    ]
}

fn replies() -> Vec<(&'static str, Reply<'static>)> {
    let hello = DeviceHello {
        version: 1,
        schema: 7,
        build: "agent",
        architecture: "aarch64",
        system: "linux musl",
        identity: "id",
        tick_hz: 1_000_000_000,
        memory_bytes: 1 << 30,
        store_free_bytes: 1 << 20,
        engines: "",
        frame_max: 262_144,
        chunk_window: 8,
        boot: 5,
    };
    let event = Event::Progress { done: 1, total: 2 };
    vec![
        ("Hello", Reply::Hello(hello)),
        ("Leased", Reply::Leased { epoch: 300, ttl_ms: 60_000 }),
        ("Held", Reply::Held { holder: "them", epoch: 300, remaining_ms: 5 }),
        ("Released", Reply::Released),
        ("Stat", Reply::Stat { present: true, received: 128 }),
        ("Ready", Reply::Ready { offset: 128 }),
        ("Stored", Reply::Stored { digest: D }),
        ("Accepted", Reply::Accepted { job: 1 }),
        ("Event", Reply::Event { job: 1, index: 128, event }),
        ("Pending", Reply::Pending { job: 1, next: 128 }),
        ("Done", Reply::Done { job: 1, events: 128 }),
        ("Cleaned", Reply::Cleaned { bytes: 128 }),
        ("Bye", Reply::Bye),
        ("Refused", Reply::Refused(Refused { code: RefusalCode::NoSpace, detail: "full", number: 9 })),
    ]
}

fn events() -> Vec<(&'static str, Event<'static>)> {
    let operator = Operator { index: 3, name: "/conv", op: "Conv", dtypes: "f32->f32", kernel: "k" };
    let output = Output { index: 0, name: "y", dtype: Dtype::F32, rank: 2, dims: [2000, 10, 0, 0, 0, 0, 0, 0] };
    let check =
        SelfCheck { samples: 8, agree: false, max_abs: 0.5, sqnr_db: f64::INFINITY, operator: "Softmax", detail: "" };
    let cannot = CannotRun { stage: Stage::Type, operator: "Gemm", node: "/fc", reason: "no" };
    vec![
        ("Phase", Event::Phase(Phase::Warming)),
        ("Number", Event::Number { key: Key::AgentRssBytes, index: 1, value: 300 }),
        ("Text", Event::Text { key: TextKey::RunnerBuild, index: 0, value: "v" }),
        ("Missing", Event::Missing { key: Key::CyclesMilli, reason: "no perf" }),
        ("Operator", Event::Operator(operator)),
        ("Output", Event::Output(output)),
        ("Data", Event::Data { stream: Stream::Output(1), offset: 128, bytes: &[9] }),
        ("Ticks", Event::Data { stream: Stream::Ticks, offset: 0, bytes: &[] }),
        ("Progress", Event::Progress { done: 128, total: 300 }),
        ("SelfCheck", Event::SelfCheck(check)),
        ("CannotRun", Event::CannotRun(cannot)),
        ("Completed", Event::Ended(Ended::Completed)),
        ("Exited", Event::Ended(Ended::Exited { code: -1 })),
        ("Signalled", Event::Ended(Ended::Signalled { signal: 11 })),
        ("OutOfMemory", Event::Ended(Ended::OutOfMemory { limit_bytes: 300 })),
        ("DeadlineExceeded", Event::Ended(Ended::DeadlineExceeded { deadline_ms: 300 })),
        ("NotStarted", Event::Ended(Ended::NotStarted)),
    ]
}

/// What version 2 added.
fn added() -> Vec<(&'static str, Event<'static>)> {
    vec![("PassWallNs", Event::Number { key: Key::PassWallNs, index: 0, value: 300 })]
}

fn added_requests() -> Vec<(&'static str, Request<'static>)> {
    let (size, coded_size, coding) = (70_000, 128, Coding::ZstdArm64);
    vec![("Begin.ZstdArm64", Request::Begin(Begin { epoch: 300, digest: D, size, coded_size, coding, program: true }))]
}

/// What version 3 added: microcontrollers.
fn requests_for_microcontrollers() -> Vec<(&'static str, Request<'static>)> {
    vec![
        ("Part", Request::Part(Part { upload: D.upload(), offset: 128, bytes: &[1, 2, 3] })),
        ("Place", Request::Place { epoch: 300, digest: D }),
        ("Arrived", Request::Arrived { epoch: 300, digest: D, offset: 128 }),
        ("Baud", Request::Baud { rate: 921_600 }),
    ]
}

fn replies_for_microcontrollers() -> Vec<(&'static str, Reply<'static>)> {
    vec![("Placed", Reply::Placed { address: 0x2100_0000 }), ("Baud", Reply::Baud { rate: 921_600 })]
}

fn events_for_microcontrollers() -> Vec<(&'static str, Event<'static>)> {
    vec![
        ("FlashBytes", Event::Number { key: Key::FlashBytes, index: 0, value: 300 }),
        ("TicksHistogram", Event::Number { key: Key::TicksHistogram, index: 90, value: 300 }),
        ("CrashRecord", Event::Text { key: TextKey::CrashRecord, index: 0, value: "hard fault" }),
    ]
}

/// What version 4 added: what operators cost.
fn events_of_operators() -> Vec<(&'static str, Event<'static>)> {
    [
        Key::OperatorNs,
        Key::OperatorOutBytes,
        Key::OperatorMacs,
        Key::PeakF32MacPerS,
        Key::PeakI8MacPerS,
        Key::PeakReadBytesPerS,
    ]
    .map(|key| ("OperatorCosts", Event::Number { key, index: 3, value: 300 }))
    .into()
}

/// What version 5 added: GPUs.
fn events_of_gpus() -> Vec<(&'static str, Event<'static>)> {
    let keys = [
        Key::WarmupWallNs,
        Key::GpuToDeviceNs,
        Key::GpuComputeNs,
        Key::GpuToHostNs,
        Key::GpuOnCpuNs,
        Key::GpuEnqueueNs,
        Key::GpuTotalBytes,
        Key::GpuUsedStartBytes,
        Key::GpuUsedAfterLoadBytes,
        Key::GpuUsedAfterFirstBytes,
        Key::GpuUsedEndBytes,
        Key::GpuPoolPeakBytes,
        Key::GpuClockHz,
        Key::GpuClockMaxHz,
        Key::GpuMemoryClockHz,
        Key::GpuPowerMilliW,
        Key::GpuPowerLimitMilliW,
        Key::GpuTemperatureMilliC,
        Key::GpuUtilizationMilli,
        Key::GpuOtherProcesses,
    ];
    let texts = [TextKey::GpuName, TextKey::GpuDriver, TextKey::GpuThrottle];
    let numbers = keys.into_iter().map(|key| ("Gpu", Event::Number { key, index: 1, value: 300 }));
    numbers.chain(texts.into_iter().map(|key| ("GpuText", Event::Text { key, index: 1, value: "v" }))).collect()
}

/// What version 6 added: how long a unit may be at one thing.
fn events_of_watchdogs() -> Vec<(&'static str, Event<'static>)> {
    vec![("WatchdogMs", Event::Number { key: Key::WatchdogMs, index: 0, value: 600_000 })]
}

fn version_1() -> String {
    let mut text = String::new();
    requests().iter().for_each(|(name, m)| line(&mut text, &format!("request.{name}"), m));
    replies().iter().for_each(|(name, m)| line(&mut text, &format!("reply.{name}"), m));
    events().iter().for_each(|(name, m)| line(&mut text, &format!("event.{name}"), m));
    text
}

fn version_2() -> String {
    let mut text = version_1();
    added().iter().for_each(|(name, m)| line(&mut text, &format!("event.{name}"), m));
    added_requests().iter().for_each(|(name, m)| line(&mut text, &format!("request.{name}"), m));
    text
}

fn version_3() -> String {
    let mut text = version_2();
    requests_for_microcontrollers().iter().for_each(|(name, m)| line(&mut text, &format!("request.{name}"), m));
    replies_for_microcontrollers().iter().for_each(|(name, m)| line(&mut text, &format!("reply.{name}"), m));
    events_for_microcontrollers().iter().for_each(|(name, m)| line(&mut text, &format!("event.{name}"), m));
    text
}

fn version_4() -> String {
    let mut text = version_3();
    events_of_operators().iter().for_each(|(name, m)| line(&mut text, &format!("event.{name}"), m));
    text
}

fn version_5() -> String {
    let mut text = version_4();
    events_of_gpus().iter().for_each(|(name, m)| line(&mut text, &format!("event.{name}"), m));
    text
}

fn current() -> String {
    let mut text = version_5();
    events_of_watchdogs().iter().for_each(|(name, m)| line(&mut text, &format!("event.{name}"), m));
    text
}

#[track_caller]
fn check(golden: &str, now: &str) {
    for (golden, now) in golden.lines().zip(now.lines()) {
        assert_eq!(golden, now, "see the top of this file");
    }
    assert_eq!(golden.lines().count(), now.lines().count(), "a message has no golden bytes; see the top of this file");
}

#[test]
fn the_wire_is_what_its_newest_version_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v6.txt");
    if std::env::var("BOARDPROOF_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(file, current()).unwrap();
    }
    check(&std::fs::read_to_string(file).unwrap(), &current());
}

#[test]
fn what_earlier_versions_say_is_said_in_the_same_bytes() {
    check(include_str!("golden/v1.txt"), &version_1());
    check(include_str!("golden/v2.txt"), &version_2());
    check(include_str!("golden/v3.txt"), &version_3());
    check(include_str!("golden/v4.txt"), &version_4());
    check(include_str!("golden/v5.txt"), &version_5());
}

#[test]
fn every_message_comes_back_as_it_went() {
    fn check<'b, T: Serialize + Deserialize<'b> + PartialEq + Debug>(message: &T, buffer: &'b mut [u8]) {
        let used = postcard::to_slice(message, buffer).unwrap().len();
        let (back, rest) = postcard::take_from_bytes::<T>(&buffer[..used]).unwrap();
        assert_eq!((&back, rest.len()), (message, 0));
    }
    let (new_requests, new_replies) = (requests_for_microcontrollers(), replies_for_microcontrollers());
    requests().iter().chain(&added_requests()).chain(&new_requests).for_each(|(_, m)| check(m, &mut [0; 512]));
    replies().iter().chain(&new_replies).for_each(|(_, m)| check(m, &mut [0; 512]));
    events()
        .iter()
        .chain(&added())
        .chain(&events_for_microcontrollers())
        .chain(&events_of_operators())
        .chain(&events_of_gpus())
        .chain(&events_of_watchdogs())
        .for_each(|(_, m)| check(m, &mut [0; 512]));
}

/// A body as a payload: a header and a checksum that fits.
fn payload(body: &[u8]) -> Vec<u8> {
    let mut payload = [&[0; 8], body].concat();
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&payload);
    payload.extend(crc.to_le_bytes());
    payload
}

/// Both codings of a message are the same bytes, and both read the same in all bytes that are nearly it: each byte made each other one, each
/// cut, and one byte more.
fn check_coding<T: Serialize + Debug>(
    message: &T,
    encode: impl Fn(&T, &mut [u8]) -> usize,
    decode: impl Fn(&[u8]) -> Result<String, frame::DecodeError>,
    postcard: impl Fn(&[u8]) -> Option<String>,
) {
    let (mut ours, mut theirs) = ([0; 512], [0; 512]);
    let body = &*postcard::to_slice(message, &mut theirs).unwrap();
    let used = encode(message, &mut ours);
    assert_eq!(&ours[8..used - 4], body, "{message:?}");
    let check = |body: &[u8]| match (decode(&payload(body)), postcard(body)) {
        (Ok(ours), Some(theirs)) => assert_eq!(ours, theirs, "{body:02x?}"),
        (Err(frame::DecodeError::Malformed(_)), None) => {}
        (ours, theirs) => panic!("{body:02x?}: {ours:?}, postcard {theirs:?}"),
    };
    check(&[body, &[0][..]].concat());
    (0..body.len()).for_each(|length| check(&body[..length]));
    let mut other = body.to_vec();
    for at in 0..body.len() {
        for byte in 0..=u8::MAX {
            other[at] = byte;
            check(&other);
        }
        other[at] = body[at];
    }
}

/// What postcard has read, when it has read all of it.
fn whole<T: Debug>(read: postcard::Result<(T, &[u8])>) -> Option<String> {
    let (message, rest) = read.ok()?;
    rest.is_empty().then(|| format!("{message:?}"))
}

#[test]
fn messages_are_coded_as_postcard_codes_them() {
    const HEADER: frame::Header = frame::Header { session: 0, seq: 0 };
    let used = |payload: Result<&[u8], frame::TooLarge>| payload.unwrap().len();
    for (_, message) in requests().iter().chain(&added_requests()).chain(&requests_for_microcontrollers()) {
        let decode = |bytes: &[u8]| frame::decode_request(bytes).map(|(_, message)| format!("{message:?}"));
        check_coding(
            message,
            |m, out| used(frame::encode_request(HEADER, m, out)),
            decode,
            |body| whole(postcard::take_from_bytes::<Request<'_>>(body)),
        );
    }
    for (_, message) in replies().iter().chain(&replies_for_microcontrollers()) {
        let decode = |bytes: &[u8]| frame::decode_reply(bytes).map(|(_, message)| format!("{message:?}"));
        check_coding(
            message,
            |m, out| used(frame::encode_reply(HEADER, m, out)),
            decode,
            |body| whole(postcard::take_from_bytes::<Reply<'_>>(body)),
        );
    }
    let later =
        [events_for_microcontrollers(), events_of_operators(), events_of_gpus(), events_of_watchdogs()].concat();
    for (_, message) in events().iter().chain(&added()).chain(&later) {
        let decode = |bytes: &[u8]| frame::decode_event(bytes).map(|message| format!("{message:?}"));
        check_coding(
            message,
            |m, out| used(frame::encode_event(m, out)),
            decode,
            |body| whole(postcard::take_from_bytes::<Event<'_>>(body)),
        );
    }
}

#[test]
fn the_schema_is_that_of_the_golden_bytes() {
    let bytes = include_bytes!("golden/v6.txt");
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(SCHEMA, fnv, "set SCHEMA to {fnv:#x}");
}

#[test]
fn bins_of_ticks_begin_where_they_say_and_none_is_left_out() {
    let start = |bin: usize| if bin < 8 { bin as u64 } else { (8 + bin as u64 % 8) << (bin / 8 - 1) };
    for number in 0..TICKS_BINS - 1 {
        assert_eq!(ticks_bin(start(number)), number);
        assert_eq!(ticks_bin(start(number + 1) - 1), number);
    }
    assert_eq!(ticks_bin(u64::MAX), TICKS_BINS - 1);
}

/// A few million made-up payloads: none may panic, and none may be taken for a message unless its CRC fits.
#[test]
fn made_up_bytes_are_refused() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut taken = 0;
    for _ in 0..300_000 {
        let length = (next() % 64) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        taken += usize::from(frame::decode_request(&bytes).is_ok()) + usize::from(frame::decode_reply(&bytes).is_ok());
    }
    assert!(taken <= 1, "a CRC of 32 bits lets one in four thousand million pass, {taken} did");
}
