//! Bands of what came before: does the latest value of a series fall out of the usual? For warnings. A series of runs moves with everything
//! that moves between runs, so nothing here decides anything.

use super::statistics::student_quantile;
use serde::Serialize;

/// Where the next value is expected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Band {
    /// Is a value outside? What is no number is.
    pub fn excludes(&self, value: f64) -> bool {
        !(self.lower <= value && value <= self.upper)
    }
}

/// Fewer values have no band: any line goes through two points.
pub const HISTORY_MIN: usize = 5;

/// The prediction interval of one more value of a normal series: `mean -+ t(p, n - 1) s sqrt(1 + 1/n)`, `p` one-sided at each end (Hahn and
/// Meeker 1991, section 4.7; the `t_test` threshold of bencher). `None` with fewer than [`HISTORY_MIN`] values, or one that is not finite.
pub fn prediction(history: &[f64], p: f64) -> Option<Band> {
    let n = usable(history)?;
    let mean = history.iter().sum::<f64>() / n;
    let variance = history.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = student_quantile(p, n - 1.0) * (variance * (1.0 + 1.0 / n)).sqrt();
    Some(Band { lower: mean - half, upper: mean + half })
}

/// `median -+ k (Q3 - Q1)`, around the median (the `iqr` threshold of bencher; not Tukey's fences, which start at the quartiles). Quartiles are
/// interpolated (Hyndman and Fan 1996, type 7). A few wild values do not widen it. `None` as above.
pub fn quartiles(history: &[f64], k: f64) -> Option<Band> {
    usable(history)?;
    let mut sorted = history.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |p: f64| {
        let place = p * (sorted.len() - 1) as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let above = (below + 1).min(sorted.len() - 1);
        sorted[below] + part * (sorted[above] - sorted[below])
    };
    let (median, half) = (at(0.5), k * (at(0.75) - at(0.25)));
    Some(Band { lower: median - half, upper: median + half })
}

fn usable(history: &[f64]) -> Option<f64> {
    let fits = history.len() >= HISTORY_MIN && history.iter().all(|value| value.is_finite());
    fits.then_some(history.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_those_of_the_formulas() {
        let history = [10.0, 11.0, 9.0, 10.5, 9.5];
        // s = 0.790569, t(0.99, 4) = 3.746947.
        let band = prediction(&history, 0.99).unwrap();
        let half = 3.746_947 * 0.790_569_415 * 1.2_f64.sqrt();
        assert!((band.upper - (10.0 + half)).abs() < 1e-5 && (band.lower - (10.0 - half)).abs() < 1e-5, "{band:?}");
        let band = quartiles(&history, 3.0).unwrap();
        assert_eq!((band.lower, band.upper), (7.0, 13.0));
        assert!(band.excludes(13.1) && !band.excludes(13.0) && band.excludes(f64::NAN));
    }

    #[test]
    fn one_wild_value_widens_one_band_and_not_the_other() {
        let history = [10.0, 11.0, 9.0, 10.5, 9.5, 100.0];
        assert!(!prediction(&history, 0.99).unwrap().excludes(50.0));
        assert!(quartiles(&history, 3.0).unwrap().excludes(50.0));
    }

    #[test]
    fn too_little_or_no_number_has_no_band() {
        assert_eq!(prediction(&[1.0; 4], 0.99), None);
        assert_eq!(quartiles(&[1.0, 2.0, 3.0, 4.0, f64::INFINITY], 3.0), None);
        assert_eq!(prediction(&[1.0; 5], 0.99), Some(Band { lower: 1.0, upper: 1.0 }));
    }
}
