//! The host against a simulator of the firmware: what a good answer is, and that nothing short of one passes.

use boardproof_dialect::stm32msg::sim::{self, Asking, Behaviour, Firmware, LAYER_CYCLES, Trouble, When};
use boardproof_dialect::stm32msg::{
    ErrorCode, Fault, Framing, Kind, Mode, Model, Options, Run, Runtime, Stm32Msg, Toolchain,
};
use boardproof_dialect::{Bytes, LineError, Loopback};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const SYNC: i32 = 0;
const MODEL_INFO: i32 = 10;
const RUN: i32 = 11;
/// Messages of the device in a run by layers.
const MESSAGES: usize = 13;

type Device = Stm32Msg<Loopback<Firmware>>;

#[track_caller]
fn connect(firmware: Firmware) -> (Device, Model) {
    let mut device = Stm32Msg::connect(Loopback::new(firmware), Options::default()).expect("a device that answers");
    let model = device.models().expect("models").remove(0);
    (device, model)
}

fn run(device: &mut Device, model: &Model, mode: Mode) -> Result<Run, Fault> {
    device.run(model, &sim::inputs(&[1; 40], [0.5, 0.25]), mode)
}

#[track_caller]
fn good(run: &Run) {
    assert_eq!(run.outputs[0].values().as_deref(), Some(&[40.0, 0.75][..]));
    assert_eq!(run.outputs[1].values().as_deref(), Some(&[1.0, 1.0, 1.0][..]));
}

/// The fault of a run by layers with data, in which `trouble` happens to one message; the run after it is good.
#[track_caller]
fn fault(message: usize, trouble: Trouble) -> Fault {
    let shown = format!("{trouble:?} in message {message}");
    let (mut device, model) = connect(Firmware::with(RUN, message, trouble));
    let Err(fault) = run(&mut device, &model, Mode::PerLayerWithData) else { panic!("a good run after {shown}") };
    match run(&mut device, &model, Mode::PerLayerWithData) {
        Ok(run) => good(&run),
        Err(next) => panic!("after {shown} ({fault}): {next}"),
    }
    fault
}

#[track_caller]
fn check_fault(message: usize, trouble: Trouble, expected: &str) {
    assert_eq!(fault(message, trouble).to_string(), expected);
}

#[test]
fn a_request_and_its_answer_are_these_bytes() {
    let device = Stm32Msg::connect(Loopback::new(Firmware::new()), Options::default()).expect("a device");
    assert_eq!(device.firmware().version, (3, 1));
    let line = device.into_line();
    let mut sent = vec![11, 10, 0x08, 1, 0x10, 0, 0x18, 0, 0x22, 0, 0x28, 0];
    sent.resize(33, 0);
    assert_eq!(line.sent, sent);
    // reqid 1, state 0, sync { version 0x301, capability 1, rtid 0x101 }
    let mut read = vec![0x80 | 14, 0x08, 1, 0x10, 0, 0x52, 8, 0x08, 0x81, 0x06, 0x20, 1, 0x28, 0x81, 0x02];
    read.resize(33, 0x55);
    assert_eq!(line.read, read);
}

#[test]
fn device_and_model_say_who_they_are() {
    let (mut device, model) = connect(Firmware::new());
    let firmware = *device.firmware();
    assert!(firmware.capabilities.observer && !firmware.capabilities.memory);
    assert_eq!(firmware.runtime, Runtime::StmAi);
    let system = device.system().expect("a system");
    assert_eq!(
        (system.device_id, system.core_hz, system.bus_hz, system.extra),
        (0x450, 400_000_000, 200_000_000, vec![0, 7])
    );
    assert_eq!((model.name.as_str(), model.nodes, model.macs), (sim::MODEL, 3, 1 << 33));
    assert_eq!((model.runtime, model.toolchain), (Runtime::StmAi, Toolchain::Gcc));
    assert_eq!((model.runtime_version, model.tool_version), ((10, 2, 0), (2, 1, 1)));
    assert_eq!(
        (model.inputs.len(), model.outputs.len(), model.activations.len(), model.parameters.len()),
        (2, 2, 1, 0)
    );
    let input = &model.inputs[0];
    assert_eq!((input.format.kind, input.format.signed, input.format.bits), (Kind::Integer, true, 8));
    assert_eq!(
        (input.bytes(), input.scale, input.zero_point, input.dims.as_slice()),
        (Some(40), Some(0.5), -1, &[1, 40][..])
    );
    assert_eq!((model.inputs[1].bytes(), model.inputs[1].scale), (Some(8), None));
}

