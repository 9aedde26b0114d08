//! The session core on the simulated device, under frames of any kind: every answer can be read, belongs to its request and fits the
//! host's frame, and whatever came before, a host that greets the device is answered.

use crate::Seed;
use crate::bytes::{Bytes, of_arm64, put_piece};
use crate::messages::{golden, payload};
use boardproof_core::{Next, Session};
use boardproof_protocol::frame::{Header, decode_reply, decode_request, encode_request};
use boardproof_protocol::{
    Acquire, Begin, Chunk, Coding, Digest, HostHello, Part, Pass, RefusalCode, Reply, Request, Run, SCHEMA,
    VERSION_CURRENT, VERSION_MIN,
};
use boardproof_sim::{Affine, SimDevice};

/// Room of the simulated device.
const ROOM_BYTES: u64 = 1 << 20;
/// Largest answer that the device builds.
const SCRATCH_BYTES: usize = 4096;
/// Largest frame that the host of these scripts offers.
const FRAME_BYTES: u32 = 2048;
/// Steps of a script that are looked at.
const STEPS_MAX: usize = 64;

/// A host that knows the protocol better than the device may trust it to.
struct Host {
    device: SimDevice,
    session: Session,
    seq: u32,
    blobs: Vec<Digest>,
    /// Something was done and not refused.
    done: bool,
}

const SESSION: u32 = 5;
/// That of the golden bytes.
const EPOCH: u64 = 300;

impl Host {
    fn new() -> Self {
        let device = SimDevice::new(1, ROOM_BYTES);
        Self { device, session: Session::default(), seq: 0, blobs: vec![Digest([0; 32])], done: false }
    }

    /// Sends a payload as it is; checks every answer. Returns how many there were.
    fn send(&mut self, bytes: &[u8]) -> usize {
        let asked = decode_request(bytes);
        let (mut answers, mut scratch) = (0, vec![0; SCRATCH_BYTES]);
        let next = self.session.handle(&mut self.device, bytes, &mut scratch, &mut |answer| {
            answers += 1;
            let (header, reply) = decode_reply(answer).expect("an answer that cannot be read");
            assert!(answer.len() <= SCRATCH_BYTES);
            self.done |= !matches!(reply, Reply::Refused(_));
            match asked {
                Ok((sent, request)) => {
                    assert_eq!(header, sent, "an answer to somebody else");
                    assert!(belongs(&request, &reply), "{reply:?} is no answer to {request:?}");
                }
                Err(_) => assert!(
                    matches!(reply, Reply::Refused(refused) if refused.code == RefusalCode::Malformed),
                    "{reply:?} to what is no request"
                ),
            }
        });
        if let Ok((_, request)) = asked {
            let most = if let Request::Pull { credit, .. } = request { usize::from(credit) + 1 } else { 1 };
            assert!((1..=most).contains(&answers), "{answers} answers to {request:?}");
            assert!(next == Next::Continue || request == Request::Bye);
        }
        answers
    }

    fn ask(&mut self, request: &Request<'_>) -> usize {
        self.seq += 1;
        let mut room = vec![0; 64 * 1024];
        let header = Header { session: SESSION, seq: self.seq };
        match encode_request(header, request, &mut room) {
            Ok(bytes) => self.send(bytes),
            Err(_) => 0,
        }
    }

    fn hello(&mut self) -> usize {
        let hello = HostHello {
            version_min: VERSION_MIN,
            version_max: VERSION_CURRENT,
            schema: SCHEMA,
            build: "fuzz",
            frame_max: FRAME_BYTES,
        };
        self.ask(&Request::Hello(hello))
    }

    fn open(&mut self) {
        self.hello();
        self.ask(&Request::Acquire(Acquire { epoch: EPOCH, holder: "fuzz", ttl_ms: 1000 }));
    }

    fn step(&mut self, script: &mut Bytes<'_>) {
        match script.u8() % 6 {
            // A message under a header and a checksum that fit.
            0 => {
                self.seq += 1;
                let bytes = payload(SESSION, self.seq, script.piece());
                self.send(&bytes);
            }
            // Anything.
            1 => {
                self.send(script.piece());
            }
            2 => self.upload(script),
            3 => self.run(script),
            4 => {
                self.device.reset();
                self.session = Session::default();
                self.open();
            }
            _ => {
                let (job, from, credit) = (u32::from(script.u8()), u32::from(script.u8()), u16::from(script.u8()));
                self.ask(&Request::Pull { job, from, credit });
            }
        }
    }

    /// A blob whose digest is right, in either coding, in chunks or in the parts of narrow links.
    fn upload(&mut self, script: &mut Bytes<'_>) {
        let form = script.u8();
        let coding = [Coding::Plain, Coding::Zstd, Coding::Plain, Coding::ZstdArm64][usize::from(form % 4)];
        let in_parts = form & 4 != 0;
        let coded = script.piece();
        let content = match coding {
            Coding::Plain => coded.to_vec(),
            Coding::Zstd => zstd::bulk::decompress(coded, 64 * 1024).unwrap_or_default(),
            Coding::ZstdArm64 => of_arm64(zstd::bulk::decompress(coded, 64 * 1024).unwrap_or_default()),
        };
        let digest = Digest(boardproof_record::Digest::of(&content).0);
        let (size, coded_size) = (content.len() as u64, coded.len() as u64);
        self.ask(&Request::Begin(Begin { epoch: EPOCH, digest, size, coded_size, coding, program: false }));
        for (i, piece) in coded.chunks(1000).enumerate() {
            let offset = i as u64 * 1000;
            if in_parts {
                self.ask(&Request::Part(Part { upload: digest.upload(), offset, bytes: piece }));
            } else {
                self.ask(&Request::Chunk(Chunk { epoch: EPOCH, digest, offset, bytes: piece }));
            }
        }
        self.ask(&Request::Finish { epoch: EPOCH, digest });
        self.blobs.push(digest);
    }

