//! `compare`: what differs between two records, cell by cell. Shows, does not judge.

use crate::args::CompareArgs;
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::{put, put_line};
use crate::table::Table;
use anyhow::Result;
use boardproof_judge::evidence::Evidence;
use boardproof_judge::report::amount;
use boardproof_judge::report::summary::{CellSummary, Summary, measured};
use boardproof_lab::store::open;
use boardproof_record::{CellId, Digest, ModelName};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// One number of a cell before and after.
pub struct Row {
    pub cell: String,
    pub what: &'static str,
    pub before: Option<f64>,
    pub after: Option<f64>,
    pub unit: &'static str,
}

/// What was measured in a record, and on which evalset each cell.
pub struct Seen {
    started_unix_s: u64,
    summary: Summary,
    evalsets: BTreeMap<CellId, Digest>,
}

impl Seen {
    /// The numbers stand whatever a policy says about them: a record whose rules want a baseline has them too.
    pub fn read(record: &Path) -> Result<Self> {
        let opened = open(record)?;
        let plan = &opened.record.plan;
        let evalset = |model: &ModelName| plan.models.get(model).map(|m| m.evalset.digest);
        let evalsets = plan.cells.iter().filter_map(|c| Some((c.id.clone(), evalset(&c.model)?))).collect();
        let summary = measured(Evidence { record: &opened.record, files: &opened.files })?;
        Ok(Self { started_unix_s: opened.record.started_unix_s, summary, evalsets })
    }

    /// When the run started, seconds since 1970.
    pub fn started_unix_s(&self) -> u64 {
        self.started_unix_s
    }

    /// Its cells.
    pub fn cells(&self) -> &[CellSummary] {
        &self.summary.cells
    }

    /// One of them.
    pub fn cell(&self, id: &CellId) -> Option<&CellSummary> {
        self.summary.cells.iter().find(|c| c.cell == *id)
    }

    /// What a number of this cell depends on besides the model, by name.
    fn circumstances(&self, cell: &CellSummary) -> [(&'static str, String); 8] {
        let device = cell.device.as_ref();
        let short = |digest: Option<Digest>| digest.map(|d| d.short()).unwrap_or_default();
        let text = |key: &str| cell.environment.texts.get(key).cloned().unwrap_or_default();
        let agent = device.map(|d| format!("{} {}", d.agent_build, short(d.agent_digest)).trim().to_owned());
        [
            ("target", cell.target.clone()),
            ("identity", device.map(|d| d.identity.clone()).unwrap_or_default()),
            ("processor", text("cpu_model")),
            ("agent", agent.unwrap_or_default()),
            ("runner", short(device.and_then(|d| d.runner_digest))),
            ("governor", text("governor")),
            ("number of samples", cell.samples.to_string()),
            ("evalset", short(self.evalsets.get(&cell.cell).copied())),
        ]
    }
}

/// Compares two records.
pub fn compare(args: &CompareArgs) -> Result<Exit> {
    let (before, after) = (Seen::read(&args.before)?, Seen::read(&args.after)?);
    let rows: Vec<Row> = after.summary.cells.iter().flat_map(|cell| rows(before.cell(&cell.cell), cell)).collect();
    let gone: Vec<&CellSummary> = before.summary.cells.iter().filter(|c| after.cell(&c.cell).is_none()).collect();
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
        let of = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| amount(v, r.unit));
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

/// The numbers of a cell that are shown, always the same ones in the same order.
pub fn rows(before: Option<&CellSummary>, after: &CellSummary) -> Vec<Row> {
    let pick = |what, get: fn(&CellSummary) -> Option<f64>, unit| Row {
        cell: after.cell.to_string(),
        what,
        before: before.and_then(get),
        after: get(after),
        unit,
    };
    let task = |c: &CellSummary| c.task.first().and_then(|row| row.candidate);
    let sqnr = |c: &CellSummary| c.drift.and_then(|d| d.total_db);
    let p50 = |c: &CellSummary| c.latency.as_ref().map(|l| l.quantiles[0].value_ns);
    let p99 = |c: &CellSummary| c.latency.as_ref().map(|l| l.quantiles[2].value_ns);
    let peak = |c: &CellSummary| c.memory.iter().find(|(name, _)| name == "peak").map(|(_, v)| *v);
    vec![
        pick("task metric", task, if after.task_unit == "share" { "share" } else { "" }),
        pick("SQNR", sqnr, "dB"),
        pick("latency p50", p50, "ns"),
        pick("latency p99", p99, "ns"),
        pick("peak memory", peak, "bytes"),
        pick("model file", |c| Some(c.model_bytes as f64), "bytes"),
    ]
}

/// What makes the two not quite comparable: another unit, processor, agent, runner, governor, evalset or part of it.
/// What their cells depend on and is not the same in both.
pub fn unlike(before: &Seen, after: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    for cell in &after.summary.cells {
        let Some(earlier) = before.cell(&cell.cell) else { continue };
        for ((what, b), (_, a)) in before.circumstances(earlier).into_iter().zip(after.circumstances(cell)) {
            if a != b {
                lines.push(format!("{}: {what} was '{b}', is '{a}'", cell.cell));
            }
        }
    }
    lines
}
