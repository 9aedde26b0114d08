//! Measuring firmware that somebody else built and flashed, with its model inside: over the protocol that it speaks already.
//!
//! What comes back are ordinary observations, judged like any other. Nothing is shipped but samples, and nothing is on the unit afterwards
//! that was not there before. What the protocol cannot tell is missing with its reason: which model is inside, memory, builds. Whatever
//! goes wrong with firmware or line is a fault and never an answer.

mod driver;
mod error;
mod keep;
mod line;
mod passes;
mod samples;
mod stm32;
mod tiny;

pub use error::DialectError;

use crate::events::Events;
use crate::link::{ByteAddress, Port};
use crate::store::RecordFolder;
use boardproof_record::dialect::Dialect;
use boardproof_record::observation::{Fault, Observation, Outcome, Shipped};
use boardproof_record::plan::{Cell, LinkSpec, Model, Target, Unit, Variant};
use driver::Reached;
use line::PortLine;
use passes::{Passes, Work};
use std::time::Duration;

/// How long to wait for a firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// For a sign of life, per attempt, while it may still be booting.
    pub scan: Duration,
    /// For any answer but that of an inference.
    pub answer: Duration,
    /// For an inference.
    pub inference: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { scan: Duration::from_secs(2), answer: Duration::from_secs(5), inference: Duration::from_secs(30) }
    }
}

/// A unit with firmware of somebody else.
#[derive(Debug, Clone)]
pub struct DialectBench {
    unit: Unit,
    target: Target,
    waits: Waits,
    interrupted: fn() -> bool,
}

/// A cell on it.
#[derive(Debug, Clone, Copy)]
pub struct DialectJob<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Its model, for the samples and for what answers must look like.
    pub model: &'a Model,
    /// The variant that is said to be inside.
    pub variant: &'a Variant,
}

/// What is asked of a firmware.
struct Asked<'a> {
    unit: &'a Unit,
    dialect: &'a Dialect,
    model: &'a Model,
    variant: &'a Variant,
    waits: Waits,
}

impl Asked<'_> {
    /// Another model inside is no answer about this one.
    fn prove_model(&self, what: &'static str, expected: &str, found: &str) -> Result<(), DialectError> {
        if expected == found {
            return Ok(());
        }
        let (unit, expected, found) = (self.unit.name.to_string(), expected.to_owned(), format!("'{found}'"));
        Err(DialectError::OtherModel { unit, what, expected, found })
    }

    fn unlike(&self, expected: String, found: String) -> DialectError {
        DialectError::Unlike { variant: self.variant.name.to_string(), expected, found }
    }
}

impl DialectBench {
    /// Prepares to use a unit. Nothing is opened yet.
    pub fn new(unit: &Unit, target: &Target, interrupted: fn() -> bool) -> Self {
        Self { unit: unit.clone(), target: target.clone(), waits: Waits::default(), interrupted }
    }

    /// Changes how long is waited.
    #[must_use]
    pub fn with_waits(mut self, waits: Waits) -> Self {
        self.waits = waits;
        self
    }

    /// Measures a cell; whatever happens becomes its outcome.
    pub fn measure(&self, job: &DialectJob<'_>, folder: &RecordFolder, events: &mut dyn Events) -> Outcome {
        let mut work = Work::default();
        match self.try_measure(job, folder, events, &mut work).map_err(DialectError::or_interrupted) {
            Ok(observation) => Outcome::Measured(Box::new(observation)),
            Err(error) => outcome_of(&error, work),
        }
    }

    fn try_measure(
        &self,
        job: &DialectJob<'_>,
        folder: &RecordFolder,
        events: &mut dyn Events,
        work: &mut Work,
    ) -> Result<Observation, DialectError> {
        let (model, variant) = (job.model, job.variant);
        let asked = Asked { unit: &self.unit, dialect: self.dialect(), model, variant, waits: self.waits };
        work.begin("reach the firmware");
        let reached = self.reach(&asked)?;
        work.succeed();
        work.begin("prepare the samples");
        let count = job.cell.passes.iter().map(|plan| plan.samples).max().unwrap_or(0);
        let samples = samples::samples(model, &reached.elements, asked.dialect.channels(), count)?;
        work.succeed();
        let Reached { driver, device, facts, .. } = reached;
        let mut passes = Passes { driver, job, samples, folder, events, interrupted: self.interrupted };
        for plan in &job.cell.passes {
            work.begin(&format!("{} pass", error::pass_name(plan.pass)));
            work.measuring = true;
            let seen = passes.run(plan, work)?;
            work.succeed();
            work.passes.push(seen);
        }
        Ok(Observation {
            emulated: self.target.emulated,
            device,
            environment_after: facts.clone(),
            environment_before: facts,
            passes: std::mem::take(&mut work.passes),
            attempts: std::mem::take(&mut work.attempts),
            shipped: Shipped::default(),
        })
    }

