//! The verdict for a terminal: a line per cell that a person understands in ten seconds, then the table behind it.

use super::summary::{CellSummary, Counts, Summary};
use super::{amount, bytes, date, duration_ns, engines, throughput};
use crate::compare::operators::OperatorLine;
use crate::flips::Flip;
use boardproof_record::verdict::{RuleResult, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Colours, or none. Words carry the meaning either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// ANSI colours.
    Colour,
    /// Plain text.
    Plain,
}

/// The word for a verdict.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Incomplete => "INCOMPLETE",
    }
}

fn painted(verdict: Verdict, paint: Paint) -> String {
    let code = match verdict {
        Verdict::Pass => 32,
        Verdict::Fail => 31,
        Verdict::Inconclusive | Verdict::Incomplete => 33,
    };
    match paint {
        Paint::Colour => format!("\x1b[1;{code}m{}\x1b[0m", word(verdict)),
        Paint::Plain => word(verdict).to_owned(),
    }
}

/// Renders everything.
pub fn render(summary: &Summary, paint: Paint) -> String {
    let mut text = String::new();
    for cell in &summary.cells {
        let pad = " ".repeat(13_usize.saturating_sub(word(cell.verdict).len()));
        let _ = writeln!(text, "{}{pad}{}", painted(cell.verdict, paint), cell.title());
        let _ = writeln!(text, "             {}", cell.reason);
        for told in cell.flaky().into_iter().chain(cell.restarted()) {
            let _ = writeln!(text, "             {told}");
        }
        for note in &cell.notes {
            let _ = writeln!(text, "             note: {note}");
        }
        if let Some(unproved) = cell.unproved() {
            let _ = writeln!(text, "             {unproved}");
        }
        if cell.emulated {
            let _ = writeln!(text, "             {}", emulated(cell));
        }
    }
    for cell in &summary.cells {
        let _ = write!(text, "\n{}\n", details(cell));
    }
    let beside = engines::rows(&summary.cells);
    if !beside.is_empty() {
        let _ = writeln!(text, "engines side by side\n{}", align(&engines::HEADING.map(str::to_owned), &beside));
    }
    if let Some(chance) = summary.chance_in_words() {
        let _ = writeln!(text, "by chance: {chance}");
    }
    let (date, version) = (date(summary.started_unix_s), &summary.boardproof);
    let _ = writeln!(text, "measured {date} by boardproof {version}");
    let _ = writeln!(text, "{}  {}", painted(summary.verdict, paint), summary.sentence());
    text
}

/// What is to be known of numbers that an emulator counted.
pub(super) fn emulated(cell: &CellSummary) -> &'static str {
    match cell.instructions {
        Some(_) => "instructions are counted by an emulator: they are no cycles and no time",
        None => "timings are an emulator's and say nothing about hardware",
    }
}

fn details(cell: &CellSummary) -> String {
    let mut text = format!("{}\n", cell.title());
    if !cell.rules.is_empty() {
        text += &rules_table(&cell.rules);
    }
    if let Some(drift) = &cell.drift {
        let db = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| amount(v, "dB"));
        let _ = writeln!(
            text,
            "  drift   quantization {} (float on host -> variant on host), deployment {} (-> on unit), total {}",
            db(drift.quantization_db),
            db(drift.deployment_db),
            db(drift.total_db)
        );
    }
    if let Some(ran) = ran(cell) {
        let _ = writeln!(text, "  ran     {ran}");
    }
    if let Some(calibration) = &cell.calibration {
        let _ = writeln!(text, "  calibration {}", calibration.sentence());
    }
    if let Some(steps) = &cell.steps {
        let _ = writeln!(text, "  steps   {}", steps.sentence());
    }
    text += &flips(cell);
    text += &times(cell);
    let on_chip = ["flash of the firmware", "flash of the model", "static RAM", "arena", "stack"];
    let parts: Vec<String> = on_chip
        .iter()
        .filter_map(|part| cell.memory.iter().find(|(name, _)| name == part))
        .map(|(name, value)| format!("{name} {}", bytes(*value)))
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(text, "  memory  {}", parts.join(", "));
    }
    if let Some(peak) = cell.memory.iter().find(|(name, _)| name == "peak") {
        let _ = writeln!(text, "  memory  peak {}, model file {}", bytes(peak.1), bytes(cell.model_bytes as f64));
    }
    text + &gpu(cell)
}

