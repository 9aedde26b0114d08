//! The gate's own error rates, on few runs: enough to see a broken interval. The long table is `cargo xtask bench gate-errors`.

#[path = "../../examples/gate_errors/simulate.rs"]
mod simulate;

use simulate::{Row, accuracy_drop, auc_drop, latency, slice_alarm, value};

/// Errors that `docs/gate.md` owns up to: the rule, words of its truth, and the share that it may reach.
const KNOWN: [(&str, &str, f64); 3] = [
    // Order statistics take samples for independent: times that follow each other are fewer than they look.
    ("latency", "correlation 0.5", 0.25),
    ("latency", "correlation 0.9", 0.45),
    // Long tails are seen too rarely in a hundred samples.
    ("mean error at most", "exponential", 0.09),
];

fn allowed(row: &Row) -> f64 {
    let known = KNOWN.iter().find(|(rule, truth, _)| row.rule.starts_with(rule) && row.truth.contains(truth));
    known.map_or(0.055, |(.., share)| *share) + 3.0 * (0.05_f64 * 0.95 / f64::from(row.trials)).sqrt()
}

#[track_caller]
fn check(row: &Row, wrong: f64) {
    assert!(
        wrong <= allowed(row),
        "{row}: wrong in {:.1} % of the runs, {:.1} % allowed",
        wrong * 100.0,
        allowed(row) * 100.0
    );
}

#[test]
fn at_a_limit_the_gate_is_seldom_sure_of_either_side() {
    let rows = [accuracy_drop(400), auc_drop(1200), value(800), latency(1200)].into_iter().flatten();
    for row in rows.filter(|row| row.truth.contains("loss 1 ") || row.truth.contains("at the limit")) {
        check(&row, row.pass_share());
        check(&row, row.fail_share());
    }
}

#[test]
fn beyond_a_limit_it_passes_more_seldom_still_and_within_it_it_does_not_fail() {
    for row in [accuracy_drop(400), auc_drop(800)].into_iter().flatten() {
        match row.truth.rsplit(", ").next() {
            Some("loss 2 points") => check(&row, row.pass_share()),
            Some("loss 0 points") => check(&row, row.fail_share()),
            _ => {}
        }
    }
}

#[test]
fn an_alarm_does_not_cry_wolf_and_a_large_loss_does_not_slip_by() {
    for row in slice_alarm(2000) {
        match row.truth.as_str() {
            "loss 0 points" => assert!(row.fail_share() < 0.16, "{row}"),
            "loss 20 points" => assert!(row.pass_share() < 0.05, "{row}"),
            _ => {}
        }
    }
}
