//! The report as one HTML page: no script, no font, no picture from elsewhere. Opens anywhere, reads on a phone and in the dark.

mod flips;
mod layers;
pub mod plot;
mod png;
mod sample;

use super::summary::{CellSummary, ErrorBin, Figure, Summary};
use super::text::word;
use super::{amount, bytes, calibration, date, duration_ns, engines, instructions, middle, not_stationary, throughput};
use crate::compare::latency::LatencySummary;
use crate::compare::operators::OperatorLine;
use crate::compare::roofline::rate;
use boardproof_record::observation::Shipped;
use boardproof_record::verdict::{RuleResult, Verdict};
use plot::{Bar, Marker};
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// Renders the page.
pub fn render(summary: &Summary) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>boardproof: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>boardproof</h1>\n",
        word(summary.verdict)
    );
    let _ = writeln!(
        page,
        "<div class=\"banner {}\"><span class=\"verdict\">{}</span><p>{}</p></div>",
        class(summary.verdict),
        word(summary.verdict),
        escape(&summary.sentence())
    );
    let _ = writeln!(
        page,
        "<p class=\"soft\">Measured {} by boardproof {}</p>",
        date(summary.started_unix_s),
        escape(&summary.boardproof)
    );
    if summary.cells.iter().any(|c| c.emulated) {
        page += "<p class=\"notice\">Some units are emulated. Their timings are the emulator's and say nothing about hardware; answers are real, and so is memory on an emulated board. Of a program under user-mode emulation memory includes the emulator.</p>\n";
    }
    if summary.cells.iter().any(|c| c.instructions.is_some()) {
        page += "<p class=\"notice\">Instructions are counted by an emulator: they are no cycles and no time. The same model and sample take as many in every run.</p>\n";
    }
    page += &overview(summary);
    if let Some(chance) = summary.chance_in_words() {
        let _ = writeln!(page, "<p class=\"soft\">By chance: {}.</p>", escape(&chance));
    }
    page += &beside(&summary.cells);
    summary.cells.iter().enumerate().for_each(|(i, cell)| page += &section(i, cell));
    page += &builds(summary);
    page + "</main>\n</body>\n</html>\n"
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Incomplete => "incomplete",
    }
}

fn verdict_cell(verdict: Verdict) -> String {
    format!("<td class=\"verdict {}\">{}</td>", class(verdict), word(verdict))
}

fn overview(summary: &Summary) -> String {
    let mut text = "<div class=\"scroll\"><table>\n<tr><th>verdict</th><th>model</th><th>variant</th><th>unit</th><th class=\"n\">SQNR</th><th class=\"n\">p50</th><th class=\"n\">peak memory</th><th>why</th></tr>\n".to_owned();
    for (i, cell) in summary.cells.iter().enumerate() {
        let db = cell.drift.and_then(|d| d.total_db).map_or_else(|| "-".into(), |v| amount(v, "dB"));
        let p50 = middle(cell);
        let mark = if cell.emulated && cell.latency.is_some() { " <span class=\"soft\">emulated</span>" } else { "" };
        let peak = peak(cell).map_or_else(|| "-".into(), bytes);
        let _ = writeln!(
            text,
            "<tr>{}<td><a href=\"#cell-{i}\">{}</a></td><td>{}</td><td>{}</td><td class=\"n\">{db}</td><td class=\"n\">{p50}{mark}</td><td class=\"n\">{peak}</td><td>{}</td></tr>",
            verdict_cell(cell.verdict),
            escape(&cell.model),
            escape(&cell.variant),
            escape(&cell.place()),
            escape(&cell.reason)
        );
    }
    text + "</table></div>\n"
}

/// Most memory that the cell took: on a microcontroller, all that its RAM held.
fn peak(cell: &CellSummary) -> Option<f64> {
    let part = |name: &str| cell.memory.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    part("peak").or_else(|| Some(part("static RAM")? + part("arena")? + part("stack")?))
}

