//! The vendors' own figures, by the vendors' own formulas, under the vendors' names, so that a user can lay them beside a vendor's report.
//!
//! They are for reading, not for gating: each has a trap, named at its variant. On input that is not finite every one of them is invalid
//! here, where several vendors let a NaN pass. `a` and `b` are the vendor's operands; which of them is the reference is said each time.
//! All sums are in f64: a vendor who accumulates in f32 differs in the last digits of an f32.

use super::numerics::Summary;
use super::validity::{Invalid, Measured};
use serde::Serialize;

/// A vendor's figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Dialect {
    /// ST: `||b - a|| / ||a||`, `a` the *candidate* (the generated model) in the denominator, unlike `relative_l2`.
    StL2r,
    /// ST: `sqrt(mean (b - a)^2)`.
    StRmse,
    /// ST: `mean |b - a|`.
    StMae,
    /// ST: `mean (b - a)`, reference minus generated. ST does not publish the sign; errors of opposite sign cancel.
    StMean,
    /// ST: standard deviation of `b - a` with `n - 1`.
    StStd,
    /// ST: Nash-Sutcliffe efficiency, `1 - mse / var(b)` with `n - 1` in the variance but `n` in the mse; `b` the reference.
    StNse,
    /// ST: cosine similarity.
    StCos,
    /// trtexec: share of elements with `|a - b| > atol + rtol |b|`, `b` the reference. The vendor never counts a NaN, so it passes.
    TrtL0,
    /// trtexec: `mean |a - b|`. With a NaN the vendor compares NaN with the limit and passes.
    TrtL1,
    /// trtexec: `mean (a - b)^2`: a mean squared error, whatever its name. NaN passes at the vendor.
    TrtL2,
    /// trtexec: `max |a - b|`. The vendor drops NaN from the maximum.
    TrtLinf,
    /// trtexec: `1 - cosine`, a loss; 1 where the product of the norms is below 1e-12, so two zero vectors are a total loss. NaN passes at
    /// the vendor.
    TrtCos,
    /// Polygraphy: `max |a - b|`.
    PolygraphyAbsdiffMax,
    /// Polygraphy: `mean |a - b|`.
    PolygraphyAbsdiffMean,
    /// Polygraphy: `max |a - b| / |b|`, `b` the reference, 2.2e-16 in place of a zero; in general at another element than the largest
    /// absolute difference.
    PolygraphyReldiffMax,
    /// Polygraphy: mean of the same quotient.
    PolygraphyReldiffMean,
    /// Polygraphy: `||a - b||`, not divided by the number of elements.
    PolygraphyL2,
    /// Polygraphy: cosine similarity; both zero 1, one zero 0, clamped.
    PolygraphyCosine,
    /// Polygraphy: `20 log10(max a) - 10 log10(mse)`, `a` the first operand, here the candidate; the peak is signed, and 1 if not positive.
    PolygraphyPsnr,
    /// Polygraphy: `10 log10(mean a^2 / mse)`, the signal being the first operand, here the candidate.
    PolygraphySnr,
    /// ONNX Runtime: `20 log10(max(||x||, e) / max(||x - y||, e))`, `x` the reference, `e` 2.2e-16, so identical operands are finite. Higher
    /// is better.
    OrtSqnr,
    /// LiteRT: `10 log10(sum c^2 / sum d^2)`, `c` the CPU, here the reference. With a NaN the vendor reports infinity.
    LitertSnr,
    /// LiteRT: `20 log10(max |c| / rmse)`. With a NaN the vendor reports infinity.
    LitertPsnr,
    /// ExecuTorch: `10 log10(mean a^2 / mse)`, `a` the ahead-of-time reference.
    ExecutorchSnr,
    /// ExecuTorch: `mean (a - b)^2`.
    ExecutorchMse,
    /// ExecuTorch: `sum |a - b|`, a sum and not a mean: it grows with the size of the output.
    ExecutorchL1,
}

/// `numpy.finfo(float).eps`, the floor of ONNX Runtime's norms.
const ORT_FLOOR: f64 = f64::EPSILON;
/// Below this product of norms trtexec calls the loss 1.
const TRT_COSINE_FLOOR: f64 = 1e-12;

