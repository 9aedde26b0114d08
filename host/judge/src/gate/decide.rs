//! One number with its interval against one limit. The only place that says pass or fail.

use boardproof_record::policy::{Decide, Direction};
use boardproof_record::verdict::{RuleResult, Verdict};

/// A number that was measured, with one-sided bounds where it has some. A number without sampling error has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// The number.
    pub value: f64,
    /// Bounds at the rule's confidence each; `None`: exact on this evalset.
    pub bounds: Option<(f64, f64)>,
}

/// Holds a number against a limit. What is not a number never passes.
pub fn decide(number: Number, direction: Direction, limit: f64, how: Decide) -> Verdict {
    let (lower, upper) = number.bounds.unwrap_or((number.value, number.value));
    if [number.value, lower, upper, limit].iter().any(|v| v.is_nan()) || lower > upper {
        return Verdict::Fail;
    }
    // Bring everything to "at most": a rule "at least" is the same rule with the sign turned.
    let (value, lower, upper, limit) = match direction {
        Direction::AtMost => (number.value, lower, upper, limit),
        Direction::AtLeast => (-number.value, -upper, -lower, -limit),
    };
    match how {
        Decide::Shown if upper <= limit => Verdict::Pass,
        Decide::Shown if lower > limit => Verdict::Fail,
        Decide::Shown => Verdict::Inconclusive,
        Decide::Alarm if value <= limit => Verdict::Pass,
        Decide::Alarm if lower > 0.0 => Verdict::Fail,
        Decide::Alarm => Verdict::Inconclusive,
        Decide::Proven if value > limit && lower > 0.0 => Verdict::Fail,
        Decide::Proven => Verdict::Pass,
    }
}

/// One sentence for a cell: what broke, or what it rests on.
pub fn reason(verdict: Verdict, rules: &[RuleResult]) -> String {
    let mut worst: Vec<&RuleResult> =
        rules.iter().filter(|r| r.verdict == verdict && verdict != Verdict::Pass).collect();
    if verdict == Verdict::Pass {
        worst = rules.iter().filter(|r| r.slice.is_none() && r.observed.is_some()).collect();
        if worst.is_empty() {
            worst = rules.iter().filter(|r| r.observed.is_some()).collect();
        }
    }
    // Slices of one rule are one thing to a person: the worst of them speaks for all.
    let mut said: Vec<(String, f64, String, usize)> = Vec::new();
    for rule in worst {
        let key = rule.rule.to_string();
        // What fails is beyond its limit: the furthest is the worst.
        let from = if verdict == Verdict::Fail { rule.limit } else { 0.0 };
        let value = (rule.observed.unwrap_or(0.0) - from).abs();
        match said.iter_mut().find(|(known, ..)| *known == key) {
            Some(known) => {
                known.3 += 1;
                if value > known.1 {
                    (known.1, known.2) = (value, rule.detail.clone());
                }
            }
            None => said.push((key, value, rule.detail.clone(), 0)),
        }
    }
    let mut parts: Vec<String> = Vec::new();
    for (_, _, detail, more) in said {
        let part = if more == 0 { detail } else { format!("{detail} (and {more} more slices)") };
        // Several rules that lack the same thing say it once.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if parts.is_empty() { "no rule has a number".into() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decide::{Alarm, Proven, Shown};
    use Direction::{AtLeast, AtMost};
    use Verdict::{Fail, Inconclusive, Pass};

    #[track_caller]
    fn check(value: f64, bounds: Option<(f64, f64)>, direction: Direction, limit: f64, how: Decide, expected: Verdict) {
        assert_eq!(decide(Number { value, bounds }, direction, limit, how), expected);
    }

    #[test]
    fn what_is_not_a_number_never_passes() {
        for how in [Shown, Alarm, Proven] {
            for direction in [AtMost, AtLeast] {
                check(f64::NAN, None, direction, 1.0, how, Fail);
                check(0.5, Some((f64::NAN, 1.0)), direction, 1.0, how, Fail);
                check(0.5, Some((0.0, f64::NAN)), direction, 1.0, how, Fail);
                check(0.5, None, direction, f64::NAN, how, Fail);
                check(0.5, Some((1.0, 0.0)), direction, 1.0, how, Fail);
            }
        }
    }

    #[test]
    fn infinities_are_ordered_like_numbers() {
        check(f64::INFINITY, None, AtLeast, 15.0, Shown, Pass);
        check(f64::NEG_INFINITY, None, AtLeast, 15.0, Shown, Fail);
        check(f64::INFINITY, None, AtMost, 15.0, Shown, Fail);
    }

    #[test]
    fn shown_passes_and_fails_only_with_the_whole_interval() {
        check(0.0, Some((-0.005, 0.01)), AtMost, 0.01, Shown, Pass);
        check(0.0, Some((-0.005, 0.011)), AtMost, 0.01, Shown, Inconclusive);
        check(0.05, Some((0.011, 0.08)), AtMost, 0.01, Shown, Fail);
        check(0.9, Some((0.85, 0.95)), AtLeast, 0.85, Shown, Pass);
        check(0.9, Some((0.85, 0.95)), AtLeast, 0.86, Shown, Inconclusive);
        check(0.9, Some((0.85, 0.95)), AtLeast, 0.96, Shown, Fail);
    }

    #[test]
    fn alarm_needs_a_loss_that_is_large_and_shown() {
        check(0.10, Some((0.01, 0.2)), AtMost, 0.05, Alarm, Fail);
        check(0.10, Some((-0.01, 0.2)), AtMost, 0.05, Alarm, Inconclusive);
        check(0.04, Some((0.01, 0.2)), AtMost, 0.05, Alarm, Pass);
        check(0.10, Some((0.01, 0.2)), AtMost, 0.05, Proven, Fail);
        check(0.10, Some((-0.01, 0.2)), AtMost, 0.05, Proven, Pass);
        check(0.04, Some((0.01, 0.2)), AtMost, 0.05, Proven, Pass);
    }
}
