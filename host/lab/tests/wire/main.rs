//! The real client over a wire, byte for byte, in virtual time, with the firmware's own agent at the other end, or with the simulated device: what
//! it carries of a line's capacity, and that no fault of it ever becomes a wrong result, a hang or a panic, on either side.
//!
//! `BOARDPROOF_WIRE_SEED=N` repeats the one run that a failure names; `BOARDPROOF_WIRE_FRAMES=1000000` runs until so many frames have
//! gone over the bad wire.

mod firmware;

use boardproof_lab::events::Event as Said;
use boardproof_lab::held::Held;
use boardproof_lab::link::client::{Client, ClientError, Patience, Quiet, Slow};
use boardproof_lab::link::{Board, ByteLink, Bytes, Cut, Link, LinkError, Waits, WireEnd, WireFaults, WireUnit};
use boardproof_lab::ship::{Blob, ShipError, ship};
use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Dtype, Kind, Model, Multiplier, scratch_bytes};
use boardproof_protocol as wire;
use boardproof_protocol::frame::BYTE_FRAME_MAX;
use boardproof_protocol::{Acquire, Ended, Event, Pass, Reply, Request, Run, Stream};
use boardproof_record::Digest;
use boardproof_record::observation::Shipped;
use boardproof_sim::{Affine, AffineEngine, Dice, Hardware, SimDevice};
use firmware::{Firmware, WATCHDOG_MS};
use std::path::Path;
use std::time::Duration;

/// Bits per second where nothing else is said.
const RATE: u32 = 115_200;
/// Bytes per second at that rate.
const BYTES_PER_S: f64 = RATE as f64 / 10.0;

fn device() -> SimDevice {
    let hardware =
        Hardware { store_bytes: 1 << 20, frame_max: BYTE_FRAME_MAX, rate_max: Some(921_600), ..Hardware::default() };
    SimDevice::with_engine(Box::new(AffineEngine { seed: 1 }), hardware)
}

fn unit(board: Board, faults: WireFaults, seed: u64) -> WireUnit {
    WireUnit::new(device(), board, RATE, faults, seed)
}

fn whole() -> WireUnit {
    unit(Board::default(), WireFaults::default(), 1)
}

fn client(unit: &WireUnit) -> Client<ByteLink<WireEnd>> {
    let link = unit.connect();
    let patience = link.patience();
    Client::new(link, patience, || false)
}

type Failed = Box<dyn std::error::Error>;

/// Greets the device and takes the lease.
fn begun(unit: &WireUnit, epoch: u64) -> Result<Client<ByteLink<WireEnd>>, Failed> {
    let mut client = client(unit);
    client.hello_at(&[921_600, 460_800])?;
    let wish = Acquire { epoch, holder: "test", ttl_ms: 3_600_000 };
    client.ask("take the lease", &Request::Acquire(wish), |r| matches!(r, Reply::Leased { .. }).then_some(()))?;
    Ok(client)
}

fn blob(folder: &Path, what: &str, content: &[u8]) -> Blob {
    let path = folder.join(what);
    std::fs::write(&path, content).unwrap();
    Blob { what: what.into(), path, digest: Digest::of(content), program: false }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..length).map(|_| (dice.roll() >> 16) as u8).collect()
}

fn brought(client: &mut Client<ByteLink<WireEnd>>, epoch: u64, blob: &Blob) -> Result<Shipped, ShipError> {
    let mut shipped = Shipped::default();
    ship(client, &mut Held::new(epoch, "test"), blob, None, &mut shipped, &mut |_: Said| {}).map(|()| shipped)
}

/// Answers of a model that are `width` wide, for `samples` samples.
struct Material {
    engine: &'static str,
    model: Blob,
    evalset: Blob,
    samples: u64,
    right: Vec<u8>,
}

