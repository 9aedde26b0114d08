//! Measuring one cell: ship what it needs, run its passes, each in a fresh process, and write down what came back.
//!
//! Decides nothing about the model. A fault keeps what had been measured; a link that broke is made again and the pass repeated
//! from the start, and every attempt is told.

mod counted;
mod error;
mod facts;
mod options;
mod part;
mod pass;
mod peak;
mod quiet;
mod rescue;
mod span;
mod window;

pub use error::BenchError;
pub(crate) use error::causes;
pub use options::{JobOptions, options};
pub use part::Part;
use pass::Seen;
pub use pass::{Asked, environment, run as run_pass};

use crate::events::{Event, Events};
use crate::fit;
use crate::hands::{Hands, Life};
use crate::held::{Held, RENEW_EVERY, TTL_MS};
use crate::lease::Lease;
use crate::link::UnitLink;
use crate::link::client::{Client, ClientError, Greeting, Quiet, Slow, pause};
use crate::load::load;
use crate::reach::Reach;
use crate::ship::{Blob, ship};
use crate::store::RecordFolder;
use crate::symbols::Symbols;
use boardproof_protocol::{Acquire, RefusalCode, Reply, Request};
use boardproof_record::Digest;
use boardproof_record::observation::{
    Attempt, Device, Ended, Fault, Observation, Outcome, PassObservation, Shipped, Stopped,
};
use boardproof_record::plan::{Cell, Pass, PassPlan, Target};
use error::fault_of;
use rescue::{COME_BACK, Sighting, is_at_work};
use span::{Span, spans};
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Everything that measuring a cell needs.
#[derive(Debug)]
pub struct Job<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// The runner; `None` where the agent has the engine itself.
    pub runner: Option<Blob>,
    /// The engine's library, where it is one of its own and the unit's is not to be used.
    pub library: Option<Blob>,
    /// The model, in the form that the engine reads.
    pub model: Blob,
    /// The evalset, in the form that the engine reads.
    pub evalset: Blob,
    /// Bytes of one sample, where the evalset is nothing but samples: then it may go in parts to a unit without room for all.
    pub sample_bytes: Option<u64>,
    /// Options of the runner.
    pub options: JobOptions,
    /// The cell's target.
    pub target: &'a Target,
    /// Agent that the unit runs; `None` for a unit that needs none.
    pub agent_digest: Option<Digest>,
}

/// What an accuracy pass that may stop early has answered so far.
#[derive(Debug)]
pub struct SoFar {
    /// Samples answered, the first ones of the evalset.
    pub samples: u64,
    /// The answers, as the record's file of outputs has them.
    pub outputs: Vec<u8>,
}

/// Says after each stage of an accuracy pass whether that is enough, and why. Whoever measures does not decide.
pub type Look<'a> = &'a mut dyn FnMut(SoFar) -> Option<Stopped>;

/// A unit in use: lease held, link made when needed.
pub struct Bench {
    reach: Reach,
    /// Epoch of the lease.
    epoch: u64,
    holder: String,
    /// Holder of this machine before this one.
    before: String,
    /// Folder for what this machine keeps.
    cache: PathBuf,
    interrupted: fn() -> bool,
    /// How long to wait for a unit whose agent somebody else holds.
    wait: Duration,
    session: Option<(Client<UnitLink>, Greeting)>,
    jobs: u32,
    renewed: Option<Instant>,
    /// Times that the peaks of a core were measured.
    peaks_measured: u32,
    /// Boot in which the current cell was prepared: another one means that what was there is gone.
    boot: Option<u64>,
    presence: Presence,
    patience: Duration,
    /// What can be done for the unit besides its link.
    hands: Option<Box<dyn Hands>>,
    /// The functions of its firmware.
    symbols: Symbols,
    /// What was seen from outside in this cell.
    seen: Option<Sighting>,
    /// It was seen to hang, and was not started anew yet.
    hangs: bool,
    /// How long it may say nothing while it is at work, by what it says of its watchdog.
    quiet: Option<Quiet>,
    /// What was tried besides what a cell needs; goes into the record of the cell.
    told: Vec<Attempt>,
}

