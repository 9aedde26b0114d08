//! The same variant on the same unit by several engines, side by side.

use super::summary::CellSummary;
use super::text::word;
use super::{amount, bytes, duration_ns, middle};

/// Column headings; the first two are names, the rest are figures.
pub(super) const HEADING: [&str; 9] = [
    "model, variant, unit",
    "engine",
    "verdict",
    "SQNR",
    "p50",
    "p99",
    "peak memory",
    "integer arithmetic",
    "engine's version",
];

/// A line for each cell that has others beside it, engines of one variant together.
pub(super) fn rows(cells: &[CellSummary]) -> Vec<[String; 9]> {
    let mut beside: Vec<&CellSummary> = cells.iter().filter(|cell| cell.by_many).collect();
    beside.sort_by(|a, b| key(a).cmp(&key(b)));
    beside.into_iter().map(row).collect()
}

fn key(cell: &CellSummary) -> (&str, &str, &str) {
    (&cell.model, &cell.variant, &cell.unit)
}

fn row(cell: &CellSummary) -> [String; 9] {
    let none = || "-".to_owned();
    let peak = cell.memory.iter().find(|(name, _)| name == "peak");
    let p99 = cell.latency.as_ref().and_then(|latency| latency.quantiles.iter().find(|q| q.p == 0.99));
    [
        format!("{} {} on {}", cell.model, cell.variant, cell.unit),
        cell.engine.clone(),
        word(cell.verdict).to_owned(),
        cell.drift.and_then(|drift| drift.total_db).map_or_else(none, |db| amount(db, "dB")),
        middle(cell),
        p99.map_or_else(none, |q| duration_ns(q.value_ns)),
        peak.map_or_else(none, |(_, value)| bytes(*value)),
        cell.integer_ops_share.map_or_else(none, |share| amount(share, "share")),
        cell.engine_said.clone().unwrap_or_else(none),
    ]
}
