//! Rules on parts of the evalset: which samples a rule's slice stands for, which models have it, and when there are too few of them.

use super::answers::slice_samples;
use super::custom::CUSTOM;
use super::gap::SLICE_GAP;
use super::graded::GRADED;
use super::metrics::{Desk, Known, SLICE_DROP};
use super::{GateError, is_for_task};
use crate::compare::numerics::Metric;
use boardproof_record::plan::{Model, Plan, Task};
use boardproof_record::policy::{Against, Family, Rule};
use boardproof_record::verdict::{RuleResult, Verdict};

/// Samples of one slice.
pub struct Part {
    /// `column=value`.
    pub name: String,
    /// Samples that are in it, by number.
    pub own: Vec<usize>,
    /// Samples that its task metric is taken over: a kind of anomaly is ranked among all that are none.
    pub ranked: Vec<usize>,
}

impl Part {
    /// Samples that are in it.
    pub fn size(&self) -> u64 {
        self.own.len() as u64
    }
}

/// Columns and names of a model's slices.
fn names(model: &Model) -> impl Iterator<Item = (&str, String)> {
    let slices = model.evalset.slices.iter();
    slices.flat_map(|(column, values)| values.iter().map(move |value| (column.as_str(), format!("{column}={value}"))))
}

/// Is there a slice of this model that the rule looks at? A rule that names none and does not walk slices looks at all samples.
pub fn has_slice(rule: &Rule, model: &Model) -> bool {
    match &rule.slice {
        Some(asked) => names(model).any(|(column, name)| column == asked || name == *asked),
        None => ![SLICE_DROP, SLICE_GAP].contains(&rule.metric.as_str()) || names(model).next().is_some(),
    }
}

/// Can the rule find its slice in this plan? A slice that no model has was misspelt; a model without it is none that the rule is for.
pub fn check(plan: &Plan, rule: &Rule) -> Result<(), String> {
    let models: Vec<&Model> = plan.models.values().filter(|model| is_for_task(rule, model)).collect();
    if models.is_empty() || models.iter().any(|model| has_slice(rule, model)) {
        return Ok(());
    }
    match &rule.slice {
        Some(asked) => {
            let known = models.iter().flat_map(|model| names(model)).flat_map(|(c, name)| [c.to_owned(), name]);
            let mut known: Vec<String> = known.collect();
            known.sort_by_key(|name| (strsim::damerau_levenshtein(name, asked), name.clone()));
            known.dedup();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            Err(format!("no planned model that it is for has a slice '{asked}'; known: {known}"))
        }
        None if rule.models.is_empty() => Ok(()),
        None => Err("none of its models has slices".into()),
    }
}

/// A rule that walks slices matches nothing where no model has any.
pub fn has_nothing_to_walk(plan: &Plan, rule: &Rule) -> bool {
    let mut models = plan.models.values().filter(|model| is_for_task(rule, model)).peekable();
    rule.slice.is_none() && models.peek().is_some() && models.all(|model| !has_slice(rule, model))
}