/// Is the unit there?
#[derive(Debug, Clone, PartialEq, Eq)]
enum Presence {
    /// Nobody has asked yet.
    Unknown,
    /// It was, the last time that a link was made.
    Here,
    /// It was and is no more, or it was just switched on. The next cell waits for it.
    Away,
    /// It never was, or it was waited for in vain. No further cell of this run tries it.
    Lost {
        /// How long it was waited for.
        waited_s: u64,
        /// What was found the last time.
        why: String,
    },
}

/// A firmware that does not answer by then is not starting any more: its port may be gone while it does.
const FIRMWARE_BOOT: Duration = Duration::from_secs(15);
/// Between two looks for it.
const KNOCK_EVERY: Duration = Duration::from_secs(1);

/// Times a pass is tried when the link breaks.
const ATTEMPTS: u32 = 2;

impl Bench {
    /// Prepares to use a unit under this epoch. No link is made yet.
    pub fn new(reach: Reach, lease: &Lease, cache: PathBuf, wait: Duration, interrupted: fn() -> bool) -> Self {
        let (epoch, holder, before) = (lease.epoch, lease.holder.clone(), lease.before.clone());
        Self {
            reach,
            epoch,
            holder,
            before,
            cache,
            interrupted,
            wait,
            session: None,
            jobs: 0,
            renewed: None,
            peaks_measured: 0,
            boot: None,
            presence: Presence::Unknown,
            patience: COME_BACK,
            hands: None,
            symbols: Symbols::default(),
            seen: None,
            hangs: false,
            quiet: None,
            told: Vec::new(),
        }
    }

    /// The unit was just switched on and may still be starting: the first cell waits for it.
    #[must_use]
    pub fn of_a_starting_unit(mut self) -> Self {
        self.presence = Presence::Away;
        self
    }

    /// Changes how long a unit that went away is waited for.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Measures a cell; whatever happens becomes its outcome. The second value: the user interrupted.
    pub fn measure(&mut self, job: &Job<'_>, folder: &RecordFolder, events: &mut dyn Events) -> (Outcome, bool) {
        self.measure_watched(job, folder, events, &mut |_| None)
    }

    /// The same, with somebody who looks at the answers between two stages of a pass that may stop early. A pass that begins anew comes to its
    /// first stage once more.
    pub fn measure_watched(
        &mut self,
        job: &Job<'_>,
        folder: &RecordFolder,
        events: &mut dyn Events,
        look: Look<'_>,
    ) -> (Outcome, bool) {
        let mut work = Work::default();
        (self.boot, self.seen, self.quiet) = (None, None, None);
        let done = self.try_measure(job, folder, events, look, &mut work);
        match done {
            Ok(observation) => (Outcome::Measured(Box::new(observation)), false),
            Err(error) => {
                let interrupted = error.interrupted();
                self.part_after(&error);
                (outcome_of(&error, work, self.seen.take()), interrupted)
            }
        }
    }

    /// A broken link is not left for the next cell to find out about.
    fn part_after(&mut self, error: &BenchError) {
        if error.interrupted() || !error.unit_is_away() {
            return;
        }
        self.session = None;
        self.hangs = self.seen.as_ref().is_some_and(Sighting::hangs);
        self.presence = match std::mem::replace(&mut self.presence, Presence::Away) {
            Presence::Unknown => Presence::Lost { waited_s: 0, why: causes(error).join(": ") },
            Presence::Here | Presence::Away => Presence::Away,
            lost @ Presence::Lost { .. } => lost,
        };
    }

