//! A probe on a thread of its own: calls wait for it, but not for ever.

use crate::attached::Attached;
use crate::elf::{CRASH_SYMBOL, RTT_SYMBOL, symbol};
use crate::error::{Action, ProbeError};
use crate::link::{CoreState, DebugLink, Flashed, PostMortem, RttPlace};
use crate::permission::Permission;
use crate::rtt::RttStream;
use crate::source::ProbeSource;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How a probe is attached and used.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// For each call but those that write flash.
    pub limit: Duration,
    /// For flashing and erasing.
    pub flash_limit: Duration,
    /// Lets the probe erase a chip that is locked against debuggers, to get in.
    pub unlock: Option<Permission>,
    /// Asked while a call waits: has the user enough?
    pub interrupted: fn() -> bool,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(10),
            flash_limit: Duration::from_secs(120),
            unlock: None,
            interrupted: || false,
        }
    }
}

/// Between two looks whether the user has enough.
const LOOK: Duration = Duration::from_millis(20);
/// The board is let go in this; a probe that hangs is left to itself.
const GOODBYE: Duration = Duration::from_secs(2);

/// An attached probe. When it and the streams made of it are dropped, the chip runs on without a debugger.
#[derive(Debug, Clone)]
pub struct Probe {
    worker: Arc<Worker>,
    options: AttachOptions,
    chip: String,
}

type Job = Box<dyn FnOnce(&mut dyn DebugLink) + Send>;

#[derive(Debug)]
struct Worker {
    // `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    ended: Mutex<Receiver<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Its end is the end of the channel.
        let _ = ended.recv_timeout(GOODBYE);
    }
}

impl Probe {
    /// Attaches to `chip`, whose core goes on with what it does.
    pub fn attach(source: &ProbeSource, chip: &str, options: AttachOptions) -> Result<Self, ProbeError> {
        let (source, chip, unlock, patience) = (source.clone(), chip.to_owned(), options.unlock.clone(), options.limit);
        // The stub's own deadline comes first and says more.
        let patience = patience.mul_f32(0.8);
        Self::with_link(options, move || Attached::new(&source, &chip, unlock.as_ref(), patience))
    }