impl Desk<'_> {
    /// A result for each slice that the rule looks at.
    ///
    /// A slice that is named is always judged. A rule that walks slices leaves out those that are too small for a claim: the report's
    /// table shows them. Where all are, that is the result.
    pub(super) fn slice_results(&self, rule: &Rule) -> Result<Vec<RuleResult>, GateError> {
        let (limit, reason) = self.limit(rule);
        let one = |known, reason| Ok(self.result(rule, None, known, limit, reason).into_iter().collect());
        if rule.against != Against::Absolute
            && let Err(why) = self.compared(rule)
        {
            return one(Known::Missing(why), reason);
        }
        let slices = &self.model.evalset.slices;
        let walks = rule.metric == SLICE_DROP && rule.slice.as_ref().is_none_or(|s| slices.contains_key(s));
        let mut parts = self.parts(rule);
        if walks {
            let largest = parts.iter().map(Part::size).max().unwrap_or(0);
            parts.retain(|part| self.too_few(rule, part).is_none());
            if parts.is_empty() {
                let why = format!(
                    "every slice has fewer than {} samples or too few of one class, the largest has {largest}: \
                     none supports a claim",
                    rule.min_samples
                );
                return one(Known::TooFew { samples: largest, samples_more: None, why }, reason);
            }
        }
        let mut results = Vec::new();
        for part in &parts {
            results.push(self.part_result(rule, part, (limit, &reason))?);
        }
        if rule.family == Some(Family::Holm) {
            self.hold_together(rule, &parts, (limit, &reason), &mut results)?;
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn part_result(
        &self,
        rule: &Rule,
        part: &Part,
        (limit, reason): (f64, &str),
    ) -> Result<Option<RuleResult>, GateError> {
        let known = match self.too_few(rule, part) {
            Some(few) => few,
            None => self.number_of_part(rule, limit, part)?,
        };
        Ok(self.result(rule, Some(part.name.clone()), known, limit, reason.to_owned()))
    }

    /// Lets a failure stand only where it holds for all slices of the rule together (Holm 1979): with the error divided by the number of those
    /// that do not stand yet, again and again until no other does. A pass needs no such thing: all must pass, so the one that should not have
    /// would have to by itself.
    fn hold_together(
        &self,
        rule: &Rule,
        parts: &[Part],
        limit: (f64, &str),
        results: &mut [Option<RuleResult>],
    ) -> Result<(), GateError> {
        let failed = |result: &Option<RuleResult>| result.as_ref().is_some_and(|r| r.verdict == Verdict::Fail);
        let of_all = results.iter().flatten().count();
        let mut open: Vec<usize> = (0..results.len()).filter(|i| failed(&results[*i])).collect();
        let mut standing = 0;
        while !open.is_empty() {
            let each = 1.0 - (1.0 - rule.confidence) / (of_all - standing) as f64;
            let stricter = Rule { confidence: each, ..rule.clone() };
            let mut left = Vec::new();
            for i in open.iter().copied() {
                let mut again = self.part_result(&stricter, &parts[i], limit)?;
                if failed(&again) {
                    continue;
                }
                if let Some(result) = &mut again {
                    result.detail += &format!("; not shown for all {of_all} slices together");
                }
                left.push((i, again));
            }
            if left.len() == open.len() {
                left.into_iter().for_each(|(i, again)| results[i] = again);
                break;
            }
            standing += open.len() - left.len();
            open = left.into_iter().map(|(i, _)| i).collect();
        }
        Ok(())
    }

    fn number_of_part(&self, rule: &Rule, limit: f64, part: &Part) -> Result<Known, GateError> {
        if let Some(metric) = Metric::from_name(&rule.metric) {
            return self.elementwise(rule, metric, Some(part));
        }
        if GRADED.contains(&rule.metric.as_str()) {
            return self.graded(rule, limit, Some(part));
        }
        if CUSTOM.contains(&rule.metric.as_str()) {
            return self.custom(rule, limit, Some(part));
        }
        Ok(match rule.metric.as_str() {
            "task.value" => self.task_value(rule, limit, Some(part)),
            "task.drop" | SLICE_DROP => self.task_drop(rule, limit, Some(part)),
            // A number of all samples must not be given out for one of a slice; such a rule is refused before it comes here.
            other => Known::Missing(format!("{other} is not measured by slice")),
        })
    }

    pub(super) fn parts(&self, rule: &Rule) -> Vec<Part> {
        let mut parts = Vec::new();
        for (column, values) in &self.model.evalset.slices {
            let codes = &self.truth.slices[column];
            for (code, value) in values.iter().enumerate() {
                let name = format!("{column}={value}");
                if rule.slice.as_ref().is_some_and(|s| *s != name && s != column) {
                    continue;
                }
                let code = code as i64;
                let own = (0..codes.len()).filter(|i| codes[*i] == code).collect();
                let ranked = slice_samples(&self.model.task, codes, code, &self.truth.labels);
                parts.push(Part { name, own, ranked });
            }
        }
        parts
    }

    /// Why a part supports no claim, if it does not.
    pub(super) fn too_few(&self, rule: &Rule, part: &Part) -> Option<Known> {
        let (name, samples) = (&part.name, part.size());
        let wanted = rule.min_samples.max(1);
        if samples < wanted {
            let why = format!("{name} has {samples} samples, the rule wants {wanted}");
            return Some(Known::TooFew { samples, samples_more: Some(wanted - samples), why });
        }
        let ranks = matches!(self.model.task, Task::Binary { .. } | Task::Anomaly);
        if !ranks || Metric::from_name(&rule.metric).is_some() {
            return None;
        }
        let positive = part.ranked.iter().filter(|i| self.truth.labels[**i] == 1).count();
        let why = format!("{name} has {samples} samples, and too few of one label for an auc");
        (positive < 2 || part.ranked.len() - positive < 2).then_some(Known::TooFew { samples, samples_more: None, why })
    }
}