#[test]
fn a_run_gives_outputs_and_time() {
    let (mut device, model) = connect(Firmware::new());
    let run = run(&mut device, &model, Mode::Outputs).expect("a run");
    good(&run);
    assert!(run.layers.is_empty() && run.logs.is_empty());
    let cycles: u64 = LAYER_CYCLES.iter().sum();
    assert_eq!(run.execution.cycles(), Some(cycles));
    assert!((run.execution.duration().as_secs_f64() - cycles as f64 / f64::from(sim::CORE_HZ)).abs() < 1e-6);
    assert_eq!((run.execution.stack_bytes, run.execution.heap_bytes), (None, Some(512)));
}

#[test]
fn a_run_by_layers_gives_each_of_them() {
    let (mut device, model) = connect(Firmware::new());
    for (mode, data) in [(Mode::PerLayer, false), (Mode::PerLayerWithData, true)] {
        let run = run(&mut device, &model, mode).expect("a run");
        good(&run);
        let layers: Vec<_> = run
            .layers
            .iter()
            .map(|layer| (layer.id, layer.kind, layer.tensors.len(), layer.execution.cycles()))
            .collect();
        let expected = [0, 1, 2].map(|id| (id as u32, 0x103, [2, 0, 2][id], Some(LAYER_CYCLES[id])));
        assert_eq!(layers, expected);
        let tensor = &run.layers[0].tensors[1];
        assert_eq!((tensor.description.name.as_str(), tensor.data.is_some()), ("feature", data));
        assert_eq!(tensor.values(), data.then(|| vec![1.0; 16]));
    }
}

#[test]
fn a_run_for_time_sends_one_element_and_gets_no_data() {
    let (mut device, model) = connect(Firmware::new());
    let run = run(&mut device, &model, Mode::Time).expect("a run");
    assert!(run.outputs.iter().all(|output| output.data.is_none() && output.values().is_none()));
    assert!(run.execution.cycles().is_some());
    // Request, two inputs and two acks in a packet each.
    let sent = device.into_line().sent.len();
    assert_eq!(sent % 33, 0);
    let (mut device, model) = connect(Firmware::new());
    self::run(&mut device, &model, Mode::Outputs).expect("a run");
    assert_eq!(device.into_line().sent.len(), sent + 33, "an input of 40 bytes needs two");
}

#[test]
fn log_lines_are_acknowledged_and_kept() {
    let (mut device, model) = connect(Firmware::behaving(Behaviour { logs: 3, ..Behaviour::default() }));
    let run = run(&mut device, &model, Mode::PerLayer).expect("a run");
    good(&run);
    assert_eq!(
        run.logs.iter().map(|log| log.text.as_str()).collect::<Vec<_>>(),
        ["RUN: 2 left", "RUN: 1 left", "RUN: 0 left"]
    );
}

#[test]
fn what_this_firmware_cannot_do_is_not_asked() {
    let (mut device, model) = connect(Firmware::behaving(Behaviour { observer: false, ..Behaviour::default() }));
    let fault = run(&mut device, &model, Mode::PerLayer).expect_err("no observer");
    let expected = "could not run network: expected firmware with an observer for a run by layers, got one without";
    assert_eq!(fault.to_string(), expected);
    let short = device.run(&model, &[vec![0; 39], vec![0; 8]], Mode::Outputs).expect_err("a short input");
    assert_eq!(short.to_string(), "could not run network: expected 40 bytes for input 0, got 39");
    let few = device.run(&model, &[vec![0; 40]], Mode::Outputs).expect_err("one input");
    assert_eq!(few.to_string(), "could not run network: expected 2 inputs, got 1");
    good(&run(&mut device, &model, Mode::Outputs).expect("a run"));
    let line = device.into_line();
    assert_eq!(line.peer.requests, 1 + 2 + 1, "sync, two models, run");
}

