//! Do inputs look like random numbers? Pictures and series are told by their neighbours, tables by their columns.

use crate::layout::Layout;

/// Pairs of neighbours below which nothing can be said of a sample.
const PAIRS_MIN: usize = 64;
/// Standard deviations of a chance correlation within which neighbours have nothing to do with each other.
const DEVIATIONS: f64 = 3.0;
/// Columns of a table that are looked at.
const COLUMNS_MAX: usize = 64;
/// Rows below which nothing can be said of a table.
const ROWS_MIN: usize = 100;
/// Chance that a table of independent columns is not found to be one.
const ALPHA: f64 = 0.001;

/// Steps from an element to its neighbours along an axis of a sample.
struct Axis {
    /// Neighbours are so many elements apart.
    stride: usize,
    /// Elements in a line.
    length: usize,
}

/// The axes along which a sample has neighbours.
fn axes(layout: Layout) -> Vec<Axis> {
    match layout {
        Layout::Row { .. } => Vec::new(),
        Layout::Signal { length, .. } => vec![Axis { stride: 1, length }],
        Layout::Image { height, width, channels, interleaved } => {
            let step = if interleaved { channels } else { 1 };
            vec![Axis { stride: step, length: width }, Axis { stride: step * width, length: height }]
        }
    }
}

/// Has a sample neighbours that have nothing to do with each other, along every axis? `None` where that cannot be said: too few of them, a
/// constant sample, one with values that are no numbers.
///
/// Of independent values the correlation of neighbours has mean about 0 and variance about one in the number of pairs (M. S. Bartlett,
/// Supplement to the Journal of the Royal Statistical Society 8, 1946).
pub fn is_noise(sample: &[f64], layout: Layout) -> Option<bool> {
    let columns = layout.columns();
    let mut means = vec![(0.0, 0.0); columns];
    for (i, value) in sample.iter().enumerate() {
        let (sum, count) = &mut means[layout.column(i, sample.len())];
        (*sum, *count) = (*sum + value, *count + 1.0);
    }
    let centred: Vec<f64> = sample
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let (sum, count) = means[layout.column(i, sample.len())];
            value - sum / count
        })
        .collect();
    let variance = centred.iter().map(|v| v * v).sum::<f64>() / sample.len() as f64;
    if variance.is_nan() || variance <= 0.0 || variance.is_infinite() {
        return None;
    }
    let judged: Vec<bool> = axes(layout).iter().filter_map(|axis| unrelated(&centred, axis, variance)).collect();
    (!judged.is_empty()).then(|| judged.iter().all(|noise| *noise))
}

fn unrelated(centred: &[f64], axis: &Axis, variance: f64) -> Option<bool> {
    let (mut sum, mut pairs) = (0.0, 0);
    for (i, value) in centred.iter().enumerate() {
        // The last of a line has no neighbour in it.
        if i / axis.stride % axis.length + 1 < axis.length
            && let Some(next) = centred.get(i + axis.stride)
        {
            sum += value * next;
            pairs += 1;
        }
    }
    let correlation = sum / pairs.max(1) as f64 / variance;
    (pairs >= PAIRS_MIN).then(|| correlation.abs() <= DEVIATIONS / (pairs as f64).sqrt())
}

/// Is a table filled with random numbers: no two columns have to do with each other, and all are distributed alike? `None` where that cannot
/// be said: too few rows, or fewer than three columns that vary.
///
/// Both at a chance of 1 in 1000 for all columns together: Fisher's bound for correlations, and that of Dvoretzky, Kiefer and Wolfowitz
/// (with P. Massart's constant, Annals of Probability 18, 1990) for the distance of each column from all together.
pub fn is_noise_table(columns: &[Vec<f64>]) -> Option<bool> {
    let columns: Vec<Vec<f64>> = columns.iter().take(COLUMNS_MAX).filter_map(|c| standardized(c)).collect();
    let rows = columns.first().map_or(0, Vec::len);
    if columns.len() < 3 || rows < ROWS_MIN {
        return None;
    }
    Some(are_uncorrelated(&columns, rows) && are_alike(&columns, rows))
}