    fn try_measure(
        &mut self,
        job: &Job<'_>,
        folder: &RecordFolder,
        events: &mut dyn Events,
        look: Look<'_>,
        work: &mut Work,
    ) -> Result<Observation, BenchError> {
        let mut parts = Vec::new();
        let (mut before, question_before) = self.attempts("prepare the unit", work, |bench, work| {
            let (_, greeting) = bench.session()?;
            let programs = || job.runner.iter().chain(&job.library);
            programs().try_for_each(|program| fit::check(program, greeting))?;
            let room = greeting.store_free_bytes;
            parts = part::cut(job, room, &bench.cache)?;
            for blob in programs().chain([&job.model, &parts[0].blob]) {
                bench.ship(blob, &mut work.shipped, events)?;
            }
            bench.environment()
        })?;
        work.stage = Stage::Measure;
        self.quiet = Quiet::of(&before, job.target.clock);
        let boot = self.session()?.1.boot;
        self.boot = Some(boot);
        self.add_peaks(job, &parts[0], &mut before, events);
        for plan in &job.cell.passes {
            let seen = self.pass_or_alone(&Sitting { job, plan, parts: &parts, folder }, work, events, look)?;
            work.passes.push(seen);
            let after = self.session()?.1.boot;
            if after != boot {
                return Err(BenchError::Reset { before: boot, after, why: None });
            }
            if let Some(error) = work.passes.last().and_then(fault_of) {
                return Err(error);
            }
            if stops(work.passes.last()) {
                break;
            }
        }
        self.correct_peaks(job, &parts[0], &work.passes, &mut before, events);
        let (mut after, question_after) =
            self.attempts("read the environment", work, |bench, _| bench.environment())?;
        question_after.tell_since(question_before, &mut after);
        let greeting = self.session()?.1.clone();
        Ok(Observation {
            emulated: job.target.emulated,
            device: device(&greeting, job),
            environment_before: before,
            environment_after: after,
            passes: std::mem::take(&mut work.passes),
            attempts: std::mem::take(&mut work.attempts),
            shipped: work.shipped,
        })
    }

