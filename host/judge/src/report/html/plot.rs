//! Plots as inline SVG: pure text, no script, colours from the page's style sheet so that they follow light and dark.
//!
//! Every plot has a title that a screen reader says and labels in text: nothing is told by colour alone.

use super::escape;
use crate::compare::task::ReliabilityBin;
use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// One bar of a histogram: from, to (in the unit of the axis), height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Lower edge.
    pub from: f64,
    /// Upper edge.
    pub to: f64,
    /// Height.
    pub count: u64,
}

/// A vertical line with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    /// Its name.
    pub label: String,
    /// Where it stands.
    pub at: f64,
}

/// Sorts values into bins of equal width between their smallest and their 99th percentile; what lies above goes into the last bin,
/// so that one stall does not squeeze everything else into one bar. Values that are not finite are left out.
pub fn bins(values: impl Iterator<Item = f64>, count: usize) -> Vec<Bin> {
    let mut values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (values.first(), values.get(values.len().saturating_sub(1) * 99 / 100)) else {
        return Vec::new();
    };
    let count = count.max(1);
    let width = if high > low { (high - low) / count as f64 } else { low.abs().max(1.0) * 0.01 };
    let mut bins: Vec<Bin> =
        (0..count).map(|i| Bin { from: low + width * i as f64, to: low + width * (i + 1) as f64, count: 0 }).collect();
    for value in values {
        let index = (((value - low) / width) as usize).min(count - 1);
        bins[index].count += 1;
    }
    bins
}

/// A histogram with named lines. `axis` names the quantity and its unit; `format` writes a number on it.
pub fn histogram(title: &str, axis: &str, bins: &[Bin], markers: &[Marker], format: fn(f64) -> String) -> String {
    let (Some(first), Some(last)) = (bins.first(), bins.last()) else {
        return format!("<p class=\"none\">{}: nothing was measured</p>", escape(title));
    };
    let (low, high) = (first.from, last.to);
    let x = |v: f64| LEFT + (v - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let top = bins.iter().map(|b| b.count).max().unwrap_or(1).max(1) as f64;
    let y = |c: f64| HEIGHT - BOTTOM - c / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, WIDTH, HEIGHT);
    for bin in bins.iter().filter(|b| b.count > 0) {
        let (from, to, up) = (x(bin.from), x(bin.to), y(bin.count as f64));
        let tip = format!("{} to {}: {}", format(bin.from), format(bin.to), bin.count);
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{from:.1}\" y=\"{up:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            (to - from - 0.6).max(0.8),
            HEIGHT - BOTTOM - up,
            escape(&tip)
        );
    }
    let floor = HEIGHT - BOTTOM;
    let _ = write!(svg, "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{}\" y2=\"{floor}\"/>", WIDTH - RIGHT);
    for i in 0..=4 {
        let v = low + (high - low) * f64::from(i) / 4.0;
        let anchor = ["start", "middle", "middle", "middle", "end"][i as usize];
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            x(v),
            floor + 15.0,
            escape(&format(v))
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" class=\"name\">{}</text>",
        WIDTH / 2.0,
        HEIGHT - 6.0,
        escape(axis)
    );
    let _ = write!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, TOP + 8.0, top as u64);
    svg += &marker_lines(markers, (low, high), x);
    svg + "</svg>"
}

