//! A figure: what was promised, what was measured, and whether the one holds for the other. Owns the table of them.

use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::path::Path;

/// A promise against a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    what: String,
    wanted: String,
    measured: String,
    /// `None` where nothing was promised.
    reached: Option<bool>,
    how: String,
}

impl Figure {
    /// A number that may be at most `limit`. NaN is at most nothing.
    pub fn at_most(what: impl Into<String>, value: f64, limit: f64, unit: &str, measured: impl Into<String>) -> Self {
        let wanted = format!("at most {}", with_unit(limit, unit));
        Self { what: what.into(), wanted, measured: measured.into(), reached: Some(value <= limit), how: String::new() }
    }

    /// A number that must be at least `limit`.
    pub fn at_least(what: impl Into<String>, value: f64, limit: f64, unit: &str, measured: impl Into<String>) -> Self {
        let wanted = format!("at least {}", with_unit(limit, unit));
        Self { what: what.into(), wanted, measured: measured.into(), reached: Some(value >= limit), how: String::new() }
    }

    /// A number that nobody promised.
    pub fn shown(what: impl Into<String>, measured: impl Into<String>) -> Self {
        let (wanted, how) = (String::new(), String::new());
        Self { what: what.into(), wanted, measured: measured.into(), reached: None, how }
    }

    /// What could not be measured was not reached.
    pub fn not_measured(what: &str, error: &anyhow::Error) -> Self {
        let measured = format!("not measured: {error:#}").replace('\n', " ");
        Self { what: what.into(), wanted: String::new(), measured, reached: Some(false), how: String::new() }
    }

    /// The command that measures it.
    fn by(mut self, how: &str) -> Self {
        self.how = how.to_owned();
        self
    }

    fn word(&self) -> &'static str {
        match self.reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        }
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { format!("{value}") } else { format!("{value} {unit}") }
}

/// The figures of one command each get its name.
pub fn all_by(figures: Vec<Figure>, name: &str) -> Vec<Figure> {
    figures.into_iter().map(|figure| figure.by(&format!("`cargo xtask bench {name}`"))).collect()
}

/// As Markdown: it is read on a terminal too.
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| what | wanted | measured | | how |\n|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let Figure { what, wanted, measured, how, .. } = figure;
        let cells = [what, wanted, measured, figure.word(), how].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// Fails when one was missed, naming it.
pub fn verdict(figures: &[Figure]) -> Result<()> {
    let missed: Vec<_> = figures.iter().filter(|f| f.reached == Some(false)).map(|f| f.what.as_str()).collect();
    if missed.is_empty() { Ok(()) } else { bail!("missed: {}", missed.join("; ")) }
}

/// A table of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What depends on the machine that measures.
    Machine,
    /// What does not: the firmware's.
    Firmware,
    /// Error rates and coverage, of a document of their own.
    Honesty,
}

impl Section {
    /// Lines of the document between which the table stands.
    fn marks(self) -> [&'static str; 2] {
        let begin = match self {
            Self::Machine => "<!-- made by `cargo xtask bench --write` -->\n",
            Self::Firmware => "<!-- made by `cargo xtask bench firmware --write` -->\n",
            Self::Honesty => "<!-- made by `cargo xtask bench honesty --write` -->\n",
        };
        [begin, "<!-- end -->\n"]
    }
}

/// Puts the table and what stands above it into the document, in the place of the one before.
pub fn write(document: &Path, section: Section, figures: &[Figure], head: &str) -> Result<()> {
    put(document, section, &format!("{head}\n\n{}", table(figures)))
}

/// Puts a text into the document, in the place of the one before.
pub fn put(document: &Path, section: Section, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(document).with_context(|| format!("could not read {}", document.display()))?;
    let new = replaced(&text, section, table)?;
    std::fs::write(document, new).with_context(|| format!("could not write {}", document.display()))
}

fn replaced(text: &str, section: Section, table: &str) -> Result<String> {
    let [begin, end] = section.marks();
    let parts = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let Some((before, after)) = parts else { bail!("the document lacks the lines {begin:?} and {end:?}") };
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_shown_as_a_miss_and_so_is_what_was_not_measured() {
        let figures = [
            Figure::at_most("a", 1.0, 1.0, "s", "1 s"),
            Figure::at_most("b", f64::NAN, 1.0, "", "NaN"),
            Figure::at_least("c", 0.9, 1.0, "GB/s", "0.9"),
            Figure::shown("d", "5"),
            Figure::not_measured("e", &anyhow::anyhow!("no board")),
        ];
        let text = table(&figures);
        assert_eq!(text.matches("**missed**").count(), 3, "{text}");
        assert!(text.contains("| a | at most 1 s | 1 s | reached |  |"), "{text}");
        assert_eq!(verdict(&figures).unwrap_err().to_string(), "missed: b; c; e");
        assert!(verdict(&figures[..1]).is_ok());
    }

    #[test]
    fn the_table_replaces_the_one_before_and_nothing_else() {
        let [begin, end] = Section::Machine.marks();
        let [second, _] = Section::Firmware.marks();
        let text = |one: &str, two: &str| format!("head\n{begin}{one}\n{end}between\n{second}{two}\n{end}tail\n");
        assert_eq!(replaced(&text("old", "old"), Section::Machine, "new\n").unwrap(), text("new", "old"));
        assert_eq!(replaced(&text("old", "old"), Section::Firmware, "new\n").unwrap(), text("old", "new"));
        assert!(replaced("head\n", Section::Machine, "new\n").is_err());
    }
}
