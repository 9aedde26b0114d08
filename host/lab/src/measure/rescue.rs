//! A unit whose link says nothing: looked into from outside, started anew once before the next cell, and asked why it has started anew.
//!
//! All that is done goes into the record as an attempt. Nothing here repeats a measurement.

use super::error::{Death, causes};
use super::{Bench, BenchError, pass};
use crate::crash::Crash;
use crate::hands::{Hands, Life, Restart};
use crate::link::Link;
use crate::link::client::{Client, Quiet};
use crate::symbols::Symbols;
use boardproof_record::observation::Attempt;
use std::time::{Duration, Instant};

/// What a unit looked like from outside when its link was silent.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) life: Life,
    pub(super) words: String,
}

impl Sighting {
    /// It does not come back by itself, as far as one can see.
    pub(super) fn hangs(&self) -> bool {
        matches!(self.life, Life::Dead | Life::AtWork)
    }
}

impl Bench {
    /// Gives the bench hands for a unit that is silent, and the names of its firmware's functions.
    #[must_use]
    pub fn with_hands(mut self, hands: Box<dyn Hands>, symbols: Symbols) -> Self {
        (self.hands, self.symbols) = (Some(hands), symbols);
        self
    }

    /// Looks into a unit that was silent, once per cell.
    pub(super) fn look_after(&mut self, error: &BenchError) {
        if self.seen.is_some() || !error.was_silent() {
            return;
        }
        let Some(looked) = self.hands.as_mut().and_then(|hands| hands.look(true)) else { return };
        self.seen = Some(match looked {
            Ok(look) => {
                Sighting { life: look.life(), words: format!("seen by its debug probe: {}", look.words(&self.symbols)) }
            }
            Err(error) => Sighting {
                life: Life::Unknown,
                words: format!("its debug probe could not look: {}", causes(&*error).join(": ")),
            },
        });
    }

    /// The ways to start the unit anew, the mildest first.
    pub(super) fn restarts(&self) -> Vec<Restart> {
        self.hands.as_ref().map_or_else(Vec::new, |hands| hands.restarts())
    }

    /// Starts the unit anew in the first of these ways that works, and takes it and those before it off the list. `why` is what led to it.
    /// False when no way is left.
    pub(super) fn restart(&mut self, ways: &mut Vec<Restart>, why: Option<(&BenchError, Instant)>) -> bool {
        if let Some((error, since)) = why.filter(|_| !ways.is_empty()) {
            self.tell("reach the unit", since, Some(causes(error).join(": ")));
        }
        while !ways.is_empty() {
            let (way, start) = (ways.remove(0), Instant::now());
            let Some(hands) = &mut self.hands else { return false };
            let error = hands.restart(way).err().map(|error| causes(&*error).join(": "));
            let done = error.is_none();
            self.tell(&way.to_string(), start, error);
            if done {
                return true;
            }
        }
        false
    }

    fn tell(&mut self, action: &str, since: Instant, error: Option<String>) {
        let elapsed_ms = since.elapsed().as_millis() as u64;
        self.told.push(Attempt { action: action.into(), elapsed_ms, error });
    }

    /// Asks a unit that has started anew why it did.
    pub(super) fn death<L: Link>(&mut self, client: &mut Client<L>) -> Option<Death> {
        let job = self.next_job();
        let told = pass::environment(client, job).ok()?.texts;
        let text = |name: &str| told.get(name).filter(|text| !text.is_empty());
        let (record, reason) = (text("crash_record"), text("reset_reason"));
        let words = match (record, reason) {
            (Some(record), _) => Crash::of_text(record).map_or_else(|| record.clone(), |c| c.words(&self.symbols)),
            (None, Some(reason)) => format!("it says why it started anew: {reason}"),
            (None, None) => return None,
        };
        // Which of the two came first.
        match self.quiet.filter(|_| reason.is_some_and(|reason| reason == "watchdog")) {
            Some(Quiet { limit, .. }) => {
                Some(Death(format!("{words}; it came before the {} s that a silence is waited for", limit.as_secs())))
            }
            None => Some(Death(words)),
        }
    }
}

/// Is a unit that says nothing at work all the same? Asked without stopping it; `told` hears of it the first time.
pub(super) fn is_at_work(hands: Option<&mut Box<dyn Hands>>, told: &mut Vec<Attempt>, symbols: &Symbols) -> bool {
    let start = Instant::now();
    let Some(Ok(look)) = hands.and_then(|hands| hands.look(false)) else { return false };
    let at_work = look.life() == Life::AtWork;
    if at_work && told.iter().all(|attempt| !attempt.action.starts_with(WAITED)) {
        let elapsed_ms = start.elapsed().as_millis() as u64;
        told.push(Attempt { action: format!("{WAITED}: {}", look.words(symbols)), elapsed_ms, error: None });
    }
    at_work
}

/// What waiting for a slow unit is called in the record.
const WAITED: &str = "wait for a unit that says nothing";

/// How long a unit that went away is waited for before the next cell: a board boots in less. So a dead unit costs a run this much and
/// the time of the cell in which it died, however many cells were to come, and one that comes back is used.
pub(super) const COME_BACK: Duration = Duration::from_secs(90);