    /// Puts the link that `open` gives on a thread of its own.
    pub(crate) fn with_link<L: DebugLink>(
        options: AttachOptions,
        open: impl FnOnce() -> Result<L, ProbeError> + Send + 'static,
    ) -> Result<Self, ProbeError> {
        let (jobs, inbox) = channel::<Job>();
        let (alive, ended) = channel::<()>();
        let (answer, opened) = channel();
        let thread = std::thread::Builder::new().name("debug probe".into());
        let serve = move || {
            let _alive = alive;
            match open() {
                Ok(mut link) => {
                    let _ = answer.send(Ok(link.chip().to_owned()));
                    inbox.iter().for_each(|job| job(&mut link));
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        };
        thread
            .spawn(serve)
            .map_err(|source| ProbeError::Failed { action: Action::Attach, source: Box::new(source) })?;
        let worker = Arc::new(Worker { jobs: Some(jobs), ended: Mutex::new(ended) });
        let chip = wait(&opened, Action::Attach, options.limit, options.interrupted)?;
        Ok(Self { worker, options, chip })
    }

    /// Name of the chip, as probe-rs has it.
    pub fn chip(&self) -> &str {
        &self.chip
    }

    /// Has `work` done by the probe's thread. Work that waited in the queue until nobody wanted it any more is not done.
    fn call<T: Send + 'static>(
        &self,
        action: Action,
        limit: Duration,
        work: impl FnOnce(&mut dyn DebugLink) -> Result<T, ProbeError> + Send + 'static,
    ) -> Result<T, ProbeError> {
        let (answer, answered) = channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let still_wanted = Arc::clone(&given_up);
        let job: Job = Box::new(move |link| {
            if !still_wanted.load(Ordering::SeqCst) {
                let _ = answer.send(work(link));
            }
        });
        let jobs = self.worker.jobs.as_ref().ok_or(ProbeError::Ended { action })?;
        jobs.send(job).map_err(|_| ProbeError::Ended { action })?;
        let got = wait(&answered, action, limit, self.options.interrupted);
        if got.is_err() {
            given_up.store(true, Ordering::SeqCst);
        }
        got
    }

    /// Writes the firmware in `elf` into flash; with `verify` all of it is compared afterwards. The core is halted then: [`Probe::reset`]
    /// starts it. `permission` must be for flashing this chip.
    pub fn flash(&self, elf: &[u8], verify: bool, permission: &Permission) -> Result<Flashed, ProbeError> {
        permission.covers(boardproof_record::plan::Grant::Flash, &self.chip)?;
        let (elf, permission) = (elf.to_vec(), permission.clone());
        let action = Action::Flash { elf_bytes: elf.len() };
        self.call(action, self.options.flash_limit, move |link| link.flash(&elf, verify, &permission))
    }

    /// Is the firmware in `elf` in flash already? What lies in flash besides it does not matter. The core is halted then, and its RAM is
    /// not what it was: [`Probe::reset`] starts it.
    pub fn holds(&self, elf: &[u8]) -> Result<bool, ProbeError> {
        let elf = elf.to_vec();
        let action = Action::Compare { elf_bytes: elf.len() };
        self.call(action, self.options.flash_limit, move |link| link.holds(&elf))
    }

    /// Erases all of the chip's flash. `permission` must be for erasing this chip.
    pub fn erase(&self, permission: &Permission) -> Result<(), ProbeError> {
        permission.covers(boardproof_record::plan::Grant::Erase, &self.chip)?;
        let permission = permission.clone();
        self.call(Action::Erase, self.options.flash_limit, move |link| link.erase(&permission))
    }

    /// Resets the chip and lets it run.
    pub fn reset(&self) -> Result<(), ProbeError> {
        self.call(Action::Reset, self.options.limit, |link| link.reset())
    }

    /// The same for a chip that hangs at somebody's work. `permission` must be for resetting this chip.
    pub fn reset_unit(&self, permission: &Permission) -> Result<(), ProbeError> {
        permission.covers(boardproof_record::plan::Grant::Reset, &self.chip)?;
        self.reset()
    }

    /// Resets the chip and stops it before its first instruction; gives the address of that.
    pub fn reset_and_halt(&self) -> Result<u32, ProbeError> {
        self.call(Action::Reset, self.options.limit, |link| link.reset_and_halt())
    }

    /// Halts the core; gives the address where it stands.
    pub fn halt(&self) -> Result<u32, ProbeError> {
        self.call(Action::Halt, self.options.limit, |link| link.halt())
    }

    /// Lets the core run.
    pub fn run(&self) -> Result<(), ProbeError> {
        self.call(Action::Run, self.options.limit, |link| link.run())
    }

    /// What the core does.
    pub fn state(&self) -> Result<CoreState, ProbeError> {
        self.call(Action::State, self.options.limit, |link| link.state())
    }

    /// Sets (`true`) or clears a breakpoint.
    pub fn breakpoint(&self, address: u32, set: bool) -> Result<(), ProbeError> {
        self.call(Action::Breakpoint(address), self.options.limit, move |link| link.breakpoint(address, set))
    }

    /// Fills `bytes` with the memory from `address` on, whether the core runs or not.
    pub fn read(&self, address: u32, bytes: &mut [u8]) -> Result<(), ProbeError> {
        let length = bytes.len();
        let got = self.call(Action::Read { address, length }, self.options.limit, move |link| {
            let mut bytes = vec![0; length];
            link.read(address, &mut bytes).map(|()| bytes)
        })?;
        bytes.copy_from_slice(&got);
        Ok(())
    }

    /// Writes `bytes` to RAM from `address` on, whether the core runs or not: a model, for one, much faster than over a serial line. An
    /// address in flash is refused.
    pub fn write(&self, address: u32, bytes: &[u8]) -> Result<(), ProbeError> {
        let bytes = bytes.to_vec();
        let action = Action::Write { address, length: bytes.len() };
        self.call(action, self.options.limit, move |link| link.write(address, &bytes))
    }

    /// The same with a permission, which must be for writing the RAM of this chip.
    pub fn load(&self, address: u32, bytes: &[u8], permission: &Permission) -> Result<(), ProbeError> {
        permission.covers(boardproof_record::plan::Grant::WriteRam, &self.chip)?;
        self.write(address, bytes)
    }

    /// The registers that tell how a core died. A running one stands still for it.
    pub fn post_mortem(&self) -> Result<PostMortem, ProbeError> {
        self.call(Action::PostMortem, self.options.limit, |link| link.post_mortem())
    }

    /// The crash record of the firmware in `elf`, raw, where its symbol says that it lies.
    pub fn crash_record(&self, elf: &[u8]) -> Result<Vec<u8>, ProbeError> {
        let place = symbol(elf, CRASH_SYMBOL)?;
        // A symbol's size is that of memory in a chip.
        let mut bytes = vec![0; place.length as usize];
        self.read(place.address, &mut bytes)?;
        Ok(bytes)
    }

    /// Where the firmware in `elf` has its RTT control block.
    pub fn rtt_place(elf: &[u8]) -> Result<RttPlace, ProbeError> {
        symbol(elf, RTT_SYMBOL).map(|place| RttPlace::Address(place.address))
    }

    /// Channel 0 of RTT as a stream of bytes. A reset of the chip ends it.
    pub fn rtt(&self, place: RttPlace) -> Result<RttStream, ProbeError> {
        self.call(Action::RttAttach, self.options.limit, move |link| link.rtt_attach(place))?;
        Ok(RttStream::new(self.clone()))
    }

    pub(crate) fn rtt_read(&self, length: usize) -> Result<Vec<u8>, ProbeError> {
        self.call(Action::RttRead, self.options.limit, move |link| {
            let mut bytes = vec![0; length];
            let count = link.rtt_read(&mut bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        })
    }

    pub(crate) fn rtt_write(&self, bytes: &[u8]) -> Result<usize, ProbeError> {
        let bytes = bytes.to_vec();
        self.call(Action::RttWrite, self.options.limit, move |link| link.rtt_write(&bytes))
    }

    pub(crate) fn interrupted(&self) -> bool {
        (self.options.interrupted)()
    }
}

fn wait<T>(
    answer: &Receiver<Result<T, ProbeError>>,
    action: Action,
    limit: Duration,
    interrupted: fn() -> bool,
) -> Result<T, ProbeError> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match answer.recv_timeout(left.min(LOOK)) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Err(ProbeError::Ended { action }),
            Err(RecvTimeoutError::Timeout) if interrupted() => return Err(ProbeError::Interrupted { action }),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(ProbeError::NoAnswer { action, limit }),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests;