    fn run(&mut self, script: &mut Bytes<'_>) {
        let blob = |at: u8| self.blobs[usize::from(at) % self.blobs.len()];
        let (model, evalset) = (blob(script.u8()), blob(script.u8()));
        let pass = [Pass::Inspect, Pass::Accuracy, Pass::Latency, Pass::Memory][usize::from(script.u8() % 4)];
        let job = u32::from(script.u8());
        let (first, count, iterations) = (script.u64(), script.u64(), script.u32());
        let memory_limit_bytes = script.u64();
        let run = Run {
            epoch: EPOCH,
            job,
            runner: Digest([0; 32]),
            model,
            evalset,
            engine: "affine",
            pass,
            batch: 1,
            first,
            count,
            warmup: 0,
            iterations,
            deadline_ms: 1000,
            memory_limit_bytes,
            options: "",
        };
        self.ask(&Request::Run(run));
        self.ask(&Request::Pull { job, from: 0, credit: 1000 });
    }
}

/// The table at the top of the protocol's messages.
fn belongs(request: &Request<'_>, reply: &Reply<'_>) -> bool {
    if let Reply::Refused(_) = reply {
        return true;
    }
    match request {
        Request::Hello(_) => matches!(reply, Reply::Hello(_)),
        Request::Acquire(_) => matches!(reply, Reply::Leased { .. } | Reply::Held { .. }),
        Request::Release { .. } => matches!(reply, Reply::Released),
        Request::Stat { .. } => matches!(reply, Reply::Stat { .. }),
        Request::Begin(_) | Request::Chunk(_) | Request::Part(_) | Request::Arrived { .. } => {
            matches!(reply, Reply::Ready { .. })
        }
        Request::Place { .. } => matches!(reply, Reply::Placed { .. }),
        Request::Baud { .. } => matches!(reply, Reply::Baud { .. }),
        Request::Finish { digest, .. } => matches!(reply, Reply::Stored { digest: of } if of == digest),
        Request::Run(run) => matches!(reply, Reply::Accepted { job } if *job == run.job),
        Request::Environment { job } | Request::Cancel { job } => {
            matches!(reply, Reply::Accepted { job: of } if of == job)
        }
        Request::Pull { job, .. } => match reply {
            Reply::Event { job: of, .. } | Reply::Pending { job: of, .. } | Reply::Done { job: of, .. } => of == job,
            _ => false,
        },
        Request::Clean { .. } => matches!(reply, Reply::Cleaned { .. }),
        Request::Bye => matches!(reply, Reply::Bye),
    }
}

/// A script of what a host sends.
pub fn session(input: &[u8]) -> bool {
    let mut script = Bytes(input);
    let mut host = Host::new();
    if script.u8().is_multiple_of(2) {
        host.open();
    }
    host.done = false;
    for _ in 0..STEPS_MAX {
        if script.is_empty() {
            break;
        }
        host.step(&mut script);
    }
    let done = host.done;
    assert_eq!(host.hello(), 1, "a device that does not answer any more");
    done
}

/// Uploads a model and an evalset, runs every pass, and sends every golden request.
pub fn seeds() -> Vec<Seed> {
    let model = Affine { weights: vec![vec![1.0, 2.0]; 3], bias: vec![0.5; 3], crash_at: None, memory_bytes: 1000 };
    let model = serde_json::to_vec(&model).expect("a model is JSON");
    let inputs: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4, 2], &inputs).expect("4 x 2");
    let evalset = safetensors::serialize([("inputs", view)], None).expect("one tensor");
    let mut work = vec![0, 2, 0];
    put_piece(&mut work, &model);
    work.extend([2, 1]);
    put_piece(&mut work, &zstd::bulk::compress(&evalset, 3).expect("it is in memory"));
    for pass in 0..4 {
        work.extend([3, 1, 2, pass, pass]);
        work.extend(0_u64.to_le_bytes());
        work.extend(4_u64.to_le_bytes());
        work.extend(20_u32.to_le_bytes());
        work.extend(0_u64.to_le_bytes());
        work.extend([5, pass, 3, 2]);
    }
    work.push(4);
    let mut seeds = vec![("work".to_owned(), work)];
    for (name, message) in golden("request") {
        let mut script = vec![0, 0];
        put_piece(&mut script, &message);
        script.push(1);
        put_piece(&mut script, &payload(SESSION, 9, &message));
        // By itself it is of another version, or about what was not begun.
        let bad = if ["Hello", "Chunk", "Finish", "Run", "Pull"].contains(&name) { "bad_" } else { "" };
        seeds.push((format!("{bad}{}", name.to_lowercase()), script));
    }
    seeds
}
