//! The unit's clock against the host's: latencies are counted by a clock that nobody here has set, and a slow one makes a slow model pass.
//!
//! For every pass the unit tells how long it took by the clock of its ticks, and the host between which bounds it took by its own. A clock
//! whose number lies outside of the bounds, with room for what a busy machine does, is not believed.

use boardproof_record::observation::{Ended, Observation, PassObservation};
use boardproof_record::plan::{Clock, Pass};
use boardproof_record::verdict::Verdict;

/// Two clocks may differ by this share. Good ones differ by a ten-thousandth, but a time daemon that corrects a date may run a host's
/// clock up to a twelfth too fast or slow (chrony's `maxslewrate`).
const SHARE: f64 = 0.10;
/// And by this much at all: how long an event may wait on a busy unit before it can be pulled.
const SLACK_S: f64 = 0.1;

/// One pass, or several together, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    unit: f64,
    host_min: f64,
    host_max: f64,
}

impl Window {
    /// `None` where a number is missing.
    fn of(pass: &PassObservation) -> Option<Self> {
        let seconds = |name: &str| pass.facts.numbers.get(name).map(|ns| *ns as f64 / 1e9);
        let (unit, host_min, host_max) =
            (seconds("pass_wall_ns")?, seconds("host_wall_ns_min")?, seconds("host_wall_ns_max")?);
        Some(Self { unit, host_min, host_max })
    }

    fn and(self, more: Self) -> Self {
        Self {
            unit: self.unit + more.unit,
            host_min: self.host_min + more.host_min,
            host_max: self.host_max + more.host_max,
        }
    }

    fn is_off(self) -> bool {
        let too_slow = self.unit + SLACK_S < self.host_min * (1.0 - SHARE);
        let too_fast = self.unit > self.host_max * (1.0 + SHARE) + SLACK_S;
        too_slow || too_fast
    }

    fn words(self, of: &str) -> String {
        let Self { unit, host_min, host_max } = self;
        format!("{of} took {unit:.2} s by the unit's clock, {host_min:.2} to {host_max:.2} s by the host's")
    }
}