    fn dialect(&self) -> &Dialect {
        self.target.dialect.as_ref().expect("only targets with a dialect are measured here")
    }

    fn reach(&self, asked: &Asked<'_>) -> Result<Reached, DialectError> {
        if let Some(expected) = &self.unit.identity {
            let (unit, expected, dialect) = (self.unit.name.to_string(), expected.clone(), asked.dialect.name());
            return Err(DialectError::Identity { unit, expected, dialect });
        }
        let line = self.open()?;
        match asked.dialect {
            Dialect::MlperfTiny { input, confirm_samples, relay, .. } => {
                let speech = tiny::Speech { input: *input, confirm_samples: *confirm_samples, relay: *relay };
                tiny::reach(line, asked, speech)
            }
            Dialect::Stm32msg { signature, packets, .. } => stm32::reach(line, asked, *packets, signature.as_deref()),
        }
    }

    fn open(&self) -> Result<PortLine, DialectError> {
        let unit = || self.unit.name.to_string();
        let address = self.unit.address.as_deref().ok_or_else(|| DialectError::NoAddress { unit: unit() })?;
        let address: ByteAddress =
            address.parse().map_err(|source| DialectError::Address { unit: unit(), source: Box::new(source) })?;
        let LinkSpec::Serial { baud, .. } = &self.target.link else { panic!("a dialect is spoken over a line") };
        let port = Port::open(self.unit.name.as_str(), &address, *baud);
        let port = port.map_err(|source| DialectError::Link { unit: unit(), source: Box::new(source) })?;
        Ok(PortLine::new(port, self.interrupted))
    }

    /// Asks the firmware who it is, in one line, and leaves it as it was.
    ///
    /// # Errors
    /// No line, no answer, or one that is not of the target's protocol.
    pub fn look_at(&self) -> Result<String, DialectError> {
        let line = self.open()?;
        look(line, self.dialect(), self.waits).map_err(DialectError::or_interrupted)
    }
}

/// What a firmware says of itself and its models.
fn look(line: PortLine, dialect: &Dialect, waits: Waits) -> Result<String, DialectError> {
    match dialect {
        Dialect::MlperfTiny { input, confirm_samples, relay, .. } => {
            let speech = tiny::Speech { input: *input, confirm_samples: *confirm_samples, relay: *relay };
            let (_, identity) = tiny::greet(line, waits, speech)?;
            Ok(format!("{} by {}, model '{}'", identity.firmware, identity.vendor, identity.model))
        }
        Dialect::Stm32msg { packets, .. } => {
            let (device, models) = stm32::greet(line, waits, *packets)?;
            let (major, minor) = device.firmware().version;
            let models: Vec<String> =
                models.iter().map(|model| format!("'{}' (signature {})", model.name, model.signature)).collect();
            Ok(format!("stm32msg {major}.{minor}, models {}", models.join(", ")))
        }
    }
}

fn outcome_of(error: &DialectError, work: Work) -> Outcome {
    let causes: Vec<String> =
        std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source()).map(ToString::to_string).collect();
    let measuring = work.measuring;
    let (action, attempts) = work.failed(causes.join(": "));
    let fault = Fault {
        action,
        causes,
        hints: error.hint().into_iter().collect(),
        console: Vec::new(),
        attempts,
        passes: work.passes,
        shipped: Shipped::default(),
    };
    match measuring {
        _ if error.timed_out() => Outcome::TimedOut(fault),
        false => Outcome::ShipFailed(fault),
        true => Outcome::DeviceFault(fault),
    }
}
