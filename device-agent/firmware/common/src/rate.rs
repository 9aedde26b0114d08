//! The rate of the line: changed behind an answer, and given up when nothing is understood at it.

/// Time in which something must be understood at a rate that is not the start's, in seconds.
const TRIAL_S: u64 = 2;

/// Where the line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the rate of the start.
    Start,
    /// To change once the answer is out.
    Asked(u32),
    /// At another rate, and nothing was understood at it yet.
    Trial,
    /// At another rate, which was understood.
    Proved,
    /// At another rate, and the session is over.
    Ended,
}

/// What the line has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Go on.
    No,
    /// Go to this rate.
    To(u32),
    /// Go back to the rate of the start.
    Back,
}

/// Keeps watch over the rate of one line.
#[derive(Debug)]
pub struct Rate {
    at: At,
    /// Tick of what was last understood, or of the change.
    since: u64,
    /// Bytes came since then that made no frame.
    noise: bool,
}

impl Rate {
    /// A line at the rate of its start.
    pub const fn new() -> Self {
        Self { at: At::Start, since: 0, noise: false }
    }

    /// The host was told that the line changes: it does with the next [`Self::watch`].
    pub fn ask(&mut self, rate: u32) {
        self.at = At::Asked(rate);
    }

    /// The host was told, and the line has not changed yet.
    pub fn is_asked(&self) -> bool {
        matches!(self.at, At::Asked(_))
    }

    /// The session is over: the next host speaks at the rate of the start.
    pub fn end(&mut self) {
        if self.at != At::Start {
            self.at = At::Ended;
        }
    }

    /// To be called again and again, when every answer is out. `heard` says that bytes came, `understood` that they were a request; `now`
    /// is a tick of a clock of `hz`, `start` the rate of the start.
    ///
    /// A host that is silent for long at a proved rate may still be there. One that makes nothing but noise speaks at another rate.
    pub fn watch(&mut self, heard: bool, understood: bool, (now, hz): (u64, u64), start: u32) -> Change {
        if let At::Asked(rate) = self.at {
            (self.at, self.since, self.noise) = (if rate == start { At::Start } else { At::Trial }, now, false);
            return Change::To(rate);
        }
        if self.at == At::Start {
            return Change::No;
        }
        if self.at == At::Ended {
            self.at = At::Start;
            return Change::Back;
        }
        if understood {
            (self.at, self.since, self.noise) = (At::Proved, now, false);
            return Change::No;
        }
        self.noise |= heard;
        let late = now.saturating_sub(self.since) >= TRIAL_S * hz;
        if late && (self.noise || self.at == At::Trial) {
            self.at = At::Start;
            return Change::Back;
        }
        Change::No
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u32 = 115_200;

    fn at(rate: &mut Rate, now: u64, heard: bool, understood: bool) -> Change {
        rate.watch(heard, understood, (now, 10), START)
    }

    #[test]
    fn a_rate_that_nobody_speaks_is_given_up_after_two_seconds() {
        let mut rate = Rate::new();
        assert_eq!(at(&mut rate, 500, true, false), Change::No);
        rate.ask(921_600);
        assert_eq!(at(&mut rate, 1000, true, true), Change::To(921_600));
        assert_eq!(at(&mut rate, 1019, true, false), Change::No);
        assert_eq!(at(&mut rate, 1020, false, false), Change::Back);
        assert_eq!(at(&mut rate, 9999, true, false), Change::No);
    }

    #[test]
    fn a_proved_rate_survives_silence_and_not_noise() {
        let mut rate = Rate::new();
        rate.ask(921_600);
        at(&mut rate, 1000, true, true);
        assert_eq!(at(&mut rate, 1010, true, true), Change::No);
        assert_eq!(at(&mut rate, 5000, false, false), Change::No);
        assert_eq!(at(&mut rate, 5000, true, true), Change::No);
        assert_eq!(at(&mut rate, 5010, true, false), Change::No);
        assert_eq!(at(&mut rate, 5020, false, false), Change::Back);
    }

    #[test]
    fn the_end_of_a_session_goes_back_and_asking_for_the_start_does_too() {
        let mut rate = Rate::new();
        rate.end();
        assert_eq!(at(&mut rate, 100, false, false), Change::No);
        rate.ask(921_600);
        at(&mut rate, 1000, true, true);
        at(&mut rate, 1010, true, true);
        rate.end();
        assert_eq!(at(&mut rate, 1011, true, true), Change::Back);
        rate.ask(921_600);
        at(&mut rate, 1000, true, true);
        rate.ask(START);
        assert_eq!(at(&mut rate, 1010, true, true), Change::To(START));
        assert_eq!(at(&mut rate, 9999, true, false), Change::No);
    }
}
