//! From numbers to causes. Every threshold stands here, with its reason.

use super::sides::{Difference, Fit, Row, Seen};
use super::{SAME_DB, SiteSummary, Sketched};
use boardproof_record::layers::{Inquiry, Weights};
use boardproof_record::observation::SelfCheck;
use serde::Serialize;

/// Why a variant parts from its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Rounding to fewer bits, everywhere a little.
    Quantization,
    /// Another site's kernels round otherwise: one step at most.
    KernelRounding,
    /// Kernels that compute something else.
    KernelError,
    /// A scale or zero point that does not belong to the numbers.
    WrongScaleOrZeroPoint,
    /// Numbers beyond the ends of their type.
    Saturation,
    /// The input is not what the reference gets.
    PreprocessingMismatch,
    /// NaN or infinity where the reference has a number.
    NonFinite,
    /// Weights that are not the reference's.
    CorruptedWeights,
    /// Not a form of the reference: other weights everywhere, or other operators.
    OtherModel,
    /// The answers are the reference's in another order, or with their sign changed.
    OutputsExchanged,
    /// Drift that none of the above explains.
    Unexplained,
}

impl Label {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Quantization => "quantization",
            Self::KernelRounding => "kernel rounding (at most 1 LSB)",
            Self::KernelError => "kernel error",
            Self::WrongScaleOrZeroPoint => "wrong scale or zero point",
            Self::Saturation => "saturation",
            Self::PreprocessingMismatch => "preprocessing mismatch",
            Self::NonFinite => "non-finite",
            Self::CorruptedWeights => "corrupted weights",
            Self::OtherModel => "other model",
            Self::OutputsExchanged => "outputs exchanged",
            Self::Unexplained => "unexplained",
        }
    }

    /// What every quantized model has, and what devices are allowed.
    pub fn is_benign(self) -> bool {
        matches!(self, Self::Quantization | Self::KernelRounding)
    }
}

/// A cause with what speaks for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    /// Which.
    pub label: Label,
    /// Where it is first seen, by the place of the layer; `None` where it is no one layer's.
    pub layer: Option<usize>,
    /// The numbers.
    pub evidence: String,
    /// What is left of the signal by this alone, in dB, where that is known.
    pub by_itself_db: Option<f64>,
    /// More layers of which the same is true.
    pub more: usize,
}

/// 8-bit numbers that fit their quantizer leave 30 dB and more (a step of 1/255 of the range, and a signal of a few per cent of it).
const CONFIRM_DB: f64 = 30.0;
/// Half floats leave 60 dB and more, single ones 120.
const FLOAT_DB: f64 = 55.0;
/// What the input of a float variant may lose on the way in: a half keeps 11 bits.
const INPUT_DB: f64 = 40.0;
/// Weights that differ in as many tensors are not damaged but others.
const OTHER_TENSORS: usize = 3;
/// Scales that leave three of eight bits unused.
const USED_SHARE: f64 = 1.0 / 8.0;

/// What is looked at.
struct Case<'a> {
    inquiry: &'a Inquiry,
    rows: &'a [Row],
    sites: &'a [SiteSummary],
}

/// All causes, the first in the order of the layers first.
pub(super) fn causes(
    inquiry: &Inquiry,
    rows: &[Row],
    (sites, sketched): (&[SiteSummary], &[Sketched]),
    checks: &[(&str, Option<&SelfCheck>)],
) -> Vec<Cause> {
    let case = Case { inquiry, rows, sites };
    let mut found = case.non_finite();
    found.extend(case.input());
    found.extend(case.structure());
    found.extend(case.weights());
    if case.is_broken() {
        found.extend(case.ranges());
    }
    found.extend(case.self_checks(checks));
    // Sketches name the layer where a site that shows nothing else parts; its answers name the last one.
    let by_sketches: Vec<Cause> = sketched.iter().filter_map(|sketched| case.sketched(sketched)).collect();
    found.extend(if by_sketches.is_empty() { case.between_sites() } else { by_sketches });
    if found.iter().all(|cause| cause.label == Label::KernelRounding) {
        found.extend(case.rest());
    }
    merged(found)
}

