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

/// The same of the unit's uptime between two readings, one before the first pass and one after the last. A time daemon may correct either date
/// then, the unit's one way and the host's the other.
const UPTIME_SHARE: f64 = 0.20;
/// A reading is in whole milliseconds. It lies between the host's question and the answer, however busy the unit is.
const UPTIME_SLACK_S: f64 = 0.005;

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

    /// The unit's uptime between the two environments; `None` where either side told nothing of it.
    fn of_uptime(seen: &Observation) -> Option<Self> {
        let (before, after) = (&seen.environment_before.numbers, &seen.environment_after.numbers);
        let host = |name: &str| after.get(name).map(|ns| *ns as f64 / 1e9);
        let (from, to) = (before.get("uptime_ms")?, after.get("uptime_ms")?);
        let unit = (*to as f64 - *from as f64) / 1e3;
        Some(Self { unit, host_min: host("host_between_ns_min")?, host_max: host("host_between_ns_max")? })
    }

    fn is_off(self, share: f64, slack_s: f64) -> bool {
        let too_slow = self.unit + slack_s < self.host_min * (1.0 - share);
        let too_fast = self.unit > self.host_max * (1.0 + share) + slack_s;
        too_slow || too_fast
    }

    fn words(self, of: &str) -> String {
        let Self { unit, host_min, host_max } = self;
        format!("{of} took {unit:.2} s by the unit's clock, {host_min:.2} to {host_max:.2} s by the host's")
    }
}

/// May the unit's timings be believed? In words why, or why not.
///
/// The latency pass is looked at by itself, and all passes together: one pass of a fast model is too short for a slow clock to show. Where all are,
/// the unit's uptime shows it, which is read before the first and after the last.
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
    let uptime = Window::of_uptime(seen).unwrap_or_default();
    for (window, of, share, slack_s) in [
        (latency, "the latency pass", SHARE, SLACK_S),
        (together, "all passes together", SHARE, SLACK_S),
        (uptime, "all from before the first pass to after the last", UPTIME_SHARE, UPTIME_SLACK_S),
    ] {
        if window.is_off(share, slack_s) {
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

    /// Passes that are too short to tell anything, in a cell that took so long by the unit and by the host.
    #[track_caller]
    fn check_uptime(unit_ms: (u64, u64), host_min_ms: u64, host_max_ms: u64, expected: Verdict) {
        let mut seen = seen(2, vec![timed(Pass::Latency, 10_000_000, 0, S)]);
        seen.environment_before.numbers.insert("uptime_ms".into(), unit_ms.0);
        let after = [
            ("uptime_ms", unit_ms.1),
            ("host_between_ns_min", host_min_ms * 1_000_000),
            ("host_between_ns_max", host_max_ms * 1_000_000),
        ];
        seen.environment_after.numbers.extend(after.map(|(name, value)| (name.to_owned(), value)));
        let (verdict, words) = check(&seen);
        assert_eq!(verdict, expected, "{words}");
        assert_eq!(words.contains("from before the first pass"), expected != Verdict::Pass, "{words}");
    }

    #[test]
    fn half_a_clock_shows_in_a_cell_of_short_passes() {
        // A tenth of a second between two questions that took ten milliseconds each.
        check_uptime((5000, 5110), 100, 120, Verdict::Pass);
        check_uptime((5000, 5055), 100, 120, Verdict::Incomplete);
        check_uptime((5000, 5220), 100, 120, Verdict::Incomplete);
        // Readings are cut to milliseconds, and dates are corrected.
        check_uptime((5000, 5076), 100, 120, Verdict::Pass);
        check_uptime((5000, 5148), 100, 120, Verdict::Pass);
        check_uptime((5000, 5074), 100, 120, Verdict::Incomplete);
        check_uptime((5000, 5150), 100, 120, Verdict::Incomplete);
        // A question that took long to answer widens the bounds and makes no true clock look wrong.
        check_uptime((5000, 5105), 10, 5000, Verdict::Pass);
        // It began anew.
        check_uptime((5000, 20), 100, 120, Verdict::Incomplete);
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