/// May the unit's timings be believed? In words why, or why not.
///
/// The latency pass is looked at by itself, and all passes together: one pass of a fast model is too short for a slow clock to show.
pub fn check(seen: &Observation, clock: Clock) -> (Verdict, String) {
    if let Clock::Instructions { .. } = clock {
        return (Verdict::Pass, "not checked: the unit counts instructions and no time".into());
    }
    let completed = || seen.passes.iter().filter(|p| p.ended == Ended::Completed);
    let Some(latency) = completed().find(|p| p.pass == Pass::Latency).and_then(Window::of) else {
        let text = "the unit's clock cannot be checked: how long the latency pass took was not recorded".to_owned();
        return (Verdict::Incomplete, text);
    };
    let together = completed().filter_map(Window::of).fold(Window::default(), Window::and);
    for (window, of) in [(latency, "the latency pass"), (together, "all passes together")] {
        if window.is_off() {
            return (Verdict::Incomplete, format!("the clocks disagree: {}", window.words(of)));
        }
    }
    (Verdict::Pass, together.words("all passes together"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::observation::{Device, Facts, Shipped};
    use std::collections::BTreeMap;

    const S: u64 = 1_000_000_000;

    fn pass(pass: Pass, numbers: &[(&str, u64)]) -> PassObservation {
        let numbers: BTreeMap<String, u64> = numbers.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        PassObservation {
            pass,
            ended: Ended::Completed,
            cannot_run: None,
            facts: Facts { numbers, ..Facts::default() },
            operators: Vec::new(),
            self_check: None,
            outputs: None,
            ticks: None,
            inferences: 0,
            stopped: None,
        }
    }

    fn timed(kind: Pass, unit: u64, host_min: u64, host_max: u64) -> PassObservation {
        pass(kind, &[("pass_wall_ns", unit), ("host_wall_ns_min", host_min), ("host_wall_ns_max", host_max)])
    }

    fn seen(protocol: u16, passes: Vec<PassObservation>) -> Observation {
        let device = Device {
            protocol,
            agent_build: String::new(),
            agent_digest: None,
            runner_digest: None,
            architecture: String::new(),
            system: String::new(),
            identity: String::new(),
            tick_hz: S,
            boot: 1,
        };
        Observation {
            emulated: false,
            device,
            environment_before: Facts::default(),
            environment_after: Facts::default(),
            passes,
            attempts: Vec::new(),
            shipped: Shipped::default(),
        }
    }

    fn check(seen: &Observation) -> (Verdict, String) {
        super::check(seen, Clock::Time)
    }

    #[track_caller]
    fn check_latency(unit: u64, host_min: u64, host_max: u64, expected: Verdict) {
        let (verdict, words) = check(&seen(2, vec![timed(Pass::Latency, unit, host_min, host_max)]));
        assert_eq!(verdict, expected, "{words}");
    }

    #[test]
    fn a_number_between_the_bounds_is_believed() {
        check_latency(10 * S, 9 * S, 11 * S, Verdict::Pass);
        check_latency(10 * S, 10 * S, 10 * S, Verdict::Pass);
        // Nothing was seen of the pass but its end: a slow clock cannot show, and a true one must not be doubted.
        check_latency(10 * S, 0, 11 * S, Verdict::Pass);
    }

    #[test]
    fn a_slow_and_a_fast_clock_are_not() {
        check_latency(5 * S, 10 * S, 10 * S, Verdict::Incomplete);
        check_latency(20 * S, 10 * S, 10 * S, Verdict::Incomplete);
        check_latency(0, S, S, Verdict::Incomplete);
        check_latency(u64::MAX, S, S, Verdict::Incomplete);
    }

    #[test]
    fn the_tolerance_is_a_tenth_and_a_tenth_of_a_second() {
        let ms = S / 1000;
        check_latency(8_901 * ms, 10 * S, 10 * S, Verdict::Pass);
        check_latency(8_899 * ms, 10 * S, 10 * S, Verdict::Incomplete);
        check_latency(11_099 * ms, 10 * S, 10 * S, Verdict::Pass);
        check_latency(11_101 * ms, 10 * S, 10 * S, Verdict::Incomplete);
        // A fast model on a busy machine.
        check_latency(40 * ms, 140 * ms, 300 * ms, Verdict::Pass);
    }

    #[test]
    fn what_one_short_pass_cannot_show_all_of_them_do() {
        let half = |kind| timed(kind, S / 10, 2 * S / 10, 2 * S / 10);
        assert_eq!(check(&seen(2, vec![half(Pass::Latency)])).0, Verdict::Pass);
        let all = [Pass::Inspect, Pass::Accuracy, Pass::Latency, Pass::Memory].map(half);
        let (verdict, words) = check(&seen(2, all.to_vec()));
        assert_eq!(verdict, Verdict::Incomplete);
        assert!(words.contains("0.40 s by the unit's") && words.contains("0.80 to 0.80 s by the host's"), "{words}");
    }

    #[test]
    fn a_number_that_should_be_there_is_missed() {
        assert_eq!(check(&seen(2, vec![pass(Pass::Latency, &[])])).0, Verdict::Incomplete);
        assert_eq!(check(&seen(2, vec![pass(Pass::Latency, &[("pass_wall_ns", S)])])).0, Verdict::Incomplete);
        // Whatever version of whose protocol the unit spoke.
        for protocol in [0, 1] {
            assert_eq!(check(&seen(protocol, vec![pass(Pass::Latency, &[])])).0, Verdict::Incomplete);
        }
    }

    #[test]
    fn instructions_are_not_held_against_a_clock() {
        let slow = seen(3, vec![timed(Pass::Latency, 20 * S, S, S)]);
        assert_eq!(check(&slow).0, Verdict::Incomplete);
        let (verdict, words) = super::check(&slow, Clock::Instructions { ns_each: 32 });
        assert_eq!(verdict, Verdict::Pass);
        assert!(words.contains("counts instructions"), "{words}");
    }
}
