//! A session of probe-rs. Everything here blocks.

use crate::chips;
use crate::elf::architecture;
use crate::error::{Action, ProbeError};
use crate::link::{CoreState, DebugLink, Flashed, PostMortem, RttPlace};
use crate::permission::Permission;
use crate::source::ProbeSource;
use boardproof_record::plan::Grant;
use probe_rs::config::MemoryRegion;
use probe_rs::flashing::{DownloadOptions, ElfLoader, ElfOptions, FlashError, FlashLoader, FlashProgress, erase_all};
use probe_rs::rtt::Rtt;
use probe_rs::{Architecture, Core, CoreStatus, MemoryInterface, Permissions, RegisterId, Session};
use std::io::Cursor;
use std::time::{Duration, Instant};

/// A core that does not halt within this has other trouble.
const HALT: Duration = Duration::from_millis(500);
const CFSR: u64 = 0xe000_ed28;
const HFSR: u64 = 0xe000_ed2c;
const MMFAR: u64 = 0xe000_ed34;
const BFAR: u64 = 0xe000_ed38;
const MMARVALID: u32 = 1 << 7;
const BFARVALID: u32 = 1 << 15;
/// Numbers of the registers by the architecture (DCRSR).
const SP: RegisterId = RegisterId(13);
const LR: RegisterId = RegisterId(14);
const PC: RegisterId = RegisterId(15);
const XPSR: RegisterId = RegisterId(16);

/// An attached probe. Dropping it lets the chip run.
pub(crate) struct Attached {
    session: Session,
    chip: String,
    rtt: Option<Rtt>,
}

impl Attached {
    /// Attaches. `unlock` lets probe-rs erase a locked chip to get in.
    pub(crate) fn new(
        source: &ProbeSource,
        chip: &str,
        unlock: Option<&Permission>,
        patience: Duration,
    ) -> Result<Self, ProbeError> {
        let registry = source.chips();
        let chip = chips::known(&registry, chip)?;
        let mut permissions = Permissions::new();
        if let Some(unlock) = unlock {
            unlock.covers(Grant::Erase, &chip)?;
            permissions = permissions.allow_erase_all();
        }
        let probe = source.open(patience)?;
        let session = probe.attach_with_registry(&chip, permissions, &registry).map_err(failed(Action::Attach))?;
        Ok(Self { session, chip, rtt: None })
    }

