//! Faults that were put in on purpose must be called what they are.

use super::causes::{Label, causes};
use super::sides::{Shown, row};
use super::{Row, SiteSummary};
use boardproof_record::layers::{INQUIRY, Inquiry, Layer, Layers, Quantizer, Weights};
use boardproof_record::observation::SelfCheck;
use boardproof_record::{CellId, EngineName, ModelName, UnitName, VariantName};

/// Numbers between -1 and 1 that look like none in particular.
fn numbers(count: usize) -> Vec<f64> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..count).map(next).collect()
}

fn int8(scale: f64, zero: f64) -> Quantizer {
    Quantizer { scale, zero, least: -128.0, most: 127.0 }
}

fn quantized(quantizer: &Quantizer, numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|n| quantizer.number(quantizer.whole(*n))).collect()
}

fn layer(tensor: &str, operator: &str, quantizer: Option<Quantizer>) -> Layer {
    Layer {
        tensor: tensor.into(),
        seen_as: tensor.into(),
        node: format!("/{tensor}"),
        operator: operator.into(),
        quantizer,
        reads: vec!["input".into()],
        reads_reference: vec!["input".into()],
        to_input: Vec::new(),
        to_input_reference: Vec::new(),
    }
}

fn weights(change: impl FnOnce(&mut Weights)) -> Weights {
    let mut weights = Weights {
        tensor: "w".into(),
        seen_as: "w_quantized".into(),
        layer: 1,
        dtype: "I8".into(),
        unlike: None,
        elements: 64,
        is_matrix: true,
        sqnr_db: Some(40.0),
        off_share: 0.0,
        clipped_share: 0.0,
        range_used_min: 1.0,
        channels: 8,
        channels_off: 0,
        channels_scaled: 0,
        channels_shifted: 0,
        channels_exchanged: 0,
        non_finite: 0,
    };
    change(&mut weights);
    weights
}

/// A model of an input, a layer and the answers; every site answers what its functions make of the reference's numbers.
struct Case {
    inquiry: Inquiry,
    float: Vec<f64>,
    rows: Vec<Row>,
    checks: Vec<SelfCheck>,
}

/// What a site makes of the numbers that a good kernel gives: the input, the layer, the answers.
type Site<'f> = &'f dyn Fn(usize, &[f64]) -> Vec<f64>;

impl Case {
    fn new(quantizers: [Option<Quantizer>; 3]) -> Self {
        let cell = |variant: &str| {
            let (model, variant) = (ModelName::new("m").unwrap(), VariantName::new(variant).unwrap());
            CellId::new(&model, &variant, &UnitName::new("host").unwrap(), &EngineName::new("tract").unwrap())
        };
        let names = [("input", "Input"), ("hidden", "Gemm"), ("output", "Gemm")];
        let layers = names.into_iter().zip(quantizers).map(|((tensor, op), q)| layer(tensor, op, q));
        let layers = Layers { layers: layers.collect(), weights: Vec::new(), unseen: Vec::new(), not_alone: None };
        let inquiry = Inquiry {
            schema: INQUIRY,
            model: ModelName::new("m").unwrap(),
            variant: VariantName::new("v").unwrap(),
            reference: VariantName::new("f32").unwrap(),
            layers,
            budget_db: 15.0,
            reference_shown: cell("f32"),
            sites: Vec::new(),
            samples: Vec::new(),
            of: None,
        };
        Self { inquiry, float: numbers(4000), rows: Vec::new(), checks: Vec::new() }
    }

    fn with(mut self, change: impl FnOnce(&mut Layers)) -> Self {
        change(&mut self.inquiry.layers);
        self
    }