    /// Does something, again after a broken link; every try is written down.
    fn attempts<T>(
        &mut self,
        action: &str,
        work: &mut Work,
        mut act: impl FnMut(&mut Self, &mut Work) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let start = Instant::now();
            let done = act(self, work);
            let elapsed_ms = start.elapsed().as_millis() as u64;
            if let Err(error) = &done {
                self.look_after(error);
            }
            let error = done.as_ref().err().map(|e| causes(e).join(": "));
            work.attempts.append(&mut self.told);
            work.attempts.push(Attempt { action: action.to_owned(), elapsed_ms, error });
            match done {
                Err(error) if error.link_is_gone() && self.may_try_again() && tried < ATTEMPTS => self.session = None,
                done => return done,
            }
        }
    }

    fn may_try_again(&self) -> bool {
        let hangs = self.seen.as_ref().is_some_and(Sighting::hangs);
        !(self.interrupted)() && !hangs && !matches!(self.presence, Presence::Lost { .. })
    }

    /// The session, made if there is none, with the agent's lease taken.
    fn session(&mut self) -> Result<&mut (Client<UnitLink>, Greeting), BenchError> {
        if self.session.is_none() {
            let (mut client, greeting) = self.connect()?;
            if let Some(before) = self.boot.filter(|before| *before != greeting.boot) {
                let why = self.death(&mut client);
                return Err(BenchError::Reset { before, after: greeting.boot, why });
            }
            self.session = Some((client, greeting));
            self.renewed = None;
        }
        let due = self.renewed.is_none_or(|at| at.elapsed() >= RENEW_EVERY);
        let session = self.session.as_mut().expect("made above");
        if due {
            let wish = Wish { holder: &self.holder, before: &self.before, wait: self.wait };
            acquire(&mut session.0, &mut self.epoch, &wish)?;
            self.renewed = Some(Instant::now());
        }
        Ok(session)
    }

    /// Makes a link; a unit that is away is waited for, and started anew once in each way that there is.
    fn connect(&mut self) -> Result<(Client<UnitLink>, Greeting), BenchError> {
        if let Presence::Lost { waited_s, why } = &self.presence {
            return Err(BenchError::Lost { waited_s: *waited_s, why: why.clone() });
        }
        let mut ways = self.restarts();
        // One that hangs does not come back by itself: waiting for it is in vain.
        if std::mem::take(&mut self.hangs) {
            self.restart(&mut ways, None);
        }
        let began = Instant::now();
        let mut end = began + self.patience;
        loop {
            let start = Instant::now();
            let error = match self.reach.connect(self.interrupted) {
                Ok(made) => {
                    self.presence = Presence::Here;
                    return Ok(made);
                }
                Err(error) => BenchError::from(error),
            };
            if self.presence != Presence::Away || error.interrupted() || !error.unit_is_away() {
                return Err(error);
            }
            // A board with a shell may be booting for as long as the patience lasts, a firmware for a few seconds.
            let over = Instant::now() + KNOCK_EVERY > end;
            let has_booted = self.reach.is_line() && began.elapsed() >= FIRMWARE_BOOT;
            if (over || has_booted) && self.restart(&mut ways, Some((&error, start))) {
                end = Instant::now() + self.patience;
                continue;
            }
            if over {
                let (waited_s, why) = (self.patience.as_secs(), causes(&error).join(": "));
                self.presence = Presence::Lost { waited_s, why };
                return Err(error);
            }
            pause(KNOCK_EVERY, self.interrupted)?;
        }
    }

    fn ship(&mut self, blob: &Blob, shipped: &mut Shipped, events: &mut dyn Events) -> Result<(), BenchError> {
        let cache = Some(self.cache.clone()).filter(|_| self.reach.is_far());
        self.session()?;
        // The session has taken the lease, under an epoch that the agent may have raised.
        let (epoch, holder) = (self.epoch, self.holder.clone());
        let Self { session: Some((client, _)), hands, told, reach, .. } = self else {
            unreachable!("the session was made above")
        };
        let mut held = Held::new(epoch, &holder);
        if let Some(hands) = hands.as_deref_mut().filter(|_| reach.is_line())
            && load(client, &mut held, blob, hands, shipped, told, events)?
        {
            return Ok(());
        }
        Ok(ship(client, &mut held, blob, cache.as_deref(), shipped, events)?)
    }

    fn next_job(&mut self) -> u32 {
        self.jobs += 1;
        self.jobs
    }

    /// What the unit says of itself, and when it was asked.
    fn environment(&mut self) -> Result<(boardproof_record::observation::Facts, window::Question), BenchError> {
        let job = self.next_job();
        let (client, _) = self.session()?;
        window::Question::around(|| pass::environment(client, job))
    }

    /// A pass; once more with one worker where several copies of the model were too many: whether one is has to be seen.
    fn pass_or_alone(
        &mut self,
        sitting: &Sitting<'_>,
        work: &mut Work,
        events: &mut dyn Events,
        look: Look<'_>,
    ) -> Result<PassObservation, BenchError> {
        let (plan, options) = (sitting.plan, &sitting.job.options);
        let action = pass_name(plan.pass);
        let seen = self.pass(sitting, (&action, &options.usual), work, events, look)?;
        match (seen.ended, plan.pass, &options.alone) {
            (Ended::OutOfMemory { .. }, Pass::Accuracy, Some(alone)) => {
                self.pass(sitting, (&format!("{action} with one worker"), alone), work, events, look)
            }
            _ => Ok(seen),
        }
    }

    /// A pass over all samples that it needs, a span of them after the other; after a broken link the span is repeated, not the whole.
    fn pass(
        &mut self,
        sitting: &Sitting<'_>,
        (action, options): (&str, &str),
        work: &mut Work,
        events: &mut dyn Events,
        look: Look<'_>,
    ) -> Result<PassObservation, BenchError> {
        let plan = sitting.plan;
        events.hear(Event::PassStarted { pass: plan.pass });
        let mut whole: Option<Seen> = None;
        let mut stopped = None;
        let needed = spans(sitting.needed(), plan);
        for (i, span) in needed.iter().enumerate() {
            let action = span.action(action, i, needed.len());
            let spent = whole.as_ref().map_or(Duration::ZERO, Seen::elapsed);
            let span = Span { deadline_ms: span.left_ms(plan, spent), ..*span };
            let seen = self.attempts(&action, work, |bench, work| bench.span(sitting, &span, options, work, events))?;
            let goes_on = seen.is_whole();
            match &mut whole {
                Some(whole) => whole.join(seen)?,
                None => whole = Some(seen),
            }
            if !goes_on {
                break;
            }
            if let Some(so_far) = whole.as_ref().filter(|so_far| span.is_looked_after(plan, so_far.samples())) {
                let (samples, outputs) = (so_far.samples(), so_far.outputs(sitting.folder)?);
                stopped = look(SoFar { samples, outputs });
            }
            if stopped.is_some() {
                break;
            }
        }
        let mut whole = whole.unwrap_or_default();
        if plan.pass != Pass::Accuracy {
            whole.tell_samples(plan);
        }
        let seen = whole.finish(&sitting.job.cell.id, plan, sitting.folder)?;
        Ok(PassObservation { stopped, ..seen })
    }

    /// A pass over some samples, which are brought first where the unit has room for one part alone.
    fn span(
        &mut self,
        sitting: &Sitting<'_>,
        span: &Span<'_>,
        options: &str,
        work: &mut Work,
        events: &mut dyn Events,
    ) -> Result<Seen, BenchError> {
        if sitting.parts.len() > 1 {
            // What the unit was asked for last goes last.
            let known = work.shipped.cached_bytes;
            let again = [&sitting.job.model, &span.part.blob].map(|blob| self.ship(blob, &mut work.shipped, events));
            work.shipped.cached_bytes = known;
            again.into_iter().collect::<Result<(), _>>()?;
        }
        let number = self.next_job();
        self.session()?;
        let (epoch, holder) = (self.epoch, self.holder.clone());
        let quiet = self.quiet;
        let Self { session: Some((client, _)), hands, told, symbols, .. } = self else {
            unreachable!("the session was made above")
        };
        let outside = RefCell::new((hands.as_mut(), told));
        let at_work = || {
            let (hands, told) = &mut *outside.borrow_mut();
            is_at_work(hands.as_deref_mut(), told, symbols)
        };
        let Sitting { job, plan, .. } = *sitting;
        let Span { part, first, count, deadline_ms } = *span;
        let (holder, slow) = (holder.as_str(), Slow { at_work: &at_work, quiet });
        let asked = Asked { job, plan, part, first, count, deadline_ms, options, number, epoch, holder, slow };
        let seen = pass::gather(client, &asked, events);
        self.renewed = None;
        seen
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((client, _)) = &mut self.session {
            client.bye();
        }
    }
}

