//! Metrics of answers that are more than right or wrong: F1, rates at the threshold that ships, calibration.

use super::GateError;
use super::answers::{Answers, both_sides};
use super::decide::Number;
use super::metrics::{Desk, Known, no_value, within};
use super::slices::Part;
use crate::claims::{Claimed, NoClaims, claimed};
use crate::compare::statistics::{Confidence, Interval, Paired, PairedMethod, samples_more};
use crate::compare::task::{F1, OperatingPoint, Rows, predictions, rates, select};
use crate::evidence::Tensor;
use crate::report::amount;
use boardproof_record::plan::{Cell, Task};
use boardproof_record::policy::{OperatingAt, Rule};

/// F1 of a cell.
pub const F1_VALUE: &str = "task.f1";
/// How much smaller it is than that of what the rule compares with.
pub const F1_DROP: &str = "task.f1_drop";
/// How many points fewer are found at the threshold.
pub const TPR_DROP: &str = "task.tpr_drop";
/// How many points more false alarms there are.
pub const FPR_RISE: &str = "task.fpr_rise";
/// Expected calibration error.
pub const ECE: &str = "calibration.ece";
/// How much larger it is than that of what the rule compares with.
pub const ECE_CHANGE: &str = "calibration.ece_change";

/// All of them.
pub const GRADED: [&str; 6] = [F1_VALUE, F1_DROP, TPR_DROP, FPR_RISE, ECE, ECE_CHANGE];

/// Tasks that a metric says something about; `None`: all.
pub fn tasks_of(metric: &str) -> Option<&'static [&'static str]> {
    match metric {
        F1_VALUE | F1_DROP => Some(&["classification", "binary", "anomaly"]),
        TPR_DROP | FPR_RISE => Some(&["binary", "anomaly"]),
        ECE | ECE_CHANGE => Some(&["classification", "binary"]),
        _ => None,
    }
}

/// Does the metric need to be told where a scorer says yes?
pub fn needs_threshold(metric: &str, task: &Task) -> bool {
    let scores = matches!(task, Task::Binary { .. } | Task::Anomaly);
    matches!(metric, TPR_DROP | FPR_RISE) || (matches!(metric, F1_VALUE | F1_DROP) && scores)
}

/// What a model says to each sample, as a class: `None` where its output is not finite. With it, which F1 is asked for.
type Said = (Vec<Option<usize>>, F1);

/// A number with an interval, for a rule.
struct Found {
    value: f64,
    interval: Interval,
    samples: u64,
    samples_more: Option<u64>,
    detail: String,
}

impl Found {
    fn known(self) -> Known {
        let Self { value, interval, samples, samples_more, detail } = self;
        let number = Number { value, bounds: Some((interval.lower, interval.upper)) };
        Known::Number { number, samples, samples_more, detail }
    }
}

