//! Metrics of the models' own: the mean of a number for each sample, which the owner's command computed while the run was measured.

use super::GateError;
use super::answers::both_sides;
use super::decide::Number;
use super::metrics::{Desk, Known, pivot, same_cell, within};
use super::slices::Part;
use crate::compare::task::{MeanBounds, mean_with_bounds, select};
use crate::evidence::Evidence;
use crate::report::amount;
use boardproof_record::Digest;
use boardproof_record::plan::{Better, Cell, CustomMetric, Model, Plan};
use boardproof_record::policy::{Against, Direction, Rule};
use boardproof_record::record::Numbers;
use std::collections::BTreeMap;

/// Mean of a custom metric.
pub const CUSTOM_VALUE: &str = "custom.value";
/// How much worse it is than that of what the rule compares with, whichever numbers are good.
pub const CUSTOM_DROP: &str = "custom.drop";
/// Both of them.
pub const CUSTOM: [&str; 2] = [CUSTOM_VALUE, CUSTOM_DROP];
/// Unit of both: what the command counts in.
pub const UNIT: &str = "own";

/// The metric of this model that the rule means.
fn of_model<'m>(rule: &Rule, model: &'m Model) -> Option<&'m CustomMetric> {
    let name = rule.custom.as_ref()?;
    model.custom.iter().find(|metric| metric.name == *name)
}

/// Is the rule for the model? One that names a custom metric is for models that have it.
pub fn has(rule: &Rule, model: &Model) -> bool {
    rule.custom.is_none() || of_model(rule, model).is_some()
}

