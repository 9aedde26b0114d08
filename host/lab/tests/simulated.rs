//! The real client and the real protocol core through a link that loses, repeats, reorders, cuts and flips frames, to a device that is
//! reset and stalls: a result is the right one or there is none, and every run ends.
//!
//! `BOARDPROOF_SIM_SEED=N` repeats the one run that a failure names.

use boardproof_lab::events::Event as Said;
use boardproof_lab::held::Held;
use boardproof_lab::link::client::{Client, ClientError, Patience};
use boardproof_lab::link::{Link, LinkError, MemoryLink, SimUnit};
use boardproof_lab::ship::{Blob, ShipError, ship};
use boardproof_protocol as wire;
use boardproof_protocol::frame::{decode_reply, decode_request};
use boardproof_protocol::{Acquire, Ended, Event, Pass, Reply, Request, Run, Stream};
use boardproof_record::Digest;
use boardproof_record::observation::Shipped;
use boardproof_sim::{Affine, Dice, FaultPlan, SimDevice, SimLink};
use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Material of one run: files, and the answers that are right.
struct Material {
    model: Blob,
    evalset: Blob,
    right: Vec<u8>,
}

const SAMPLES: usize = 200;
const WIDTH: usize = 4;
const ITERATIONS: u32 = 300;

fn material(folder: &Path) -> Material {
    let mut dice = Dice::new(7);
    let mut value = || (dice.roll() % 2001) as f32 / 1000.0 - 1.0;
    let weights = (0..3).map(|_| (0..WIDTH).map(|_| value()).collect()).collect();
    let model = Affine { weights, bias: vec![0.1, 0.2, 0.3], crash_at: None, memory_bytes: 1 << 20 };
    let inputs: Vec<f32> = (0..SAMPLES * WIDTH).map(|_| value()).collect();
    let bytes: Vec<u8> = inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![SAMPLES, WIDTH], &bytes).unwrap();
    let evalset = safetensors::serialize([("inputs", view)], None).unwrap();
    let right = model.answers(&inputs).iter().flat_map(|y| y.to_le_bytes()).collect();
    let blob = |what: &str, content: &[u8]| {
        let path = folder.join(what);
        std::fs::write(&path, content).unwrap();
        Blob { what: what.into(), path, digest: Digest::of(content), program: false }
    };
    Material { model: blob("model", &serde_json::to_vec(&model).unwrap()), evalset: blob("evalset", &evalset), right }
}

type Failed = Box<dyn std::error::Error>;

/// Answers and ticks of one whole run.
type Outcome = (Vec<u8>, Vec<u8>);

/// Everything that a cell needs, once, from greeting to the last event.
fn attempt(unit: &SimUnit, material: &Material, cache: &Path, epoch: u64) -> Result<Outcome, Failed> {
    let link = unit.connect();
    let patience = link.patience();
    let mut client = Client::new(link, patience, || false);
    client.hello()?;
    let wish = Acquire { epoch, holder: "test", ttl_ms: 1000 };
    client.ask("take the lease", &Request::Acquire(wish), |r| matches!(r, Reply::Leased { .. }).then_some(()))?;
    for blob in [&material.model, &material.evalset] {
        brought(&mut client, epoch, blob, cache)?;
    }
    let answers = run(&mut client, material, epoch, 1, Pass::Accuracy, Stream::Output(0))?;
    let ticks = run(&mut client, material, epoch, 2, Pass::Latency, Stream::Ticks)?;
    Ok((answers, ticks))
}

fn run(
    client: &mut Client<MemoryLink>,
    material: &Material,
    epoch: u64,
    job: u32,
    pass: Pass,
    stream: Stream,
) -> Result<Vec<u8>, Failed> {
    let run = Run {
        epoch,
        job,
        runner: wire::Digest([0; 32]),
        model: wire::Digest(material.model.digest.0),
        evalset: wire::Digest(material.evalset.digest.0),
        engine: "affine",
        pass,
        batch: 1,
        first: 0,
        count: SAMPLES as u64,
        warmup: 0,
        iterations: ITERATIONS,
        deadline_ms: 1000,
        memory_limit_bytes: 0,
        options: "",
    };
    client.ask("start", &Request::Run(run), |r| matches!(r, Reply::Accepted { .. }).then_some(()))?;
    let (mut bytes, mut ended) = (Vec::new(), None);
    let far = Instant::now() + Duration::from_secs(600);
    let take = |event: &Event<'_>| {
        match event {
            Event::Data { stream: of, offset, bytes: piece } if *of == stream => {
                assert_eq!(*offset, bytes.len() as u64, "a piece is missing or came twice");
                bytes.extend_from_slice(piece);
            }
            Event::Ended(how) => ended = Some(*how),
            _ => {}
        }
        Ok(())
    };
    client.pull(job, far, take, |_| Ok(()))?;
    assert_eq!(ended, Some(Ended::Completed));
    Ok(bytes)
}