/// One cause per label, at its first layer; what costs most first, in the order of the layers where that is not known, and what is allowed
/// last.
fn merged(mut found: Vec<Cause>) -> Vec<Cause> {
    found.sort_by_key(|cause| (cause.layer.unwrap_or(usize::MAX), cause.label));
    let mut merged: Vec<(Cause, f64)> = Vec::new();
    for cause in found {
        let db = cause.by_itself_db.unwrap_or(f64::NEG_INFINITY);
        match merged.iter_mut().find(|(known, _)| known.label == cause.label) {
            Some((known, worst)) => (known.more, *worst) = (known.more + 1, worst.min(db)),
            None => merged.push((cause, db)),
        }
    }
    merged.sort_by(|a, b| (a.0.label.is_benign().cmp(&b.0.label.is_benign())).then(a.1.total_cmp(&b.1)));
    merged.into_iter().map(|(cause, _)| cause).collect()
}

fn cause(label: Label, layer: usize, evidence: String) -> Cause {
    Cause { label, layer: Some(layer), evidence, by_itself_db: None, more: 0 }
}

impl Cause {
    fn costing(self, by_itself_db: Option<f64>) -> Self {
        Self { by_itself_db, ..self }
    }
}

fn db(value: Option<f64>) -> String {
    value.map_or_else(|| "no noise".into(), |db| format!("{db:.1} dB"))
}

