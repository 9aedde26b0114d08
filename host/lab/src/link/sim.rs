//! A link to the simulated device: in memory, in this process. What has not arrived will not, so there is nothing to wait for.

use super::client::Patience;
use super::{Link, LinkError};
use boardproof_record::plan::SimFaults;
use boardproof_sim::{FaultPlan, Hardware, ProcessEngine, SimDevice, SimLink};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A simulated device. It outlives the links to it, and forgets everything when the last handle on it is dropped.
#[derive(Clone)]
pub struct SimUnit(Arc<Mutex<SimLink>>);

impl SimUnit {
    /// A device that starts the runners it is sent, from files in `folder`, which it takes for itself.
    pub fn new(seed: u64, faults: &SimFaults, folder: PathBuf) -> std::io::Result<Self> {
        let usual = Hardware::default();
        let hardware = Hardware {
            store_bytes: faults.store_bytes.unwrap_or(usual.store_bytes),
            memory_bytes: faults.memory_bytes,
            clock_rate: faults.clock_rate,
            ..usual
        };
        let device = SimDevice::with_engine(Box::new(ProcessEngine::in_folder(folder)?), hardware);
        Ok(Self::behind(SimLink::new(device, plan(faults), seed)))
    }

    /// A device that somebody else has made.
    pub fn behind(link: SimLink) -> Self {
        Self(Arc::new(Mutex::new(link)))
    }

    /// A new link to it.
    pub fn connect(&self) -> MemoryLink {
        MemoryLink { unit: self.clone(), sent: 0, received: 0 }
    }

    /// Frames that went either way, and how many of them something happened to.
    pub fn frames_and_faults(&self) -> (u64, u64) {
        let link = self.lock();
        (link.frames, link.faults)
    }

    fn lock(&self) -> MutexGuard<'_, SimLink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimUnit")
    }
}

fn plan(faults: &SimFaults) -> FaultPlan {
    let SimFaults { loss, repeat, reorder, truncate, flip, reset, stall, .. } = *faults;
    FaultPlan { loss, repeat, reorder, truncate, flip, reset, stall }
}

/// One link to a simulated device.
#[derive(Debug)]
pub struct MemoryLink {
    unit: SimUnit,
    sent: u64,
    received: u64,
}

impl Link for MemoryLink {
    fn send(&mut self, payload: &[u8], _: Instant) -> Result<(), LinkError> {
        self.sent += payload.len() as u64;
        self.unit.lock().send(payload);
        Ok(())
    }

    fn receive(&mut self, _: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        let payload = self.unit.lock().receive();
        self.received += payload.as_ref().map_or(0, |p| p.len() as u64);
        Ok(payload)
    }

    fn traffic(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// An answer that is not there at once is lost, and asked for again.
    fn patience(&self) -> Patience {
        Patience { answer: Duration::ZERO, asks: 8 }
    }
}