#[test]
fn firmware_of_another_version_is_refused() {
    for (version, shown) in [((2, 2), "2.2"), ((3, 2), "3.2"), ((4, 0), "4.0")] {
        let fault = Stm32Msg::connect(
            Loopback::new(Firmware::behaving(Behaviour { version, ..Behaviour::default() })),
            Options::default(),
        )
        .err();
        let expected = format!("could not speak to the firmware: expected version 3.0 to 3.1, got {shown}");
        assert_eq!(fault.map(|fault| fault.to_string()), Some(expected));
    }
    assert!(
        Stm32Msg::connect(
            Loopback::new(Firmware::behaving(Behaviour { version: (3, 0), ..Behaviour::default() })),
            Options::default()
        )
        .is_ok()
    );
}

/// The vendor's own driver goes on as if the request had been sent.
#[test]
fn a_lost_acknowledgement_stops_the_request() {
    for (asking, found) in [(Asking::NotAt(0), "nothing in 5s"), (Asking::WrongAt(0, 0x55), "0x55")] {
        let (mut device, model) = connect(Firmware::behaving(Behaviour { asking, ..Behaviour::default() }));
        let fault = run(&mut device, &model, Mode::Outputs).expect_err("a lost acknowledgement");
        let expected =
            format!("could not send input 0: packet 1 of 2 was not acknowledged, expected 0xaa, got {found}");
        assert_eq!(fault.to_string(), expected);
        assert!(fault.timed_out());
        good(&run(&mut device, &model, Mode::Outputs).expect("a run after synchronising"));
    }
}

#[test]
fn a_message_cut_anywhere_is_no_message() {
    for message in 0..MESSAGES {
        for cut in 1..80 {
            let fault = fault(message, Trouble::Cut(cut));
            assert!(matches!(fault, Fault::NoMessage { .. }), "{cut} bytes cut from message {message}: {fault}");
        }
    }
}

#[test]
fn a_lost_packet_is_seen() {
    for message in 0..MESSAGES {
        for packet in 0..4 {
            fault(message, Trouble::LostPacket(packet));
        }
    }
}

#[test]
fn a_lost_byte_is_seen() {
    for message in 0..MESSAGES {
        for byte in 0..33 {
            fault(message, Trouble::LostByte(byte));
        }
    }
}

#[test]
fn a_lost_message_is_seen() {
    for message in (0..MESSAGES).filter(|message| ![4, 8].contains(message)) {
        fault(message, Trouble::Lost);
    }
    // A layer without tensors leaves no other trace than the count.
    check_fault(6, Trouble::Lost, "could not receive layer 2 of network: expected 3 layers, got 2");
}

/// The one thing that the protocol does not let anybody see: how many tensors a layer has is never said.
#[test]
fn a_lost_tensor_of_a_layer_with_more_leaves_the_rest_as_it_is() {
    let (mut device, model) = connect(Firmware::with(RUN, 4, Trouble::Lost));
    let run = run(&mut device, &model, Mode::PerLayerWithData).expect("a run");
    good(&run);
    assert_eq!(run.layers.iter().map(|layer| layer.tensors.len()).collect::<Vec<_>>(), [1, 0, 2]);
}

#[test]
fn a_tensor_is_as_large_as_it_says_and_as_its_model_said() {
    check_fault(
        11,
        Trouble::Elements(2, 7),
        "could not receive output 0 of network: expected a whole message, got one without as much data as its description says",
    );
    check_fault(
        11,
        Trouble::Elements(3, 12),
        "could not receive output 0 of network: expected 2 elements of format 0x01821040, got 3 elements of format 0x01821040",
    );
    check_fault(
        9,
        Trouble::Elements(16, 15),
        "could not receive layer 2 of network: expected a whole message, got one without as much data as its description says",
    );
}