/// Columns of equal width side by side, each with its name below it. A column that is not empty can be seen, however low it is.
pub fn columns(title: &str, axis: &str, columns: &[(String, u64)]) -> String {
    let top = columns.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let width = (WIDTH - LEFT - RIGHT) / columns.len().max(1) as f64;
    let (floor, room) = (HEIGHT - BOTTOM, HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, WIDTH, HEIGHT);
    for (i, (name, count)) in columns.iter().enumerate() {
        let from = LEFT + width * i as f64;
        if *count > 0 {
            let tall = (*count as f64 / top as f64 * room).max(1.5);
            let _ = write!(
                svg,
                "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"><title>{}</title></rect>",
                from + 1.0,
                floor - tall,
                width - 2.0,
                escape(&format!("{name}: {count}"))
            );
        }
        let (middle, below) = (from + width / 2.0, floor + 15.0);
        let _ = write!(svg, "<text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", escape(name));
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{}\" y2=\"{floor}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\" class=\"name\">{}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{top}</text></svg>",
        WIDTH - RIGHT,
        WIDTH / 2.0,
        HEIGHT - 6.0,
        escape(axis),
        LEFT - 6.0,
        TOP + 8.0
    );
    svg
}

/// Lines with their names; names that would touch go one row lower.
fn marker_lines(markers: &[Marker], (low, high): (f64, f64), x: impl Fn(f64) -> f64) -> String {
    let mut svg = String::new();
    let mut row_ends = [f64::MIN; 4];
    for marker in markers.iter().filter(|m| m.at.is_finite()) {
        let beyond = marker.at > high;
        let at = x(marker.at.clamp(low, high));
        let label = if beyond { format!("{} \u{2192}", marker.label) } else { marker.label.clone() };
        let width = label.chars().count() as f64 * 6.4 + 8.0;
        let left = at + width > WIDTH - RIGHT;
        let start = if left { at - width } else { at };
        let row = row_ends.iter().position(|end| *end < start).unwrap_or(row_ends.len() - 1);
        row_ends[row] = row_ends[row].max(start + width);
        let y = TOP + 6.0 + row as f64 * 13.0;
        let (anchor, shift) = if left { ("end", -4.0) } else { ("start", 4.0) };
        let _ = write!(
            svg,
            "<line class=\"marker\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{}\"/><text class=\"marker\" x=\"{:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM,
            at + shift,
            escape(&label)
        );
    }
    svg
}

/// One horizontal bar: name, value, text to write behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// Its length on the axis.
    pub value: f64,
    /// The value as text.
    pub text: String,
}

/// Horizontal bars from 0 to `full`, with an optional limit drawn as a line.
pub fn bars(title: &str, bars: &[Bar], full: f64, limit: Option<(f64, &str)>) -> String {
    const ROW: f64 = 30.0;
    const NAME: f64 = 190.0;
    let height = ROW * bars.len() as f64 + if limit.is_some() { 24.0 } else { 8.0 };
    let scale = |v: f64| (v / full).clamp(0.0, 1.0) * (WIDTH - NAME - 70.0);
    let mut svg = open(title, WIDTH, height);
    for (i, bar) in bars.iter().enumerate() {
        let y = ROW * i as f64 + 4.0;
        let width = if bar.value.is_finite() { scale(bar.value) } else { scale(full) };
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"bar\" x=\"{NAME}\" y=\"{y}\" width=\"{width:.1}\" height=\"20\" rx=\"2\"/><text class=\"value\" x=\"{:.1}\" y=\"{}\">{}</text>",
            NAME - 8.0,
            y + 14.0,
            escape(&bar.name),
            NAME + width + 6.0,
            y + 14.0,
            escape(&bar.text)
        );
    }
    if let Some((at, text)) = limit {
        let x = NAME + scale(at);
        let end = ROW * bars.len() as f64;
        let _ = write!(
            svg,
            "<line class=\"limit\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{end}\"/><text class=\"limit\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            end + 15.0,
            escape(text)
        );
    }
    svg + "</svg>"
}

