//! The debug probe of a unit in a run: attached when it is needed, and let go again, so that what is measured has no debugger on it. Only
//! where the link goes through it, it stays.

use crate::board::Board;
use anyhow::{Context, Result};
use boardproof_lab::build::Artifact;
use boardproof_lab::crash::Crash;
use boardproof_lab::hands::{Core, Look, Stands};
use boardproof_lab::interrupt::interrupted;
use boardproof_probe::{
    AttachOptions, CoreState, Permission, PostMortem, Probe, ProbeError, ProbeSource, RttStream, StubAddress,
};
use boardproof_record::plan::{Grant, LinkSpec, Probe as ProbeSpec, Target, Unit};
use std::cell::RefCell;

/// Bytes that are written at a time: what a slow probe manages well within the deadline of a call.
const PIECE: usize = 64 * 1024;

/// The debug probe of a unit, with the firmware that belongs there.
pub struct UnitProbe {
    unit: String,
    spec: ProbeSpec,
    source: ProbeSource,
    elf: Vec<u8>,
    /// A board in QEMU, which begins without a firmware.
    blank: bool,
    /// The link goes through it.
    stays: bool,
    attached: RefCell<Option<Probe>>,
}

impl UnitProbe {
    /// The probe of this unit; `None` for a target without one.
    pub fn of(unit: &Unit, target: &Target, firmware: &Artifact, board: Option<&Board>) -> Result<Option<Self>> {
        let Some(spec) = &target.probe else { return Ok(None) };
        let stub = board.and_then(Board::probe_socket);
        let source = match &stub {
            Some(socket) => ProbeSource::Virtual { stub: StubAddress::Unix(socket.clone()) },
            None => ProbeSource::Usb { selector: unit.probe.as_deref().map(str::parse).transpose()? },
        };
        let elf =
            std::fs::read(&firmware.path).with_context(|| format!("could not read {}", firmware.path.display()))?;
        let (unit, spec, blank) = (unit.name.to_string(), spec.clone(), stub.is_some());
        let (stays, attached) = (matches!(target.link, LinkSpec::Rtt), RefCell::new(None));
        Ok(Some(Self { unit, spec, source, elf, blank, stays, attached }))
    }

    /// Does the target grant this?
    pub fn grants(&self, step: Grant) -> bool {
        self.spec.grants.contains(&step)
    }

    fn attach(&self) -> Result<Probe> {
        if let Some(probe) = &*self.attached.borrow() {
            return Ok(probe.clone());
        }
        let options = AttachOptions { interrupted, ..AttachOptions::default() };
        let probe = Probe::attach(&self.source, &self.spec.chip, options)
            .with_context(|| format!("could not attach to {} of {}", self.spec.chip, self.unit))?;
        if self.stays {
            *self.attached.borrow_mut() = Some(probe.clone());
        }
        Ok(probe)
    }

    /// Lets go of a probe that stays: what is behind it was gone for a moment.
    pub fn let_go(&self) {
        *self.attached.borrow_mut() = None;
    }

    /// Channel 0 of RTT. A probe that does nothing any more is attached anew at the next try.
    pub fn rtt(&self) -> Result<RttStream> {
        let place = Probe::rtt_place(&self.elf)?;
        let probe = self.attach()?;
        let stream = probe.rtt(place);
        if stream.is_err() && probe.state().is_err() {
            self.let_go();
        }
        Ok(stream?)
    }

    /// Brings the firmware onto the chip, unless it is there already, and starts it.
    pub fn flash(&self, say: &mut dyn FnMut(String)) -> Result<()> {
        let probe = self.attach()?;
        // A blank board in QEMU has nothing to compare with.
        if self.blank || !probe.holds(&self.elf).context("could not read the flash")? {
            say(format!("flashing {}", self.unit));
            let permission = Permission::granted(Grant::Flash, &self.spec)?;
            let flashed = probe.flash(&self.elf, true, &permission).context("could not flash the firmware")?;
            let (bytes, ms) = (flashed.bytes, flashed.took.as_millis());
            say(format!("{}: {bytes} bytes flashed and verified in {ms} ms", self.unit));
        }
        probe.reset().context("could not start the firmware")
    }

    /// Resets the chip, if the target grants it.
    pub fn reset(&self) -> Result<()> {
        let permission = Permission::granted(Grant::Reset, &self.spec)?;
        Ok(self.attach()?.reset_unit(&permission)?)
    }

    /// Looks at the core and at what its firmware has written down; with `stands`, the core is stopped for a moment.
    pub fn look(&self, stands: bool) -> Result<Look> {
        let probe = self.attach()?;
        let core = match probe.state()? {
            CoreState::Running | CoreState::Sleeping => Core::Runs,
            CoreState::Halted => Core::Halted,
            CoreState::LockedUp => Core::LockedUp,
            CoreState::Unknown => Core::Unknown,
        };
        let record = Crash::of_memory(&probe.crash_record(&self.elf)?);
        let stands = match stands.then(|| probe.post_mortem()) {
            None | Some(Err(ProbeError::OtherCore { .. })) => None,
            Some(Ok(found)) => Some(registers(&found)),
            Some(Err(error)) => return Err(error.into()),
        };
        Ok(Look { core, record, stands })
    }

    /// Writes into the chip's RAM, if the target grants it.
    pub fn write(&self, address: u32, bytes: &[u8]) -> Result<()> {
        let permission = Permission::granted(Grant::WriteRam, &self.spec)?;
        let probe = self.attach()?;
        let mut at = address;
        for piece in bytes.chunks(PIECE) {
            probe.load(at, piece, &permission)?;
            at = at.wrapping_add(piece.len() as u32);
        }
        Ok(())
    }
}

fn registers(found: &PostMortem) -> Stands {
    let PostMortem { pc, lr, xpsr: psr, cfsr, hfsr, mmfar, bfar, .. } = *found;
    Stands { pc, lr, psr, cfsr, hfsr, mmfar, bfar }
}