fn material(folder: &Path, width: usize, samples: usize) -> Material {
    let mut dice = Dice::new(7);
    let mut value = || (dice.roll() % 2001) as f32 / 1000.0 - 1.0;
    let weights = (0..width).map(|_| vec![value(), value()]).collect();
    let bias = (0..width).map(|_| value()).collect();
    let model = Affine { weights, bias, crash_at: None, memory_bytes: 1 << 20 };
    let inputs: Vec<f32> = (0..samples * 2).map(|_| value()).collect();
    let bytes: Vec<u8> = inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![samples, 2], &bytes).unwrap();
    let evalset = safetensors::serialize([("inputs", view)], None).unwrap();
    let right = model.answers(&inputs).iter().flat_map(|y| y.to_le_bytes()).collect();
    let model = blob(folder, "model", &serde_json::to_vec(&model).unwrap());
    Material { engine: "affine", model, evalset: blob(folder, "evalset", &evalset), samples: samples as u64, right }
}

/// The same for the firmware: a fully connected layer of its own engine, and this machine's answers by it.
fn micro_material(folder: &Path, samples: usize) -> Material {
    const INPUT: usize = 16;
    const OUTPUT: usize = 8;
    let mut writer = Writer::new();
    for (name, bytes, offset) in [("in", INPUT, 0), ("out", OUTPUT, INPUT)] {
        writer.tensor(&TensorSpec { name, dtype: Dtype::I8, dims: &[bytes], offset, scale: 0.5, zero_point: 0 });
    }
    let weights: Vec<i8> = noise(INPUT * OUTPUT, 5).into_iter().map(|byte| byte as i8 / 2).collect();
    let mut parameters = [0; 13];
    parameters[0] = writer.rows(&weights, INPUT);
    let by = Multiplier::from_real(1.0 / (INPUT as f64 * 40.0)).unwrap();
    parameters[1] = writer.channels((0..OUTPUT as i32).map(|i| (i * 40 - 150, by)));
    parameters[8] = (-128 & 0xffff) | 127 << 16;
    parameters[9] = (INPUT + OUTPUT) as i32;
    let (name, kind) = ("dense", Kind::FullyConnected);
    writer.operator(&OperatorSpec { name, kind, inputs: &[0], output: 1, parameters });
    let model = writer.finish(1, 1, INPUT + OUTPUT + scratch_bytes(kind, INPUT));
    let evalset = noise(INPUT * samples, 9);
    let right = micro_answers(&model, &evalset);
    let model = blob(folder, "micro_model", &model);
    Material {
        engine: "micro",
        model,
        evalset: blob(folder, "micro_samples", &evalset),
        samples: samples as u64,
        right,
    }
}

fn micro_answers(model: &[u8], samples: &[u8]) -> Vec<u8> {
    let model = Model::check(model).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let input = model.input(0).range();
    let mut answer = |sample: &[u8]| {
        arena[input.clone()].copy_from_slice(sample);
        model.run(&mut arena).unwrap();
        arena[model.output(0).range()].to_vec()
    };
    samples.chunks(input.len()).flat_map(&mut answer).collect()
}

/// Starts a pass and takes one of its streams.
fn run(
    client: &mut Client<ByteLink<WireEnd>>,
    material: &Material,
    epoch: u64,
    job: u32,
    asked: (Pass, Stream, u32),
) -> Result<Vec<u8>, Failed> {
    run_slowly(client, material, epoch, job, asked, Slow { at_work: &|| false, quiet: None })
}

/// The same under a host that waits for one that is at work.
fn run_slowly(
    client: &mut Client<ByteLink<WireEnd>>,
    material: &Material,
    epoch: u64,
    job: u32,
    asked: (Pass, Stream, u32),
    slow: Slow<'_>,
) -> Result<Vec<u8>, Failed> {
    let (pass, stream, iterations) = asked;
    let run = Run {
        epoch,
        job,
        runner: wire::Digest([0; 32]),
        model: wire::Digest(material.model.digest.0),
        evalset: wire::Digest(material.evalset.digest.0),
        engine: material.engine,
        pass,
        batch: 1,
        first: 0,
        count: material.samples,
        warmup: 0,
        iterations,
        deadline_ms: 3_600_000,
        memory_limit_bytes: 0,
        options: "",
    };
    client.ask("start", &Request::Run(run), |r| matches!(r, Reply::Accepted { .. }).then_some(()))?;
    let (mut bytes, mut ended) = (Vec::new(), None);
    let far = client.now() + Duration::from_secs(3600);
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
    client.pull_from_a_slow_unit(job, far, slow, take, |_| Ok(()))?;
    assert_eq!(ended, Some(Ended::Completed));
    Ok(bytes)
}

