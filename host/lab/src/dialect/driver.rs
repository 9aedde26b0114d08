//! What measuring needs of a firmware, whatever it speaks.

use super::DialectError;
use super::samples::Elements;
use boardproof_record::observation::{Device, Facts};

/// A firmware that was reached, and what it has said of itself.
pub(super) struct Reached {
    pub driver: Box<dyn Driver>,
    pub device: Device,
    /// What it told, and what it cannot tell, with the reason.
    pub facts: Facts,
    /// What each input's elements are.
    pub elements: Vec<Elements>,
}

/// A firmware with one model inside.
pub(super) trait Driver {
    /// Makes a sample, the bytes of every input, the one that is inferred.
    fn load(&mut self, sample: &[Vec<u8>]) -> Result<(), DialectError>;
    /// One inference of the sample that was loaded.
    fn infer(&mut self) -> Result<Inference, DialectError>;
    /// Begins a pass and holds the device's clock against the host's in it; `timed`: it is there for times.
    fn begin(&mut self, timed: bool) -> Result<(), DialectError>;
    /// Ends that, and tells what both clocks counted.
    fn end(&mut self, facts: &mut Facts) -> Result<(), DialectError>;
    /// Many inferences in one window, as the protocol's own benchmark measures; `None` where it has no such thing.
    fn window(&mut self, inferences: u32) -> Result<Option<u64>, DialectError> {
        let _ = inferences;
        Ok(None)
    }
    /// Things worth knowing of one inference that no pass asks for.
    fn look_inside(&mut self) -> Result<Inside, DialectError> {
        Ok(Inside::default())
    }
}

/// One inference.
pub(super) struct Inference {
    /// Values of each output.
    pub outputs: Vec<Vec<f32>>,
    /// How long it took, in ticks of the device's clock.
    pub ticks: u64,
}

/// The model's operators, as far as the firmware tells them.
#[derive(Default)]
pub(super) struct Inside {
    pub operators: Vec<boardproof_record::observation::Operator>,
    pub facts: Facts,
}

/// Who answered, as far as firmware of somebody else tells: it has no build of ours, no identity and no boots that could be told apart.
pub(super) fn device(firmware: String, system: String, tick_hz: u64) -> Device {
    Device {
        protocol: 0,
        agent_build: firmware,
        agent_digest: None,
        runner_digest: None,
        architecture: String::new(),
        system,
        identity: String::new(),
        tick_hz,
        boot: 0,
    }
}

/// Says of numbers that no rule may find them, and why.
pub(super) fn untold(facts: &mut Facts, names: &[&str], why: &str) {
    facts.missing.extend(names.iter().map(|name| ((*name).to_owned(), why.to_owned())));
}

/// What no protocol of somebody else tells.
pub(super) const UNTOLD: [&str; 12] = [
    "rss_start_bytes",
    "rss_peak_bytes",
    "flash_bytes",
    "static_ram_bytes",
    "arena_peak_bytes",
    "stack_peak_bytes",
    "load_ns",
    "first_inference_ns",
    "model_digest",
    "firmware_build",
    "identity",
    "architecture",
];
