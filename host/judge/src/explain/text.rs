//! An explanation as text: what explains the drift, then a line per layer.

use super::sides::{Row, Seen};
use super::sketches::{Sketched, SketchedLayer};
use super::{Explanation, SampleSeen, SiteSummary};
use std::fmt::Write;

/// Renders an explanation for a terminal.
pub fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    let Explanation { subject, samples, budget_db, .. } = explanation;
    let _ = writeln!(text, "{subject}, {samples} samples, budget {budget_db:.1} dB");
    for (at, site) in explanation.sites.iter().enumerate() {
        let _ = writeln!(text, "  {}", verdict(explanation, at, site));
    }
    if let Some(bisected) = &explanation.bisected {
        let _ = writeln!(text, "  {}", bisected.sentence());
    }
    causes(&mut text, explanation);
    if !explanation.rows.is_empty() {
        text.push('\n');
        table(&mut text, explanation);
    }
    for sketched in &explanation.sketched {
        text.push('\n');
        self::sketched(&mut text, sketched);
    }
    if !explanation.worst.is_empty() {
        text.push('\n');
        worst(&mut text, explanation);
    }
    for note in &explanation.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// What a site answers, and the first of its layers that breaks the budget.
pub fn verdict(explanation: &Explanation, at: usize, site: &SiteSummary) -> String {
    let Some(answers) = site.answers else { return format!("{}: not seen", site.name) };
    let broken = site.first_broken.map(|row| {
        let row = &explanation.rows[row];
        let seen = row.sides[at].accumulated.map_or_else(String::new, |seen| format!(", {} dB", decibel(Some(seen))));
        format!("; the first layer that breaks the budget is '{}' ({}{seen})", row.tensor, row.operator)
    });
    let broken = match broken {
        Some(broken) => broken,
        None if site.is_broken => "; below the budget, and no layer that was shown is".into(),
        None => String::new(),
    };
    format!("{}: answers of {} dB{broken}", site.name, decibel(Some(answers)))
}

fn causes(text: &mut String, explanation: &Explanation) {
    if explanation.causes.is_empty() && explanation.sites.iter().any(|site| site.answers.is_some()) {
        text.push_str("cause: none, there is no drift to speak of\n");
    }
    for cause in &explanation.causes {
        let more = if cause.more > 0 { format!(" (and {} more)", cause.more) } else { String::new() };
        let _ = writeln!(text, "cause: {}: {}{more}", cause.label.words(), cause.evidence);
    }
}

/// What a column shows of a layer.
type Cell<'e> = Box<dyn Fn(&Row) -> String + 'e>;

fn table(text: &mut String, explanation: &Explanation) {
    let mut columns: Vec<(String, Cell<'_>)> = vec![
        ("LAYER".into(), Box::new(|row: &Row| row.tensor.clone())),
        ("OPERATOR".into(), Box::new(|row: &Row| row.operator.clone())),
    ];
    for (at, site) in explanation.sites.iter().enumerate() {
        let of = move |row: &Row| row.sides.get(at).copied().unwrap_or_default();
        columns.push((format!("{} dB", site.name), Box::new(move |row| decibel(of(row).accumulated))));
        columns.push(("ALONE dB".into(), Box::new(move |row| decibel(of(row).alone))));
        columns.push(("AT ENDS".into(), Box::new(move |row| percent(of(row).at_ends_share))));
    }
    columns.push(("CLIPPED dB".into(), Box::new(|row| row.fit.map_or_else(dash, |fit| number(fit.clipping_db)))));
    columns.push(("ROUNDED dB".into(), Box::new(|row| row.fit.map_or_else(dash, |fit| number(fit.rounding_db)))));
    if explanation.sites.len() > 1 {
        columns.push((
            "STEPS APART".into(),
            Box::new(|row| {
                let steps = row.between_sites.and_then(|apart| apart.alone.or(apart.accumulated)).and_then(|d| d.steps);
                steps.map_or_else(dash, |steps| format!("{:.0}", steps.max))
            }),
        ));
    }
    let heading: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
    let lines = explanation.rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect());
    aligned(text, std::iter::once(heading).chain(lines).collect());
}

