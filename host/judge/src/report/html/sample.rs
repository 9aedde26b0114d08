//! A sample as a person sees it: a picture, a waveform, a row of a table. Pure text, nothing from elsewhere.

use super::escape;
use super::png::picture;
use crate::report::shown::{Sample, Shown};
use boardproof_record::plan::Shows;
use std::cmp::Ordering;
use std::fmt::Write;

/// Points across a waveform; longer ones show the least and the greatest of each point.
const POINTS: usize = 200;
/// Lines of a waveform with many channels.
const LINES_MAX: usize = 16;
/// Values of a row that are written out.
const VALUES_MAX: usize = 16;
/// Side of a picture from which on it is not drawn: a page is no gallery.
const SIDE_MAX: usize = 1024;

/// The sample of this number, where the record has kept it and somebody knows what it is.
pub fn draw(shown: &Shown, number: u64) -> Option<String> {
    let sample = shown.samples.get(&number)?;
    match shown.what? {
        Shows::Image => image(sample, number),
        Shows::Waveform => waveform(sample, number),
        Shows::Row => Some(row(sample, &shown.columns)),
    }
}

/// Height, width, channels, and the place of an element.
type Place = fn(usize, usize, usize, [usize; 3]) -> usize;

fn image(sample: &Sample, number: u64) -> Option<String> {
    let planes: Place = |y, x, c, [height, width, _]| (c * height + y) * width + x;
    let pixels: Place = |y, x, c, [_, width, channels]| (y * width + x) * channels + c;
    let (dims, place) = match *sample.shape.as_slice() {
        [height, width] => ([height, width, 1], planes),
        [height, width, channels] if [1, 3].contains(&channels) && width > 3 => ([height, width, channels], pixels),
        [channels, height, width] if [1, 3].contains(&channels) => ([height, width, channels], planes),
        _ => return None,
    };
    let [height, width, channels] = dims;
    if !(1..=SIDE_MAX).contains(&height) || !(1..=SIDE_MAX).contains(&width) {
        return None;
    }
    let (low, high) = if sample.bytes { (0.0, 255.0) } else { ends(&sample.values)? };
    let shade = |value: f64| ((value - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8;
    let mut bytes = Vec::with_capacity(height * width * channels);
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                bytes.push(shade(*sample.values.get(place(y, x, c, dims))?));
            }
        }
    }
    let data = picture(width, height, channels, &bytes);
    Some(format!("<img class=\"sample\" alt=\"sample {number}\" src=\"data:image/png;base64,{data}\">"))
}

/// Least and greatest value, never the same; `None` without a number.
fn ends(values: &[f64]) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    match low.partial_cmp(&high)? {
        Ordering::Less => Some((low, high)),
        Ordering::Equal => Some((low - 0.5, high + 0.5)),
        Ordering::Greater => None,
    }
}

fn waveform(sample: &Sample, number: u64) -> Option<String> {
    const WIDTH: f64 = 200.0;
    const HEIGHT: f64 = 80.0;
    let (channels, length) = match *sample.shape.as_slice() {
        [length] => (1, length),
        [channels, length] => (channels, length),
        _ => return None,
    };
    let (low, high) = ends(&sample.values)?;
    let title = format!("sample {number}: {channels} channels of {length} values, from {low:.3} to {high:.3}");
    let mut svg = format!(
        "<svg class=\"sample\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>"
    );
    let y = |value: f64| HEIGHT - 2.0 - (value - low) / (high - low) * (HEIGHT - 4.0);
    for line in sample.values.chunks(length.max(1)).take(LINES_MAX) {
        let mut points = String::new();
        for (at, value) in thinned(line) {
            let x = at as f64 / (length.max(2) - 1) as f64 * WIDTH;
            let _ = write!(points, "{x:.1},{:.1} ", y(value));
        }
        let _ = write!(svg, "<polyline class=\"wave\" points=\"{}\"/>", points.trim_end());
    }
    Some(svg + "</svg>")
}

