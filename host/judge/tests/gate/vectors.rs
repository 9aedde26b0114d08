//! The judge's formulas against scipy and statsmodels, on the inputs of `tests/vectors/statistics.json` (made by the script beside it).

use boardproof_judge::compare::statistics::{
    Bootstrap, Confidence, Mean, Paired, PairedMethod, Proportion, auc, binomial_cdf, normal_quantile, paired_auc,
};
use serde::Deserialize;

/// How near a number must come, relative to it where it is above 1.
const NEAR: f64 = 1e-9;

#[derive(Deserialize)]
struct Vectors {
    proportions: Vec<Share>,
    pairs: Vec<Pair>,
    means: Vec<Values>,
    aucs: Vec<Scores>,
    bootstraps: Vec<Draws>,
    binomial_cdf: Vec<(u64, u64, f64, f64)>,
    normal_quantile: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Share {
    hits: u64,
    total: u64,
    confidence: f64,
    exact: [f64; 2],
    wilson: [f64; 2],
}

#[derive(Deserialize)]
struct Pair {
    won: u64,
    lost: u64,
    total: u64,
    confidence: f64,
    tango: [f64; 2],
    mcnemar_p: f64,
    regression_p: f64,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f64>,
    confidence: f64,
    student: [f64; 2],
}

#[derive(Deserialize)]
struct Scores {
    reference: Vec<f64>,
    candidate: Vec<f64>,
    positive: Vec<bool>,
    auc: f64,
    variance: f64,
    difference: f64,
    difference_variance: f64,
}

#[derive(Deserialize)]
struct Draws {
    estimate: f64,
    draws: Vec<f64>,
    left_out: Vec<f64>,
    confidence: f64,
    bias: f64,
    acceleration: f64,
    levels: [f64; 2],
    bca: [f64; 2],
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/statistics.json")).unwrap()
}

#[track_caller]
fn check(what: &str, found: f64, expected: f64) {
    let allowed = NEAR * expected.abs().max(1.0);
    assert!((found - expected).abs() <= allowed, "{what}: expected {expected}, got {found}");
}

fn confidence(share: f64) -> Confidence {
    Confidence::new(share).unwrap()
}

#[test]
fn shares_and_pairs() {
    for Share { hits, total, confidence: share, exact, wilson } in vectors().proportions {
        let proportion = Proportion::new(hits, total).unwrap();
        let found = (proportion.clopper_pearson(confidence(share)), proportion.wilson(confidence(share)));
        for (method, found, expected) in [("exact", found.0, exact), ("Wilson", found.1, wilson)] {
            check(&format!("{method} {hits}/{total} lower"), found.lower, expected[0]);
            check(&format!("{method} {hits}/{total} upper"), found.upper, expected[1]);
        }
    }
    for Pair { won, lost, total, confidence: share, tango, mcnemar_p, regression_p } in vectors().pairs {
        let counts = Paired { both: total - won - lost, reference_only: lost, candidate_only: won, neither: 0 };
        let found = counts.interval(confidence(share), PairedMethod::Score);
        check(&format!("Tango {won} {lost} {total} lower"), found.lower, tango[0]);
        check(&format!("Tango {won} {lost} {total} upper"), found.upper, tango[1]);
        check("McNemar", counts.mcnemar_p(), mcnemar_p);
        check("McNemar, one-sided", counts.regression_p(), regression_p);
    }
}

#[test]
fn means_and_ranks() {
    for Values { values, confidence: share, student } in vectors().means {
        let found = Mean::of(&values).unwrap().interval(confidence(share));
        check("Student, lower", found.lower, student[0]);
        check("Student, upper", found.upper, student[1]);
    }
    for Scores { reference, candidate, positive, auc: area, variance, difference, difference_variance } in
        vectors().aucs
    {
        let one = auc(&reference, &positive).unwrap().unwrap();
        check("AUC", one.value, area);
        check("its variance", one.variance, variance);
        let both = paired_auc(&reference, &candidate, &positive).unwrap().unwrap();
        check("difference of AUCs", both.difference(), difference);
        check("its variance", both.variance, difference_variance);
    }
}

#[test]
fn distributions() {
    for (k, n, p, expected) in vectors().binomial_cdf {
        check(&format!("binomial {k} {n} {p}"), binomial_cdf(k, n, p), expected);
    }
    for (p, expected) in vectors().normal_quantile {
        check(&format!("normal quantile {p}"), normal_quantile(p), expected);
    }
}

#[test]
fn bootstraps() {
    for Draws { estimate, draws, left_out, confidence: share, bias, acceleration, levels, bca } in vectors().bootstraps
    {
        let found = Bootstrap::from_draws(estimate, draws, &left_out).unwrap();
        check("bias", found.bias(), bias);
        check("acceleration", found.acceleration(), acceleration);
        let (low, high) = found.levels(confidence(share));
        check("lower level", low, levels[0]);
        check("upper level", high, levels[1]);
        let interval = found.bca(confidence(share));
        check("BCa, lower", interval.lower, bca[0]);
        check("BCa, upper", interval.upper, bca[1]);
    }
}
