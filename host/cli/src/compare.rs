//! `compare`: what differs between two records, cell by cell. Shows, does not judge.

use crate::args::CompareArgs;
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::{put, put_line};
use crate::table::Table;
use anyhow::Result;
use boardproof_judge::evidence::Evidence;
use boardproof_judge::gate::judge;
use boardproof_judge::report::summary::{CellSummary, Summary, summarize};
use boardproof_judge::report::{amount, bytes, duration_ns};
use boardproof_lab::store::open;
use serde_json::json;
use std::path::Path;

/// One number of a cell before and after.
struct Row {
    cell: String,
    what: &'static str,
    before: Option<f64>,
    after: Option<f64>,
    show: fn(f64) -> String,
}

/// Compares two records.
pub fn compare(args: &CompareArgs) -> Result<Exit> {
    let (before, after) = (summary(&args.before)?, summary(&args.after)?);
    let rows: Vec<Row> =
        after.cells.iter().flat_map(|cell| rows(before.cells.iter().find(|c| c.cell == cell.cell), cell)).collect();
    let gone: Vec<&CellSummary> =
        before.cells.iter().filter(|c| !after.cells.iter().any(|a| a.cell == c.cell)).collect();
    let unlike = unlike(&before, &after);
    if args.json {
        let row = |r: &Row| json!({ "cell": r.cell, "metric": r.what, "before": r.before, "after": r.after });
        let gone: Vec<_> = gone.iter().map(|c| c.cell.to_string()).collect();
        print_json(
            &json!({ "rows": rows.iter().map(row).collect::<Vec<_>>(), "only_before": gone, "unlike": unlike }),
        )?;
        return Ok(Exit::Pass);
    }
    let mut table = Table::new(&["CELL", "METRIC", "BEFORE", "AFTER", "CHANGE"]);
    for r in &rows {
        let of = |v: Option<f64>| v.map_or_else(|| "-".into(), r.show);
        let change = match (r.before, r.after) {
            (Some(b), Some(a)) if b != 0.0 && b.is_finite() && a.is_finite() => {
                format!("{:+.1} %", (a / b - 1.0) * 100.0)
            }
            _ => "-".into(),
        };
        table.row(&[&r.cell, r.what, &of(r.before), &of(r.after), &change]);
    }
    put(table);
    gone.iter().for_each(|c| put_line(format_args!("{}: only in the first record", c.cell)));
    unlike.iter().for_each(|line| put_line(format_args!("unlike: {line}")));
    Ok(Exit::Pass)
}

fn summary(record: &Path) -> Result<Summary> {
    let opened = open(record)?;
    let evidence = Evidence { record: &opened.record, files: &opened.files };
    let judgement = judge(evidence, &opened.record.plan.policy, None)?;
    Ok(summarize(evidence, &judgement)?)
}

fn rows(before: Option<&CellSummary>, after: &CellSummary) -> Vec<Row> {
    let pick = |what, get: fn(&CellSummary) -> Option<f64>, show| Row {
        cell: after.cell.to_string(),
        what,
        before: before.and_then(get),
        after: get(after),
        show,
    };
    let task = |c: &CellSummary| c.task.first().and_then(|row| row.candidate);
    let sqnr = |c: &CellSummary| c.drift.and_then(|d| d.total_db);
    let p50 = |c: &CellSummary| c.latency.as_ref().map(|l| l.quantiles[0].value_ns);
    let p99 = |c: &CellSummary| c.latency.as_ref().map(|l| l.quantiles[2].value_ns);
    let peak = |c: &CellSummary| c.memory.iter().find(|(name, _)| name == "peak").map(|(_, v)| *v);
    vec![
        pick("task metric", task, |v| amount(v, "share")),
        pick("SQNR", sqnr, |v| amount(v, "dB")),
        pick("latency p50", p50, duration_ns),
        pick("latency p99", p99, duration_ns),
        pick("peak memory", peak, bytes),
        pick("model file", |c| Some(c.model_bytes as f64), bytes),
    ]
}

/// What makes the two not quite comparable: another agent, runner, unit or governor.
fn unlike(before: &Summary, after: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    for cell in &after.cells {
        let Some(earlier) = before.cells.iter().find(|c| c.cell == cell.cell) else { continue };
        let of = |c: &CellSummary| {
            let device = c.device.as_ref();
            let governor = c.environment.texts.get("governor").cloned().unwrap_or_default();
            let runner = device.and_then(|d| d.runner_digest).map(|d| d.short()).unwrap_or_default();
            [
                ("identity", device.map(|d| d.identity.clone()).unwrap_or_default()),
                ("runner", runner),
                ("governor", governor),
            ]
        };
        for ((what, b), (_, a)) in of(earlier).into_iter().zip(of(cell)) {
            if a != b {
                lines.push(format!("{}: {what} was '{b}', is '{a}'", cell.cell));
            }
        }
    }
    lines
}
