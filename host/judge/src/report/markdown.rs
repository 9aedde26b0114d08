//! Markdown for a CI system's summary page: the worst first, short enough for a limit of one mebibyte.

use super::summary::{CellSummary, Summary};
use super::text::word;
use super::{amount, calibration, date, duration_ns, engines, instructions, middle, throughput};
use boardproof_record::verdict::Verdict;
use std::fmt::Write;

/// What a summary page takes.
const BYTES_MAX: usize = 1024 * 1024;

/// Renders a heading, a table of all cells, and the broken rules of those that did not pass.
pub fn render(summary: &Summary) -> String {
    let mut cells: Vec<&CellSummary> = summary.cells.iter().collect();
    cells.sort_by_key(|c| std::cmp::Reverse(c.verdict));
    let mut text = format!("## boardproof: {}\n\n{}\n\n", word(summary.verdict), escape(&summary.sentence()));
    let _ =
        writeln!(text, "Measured {} by boardproof {}.\n", date(summary.started_unix_s), escape(&summary.boardproof));
    if cells.iter().any(|c| c.emulated && c.latency.is_some()) {
        text += "Timings marked *emulated* are an emulator's and say nothing about hardware.\n\n";
    }
    if cells.iter().any(|c| c.instructions.is_some()) {
        text += "Instructions are counted by an emulator: they are no cycles and no time.\n\n";
    }
    text += "| verdict | model | variant | unit | SQNR | p50 | p99 | why |\n|---|---|---|---|---:|---:|---:|---|\n";
    for cell in &cells {
        let db = cell.drift.and_then(|d| d.total_db).map_or_else(|| "-".into(), |v| amount(v, "dB"));
        let slow = match (&cell.latency, &cell.instructions) {
            (Some(latency), _) => duration_ns(latency.quantiles[2].value_ns),
            (None, Some(counts)) => format!("max {}", instructions(counts.max)),
            (None, None) => "-".into(),
        };
        let mark = if cell.emulated && cell.latency.is_some() { " *emulated*" } else { "" };
        let _ = writeln!(
            text,
            "| **{}** | {} | {} | {} | {db} | {}{mark} | {slow} | {} |",
            word(cell.verdict),
            escape(&cell.model),
            escape(&cell.variant),
            escape(&cell.place()),
            middle(cell),
            escape(&why(cell))
        );
    }
    if let Some(chance) = summary.chance_in_words() {
        let _ = writeln!(text, "\nBy chance: {}.", escape(&chance));
    }
    text += &beside(&summary.cells);
    text += &lines("Throughput, one inference after the other", &summary.cells, |cell| {
        let mark = if cell.emulated { " (emulated)" } else { "" };
        Some(throughput(cell.latency.as_ref()?)? + mark)
    });
    text += &lines("Quantized outputs", &summary.cells, |cell| Some(cell.steps.as_ref()?.sentence()));
    text += &lines("Against the peak of one core", &summary.cells, CellSummary::roof);
    for cell in cells.iter().filter(|c| c.verdict != Verdict::Pass) {
        text += &broken(cell);
    }
    text += &calibrations(&cells);
    if text.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX - 200).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text += "\n\nThe rest did not fit; see the HTML report.\n";
    }
    text
}

fn beside(cells: &[CellSummary]) -> String {
    let rows = engines::rows(cells);
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### Engines side by side\n\n| {} |\n|", engines::HEADING.join(" | "));
    text += &"---|".repeat(engines::HEADING.len());
    for row in rows {
        let _ = write!(text, "\n| {} |", row.map(|cell| escape(&cell)).join(" | "));
    }
    text + "\n"
}

/// A line under a heading for each cell that has something to say; nothing where none has.
fn lines(heading: &str, cells: &[CellSummary], of: impl Fn(&CellSummary) -> Option<String>) -> String {
    let told: Vec<(&CellSummary, String)> = cells.iter().filter_map(|cell| Some((cell, of(cell)?))).collect();
    if told.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### {heading}\n\n");
    told.iter().for_each(|(cell, line)| text += &format!("- {}: {}\n", escape(&cell.title()), escape(line)));
    text
}

/// How sure each cell says it is against how often it is right; the bins behind a fold.
fn calibrations(cells: &[&CellSummary]) -> String {
    let mut text = String::new();
    for cell in cells {
        let Some(found) = &cell.calibration else { continue };
        let title = format!("{}: {}", cell.title(), found.sentence());
        // A summary is HTML, in which Markdown's escapes would be seen.
        let title = super::html::escape(&title);
        let _ = write!(text, "\n<details><summary>{title}</summary>\n\n| {} |\n|", calibration::HEADING.join(" | "));
        text += &"---:|".repeat(calibration::HEADING.len());
        found.rows().iter().for_each(|row| text += &format!("\n| {} |", row.join(" | ")));
        text += "\n\n</details>\n";
    }
    if text.is_empty() { text } else { format!("\n### Calibration\n{text}") }
}

/// The reason, and what a reader must know besides.
fn why(cell: &CellSummary) -> String {
    let notes = cell.notes.iter().map(|note| format!("note: {note}"));
    std::iter::once(cell.reason.clone())
        .chain(cell.flaky())
        .chain(cell.restarted())
        .chain(cell.unproved())
        .chain(notes)
        .collect::<Vec<_>>()
        .join("; ")
}

fn broken(cell: &CellSummary) -> String {
    let mut text = format!("\n### {} {}\n\n", word(cell.verdict), escape(&cell.title()));
    for rule in cell.rules.iter().filter(|r| r.verdict != Verdict::Pass) {
        let slice = rule.slice.as_ref().map_or_else(String::new, |s| format!(" ({})", escape(s)));
        let _ = writeln!(
            text,
            "- **{}**{slice}: {}. Limit from {}",
            rule.rule,
            escape(&rule.detail),
            escape(&rule.limit_reason)
        );
    }
    text += &flips(cell);
    if let Some(fault) = &cell.fault {
        let _ = writeln!(text, "- {}: {}", escape(&fault.action), escape(&fault.causes.join(": ")));
        fault.hints.iter().for_each(|hint| text += &format!("- hint: {}\n", escape(hint)));
    }
    text
}

/// Samples that are told one by one.
const FLIPS_SHOWN: usize = 10;

fn flips(cell: &CellSummary) -> String {
    let Some(flips) = cell.flips.as_ref().filter(|flips| flips.count() > 0) else { return String::new() };
    let mut text =
        format!("\n{}; the first of them, the surest of the reference first:\n\n", escape(&flips.sentence()));
    flips.told.iter().take(FLIPS_SHOWN).for_each(|flip| text += &format!("- {}\n", escape(&super::text::told(flip))));
    text
}

/// Names and texts of others must not become table cells or markup.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => safe.extend(['\\', c]),
            '<' => safe.push_str("&lt;"),
            '\n' | '\r' => safe.push(' '),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