fn section(number: usize, cell: &CellSummary) -> String {
    let mut text = format!("<section class=\"cell\" id=\"cell-{number}\">\n<h2>{}</h2>\n", escape(&cell.title()));
    let _ = writeln!(
        text,
        "<p><span class=\"verdict {}\">{}</span> {}</p><p class=\"soft\">{}; target {}{}</p>",
        class(cell.verdict),
        word(cell.verdict),
        escape(&cell.reason),
        escape(&cell.quantization),
        escape(&cell.target),
        if cell.proved { "" } else { ", not proved by anybody yet" }
    );
    for note in &cell.notes {
        let _ = writeln!(text, "<p class=\"notice\">Note: {}.</p>", escape(note));
    }
    text += &fault(cell);
    text += &rules(&cell.rules);
    text += &plots(cell);
    text += &layers::section(cell);
    text += &flips::section(cell);
    text += &groups(cell);
    text += &steps(cell);
    text += &calibration(cell);
    text += &latency(cell);
    text += &counts(cell);
    text += &roof(cell);
    text += &memory(cell);
    text += &gpu(cell);
    text += &metrics(cell);
    text += &operators(cell);
    text += &environment(cell);
    text + "</section>\n"
}

fn fault(cell: &CellSummary) -> String {
    let mut text = String::new();
    if let Some(fault) = &cell.fault {
        let _ = writeln!(
            text,
            "<h3>What went wrong</h3><p>{}: {}</p>",
            escape(&fault.action),
            escape(&fault.causes.join(": "))
        );
        fault.hints.iter().for_each(|hint| text += &format!("<p>Hint: {}</p>\n", escape(hint)));
        if !fault.console.is_empty() {
            let _ = writeln!(
                text,
                "<details><summary>End of the console</summary><pre class=\"scroll\">{}</pre></details>",
                escape(&fault.console.join("\n"))
            );
        }
    }
    if let Some(restarted) = cell.restarted() {
        let _ = writeln!(text, "<h3>Started anew</h3><p>{}</p>", escape(&restarted));
    }
    if !cell.failed_attempts.is_empty() {
        text += "<h3>Attempts that did not work</h3>\n<ul>\n";
        for attempt in &cell.failed_attempts {
            let _ = writeln!(
                text,
                "<li>{}: {}</li>",
                escape(&attempt.action),
                escape(attempt.error.as_deref().unwrap_or_default())
            );
        }
        text += "</ul>\n";
    }
    text
}

fn rules(rules: &[RuleResult]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let mut text = "<h3>Rules</h3>\n<div class=\"scroll\"><table>\n<tr><th>verdict</th><th>rule</th><th>slice</th><th class=\"n\">measured</th><th class=\"n\">interval</th><th class=\"n\">limit</th><th class=\"n\">samples</th><th>in words</th></tr>\n".to_owned();
    for r in rules {
        let of = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| amount(v, &r.unit));
        let interval = match (r.lower, r.upper) {
            (Some(l), Some(u)) => format!("{} to {}", amount(l, &r.unit), amount(u, &r.unit)),
            _ => "-".into(),
        };
        let limit = if r.unit.is_empty() { "-".into() } else { amount(r.limit, &r.unit) };
        let _ = writeln!(
            text,
            "<tr>{}<td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{interval}</td><td class=\"n\" title=\"{}\">{limit}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            verdict_cell(r.verdict),
            escape(r.rule.as_str()),
            escape(r.slice.as_deref().unwrap_or("-")),
            of(r.observed),
            escape(&r.limit_reason),
            if r.samples == 0 { "-".into() } else { r.samples.to_string() },
            escape(&r.detail)
        );
    }
    text + "</table></div>\n"
}

fn plots(cell: &CellSummary) -> String {
    let plots =
        [latency_plot(cell), error_plot(cell), steps_plot(cell), drift_plot(cell), reliability_plot(cell)].concat();
    format!("<div class=\"plots\">\n{plots}</div>\n")
}

fn figure(svg: &str, caption: &str) -> String {
    format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>\n")
}

fn latency_plot(cell: &CellSummary) -> String {
    let Some(summary) = &cell.latency else { return String::new() };
    let markers: Vec<Marker> = summary
        .quantiles
        .iter()
        .take(3)
        .map(|q| Marker { label: format!("p{} {}", q.p * 100.0, duration_ns(q.value_ns)), at: q.value_ns })
        .collect();
    let bins = plot::bins(cell.latency_ns.iter().copied(), 60);
    let svg = plot::histogram("Latency of single inferences", "time of one inference", &bins, &markers, duration_ns);
    let note = if cell.emulated { " Emulated: not a hardware timing." } else { "" };
    let samples = summary.samples;
    figure(
        &svg,
        &format!("Latency of {samples} inferences, one at a time. The slowest in a hundred are in the last bar.{note}"),
    )
}