#[test]
fn a_wrong_state_is_a_fault() {
    for message in 0..MESSAGES {
        fault(message, Trouble::State(0));
        fault(message, Trouble::State(99));
    }
    check_fault(
        0,
        Trouble::State(3),
        "could not begin a run of network: expected state Waiting, got an acknowledgement in state Done",
    );
    check_fault(
        12,
        Trouble::State(2),
        "could not receive output 1 of network: expected state Done, got a tensor in state Processing",
    );
}

#[test]
fn an_error_is_told_with_its_code_and_ends_the_transaction() {
    for (code, expected) in [
        (1, ErrorCode::InvalidSize),
        (2, ErrorCode::InvalidFormat),
        (3, ErrorCode::InvalidState),
        (4, ErrorCode::InvalidParam),
        (5, ErrorCode::InvalidShape),
        (6, ErrorCode::InvalidCommand),
        (7, ErrorCode::Uninitialized),
        (8, ErrorCode::MemoryOverflow),
        (10, ErrorCode::Generic),
        (42, ErrorCode::Other(42)),
    ] {
        let fault = fault(2, Trouble::Error(code));
        assert!(matches!(&fault, Fault::Refused { code, .. } if *code == expected), "{fault}");
    }
    check_fault(10, Trouble::Error(10), "could not receive layer 3 of network: the device says Generic (77)");
    // The device waits for the next request: no synchronising.
    let (mut device, model) = connect(Firmware::with(RUN, 0, Trouble::Error(10)));
    assert!(run(&mut device, &model, Mode::Outputs).is_err());
    good(&run(&mut device, &model, Mode::Outputs).expect("a run"));
    assert_eq!(device.into_line().peer.requests, 1 + 2 + 2);
}

#[test]
fn a_model_list_that_breaks_off_is_no_list() {
    for trouble in [Trouble::Error(10), Trouble::Mute, Trouble::Cut(1), Trouble::Lost] {
        let mut device =
            Stm32Msg::connect(Loopback::new(Firmware::with(MODEL_INFO, 0, trouble.clone())), Options::default())
                .expect("a device");
        assert!(device.models().is_err(), "{trouble:?}");
        assert_eq!(device.models().expect("models").len(), 1);
    }
}

#[test]
fn an_answer_to_another_request_is_a_fault() {
    check_fault(1, Trouble::Stale, "could not send input 0: expected an answer to request 4, got one to 3");
}

#[test]
fn a_device_that_falls_silent_has_timed_out() {
    let fault = fault(3, Trouble::Mute);
    assert_eq!(fault.to_string(), "could not receive layer 0 of network: no answer in 50s, got 0 bytes of a message");
    assert!(fault.timed_out());
}

#[test]
fn a_device_that_boots_is_shown() {
    let fault = fault(10, Trouble::Boot).to_string();
    assert_eq!(
        fault,
        "could not receive layer 3 of network: expected a packet, got \"\\r\\n#\\r\\n# AI Validation 1.1\\r\\n#\\r\\nREAD\""
    );
}

#[test]
fn text_before_the_first_answer_is_thrown_away() {
    let mut line = Loopback::new(Firmware::new());
    line.waiting.extend(b"READY to receive a command\r\n");
    assert!(Stm32Msg::connect(line, Options::default()).is_ok());
}

#[test]
fn firmware_with_longer_packet_heads_is_spoken_to_in_kind() {
    let later = || Firmware::behaving(Behaviour { framing: Framing::Word, ..Behaviour::default() });
    let options = Options { framing: Framing::Word, ..Options::default() };
    let mut device = Stm32Msg::connect(Loopback::new(later()), options).expect("a device");
    assert_eq!(device.system().expect("a system").extra, [0, 7]);
    let model = device.models().expect("models").remove(0);
    good(&run(&mut device, &model, Mode::PerLayerWithData).expect("a run"));
    let line = device.into_line();
    assert_eq!(
        (&line.sent[..4], line.sent.len() % 34, line.read.len() % 34),
        (&[0, 11, 10, 8][..], 0, 1),
        "one byte asks for more"
    );
    // The other kind is not understood, and not mistaken for anything.
    assert!(Stm32Msg::connect(Loopback::new(later()), Options::default()).is_err());
}