/// A pass of a job, and where its files go.
struct Sitting<'a> {
    job: &'a Job<'a>,
    plan: &'a PassPlan,
    parts: &'a [Part],
    folder: &'a RecordFolder,
}

impl Sitting<'_> {
    /// The parts with samples that the pass needs: answers are wanted of all, everything else can be seen on the first ones.
    fn needed(&self) -> &[Part] {
        let most = if self.plan.pass == Pass::Accuracy { self.parts.len() } else { 1 };
        let needed = self.parts.iter().take(most).take_while(|part| part.first == 0 || part.asked(self.plan) > 0);
        &self.parts[..needed.count()]
    }
}

/// What has been gathered of a cell so far.
#[derive(Default)]
struct Work {
    stage: Stage,
    passes: Vec<PassObservation>,
    attempts: Vec<Attempt>,
    shipped: Shipped,
}

/// Where a cell was when it failed.
#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Ship,
    Measure,
}

/// The agent's lease. An epoch that it has seen from another machine is passed over; a live holder is not.
fn acquire(client: &mut Client<UnitLink>, epoch: &mut u64, wish: &Wish<'_>) -> Result<(), ClientError> {
    let end = Instant::now() + wish.wait;
    let mut refusals = 0;
    while refusals < 3 {
        match wish_for(client, *epoch, wish.holder) {
            Err(ClientError::Refused { code: RefusalCode::NotHolder, number, .. }) if number >= *epoch => {
                *epoch = number.saturating_add(1);
                refusals += 1;
            }
            // An earlier run of this machine that was killed: the lock on this unit was its, and is ours now. What it holds is
            // taken over with a higher epoch, so that nothing late of it is heard, and given back.
            Err(ClientError::Held { holder, epoch: theirs, .. }) if holder == wish.before && refusals == 0 => {
                refusals += 1;
                let taken_over = (*epoch).max(theirs.saturating_add(1));
                wish_for(client, taken_over, &holder)?;
                let release = Request::Release { epoch: taken_over };
                client.ask("release a dead run's lease", &release, |reply| {
                    matches!(reply, Reply::Released).then_some(())
                })?;
                *epoch = taken_over.saturating_add(1);
            }
            // A holder that died without a word is gone when its lease is; one that lives renews it.
            Err(ClientError::Held { epoch: theirs, .. }) if Instant::now() < end => {
                *epoch = (*epoch).max(theirs.saturating_add(1));
                client.pause(Duration::from_millis(500))?;
            }
            other => return other,
        }
    }
    Err(ClientError::Unexpected {
        action: "take the unit's lease",
        expected: "a lease",
        found: "three refusals".into(),
    })
}

