//! The passes: every sample's answer, and times of single inferences.

use super::driver::{Driver, Inside};
use super::error::pass_name;
use super::keep::{Answers, write_ticks};
use super::{DialectError, DialectJob};
use crate::events::{Event, Events};
use crate::store::RecordFolder;
use boardproof_record::observation::{Attempt, Ended, Facts, PassObservation};
use boardproof_record::plan::{Pass, PassPlan};
use std::time::{Duration, Instant};

/// Times in a pass that something is asked again because of noise on the line. Each is an attempt in the record.
const REPEATS: u32 = 3;
/// Length of the one long window, as far as it can be foretold; the reference's timer needs so much.
const WINDOW: Duration = Duration::from_secs(5);

/// What has been gathered of a cell so far.
#[derive(Default)]
pub(super) struct Work {
    pub measuring: bool,
    pub passes: Vec<PassObservation>,
    pub attempts: Vec<Attempt>,
    action: String,
    begun: Option<Instant>,
    repeats: u32,
}

impl Work {
    pub(super) fn begin(&mut self, action: &str) {
        (self.action, self.begun, self.repeats) = (action.into(), Some(Instant::now()), 0);
    }

    pub(super) fn succeed(&mut self) {
        self.note(self.action.clone(), None);
    }

    /// The action that was at work, and all attempts with this as the last one's end.
    pub(super) fn failed(&self, why: String) -> (String, Vec<Attempt>) {
        let mut attempts = self.attempts.clone();
        attempts.push(Attempt { action: self.action.clone(), elapsed_ms: self.elapsed_ms(), error: Some(why) });
        (self.action.clone(), attempts)
    }

    fn note(&mut self, action: String, error: Option<String>) {
        self.attempts.push(Attempt { action, elapsed_ms: self.elapsed_ms(), error });
    }

    fn elapsed_ms(&self) -> u64 {
        self.begun.map_or(0, |begun| u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Does something again as long as noise on the line is all that was wrong with it, and not too often.
    fn repeat<T>(&mut self, what: &str, mut act: impl FnMut() -> Result<T, DialectError>) -> Result<T, DialectError> {
        loop {
            match act() {
                Err(error) if error.is_noise() && self.repeats < REPEATS => {
                    self.repeats += 1;
                    self.note(format!("{} ({what})", self.action), Some(error.to_string()));
                }
                done => return done,
            }
        }
    }
}

/// A firmware that was reached, and what its passes need.
pub(super) struct Passes<'a> {
    pub driver: Box<dyn Driver>,
    pub job: &'a DialectJob<'a>,
    pub samples: Vec<Vec<Vec<u8>>>,
    pub folder: &'a RecordFolder,
    pub events: &'a mut dyn Events,
    pub interrupted: fn() -> bool,
}

/// When a pass must be over, and how far it is.
struct Pace {
    pass: Pass,
    end: Instant,
    deadline_ms: u32,
    total: u64,
}

impl Passes<'_> {
    pub(super) fn run(&mut self, plan: &PassPlan, work: &mut Work) -> Result<PassObservation, DialectError> {
        self.events.hear(Event::PassStarted { pass: plan.pass });
        let total = if plan.pass == Pass::Latency { u64::from(plan.iterations) } else { plan.samples };
        let end = Instant::now() + Duration::from_millis(u64::from(plan.deadline_ms));
        let pace = Pace { pass: plan.pass, end, deadline_ms: plan.deadline_ms, total };
        match plan.pass {
            Pass::Latency => self.latency(plan, &pace, work),
            Pass::Accuracy => self.accuracy(&pace, work),
            Pass::Inspect | Pass::Memory => Err(DialectError::CannotCarry {
                dialect: "firmware of somebody else",
                expected: "a pass for answers or times".into(),
                found: pass_name(plan.pass).into(),
            }),
        }
    }

    /// May the pass go on? Nothing done in all its time says nothing about the model.
    fn goes_on(&mut self, pace: &Pace, done: u64) -> Result<bool, DialectError> {
        if (self.interrupted)() {
            return Err(DialectError::Interrupted);
        }
        self.events.hear(Event::PassAdvanced { pass: pace.pass, done, total: pace.total });
        match Instant::now() < pace.end {
            true => Ok(true),
            false if done > 0 => Ok(false),
            false => {
                let deadline_s = u64::from(pace.deadline_ms / 1000);
                Err(DialectError::Slow { pass: pass_name(pace.pass), deadline_s })
            }
        }
    }

