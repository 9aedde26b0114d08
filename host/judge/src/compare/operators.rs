//! What ran, operator by operator: in which arithmetic, for how long, for how much.
//!
//! Time is a share and no latency: it was taken with a clock around each operator, in inferences of their own.

use boardproof_record::observation::{Operator, PassObservation};
use serde::Serialize;

/// An operator that ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperatorLine {
    /// As the engine reported it.
    #[serde(flatten)]
    pub operator: Operator,
    /// Mean time of one run with a clock around each operator, in nanoseconds.
    pub time_ns: Option<u64>,
    /// Its part of the time of all operators, 0 to 1.
    pub time_share: Option<f64>,
    /// Size of its outputs, in bytes.
    pub output_bytes: Option<u64>,
    /// Multiply-accumulates of one run.
    pub macs: Option<u64>,
    /// It multiplies and sums integers; `None` for an operator that does neither.
    pub integer: Option<bool>,
    /// Where it was wanted, when it ran elsewhere; its kernel says where that was.
    pub fell_back_from: Option<String>,
}

/// The operators of an inspection, with what they cost where the engine told.
pub fn lines(inspected: &PassObservation) -> Vec<OperatorLine> {
    let fact = |name: &str, index: u32| inspected.facts.number(name, index);
    let total: u64 = inspected.operators.iter().filter_map(|op| fact("operator_ns", op.index)).sum();
    let line = |operator: &Operator| {
        let time_ns = fact("operator_ns", operator.index);
        let macs = fact("operator_macs", operator.index);
        OperatorLine {
            operator: operator.clone(),
            time_ns,
            time_share: time_ns.filter(|_| total > 0).map(|ns| ns as f64 / total as f64),
            output_bytes: fact("operator_out_bytes", operator.index),
            macs,
            integer: operator.multiplies_integers(macs),
            fell_back_from: fell_back_from(operator),
        }
    };
    inspected.operators.iter().map(line).collect()
}

/// Words with which a runner names where an operator was wanted that ran elsewhere.
const FELL_BACK: &str = "(fell back from ";

fn fell_back_from(operator: &Operator) -> Option<String> {
    let (_, rest) = operator.kernel.split_once(FELL_BACK)?;
    let (wanted, _) = rest.split_once(')').unwrap_or((rest, ""));
    Some(wanted.to_owned())
}

/// Share of the multiply-accumulates that were done on integers, 0 to 1: what "runs as int8" means. Where an operator's count is not
/// known all operators that multiply weigh the same. `None` when none multiplies.
pub fn integer_share(lines: &[OperatorLine]) -> Option<f64> {
    let multiplying: Vec<(u64, bool)> =
        lines.iter().filter_map(|line| Some((line.macs.unwrap_or(0), line.integer?))).collect();
    let counted = multiplying.iter().all(|(macs, _)| *macs > 0);
    let weight = |macs: u64| if counted { macs as f64 } else { 1.0 };
    let sum = |all: &mut dyn Iterator<Item = &(u64, bool)>| {
        all.map(|(macs, _)| weight(*macs)).fold(0.0, |sum, macs| sum + macs)
    };
    let total = sum(&mut multiplying.iter());
    (total > 0.0).then(|| sum(&mut multiplying.iter().filter(|(_, integer)| *integer)) / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::observation::{Ended, Facts};
    use boardproof_record::plan::Pass;

    fn inspected(operators: &[(&str, &str)], facts: &[(&str, u64)]) -> PassObservation {
        let operator = |(index, (dtypes, kernel)): (usize, &(&str, &str))| Operator {
            index: index as u32,
            name: "n".into(),
            op: "o".into(),
            dtypes: (*dtypes).into(),
            kernel: (*kernel).into(),
        };
        let numbers = facts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        PassObservation {
            pass: Pass::Inspect,
            ended: Ended::Completed,
            facts: Facts { numbers, ..Facts::default() },
            operators: operators.iter().enumerate().map(operator).collect(),
            self_check: None,
            cannot_run: None,
            outputs: None,
            ticks: None,
            inferences: 1,
            stopped: None,
        }
    }

    #[test]
    fn time_is_shared_out_and_arithmetic_is_named() {
        let seen = inspected(
            &[("i8,i8->i32", "avx accumulates in i32"), ("f32,f32->f32", "accumulates in f32"), ("u8->u8", "")],
            &[("operator_ns", 300), ("operator_ns[1]", 100), ("operator_macs", 3000), ("operator_macs[1]", 1000)],
        );
        let lines = lines(&seen);
        let shares: Vec<_> = lines.iter().map(|line| line.time_share).collect();
        assert_eq!(shares, [Some(0.75), Some(0.25), None]);
        assert_eq!(lines.iter().map(|line| line.integer).collect::<Vec<_>>(), [Some(true), Some(false), None]);
        assert_eq!(integer_share(&lines), Some(0.75));
    }

    #[test]
    fn an_operator_that_ran_elsewhere_says_where_it_was_wanted() {
        let ran =
            [("f32->f32", "CUDA"), ("f32->f32", "CPU (fell back from CUDA) accumulates in f32"), ("f32->f32", "")];
        let lines = lines(&inspected(&ran, &[("operator_macs[1]", 10)]));
        let wanted: Vec<_> = lines.iter().map(|line| line.fell_back_from.as_deref()).collect();
        assert_eq!(wanted, [None, Some("CUDA"), None]);
        assert_eq!(lines[1].integer, Some(false));
    }

    #[test]
    fn an_int8_model_that_runs_in_float_is_seen() {
        let seen = inspected(&[("f32,f32->f32", ""), ("f32->f32", "")], &[("operator_macs", 10)]);
        assert_eq!(integer_share(&lines(&seen)), Some(0.0));
        assert_eq!(integer_share(&lines(&inspected(&[("i8->i8", "")], &[]))), None);
        // Not every count is known: each operator that multiplies is one.
        let some = [("i8,i8->i32", "accumulates in i32"), ("f32,f32->f32", "accumulates in f32")];
        assert_eq!(integer_share(&lines(&inspected(&some, &[("operator_macs", 1000)]))), Some(0.5));
    }
}
