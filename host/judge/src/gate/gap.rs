//! Fairness: did quantizing move the slices of a column apart? A loss that all of them share is the business of other rules.

use super::GateError;
use super::answers::{Drop, Looks, Sure};
use super::decide::Number;
use super::metrics::{Desk, Known};
use super::slices::Part;
use boardproof_record::policy::Rule;
use boardproof_record::verdict::RuleResult;

/// Change of the distance between the best and the worst slice of a column.
pub const SLICE_GAP: &str = "slice.gap_change";

/// Of one column: how far apart its slices are, and how far they were.
struct Gap {
    number: Number,
    detail: String,
}

impl Desk<'_> {
    /// A result for each column of which two slices or more are large enough for a claim.
    ///
    /// Where no column has two, that is the result, as it is for a rule that walks slices.
    pub(super) fn gap_results(&self, rule: &Rule) -> Result<Vec<RuleResult>, GateError> {
        let (limit, reason) = self.limit(rule);
        let one = |known, reason| Ok(self.result(rule, None, known, limit, reason).into_iter().collect());
        if let Err(why) = self.compared(rule) {
            return one(Known::Missing(why), reason);
        }
        let mut results = Vec::new();
        for column in self.model.evalset.slices.keys() {
            if rule.slice.as_ref().is_some_and(|asked| asked != column) {
                continue;
            }
            let parts = self.large_parts_of(rule, column);
            if parts.len() < 2 {
                continue;
            }
            let samples = parts.iter().map(Part::size).sum();
            let known = match self.gap(rule, column, &parts) {
                _ if self.unbounded(rule).is_some() => self.without_bounds(rule),
                Some(Gap { number, detail }) => Known::Number { number, samples, samples_more: None, detail },
                None => Known::Missing(format!("the gap between slices of {column} has no value on these labels")),
            };
            results.extend(self.result(rule, Some(column.clone()), known, limit, reason.clone()));
        }
        if results.is_empty() {
            let wanted = rule.min_samples.max(1);
            let why = format!("no two slices of a column have {wanted} samples: no gap between them supports a claim");
            return one(Known::TooFew { samples: 0, samples_more: None, why }, reason);
        }
        Ok(results)
    }

    fn large_parts_of(&self, rule: &Rule, column: &str) -> Vec<Part> {
        let of_column = Rule { slice: Some(column.to_owned()), ..rule.clone() };
        self.parts(&of_column).into_iter().filter(|part| self.too_few(rule, part).is_none()).collect()
    }

    /// The gap now less the gap before. Its bounds are those of how much more the slice that is now worst lost than the one that is now
    /// best: both losses by their own paired intervals, joined as independent ones (MOVER, Zou and Donner 2008), at a confidence that holds
    /// for all pairs of the column together (Sidak 1967), since the two are picked after looking.
    fn gap(&self, rule: &Rule, column: &str, parts: &[Part]) -> Option<Gap> {
        let (reference, own) = self.compared(rule).ok()?;
        let looks = self.looks();
        let confidence = confidence_each(rule.confidence, parts.len(), looks);
        let sure = Sure { confidence, looks };
        let of = |part: &Part| reference.drop(own, &self.truth.labels, Some(&part.ranked), 0.0, sure);
        let drops: Vec<Drop> = parts.iter().map(of).collect::<Option<_>>()?;
        let errors = self.model.task.metric() == "mae";
        // High is good: what is wrong counts as less than nothing.
        let good = |value: f64| if errors { -value } else { value };
        let by_candidate = |a: &&Drop, b: &&Drop| good(a.candidate).total_cmp(&good(b.candidate));
        let (worst, best) = (drops.iter().min_by(by_candidate)?, drops.iter().max_by(by_candidate)?);
        let before = drops.iter().map(|d| good(d.reference));
        let gap_before = before.clone().fold(f64::MIN, f64::max) - before.fold(f64::MAX, f64::min);
        let gap_now = good(best.candidate) - good(worst.candidate);
        let (lower, upper) = match looks {
            Looks::Once => apart(worst, best),
            // Bounds that hold together, whatever pair is picked and whenever: what they leave is all that is known.
            Looks::Many => (worst.lower - best.upper, worst.upper - best.lower),
        };
        // Other slices may have spanned the gap before: then it grew by less than these two moved apart.
        let (value, moved) = (gap_now - gap_before, worst.value - best.value);
        let name =
            |drop: &Drop| parts.iter().zip(&drops).find(|(_, d)| std::ptr::eq(*d, drop)).map_or("", |(p, _)| &p.name);
        let show = |v| crate::report::amount(v, &rule.unit);
        let detail = format!(
            "between {} ({}) and {} ({}) the gap in {column} is {} (reference {})",
            name(best),
            show(best.candidate),
            name(worst),
            show(worst.candidate),
            points(gap_now, &rule.unit),
            points(gap_before, &rule.unit)
        );
        let bounds = Some((lower - (moved - value), upper - (moved - value)));
        Some(Gap { number: Number { value, bounds }, detail })
    }
}

fn points(value: f64, unit: &str) -> String {
    if unit == "share" { format!("{:.2} points", value * 100.0) } else { crate::report::amount(value, unit) }
}

/// How sure the bounds of each slice must be, so that those of the gap are as sure as is asked: for all pairs that could be picked (Sidak) when
/// one looks once, for all bounds of all slices together (the sum of their errors) when one may stop at any look.
fn confidence_each(confidence: f64, slices: usize, looks: Looks) -> f64 {
    match looks {
        Looks::Once => confidence.powf(1.0 / (slices * (slices - 1)) as f64),
        Looks::Many => 1.0 - (1.0 - confidence) / (2 * slices) as f64,
    }
}

/// Bounds of the loss of one less that of another, from the bounds of each (MOVER).
fn apart(worst: &Drop, best: &Drop) -> (f64, f64) {
    let moved = worst.value - best.value;
    let lower = (worst.value - worst.lower).hypot(best.upper - best.value);
    let upper = (worst.upper - worst.value).hypot(best.value - best.lower);
    (moved - lower, moved + upper)
}