/// With mean 0 and variance 1; `None` for a column that is constant or holds something that is no number.
fn standardized(column: &[f64]) -> Option<Vec<f64>> {
    let n = column.len() as f64;
    let mean = column.iter().sum::<f64>() / n;
    let deviation = (column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    (deviation.is_finite() && deviation > 0.0).then(|| column.iter().map(|v| (v - mean) / deviation).collect())
}

fn are_uncorrelated(columns: &[Vec<f64>], rows: usize) -> bool {
    let pairs = (columns.len() * (columns.len() - 1) / 2) as f64;
    // Two-sided bound of a normal variable, by the tail bound exp(-z^2 / 2): a little too wide, never too narrow.
    let bound = (2.0 * (2.0 * pairs / ALPHA).ln()).sqrt() / (rows as f64).sqrt();
    let correlation = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / rows as f64;
    columns.iter().enumerate().all(|(i, a)| columns[i + 1..].iter().all(|b| correlation(a, b).abs() <= bound))
}

fn are_alike(columns: &[Vec<f64>], rows: usize) -> bool {
    let bound = ((2.0 * columns.len() as f64 / ALPHA).ln() / (2.0 * rows as f64)).sqrt();
    let mut together: Vec<f64> = columns.iter().flatten().copied().collect();
    together.sort_unstable_by(f64::total_cmp);
    let marks: Vec<f64> = (1..20).map(|i| together[together.len() * i / 20]).collect();
    let share = |column: &[f64], mark: f64| column.iter().filter(|v| **v <= mark).count() as f64 / column.len() as f64;
    let of_all = |mark: f64| together.partition_point(|v| *v <= mark) as f64 / together.len() as f64;
    columns.iter().all(|column| marks.iter().all(|mark| (share(column, *mark) - of_all(*mark)).abs() <= bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random: the mixer of splitmix64 (S. Vigna, public domain).
    fn random(i: usize) -> f64 {
        let mut z = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }

    #[test]
    fn random_pictures_and_series_are_noise_and_smooth_ones_are_not() {
        for shape in [&[1, 28, 28][..], &[16, 16, 3], &[12, 32]] {
            let layout = Layout::of(shape);
            let n = shape.iter().product::<u64>() as usize;
            let noisy = |k: usize| (0..n).map(|i| random(k * n + i)).collect::<Vec<_>>();
            let noise = (0..200).filter(|k| is_noise(&noisy(*k), layout) == Some(true)).count();
            assert!(noise >= 190, "{noise} of 200 of {shape:?}");
            let smooth: Vec<f64> = (0..n).map(|i| (i as f64 / 17.0).sin() + 0.2 * random(i)).collect();
            assert_eq!(is_noise(&smooth, layout), Some(false), "{shape:?}");
            assert_eq!(is_noise(&vec![3.0; n], layout), None);
            assert_eq!(is_noise(&vec![f64::NAN; n], layout), None);
        }
        assert_eq!(is_noise(&[1.0, 2.0, 3.0], Layout::of(&[3])), None);
    }

    #[test]
    fn random_tables_are_noise_and_related_or_different_columns_are_not() {
        let column = |k: usize| (0..500).map(|i| random(1000 * k + i)).collect::<Vec<_>>();
        let noise: Vec<Vec<f64>> = (0..6).map(column).collect();
        assert_eq!(is_noise_table(&noise), Some(true));
        // Other scales are no difference.
        let scaled: Vec<Vec<f64>> =
            noise.iter().enumerate().map(|(k, c)| c.iter().map(|v| v * k as f64 * 9.0 + 5.0).collect()).collect();
        assert_eq!(is_noise_table(&scaled), Some(true));
        let mut related = noise.clone();
        related[1] = noise[0].iter().zip(&noise[1]).map(|(a, b)| 0.4 * a + b).collect();
        assert_eq!(is_noise_table(&related), Some(false));
        let mut different = noise.clone();
        different[2].iter_mut().for_each(|v| *v = v.powi(4));
        assert_eq!(is_noise_table(&different), Some(false));
        assert_eq!(is_noise_table(&noise[..2]), None);
    }
}