impl Dialect {
    /// All of them, vendor by vendor.
    pub const ALL: [Self; 26] = [
        Self::StL2r,
        Self::StRmse,
        Self::StMae,
        Self::StMean,
        Self::StStd,
        Self::StNse,
        Self::StCos,
        Self::TrtL0,
        Self::TrtL1,
        Self::TrtL2,
        Self::TrtLinf,
        Self::TrtCos,
        Self::PolygraphyAbsdiffMax,
        Self::PolygraphyAbsdiffMean,
        Self::PolygraphyReldiffMax,
        Self::PolygraphyReldiffMean,
        Self::PolygraphyL2,
        Self::PolygraphyCosine,
        Self::PolygraphyPsnr,
        Self::PolygraphySnr,
        Self::OrtSqnr,
        Self::LitertSnr,
        Self::LitertPsnr,
        Self::ExecutorchSnr,
        Self::ExecutorchMse,
        Self::ExecutorchL1,
    ];

    /// Name in reports: vendor, colon, the vendor's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::StL2r => "st:l2r",
            Self::StRmse => "st:rmse",
            Self::StMae => "st:mae",
            Self::StMean => "st:mean",
            Self::StStd => "st:std",
            Self::StNse => "st:nse",
            Self::StCos => "st:cos",
            Self::TrtL0 => "trt:l0",
            Self::TrtL1 => "trt:l1",
            Self::TrtL2 => "trt:l2",
            Self::TrtLinf => "trt:linf",
            Self::TrtCos => "trt:cos",
            Self::PolygraphyAbsdiffMax => "polygraphy:absdiff_max",
            Self::PolygraphyAbsdiffMean => "polygraphy:absdiff_mean",
            Self::PolygraphyReldiffMax => "polygraphy:reldiff_max",
            Self::PolygraphyReldiffMean => "polygraphy:reldiff_mean",
            Self::PolygraphyL2 => "polygraphy:l2",
            Self::PolygraphyCosine => "polygraphy:cosine",
            Self::PolygraphyPsnr => "polygraphy:psnr",
            Self::PolygraphySnr => "polygraphy:snr",
            Self::OrtSqnr => "ort:sqnr",
            Self::LitertSnr => "litert:snr",
            Self::LitertPsnr => "litert:psnr",
            Self::ExecutorchSnr => "executorch:snr",
            Self::ExecutorchMse => "executorch:mse",
            Self::ExecutorchL1 => "executorch:l1",
        }
    }

    /// The dialect of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The vendor's figure, or why there is none. Infinite where the vendor's formula is (decibels of identical operands), never NaN.
    pub fn value(self, summary: &Summary) -> Measured {
        let non_finite = summary.non_finite().elements();
        if non_finite > 0 {
            return Err(Invalid::NonFinite { elements: non_finite });
        }
        if summary.finite_pairs() == 0 {
            return Err(Invalid::NoPairs);
        }
        let value = Sums::of(summary)?.figure(self, summary)?;
        if value.is_nan() { Err(Invalid::Range) } else { Ok(value) }
    }
}

/// Sums of squares and other common terms.
struct Sums {
    n: f64,
    /// `sum (c - r)^2`
    difference: f64,
    reference: f64,
    candidate: f64,
    /// `sum |c - r|`
    absolute: f64,
}

impl Sums {
    fn of(summary: &Summary) -> Result<Self, Invalid> {
        let sums = Self {
            n: summary.finite_pairs() as f64,
            difference: summary.squares_difference()?,
            reference: summary.squares_reference()?,
            candidate: summary.squares_candidate()?,
            absolute: summary.totals().d_abs.total(),
        };
        if sums.absolute.is_finite() { Ok(sums) } else { Err(Invalid::Range) }
    }

    fn mse(&self) -> f64 {
        self.difference / self.n
    }