#[test]
fn a_device_that_waits_for_the_rest_of_a_long_message_gets_it() {
    let mut line = Loopback::new(Firmware::new());
    // The first packet of a request of 10000 bytes.
    let mut packet = [7; 33];
    packet[..3].copy_from_slice(&[32, 0x90, 0x4e]);
    line.write(&packet, Instant::now()).expect("memory");
    assert!(Stm32Msg::connect(line, Options::default()).is_ok());
}

#[test]
fn a_sync_that_fails_is_tried_again_and_not_forever() {
    let trouble = |times| {
        Firmware::behaving(Behaviour {
            trouble: vec![When { command: SYNC, message: 0, times, trouble: Trouble::Cut(3) }],
            ..Behaviour::default()
        })
    };
    assert!(Stm32Msg::connect(Loopback::new(trouble(4)), Options::default()).is_ok());
    let mut line = Loopback::new(trouble(100));
    let fault = Stm32Msg::connect(&mut line, Options::default()).err().expect("a fault");
    assert!(
        fault.to_string().starts_with("could not synchronise: expected a whole message, got one without sense"),
        "{fault}"
    );
    assert_eq!(line.peer.requests, 5);
}

#[test]
fn a_dead_device_is_silent() {
    let fault =
        Stm32Msg::connect(Loopback::new(|_: &[u8], _: &mut Vec<u8>| {}), Options::default()).err().expect("a fault");
    assert_eq!(fault.to_string(), "could not synchronise: no answer in 500ms, got 0 bytes of a message");
    assert!(fault.timed_out());
}

/// A line that gives a byte whenever it is asked.
struct Babbler(u8);

impl Bytes for Babbler {
    fn write(&mut self, _: &[u8], _: Instant) -> Result<(), LineError> {
        Ok(())
    }

    fn read(&mut self, into: &mut [u8], _: Instant) -> Result<usize, LineError> {
        into.fill(self.0);
        Ok(into.len())
    }
}

#[test]
fn a_device_that_never_stops_is_given_up() {
    // 32 is the head of a full packet that is not the last: a message that never ends.
    for byte in [0, 32, b'x', 0x80, 0xaa, 0xff] {
        let options = Options { attempts: 2, ..Options::default() };
        assert!(Stm32Msg::connect(Babbler(byte), options).is_err(), "{byte}");
    }
}

#[test]
fn patience_is_the_vendors_unless_said_otherwise() {
    let patience = Options::default().patience;
    assert_eq!(
        (patience.sync, patience.packet, patience.inference),
        (Duration::from_millis(500), Duration::from_secs(5), Duration::from_secs(50))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_instead_of_an_answer_are_survived(message in 0..MESSAGES, bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let (mut device, model) = connect(Firmware::with(RUN, message, Trouble::Raw(bytes)));
        prop_assert!(run(&mut device, &model, Mode::PerLayerWithData).is_err());
    }

    /// Whole packets, of whatever content.
    #[test]
    fn any_packets_instead_of_an_answer_are_survived(message in 0..MESSAGES, bytes in prop::collection::vec(any::<u8>(), 1..=32)) {
        let mut packet = vec![0x80 | bytes.len() as u8];
        packet.extend(bytes);
        packet.resize(33, 0);
        let (mut device, model) = connect(Firmware::with(RUN, message, Trouble::Raw(packet)));
        prop_assert!(run(&mut device, &model, Mode::PerLayerWithData).is_err());
    }

    #[test]
    fn any_input_goes_through(bytes in prop::array::uniform32(any::<i8>()), floats in prop::array::uniform2(-1e6f32..1e6)) {
        let mut input = [0i8; 40];
        input[4..36].copy_from_slice(&bytes);
        let (mut device, model) = connect(Firmware::new());
        let run = device.run(&model, &sim::inputs(&input, floats), Mode::Outputs).expect("a run");
        let sum: f32 = input.iter().map(|byte| (f32::from(*byte) + 1.0) * 0.5).sum();
        prop_assert_eq!(run.outputs[0].values(), Some(vec![sum, floats[0] + floats[1]]));
    }
}
