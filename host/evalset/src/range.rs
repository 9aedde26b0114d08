//! Values of the inputs: are they where the calibration data's are, and where the preprocessing expects them?

use crate::balance::listed;
use crate::column::Column;
use crate::elements::{ends, is_float};
use crate::finding::{Finding, Kind, Severity};
use crate::layout::Layout;
use crate::survey::{InputSurvey, Survey};
use boardproof_record::plan::{Model, TensorSpec};

/// Calibration samples below which their ranges and spreads are chance.
const CALIBRATION_MIN: u64 = 30;
/// Times as wide, or a part as wide, from which on values are on another scale.
const SCALE_ERROR: f64 = 4.0;
/// The same, worth a look.
const SCALE_WARNING: f64 = 2.0;
/// Standard deviations between the means from which on values lie elsewhere.
const SHIFT_ERROR: f64 = 3.0;
/// The same, worth a look.
const SHIFT_WARNING: f64 = 1.5;
/// Share of values beyond the calibration range that is worth a look.
const OUTSIDE_WARNING: f64 = 0.01;
/// Share of values at an end of their range that is worth a look.
const SATURATED_NOTE: f64 = 0.05;
/// Share above that of the calibration data that is worth a warning.
const SATURATED_MORE: f64 = 0.02;

/// What the values of the inputs show, against the calibration data where there are some.
pub fn findings(model: &Model, seen: &Survey, calibration: Option<&Survey>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (input, spec) in seen.inputs.iter().zip(&model.inputs) {
        let other = calibration.and_then(|other| other.inputs.iter().find(|known| known.tensor == input.tensor));
        found.extend(constant(input, other));
        found.extend(noise(input));
        found.extend(preprocess(input, spec));
        found.extend(saturated(input, other));
        let Some(other) = other else { continue };
        if let Some(why) = incomparable(input, other) {
            found.push(why);
            continue;
        }
        found.extend(scale(input, other));
        found.extend(outside(input, other));
    }
    found
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn constant(input: &InputSurvey, other: Option<&InputSurvey>) -> Vec<Finding> {
    let (count, all) = (input.constant.count, input.form.samples());
    let mut found = Vec::new();
    if count > 0 {
        // A row of zeros is a row; a picture of one grey is none.
        let severity = match (input.layout, count * 10 >= all) {
            (Layout::Row { .. }, false) => Severity::Note,
            (Layout::Row { .. }, true) | (_, false) => Severity::Warning,
            (_, true) => Severity::Error,
        };
        let message = format!("{count} of {all} samples have the same value everywhere: there is nothing in them");
        let finding = Finding::new(severity, Kind::Constant, &input.tensor, message).of(count, all);
        found.push(finding.at(input.constant.first.iter().copied()));
    }
    let of = |column: &&Column| all > 1 && column.is_constant();
    let names: Vec<String> = input.columns.iter().filter(of).map(|column| column.name.clone()).collect();
    if names.is_empty() {
        return found;
    }
    let varies = |(column, known): (&Column, &Column)| column.is_constant() && known.values > 0 && !known.is_constant();
    let differs = other.is_some_and(|other| input.columns.iter().zip(&other.columns).any(varies));
    let (n, columns) = (names.len() as u64, input.columns.len() as u64);
    let severity = match (n == columns, differs) {
        (true, _) => Severity::Error,
        (false, true) => Severity::Warning,
        (false, false) => Severity::Note,
    };
    let than = if differs { ", and vary in the calibration data" } else { "" };
    let message = format!("{n} of {columns} columns have one value in all samples{than}: {}", listed(&names));
    found.push(Finding::new(severity, Kind::Constant, &input.tensor, message).of(n, columns));
    found
}

fn noise(input: &InputSurvey) -> Option<Finding> {
    if input.noise_table == Some(true) {
        let message = "the table looks like random numbers: no two columns have to do with each other, \
                       and all are distributed alike";
        return Some(Finding::new(Severity::Error, Kind::Noise, &input.tensor, message));
    }
    let (count, asked) = (input.noise.count, input.noise_asked);
    // Of natural samples a few look so by chance.
    if count == 0 || count * 100 < asked {
        return None;
    }
    let severity = if count * 2 > asked { Severity::Error } else { Severity::Warning };
    let message = format!(
        "{count} of {asked} samples look like random noise: neighbouring values have nothing to do with each other"
    );
    let finding = Finding::new(severity, Kind::Noise, &input.tensor, message).of(count, asked);
    Some(finding.at(input.noise.first.iter().copied()))
}

/// Fractions of one that are to be divided by 255 once more, or whole numbers that are not.
fn preprocess(input: &InputSurvey, spec: &TensorSpec) -> Option<Finding> {
    let scale = spec.preprocess.as_ref()?.scale;
    let ranges = input.columns.iter().filter_map(Column::range);
    let (low, high) = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let size = low.abs().max(high.abs());
    // Pixels times 1/255 come out at 1; what comes out at less than a fiftieth was divided before.
    let vanishes = scale < 0.1 && size * scale < 0.02 && is_float(input.form.dtype);
    let message = format!(
        "values lie in {low:.3} to {high:.3}, and the preprocessing multiplies them by {scale:.3e}: they were scaled before"
    );
    (vanishes && size > 0.0).then(|| Finding::new(Severity::Error, Kind::Scale, &input.tensor, message))
}

/// Values at the ends of what the element type can hold, or of what occurs.
fn saturated(input: &InputSurvey, other: Option<&InputSurvey>) -> Option<Finding> {
    let ends = ends(input.form.dtype);
    let shares = |input: &InputSurvey| -> (f64, String) {
        let of = |column: &Column| {
            if column.is_code() || column.values == 0 {
                return 0.0;
            }
            let at_low = if ends.is_none_or(|(low, _)| column.min == low) { column.at_min } else { 0 };
            let at_high = if ends.is_none_or(|(_, high)| column.max == high) { column.at_max } else { 0 };
            // A dark background is no saturation: of pixels, 0 is where nothing is.
            let at_low = if ends.is_some_and(|(low, _)| low == 0.0) { 0 } else { at_low };
            at_low.max(at_high) as f64 / column.values as f64
        };
        let worst = input.columns.iter().max_by(|a, b| of(a).total_cmp(&of(b)));
        worst.map_or((0.0, String::new()), |column| (of(column), column.name.clone()))
    };
    let (share, column) = shares(input);
    let known = other.filter(|other| other.form.dtype == input.form.dtype).map(|other| shares(other).0);
    let severity = match known {
        Some(known) if share > known + SATURATED_MORE && share > 2.0 * known => Severity::Warning,
        _ if share >= SATURATED_NOTE => Severity::Note,
        _ => return None,
    };
    let than = known.map_or_else(String::new, |known| format!(" (of the calibration data {})", percent(known)));
    let message = format!("{} of the values of {column} are at one end of their range{than}", percent(share));
    Some(Finding::new(severity, Kind::Saturation, &input.tensor, message))
}

fn incomparable(input: &InputSurvey, other: &InputSurvey) -> Option<Finding> {
    let (own, known) = (&input.form, &other.form);
    if own.of_sample() != known.of_sample() {
        let message = format!(
            "the calibration data have samples of shape {:?}, the evalset of {:?}",
            known.of_sample(),
            own.of_sample()
        );
        return Some(Finding::new(Severity::Warning, Kind::Calibration, &input.tensor, message));
    }
    if is_float(own.dtype) != is_float(known.dtype) {
        let message = format!(
            "holds {:?}, the calibration data {:?}: one of them is on another scale than the preprocessing expects",
            own.dtype, known.dtype
        );
        return Some(Finding::new(Severity::Error, Kind::Dtype, &input.tensor, message));
    }
    let few = known.samples() < CALIBRATION_MIN;
    let message = format!("the calibration data have {} samples: too few to compare ranges with", known.samples());
    few.then(|| Finding::new(Severity::Note, Kind::Calibration, &input.tensor, message))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Spread and place of the columns against those of the calibration data, of most columns together: single ones differ for many reasons.
fn scale(input: &InputSurvey, other: &InputSurvey) -> Option<Finding> {
    let varying = || {
        let pairs = input.columns.iter().zip(&other.columns);
        pairs.filter(|(_, known)| known.deviation() > 0.0)
    };
    let ratio = median(varying().map(|(own, known)| own.deviation() / known.deviation()).collect())?;
    let shift = median(varying().map(|(own, known)| (own.mean() - known.mean()).abs() / known.deviation()).collect())?;
    let far = |limit: f64| ratio > limit || ratio < 1.0 / limit;
    let severity = match () {
        () if far(SCALE_ERROR) || shift > SHIFT_ERROR => Severity::Error,
        () if far(SCALE_WARNING) || shift > SHIFT_WARNING => Severity::Warning,
        () => return None,
    };
    let message = format!(
        "values are {ratio:.3} times as widely spread as in the calibration data, and lie {shift:.2} of their standard deviations \
         away (the median of {} columns): they are on another scale",
        input.columns.len()
    );
    Some(Finding::new(severity, Kind::Scale, &input.tensor, message))
}

/// Values that an int8 model clips, if it was calibrated on these data.
fn outside(input: &InputSurvey, other: &InputSurvey) -> Option<Finding> {
    let share = |column: &Column| column.outside as f64 / column.ranged.max(1) as f64;
    let (count, all) =
        input.columns.iter().fold((0, 0), |(count, all), column| (count + column.outside, all + column.ranged));
    if count == 0 {
        return None;
    }
    let total = count as f64 / all as f64;
    let worst = input.columns.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
    // As many as chance puts beyond the ends of a calibration sample of this size say nothing.
    let chance = 2.0 / (other.form.samples() + 1) as f64;
    let severity = if total > OUTSIDE_WARNING.max(4.0 * chance) { Severity::Warning } else { Severity::Note };
    let most = if input.columns.len() > 1 {
        format!(", most in {} ({})", worst.name, percent(share(worst)))
    } else {
        String::new()
    };
    let message = format!("{:.2} % of the values are beyond the range of the calibration data{most}", total * 100.0);
    Some(Finding::new(severity, Kind::Range, &input.tensor, message).of(count, all))
}