    fn figure(&self, dialect: Dialect, summary: &Summary) -> Measured {
        let totals = summary.totals();
        match dialect {
            Dialect::StL2r => quotient(self.difference.sqrt(), self.candidate.sqrt()),
            Dialect::StRmse => Ok(self.mse().sqrt()),
            Dialect::StMae | Dialect::TrtL1 | Dialect::PolygraphyAbsdiffMean => Ok(self.absolute / self.n),
            Dialect::StMean => Ok(-totals.d.total() / self.n),
            Dialect::StStd => Ok(variance(totals.difference.variance())?.sqrt()),
            Dialect::StNse => Ok(1.0 - quotient(self.mse(), variance(totals.reference.variance())?)?),
            Dialect::StCos | Dialect::PolygraphyCosine => summary.cosine(),
            Dialect::TrtL0 => Ok((self.n - totals.within_tolerance as f64) / self.n),
            Dialect::TrtL2 | Dialect::ExecutorchMse => Ok(self.mse()),
            Dialect::TrtLinf | Dialect::PolygraphyAbsdiffMax => Ok(totals.peaks.d_abs),
            Dialect::TrtCos if self.reference.sqrt() * self.candidate.sqrt() < TRT_COSINE_FLOOR => Ok(1.0),
            Dialect::TrtCos => Ok(1.0 - summary.cosine()?),
            Dialect::PolygraphyReldiffMax => Ok(totals.peaks.relative_stand_in),
            Dialect::PolygraphyReldiffMean => Ok(totals.relative.total() / self.n),
            Dialect::PolygraphyL2 => Ok(self.difference.sqrt()),
            Dialect::PolygraphyPsnr => {
                let peak = if totals.peaks.c > 0.0 { totals.peaks.c } else { 1.0 };
                Ok(20.0 * peak.log10() - 10.0 * self.mse().log10())
            }
            Dialect::PolygraphySnr => power_ratio(self.candidate, self.difference),
            Dialect::OrtSqnr => {
                let norm = |squares: f64| squares.sqrt().max(ORT_FLOOR);
                Ok(20.0 * (norm(self.reference) / norm(self.difference)).log10())
            }
            Dialect::LitertSnr | Dialect::ExecutorchSnr => power_ratio(self.reference, self.difference),
            Dialect::LitertPsnr => Ok(2.0 * power_ratio(totals.peaks.r_abs, self.mse().sqrt())?),
            Dialect::ExecutorchL1 => Ok(self.absolute),
        }
    }
}

/// `10 log10(signal / noise)` as IEEE arithmetic gives it; nothing against nothing has no value.
fn power_ratio(signal: f64, noise: f64) -> Measured {
    Ok(10.0 * quotient(signal, noise)?.log10())
}

fn quotient(numerator: f64, denominator: f64) -> Measured {
    let value = numerator / denominator;
    if value.is_nan() { Err(Invalid::NotApplicable("the vendor's formula divides zero by zero")) } else { Ok(value) }
}