/// Share of a line's capacity that was content, in percent.
fn payload_percent(bytes: usize, time: Duration) -> f64 {
    100.0 * bytes as f64 / (time.as_secs_f64() * BYTES_PER_S)
}

#[test]
fn an_image_takes_no_longer_than_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let image = blob(folder.path(), "image", &noise(96 * 96 * 3, 3));
    let unit = whole();
    let mut client = begun(&unit, 1).unwrap();
    let before = unit.elapsed();
    brought(&mut client, 1, &image).unwrap();
    let time = unit.elapsed() - before;
    let percent = payload_percent(96 * 96 * 3, time);
    println!("host to device: 27648 bytes in {:.3} s at {RATE} baud, {percent:.1} % payload", time.as_secs_f64());
    assert!(time <= Duration::from_millis(2600) && percent >= 90.0, "{time:?}, {percent:.1} %");
}

#[test]
fn answers_leave_no_idle_line() {
    let folder = tempfile::tempdir().unwrap();
    let material = material(folder.path(), 3, 4);
    let unit = whole();
    let mut client = begun(&unit, 1).unwrap();
    brought(&mut client, 1, &material.model).unwrap();
    brought(&mut client, 1, &material.evalset).unwrap();
    let before = unit.elapsed();
    // The simulated engine tells ticks in pieces of half a frame.
    let ticks = run(&mut client, &material, 1, 1, (Pass::Latency, Stream::Ticks, 10_000)).unwrap();
    let time = unit.elapsed() - before;
    let percent = payload_percent(ticks.len(), time);
    println!(
        "device to host: {} bytes in {:.3} s at {RATE} baud, {percent:.1} % payload",
        ticks.len(),
        time.as_secs_f64()
    );
    assert!(ticks.len() == 80_000 && percent >= 90.0, "{} bytes, {percent:.1} %", ticks.len());
}

/// Everything that a cell needs, once, from greeting to the last event.
fn attempt(unit: &WireUnit, material: &Material, epoch: u64) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let mut client = begun(unit, epoch)?;
    brought(&mut client, epoch, &material.model)?;
    brought(&mut client, epoch, &material.evalset)?;
    client.quicken(&[921_600, 460_800])?;
    let answers = run(&mut client, material, epoch, 1, (Pass::Accuracy, Stream::Output(0), 0))?;
    let ticks = run(&mut client, material, epoch, 2, (Pass::Latency, Stream::Ticks, 300))?;
    Ok((answers, ticks))
}

/// One run over a bad wire. Connecting anew is what a host does; it is bounded.
fn through(unit: &WireUnit, material: &Material) -> Option<(Vec<u8>, Vec<u8>)> {
    (1..=40).find_map(|epoch| attempt(unit, material, epoch).ok())
}

/// The board and the wire that a seed stands for.
fn bad(seed: u64) -> (Board, WireFaults) {
    let mut dice = Dice::new(seed);
    let mut rate = |most: u64| (dice.roll() % (most + 1)) as u32;
    let mut faults = WireFaults {
        drop: rate(300),
        flip: rate(300),
        repeat: rate(300),
        reset: rate(2000),
        stall: rate(5000),
        rate_max: [None, Some(RATE), Some(500_000)][rate(2) as usize],
        cut: None,
    };
    if rate(3) == 0 {
        let lasts = Some(Duration::from_millis(u64::from(rate(4000))));
        faults.cut = Some(Cut { after_bytes: u64::from(rate(40_000)), lasts, unplugged: rate(1) == 0 });
    }
    // A receiver of one byte that is as slow as a byte is long, or nearly.
    let byte_time = Duration::from_micros(u64::from(rate(90)));
    let ring_bytes = [1, 64, 2048, 8192][rate(3) as usize];
    (Board { ring_bytes, byte_time, stubborn: rate(1) == 0, ..Board::default() }, faults)
}