/// Who wants the unit, and how long they wait for it.
struct Wish<'a> {
    holder: &'a str,
    /// Holder of this machine before them.
    before: &'a str,
    wait: Duration,
}

fn wish_for(client: &mut Client<UnitLink>, epoch: u64, holder: &str) -> Result<(), ClientError> {
    let wish = Acquire { epoch, holder, ttl_ms: TTL_MS };
    client.ask("take the unit's lease", &Request::Acquire(wish), |reply| match reply {
        Reply::Leased { .. } => Some(()),
        _ => None,
    })
}

/// After a model that cannot be loaded, or a pass that somebody ended, the other passes would only say the same again.
fn stops(pass: Option<&PassObservation>) -> bool {
    pass.is_some_and(|p| matches!(p.ended, Ended::CannotRun | Ended::Cancelled))
}

fn pass_name(pass: Pass) -> String {
    format!("{pass:?} pass").to_lowercase()
}

fn device(greeting: &Greeting, job: &Job<'_>) -> Device {
    Device {
        protocol: greeting.version,
        agent_build: greeting.build.clone(),
        agent_digest: job.agent_digest,
        runner_digest: job.runner.as_ref().map(|runner| runner.digest),
        architecture: greeting.architecture.clone(),
        system: greeting.system.clone(),
        identity: greeting.identity.clone(),
        tick_hz: greeting.tick_hz,
        boot: greeting.boot,
    }
}

fn outcome_of(error: &BenchError, work: Work, seen: Option<Sighting>) -> Outcome {
    let is_dead = seen.as_ref().is_some_and(|seen| seen.life == Life::Dead);
    let mut causes = causes(error);
    // One that has started anew has told more itself.
    let seen = seen.filter(|_| !matches!(error, BenchError::Reset { .. }));
    causes.extend(seen.map(|seen| seen.words));
    let fault = Fault {
        action: work.attempts.last().map_or_else(|| "prepare the unit".into(), |a| a.action.clone()),
        causes,
        hints: error.hint().into_iter().collect(),
        console: Vec::new(),
        attempts: work.attempts,
        passes: work.passes,
        shipped: work.shipped,
    };
    match work.stage {
        _ if error.timed_out() && !is_dead => Outcome::TimedOut(fault),
        Stage::Ship => Outcome::ShipFailed(fault),
        Stage::Measure => Outcome::DeviceFault(fault),
    }
}