impl Case<'_> {
    fn row(&self, layer: usize) -> Option<&Row> {
        let tensor = &self.inquiry.layers.layers.get(layer)?.tensor;
        self.rows.iter().find(|row| row.tensor == *tensor)
    }

    /// The layer of a line.
    fn layer(&self, row: &Row) -> usize {
        self.inquiry.layers.layers.iter().position(|layer| layer.tensor == row.tensor).unwrap_or(0)
    }

    fn accumulated(row: &Row) -> Option<Seen> {
        row.sides.iter().find_map(|side| side.accumulated)
    }

    fn alone(row: &Row) -> Option<Seen> {
        row.sides.iter().find_map(|side| side.alone)
    }

    /// Does the layer itself go wrong? Behind the reference's layers where that was seen, else behind its own. Where nothing was seen
    /// the weights speak for themselves.
    fn is_bad(&self, layer: usize) -> bool {
        let seen = self.row(layer).and_then(|row| Self::alone(row).or_else(|| Self::accumulated(row)));
        seen.is_none_or(|seen| seen.is_below(CONFIRM_DB))
    }

    fn is_broken(&self) -> bool {
        self.sites.iter().any(|site| site.is_broken)
    }

    fn non_finite(&self) -> Vec<Cause> {
        let count = |row: &Row| row.sides.iter().filter_map(|s| s.accumulated).map(|seen| seen.non_finite).max();
        let first = self.rows.iter().find(|row| count(row).is_some_and(|count| count > 0));
        let made = |row: &Row| {
            let own = Self::alone(row).is_some_and(|seen| seen.non_finite > 0);
            let whose = if own { "also behind the reference's layers" } else { "behind the variant's own layers" };
            let evidence = format!(
                "{} elements are NaN or infinite where the reference's are numbers, {whose}",
                count(row).unwrap_or(0)
            );
            cause(Label::NonFinite, self.layer(row), evidence)
        };
        first.map(made).into_iter().collect()
    }

    /// Was the variant fed what the reference was? Its quantizer's own part is known from the layer alone.
    fn input(&self) -> Vec<Cause> {
        let mut found = Vec::new();
        for row in self.rows.iter().filter(|row| row.operator == "Input") {
            for (side, site) in row.sides.iter().zip(self.sites) {
                let (Some(fed), Some(own)) = (side.accumulated, side.alone) else { continue };
                let expected = own.sqnr_db.unwrap_or(f64::INFINITY).min(INPUT_DB) - 6.0;
                if fed.is_below(expected) && !own.is_below(expected) {
                    let evidence = format!(
                        "on {} the model was fed numbers that are {} from the reference's ({} by its quantizer alone)",
                        site.name,
                        db(fed.sqnr_db),
                        db(own.sqnr_db)
                    );
                    found.push(cause(Label::PreprocessingMismatch, self.layer(row), evidence));
                }
            }
        }
        found
    }

    /// Operators that the reference has not, where they do harm.
    fn structure(&self) -> Vec<Cause> {
        let mut found = Vec::new();
        for (at, layer) in self.inquiry.layers.layers.iter().enumerate().filter(|(at, _)| self.is_bad(*at)) {
            let is_input =
                |tensor: &&String| self.rows.iter().any(|row| row.tensor == **tensor && row.operator == "Input");
            let extra = layer.reads.iter().filter(is_input).find(|read| !layer.reads_reference.contains(read));
            let own =
                self.row(at).and_then(Self::alone).map_or(String::new(), |seen| format!(" ({})", db(seen.sqnr_db)));
            if let Some(read) = extra {
                let evidence = format!(
                    "'{}' is computed from '{read}' as well, by {}, which the reference does not do{own}",
                    layer.tensor,
                    in_words(&layer.to_input)
                );
                found.push(cause(Label::OtherModel, at, evidence));
            } else if layer.to_input != layer.to_input_reference {
                let evidence = format!(
                    "between the input and the first weights the variant has {}, the reference {}{own}",
                    in_words(&layer.to_input),
                    in_words(&layer.to_input_reference)
                );
                found.push(cause(Label::PreprocessingMismatch, at, evidence));
            }
        }
        found
    }

    fn weights(&self) -> Vec<Cause> {
        let all = &self.inquiry.layers.weights;
        let is_off = |w: &&Weights| w.unlike.is_some() || w.channels_off > 0 || w.non_finite > 0;
        let off: Vec<&Weights> = all.iter().filter(is_off).filter(|w| self.is_bad(w.layer)).collect();
        let matrices = off.iter().filter(|w| w.is_matrix).count();
        let of = all.iter().filter(|w| w.is_matrix).count();
        if let Some(first) = off.iter().find(|w| w.unlike.is_some()) {
            let (r, v) = first.unlike.clone().unwrap_or_default();
            let evidence =
                format!("weights '{}' have shape {r:?} in the reference and {v:?} in the variant", first.tensor);
            return vec![cause(Label::OtherModel, first.layer, evidence)];
        }
        if matrices >= OTHER_TENSORS && matrices * 4 > of {
            let first = off.iter().find(|w| w.is_matrix).map_or(0, |w| w.layer);
            let evidence = format!("{matrices} of {of} weight tensors are not the reference's, nor a rounding of them");
            return vec![cause(Label::OtherModel, first, evidence)];
        }
        let last = all.iter().filter(|w| w.is_matrix).map(|w| w.layer).max();
        let of_matrix = |w: &&&Weights| off.iter().any(|other| other.is_matrix && other.layer == w.layer);
        // A bias follows what became of its matrix.
        let told = off.iter().filter(|w| w.is_matrix || !of_matrix(w));
        let unused = all.iter().filter(|w| w.is_matrix && w.range_used_min < USED_SHARE && self.is_bad(w.layer));
        told.map(|w| damaged(w, last == Some(w.layer))).chain(unused.map(unused_range)).collect()
    }

    /// What quantizers cut off or are too coarse for, seen on the reference's numbers.
    fn ranges(&self) -> Vec<Cause> {
        let budget = self.inquiry.budget_db;
        let wide = self.rows.iter().filter_map(|row| row.fit).all(|fit| fit.used() < 2.0 * USED_SHARE);
        let mut found = Vec::new();
        for row in self.rows {
            let Some(fit) = row.fit else { continue };
            let layer = self.layer(row);
            let is_below = |value: Option<f64>| value.is_some_and(|value| value < budget);
            if is_below(fit.clipping_db) {
                let label = if fit.is_misplaced() { Label::WrongScaleOrZeroPoint } else { Label::Saturation };
                found.push(cause(label, layer, clipped(row, &fit)).costing(fit.clipping_db));
            } else if is_below(fit.rounding_db) {
                let fed = row.operator == "Input" && wide;
                let label = if fed { Label::PreprocessingMismatch } else { Label::WrongScaleOrZeroPoint };
                found.push(cause(label, layer, coarse(row, &fit)).costing(fit.rounding_db));
            }
        }
        found
    }

    fn self_checks(&self, checks: &[(&str, Option<&SelfCheck>)]) -> Vec<Cause> {
        let is_wrong = |check: &&SelfCheck| check.samples > 0 && !check.agree;
        let wrong = checks.iter().filter_map(|(site, check)| Some((site, check.filter(|c| is_wrong(c))?)));
        let made = |(site, check): (&&str, &SelfCheck)| {
            let named = |row: &&Row| !row.node.is_empty() && check.operator.contains(&format!("({})", row.node));
            let layer = self.rows.iter().find(named).map(|row| self.layer(row));
            let evidence = format!(
                "on {site} the engine's optimizer changes the answers at {} ({})",
                if check.operator.is_empty() { "an operator that was not found" } else { &check.operator },
                db(check.sqnr_db)
            );
            Cause { label: Label::KernelError, layer, evidence, by_itself_db: check.sqnr_db, more: 0 }
        };
        wrong.map(made).collect()
    }

    /// The second site against the first, behind the same numbers where that was seen. Behind other numbers every later layer differs
    /// too, and says nothing.
    fn between_sites(&self) -> Vec<Cause> {
        let mut rounded = None;
        for row in self.rows {
            let Some(apart) = row.between_sites else { continue };
            let Some(difference) = apart.alone.or(apart.accumulated) else { continue };
            let found = self.difference(row, &difference);
            match found {
                Some(found) if found.label != Label::KernelRounding => return vec![found],
                found => rounded = rounded.or(found),
            }
            if apart.alone.is_none() && difference.share > 0.0 {
                break;
            }
        }
        rounded.into_iter().collect()
    }

    /// The first layer of a device that is not this machine's. Both run the same integers, so that nothing is allowed.
    fn sketched(&self, sketched: &Sketched) -> Option<Cause> {
        let Sketched { site, against, samples, layers, .. } = sketched;
        let at = sketched.first_apart?;
        let first = &layers[at];
        let named = |row: &&Row| !first.node.is_empty() && row.node == first.node;
        let away = first.sqnr_db.map_or_else(String::new, |db| format!(", by about {db:.1} dB (from sketches)"));
        let evidence = format!(
            "layer {at} of the compiled model, {} ({}), on {site} is the first that is not {against}'s, bit for bit: in {} of {samples} \
             samples{away}",
            first.operator, first.node, first.samples_apart
        );
        let layer = self.rows.iter().find(named).map(|row| self.layer(row));
        Some(Cause { label: Label::KernelError, layer, evidence, by_itself_db: first.sqnr_db, more: 0 })
    }

    /// What a layer's difference between the first two sites is.
    fn difference(&self, row: &Row, difference: &Difference) -> Option<Cause> {
        let [first, second, ..] = self.sites else { return None };
        let layer = self.layer(row);
        let differs = |what: String| format!("'{}' on {} is {what} from {}", row.tensor, second.name, first.name);
        match difference.steps {
            Some(steps) if steps.is_other_scale() => {
                let what =
                    format!("up to {} steps away, times {:.3} and {:+.1} steps,", steps.max, steps.gain, steps.offset);
                Some(cause(Label::WrongScaleOrZeroPoint, layer, differs(what)))
            }
            Some(steps) if steps.max > 1.0 => {
                let what = format!("up to {} steps away ({})", steps.max, db(difference.seen.sqnr_db));
                Some(cause(Label::KernelError, layer, differs(what)))
            }
            Some(steps) if steps.max == 1.0 => {
                let what = format!("one step away in {:.2} % of its elements", difference.share * 100.0);
                Some(cause(Label::KernelRounding, layer, differs(what)))
            }
            Some(_) => None,
            None if difference.seen.is_below(FLOAT_DB) => {
                Some(cause(Label::KernelError, layer, differs(db(difference.seen.sqnr_db))))
            }
            None => None,
        }
    }

    /// What is left when nothing else was found: what every quantized model has, or something unknown.
    fn rest(&self) -> Vec<Cause> {
        let noise = |site: &&SiteSummary| site.answers.is_some_and(|seen| seen.is_below(SAME_DB));
        let Some(site) = self.sites.iter().find(noise) else { return Vec::new() };
        let answers = db(site.answers.and_then(|seen| seen.sqnr_db));
        let key = |row: &&Row| Self::alone(row).and_then(|seen| seen.sqnr_db).unwrap_or(f64::INFINITY);
        let worst = self.rows.iter().min_by(|a, b| key(a).total_cmp(&key(b)));
        let worst = worst.filter(|row| key(row).is_finite());
        let of_worst = worst.map_or(String::new(), |row| {
            format!("; of all layers alone '{}' loses most, {:.1} dB", row.tensor, key(&row))
        });
        let narrow = self.inquiry.layers.weights.iter().any(|w| w.dtype != "F32" && w.dtype != "F64")
            || self.rows.iter().any(|row| row.fit.is_some());
        let unexplained = match narrow {
            true => self.is_broken() && worst.is_some_and(|row| key(&row) < self.inquiry.budget_db),
            false => site.answers.is_some_and(|seen| seen.is_below(FLOAT_DB)),
        };
        let label = if unexplained { Label::Unexplained } else { Label::Quantization };
        if !narrow && !unexplained {
            return Vec::new();
        }
        let evidence = format!("answers of {answers}, the budget is {:.1} dB{of_worst}", self.inquiry.budget_db);
        let layer = worst.map(|row| self.layer(row));
        vec![Cause { label, layer, evidence, by_itself_db: worst.map(|row| key(&row)), more: 0 }]
    }
}