/// Runs over bad wires to the boards that `far` makes until enough frames have gone over them, and says what came of it. `name` is that of the
/// variable that repeats one run.
fn over_bad_wires(name: &str, material: &Material, far: impl Fn(Board, WireFaults, u64) -> WireUnit) -> String {
    let clean =
        attempt(&far(Board::default(), WireFaults::default(), 1), material, 1).expect("nothing stood in the way");
    assert_eq!(clean.0, material.right);
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let only = number(name);
    let enough = number("BOARDPROOF_WIRE_FRAMES").unwrap_or(20_000);
    let start = std::time::Instant::now();
    let (mut frames, mut faults, mut overruns, mut runs, mut results) = (0, 0, 0, 0_u64, 0_u64);
    for seed in only.unwrap_or(1).. {
        let (board, plan) = bad(seed);
        let unit = far(board, plan, seed);
        let result = through(&unit, material);
        if let Some(result) = &result {
            assert_eq!(*result, clean, "{name}={seed}: a wrong result, {board:?} {plan:?}");
        }
        let counts = unit.counts();
        let hours = unit.elapsed().as_secs() / 3600;
        assert!(hours < 24, "{name}={seed}: {hours} h of virtual time, {board:?} {plan:?}");
        (frames, faults, overruns) = (frames + counts.frames, faults + counts.faults, overruns + counts.overruns);
        (runs, results) = (runs + 1, results + u64::from(result.is_some()));
        if only.is_some() || frames >= enough {
            break;
        }
    }
    let took = start.elapsed().as_secs_f64();
    assert!(only.is_some() || results * 10 >= runs * 8, "only {results} of {runs} runs gave a result");
    format!(
        "{frames} frames, {faults} faults, {overruns} overruns; {results} results in {runs} runs, none wrong; {took:.1} s"
    )
}

#[test]
fn a_bad_wire_to_the_firmware_never_gives_a_wrong_result() {
    let folder = tempfile::tempdir().unwrap();
    let far =
        |board: Board, faults, seed| WireUnit::with(Box::new(Firmware::new()), board.boot_time, RATE, faults, seed);
    println!("firmware: {}", over_bad_wires("BOARDPROOF_WIRE_SEED", &micro_material(folder.path(), 60), far));
}

#[test]
fn a_slow_inference_is_waited_for_and_one_that_its_watchdog_would_end_is_given_up_before() {
    let folder = tempfile::tempdir().unwrap();
    let material = micro_material(folder.path(), 3);
    let watchdog = Duration::from_millis(WATCHDOG_MS.into());
    let quiet = Some(Quiet { limit: watchdog - Duration::from_secs(6), watchdog });
    // One inference of so many seconds after the other, under a host that sees the board at work.
    let answers = |inference_s| {
        let far = Box::new(Firmware::slow(Duration::from_secs(inference_s)));
        let unit = WireUnit::with(far, Duration::ZERO, RATE, WireFaults::default(), 1);
        let mut client = begun(&unit, 1).unwrap();
        brought(&mut client, 1, &material.model).unwrap();
        brought(&mut client, 1, &material.evalset).unwrap();
        let (before, slow) = (unit.elapsed(), Slow { at_work: &|| true, quiet });
        let got = run_slowly(&mut client, &material, 1, 1, (Pass::Accuracy, Stream::Output(0), 0), slow);
        (got, unit.elapsed() - before)
    };
    let (got, took) = answers(50);
    assert!(got.unwrap() == material.right && took > Duration::from_secs(150), "{took:?}");
    let (got, took) = answers(70);
    let error = got.unwrap_err().to_string();
    assert!(error.contains("no progress for 54 s") && error.contains("starts it anew after 60 s"), "{error}");
    assert!(took < watchdog, "{took:?}");
}

#[test]
fn a_bad_wire_to_the_simulated_device_never_gives_a_wrong_result() {
    let folder = tempfile::tempdir().unwrap();
    println!("simulated: {}", over_bad_wires("BOARDPROOF_WIRE_SEED", &material(folder.path(), 3, 60), unit));
}

/// A cut in the middle of an upload, and what is sent again after it.
fn cut_upload(cut: Cut) -> Shipped {
    let folder = tempfile::tempdir().unwrap();
    let image = blob(folder.path(), "image", &noise(96 * 96 * 3, 3));
    let unit = unit(Board::default(), WireFaults { cut: Some(cut), ..WireFaults::default() }, 1);
    let mut first = begun(&unit, 1).unwrap();
    let error = brought(&mut first, 1, &image).expect_err("the wire was cut for longer than anybody waits");
    assert!(error.client().is_some_and(ClientError::link_is_gone), "{error:?}");
    let mut again =
        (2..9).find_map(|epoch| begun(&unit, epoch).ok().map(|client| (client, epoch))).expect("it came back");
    brought(&mut again.0, again.1, &image).unwrap()
}

