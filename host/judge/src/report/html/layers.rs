//! Where a cell parts from its reference, layer by layer, as `explain` has measured it; or how to have that measured.

use super::plot::{self, Layers};
use super::{escape, figure};
use crate::explain::text::{
    SKETCHED, decibel, number, percent, sketched_error, sketched_in_words, sketched_line, verdict,
};
use crate::explain::{Explanation, Row, SampleSeen, Seen, Sketched};
use crate::report::summary::CellSummary;
use boardproof_record::verdict::Verdict;
use std::fmt::Write;

/// The section of a cell; nothing where nothing was explained and nothing is to be.
pub fn section(cell: &CellSummary) -> String {
    let Some(explanation) = &cell.explanation else { return how(cell) };
    let Explanation { samples, budget_db, .. } = explanation;
    let mut text = format!(
        "<h3>Where it parts from the reference</h3>\n<p class=\"soft\">Layer by layer, on {samples} samples of the evalset; budget {budget_db:.1} dB.</p>\n<ul>\n"
    );
    for (at, site) in explanation.sites.iter().enumerate() {
        let _ = writeln!(text, "<li>{}</li>", escape(&verdict(explanation, at, site)));
    }
    if let Some(bisected) = &explanation.bisected {
        let _ = writeln!(text, "<li>{}</li>", escape(&bisected.sentence()));
    }
    text += &causes(explanation);
    text += "</ul>\n";
    text += &plots(explanation);
    text += &table(explanation);
    explanation.sketched.iter().for_each(|one| text += &sketched(one));
    // Where answers are classes, the samples are told with what flipped.
    if cell.flips.is_none() {
        text += &worst(explanation);
    }
    for note in &explanation.notes {
        let _ = writeln!(text, "<p class=\"soft\">Note: {}.</p>", escape(note));
    }
    text
}

/// What tells it, for a cell that fails and has answers.
fn how(cell: &CellSummary) -> String {
    if cell.verdict != Verdict::Fail || cell.drift.is_none() {
        return String::new();
    }
    let command = format!("boardproof explain RECORD {}", cell.cell);
    format!(
        "<p class=\"soft\">Where it parts from the reference, layer by layer, nobody has measured yet: <code>{}</code> does, and the next report of this record tells it.</p>\n",
        escape(&command)
    )
}

fn causes(explanation: &Explanation) -> String {
    let mut text = String::new();
    for cause in &explanation.causes {
        let more = if cause.more > 0 { format!(" (and {} more)", cause.more) } else { String::new() };
        let (label, evidence) = (escape(cause.label.words()), escape(&cause.evidence));
        let _ = writeln!(text, "<li>Cause: <b>{label}</b>: {evidence}{more}</li>");
    }
    if explanation.causes.is_empty() && explanation.sites.iter().any(|site| site.answers.is_some()) {
        text += "<li>Cause: none, there is no drift to speak of</li>\n";
    }
    text
}

/// A plot per site whose layers were seen.
fn plots(explanation: &Explanation) -> String {
    let mut plots = String::new();
    for (at, site) in explanation.sites.iter().enumerate() {
        let side = |row: &Row| row.sides.get(at).copied().unwrap_or_default();
        let point = |seen: Option<Seen>| seen.map(height);
        let seen = explanation.rows.iter().filter(|row| side(row).accumulated.is_some()).count();
        // The answers alone are no course of layers.
        if seen < 2 {
            continue;
        }
        let layers = Layers {
            names: explanation.rows.iter().map(|row| row.tensor.as_str()).collect(),
            accumulated: explanation.rows.iter().map(|row| point(side(row).accumulated)).collect(),
            alone: explanation.rows.iter().map(|row| point(side(row).alone)).collect(),
            budget_db: explanation.budget_db,
            first_below: site.first_broken,
        };
        let svg = plot::layers(&format!("SQNR of each layer on {}", site.name), &layers);
        let caption = format!(
            "{}: each layer against the reference's, higher is better. At the top edge it is exact; at the bottom it is no number.",
            escape(&site.name)
        );
        plots += &figure(&svg, &caption);
    }
    if plots.is_empty() { plots } else { format!("<div class=\"plots courses\">\n{plots}</div>\n") }
}

/// Height of a layer in a plot: infinite where it is exact, and as deep where it is no number.
fn height(seen: Seen) -> f64 {
    if seen.non_finite > 0 { f64::NEG_INFINITY } else { seen.sqnr_db.unwrap_or(f64::INFINITY) }
}

fn table(explanation: &Explanation) -> String {
    if explanation.rows.is_empty() {
        return String::new();
    }
    let apart = explanation.sites.len() > 1;
    let mut text = format!(
        "<details><summary>Layers: {}</summary><p class=\"soft\">Accumulated: behind the variant's own layers. Alone: behind the reference's. What the columns say is in docs/explain.md.</p><div class=\"scroll\"><table>\n<tr><th class=\"n\">#</th><th>layer</th><th>operator</th>",
        explanation.rows.len()
    );
    for site in &explanation.sites {
        let name = escape(&site.name);
        let _ =
            write!(text, "<th class=\"n\">{name}, dB</th><th class=\"n\">alone, dB</th><th class=\"n\">at ends</th>");
    }
    text += "<th class=\"n\">clipped, dB</th><th class=\"n\">rounded, dB</th>";
    text += if apart { "<th class=\"n\">steps apart</th></tr>\n" } else { "</tr>\n" };
    for (at, row) in explanation.rows.iter().enumerate() {
        text += &line(explanation, at, row, apart);
    }
    text + "</table></div></details>\n"
}