/// How long an inference takes, or how many instructions, and what bounds it.
fn times(cell: &CellSummary) -> String {
    let mut text = String::new();
    if let Some(l) = &cell.latency {
        let q: Vec<String> =
            l.quantiles.iter().map(|q| format!("p{} {}", q.p * 100.0, duration_ns(q.value_ns))).collect();
        let label = if cell.emulated { " (emulated)" } else { "" };
        if let Some(beginning) = &cell.beginning {
            let _ = writeln!(text, "  start   {}{label}", beginning.sentence());
        }
        let _ = writeln!(
            text,
            "  latency {}, max {}, {} inferences{label}",
            q.join(", "),
            duration_ns(l.max_ns),
            l.samples
        );
        if let Some(rate) = throughput(l) {
            let _ = writeln!(text, "          {rate}, one after the other{label}");
        }
    }
    if let Some(counts) = &cell.instructions {
        let show = super::instructions;
        let Counts { samples, min, median, max } = *counts;
        let range = format!("{} to {}", show(min), show(max));
        let _ = writeln!(text, "  per inference {} ({range}, {samples} inferences, emulated)", show(median));
    }
    if let Some(roof) = cell.roof() {
        let _ = writeln!(text, "  roof    {roof}");
    }
    text
}

/// The GPU in a few lines: what it is, where the time goes, its memory, its state.
fn gpu(cell: &CellSummary) -> String {
    let Some(gpu) = &cell.gpu else { return String::new() };
    let on_cpu = match gpu.operators_on_cpu {
        0 => String::new(),
        count => format!("; {count} of {} operators on the CPU", gpu.operators),
    };
    let mut text = format!("  gpu     {}, driver {}{on_cpu}\n", gpu.name, gpu.driver);
    if let Some(split) = &gpu.split {
        let times = [split.to_device_ns, split.compute_ns, split.to_host_ns, split.on_cpu_ns, split.enqueue_ns];
        let [there, kernels, back, cpu, enqueue] = times.map(duration_ns);
        let _ = writeln!(
            text,
            "          copies there {there}, kernels {kernels}, copies back {back}, waiting for the CPU {cpu}; handed over in {enqueue}"
        );
    }
    let memory = gpu.memory.iter().map(|(name, value)| format!("{name} {}", bytes(*value as f64)));
    let memory: Vec<String> = memory.collect();
    if !memory.is_empty() {
        let _ = writeln!(text, "          memory: {}", memory.join(", "));
    }
    let state: Vec<String> = gpu.state.iter().map(|s| format!("{} {} -> {}", s.name, s.before, s.after)).collect();
    if !state.is_empty() {
        let _ = writeln!(text, "          {}", state.join(", "));
    }
    text
}

/// What ran, in one line: how many operators, in which arithmetic, and which took the time.
fn ran(cell: &CellSummary) -> Option<String> {
    /// Operators that are named.
    const NAMED: usize = 3;
    if cell.operators.is_empty() {
        return None;
    }
    let mut text = format!("{} operators", cell.operators.len());
    if let Some(share) = cell.integer_ops_share {
        let _ = write!(text, ", {:.0} % of the multiply-accumulates on integers", share * 100.0);
    }
    let fallen = cell.operators.iter().filter(|line| line.fell_back_from.is_some()).count();
    if fallen > 0 {
        let _ = write!(text, ", {fallen} fell back to another provider than the wanted one");
    }
    let slowest = slowest(&cell.operators);
    if !slowest.is_empty() {
        let named = slowest.iter().take(NAMED).map(|(op, share)| format!("{op} {:.0} %", share * 100.0));
        let _ = write!(text, "; time: {}", named.collect::<Vec<_>>().join(", "));
    }
    Some(text)
}