/// A reliability diagram: of each bin the share that came true as a bar, that of a reference as a ring, and the diagonal on which both would
/// lie if what is stated came true.
pub fn reliability(title: &str, bins: &[ReliabilityBin], reference: &[ReliabilityBin]) -> String {
    const SIDE: f64 = 240.0;
    let (x, y) = (|v: f64| LEFT + v * SIDE, |v: f64| TOP + (1.0 - v) * SIDE);
    let (floor, end, height) = (y(0.0), x(1.0), TOP + SIDE + BOTTOM);
    let mut svg = open(title, WIDTH, height);
    for bin in bins {
        let (Some(stated), Some(came_true)) = (bin.stated, bin.came_true) else { continue };
        let tip = format!("stated {:.1} %, came true {:.1} % of {}", stated * 100.0, came_true * 100.0, bin.samples);
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            x(bin.from) + 0.5,
            y(came_true),
            x(bin.to) - x(bin.from) - 1.0,
            floor - y(came_true),
            escape(&tip)
        );
    }
    for bin in reference {
        let (Some(stated), Some(came_true)) = (bin.stated, bin.came_true) else { continue };
        let tip = format!("reference: stated {:.1} %, came true {:.1} %", stated * 100.0, came_true * 100.0);
        let (at, up) = (x(f64::midpoint(bin.from, bin.to)), y(came_true));
        let _ = write!(
            svg,
            "<circle class=\"reference\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"3.5\"><title>{}</title></circle>",
            escape(&tip)
        );
    }
    let _ = write!(
        svg,
        "<line class=\"marker\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{end}\" y2=\"{TOP}\"/><line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{end}\" y2=\"{floor}\"/><line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{LEFT}\" y2=\"{TOP}\"/>"
    );
    svg + &reliability_words(x, y, height) + "</svg>"
}

/// Numbers on both axes, their names, and what the marks are.
fn reliability_words(x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64, height: f64) -> String {
    let mut svg = String::new();
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let percent = share * 100.0;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{percent:.0}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent:.0}</text>",
            x(share),
            y(0.0) + 15.0,
            LEFT - 6.0,
            y(share) + 4.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"name\">stated probability, %</text>",
        x(0.5),
        height - 6.0
    );
    let left = x(1.0) + 18.0;
    let _ = write!(
        svg,
        "<rect class=\"bar\" x=\"{left}\" y=\"{}\" width=\"10\" height=\"10\"/><text x=\"{}\" y=\"{}\">came true, %: this variant</text><circle class=\"reference\" cx=\"{}\" cy=\"{}\" r=\"3.5\"/><text x=\"{}\" y=\"{}\">the reference</text><line class=\"marker\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/><text x=\"{}\" y=\"{}\">as stated</text>",
        TOP + 4.0,
        left + 16.0,
        TOP + 13.0,
        left + 5.0,
        TOP + 26.0,
        left + 16.0,
        TOP + 30.0,
        left - 2.0,
        TOP + 43.0,
        left + 11.0,
        TOP + 43.0,
        left + 16.0,
        TOP + 47.0
    );
    svg
}

/// The layers of a model, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Layers<'l> {
    /// Their names.
    pub names: Vec<&'l str>,
    /// Ratio of each behind the variant's own layers, in dB: infinite where it is exact, and as deep where it is no number.
    pub accumulated: Vec<Option<f64>>,
    /// The same behind the reference's layers.
    pub alone: Vec<Option<f64>>,
    /// What the answers are to keep, in dB.
    pub budget_db: f64,
    /// The first layer below it.
    pub first_below: Option<usize>,
}

