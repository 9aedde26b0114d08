//! JUnit for a CI system's test view: one test case per judged cell. A broken rule is a failure; what was not measured is an error,
//! because it says nothing about the model.

use super::amount;
use super::summary::{CellSummary, Summary};
use boardproof_record::verdict::Verdict;
use std::fmt::Write;

/// Renders one `testsuites` document.
pub fn render(summary: &Summary, inconclusive_blocks: bool) -> String {
    let cases: Vec<String> = summary.cells.iter().map(|c| case(c, inconclusive_blocks)).collect();
    let count = |v| summary.cells.iter().filter(|c| c.verdict == v).count();
    let undecided = count(Verdict::Inconclusive);
    let (undecided_errors, skipped) = if inconclusive_blocks { (undecided, 0) } else { (0, undecided) };
    let (tests, failures, errors) =
        (summary.cells.len(), count(Verdict::Fail), count(Verdict::Incomplete) + undecided_errors);
    let seconds = summary.elapsed_ms as f64 / 1000.0;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"boardproof\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n  <testsuite name=\"boardproof {}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">\n{}  </testsuite>\n</testsuites>\n",
        escape(&summary.policy),
        cases.concat()
    )
}

fn case(cell: &CellSummary, inconclusive_blocks: bool) -> String {
    let mut text = format!(
        "    <testcase classname=\"{}.{}\" name=\"{}\">\n      <properties>\n",
        escape(&cell.model),
        escape(&cell.unit),
        escape(&cell.variant)
    );
    let mut property = |name: &str, value: &str| {
        let _ = writeln!(text, "        <property name=\"{}\" value=\"{}\"/>", escape(name), escape(value));
    };
    property("verdict", &format!("{:?}", cell.verdict).to_lowercase());
    property("emulated", &cell.emulated.to_string());
    for rule in &cell.rules {
        let name = rule.slice.as_ref().map_or_else(|| rule.rule.to_string(), |s| format!("{}[{s}]", rule.rule));
        property(&name, &rule.observed.map_or_else(|| "none".into(), |v| amount(v, &rule.unit)));
    }
    text += "      </properties>\n";
    let reason = escape(&cell.reason);
    match cell.verdict {
        Verdict::Pass => {}
        Verdict::Fail => {
            let _ = writeln!(
                text,
                "      <failure type=\"fail\" message=\"{reason}\">{}</failure>",
                escape(&details(cell))
            );
        }
        Verdict::Incomplete => {
            let _ = writeln!(
                text,
                "      <error type=\"incomplete\" message=\"{reason}\">{}</error>",
                escape(&fault(cell))
            );
        }
        Verdict::Inconclusive if inconclusive_blocks => {
            let _ = writeln!(
                text,
                "      <error type=\"inconclusive\" message=\"{reason}\">{}</error>",
                escape(&details(cell))
            );
        }
        Verdict::Inconclusive => {
            let _ = writeln!(text, "      <skipped message=\"{reason}\"/>");
        }
    }
    let _ = writeln!(text, "      <system-out>{}</system-out>\n    </testcase>", escape(&details(cell)));
    text
}

fn details(cell: &CellSummary) -> String {
    let line = |r: &boardproof_record::verdict::RuleResult| {
        let slice = r.slice.as_ref().map_or_else(String::new, |s| format!(" [{s}]"));
        format!("{}{slice}: {:?}: {}", r.rule, r.verdict, r.detail)
    };
    let notes = cell.notes.iter().map(|note| format!("note: {note}"));
    cell.rules.iter().map(line).chain(notes).chain(cell.restarted()).collect::<Vec<_>>().join("\n")
}

fn fault(cell: &CellSummary) -> String {
    let Some(fault) = &cell.fault else { return cell.reason.clone() };
    [fault.causes.join("\n"), fault.hints.join("\n"), fault.console.join("\n")].join("\n")
}

/// XML 1.0 has no way to write most control characters: consoles are full of them, so they become a visible mark.
fn escape(text: &str) -> String {
    let legal =
        |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if legal(c) => safe.push(c),
            _ => safe.push('\u{fffd}'),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_and_nul_of_a_serial_console_stay_out_of_the_document() {
        assert_eq!(super::escape("a\u{1b}[0m\u{0}<b>&\"\u{ffff}"), "a\u{fffd}[0m\u{fffd}&lt;b&gt;&amp;&quot;\u{fffd}");
    }
}
