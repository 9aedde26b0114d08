//! `trend`: does the latest of many records fall out of what came before? Warns, decides nothing: a series of runs moves with everything that
//! moves between runs, and whoever wants to know whether a model got slower measures both in turn.

use crate::args::TrendArgs;
use crate::compare::{Row, Seen, rows, unlike};
use crate::exit::Exit;
use crate::list::print_json;
use crate::out::{put, put_line};
use crate::table::Table;
use anyhow::Result;
use boardproof_judge::compare::history::{Band, HISTORY_MIN, prediction, quartiles};
use boardproof_judge::report::amount;
use serde_json::json;
use std::path::{Path, PathBuf};

/// One-sided confidence of the prediction interval.
const CONFIDENCE: f64 = 0.99;
/// Interquartile ranges on each side of the median.
const RANGES: f64 = 3.0;

/// A number with what came before.
struct Series {
    latest: Row,
    history: Vec<f64>,
}

impl Series {
    fn bands(&self) -> Option<(Band, Band)> {
        Some((prediction(&self.history, CONFIDENCE)?, quartiles(&self.history, RANGES)?))
    }

    /// Which bands it is out of.
    fn warning(&self) -> &'static str {
        let (Some(latest), Some((by_spread, by_quartiles))) = (self.latest.after, self.bands()) else { return "" };
        match (by_spread.excludes(latest), by_quartiles.excludes(latest)) {
            (true, true) => "out of both",
            (true, false) => "out of the prediction interval",
            (false, true) => "out of the quartiles",
            (false, false) => "",
        }
    }
}

/// Holds the last record against the others.
pub fn trend(args: &TrendArgs) -> Result<Exit> {
    let mut seen: Vec<(&PathBuf, Seen)> =
        args.records.iter().map(|path| Ok((path, Seen::read(path)?))).collect::<Result<_>>()?;
    seen.sort_by_key(|(_, seen)| seen.started_unix_s());
    let Some((newest, latest)) = seen.pop() else { return Ok(Exit::Usage) };
    let (alike, left_out): (Vec<_>, Vec<_>) = seen.iter().partition(|(_, earlier)| unlike(earlier, &latest).is_empty());
    let series = series(&alike, &latest);
    let warned = series.iter().filter(|one| !one.warning().is_empty()).count();
    if args.json {
        print_json(&as_json(newest, &series, &left_out, &latest))?;
        return Ok(Exit::Pass);
    }
    let mut table = Table::new(&[
        "CELL",
        "METRIC",
        "RUNS BEFORE",
        "LATEST",
        "PREDICTION INTERVAL",
        "MEDIAN -+ 3 QUARTILE RANGES",
        "WARNING",
    ]);
    for one in &series {
        let show = |value: f64| amount(value, one.latest.unit);
        let band = |band: Option<Band>| {
            // Neither a time nor a size is below nothing, whatever the formula.
            let least = if matches!(one.latest.unit, "ns" | "bytes") { 0.0 } else { f64::NEG_INFINITY };
            band.map_or_else(|| "-".into(), |band| format!("{} to {}", show(band.lower.max(least)), show(band.upper)))
        };
        let bands = one.bands();
        let latest = one.latest.after.map_or_else(|| "-".into(), show);
        let (spread, ranges) = (band(bands.map(|both| both.0)), band(bands.map(|both| both.1)));
        let count = one.history.len().to_string();
        table.row(&[&one.latest.cell, one.latest.what, &count, &latest, &spread, &ranges, one.warning()]);
    }
    put(table);
    for (path, earlier) in &left_out {
        let first = unlike(earlier, &latest).into_iter().next().unwrap_or_default();
        put_line(format_args!("left out: {}: {first}", path.display()));
    }
    if alike.len() < HISTORY_MIN {
        put_line(format_args!("{} records before the latest are like it; bands need {HISTORY_MIN}", alike.len()));
    }
    let words = if warned == 0 { "nothing is out of the usual".into() } else { format!("{warned} out of the usual") };
    put_line(format_args!("{}: {words} (a warning and no verdict: `boardproof ab` decides)", newest.display()));
    Ok(Exit::Pass)
}

/// Each number of the latest record, with those of the earlier ones, oldest first.
fn series(alike: &[&(&PathBuf, Seen)], latest: &Seen) -> Vec<Series> {
    let mut all = Vec::new();
    for cell in latest.cells() {
        let before: Vec<Vec<Row>> =
            alike.iter().filter_map(|(_, seen)| seen.cell(&cell.cell)).map(|earlier| rows(None, earlier)).collect();
        for (at, latest) in rows(None, cell).into_iter().enumerate() {
            let history = before.iter().filter_map(|rows| rows.get(at)?.after).collect();
            all.push(Series { latest, history });
        }
    }
    all
}

fn as_json(newest: &Path, series: &[Series], left_out: &[&(&PathBuf, Seen)], latest: &Seen) -> serde_json::Value {
    let one = |one: &Series| {
        let bands = one.bands();
        json!({
            "cell": one.latest.cell, "metric": one.latest.what, "history": one.history, "latest": one.latest.after,
            "prediction_interval": bands.map(|both| both.0), "quartile_band": bands.map(|both| both.1), "warning": one.warning(),
        })
    };
    let left_out = left_out.iter().map(|(path, seen)| json!({ "record": path, "unlike": unlike(seen, latest) }));
    json!({
        "latest": newest, "series": series.iter().map(one).collect::<Vec<_>>(), "left_out": left_out.collect::<Vec<_>>(),
    })
}