fn error_plot(cell: &CellSummary) -> String {
    if cell.errors.is_empty() {
        return String::new();
    }
    let bin = |bin: &ErrorBin| {
        let to = octave(bin.to.unwrap_or(f64::INFINITY));
        plot::Bin { from: octave(bin.from), to, count: bin.elements }
    };
    let bins: Vec<plot::Bin> = cell.errors.iter().map(bin).collect();
    let axis = "absolute difference from the reference (octaves)";
    let svg = plot::histogram("Errors of the outputs", axis, &bins, &[], |v| format!("{:.2e}", v.exp2()));
    figure(&svg, "How far single output elements are from the float reference.")
}

fn steps_plot(cell: &CellSummary) -> String {
    let Some(steps) = &cell.steps else { return String::new() };
    let columns: Vec<(String, u64)> = steps.bins.iter().map(|bin| (bin.name(), bin.elements)).collect();
    let axis = format!("steps from {}", steps.against.words());
    figure(&plot::columns("Steps of the outputs", &axis, &columns), &format!("{}.", escape(&steps.sentence())))
}

/// Steps and saturation in numbers: beside the columns of most elements the others are hardly seen.
fn steps(cell: &CellSummary) -> String {
    let Some(steps) = &cell.steps else { return String::new() };
    let row = |name: &str, elements: u64| {
        let share = amount(steps.share(elements), "share");
        format!("<tr><td>{}</td><td class=\"n\">{elements}</td><td class=\"n\">{share}</td></tr>\n", escape(name))
    };
    let against = steps.against.words();
    let mut rows: String =
        steps.bins.iter().filter(|bin| bin.elements > 0).map(|bin| row(&bin.name(), bin.elements)).collect();
    for (whose, ends) in [("", steps.saturated), (against, steps.saturated_against)] {
        let of = if whose.is_empty() { String::new() } else { format!(", {whose}") };
        rows += &row(&format!("at the type's minimum{of}"), ends.low);
        rows += &row(&format!("at the type's maximum{of}"), ends.high);
    }
    format!(
        "<details><summary>Steps of the quantized output, and its saturation</summary><div class=\"scroll\"><table>\n<tr><th>steps from {against}</th><th class=\"n\">elements</th><th class=\"n\">share of {}</th></tr>\n{rows}</table></div></details>\n",
        steps.elements
    )
}

fn drift_plot(cell: &CellSummary) -> String {
    let Some(split) = &cell.drift else { return String::new() };
    let rows = [
        ("quantization error, on host", split.quantization_db),
        ("deployment error, host to unit", split.deployment_db),
        ("total", split.total_db),
    ];
    let bar = |name: &str, db: f64| Bar {
        name: name.to_owned(),
        value: db,
        text: amount(db, "dB").replace(" (identical)", ""),
    };
    let bars: Vec<Bar> = rows.iter().filter_map(|(name, db)| db.map(|v| bar(name, v))).collect();
    if bars.is_empty() {
        return String::new();
    }
    let limit = cell.rules.iter().find(|r| r.metric == "sqnr_db" && r.slice.is_none()).map(|r| r.limit);
    let label = limit.map(|l| format!("limit {}", amount(l, "dB"))).unwrap_or_default();
    let svg = plot::bars("Where the drift comes from", &bars, 80.0, limit.map(|l| (l, label.as_str())));
    figure(&svg, "Signal to quantization noise, longer is better. Infinite means identical answers.")
}

fn reliability_plot(cell: &CellSummary) -> String {
    let Some(found) = &cell.calibration else { return String::new() };
    let svg = plot::reliability("How sure, and how often right", &found.bins, &found.reference_bins);
    figure(
        &svg,
        &format!(
            "Calibration: {}. Bars below the diagonal are too sure of themselves, above it not sure enough.",
            escape(&found.sentence())
        ),
    )
}

/// Place of an error on the octave axis; the open ends are drawn one octave wide.
fn octave(edge: f64) -> f64 {
    if edge <= 0.0 {
        -41.0
    } else if edge.is_finite() {
        edge.log2()
    } else {
        25.0
    }
}

/// A change of the task metric, in points where it is a share.
fn change(value: f64, unit: &str) -> String {
    if unit == "share" { format!("{:+.2} points", value * 100.0) } else { format!("{value:+.4}") }
}

