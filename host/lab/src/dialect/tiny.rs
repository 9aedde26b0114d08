//! Firmware that speaks MLPerf Tiny.

use super::driver::{self, Driver, Inference, Reached, UNTOLD, untold};
use super::line::PortLine;
use super::samples::elements_of;
use super::{Asked, DialectError, Waits};
use boardproof_dialect::mlperf_tiny::{Identity, MlperfTiny, Options, Patience, Stamp, elapsed_us};
use boardproof_record::dialect::SampleForm;
use boardproof_record::observation::Facts;
use std::time::Instant;

/// Timestamps are microseconds.
const TICK_HZ: u64 = 1_000_000;
/// A window is not longer than what the host saw of it, but for a share by which good clocks differ and the coarsest clock's tick.
const WINDOW_SHARE: u64 = 10;
const WINDOW_SLACK_US: u64 = 2000;
/// Windows of a pass that are called noise when they are longer. Where more are it is the clock that is off, and that is for the judge.
const LONG_MAX: u32 = 3;

/// How the firmware is spoken to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speech {
    pub input: SampleForm,
    pub confirm_samples: bool,
    pub relay: bool,
}

/// Finds the firmware and proves that it calls its model what the target's file says.
pub(super) fn reach(line: PortLine, asked: &Asked<'_>, speech: Speech) -> Result<Reached, DialectError> {
    let (inputs, outputs) = (asked.model.inputs.len(), asked.model.outputs.len());
    if (inputs, outputs) != (1, 1) {
        let (expected, found) = ("one input and one output".into(), format!("{inputs} and {outputs}"));
        return Err(DialectError::CannotCarry { dialect: "MLPerf Tiny", expected, found });
    }
    let elements = elements_of(speech.input, asked.variant)?;
    let (device, identity) = greet(line, asked.waits, speech)?;
    asked.prove_model("model", asked.dialect.model(), &identity.model)?;
    let mut facts = Facts::default();
    for (name, text) in [("vendor", &identity.vendor), ("firmware", &identity.firmware), ("model", &identity.model)] {
        facts.texts.insert(name.into(), text.clone());
    }
    untold(&mut facts, &UNTOLD, "MLPerf Tiny does not tell it");
    untold(&mut facts, &["operators"], "MLPerf Tiny does not tell them");
    let driver = Box::new(Tiny { device, begun: None, last_us: 0, counted_us: 0, long_left: 0 });
    let who = driver::device(identity.firmware, format!("firmware of {}", identity.vendor), TICK_HZ);
    Ok(Reached { driver, device: who, facts, elements })
}

/// Waits for the firmware and asks who it is.
pub(super) fn greet(
    line: PortLine,
    waits: Waits,
    speech: Speech,
) -> Result<(MlperfTiny<PortLine>, Identity), DialectError> {
    let patience = Patience { scan: waits.scan, command: waits.answer, infer: waits.inference };
    let (relay, confirm_sample) = (speech.relay, speech.confirm_samples);
    let options = Options { patience, relay, confirm_sample, ..Options::default() };
    let mut device = MlperfTiny::connect(line, options)?;
    let identity = device.identify()?;
    Ok((device, identity))
}

struct Tiny {
    device: MlperfTiny<PortLine>,
    /// When the clock was first read in this pass.
    begun: Option<Stamp>,
    /// The device's clock when it was last read, and what it has counted since then.
    last_us: u64,
    counted_us: u64,
    /// Windows that may still be called noise.
    long_left: u32,
}

impl Tiny {
    /// Counts on to a reading of the clock. It has 32 bits in most firmware: what it counts in a pass is the sum of the ways between
    /// readings, each shorter than the 71 minutes after which it begins again.
    fn count(&mut self, us: u64) -> Result<(), DialectError> {
        self.counted_us += elapsed_us(self.last_us, us)?;
        self.last_us = us;
        Ok(())
    }

    /// A window of so many inferences.
    fn timed(&mut self, inferences: u32) -> Result<(Vec<f32>, u64), DialectError> {
        let seen = self.device.infer(inferences, 0)?;
        let (device_us, host_us) = (seen.latency.elapsed_us, seen.latency.bracket.as_micros() as u64);
        if self.long_left > 0 && device_us > host_us + host_us / WINDOW_SHARE + WINDOW_SLACK_US {
            self.long_left -= 1;
            return Err(DialectError::Window { device_us, host_us });
        }
        self.count(seen.latency.end_us)?;
        Ok((seen.outputs, device_us))
    }
}

impl Driver for Tiny {
    fn load(&mut self, sample: &[Vec<u8>]) -> Result<(), DialectError> {
        Ok(self.device.load(sample.first().map_or(&[], Vec::as_slice))?)
    }

    fn infer(&mut self) -> Result<Inference, DialectError> {
        let (outputs, ticks) = self.timed(1)?;
        Ok(Inference { outputs: vec![outputs], ticks })
    }

    fn begin(&mut self, timed: bool) -> Result<(), DialectError> {
        self.long_left = if timed { LONG_MAX } else { 0 };
        let stamp = self.device.timestamp()?;
        (self.begun, self.last_us, self.counted_us) = (Some(stamp), stamp.us, 0);
        Ok(())
    }

    fn end(&mut self, facts: &mut Facts) -> Result<(), DialectError> {
        let stamp = self.device.timestamp()?;
        self.count(stamp.us)?;
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let ns = |from: Instant, to: Instant| u64::try_from(to.saturating_duration_since(from).as_nanos());
        // Each reading was taken between two of the host's: so the way between them lies between the inner and the outer pair.
        for (name, value) in [
            ("pass_wall_ns", self.counted_us.saturating_mul(1000)),
            ("host_wall_ns_min", ns(begun.told, stamp.asked).unwrap_or(u64::MAX)),
            ("host_wall_ns_max", ns(begun.asked, stamp.told).unwrap_or(u64::MAX)),
        ] {
            facts.numbers.insert(name.into(), value);
        }
        Ok(())
    }

    fn window(&mut self, inferences: u32) -> Result<Option<u64>, DialectError> {
        Ok(Some(self.timed(inferences)?.1))
    }
}
