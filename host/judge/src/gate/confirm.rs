//! A red time or memory against a baseline is looked at twice, by another build and in another lease. Both attempts stand; neither is the
//! better one that is kept.

use super::GateError;
use super::decide::reason;
use super::metrics::TIMED_RATIOS;
use super::verdict_of;
use crate::evidence::Evidence;
use boardproof_record::CellId;
use boardproof_record::policy::{Against, Policy};
use boardproof_record::verdict::{CellJudgement, Judgement, RuleResult, Verdict};

/// Cells that fail by nothing but what such a second look can clear: time or memory against the baseline.
pub fn red_once<'j>(judgement: &'j Judgement, policy: &Policy) -> Vec<&'j CellId> {
    let red = |cell: &&CellJudgement| {
        let mut failing = cell.rules.iter().filter(|rule| rule.verdict == Verdict::Fail).peekable();
        failing.peek().is_some() && failing.all(|rule| is_noisy(rule, policy))
    };
    judgement.cells.iter().filter(red).map(|cell| &cell.cell).collect()
}

fn is_noisy(result: &RuleResult, policy: &Policy) -> bool {
    let rule = policy.rules.iter().find(|rule| rule.id == result.rule);
    TIMED_RATIOS.contains(&result.metric.as_str()) && rule.is_some_and(|rule| rule.against == Against::Baseline)
}

/// Puts a second look beside a first. What was red both times fails; what was red once is not known: it neither passes nor fails. A second
/// look that has no number leaves the first as it was.
///
/// # Errors
/// The second is not a repetition of the first: other cells, or other models.
pub fn confirmed(
    first: (Evidence<'_>, Judgement),
    second: (Evidence<'_>, &Judgement),
    policy: &Policy,
) -> Result<Judgement, GateError> {
    let (evidence, mut judgement) = first;
    is_repetition(evidence, second.0)?;
    let red: Vec<CellId> = red_once(&judgement, policy).into_iter().cloned().collect();
    for cell in judgement.cells.iter_mut().filter(|cell| red.contains(&cell.cell)) {
        let again = super::of_cell(second.1, &cell.cell);
        for result in cell.rules.iter_mut().filter(|result| result.verdict == Verdict::Fail) {
            let same = |other: &&RuleResult| other.rule == result.rule && other.slice == result.slice;
            look_again(result, again.and_then(|again| again.rules.iter().find(same)), policy);
        }
        cell.verdict = verdict_of(&cell.rules, policy);
        cell.reason = reason(cell.verdict, &cell.rules);
    }
    judgement.verdict = super::of_run(evidence, &judgement.cells);
    Ok(judgement)
}

fn look_again(result: &mut RuleResult, again: Option<&RuleResult>, policy: &Policy) {
    let number = |again: &RuleResult| again.observed.map_or("no number".to_owned(), |v| format!("{v:.2}"));
    let told = match again {
        Some(again) if again.verdict == Verdict::Fail => {
            format!("and {} when it was measured again with another build in another lease: confirmed", number(again))
        }
        Some(again) if again.observed.is_some() => {
            // A policy that lets what is not decided pass did not mean what was red.
            result.verdict = if policy.inconclusive_blocks { Verdict::Inconclusive } else { Verdict::Incomplete };
            format!(
                "but {} when it was measured again with another build in another lease: red once is not shown",
                number(again)
            )
        }
        Some(again) => format!("it could not be measured again: {}", again.detail),
        None => "it could not be measured again".to_owned(),
    };
    result.detail = format!("{}; {told}", result.detail);
}

fn is_repetition(first: Evidence<'_>, second: Evidence<'_>) -> Result<(), GateError> {
    let cells = |evidence: Evidence<'_>| -> Vec<(CellId, String)> {
        let of = |cell: &boardproof_record::plan::Cell| {
            let model = evidence.model(cell);
            let variant = model.variants.get(&cell.variant).map(|variant| variant.digest.to_string());
            (cell.id.clone(), format!("{} on {}", variant.unwrap_or_default(), model.evalset.digest))
        };
        evidence.record.plan.cells.iter().map(of).collect()
    };
    let (first, second) = (cells(first), cells(second));
    let differ = first.iter().zip(&second).find(|(a, b)| a != b).map(|(a, _)| a.0.clone());
    let differ = differ.or_else(|| (first.len() != second.len()).then(|| first[0].0.clone()));
    differ.map_or(Ok(()), |cell| Err(GateError::NoRepetition { cell }))
}
