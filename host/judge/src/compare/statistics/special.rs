//! The few special functions that the intervals need.
//!
//! The incomplete beta function is written here because libraries of the field stop their continued fraction after a fixed number of terms
//! and return what they have: with 10^5 samples that is silently wrong.

use statrs::function::{
    erf::{erfc, erfc_inv},
    gamma::ln_gamma,
};

/// Quantile of the standard normal distribution for `0 < p < 1`; infinite at 0 and 1.
pub fn normal_quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// `P(Z <= z)` for `Z` standard normal.
pub(in crate::compare) fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// `P(X <= k)` for `X` binomial with `n` trials of probability `p`.
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    beta_regularized((n - k) as f64, k as f64 + 1.0, 1.0 - p)
}

/// Quantile of Student's distribution for `0.5 <= p < 1`.
pub(in crate::compare) fn student_quantile(p: f64, degrees: f64) -> f64 {
    // P(|T| <= t) = 1 - I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2).
    let within = |t: f64| 1.0 - beta_regularized(degrees / 2.0, 0.5, degrees / (degrees + t * t));
    // Searched on a scale of logarithms: with one degree of freedom the quantiles reach far.
    let root = increasing_root(-30.0, 60.0, |e| within(e.exp2()) - (2.0 * p - 1.0));
    if p > 0.5 { root.exp2() } else { 0.0 }
}

/// Regularized incomplete beta function `I_x(a, b)` for positive `a`, `b` and `0 <= x <= 1`, by the continued fraction of DLMF 8.17.22
/// (modified Lentz), on the side where it converges fast. The number of terms grows with the square root of the parameters.
pub(in crate::compare) fn beta_regularized(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let ln_front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    if x < (a + 1.0) / (a + b + 2.0) {
        (ln_front.exp() * continued_fraction(a, b, x) / a).clamp(0.0, 1.0)
    } else {
        (1.0 - ln_front.exp() * continued_fraction(b, a, 1.0 - x) / b).clamp(0.0, 1.0)
    }
}

fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let terms_max = 200 + (20.0 * (a + b).sqrt()) as u64;
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..=terms_max {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            step = d * c;
            result *= step;
        }
        if (step - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    result
}

/// The `p` in 0..=1 at which an increasing function crosses zero, by bisection to the last bit that matters.
pub(in crate::compare) fn increasing_root(low: f64, high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (low, high);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if f(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_equals_scipy_up_to_large_parameters() {
        // scipy.special.betainc(a, b, x). The logarithms of the gamma function cancel: with parameters of 10^6 eight digits remain.
        for (a, b, x, expected) in GOLDEN {
            let value = beta_regularized(a, b, x);
            assert!((value - expected).abs() <= 1e-8 * expected, "I_{x}({a}, {b}) = {value}, expected {expected}");
        }
    }

    #[test]
    fn binomial_tails_add_up() {
        // 10 fair coins: 1, 10, 45, ... of 1024.
        for (k, count) in [(0, 1.0), (1, 11.0), (2, 56.0), (9, 1023.0), (10, 1024.0)] {
            assert!((binomial_cdf(k, 10, 0.5) - count / 1024.0).abs() < 1e-14);
        }
    }

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
        assert!((normal_quantile(0.05) + 1.644_853_626_951_472_2).abs() < 1e-12);
        assert_eq!(normal_quantile(0.5), 0.0);
    }

    #[test]
    fn student_quantiles_are_those_of_the_tables() {
        for (p, degrees, expected) in
            [(0.95, 1.0, 6.313752), (0.95, 4.0, 2.131847), (0.975, 30.0, 2.042272), (0.95, 99_999.0, 1.644868)]
        {
            let value = student_quantile(p, degrees);
            assert!((value - expected).abs() < 2e-6 * expected, "{p} {degrees}: {value}");
        }
        assert_eq!(student_quantile(0.5, 3.0), 0.0);
    }

    const GOLDEN: [(f64, f64, f64, f64); 8] = [
        (2.0, 3.0, 0.4, 0.5247999999999999),
        (0.5, 0.5, 0.1, 0.20483276469913345),
        (64.0, 1.0, 0.9, 0.0011790184577738598),
        (630.0, 32.5, 0.95, 0.43417768117817235),
        (50000.0, 50000.0, 0.5, 0.49999999999999867),
        (99000.0, 1001.0, 0.9899, 0.38371387628576586),
        (1000000.0, 1000000.0, 0.4995, 0.07864957758091215),
        (20120.0, 20.0, 0.999, 0.45790359224718313),
    ];
}