    /// The first core, for one action.
    fn with_core<T>(
        &mut self,
        action: Action,
        work: impl FnOnce(&mut Core<'_>) -> Result<T, probe_rs::Error>,
    ) -> Result<T, ProbeError> {
        self.session.core(0).and_then(|mut core| work(&mut core)).map_err(failed(action))
    }

    fn with_rtt<T>(
        &mut self,
        action: Action,
        work: impl FnOnce(&mut Rtt, &mut Core<'_>) -> Result<T, probe_rs::rtt::Error>,
    ) -> Result<T, ProbeError> {
        let rtt = self.rtt.as_mut().ok_or(ProbeError::NoChannel { up: 0, down: 0 })?;
        let mut core = self.session.core(0).map_err(failed(action))?;
        work(rtt, &mut core).map_err(failed(action))
    }

    /// What goes where.
    fn loader(&mut self, elf: &[u8], action: Action) -> Result<FlashLoader, ProbeError> {
        self.wants_firmware(elf)?;
        let mut loader = self.session.target().flash_loader();
        let format = ElfLoader(ElfOptions::default());
        loader.load_image(&mut self.session, &mut Cursor::new(elf), format, None).map_err(failed(action))?;
        Ok(loader)
    }

    /// probe-rs takes what a file says about addresses, and a program for the host begins at 0 like many a chip's flash.
    fn wants_firmware(&self, elf: &[u8]) -> Result<(), ProbeError> {
        use object::Architecture as Found;
        let found = architecture(elf)?;
        let fits = match self.session.architecture() {
            Architecture::Arm => matches!(found, Found::Arm | Found::Aarch64),
            Architecture::Riscv => matches!(found, Found::Riscv32 | Found::Riscv64),
            Architecture::Xtensa => found == Found::Xtensa,
        };
        if fits {
            return Ok(());
        }
        let core = format!("{:?}", self.session.target().default_core().core_type);
        Err(ProbeError::OtherFirmware { chip: self.chip.clone(), core, found: format!("{found:?}") })
    }

    /// Flash is written by flashing, which wants a permission; silicon ignores other writes or takes them for commands.
    fn wants_ram(&self, action: Action, address: u32, length: usize) -> Result<(), ProbeError> {
        let written = u64::from(address)..u64::from(address) + length as u64;
        let mut flash = self.session.target().memory_map.iter().filter_map(MemoryRegion::as_nvm_region);
        match flash.find(|region| region.range.start < written.end && written.start < region.range.end) {
            None => Ok(()),
            Some(region) => {
                let (start, end) = (region.range.start, region.range.end);
                Err(ProbeError::IntoFlash { action, chip: self.chip.clone(), start, end })
            }
        }
    }

    /// A Cortex-M with the fault registers of ARMv7-M.
    fn wants_fault_registers(&self, action: Action) -> Result<(), ProbeError> {
        use probe_rs::CoreType::{Armv7em, Armv7m, Armv8m};
        let core = self.session.target().default_core().core_type;
        if matches!(core, Armv7m | Armv7em | Armv8m) {
            return Ok(());
        }
        Err(ProbeError::OtherCore { action, chip: self.chip.clone(), core: format!("{core:?}") })
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(action: Action) -> impl FnOnce(E) -> ProbeError {
    move |error| ProbeError::Failed { action, source: Box::new(error) }
}

/// An address of a core that has 32 bits of them.
fn short(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

impl DebugLink for Attached {
    fn chip(&self) -> &str {
        &self.chip
    }

    fn flash(&mut self, elf: &[u8], verify: bool, permission: &Permission) -> Result<Flashed, ProbeError> {
        permission.covers(Grant::Flash, &self.chip)?;
        let action = Action::Flash { elf_bytes: elf.len() };
        let start = Instant::now();
        let loader = self.loader(elf, action)?;
        let bytes = loader.data().map(|(_, data)| data.len() as u64).sum();
        let mut options = DownloadOptions::default();
        options.verify = verify;
        // The old firmware's control block is of no use any more.
        self.rtt = None;
        loader.commit(&mut self.session, options).map_err(failed(action))?;
        Ok(Flashed { bytes, verified: verify, took: start.elapsed() })
    }

    fn holds(&mut self, elf: &[u8]) -> Result<bool, ProbeError> {
        let action = Action::Compare { elf_bytes: elf.len() };
        let loader = self.loader(elf, action)?;
        self.rtt = None;
        match loader.verify(&mut self.session, &mut FlashProgress::empty()) {
            Ok(()) => Ok(true),
            Err(FlashError::Verify) => Ok(false),
            Err(error) => Err(failed(action)(error)),
        }
    }

    fn erase(&mut self, permission: &Permission) -> Result<(), ProbeError> {
        permission.covers(Grant::Erase, &self.chip)?;
        self.rtt = None;
        erase_all(&mut self.session, &mut FlashProgress::empty(), false).map_err(failed(Action::Erase))
    }

    fn reset(&mut self) -> Result<(), ProbeError> {
        self.rtt = None;
        self.with_core(Action::Reset, |core| core.reset())
    }

    fn reset_and_halt(&mut self) -> Result<u32, ProbeError> {
        self.rtt = None;
        self.with_core(Action::Reset, |core| core.reset_and_halt(HALT).map(|at| short(at.pc)))
    }

    fn halt(&mut self) -> Result<u32, ProbeError> {
        self.with_core(Action::Halt, |core| core.halt(HALT).map(|at| short(at.pc)))
    }

    fn run(&mut self) -> Result<(), ProbeError> {
        self.with_core(Action::Run, |core| if core.core_halted()? { core.run() } else { Ok(()) })
    }

    fn state(&mut self) -> Result<CoreState, ProbeError> {
        self.with_core(Action::State, |core| core.status()).map(state)
    }

    fn breakpoint(&mut self, address: u32, set: bool) -> Result<(), ProbeError> {
        self.with_core(Action::Breakpoint(address), |core| {
            if set { core.set_hw_breakpoint(address.into()) } else { core.clear_hw_breakpoint(address.into()) }
        })
    }

    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), ProbeError> {
        let action = Action::Read { address, length: bytes.len() };
        self.with_core(action, |core| core.read(address.into(), bytes))
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), ProbeError> {
        let action = Action::Write { address, length: bytes.len() };
        self.wants_ram(action, address, bytes.len())?;
        self.with_core(action, |core| {
            core.write(address.into(), bytes)?;
            core.flush()
        })
    }

    fn post_mortem(&mut self) -> Result<PostMortem, ProbeError> {
        self.wants_fault_registers(Action::PostMortem)?;
        self.with_core(Action::PostMortem, |core| {
            let found = state(core.status()?);
            if found != CoreState::Halted {
                core.halt(HALT)?;
            }
            let registers = fault_registers(core, found);
            if matches!(found, CoreState::Running | CoreState::Sleeping) {
                core.run()?;
            }
            registers
        })
    }

    fn rtt_attach(&mut self, place: RttPlace) -> Result<(), ProbeError> {
        let scanned = self.session.target().rtt_scan_regions.clone();
        let mut core = self.session.core(0).map_err(failed(Action::RttAttach))?;
        let rtt = match place {
            RttPlace::Address(address) => Rtt::attach_at(&mut core, address.into()),
            RttPlace::Scan => standing(&mut core, |core| Rtt::attach_region(core, &scanned)),
        };
        let rtt = rtt.map_err(failed(Action::RttAttach))?;
        let (up, down) = (rtt.up_channels.len(), rtt.down_channels.len());
        if up == 0 || down == 0 {
            return Err(ProbeError::NoChannel { up, down });
        }
        self.rtt = Some(rtt);
        Ok(())
    }

    fn rtt_read(&mut self, bytes: &mut [u8]) -> Result<usize, ProbeError> {
        self.with_rtt(Action::RttRead, |rtt, core| rtt.up_channels[0].read(core, bytes))
    }

    fn rtt_write(&mut self, bytes: &[u8]) -> Result<usize, ProbeError> {
        self.with_rtt(Action::RttWrite, |rtt, core| rtt.down_channels[0].write(core, bytes))
    }
}

fn state(status: CoreStatus) -> CoreState {
    match status {
        CoreStatus::Running => CoreState::Running,
        CoreStatus::Halted(_) => CoreState::Halted,
        CoreStatus::Sleeping => CoreState::Sleeping,
        CoreStatus::LockedUp => CoreState::LockedUp,
        CoreStatus::Unknown => CoreState::Unknown,
    }
}

fn fault_registers(core: &mut Core<'_>, found: CoreState) -> Result<PostMortem, probe_rs::Error> {
    let cfsr = core.read_word_32(CFSR)?;
    let mmfar = core.read_word_32(MMFAR)?;
    let bfar = core.read_word_32(BFAR)?;
    Ok(PostMortem {
        found,
        pc: core.read_core_reg(PC)?,
        lr: core.read_core_reg(LR)?,
        sp: core.read_core_reg(SP)?,
        xpsr: core.read_core_reg(XPSR)?,
        cfsr,
        hfsr: core.read_word_32(HFSR)?,
        mmfar: (cfsr & MMARVALID != 0).then_some(mmfar),
        bfar: (cfsr & BFARVALID != 0).then_some(bfar),
    })
}

/// Memory is searched much faster while the core stands still.
fn standing<T>(
    core: &mut Core<'_>,
    work: impl FnOnce(&mut Core<'_>) -> Result<T, probe_rs::rtt::Error>,
) -> Result<T, probe_rs::rtt::Error> {
    let ran = !core.core_halted()?;
    if ran {
        core.halt(HALT)?;
    }
    let got = work(core);
    if ran {
        core.run()?;
    }
    got
}