/// One run over a bad link: the result, and the frames and faults it took. Connecting anew is what a host does; it is bounded.
fn through(plan: FaultPlan, seed: u64, material: &Material, cache: &Path) -> (Option<Outcome>, u64, u64) {
    let unit = SimUnit::behind(SimLink::new(SimDevice::new(1, 1 << 20), plan, seed));
    let result = (1..=40).find_map(|epoch| attempt(&unit, material, cache, epoch).ok());
    let (frames, faults) = unit.frames_and_faults();
    (result, frames, faults)
}

#[test]
fn a_whole_link_gives_the_answers_that_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let material = material(folder.path());
    let (result, ..) = through(FaultPlan::default(), 1, &material, folder.path());
    let (answers, ticks) = result.expect("nothing stood in the way");
    assert_eq!((answers, ticks.len()), (material.right.clone(), ITERATIONS as usize * 8));
}

#[test]
fn a_bad_link_never_gives_a_wrong_result() {
    const FRAMES: u64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let material = material(folder.path());
    let clean = through(FaultPlan::default(), 1, &material, folder.path()).0.expect("nothing stood in the way");
    let only = std::env::var("BOARDPROOF_SIM_SEED").ok().map(|s| s.parse::<u64>().expect("a seed is a number"));
    let (mut frames, mut faults, mut whole, mut runs) = (0, 0, 0_u64, 0_u64);
    for seed in only.unwrap_or(1).. {
        let mut dice = Dice::new(seed);
        let mut rate = |most: u64| (dice.roll() % (most + 1)) as u32;
        let plan = FaultPlan {
            loss: rate(60),
            repeat: rate(60),
            reorder: rate(60),
            truncate: rate(30),
            flip: rate(30),
            reset: rate(2),
            stall: rate(5),
        };
        let (result, sent, hit) = through(plan, seed, &material, folder.path());
        (frames, faults, runs) = (frames + sent, faults + hit, runs + 1);
        if let Some(result) = result {
            assert!(result == clean, "seed {seed}: a wrong result under {plan:?}");
            whole += 1;
        }
        if frames >= FRAMES || only.is_some() {
            break;
        }
    }
    println!("{frames} frames, {faults} faults, {whole} of {runs} runs came through");
    assert!(only.is_some() || whole * 2 > runs, "most runs should come through: {whole} of {runs} did");
}

#[test]
fn a_full_device_refuses_with_the_number_that_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let material = material(folder.path());
    let unit = SimUnit::behind(SimLink::new(SimDevice::new(1, 64), FaultPlan::default(), 1));
    let error = attempt(&unit, &material, folder.path(), 1).unwrap_err();
    let Some(ShipError::Client { source: ClientError::Refused { code, number, .. }, .. }) = error.downcast_ref() else {
        panic!("{error:?}")
    };
    assert_eq!((*code, *number), (wire::RefusalCode::NoSpace, 64));
}

#[test]
fn an_upload_that_a_reset_cuts_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = {
        let mut dice = Dice::new(3);
        (0..200_000).map(|_| dice.roll() as u8).collect()
    };
    let path = folder.path().join("blob");
    std::fs::write(&path, &content).unwrap();
    let blob = Blob { what: "blob".into(), path, digest: Digest::of(&content), program: false };
    let whole = shipped(&blob, FaultPlan::default(), 1, folder.path());
    assert_eq!(whole.len(), 1);
    // The device is reset about once in two hundred frames, so mostly in the middle.
    for seed in 1..=50 {
        let tries = shipped(&blob, FaultPlan { reset: 5, ..FaultPlan::default() }, seed, folder.path());
        let sent: u64 = tries.iter().sum();
        let window = 8 * 2048;
        let most = whole[0] + tries.len() as u64 * (window + 4096);
        assert!(sent <= most, "seed {seed}: {sent} bytes in {tries:?}, at most {most} if nothing is sent anew");
    }
}

/// Ships a blob under a lease that is held, whatever it takes.
fn brought<L: Link>(client: &mut Client<L>, epoch: u64, blob: &Blob, cache: &Path) -> Result<(), ShipError> {
    let (mut held, mut shipped) = (Held::new(epoch, "test"), Shipped::default());
    ship(client, &mut held, blob, Some(cache), &mut shipped, &mut |_: Said| {})
}

/// Bytes that went to the device in each try until the blob was there.
fn shipped(blob: &Blob, plan: FaultPlan, seed: u64, cache: &Path) -> Vec<u64> {
    let unit = SimUnit::behind(SimLink::new(SimDevice::new(1, 1 << 20), plan, seed));
    let mut tries = Vec::new();
    for epoch in 1..=40 {
        let link = unit.connect();
        let patience = link.patience();
        let mut client = Client::new(link, patience, || false);
        let wish = Acquire { epoch, holder: "test", ttl_ms: 1000 };
        let leased = |r: &Reply<'_>| matches!(r, Reply::Leased { .. }).then_some(());
        let done = client.hello().and_then(|_| client.ask("take the lease", &Request::Acquire(wish), leased));
        let done = done.is_ok() && brought(&mut client, epoch, blob, cache).is_ok();
        tries.push(client.traffic().0);
        if done {
            return tries;
        }
    }
    panic!("seed {seed}: not there after {tries:?}")
}

