//! What a column of an input holds, gathered value by value.

/// Different values up to which a column is a set of codes: what is at the ends of such a column is no saturation.
const CODES_MAX: usize = 16;

/// Numbers of one column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Values that are numbers.
    pub values: u64,
    /// Values that are none.
    pub non_finite: u64,
    /// Least value; meaningless without values.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Values equal to the least.
    pub at_min: u64,
    /// Values equal to the greatest.
    pub at_max: u64,
    /// Values beyond the range that was given.
    pub outside: u64,
    /// Values that were held against that range.
    pub ranged: u64,
    /// The first value: sums are of differences from it, so that they keep their digits.
    shift: f64,
    sum: f64,
    squares: f64,
    codes: Option<Vec<f64>>,
}

impl Column {
    /// A column without values.
    pub fn new(name: String) -> Self {
        Self {
            name,
            values: 0,
            non_finite: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            at_min: 0,
            at_max: 0,
            outside: 0,
            ranged: 0,
            shift: 0.0,
            sum: 0.0,
            squares: 0.0,
            codes: Some(Vec::new()),
        }
    }

    /// Adds a value, and holds it against a range.
    pub fn add(&mut self, value: f64, range: Option<(f64, f64)>) {
        if !value.is_finite() {
            self.non_finite += 1;
            return;
        }
        if self.values == 0 {
            self.shift = value;
        }
        self.values += 1;
        self.sum += value - self.shift;
        self.squares += (value - self.shift).powi(2);
        self.extend(value);
        if let Some((low, high)) = range {
            self.ranged += 1;
            self.outside += u64::from(value < low || value > high);
        }
        if let Some(codes) = &mut self.codes
            && !codes.contains(&value)
        {
            codes.push(value);
            if codes.len() > CODES_MAX {
                self.codes = None;
            }
        }
    }

    fn extend(&mut self, value: f64) {
        if value < self.min {
            (self.min, self.at_min) = (value, 0);
        }
        if value > self.max {
            (self.max, self.at_max) = (value, 0);
        }
        self.at_min += u64::from(value == self.min);
        self.at_max += u64::from(value == self.max);
    }

    /// Mean of the values; 0 without any.
    pub fn mean(&self) -> f64 {
        if self.values == 0 { 0.0 } else { self.shift + self.sum / self.values as f64 }
    }

    /// Standard deviation of the values, with `n` in the denominator.
    pub fn deviation(&self) -> f64 {
        let n = (self.values as f64).max(1.0);
        (self.squares / n - (self.sum / n).powi(2)).max(0.0).sqrt()
    }

    /// Every value is the same.
    pub fn is_constant(&self) -> bool {
        self.values > 0 && self.min == self.max
    }

    /// It has few different values: a flag, a category, a count.
    pub fn is_code(&self) -> bool {
        self.codes.is_some()
    }

    /// Least and greatest value, if there is one.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.values > 0).then_some((self.min, self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_digits_far_from_zero() {
        let mut column = Column::new("x".into());
        (0..1000).for_each(|i| column.add(1e9 + f64::from(i % 10), Some((1e9, 1e9 + 8.0))));
        column.add(f64::NAN, Some((0.0, 1.0)));
        assert!((column.mean() - (1e9 + 4.5)).abs() < 1e-6);
        // Variance of 0..=9: (10^2 - 1) / 12.
        assert!((column.deviation() - 8.25_f64.sqrt()).abs() < 1e-9);
        assert_eq!((column.values, column.non_finite, column.outside, column.ranged), (1000, 1, 100, 1000));
        assert_eq!((column.at_min, column.at_max, column.is_code(), column.is_constant()), (100, 100, true, false));
    }
}