#[test]
fn an_upload_that_a_cut_ends_goes_on_where_it_stopped() {
    for unplugged in [false, true] {
        let lasts = Some(Duration::from_secs(60));
        let shipped = cut_upload(Cut { after_bytes: 15_000, lasts, unplugged });
        assert!((10_000..18_000).contains(&shipped.wire_bytes), "{} bytes were sent again", shipped.wire_bytes);
    }
}

#[test]
fn a_short_cut_costs_time_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let image = blob(folder.path(), "image", &noise(96 * 96 * 3, 3));
    for unplugged in [false, true] {
        let cut = Some(Cut { after_bytes: 15_000, lasts: Some(Duration::from_millis(2500)), unplugged });
        let unit = unit(Board::default(), WireFaults { cut, ..WireFaults::default() }, 1);
        let mut client = begun(&unit, 1).unwrap();
        let shipped = brought(&mut client, 1, &image).unwrap();
        assert_eq!(shipped.content_bytes, 96 * 96 * 3);
        assert!(unit.elapsed() < Duration::from_secs(12), "{:?}", unit.elapsed());
    }
}

#[test]
fn a_port_that_does_not_come_back_is_told_of_within_its_bound() {
    let cut = Some(Cut { after_bytes: 500, lasts: None, unplugged: true });
    let unit = unit(Board::default(), WireFaults { cut, ..WireFaults::default() }, 1);
    let folder = tempfile::tempdir().unwrap();
    let image = blob(folder.path(), "image", &noise(5000, 3));
    let mut client = begun(&unit, 1).unwrap();
    let error = brought(&mut client, 1, &image).unwrap_err();
    let gone = |error: &ClientError| matches!(error, ClientError::Link { source: LinkError::Gone { .. }, .. });
    assert!(error.client().is_some_and(gone), "{error:?}");
    let bound = Waits::default().replug + Duration::from_secs(4);
    assert!(unit.elapsed() < bound, "{:?}", unit.elapsed());
}

#[test]
fn a_reset_in_the_middle_of_an_upload_loses_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = blob(folder.path(), "image", &noise(20_000, 3));
    let unit = whole();
    let mut client = begun(&unit, 1).unwrap();
    let mut shipped = Shipped::default();
    let mut asked = 0;
    let mut reset_once = |_: Said| {
        asked += 1;
        if asked == 10 {
            unit.reset();
        }
    };
    let mut held = Held::new(1, "test");
    let error = ship(&mut client, &mut held, &image, None, &mut shipped, &mut reset_once).unwrap_err();
    assert!(error.client().is_some_and(ClientError::link_is_gone), "{error:?}");
    // It boots, and says so in words that are no frame.
    let mut client = begun(&unit, 2).unwrap();
    let again = brought(&mut client, 2, &image).unwrap();
    assert!(again.wire_bytes < 14_000, "{} bytes were sent again", again.wire_bytes);
}

#[test]
fn noise_before_the_first_frame_is_skipped() {
    let unit = whole();
    // Half a frame of a host that was killed, and more than any frame.
    let mut end = unit.connect().into_bytes();
    let far = end.now() + Duration::from_secs(1);
    end.write(&noise(3000, 5), far).unwrap();
    unit.reset();
    let greeting = client(&unit).hello().unwrap();
    assert_eq!(greeting.frame_max, BYTE_FRAME_MAX);
}

#[test]
fn a_silent_device_is_an_error_within_bounds() {
    let unit = whole();
    unit.silence();
    let error = client(&unit).hello().unwrap_err();
    let mute = matches!(error, ClientError::Link { source: LinkError::Mute { .. }, .. });
    assert!(mute && error.timed_out() && error.hint().is_some(), "{error:?}");
    assert!(unit.elapsed() < Duration::from_secs(30), "{:?}", unit.elapsed());
}