/// A link that counts the chunks which are on their way: sent, and not yet answered to the host.
struct Counted {
    link: MemoryLink,
    on_the_way: HashSet<u32>,
    most: Rc<Cell<usize>>,
    /// Times that the lease was taken or renewed.
    leases: Rc<Cell<usize>>,
}

impl Link for Counted {
    fn send(&mut self, payload: &[u8], deadline: Instant) -> Result<(), LinkError> {
        match decode_request(payload) {
            Ok((header, Request::Chunk(_))) => {
                self.on_the_way.insert(header.seq);
                self.most.set(self.most.get().max(self.on_the_way.len()));
            }
            Ok((_, Request::Acquire(_))) => {
                assert!(self.on_the_way.is_empty(), "answers that are on their way would be lost");
                self.leases.set(self.leases.get() + 1);
            }
            _ => {}
        }
        self.link.send(payload, deadline)
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        let payload = self.link.receive(deadline)?;
        if let Some((header, _)) = payload.as_ref().and_then(|p| decode_reply(p).ok()) {
            self.on_the_way.remove(&header.seq);
        }
        Ok(payload)
    }

    fn traffic(&self) -> (u64, u64) {
        self.link.traffic()
    }

    fn patience(&self) -> Patience {
        self.link.patience()
    }
}

/// What shipping noise of this many bytes showed: most chunks on the way, leases, the device's credit.
fn counted(bytes: usize, renewed_every: Duration) -> (usize, usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(5);
    // Noise does not get smaller: many chunks.
    let content: Vec<u8> = (0..bytes).map(|_| dice.roll() as u8).collect();
    let path = folder.path().join("noise");
    std::fs::write(&path, &content).unwrap();
    let blob = Blob { what: "noise".into(), path, digest: Digest::of(&content), program: false };
    let device = SimDevice::new(1, 1 << 20);
    let inner = SimUnit::behind(SimLink::new(device, FaultPlan::default(), 1)).connect();
    let (most, leases) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let link = Counted { link: inner, on_the_way: HashSet::new(), most: Rc::clone(&most), leases: Rc::clone(&leases) };
    let patience = link.patience();
    let mut client = Client::new(link, patience, || false);
    let greeting = client.hello().unwrap();
    let wish = Acquire { epoch: 1, holder: "test", ttl_ms: 1000 };
    client.ask("lease", &Request::Acquire(wish), |r| matches!(r, Reply::Leased { .. }).then_some(())).unwrap();
    let (mut held, mut shipped) = (Held::new(1, "test").renewed_every(renewed_every), Shipped::default());
    ship(&mut client, &mut held, &blob, Some(folder.path()), &mut shipped, &mut |_: Said| {}).unwrap();
    assert_eq!(shipped.content_bytes, content.len() as u64);
    assert!(shipped.wire_bytes >= content.len() as u64, "{shipped:?}");
    (most.get(), leases.get(), usize::from(greeting.chunk_window))
}

#[test]
fn no_more_chunks_are_on_their_way_than_the_device_gives_credit_for() {
    assert_eq!(counted(100_000, Duration::MAX), (4, 1, 4), "all of the credit is used, and no more");
}

#[test]
fn the_lease_is_renewed_while_one_upload_goes_on() {
    let (most, leases, window) = counted(100_000, Duration::ZERO);
    assert_eq!(most, window, "between two renewals the credit is used as ever");
    assert!(leases > 10, "{leases}");
}

#[test]
fn what_was_sent_in_vain_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(6);
    let content: Vec<u8> = (0..100_000).map(|_| dice.roll() as u8).collect();
    let path = folder.path().join("noise");
    std::fs::write(&path, &content).unwrap();
    let blob = Blob { what: "noise".into(), path, digest: Digest::of(&content), program: false };
    // A third of the frames is lost, so uploads fail again and again before one comes through.
    let plan = FaultPlan { loss: 300, ..FaultPlan::default() };
    let unit = SimUnit::behind(SimLink::new(SimDevice::new(1, 1 << 20), plan, 9));
    let mut shipped = Shipped::default();
    let (mut sent, mut failures) = (0, 0);
    for epoch in 1..200 {
        let link = unit.connect();
        let patience = link.patience();
        let mut client = Client::new(link, patience, || false);
        let wish = Acquire { epoch, holder: "test", ttl_ms: 1000 };
        let leased = |r: &Reply<'_>| matches!(r, Reply::Leased { .. }).then_some(());
        let ready = client.hello().is_ok() && client.ask("lease", &Request::Acquire(wish), leased).is_ok();
        if !ready {
            continue;
        }
        if ship(&mut client, &mut Held::new(epoch, "test"), &blob, Some(folder.path()), &mut shipped, &mut |_: Said| {})
            .is_ok()
        {
            break;
        }
        failures += 1;
        assert!(shipped.wire_bytes > sent && shipped.content_bytes == 0, "{shipped:?}");
        sent = shipped.wire_bytes;
    }
    assert!(failures > 0 && shipped.content_bytes == content.len() as u64, "{failures} failures, {shipped:?}");
    assert!(shipped.wire_bytes > sent && shipped.wire_bytes > content.len() as u64, "{shipped:?}");
}