/// The course of a ratio along the layers of a model: a line behind its own layers, rings for each alone, the budget, and the first below it.
pub fn layers(title: &str, layers: &Layers<'_>) -> String {
    const TALL: f64 = HEIGHT + 40.0;
    let (low, high) = decibels_shown(layers);
    let floor = TALL - BOTTOM - 16.0;
    let count = layers.names.len().saturating_sub(1).max(1) as f64;
    let x = |at: usize| LEFT + 6.0 + at as f64 / count * (WIDTH - LEFT - RIGHT - 12.0);
    let y = |db: f64| floor - (db.clamp(low, high) - low) / (high - low) * (floor - TOP);
    let mut svg = open(title, WIDTH, TALL);
    svg += &layer_axes(layers, (low, high), floor, &y);
    for (at, db) in layers.alone.iter().enumerate() {
        let Some(db) = *db else { continue };
        let tip = layer_tip(layers, at, db, "alone");
        let _ = write!(
            svg,
            "<circle class=\"reference\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{tip}</title></circle>",
            x(at),
            y(db)
        );
    }
    let seen = || layers.accumulated.iter().enumerate().filter_map(|(at, db)| Some((at, (*db)?)));
    let course: Vec<String> = seen().map(|(at, db)| format!("{:.1},{:.1}", x(at), y(db))).collect();
    let _ = write!(svg, "<polyline class=\"course\" points=\"{}\"/>", course.join(" "));
    for (at, db) in seen() {
        let tip = layer_tip(layers, at, db, "accumulated");
        let _ = write!(
            svg,
            "<circle class=\"bar\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"><title>{tip}</title></circle>",
            x(at),
            y(db)
        );
    }
    if let Some(first) = layers.first_below {
        let name = layers.names.get(first).copied().unwrap_or_default();
        let marker =
            Marker { label: format!("first below: {}", shortened(&format!("{} {name}", first + 1))), at: first as f64 };
        svg += &marker_lines(&[marker], (0.0, count), |at| x(at as usize));
    }
    svg + &layer_words(TALL, layers.budget_db) + "</svg>"
}

/// The ends of the axis, multiples of 10 dB that hold what is finite, and the budget.
fn decibels_shown(layers: &Layers<'_>) -> (f64, f64) {
    let all = layers.accumulated.iter().chain(&layers.alone).flatten().chain([&layers.budget_db]);
    let finite = all.copied().filter(|db| db.is_finite());
    let (least, most) = finite.fold((0.0_f64, 40.0_f64), |(least, most), db| (least.min(db), most.max(db)));
    ((least / 10.0).floor().max(-3.0) * 10.0, (most / 10.0 + 0.5).ceil().min(12.0) * 10.0)
}

fn layer_axes(layers: &Layers<'_>, (low, high): (f64, f64), floor: f64, y: &impl Fn(f64) -> f64) -> String {
    let mut svg = format!(
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{}\" y2=\"{floor}\"/><line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{LEFT}\" y2=\"{TOP}\"/>",
        WIDTH - RIGHT
    );
    for part in 0..=4 {
        let db = low + (high - low) * f64::from(part) / 4.0;
        let _ =
            write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{db:.0}</text>", LEFT - 6.0, y(db) + 4.0);
    }
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"{0}\" text-anchor=\"start\">1</text><text x=\"{1}\" y=\"{0}\" text-anchor=\"end\">{2}</text><text x=\"{3}\" y=\"{0}\" text-anchor=\"middle\" class=\"name\">SQNR in dB by number of the layer</text>",
        floor + 15.0,
        WIDTH - RIGHT,
        layers.names.len(),
        WIDTH / 2.0
    );
    let budget = y(layers.budget_db);
    let _ = write!(
        svg,
        "<line class=\"limit\" x1=\"{LEFT}\" y1=\"{budget:.1}\" x2=\"{}\" y2=\"{budget:.1}\"/>",
        WIDTH - RIGHT
    );
    svg
}

/// What the marks are.
fn layer_words(height: f64, budget_db: f64) -> String {
    let y = height - 8.0;
    format!(
        "<circle class=\"bar\" cx=\"{0}\" cy=\"{1}\" r=\"3\"/><text x=\"{2}\" y=\"{y}\">behind its own layers</text><circle class=\"reference\" cx=\"{3}\" cy=\"{1}\" r=\"3.5\"/><text x=\"{4}\" y=\"{y}\">alone, behind the reference's</text><line class=\"limit\" x1=\"{5}\" y1=\"{1}\" x2=\"{6}\" y2=\"{1}\"/><text x=\"{7}\" y=\"{y}\">budget {budget_db:.1} dB</text>",
        LEFT + 4.0,
        y - 4.0,
        LEFT + 14.0,
        LEFT + 140.0,
        LEFT + 150.0,
        LEFT + 314.0,
        LEFT + 328.0,
        LEFT + 334.0
    )
}