    /// Runs it. What is wrong with a layer is wrong with all that follow.
    fn runs(mut self, sites: &[Site<'_>]) -> Self {
        let float = self.float.clone();
        let own = |layer: &Layer| layer.quantizer.map_or(float.clone(), |q| quantized(&q, &float));
        let mut carried: Vec<Vec<f64>> = vec![float.clone(); sites.len()];
        let layers = self.inquiry.layers.layers.clone();
        for (at, layer) in layers.iter().enumerate() {
            let shown = sites.iter().zip(&mut carried).map(|(site, carried)| {
                let alone = site(at, &own(layer));
                let behind: Vec<f64> = carried.iter().zip(&float).zip(&alone).map(|((c, f), a)| a + (c - f)).collect();
                carried.clone_from(&behind);
                Shown { accumulated: Some(behind), alone: Some(alone) }
            });
            let shown: Vec<_> = shown.collect();
            self.rows.push(row(layer, &float, &shown));
        }
        self
    }

    fn labels(&self) -> Vec<Label> {
        let budget = self.inquiry.budget_db;
        let count = self.rows[0].sides.len();
        let sites = (0..count).map(|at| {
            let seen = |row: &Row| row.sides[at].accumulated;
            let broken = seen(&self.rows[2]).is_some_and(|s| s.is_below(budget));
            let first = self.rows.iter().position(|row| seen(row).is_some_and(|s| s.is_below(budget)));
            SiteSummary {
                name: format!("site {at}"),
                answers: seen(&self.rows[2]),
                is_broken: broken,
                first_broken: first.filter(|_| broken),
                shown_is_whole: None,
            }
        });
        let sites: Vec<_> = sites.collect();
        let checks: Vec<_> = self.checks.iter().map(|check| ("site 0", Some(check))).collect();
        causes(&self.inquiry, &self.rows, (&sites, &[]), &checks).into_iter().map(|cause| cause.label).collect()
    }
}

const FITS: Quantizer = Quantizer { scale: 1.0 / 127.0, zero: 0.0, least: -128.0, most: 127.0 };

fn same(_: usize, numbers: &[f64]) -> Vec<f64> {
    numbers.to_vec()
}

#[track_caller]
fn check(case: Case, sites: &[Site<'_>], expected: &[Label]) {
    assert_eq!(case.runs(sites).labels(), expected);
}

#[test]
fn good_8_bits_are_quantization_and_nothing_else() {
    check(Case::new([Some(FITS); 3]), &[&same], &[Label::Quantization]);
}

#[test]
fn the_reference_itself_needs_no_cause() {
    check(Case::new([None; 3]), &[&same], &[]);
}

#[test]
fn a_range_that_is_too_narrow_is_saturation() {
    check(Case::new([Some(FITS), Some(int8(FITS.scale / 8.0, 0.0)), Some(FITS)]), &[&same], &[Label::Saturation]);
}

#[test]
fn a_range_in_the_wrong_place_is_a_wrong_zero_point() {
    let moved = int8(FITS.scale, -120.0);
    check(Case::new([Some(FITS), Some(moved), Some(FITS)]), &[&same], &[Label::WrongScaleOrZeroPoint]);
}

#[test]
fn steps_that_are_too_coarse_are_a_wrong_scale_or_another_input() {
    let coarse = int8(FITS.scale * 100.0, 0.0);
    check(Case::new([Some(FITS), Some(coarse), Some(FITS)]), &[&same], &[Label::WrongScaleOrZeroPoint]);
    let all = Case::new([Some(coarse), Some(int8(FITS.scale * 60.0, 0.0)), Some(int8(FITS.scale * 60.0, 0.0))]);
    let labels = all.runs(&[&same]).labels();
    assert_eq!(labels[0], Label::PreprocessingMismatch, "{labels:?}");
}

#[test]
fn what_is_not_a_number_is_told_wherever_it_comes_from() {
    let nan = |at: usize, numbers: &[f64]| match at {
        1 => numbers.iter().enumerate().map(|(i, n)| if i == 7 { f64::NAN } else { *n }).collect(),
        _ => numbers.to_vec(),
    };
    check(Case::new([None; 3]), &[&nan], &[Label::NonFinite]);
}

#[test]
fn another_sites_rounding_is_told_from_its_mistakes() {
    let step = FITS.scale;
    let one_off = move |at: usize, n: &[f64]| match at {
        1 => n.iter().enumerate().map(|(i, n)| if i % 50 == 0 { n - step * n.signum() } else { *n }).collect(),
        _ => n.to_vec(),
    };
    let rescaled = move |at: usize, n: &[f64]| match at {
        1 => n.iter().map(|n| ((n / step * 0.8).round() * step).clamp(-128.0 * step, 127.0 * step)).collect(),
        _ => n.to_vec(),
    };
    let moved = move |at: usize, n: &[f64]| match at {
        1 => n.iter().map(|n| (n + 5.0 * step).clamp(-128.0 * step, 127.0 * step)).collect(),
        _ => n.to_vec(),
    };
    let mixed = |at: usize, n: &[f64]| match at {
        1 => n.iter().rev().copied().collect(),
        _ => n.to_vec(),
    };
    let case = || Case::new([Some(FITS); 3]);
    check(case(), &[&same, &same], &[Label::Quantization]);
    check(case(), &[&same, &one_off], &[Label::KernelRounding, Label::Quantization]);
    check(case(), &[&same, &rescaled], &[Label::WrongScaleOrZeroPoint]);
    check(case(), &[&same, &moved], &[Label::WrongScaleOrZeroPoint]);
    check(case(), &[&same, &mixed], &[Label::KernelError]);
}

#[test]
fn an_optimizer_that_changes_the_answers_is_a_kernel_error() {
    let mut case = Case::new([Some(FITS); 3]);
    case.checks.push(SelfCheck {
        samples: 8,
        agree: false,
        max_abs: Some(1.0),
        sqnr_db: Some(3.0),
        operator: "Gemm (/hidden) running as OptMatMul".into(),
        detail: String::new(),
    });
    check(case, &[&same], &[Label::KernelError]);
}

/// A layer that goes wrong by itself, as damaged weights make it.
fn wrong(at: usize, numbers: &[f64]) -> Vec<f64> {
    if at == 1 { numbers.iter().rev().copied().collect() } else { numbers.to_vec() }
}

#[test]
fn weights_are_told_by_what_became_of_them() {
    let damaged = |change: &dyn Fn(&mut Weights)| {
        let off = |w: &mut Weights| {
            (w.channels_off, w.off_share, w.sqnr_db) = (8, 0.9, Some(0.0));
            change(w);
        };
        Case::new([Some(FITS); 3]).with(|layers| {
            layers.weights.push(weights(off));
            layers.weights.push(weights(|w| (w.tensor, w.layer) = ("last".into(), 2)));
        })
    };
    check(damaged(&|_| {}), &[&wrong], &[Label::CorruptedWeights]);
    check(damaged(&|w| w.channels_scaled = 8), &[&wrong], &[Label::WrongScaleOrZeroPoint]);
    check(damaged(&|w| w.clipped_share = 0.8), &[&wrong], &[Label::Saturation]);
    // Exchanged within the network, the layers behind do not know of it; at its end, it is the answers that are.
    check(damaged(&|w| w.channels_exchanged = 8), &[&wrong], &[Label::CorruptedWeights]);
    check(
        damaged(&|w| (w.channels_exchanged, w.layer) = (8, 2)),
        &[&|at, n| wrong(at.max(1) - 1, n)],
        &[Label::OutputsExchanged],
    );
    check(damaged(&|w| w.unlike = Some((vec![8, 8], vec![8, 9]))), &[&wrong], &[Label::OtherModel]);
    // Weights that are other but make no difference (folded into each other, say) are none of our business.
    check(damaged(&|_| {}), &[&same], &[Label::Quantization]);
}

#[test]
fn what_the_variant_does_to_its_input_is_told() {
    let turned = Case::new([None; 3]).with(|layers| layers.layers[1].to_input = vec!["Transpose".into()]);
    check(turned, &[&wrong], &[Label::PreprocessingMismatch]);
    let harmless = Case::new([None; 3]).with(|layers| layers.layers[1].to_input = vec!["Reshape".into()]);
    check(harmless, &[&same], &[]);
    let past = Case::new([None; 3]).with(|layers| {
        layers.layers[2].reads_reference = vec!["hidden".into()];
        layers.layers[2].reads = vec!["hidden".into(), "input".into()];
    });
    check(past, &[&|at, n| wrong(at.max(1) - 1, n)], &[Label::OtherModel]);
}

#[test]
fn what_nothing_explains_is_called_so() {
    check(Case::new([None; 3]), &[&wrong], &[Label::Unexplained]);
    check(Case::new([Some(FITS); 3]), &[&wrong], &[Label::Unexplained]);
}
