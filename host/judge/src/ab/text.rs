//! An A/B judgement for people.

use super::blocks::{BlockFacts, middle};
use super::{AbJudgement, Stopped};
use crate::compare::paired_blocks::Orders;
use crate::report::amount;
use boardproof_record::ab::Side;
use boardproof_record::verdict::Verdict;
use std::fmt::{self, Write as _};

impl fmt::Display for AbJudgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.sides())?;
        if let Some(line) = self.ratio() {
            writeln!(f, "{line}")?;
        }
        if let Some(orders) = &self.orders {
            writeln!(f, "{}", by_order(orders))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "fault: {fault}"))?;
        writeln!(f, "{}", self.outcome())
    }
}

/// A ratio as people say it: how much longer.
fn percent(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    // No "-0.0".
    format!("{:+.1} %", if percent.abs() < 0.05 { 0.0 } else { percent })
}

fn by_order(orders: &Orders) -> String {
    let words = |of: &crate::compare::paired_blocks::OfOrder| percent(of.ratio);
    format!("by order: {} where a came first, {} where b did", words(&orders.a_first), words(&orders.b_first))
}

/// The middle of what is there, with the extremes.
fn spread(mut values: Vec<f64>, show: impl Fn(f64) -> String) -> String {
    values.sort_unstable_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(lowest), Some(highest)) => {
            format!("{} ({} to {})", show(middle(&values)), show(*lowest), show(*highest))
        }
        _ => "-".into(),
    }
}

impl AbJudgement {
    /// How it stands after a look; `None` before the first.
    pub fn in_a_line(&self) -> Option<String> {
        let found = self.estimate?;
        let bounds =
            found.lower.zip(found.upper).map(|(lower, upper)| format!(" ({} to {})", percent(lower), percent(upper)));
        let (blocks, ratio) = (found.pairs * 2, percent(found.ratio));
        Some(format!("{blocks} blocks: b takes {ratio}{}", bounds.unwrap_or_default()))
    }

    /// One line per side.
    fn sides(&self) -> String {
        let row = |side: Side| {
            let own = || self.each.iter().take(self.blocks).filter(move |block| block.side == side);
            let all = |of: fn(&BlockFacts) -> Option<f64>| own().filter_map(of).collect::<Vec<_>>();
            let cell = if side == Side::A { &self.a } else { &self.b };
            [
                format!("{side}: {cell}"),
                own().count().to_string(),
                own().map(|block| block.inferences).max().unwrap_or(0).to_string(),
                spread(all(|block| block.median_ns), |ns| amount(ns, "ns")),
                spread(all(|block| block.temperature_c[0]), |c| format!("{c:.0} °C")),
                spread(all(|block| block.load[0]), |load| format!("{load:.1}")),
            ]
        };
        let head = ["SIDE", "BLOCKS", "INFERENCES EACH", "MEDIAN OF A BLOCK", "TEMPERATURE", "LOAD"].map(String::from);
        columns(&[head, row(Side::A), row(Side::B)])
    }

    fn ratio(&self) -> Option<String> {
        let found = self.estimate?;
        let bounds = match found.lower.zip(found.upper) {
            Some((lower, upper)) => format!(
                "between {} and {}, each end with {} over all looks",
                percent(lower),
                percent(upper),
                share(self.terms.confidence)
            ),
            None => "no bounds: too few pairs at this look".into(),
        };
        let mut line = format!(
            "b takes {:.3} times as long as a ({}), {bounds}; limit {}",
            found.ratio,
            percent(found.ratio),
            percent(self.terms.limit)
        );
        if let Some(ratio) = self.resolved_ratio {
            let _ = write!(
                line,
                "\nsmallest slowdown that these blocks would have shown, half of the time: {}",
                percent(ratio)
            );
        }
        Some(line)
    }

    /// The verdict, and why it stopped there.
    fn outcome(&self) -> String {
        let (used, most, limit) = (self.blocks, self.terms.blocks_max, percent(self.terms.limit));
        match (self.stopped, self.verdict) {
            (Stopped::Answered, Verdict::Fail) => {
                format!("FAIL: b is slower than a by more than {limit}, shown after {used} of at most {most} blocks")
            }
            (Stopped::Answered, _) => {
                format!("PASS: b is not slower than a by {limit} or more, shown after {used} of at most {most} blocks")
            }
            (Stopped::BudgetSpent, _) => format!(
                "INCONCLUSIVE: all {most} blocks are spent and cannot tell on which side of {limit} b lies; allow more blocks or \
                 longer ones, or ask for a coarser limit"
            ),
            (Stopped::Fault, _) => "INCOMPLETE: a fault of the measurement, nothing is said about b".to_owned(),
            (Stopped::NotYet, _) => {
                format!("INCOMPLETE: it ended after {} of at most {most} blocks, without an answer", self.each.len())
            }
        }
    }
}

/// A share without zeros at its end.
fn share(value: f64) -> String {
    let digits = format!("{:.3}", value * 100.0);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// Rows of text in columns that align; the last one is not padded.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