#[test]
fn a_device_that_falls_silent_is_an_error_within_bounds() {
    let unit = whole();
    let mut client = begun(&unit, 1).unwrap();
    let before = unit.elapsed();
    unit.silence();
    let digest = wire::Digest([0; 32]);
    let error = client.ask("ask", &Request::Stat { digest }, |_| Some(())).unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }) && error.timed_out(), "{error:?}");
    let waited = unit.elapsed() - before;
    let Patience { answer, asks } = unit.connect().patience();
    assert!(waited <= answer * asks + Duration::from_secs(1), "{waited:?}");
}

#[test]
fn a_device_at_another_rate_is_told_of() {
    let board = Board { rate: 9600, boot_time: Duration::from_millis(2), ..Board::default() };
    let unit = unit(board, WireFaults::default(), 1);
    let mut client = client(&unit);
    // What it says when it boots is all that there is to hear.
    unit.reset();
    let error = client.hello().unwrap_err();
    let ClientError::Link { source, .. } = &error else { panic!("{error:?}") };
    let text = source.to_string();
    assert!(text.contains("115200 bits per second") && text.contains("expected frames"), "{text}");
    assert!(source.hint().is_some_and(|hint| hint.contains("115200 the rate")) && error.timed_out());
}

/// The rate that was agreed on over this wire, and the virtual time that took; afterwards both sides understand each other.
fn quickened(faults: WireFaults, rates: &[u32]) -> (Option<u32>, Duration) {
    let unit = unit(Board::default(), faults, 1);
    let mut client = begun(&unit, 1).unwrap();
    let before = unit.elapsed();
    let rate = client.quicken(rates).unwrap();
    let took = unit.elapsed() - before;
    let folder = tempfile::tempdir().unwrap();
    let before = unit.elapsed();
    brought(&mut client, 1, &blob(folder.path(), "image", &noise(27_648, 3))).unwrap();
    let upload = unit.elapsed() - before;
    let percent = 100.0 * 27_648.0 / (upload.as_secs_f64() * f64::from(rate.unwrap()) / 10.0);
    println!("27648 bytes in {:.3} s at {rate:?} baud, {percent:.1} % payload", upload.as_secs_f64());
    (rate, took)
}

#[test]
fn a_line_goes_as_fast_as_it_can_be_proved_to() {
    let (rate, took) = quickened(WireFaults::default(), &[921_600, 460_800]);
    assert!(rate == Some(921_600) && took < Duration::from_millis(200), "{rate:?} {took:?}");
    // The device does not go that fast, and says so.
    let (rate, took) = quickened(WireFaults::default(), &[1_500_000, 460_800]);
    assert!(rate == Some(460_800) && took < Duration::from_millis(300), "{rate:?} {took:?}");
}

#[test]
fn a_rate_that_the_wire_does_not_carry_costs_the_fallback_and_nothing_else() {
    let faults = |max| WireFaults { rate_max: Some(max), ..WireFaults::default() };
    let (rate, took) = quickened(faults(300_000), &[921_600, 460_800, 230_400]);
    assert!(rate == Some(230_400) && took < Duration::from_secs(12), "{rate:?} {took:?}");
    let (rate, took) = quickened(faults(RATE), &[921_600, 460_800, 230_400]);
    assert!(rate == Some(RATE) && took < Duration::from_secs(18), "{rate:?} {took:?}");
}

#[test]
fn a_device_that_an_earlier_host_left_at_another_rate_is_called_back() {
    for stubborn in [false, true] {
        let unit = unit(Board { stubborn, ..Board::default() }, WireFaults::default(), 1);
        assert_eq!(begun(&unit, 1).unwrap().quicken(&[460_800]).unwrap(), Some(460_800));
        // That host has gone without a word.
        let before = unit.elapsed();
        let mut client = client(&unit);
        assert!(stubborn == client.hello().is_err(), "left alone, only one that gives up comes back");
        client.hello_at(&[921_600, 460_800]).unwrap();
        let most = Duration::from_secs(if stubborn { 40 } else { 5 });
        assert!(unit.elapsed() - before < most, "{:?}", unit.elapsed() - before);
        assert_eq!(client.quicken(&[921_600]).unwrap(), Some(921_600));
    }
}
