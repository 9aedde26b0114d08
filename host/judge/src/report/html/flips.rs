//! The samples whose answer flipped, with the samples themselves where the record has kept them.

use super::layers::Followed;
use super::{escape, sample};
use crate::flips::Flip;
use crate::report::summary::CellSummary;
use boardproof_record::plan::Shows;
use std::fmt::Write;

/// Samples that a page tells of each cell.
const SHOWN: usize = 24;

/// The section of a cell; nothing where nothing was compared.
pub fn section(cell: &CellSummary) -> String {
    let Some(flips) = &cell.flips else { return String::new() };
    if flips.count() == 0 {
        return format!("<p class=\"soft\">No answer of {} is another than the reference's.</p>\n", flips.samples);
    }
    let drawn: Vec<Option<String>> =
        flips.told.iter().take(SHOWN).map(|flip| sample::draw(&cell.shown, flip.sample)).collect();
    // A row of a table is too wide for a column: it stands below.
    let below = cell.shown.what == Some(Shows::Row);
    let pictures = !below && drawn.iter().any(Option::is_some);
    let input = if pictures { "<th>input</th>" } else { "" };
    let followed = Followed::of(cell);
    let layer = if followed.is_some() { "<th>first layer below</th>" } else { "" };
    let on = followed.as_ref().map_or_else(String::new, |followed| {
        format!(" The first layer below the budget is that of the sample itself, on {}.", escape(followed.site))
    });
    let layer_of = |sample: u64| {
        let followed = followed.as_ref();
        followed.map_or_else(String::new, |followed| format!("<td class=\"layer\">{}</td>", followed.sample(sample)))
    };
    let columns = 9 + usize::from(pictures) + usize::from(!layer.is_empty());
    let mut text = format!(
        "<details open><summary>Which samples: {}</summary>\n<p class=\"soft\">The surest of the reference first.{on}</p>\n<div class=\"scroll\"><table>\n<tr>{input}<th class=\"n\">sample</th><th>label</th><th>reference</th><th class=\"n\">margin</th><th>second</th><th>here</th><th class=\"n\">margin</th><th></th>{layer}<th>slices</th></tr>\n",
        escape(&flips.sentence())
    );
    for (flip, drawn) in flips.told.iter().zip(drawn) {
        match drawn {
            Some(sample) if below => {
                text += &row(flip, "", &layer_of(flip.sample));
                let _ = writeln!(text, "<tr><td colspan=\"{columns}\">{sample}</td></tr>");
            }
            drawn if pictures => {
                let input = format!("<td>{}</td>", drawn.unwrap_or_default());
                text += &row(flip, &input, &layer_of(flip.sample));
            }
            _ => text += &row(flip, "", &layer_of(flip.sample)),
        }
    }
    let left = flips.count().saturating_sub(flips.told.len().min(SHOWN) as u64);
    if left > 0 {
        let _ = writeln!(text, "<tr><td class=\"soft\" colspan=\"{columns}\">and {left} more</td></tr>");
    }
    text + "</table></div></details>\n"
}

fn row(flip: &Flip, input: &str, layer: &str) -> String {
    let margin = |margin: Option<f64>| margin.map_or_else(|| "-".into(), |margin| format!("{margin:.4}"));
    let id = flip.id.map_or_else(String::new, |id| format!(" <span class=\"soft\">id {id}</span>"));
    let slices: Vec<String> = flip.slices.iter().map(|(column, value)| format!("{column}={value}")).collect();
    format!(
        "<tr>{input}<td class=\"n\">{}{id}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td>{layer}<td>{}</td></tr>\n",
        flip.sample,
        escape(&flip.label),
        escape(&flip.reference),
        margin(flip.margin),
        escape(flip.second.as_deref().unwrap_or("-")),
        escape(&flip.candidate),
        margin(flip.candidate_margin),
        flip.turn.word(),
        escape(&slices.join(", "))
    )
}