    fn accuracy(&mut self, pace: &Pace, work: &mut Work) -> Result<PassObservation, DialectError> {
        let mut answers = Answers::new(&self.job.model.outputs);
        let mut ticks = Vec::new();
        let mut facts = Facts::default();
        let variant = self.job.variant.name.as_str();
        self.driver.begin(false)?;
        for index in 0..pace.total as usize {
            if !self.goes_on(pace, index as u64)? {
                return Ok(late(pace, facts, index as u64));
            }
            let (driver, sample) = (&mut self.driver, &self.samples[index]);
            let seen = work.repeat(&format!("sample {index}"), || {
                driver.load(sample)?;
                driver.infer()
            })?;
            answers.take(variant, &seen.outputs)?;
            ticks.push(seen.ticks);
        }
        self.driver.end(&mut facts)?;
        spread(&mut facts, ticks);
        let Inside { operators, facts: inside } = self.driver.look_inside()?;
        facts.numbers.extend(inside.numbers);
        facts.missing.extend(inside.missing);
        let outputs = Some(answers.write(&self.job.cell.id, self.folder)?);
        Ok(PassObservation { outputs, operators, ..whole(pace, facts, answers.samples()) })
    }

    /// Windows of one inference: what the firmware does around it is in each of them, so none looks faster than it is. A window of many
    /// would hide its slow ones.
    fn latency(&mut self, plan: &PassPlan, pace: &Pace, work: &mut Work) -> Result<PassObservation, DialectError> {
        let samples = usize::try_from(plan.samples).unwrap_or(usize::MAX).clamp(1, self.samples.len().max(1));
        let iterations = plan.iterations as usize;
        let (mut ticks, mut facts) = (Vec::with_capacity(iterations), Facts::default());
        self.driver.begin(true)?;
        for index in 0..samples {
            let (driver, sample) = (&mut self.driver, &self.samples[index]);
            work.repeat(&format!("sample {index}"), || driver.load(sample))?;
            let share = iterations * (index + 1) / samples - iterations * index / samples;
            for inference in 0..plan.warmup as usize + share {
                if !self.goes_on(pace, ticks.len() as u64)? {
                    return Ok(late(pace, facts, ticks.len() as u64));
                }
                let driver = &mut self.driver;
                let seen = work.repeat(&format!("inference {}", ticks.len()), || driver.infer())?;
                ticks.extend((inference >= plan.warmup as usize).then_some(seen.ticks));
            }
        }
        self.long_window(&ticks, work, &mut facts)?;
        self.driver.end(&mut facts)?;
        let file = write_ticks(&ticks, &self.job.cell.id, self.folder)?;
        Ok(PassObservation { ticks: Some(file), ..whole(pace, facts, ticks.len() as u64) })
    }

    /// The benchmark's own figure: the mean of many, with little of what the firmware does around them. For reading, no rule sees it.
    fn long_window(&mut self, ticks: &[u64], work: &mut Work, facts: &mut Facts) -> Result<(), DialectError> {
        let mean_us = ticks.iter().sum::<u64>() / (ticks.len() as u64).max(1);
        let inferences = (WINDOW.as_micros() as u64 / mean_us.max(1)).clamp(1, ticks.len().max(1) as u64) as u32;
        let driver = &mut self.driver;
        if let Some(us) = work.repeat("long window", || driver.window(inferences))? {
            facts.numbers.insert("window_inferences".into(), u64::from(inferences));
            facts.numbers.insert("window_ns".into(), us.saturating_mul(1000));
        }
        Ok(())
    }
}

/// Least, median and most of the times that came with answers.
fn spread(facts: &mut Facts, mut ticks: Vec<u64>) {
    ticks.sort_unstable();
    let (Some(least), Some(most)) = (ticks.first(), ticks.last()) else { return };
    let median = ticks[(ticks.len() - 1) / 2];
    for (name, value) in [("ticks_min", *least), ("ticks_median", median), ("ticks_max", *most)] {
        facts.numbers.insert(name.into(), value);
    }
}

fn whole(pace: &Pace, facts: Facts, inferences: u64) -> PassObservation {
    PassObservation {
        pass: pace.pass,
        ended: Ended::Completed,
        cannot_run: None,
        facts,
        operators: Vec::new(),
        self_check: None,
        outputs: None,
        ticks: None,
        inferences,
        stopped: None,
    }
}

fn late(pace: &Pace, facts: Facts, inferences: u64) -> PassObservation {
    let deadline_ms = pace.deadline_ms;
    PassObservation { ended: Ended::DeadlineExceeded { deadline_ms }, ..whole(pace, facts, inferences) }
}