/// Shares of the time by operator, all nodes of one operator together, the largest first.
fn slowest(operators: &[OperatorLine]) -> Vec<(&str, f64)> {
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for line in operators {
        *shares.entry(&line.operator.op).or_default() += line.time_share.unwrap_or(0.0);
    }
    let mut shares: Vec<_> = shares.into_iter().filter(|(_, share)| *share > 0.0).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// Samples that are told one by one; the HTML report has more, the JSON all that are kept.
const FLIPS_SHOWN: usize = 3;

/// The samples whose answer flipped: how many, and the first.
fn flips(cell: &CellSummary) -> String {
    let Some(flips) = cell.flips.as_ref().filter(|flips| flips.count() > 0) else { return String::new() };
    let mut text = format!("  flips   {}\n", flips.sentence());
    for flip in flips.told.iter().take(FLIPS_SHOWN) {
        let _ = writeln!(text, "          {}", told(flip));
    }
    text
}

/// A flip in a line.
pub(super) fn told(flip: &Flip) -> String {
    let id = flip.id.map_or_else(String::new, |id| format!(" (id {id})"));
    let margin = flip.margin.map_or_else(String::new, |margin| format!(" by {margin:.4}"));
    let second = flip.second.as_ref().map_or_else(String::new, |second| format!(" over {second}"));
    let slices: Vec<String> = flip.slices.iter().map(|(column, value)| format!("{column}={value}")).collect();
    let slices = if slices.is_empty() { String::new() } else { format!(", {}", slices.join(" ")) };
    let Flip { sample, turn, label, reference, candidate, .. } = flip;
    let turn = turn.word();
    format!("sample {sample}{id} is {label}: reference {reference}{margin}{second}, here {candidate}, {turn}{slices}")
}

fn rules_table(rules: &[RuleResult]) -> String {
    let heading = ["rule", "slice", "measured", "interval", "limit", "verdict"].map(str::to_owned);
    let row = |r: &RuleResult| {
        let of = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| amount(v, &r.unit));
        let interval = match (r.lower, r.upper) {
            (Some(l), Some(u)) => format!("{} to {}", amount(l, &r.unit), amount(u, &r.unit)),
            _ => "exact".into(),
        };
        let always = r.unit.is_empty();
        let (interval, limit) = if always { ("-".into(), "-".into()) } else { (interval, amount(r.limit, &r.unit)) };
        let mut verdict = word(r.verdict).to_owned();
        if let Some(more) = r.samples_more {
            verdict += &format!(" (about {more} more samples)");
        }
        [r.rule.to_string(), r.slice.clone().unwrap_or_else(|| "-".into()), of(r.observed), interval, limit, verdict]
    };
    // Slices that pass are many and alike: the table shows those that do not, and of each rule the closest one of those that do.
    let shown = |r: &&RuleResult| r.slice.is_none() || r.verdict != Verdict::Pass;
    let mut rows: Vec<[String; 6]> = rules.iter().filter(shown).map(row).collect();
    let passing: Vec<&RuleResult> = rules.iter().filter(|r| !shown(r)).collect();
    let to_limit = |r: &&RuleResult| (r.observed.unwrap_or(f64::NAN) - r.limit).abs();
    for of_rule in passing.chunk_by(|a, b| a.rule == b.rule) {
        if let Some(worst) = of_rule.iter().min_by(|a, b| to_limit(a).total_cmp(&to_limit(b))) {
            let mut line = row(worst);
            line[1] = format!("{} (worst of {} that pass)", line[1], of_rule.len());
            rows.push(line);
        }
    }
    align(&heading, &rows)
}

fn align<const N: usize>(heading: &[String; N], rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().chain([heading]).map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String; N]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
        format!("  {}\n", padded.join("  ").trim_end())
    };
    rows.iter().fold(line(heading), |text, row| text + &line(row))
}