fn line(explanation: &Explanation, at: usize, row: &Row, apart: bool) -> String {
    let first: Vec<String> = explanation
        .sites
        .iter()
        .filter(|site| site.first_broken == Some(at))
        .map(|site| format!(" <b class=\"fail\">first below on {}</b>", escape(&site.name)))
        .collect();
    let mut text = format!(
        "<tr><td class=\"n\">{}</td><td class=\"layer\"><code>{}</code>{}</td><td>{}</td>",
        at + 1,
        escape(&row.tensor),
        first.concat(),
        escape(&row.operator)
    );
    let mut cell = |value: String| {
        let _ = write!(text, "<td class=\"n\">{value}</td>");
    };
    for at in 0..explanation.sites.len() {
        let side = row.sides.get(at).copied().unwrap_or_default();
        cell(decibel(side.accumulated));
        cell(decibel(side.alone));
        cell(percent(side.at_ends_share));
    }
    cell(row.fit.map_or_else(dash, |fit| number(fit.clipping_db)));
    cell(row.fit.map_or_else(dash, |fit| number(fit.rounding_db)));
    if apart {
        let steps = row.between_sites.and_then(|apart| apart.alone.or(apart.accumulated)).and_then(|d| d.steps);
        cell(steps.map_or_else(dash, |steps| format!("{:.0}", steps.max)));
    }
    text + "</tr>\n"
}

/// The layers of a device that sends sketches of them.
fn sketched(sketched: &Sketched) -> String {
    let line = |tag: &str, cells: &[String; 8]| {
        let cell = |(at, cell): (usize, &String)| {
            let class = if (1..=2).contains(&at) { "" } else { " class=\"n\"" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        };
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let heading =
        line("th", &SKETCHED.map(str::to_lowercase).map(|name| name.replace("db", "dB").replace(" l2", " L2")));
    let rows: String =
        sketched.layers.iter().enumerate().map(|(at, layer)| line("td", &sketched_line(at, layer))).collect();
    let error = if sketched.first_apart.is_some() { escape(&sketched_error(sketched)) } else { String::new() };
    format!(
        "<details><summary>{}</summary><p class=\"soft\">{error}</p><div class=\"scroll\"><table>\n{heading}{rows}</table></div></details>\n",
        escape(&sketched_in_words(sketched))
    )
}

/// The samples that are furthest away, of a model whose answers are no classes.
fn worst(explanation: &Explanation) -> String {
    if explanation.worst.is_empty() {
        return String::new();
    }
    let mut text = "<details><summary>Samples that are furthest from the reference</summary><div class=\"scroll\"><table>\n<tr><th class=\"n\">sample</th><th>on</th><th class=\"n\">answer, dB</th><th>first layer below the budget</th></tr>\n".to_owned();
    for one in &explanation.worst {
        let _ = writeln!(
            text,
            "<tr><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            one.sample,
            escape(&one.site),
            decibel(Some(one.answer)),
            layer(explanation, one)
        );
    }
    text + "</table></div></details>\n"
}

/// The layers of the flipped samples of one cell.
pub struct Followed<'e> {
    explanation: &'e Explanation,
    /// Where the layers were seen.
    pub site: &'e str,
}

impl<'e> Followed<'e> {
    /// Those of the cell's own unit and engine, else those of the first site that shows its layers: a microcontroller shows none.
    pub fn of(cell: &'e CellSummary) -> Option<Self> {
        let explanation = cell.explanation.as_ref()?;
        let own = format!("{}/{}", cell.unit, cell.engine);
        let is_own = |one: &&SampleSeen| one.site == own;
        let seen = explanation.flipped.iter().find(is_own).or(explanation.flipped.first())?;
        Some(Self { explanation, site: &seen.site })
    }

    /// The first layer at which a sample is below the budget, in words.
    pub fn sample(&self, number: u64) -> String {
        let of = |one: &&SampleSeen| one.sample as u64 == number && one.site == self.site;
        match self.explanation.flipped.iter().find(of) {
            Some(one) => layer(self.explanation, one),
            None => "not explained".into(),
        }
    }
}

fn layer(explanation: &Explanation, one: &SampleSeen) -> String {
    match one.first_broken.and_then(|at| Some((at, explanation.rows.get(at)?))) {
        Some((at, row)) => {
            format!("{} <code>{}</code> {} dB", at + 1, escape(&row.tensor), decibel(one.layer))
        }
        None => "none".into(),
    }
}

fn dash() -> String {
    "-".into()
}