impl Desk<'_> {
    /// One of [`GRADED`], over all samples or those of a part.
    pub(super) fn graded(&self, rule: &Rule, limit: f64, part: Option<&Part>) -> Result<Known, GateError> {
        let Some(both) = both_sides(rule.confidence) else { return Ok(Known::Missing("no such confidence".into())) };
        // None of them has bounds that hold at every look, whatever the task.
        if self.visited() < self.planned() {
            return Ok(self.without_bounds(rule));
        }
        Ok(match rule.metric.as_str() {
            F1_VALUE => self.f1(rule, limit, both, part)?,
            F1_DROP => self.f1_drop(rule, limit, both, part)?,
            TPR_DROP => self.rate_change(rule, limit, both, part, true),
            FPR_RISE => self.rate_change(rule, limit, both, part, false),
            ECE => self.ece(rule, limit, both, part)?,
            ECE_CHANGE => self.ece_change(rule, limit, both, part)?,
            _ => Known::NotApplicable,
        })
    }

    fn f1(&self, rule: &Rule, limit: f64, both: Confidence, part: Option<&Part>) -> Result<Known, GateError> {
        let Some(own) = self.own_answers() else { return Ok(Known::Missing("no answers".into())) };
        let outputs = self.own_outputs()?.unwrap_or_default();
        let said = self.threshold(rule).and_then(|threshold| self.said(own, &outputs, threshold));
        let (said, kind) = match said {
            Ok(said) => said,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let (said, labels) = (of_part(&said, part), of_part(&self.truth.labels, part));
        let Some(found) = kind.value(&said, &labels, both).ok().flatten() else {
            return Ok(Known::Missing(no_value("f1")));
        };
        let samples = part.map_or(said.len() as u64, Part::size);
        Ok(Found {
            value: found.value,
            interval: found.interval,
            samples,
            samples_more: samples_more(found.value, found.interval, samples, limit),
            detail: format!("{}F1 {}", within(part), amount(found.value, &rule.unit)),
        }
        .known())
    }

    fn f1_drop(&self, rule: &Rule, limit: f64, both: Confidence, part: Option<&Part>) -> Result<Known, GateError> {
        let (reference, own) = match self.compared(rule) {
            Ok(both) => both,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let outputs = self.own_outputs()?.unwrap_or_default();
        let others = self.outputs_to_compare_with(rule)?.ok().flatten().unwrap_or_default();
        let said = self.threshold(rule).and_then(|threshold| {
            Ok((self.said(reference, &others, threshold)?, self.said(own, &outputs, threshold)?))
        });
        let ((reference, kind), (own, _)) = match said {
            Ok(said) => said,
            Err(why) => return Ok(Known::Missing(why)),
        };
        let (reference, own) = (of_part(&reference, part), of_part(&own, part));
        let labels = of_part(&self.truth.labels, part);
        let Some(found) = kind.drop(&reference, &own, &labels, both).ok().flatten() else {
            return Ok(Known::Missing(no_value("f1")));
        };
        let samples = part.map_or(own.len() as u64, Part::size);
        let show = |v| amount(v, &rule.unit);
        Ok(Found {
            value: found.value,
            interval: found.interval,
            samples,
            samples_more: samples_more(found.value, found.interval, samples, super::metrics::pivot(rule, limit)),
            detail: format!("{}F1 {} (reference {})", within(part), show(found.sides[1]), show(found.sides[0])),
        }
        .known())
    }

    /// What the rates of a scorer are at the threshold, on the samples of one label: a loss in true positives, or a rise in false ones, by the
    /// same interval as that of accuracy (Tango 1998). The threshold is taken for given, as it is on a device that ships with it.
    fn rate_change(&self, rule: &Rule, limit: f64, both: Confidence, part: Option<&Part>, found: bool) -> Known {
        let (reference, own) = match self.compared(rule) {
            Ok((Answers::Scores(reference), Answers::Scores(own))) => (reference, own),
            Ok(_) => return Known::NotApplicable,
            Err(why) => return Known::Missing(why),
        };
        let threshold = match self.threshold(rule) {
            Ok(Some(threshold)) => threshold,
            Ok(None) => return Known::Missing("the rule names no threshold".into()),
            Err(why) => return Known::Missing(why),
        };
        let positive: Vec<bool> = self.truth.labels.iter().map(|label| *label == 1).collect();
        let of = |scores: &[f64]| rates(scores, &positive, threshold).map(|rates| rates.correct);
        let (Ok(reference), Ok(own)) = (of(reference), of(own)) else {
            return Known::Missing("scores and labels differ in number".into());
        };
        let samples = part.map_or_else(|| (0..positive.len()).collect(), |part| part.ranked.clone());
        let samples: Vec<usize> = samples.into_iter().filter(|i| positive[*i] == found).collect();
        let paired = Paired::of(&select(&reference, &samples), &select(&own, &samples)).unwrap_or_default();
        let name = if found { "true-positive rate" } else { "false-positive rate" };
        let Some(difference) = paired.difference() else {
            let why = format!("{}there is no sample of the label that a {name} is of", within(part));
            return Known::TooFew { samples: 0, samples_more: None, why };
        };
        let interval = paired.interval(both, PairedMethod::Score);
        let total = paired.total() as f64;
        // A false positive is a sample of the other label that is answered wrongly.
        let rate = |right: u64| if found { right as f64 / total } else { 1.0 - right as f64 / total };
        let show = |right| amount(rate(right), &rule.unit);
        let (before, now) = (paired.both + paired.reference_only, paired.both + paired.candidate_only);
        let detail = format!(
            "{}{name} {} (reference {}) at a threshold of {}",
            within(part),
            show(now),
            show(before),
            crate::report::html::plain(threshold)
        );
        let pivot = super::metrics::pivot(rule, limit);
        Found {
            value: -difference,
            interval: Interval { lower: -interval.upper, upper: -interval.lower },
            samples: paired.total(),
            samples_more: paired.samples_more(-pivot, both, PairedMethod::Score),
            detail,
        }
        .known()
    }

    fn ece(&self, rule: &Rule, limit: f64, both: Confidence, part: Option<&Part>) -> Result<Known, GateError> {
        let own = self.own_outputs()?;
        let of_reference = |cell: &Cell| self.evidence.first_outputs(&cell.id, self.visited());
        let reference = self.evidence.reference(self.cell).map(of_reference).transpose()?;
        let claims = match self.claimed(own, reference.flatten()) {
            Ok(claims) => claims.own,
            Err(known) => return Ok(known),
        };
        let claims = part.map_or(claims.clone(), |part| claims.select(&part.ranked));
        let Some((value, interval)) = claims.error_with_bounds(both) else {
            return Ok(Known::Missing(no_value("calibration error")));
        };
        let samples = part.map_or(claims.len() as u64, Part::size);
        Ok(Found {
            value,
            interval,
            samples,
            samples_more: samples_more(value, interval, samples, limit),
            detail: format!("{}calibration error {}", within(part), amount(value, &rule.unit)),
        }
        .known())
    }

    fn ece_change(&self, rule: &Rule, limit: f64, both: Confidence, part: Option<&Part>) -> Result<Known, GateError> {
        let reference = match self.outputs_to_compare_with(rule)? {
            Ok(Some(reference)) => reference,
            Ok(None) => return Ok(Known::Missing("no outputs of the reference to compare with".into())),
            Err(why) => return Ok(Known::Missing(why)),
        };
        let claims = match self.claimed(self.own_outputs()?, Some(reference)) {
            Ok(claims) => claims,
            Err(known) => return Ok(known),
        };
        let Claimed { own, reference: Some(reference), .. } = claims else {
            return Ok(Known::Missing("no outputs of the reference to compare with".into()));
        };
        let pick = |claims: crate::compare::task::Claims| match part {
            Some(part) => claims.select(&part.ranked),
            None => claims,
        };
        let (own, reference) = (pick(own), pick(reference));
        let found = own.rise_with_bounds(&reference, both).zip(own.error().zip(reference.error()));
        let Some(((value, interval), (now, before))) = found else {
            return Ok(Known::Missing(no_value("calibration error")));
        };
        let samples = part.map_or(own.len() as u64, Part::size);
        let show = |v| amount(v, &rule.unit);
        Ok(Found {
            value,
            interval,
            samples,
            samples_more: samples_more(value, interval, samples, super::metrics::pivot(rule, limit)),
            detail: format!("{}calibration error {} (reference {})", within(part), show(now), show(before)),
        }
        .known())
    }

    fn claimed(&self, own: Option<Vec<Tensor<'_>>>, reference: Option<Vec<Tensor<'_>>>) -> Result<Claimed, Known> {
        let own = own.ok_or_else(|| Known::Missing("no answers".into()))?;
        claimed(self.model, &self.truth, &own, reference.as_deref()).map_err(|why| match why {
            NoClaims::Task => Known::NotApplicable,
            NoClaims::Reference(why) => Known::Missing(why),
            NoClaims::Own(why) => Known::Invalid(why),
        })
    }

    /// The score from which on the answer is yes, where the rule names one: on the scores of what it compares with.
    fn threshold(&self, rule: &Rule) -> Result<Option<f64>, String> {
        let Some(at) = rule.at else { return Ok(None) };
        let point = match at {
            OperatingAt::Threshold(score) => OperatingPoint::Threshold(score),
            OperatingAt::FprMax(rate) => OperatingPoint::FalsePositiveRateMax(rate),
            OperatingAt::TprMin(rate) => OperatingPoint::TruePositiveRateMin(rate),
        };
        let Answers::Scores(scores) = self.answers_to_compare_with(rule)? else { return Ok(None) };
        let positive: Vec<bool> = self.truth.labels.iter().map(|label| *label == 1).collect();
        point.threshold(scores, &positive).map(Some).map_err(|why| why.to_string())
    }

    /// What a model says to each sample: its largest class, or yes from the threshold on. A score that is not finite is the wrong answer.
    fn said(&self, answers: &Answers, outputs: &[Tensor<'_>], threshold: Option<f64>) -> Result<Said, String> {
        match answers {
            Answers::Right(_) => {
                let first = outputs.first().ok_or("no answers")?;
                let values = first.to_f64();
                let rows = Rows::new(&values, first.row_elements()).map_err(|why| why.to_string())?;
                Ok((predictions(rows), F1::Macro))
            }
            Answers::Scores(scores) => {
                let threshold = threshold.ok_or("the rule names no threshold")?;
                let said = |(score, label): (&f64, &i64)| match score.is_finite() {
                    true => Some(usize::from(*score >= threshold)),
                    false => Some(usize::from(*label != 1)),
                };
                Ok((scores.iter().zip(&self.truth.labels).map(said).collect(), F1::Class(1)))
            }
            Answers::Errors(_) => Err("an error has no F1".into()),
        }
    }
}

fn of_part<T: Copy>(column: &[T], part: Option<&Part>) -> Vec<T> {
    part.map_or_else(|| column.to_vec(), |part| select(column, &part.ranked))
}