fn variance(variance: Option<f64>) -> Measured {
    let value = variance.ok_or(Invalid::NotApplicable("a variance with n - 1 needs two elements"))?;
    if value.is_finite() { Ok(value) } else { Err(Invalid::Range) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::numerics::{Options, compare};
    use crate::compare::tensor::{DType, TensorView};

    fn summary(reference: &[f32], candidate: &[f32]) -> Summary {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (r, c, shape) = (bytes(reference), bytes(candidate), [reference.len()]);
        let view = |bytes| TensorView::new(DType::F32, &shape, bytes).unwrap();
        compare(&view(&r), &view(&c), Options { atol: 0.3, rtol: 0.1, top_k: 5 }).unwrap()
    }

    #[test]
    fn vendor_formulas_by_hand() {
        // r = [1, 2, -3, 0], c = [1.5, 2, -2, 0.5]; c - r = [.5, 0, 1, .5]: sum 2, sum of squares 1.5, |r|^2 = 14, |c|^2 = 10.5, r.c = 11.5
        let summary = summary(&[1.0, 2.0, -3.0, 0.0], &[1.5, 2.0, -2.0, 0.5]);
        let check = |name: &str, expected: f64| {
            let value = Dialect::from_name(name).unwrap().value(&summary).unwrap();
            assert!(
                (value - expected).abs() <= 1e-12 * expected.abs().max(1.0),
                "{name}: {value}, expected {expected}"
            );
        };
        check("st:l2r", (1.5_f64 / 10.5).sqrt());
        check("st:rmse", 0.375_f64.sqrt());
        check("st:mae", 0.5);
        check("st:mean", -0.5);
        check("st:std", (0.5_f64 / 3.0).sqrt());
        check("st:nse", 1.0 - 0.375 / (14.0 / 3.0));
        check("st:cos", 11.5 / (14.0_f64.sqrt() * 10.5_f64.sqrt()));
        // Limits 0.4, 0.5, 0.6, 0.3 against 0.5, 0, 1, 0.5.
        check("trt:l0", 0.75);
        check("trt:l1", 0.5);
        check("trt:l2", 0.375);
        check("trt:linf", 1.0);
        check("trt:cos", 1.0 - 11.5 / (14.0_f64.sqrt() * 10.5_f64.sqrt()));
        check("polygraphy:absdiff_max", 1.0);
        check("polygraphy:absdiff_mean", 0.5);
        check("polygraphy:reldiff_max", 0.5 / f64::EPSILON);
        check("polygraphy:reldiff_mean", (0.5 + 1.0 / 3.0 + 0.5 / f64::EPSILON) / 4.0);
        check("polygraphy:l2", 1.5_f64.sqrt());
        check("polygraphy:cosine", 11.5 / (14.0_f64.sqrt() * 10.5_f64.sqrt()));
        check("polygraphy:psnr", 20.0 * 2.0_f64.log10() - 10.0 * 0.375_f64.log10());
        check("polygraphy:snr", 10.0 * 7.0_f64.log10());
        check("ort:sqnr", 10.0 * (14.0_f64 / 1.5).log10());
        check("litert:snr", 10.0 * (14.0_f64 / 1.5).log10());
        check("litert:psnr", 20.0 * (3.0 / 0.375_f64.sqrt()).log10());
        check("executorch:snr", 10.0 * (14.0_f64 / 1.5).log10());
        check("executorch:mse", 0.375);
        check("executorch:l1", 2.0);
    }

    #[test]
    fn a_value_that_is_not_finite_makes_every_dialect_invalid() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (r, c) in [([1.0, 2.0], [1.0, bad]), ([1.0, bad], [1.0, 2.0]), ([1.0, bad], [1.0, bad])] {
                for dialect in Dialect::ALL {
                    let value = dialect.value(&summary(&r, &c));
                    assert_eq!(value, Err(Invalid::NonFinite { elements: 1 }), "{} with {bad}", dialect.name());
                }
            }
        }
    }

    #[test]
    fn zero_vectors_differ_between_vendors() {
        let zeros = summary(&[0.0, 0.0], &[0.0, 0.0]);
        assert_eq!(Dialect::TrtCos.value(&zeros), Ok(1.0), "a total loss at trtexec");
        assert_eq!(Dialect::PolygraphyCosine.value(&zeros), Ok(1.0), "a perfect similarity at Polygraphy");
        assert_eq!(Dialect::OrtSqnr.value(&zeros), Ok(0.0));
        assert!(matches!(Dialect::LitertSnr.value(&zeros), Err(Invalid::NotApplicable(_))));
        assert!(matches!(Dialect::StL2r.value(&zeros), Err(Invalid::NotApplicable(_))));
    }

    #[test]
    fn identical_operands_are_perfect_in_every_dialect() {
        let same = summary(&[1.0, -2.0, 4.0], &[1.0, -2.0, 4.0]);
        for dialect in [Dialect::LitertSnr, Dialect::LitertPsnr, Dialect::ExecutorchSnr, Dialect::PolygraphyPsnr] {
            assert_eq!(dialect.value(&same), Ok(f64::INFINITY));
        }
        for dialect in [Dialect::StL2r, Dialect::TrtL0, Dialect::TrtL2, Dialect::PolygraphyReldiffMax] {
            assert_eq!(dialect.value(&same), Ok(0.0), "{}", dialect.name());
        }
        assert!(Dialect::OrtSqnr.value(&same).unwrap() > 300.0, "the vendor's floor keeps it finite");
        assert_eq!(Dialect::StNse.value(&same), Ok(1.0));
    }

    #[test]
    fn roles_matter_where_the_formula_is_not_symmetric() {
        let (one, two) = (summary(&[1.0, 2.0], &[2.0, 5.0]), summary(&[2.0, 5.0], &[1.0, 2.0]));
        for dialect in [
            Dialect::StL2r,
            Dialect::StMean,
            Dialect::StNse,
            Dialect::PolygraphyReldiffMax,
            Dialect::PolygraphySnr,
            Dialect::OrtSqnr,
            Dialect::LitertSnr,
            Dialect::ExecutorchSnr,
        ] {
            assert_ne!(dialect.value(&one), dialect.value(&two), "{}", dialect.name());
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::from_name(dialect.name()), Some(dialect));
        }
    }
}