fn layer_tip(layers: &Layers<'_>, at: usize, db: f64, how: &str) -> String {
    let said = match db {
        f64::INFINITY => "exact".to_owned(),
        f64::NEG_INFINITY => "no number".to_owned(),
        db => format!("{db:.1} dB"),
    };
    escape(&format!("{} {}, {how}: {said}", at + 1, layers.names.get(at).copied().unwrap_or_default()))
}

/// A name that fits a plot: its end, which says more than its beginning.
fn shortened(name: &str) -> String {
    const MOST: usize = 40;
    let letters = name.chars().count();
    if letters <= MOST {
        name.to_owned()
    } else {
        format!("\u{2026}{}", name.chars().skip(letters - MOST).collect::<String>())
    }
}

fn open(title: &str, width: f64, height: f64) -> String {
    let title = escape(title);
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_every_finite_value_once() {
        let values = (0..1000).map(f64::from).chain([1e9, f64::NAN, f64::INFINITY]);
        let bins = bins(values, 20);
        assert_eq!(bins.iter().map(|b| b.count).sum::<u64>(), 1001);
        assert!(bins.last().unwrap().to < 2000.0, "one stall must not squeeze the plot");
    }

    #[test]
    fn equal_values_and_no_values_give_a_plot_and_a_sentence() {
        assert_eq!(bins([3.0; 5].into_iter(), 10).iter().map(|b| b.count).sum::<u64>(), 5);
        assert!(
            histogram("t", "x", &bins(std::iter::empty(), 10), &[], |v| v.to_string()).contains("nothing was measured")
        );
    }

    #[test]
    fn a_reliability_diagram_draws_what_is_there() {
        let bin = |from: f64, samples, share: Option<f64>| ReliabilityBin {
            from,
            to: from + 0.5,
            samples,
            stated: share,
            came_true: share,
        };
        let svg = reliability("<t>", &[bin(0.0, 0, None), bin(0.5, 4, Some(0.75))], &[bin(0.5, 4, Some(0.5))]);
        assert_eq!((svg.matches("<title>stated").count(), svg.matches("<title>reference").count()), (1, 1), "{svg}");
        assert!(!svg.contains("<t>") && !svg.contains("NaN"), "{svg}");
        assert!(!reliability("t", &[], &[]).contains("<title>stated"));
    }

    #[test]
    fn the_course_of_layers_stays_within_its_frame() {
        let drawn = Layers {
            names: vec!["<a>", "b", "c"],
            accumulated: vec![Some(f64::INFINITY), Some(-400.0), Some(f64::NEG_INFINITY)],
            alone: vec![None, Some(61.0), None],
            budget_db: 15.0,
            first_below: Some(1),
        };
        let svg = layers("t", &drawn);
        assert!(!svg.contains("<a>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("first below: 2 b") && svg.contains("1 &lt;a&gt;, accumulated: exact"), "{svg}");
        assert_eq!(svg.matches(", alone:").count(), 1);
        let heights = svg.split("cy=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse::<f64>().unwrap());
        assert!(heights.into_iter().all(|y| (TOP..=HEIGHT + 40.0).contains(&y)), "{svg}");
        let none = Layers { names: vec![], accumulated: vec![], alone: vec![], budget_db: 15.0, first_below: None };
        assert!(!layers("t", &none).contains("NaN"));
    }

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let bar = Bar { name: "<script>".into(), value: f64::NAN, text: "\"&".into() };
        let svg = bars("<b>", &[bar], 1.0, Some((0.5, "<i>")));
        assert!(
            !svg.contains("<script>") && !svg.contains("<b>") && !svg.contains("<i>") && !svg.contains("NaN"),
            "{svg}"
        );
    }
}