/// A rule on a custom metric names one that a planned model has; other rules name none.
pub fn check(plan: &Plan, rule: &Rule) -> Result<(), String> {
    match (&rule.custom, CUSTOM.contains(&rule.metric.as_str())) {
        (None, true) => Err(format!("{} needs to know of which metric: custom = \"NAME\"", rule.metric)),
        (Some(name), false) => {
            Err(format!("{} is no metric of the models' own: take out custom = \"{name}\"", rule.metric))
        }
        (Some(name), true) if !plan.models.values().any(|model| has(rule, model)) => {
            let all = plan.models.values().flat_map(|model| &model.custom);
            let known: Vec<&str> = all.map(|metric| metric.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(format!("no model of the plan has a metric '{name}'; they have: {known}"))
        }
        _ => Ok(()),
    }
}

/// Directions in which a limit means something; empty where the models disagree.
pub fn directions(plan: &Plan, rule: &Rule) -> Vec<Direction> {
    if rule.metric == CUSTOM_DROP {
        return vec![Direction::AtMost];
    }
    let found = plan.models.values().filter_map(|model| of_model(rule, model));
    let mut good: Vec<Direction> = Vec::new();
    for direction in
        found.map(|metric| if metric.better == Better::Higher { Direction::AtLeast } else { Direction::AtMost })
    {
        if !good.contains(&direction) {
            good.push(direction);
        }
    }
    if good.len() == 1 { good } else { Vec::new() }
}

impl<'a> Desk<'a> {
    /// One of [`CUSTOM`], over all samples or those of a part.
    pub(super) fn custom(&self, rule: &Rule, limit: f64, part: Option<&Part>) -> Result<Known, GateError> {
        let (Some(metric), Some(both)) = (of_model(rule, self.model), both_sides(rule.confidence)) else {
            return Ok(Known::NotApplicable);
        };
        let all = match numbers(self.evidence, self.cell, metric)? {
            Ok(all) => all,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let own = of_part(&all, part);
        let show = |mean: f64| amount(mean, &rule.unit);
        let name = format!("{}{}", within(part), metric.name);
        if rule.metric == CUSTOM_VALUE {
            let Some(found) = mean_with_bounds(&own, metric.range, both) else { return Ok(too_few(&own, &name)) };
            let detail = format!("{name} {}", show(found.value));
            return Ok(known(found, own.len(), limit, detail));
        }
        let mut other = match self.numbers_to_compare_with(rule, metric)? {
            Ok(other) => other,
            Err(why) => return Ok(Known::Missing(why)),
        };
        // A pass that stopped early has visited the first samples.
        other.truncate(all.len());
        if other.len() != all.len() {
            return Ok(Known::Missing(format!("{} numbers to compare with {}", other.len(), all.len())));
        }
        let other = of_part(&other, part);
        let sign = if metric.better == Better::Higher { 1.0 } else { -1.0 };
        let losses: Vec<f64> = other.iter().zip(&own).map(|(other, own)| sign * (other - own)).collect();
        let most = metric.range[1] - metric.range[0];
        let Some(found) = mean_with_bounds(&losses, [-most, most], both) else { return Ok(too_few(&own, &name)) };
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let than = if rule.against == Against::Baseline { "baseline" } else { "reference" };
        let detail = format!("{name} {} ({than} {})", show(mean(&own)), show(mean(&other)));
        Ok(known(found, own.len(), pivot(rule, limit), detail))
    }

    fn numbers_to_compare_with(
        &self,
        rule: &Rule,
        metric: &CustomMetric,
    ) -> Result<Result<Vec<f64>, String>, GateError> {
        // What forbids to compare answers forbids to compare what was computed of them.
        if let Err(why) = self.compared(rule) {
            return Ok(Err(why));
        }
        if rule.against != Against::Baseline {
            let Some(cell) = self.evidence.reference(self.cell) else { return Ok(Err("no reference".into())) };
            return self.numbers_by_the_same(metric, "the reference's", (self.evidence, cell), metric);
        }
        let (baseline, cell) = match same_cell(self.baseline, self.cell) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let there = baseline.model(cell).custom.iter().find(|there| there.name == metric.name);
        match there {
            Some(there)
                if (&there.command, there.better, there.range) == (&metric.command, metric.better, metric.range) =>
            {
                self.numbers_by_the_same(metric, "the baseline's", (baseline, cell), there)
            }
            Some(_) => Ok(Err(format!("the baseline's '{}' has another command, range or direction", metric.name))),
            None => Ok(Err(format!("the baseline has no metric '{}'", metric.name))),
        }
    }

    /// The numbers of another cell, if the programs that computed them held what those of this one's did.
    fn numbers_by_the_same(
        &self,
        metric: &CustomMetric,
        whose: &str,
        (evidence, cell): (Evidence<'_>, &Cell),
        there: &CustomMetric,
    ) -> Result<Result<Vec<f64>, String>, GateError> {
        let found = numbers(evidence, cell, there)?;
        let (own, other) = (programs(self.evidence, self.cell, metric), programs(evidence, cell, there));
        Ok(found.and_then(|numbers| unlike_programs(whose, &metric.name, &own, &other).map_or(Ok(numbers), Err)))
    }
}

type Programs = BTreeMap<String, Digest>;

/// What the files held that computed a metric of a cell.
fn programs(evidence: Evidence<'_>, cell: &Cell, metric: &CustomMetric) -> Programs {
    match evidence.record.custom.get(&cell.id).and_then(|metrics| metrics.get(&metric.name)) {
        Some(Numbers::Given { programs, .. }) => programs.clone(),
        Some(Numbers::Failed { .. }) | None => Programs::new(),
    }
}

/// The first file by which two programs of one command differ, in words.
fn unlike_programs(whose: &str, metric: &str, own: &Programs, other: &Programs) -> Option<String> {
    let told = |digest: Option<&Digest>| digest.map_or_else(|| "not told".to_owned(), Digest::short);
    let unlike = own.keys().chain(other.keys()).find(|name| own.get(*name) != other.get(*name))?;
    let (here, there) = (told(own.get(unlike)), told(other.get(unlike)));
    Some(format!("{whose} '{metric}' was computed by another {unlike}: {there} there, {here} here"))
}

fn numbers(evidence: Evidence<'_>, cell: &Cell, metric: &CustomMetric) -> Result<Result<Vec<f64>, String>, GateError> {
    Ok(evidence.numbers(cell, metric)?)
}

fn of_part(numbers: &[f64], part: Option<&Part>) -> Vec<f64> {
    part.map_or_else(|| numbers.to_vec(), |part| select(numbers, &part.own))
}

fn too_few(numbers: &[f64], name: &str) -> Known {
    let why = format!("{name} of {} samples has no bounds", numbers.len());
    Known::TooFew { samples: numbers.len() as u64, samples_more: None, why }
}

fn known(found: MeanBounds, samples: usize, pivot: f64, detail: String) -> Known {
    let MeanBounds { value, interval } = found;
    let samples_more = crate::compare::statistics::samples_more(value, interval, samples as u64, pivot);
    let number = Number { value, bounds: Some((interval.lower, interval.upper)) };
    Known::Number { number, samples: samples as u64, samples_more, detail }
}
