//! The thread and its deadlines, with a link that does what a test wants.

use super::*;
use boardproof_record::plan::{Grant, Probe as ProbeSpec};
use std::sync::mpsc::SyncSender;

/// Each action tells that it has begun and ends when the test says so.
struct Slow {
    begun: Sender<&'static str>,
    go: Receiver<()>,
    dropped: SyncSender<()>,
}

impl Slow {
    fn act(&mut self, what: &'static str) {
        let _ = self.begun.send(what);
        let _ = self.go.recv_timeout(Duration::from_secs(20));
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.dropped.send(());
    }
}

impl DebugLink for Slow {
    fn chip(&self) -> &'static str {
        "slow"
    }

    fn flash(&mut self, _elf: &[u8], _verify: bool, _permission: &Permission) -> Result<Flashed, ProbeError> {
        self.act("flash");
        Ok(Flashed { bytes: 0, verified: true, took: Duration::ZERO })
    }

    fn holds(&mut self, _elf: &[u8]) -> Result<bool, ProbeError> {
        Ok(false)
    }

    fn erase(&mut self, _permission: &Permission) -> Result<(), ProbeError> {
        self.act("erase");
        Ok(())
    }

    fn reset(&mut self) -> Result<(), ProbeError> {
        self.act("reset");
        Ok(())
    }

    fn reset_and_halt(&mut self) -> Result<u32, ProbeError> {
        panic!("a bug in the probe's driver")
    }

    fn halt(&mut self) -> Result<u32, ProbeError> {
        Ok(0x100)
    }

    fn run(&mut self) -> Result<(), ProbeError> {
        self.act("run");
        Ok(())
    }

    fn state(&mut self) -> Result<CoreState, ProbeError> {
        Ok(CoreState::Unknown)
    }

    fn breakpoint(&mut self, _address: u32, _set: bool) -> Result<(), ProbeError> {
        Ok(())
    }

    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), ProbeError> {
        bytes.fill(address as u8);
        Ok(())
    }

    fn write(&mut self, _address: u32, _bytes: &[u8]) -> Result<(), ProbeError> {
        Ok(())
    }

    fn post_mortem(&mut self) -> Result<PostMortem, ProbeError> {
        Err(ProbeError::OtherCore { action: Action::PostMortem, chip: "slow".into(), core: "none".into() })
    }

    fn rtt_attach(&mut self, _place: RttPlace) -> Result<(), ProbeError> {
        Ok(())
    }

    fn rtt_read(&mut self, _bytes: &mut [u8]) -> Result<usize, ProbeError> {
        Ok(0)
    }

    fn rtt_write(&mut self, _bytes: &[u8]) -> Result<usize, ProbeError> {
        Ok(0)
    }
}

struct Bench {
    probe: Option<Probe>,
    begun: Receiver<&'static str>,
    go: Sender<()>,
    dropped: Receiver<()>,
}

impl Bench {
    fn new(options: AttachOptions) -> Self {
        let (began, begun) = channel();
        let (go, may) = channel();
        let (drops, dropped) = std::sync::mpsc::sync_channel(1);
        let open = move || Ok(Slow { begun: began, go: may, dropped: drops });
        // A machine under load starts a thread slowly; only the calls are to be hasty.
        let mut probe = Probe::with_link(AttachOptions::default(), open).unwrap();
        probe.options = options;
        Self { probe: Some(probe), begun, go, dropped }
    }

    fn probe(&self) -> &Probe {
        self.probe.as_ref().unwrap()
    }
}

fn hasty() -> AttachOptions {
    AttachOptions {
        limit: Duration::from_millis(50),
        flash_limit: Duration::from_millis(80),
        ..AttachOptions::default()
    }
}

fn permission(step: Grant) -> Permission {
    Permission::granted(step, &ProbeSpec { chip: "slow".into(), grants: vec![step] }).unwrap()
}

#[test]
fn a_probe_that_hangs_is_an_error_at_the_deadline_that_names_the_action() {
    let bench = Bench::new(hasty());
    let error = bench.probe().flash(&[0; 9], true, &permission(Grant::Flash)).unwrap_err().to_string();
    assert_eq!(error, "the debug probe did not answer within 0.08 s while flashing an ELF file of 9 bytes");
    assert_eq!(bench.begun.recv(), Ok("flash"));
}

#[test]
fn what_nobody_waits_for_any_more_is_not_done() {
    let bench = Bench::new(hasty());
    bench.probe().run().unwrap_err();
    bench.probe().reset().unwrap_err();
    bench.go.send(()).unwrap();
    // The thread comes back from `run` and passes over `reset`.
    let end = Instant::now() + Duration::from_secs(10);
    while bench.probe().halt().is_err() {
        assert!(Instant::now() < end, "the thread did not come back");
    }
    assert_eq!(bench.begun.try_iter().collect::<Vec<_>>(), ["run"]);
}

#[test]
fn a_wrong_permission_never_reaches_the_probe() {
    let bench = Bench::new(AttachOptions::default());
    let error = bench.probe().erase(&permission(Grant::Flash)).unwrap_err();
    assert!(matches!(error, ProbeError::OtherPermission { .. }), "{error}");
    assert_eq!(bench.probe().halt().unwrap(), 0x100);
    assert_eq!(bench.begun.try_iter().next(), None);
}

#[test]
fn an_interrupt_ends_the_wait() {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    let interrupted = || INTERRUPTED.load(Ordering::Relaxed);
    let bench = Bench::new(AttachOptions { interrupted, limit: Duration::from_secs(600), ..AttachOptions::default() });
    INTERRUPTED.store(true, Ordering::Relaxed);
    let error = bench.probe().run().unwrap_err();
    assert!(matches!(error, ProbeError::Interrupted { action: Action::Run }), "{error}");
    bench.go.send(()).unwrap();
}

#[test]
fn a_panic_in_the_thread_is_an_error_for_this_call_and_the_next() {
    let bench = Bench::new(AttachOptions::default());
    let error = bench.probe().reset_and_halt().unwrap_err();
    assert!(matches!(error, ProbeError::Ended { action: Action::Reset }), "{error}");
    let error = bench.probe().halt().unwrap_err();
    assert!(matches!(error, ProbeError::Ended { action: Action::Halt }), "{error}");
}

#[test]
fn the_link_goes_when_the_last_that_uses_it_goes() {
    let mut bench = Bench::new(AttachOptions::default());
    let stream = bench.probe().rtt(RttPlace::Scan).unwrap();
    bench.probe = None;
    assert!(bench.dropped.try_recv().is_err(), "the stream needs it");
    drop(stream);
    bench.dropped.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_stream_on_which_nothing_moves_times_out() {
    use std::io::{ErrorKind, Read, Write};
    let bench = Bench::new(AttachOptions::default());
    let mut stream = bench.probe().rtt(RttPlace::Scan).unwrap();
    stream.set_limit(Duration::from_millis(10));
    assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(stream.write(&[0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn attaching_has_a_deadline_too() {
    let (hold, held) = channel::<()>();
    let open = move || -> Result<Slow, ProbeError> {
        let _ = held.recv_timeout(Duration::from_secs(20));
        Err(ProbeError::Ended { action: Action::Attach })
    };
    let error = Probe::with_link(hasty(), open).unwrap_err();
    assert!(matches!(error, ProbeError::NoAnswer { action: Action::Attach, .. }), "{error}");
    drop(hold);
}
