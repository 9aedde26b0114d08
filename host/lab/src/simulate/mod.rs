//! A simulated firmware on a line of this machine, for whoever wants to score it: our own `check`, or another runner.
//!
//! Owns the line and who may be on it: one peer at a time, any number of them one after the other, none from another machine. What is said
//! on it is the simulated device's. The network is inferred by the runner in a process of its own; this one links no engine.

mod opening;
mod stm32;

pub use opening::{Opened, Opening, OpeningError};

use boardproof_dialect::Peer;
use boardproof_dialect::stm32msg::sim;
use boardproof_record::Digest;
use boardproof_sim::{InsideError, InsideModel, InsideProcess, Network, TextDevice};
use std::path::Path;
use stm32::Validated;

/// What keeps a firmware from being simulated, or ends it.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The model is not inside, or the runner that has it is gone.
    #[error("could not simulate a firmware with {model} inside")]
    Inside {
        /// Where the model is.
        model: String,
        /// Why not.
        #[source]
        source: InsideError,
    },
    /// The protocol does not carry what the model needs.
    #[error("could not speak {dialect} for {model}: expected {expected}, got {found}")]
    CannotCarry {
        /// The protocol.
        dialect: &'static str,
        /// Where the model is.
        model: String,
        /// What it carries.
        expected: String,
        /// What the model has.
        found: String,
    },
    /// The line cannot be used.
    #[error(transparent)]
    Line(#[from] OpeningError),
}

/// A model for a firmware to have inside.
#[derive(Debug, Clone, Copy)]
pub struct Inside<'a> {
    /// The runner with the engine of microcontrollers.
    pub runner: &'a Path,
    /// The model's file.
    pub model: &'a Path,
    /// What the firmware calls it.
    pub name: &'a str,
}

impl Inside<'_> {
    fn start(&self) -> Result<InsideProcess, SimulateError> {
        let started = InsideProcess::start(self.runner, self.model);
        started.map_err(|source| SimulateError::Inside { model: self.model.display().to_string(), source })
    }
}

/// A firmware that was just switched on.
pub struct Simulated {
    device: Device,
    model: String,
}

enum Device {
    Tiny(TextDevice<InsideProcess>),
    Stm32(sim::Firmware<Validated>),
}

impl Simulated {
    /// One that speaks MLPerf Tiny.
    ///
    /// # Errors
    /// A model that cannot be inside, or has more than one output.
    pub fn mlperf_tiny(inside: Inside<'_>, interrupted: fn() -> bool) -> Result<Self, SimulateError> {
        let (process, model) = (inside.start()?, inside.model.display().to_string());
        let (outputs, dialect) = (process.model().outputs.len(), "MLPerf Tiny");
        if outputs != 1 {
            let (expected, found) = ("one output".into(), outputs.to_string());
            return Err(SimulateError::CannotCarry { dialect, model, expected, found });
        }
        Ok(Self { device: Device::Tiny(TextDevice::new(process, inside.name, interrupted)), model })
    }

    /// One that speaks stm32msg, in packets of 33 bytes. The model's signature is the beginning of its file's digest; times are told as cycles
    /// of a clock of [`sim::CORE_HZ`]. It does not run by layers.
    ///
    /// # Errors
    /// A model that cannot be inside.
    pub fn stm32msg(inside: Inside<'_>, digest: Digest, interrupted: fn() -> bool) -> Result<Self, SimulateError> {
        let (process, model) = (inside.start()?, inside.model.display().to_string());
        let signature = format!("0x{}", &digest.to_string()[..32]);
        let network = Validated::new(process, inside.name, &signature, interrupted);
        Ok(Self { device: Device::Stm32(sim::Firmware::inside(network, sim::Behaviour::default())), model })
    }

    /// What the model is like.
    pub fn model(&self) -> &InsideModel {
        match &self.device {
            Device::Tiny(device) => device.network().model(),
            Device::Stm32(device) => device.network().process().model(),
        }
    }

    /// Answers one peer after the other until `interrupted`.
    ///
    /// # Errors
    /// The line or the network is gone.
    pub fn serve(&mut self, opened: &Opened, interrupted: fn() -> bool) -> Result<(), SimulateError> {
        while let Some(mut peer) = opened.next_peer(interrupted)? {
            let mut piece = [0; 4096];
            while let Some(count) = peer.read(&mut piece, interrupted)? {
                let heard = self.device.hear(&piece[..count], &mut |bytes| peer.say(bytes));
                peer.flush();
                heard.map_err(|source| SimulateError::Inside { model: self.model.clone(), source })?;
            }
        }
        Ok(())
    }
}

impl Device {
    fn hear(&mut self, bytes: &[u8], say: &mut impl FnMut(&[u8])) -> Result<(), InsideError> {
        match self {
            Self::Tiny(device) => device.hear(bytes, say),
            Self::Stm32(device) => {
                let mut answer = Vec::new();
                device.hear(bytes, &mut answer);
                say(&answer);
                device.network_mut().broken.take().map_or(Ok(()), Err)
            }
        }
    }
}