/// What sketches tell of a site in a sentence.
pub fn sketched_in_words(sketched: &Sketched) -> String {
    let Sketched { site, against, samples, layers, .. } = sketched;
    let all = layers.len();
    match sketched.first_apart.and_then(|at| Some((at, layers.get(at)?))) {
        None => format!("{site}: all {all} layers are {against}'s, bit for bit, in {samples} samples"),
        Some((at, first)) => format!(
            "{site}: the first of {all} layers that is not {against}'s is {at}, {} ({}), in {} of {samples} samples",
            first.operator, first.node, first.samples_apart
        ),
    }
}

/// Headings of the lines of sketches.
pub const SKETCHED: [&str; 8] =
    ["LAYER", "OPERATOR", "NODE", "SAMPLES APART", "ABOUT dB", "ABOUT RELATIVE L2", "ABOUT COSINE", "RMS RATIO"];

/// A layer's line under [`SKETCHED`].
pub fn sketched_line(at: usize, layer: &SketchedLayer) -> [String; 8] {
    let apart = layer.samples_apart > 0;
    let known = |value: Option<f64>, digits: usize| value.map_or_else(dash, |value| format!("{value:.digits$}"));
    [
        at.to_string(),
        layer.operator.clone(),
        layer.node.clone(),
        layer.samples_apart.to_string(),
        if apart { known(layer.sqnr_db, 1) } else { "exact".into() },
        known(layer.relative_l2, 4),
        known(layer.cosine, 6),
        known(layer.rms_ratio, 4),
    ]
}

/// How far estimates may be off.
pub fn sketched_error(sketched: &Sketched) -> String {
    let up = 10.0 * (1.0 + sketched.standard_error).log10();
    let down = -10.0 * (1.0 - sketched.standard_error).log10();
    format!(
        "estimates from sketches, seed {}: one standard error is {:.0} % of the squared distance at most, {up:.1} dB down or {down:.1} dB up",
        sketched.seed,
        sketched.standard_error * 100.0
    )
}

/// A line per layer of a site that tells sketches.
fn sketched(text: &mut String, sketched: &Sketched) {
    let _ = writeln!(text, "{}", sketched_in_words(sketched));
    let lines = sketched.layers.iter().enumerate().map(|(at, layer)| sketched_line(at, layer).to_vec());
    aligned(text, std::iter::once(SKETCHED.map(String::from).to_vec()).chain(lines).collect());
    if sketched.first_apart.is_some() {
        let _ = writeln!(text, "{}", sketched_error(sketched));
    }
}

/// A line per sample that parts.
fn worst(text: &mut String, explanation: &Explanation) {
    let heading =
        ["SAMPLE", "SITE", "ANSWER", "MARGIN", "ANSWER dB", "FIRST LAYER BELOW", "LAYER dB"].map(String::from);
    let line = |one: &SampleSeen| {
        [
            one.sample.to_string(),
            one.site.clone(),
            one.answers.map_or_else(dash, |[was, is]| format!("{was} -> {is}")),
            one.margin.map_or_else(dash, |margin| format!("{margin:.3}")),
            decibel(Some(one.answer)),
            one.first_broken.and_then(|row| explanation.rows.get(row)).map_or_else(dash, |row| row.tensor.clone()),
            decibel(one.layer),
        ]
        .to_vec()
    };
    let lines = explanation.worst.iter().map(line);
    aligned(text, std::iter::once(heading.to_vec()).chain(lines).collect());
}

fn aligned(text: &mut String, lines: Vec<Vec<String>>) {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn dash() -> String {
    "-".into()
}

/// The same of a number.
pub fn number(db: Option<f64>) -> String {
    db.map_or_else(|| "exact".into(), |db| format!("{db:.1}"))
}

/// A ratio in dB, without its unit.
pub fn decibel(seen: Option<Seen>) -> String {
    match seen {
        None => dash(),
        Some(seen) if seen.non_finite > 0 => format!("{} NaN", seen.non_finite),
        Some(seen) => number(seen.sqnr_db),
    }
}

/// A share of all elements.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(dash, |share| format!("{:.1} %", share * 100.0))
}