fn in_words(operators: &[String]) -> String {
    if operators.is_empty() { "nothing".into() } else { operators.join(", ") }
}

/// What became of a tensor of weights.
fn damaged(w: &Weights, is_last: bool) -> Cause {
    let of = |count: usize| format!("{count} of {} channels", w.channels);
    let noise = db(w.sqnr_db);
    let most = |count: usize| count * 5 >= w.channels_off * 4;
    let (label, what) = if w.non_finite > 0 {
        (Label::CorruptedWeights, format!("{} elements are NaN or infinite", w.non_finite))
    } else if w.channels_exchanged == w.channels_off && is_last {
        (
            Label::OutputsExchanged,
            format!("{} are another's of the reference, or have their sign changed", of(w.channels_off)),
        )
    } else if w.clipped_share * 2.0 >= w.off_share {
        (Label::Saturation, format!("{:.1} % of the elements lie beyond their type", w.clipped_share * 100.0))
    } else if most(w.channels_scaled + w.channels_shifted) {
        let (scaled, shifted) = (w.channels_scaled, w.channels_shifted);
        (
            Label::WrongScaleOrZeroPoint,
            format!("{} are the reference's times a factor, {shifted} plus a number", of(scaled)),
        )
    } else {
        let share = w.off_share * 100.0;
        (
            Label::CorruptedWeights,
            format!("{} are not the reference's, {share:.1} % of all elements", of(w.channels_off)),
        )
    };
    cause(label, w.layer, format!("weights '{}': {what} ({noise})", w.tensor))
}

fn unused_range(w: &Weights) -> Cause {
    let used = w.range_used_min * 100.0;
    let evidence = format!("weights '{}': a scale is so large that {used:.1} % of its range is used", w.tensor);
    cause(Label::WrongScaleOrZeroPoint, w.layer, evidence)
}

fn clipped(row: &Row, fit: &Fit) -> String {
    format!(
        "'{}' can hold {:.4} to {:.4}, the reference's numbers go from {:.4} to {:.4}: {:.1} % lie beyond, {} by that alone",
        row.tensor,
        fit.low,
        fit.high,
        fit.least,
        fit.most,
        fit.beyond_share * 100.0,
        db(fit.clipping_db)
    )
}

fn coarse(row: &Row, fit: &Fit) -> String {
    format!(
        "'{}' can hold {:.4} to {:.4}, the reference's numbers go from {:.4} to {:.4}: steps too coarse for them, {} by that alone",
        row.tensor,
        fit.low,
        fit.high,
        fit.least,
        fit.most,
        db(fit.rounding_db)
    )
}
