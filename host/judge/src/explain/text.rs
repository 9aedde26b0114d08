//! An explanation as text: what explains the drift, then a line per layer.

use super::sides::{Row, Seen};
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
    causes(&mut text, explanation);
    if !explanation.rows.is_empty() {
        text.push('\n');
        table(&mut text, explanation);
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

fn verdict(explanation: &Explanation, at: usize, site: &SiteSummary) -> String {
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
            one.first_broken.map_or_else(dash, |row| explanation.rows[row].tensor.clone()),
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

fn number(db: Option<f64>) -> String {
    db.map_or_else(|| "exact".into(), |db| format!("{db:.1}"))
}

fn decibel(seen: Option<Seen>) -> String {
    match seen {
        None => dash(),
        Some(seen) if seen.non_finite > 0 => format!("{} NaN", seen.non_finite),
        Some(seen) => number(seen.sqnr_db),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(dash, |share| format!("{:.1} %", share * 100.0))
}