/// The values with their places; of a long line the least and the greatest of each stretch, so that no spike is lost.
fn thinned(line: &[f64]) -> Vec<(usize, f64)> {
    let finite = |(_, value): &(usize, f64)| value.is_finite();
    let all = || line.iter().copied().enumerate().filter(finite);
    if line.len() <= 2 * POINTS {
        return all().collect();
    }
    let stretch = line.len().div_ceil(POINTS);
    let of_stretch = |i: usize| {
        let part = || all().skip(i * stretch).take(stretch);
        let (low, high) = (part().min_by(|a, b| a.1.total_cmp(&b.1)), part().max_by(|a, b| a.1.total_cmp(&b.1)));
        let mut both: Vec<(usize, f64)> = low.into_iter().chain(high).collect();
        both.sort_by_key(|(at, _)| *at);
        both.dedup();
        both
    };
    (0..POINTS).flat_map(of_stretch).collect()
}

/// Names and values; those that are 0 are left out, they are most of a table of flags.
fn row(sample: &Sample, columns: &[String]) -> String {
    let name = |i: usize| columns.get(i).cloned().unwrap_or_else(|| format!("[{i}]"));
    let set: Vec<(usize, f64)> = sample.values.iter().copied().enumerate().filter(|(_, v)| *v != 0.0).collect();
    let plain = |value: f64| if value.fract() == 0.0 { format!("{value}") } else { super::plain(value) };
    let value = |(i, value): &(usize, f64)| format!("{} <b>{}</b>", escape(&name(*i)), plain(*value));
    let shown: Vec<String> = set.iter().take(VALUES_MAX).map(value).collect();
    let more = if set.len() > VALUES_MAX { format!(" and {} more", set.len() - VALUES_MAX) } else { String::new() };
    let zeros = sample.values.len() - set.len();
    let zeros = if zeros > 0 { format!("; {zeros} are 0") } else { String::new() };
    format!("<span class=\"row\">{}{more}{zeros}</span>", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(what: Shows, shape: &[usize], values: Vec<f64>, bytes: bool) -> Shown {
        let sample = Sample { shape: shape.to_vec(), values, bytes };
        Shown { what: Some(what), columns: vec!["a<b".into()], samples: [(7, sample)].into() }
    }

    #[test]
    fn only_what_was_kept_and_fits_is_drawn() {
        let picture = shown(Shows::Image, &[1, 2, 4], (0..8).map(f64::from).collect(), true);
        assert!(draw(&picture, 7).unwrap().starts_with("<img class=\"sample\" alt=\"sample 7\" src=\"data:image/png"));
        assert_eq!(draw(&picture, 8), None);
        assert_eq!(draw(&shown(Shows::Image, &[5, 2, 4], vec![0.0; 40], false), 7), None);
        assert_eq!(draw(&shown(Shows::Image, &[2, 2], vec![f64::NAN; 4], false), 7), None);
    }

    #[test]
    fn a_spike_in_a_long_waveform_is_drawn() {
        let mut values = vec![0.0; 16_000];
        values[9_999] = 1.0;
        let svg = draw(&shown(Shows::Waveform, &[16_000], values, false), 7).unwrap();
        assert!(svg.len() < 10_000 && svg.contains(",2.0"), "{svg}");
        assert!(
            !draw(&shown(Shows::Waveform, &[2, 2], vec![1.0, f64::NAN, 2.0, 3.0], false), 7).unwrap().contains("NaN")
        );
    }

    #[test]
    fn names_of_columns_cannot_become_markup() {
        let text = draw(&shown(Shows::Row, &[3], vec![0.5, 0.0, 2.0], false), 7).unwrap();
        assert_eq!(text, "<span class=\"row\">a&lt;b <b>0.5000</b>, [2] <b>2</b>; 1 are 0</span>");
    }
}