fn groups(cell: &CellSummary) -> String {
    if cell.task.is_empty() {
        return String::new();
    }
    let mut text = "<details><summary>Task metric by class and slice</summary><div class=\"scroll\"><table>\n<tr><th>group</th><th class=\"n\">samples</th><th class=\"n\">reference</th><th class=\"n\">candidate</th><th class=\"n\">change</th></tr>\n".to_owned();
    for row in &cell.task {
        let of = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| amount(v, &cell.task_unit));
        let change =
            row.reference.zip(row.candidate).map_or_else(|| "-".into(), |(r, c)| change(c - r, &cell.task_unit));
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{change}</td></tr>",
            escape(&row.group),
            row.samples,
            of(row.reference),
            of(row.candidate)
        );
    }
    text + "</table></div></details>\n"
}

fn calibration(cell: &CellSummary) -> String {
    let Some(found) = &cell.calibration else { return String::new() };
    let line = |tag: &str, row: &[String]| {
        let cells: String = row.iter().map(|cell| format!("<{tag} class=\"n\">{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let heading = line("th", &calibration::HEADING.map(str::to_owned));
    let rows: String = found.rows().iter().map(|row| line("td", row)).collect();
    format!(
        "<details><summary>Calibration by what was stated</summary><div class=\"scroll\"><table>\n{heading}{rows}</table></div></details>\n"
    )
}

fn latency(cell: &CellSummary) -> String {
    let Some(own) = &cell.latency else { return String::new() };
    let label = if cell.emulated { " (emulated)" } else { "" };
    let mut text = format!(
        "<details><summary>Latency{label}</summary><div class=\"scroll\"><table>\n<tr><th>quantile</th><th class=\"n\">measured</th><th class=\"n\">95 % bounds</th><th class=\"n\">float model, same unit</th></tr>\n"
    );
    for (i, q) in own.quantiles.iter().enumerate() {
        let bounds = match (q.lower_ns, q.upper_ns) {
            (Some(l), Some(u)) => format!("{} to {}", duration_ns(l), duration_ns(u)),
            _ => format!("needs {} independent inferences", q.samples_needed),
        };
        let reference =
            cell.latency_reference.as_ref().map_or_else(|| "-".into(), |r| duration_ns(r.quantiles[i].value_ns));
        let _ = writeln!(
            text,
            "<tr><td>p{}</td><td class=\"n\">{}</td><td class=\"n\">{bounds}</td><td class=\"n\">{reference}</td></tr>",
            q.p * 100.0,
            duration_ns(q.value_ns)
        );
    }
    let rate = throughput(own).map_or_else(String::new, |rate| format!(", {rate} one after the other"));
    let before = cell.beginning.map_or_else(String::new, |found| format!(" Before them: {}.", found.sentence()));
    let _ = writeln!(
        text,
        "<tr><td>max</td><td class=\"n\">{}</td><td class=\"n\">-</td><td class=\"n\">{}</td></tr>\n</table></div><p class=\"soft\">{}, mean {}{rate}.{before}</p></details>",
        duration_ns(own.max_ns),
        cell.latency_reference.as_ref().map_or_else(|| "-".into(), |r| duration_ns(r.max_ns)),
        inferences(own),
        duration_ns(own.mean_ns)
    );
    text
}

/// How many there were, and what they are worth where they hang together or moved.
fn inferences(own: &LatencySummary) -> String {
    let worth = own.quantiles[0].samples_effective;
    let together = (worth < own.samples).then(|| format!(", worth {worth} independent ones at the median"));
    let moved = own.movement.map(|movement| format!(", {}", escape(&not_stationary(&movement))));
    format!("{} inferences{}{}", own.samples, together.unwrap_or_default(), moved.unwrap_or_default())
}

/// Instructions per inference, where an emulator counts them in the place of time.
fn counts(cell: &CellSummary) -> String {
    let Some(counts) = &cell.instructions else { return String::new() };
    let row = |(name, value)| format!("<tr><td>{name}</td><td class=\"n\">{}</td></tr>\n", instructions(value));
    let rows: String = [("fewest", counts.min), ("median", counts.median), ("most", counts.max)].map(row).concat();
    format!(
        "<details><summary>Instructions per inference (emulated)</summary><div class=\"scroll\"><table>\n<tr><th>of {} inferences</th><th class=\"n\">counted</th></tr>\n{rows}</table></div></details>\n",
        counts.samples
    )
}

/// The GPU: where the time goes, its memory, its state around the timed pass.
fn gpu(cell: &CellSummary) -> String {
    let Some(gpu) = &cell.gpu else { return String::new() };
    let row = |name: &str, first: &str, second: &str| {
        format!("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", escape(name), escape(first), escape(second))
    };
    let times = gpu.split.iter().flat_map(|split| {
        [
            ("copies to the GPU", split.to_device_ns),
            ("kernels", split.compute_ns),
            ("copies back", split.to_host_ns),
            ("waiting for operators on the CPU", split.on_cpu_ns),
            ("handed over by the host", split.enqueue_ns),
        ]
    });
    let mut rows: String = times.map(|(name, ns)| row(name, &duration_ns(ns), "")).collect();
    rows.extend(gpu.memory.iter().map(|(name, value)| row(&format!("memory {name}"), &bytes(*value as f64), "")));
    rows.extend(gpu.state.iter().map(|state| row(&state.name, &state.before, &state.after)));
    format!(
        "<details><summary>GPU: {}, driver {}, {} of {} operators on the CPU</summary><p class=\"soft\">Times are medians over inferences of their own, by the GPU's clock but for the last. State is before and after the timed pass.</p><div class=\"scroll\"><table>\n<tr><th>what</th><th>value, or before</th><th>after</th></tr>\n{rows}</table></div></details>\n",
        escape(&gpu.name),
        escape(&gpu.driver),
        gpu.operators_on_cpu,
        gpu.operators
    )
}

fn memory(cell: &CellSummary) -> String {
    if cell.memory.is_empty() {
        return String::new();
    }
    let row = |(name, value): &(String, f64)| {
        format!("<tr><td>{}</td><td class=\"n\">{}</td></tr>\n", escape(name), bytes(*value))
    };
    let rows: String = cell.memory.iter().map(row).collect();
    format!(
        "<details><summary>Memory and size</summary><div class=\"scroll\"><table>\n<tr><th>what</th><th class=\"n\">bytes</th></tr>\n{rows}<tr><td>model file</td><td class=\"n\">{}</td></tr>\n</table></div></details>\n",
        bytes(cell.model_bytes as f64)
    )
}

fn metrics(cell: &CellSummary) -> String {
    if cell.metrics.is_empty() {
        return String::new();
    }
    let row = |figure: &Figure| {
        let unit = if figure.unit.is_empty() { String::new() } else { format!(" ({})", figure.unit) };
        let value = match (figure.value, &figure.missing) {
            (Some(value), _) => format!("<td class=\"n\">{}</td>", plain(value)),
            (None, why) => format!("<td class=\"soft\">{}</td>", escape(why.as_deref().unwrap_or("-"))),
        };
        format!("<tr><td><code>{}</code></td>{value}</tr>\n", escape(&format!("{}{unit}", figure.name)))
    };
    let own: String = cell.metrics.iter().map(row).collect();
    let vendors: String = cell.dialects.iter().map(row).collect();
    format!(
        "<details><summary>All metrics, and the vendors' figures under their names</summary><div class=\"scroll\"><table>\n{own}{vendors}</table></div></details>\n"
    )
}

pub(crate) fn plain(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.4}")
    } else if value.is_infinite() {
        "infinite".into()
    } else {
        format!("{value:.3e}")
    }
}

/// The cell under the roofs of its unit.
fn roof(cell: &CellSummary) -> String {
    let Some(told) = cell.roof() else { return String::new() };
    let mut text = format!("<h3>Against the peak of one core</h3><p>{}</p>\n", escape(&told));
    let Some(roofline) = &cell.roofs.roofline else { return text };
    let share = |value: f64| amount(value, "share");
    let told = |text: &Option<String>| text.as_deref().map_or_else(String::new, |text| format!(" ({text})"));
    let (by, read_of) = (told(&roofline.by), told(&roofline.read_of));
    let bound = if roofline.is_beaten() { "not known: the peak is too low" } else { roofline.bound.word() };
    let rows = [
        ("multiply-accumulates of one inference", roofline.macs.to_string()),
        ("reached, at the median latency", rate(roofline.reached_mac_per_s)),
        ("measured peak of one core for its datatypes", format!("{}{by}", rate(roofline.peak_mac_per_s))),
        ("share of the peak", share(roofline.share_of_peak)),
        ("bytes of weights and activations", bytes(roofline.bytes as f64)),
        ("multiply-accumulates per byte", plain(roofline.mac_per_byte)),
        (
            "measured peak of main memory, read by one core",
            format!("{}/s{read_of}", bytes(roofline.peak_read_bytes_per_s)),
        ),
        ("share of the latency that arithmetic takes at its peak", share(roofline.compute_share)),
        ("share of the latency that main memory takes at its peak", share(roofline.memory_share)),
        ("bound", bound.to_owned()),
    ];
    text += "<div class=\"scroll\"><table>\n";
    for (name, value) in rows {
        let _ = writeln!(text, "<tr><td>{name}</td><td class=\"n\">{}</td></tr>", escape(&value));
    }
    text + "</table></div>\n"
}

fn operators(cell: &CellSummary) -> String {
    if cell.operators.is_empty() {
        return String::new();
    }
    let known = |value: Option<u64>| value.map_or_else(|| "-".into(), |value| value.to_string());
    let row = |line: &OperatorLine| {
        let op = &line.operator;
        let share = line.time_share.map_or_else(|| "-".into(), |share| format!("{:.1} %", share * 100.0));
        format!(
            "<tr><td class=\"n\">{}</td><td>{}</td><td><code>{}</code></td><td><code>{}</code></td><td><code>{}</code></td><td class=\"n\">{share}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            op.index,
            escape(&op.op),
            escape(&op.name),
            escape(&op.dtypes),
            escape(&op.kernel),
            known(line.macs),
            known(line.output_bytes)
        )
    };
    let rows: String = cell.operators.iter().map(row).collect();
    let integers = cell.integer_ops_share.map_or_else(String::new, |share| {
        format!(", {} of the multiply-accumulates on integers", amount(share, "share"))
    });
    format!(
        "<details><summary>What ran: {} operators{integers}</summary><p class=\"soft\">Time was taken with a clock around each operator, in inferences of their own: its shares mean something, their sum is not the latency.</p><div class=\"scroll\"><table>\n<tr><th class=\"n\">#</th><th>operator</th><th>node</th><th>element types</th><th>kernel</th><th class=\"n\">time</th><th class=\"n\">multiply-accumulates</th><th class=\"n\">output bytes</th></tr>\n{rows}</table></div></details>\n",
        cell.operators.len()
    )
}

/// The same variant by several engines.
fn beside(cells: &[CellSummary]) -> String {
    let rows = engines::rows(cells);
    if rows.is_empty() {
        return String::new();
    }
    let line = |tag: &str, row: &[String]| {
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(|row| line("td", row)).collect();
    let heading = line("th", &engines::HEADING.map(str::to_owned));
    format!("<h2>Engines side by side</h2>\n<div class=\"scroll\"><table>\n{heading}{rows}</table></div>\n")
}

fn environment(cell: &CellSummary) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        rows += &format!("<tr><td>{}</td><td><code>{}</code></td></tr>\n", escape(name), escape(value))
    };
    if let Some(device) = &cell.device {
        row("agent", &device.agent_build);
        row("runner", &device.runner_digest.map(|d| d.to_string()).unwrap_or_default());
        row("system", &device.system);
        row("identity", &device.identity);
    }
    row("shipped", &shipped(&cell.shipped));
    cell.environment.texts.iter().for_each(|(name, value)| row(name, value));
    cell.environment.numbers.iter().for_each(|(name, value)| row(name, &value.to_string()));
    cell.environment.missing.iter().for_each(|(name, why)| row(name, &format!("not known: {why}")));
    format!("<details><summary>Environment</summary><div class=\"scroll\"><table>\n{rows}</table></div></details>\n")
}

fn shipped(shipped: &Shipped) -> String {
    let [content, wire, probe, cached] =
        [shipped.content_bytes, shipped.wire_bytes, shipped.probe_bytes, shipped.cached_bytes].map(|n| bytes(n as f64));
    let probe = if shipped.probe_bytes > 0 { format!(", {probe} by the debug probe") } else { String::new() };
    format!("{content} new content, {wire} on the wire{probe}, {cached} were there")
}

fn builds(summary: &Summary) -> String {
    let row = |b: &boardproof_record::record::Build| {
        format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
            escape(&b.program),
            escape(&b.triple),
            bytes(b.bytes as f64),
            b.digest.short(),
            escape(&b.builder)
        )
    };
    let rows: String = summary.builds.iter().map(row).collect();
    format!(
        "<details><summary>How the programs were built</summary><div class=\"scroll\"><table>\n<tr><th>program</th><th>triple</th><th class=\"n\">size</th><th>digest</th><th>built with</th></tr>\n{rows}</table></div></details>\n<p class=\"soft\">Measured by boardproof {}.</p>\n",
        escape(&summary.boardproof)
    )
}

/// Text that cannot become markup.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
