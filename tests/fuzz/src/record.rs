//! `record.json`: what was read is written again as it was, and a record that was read can be judged and shown, whatever is in it.

use crate::Seed;
use crate::judgement::show;
use crate::material;
use boardproof_judge::evidence::Evidence;
use boardproof_record::observation::{Attempt, Fault, Outcome, Shipped};
use boardproof_record::record::Record;
use boardproof_record::verdict::Verdict;

/// The text of a `record.json`. Its files are those of the good record, so that judging comes as far as the record lets it.
pub fn record(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(record) = Record::from_json(text) else { return false };
    let written = record.to_json();
    let again = Record::from_json(&written).expect("a record that was written can be read");
    assert_eq!(again, record, "a record changed on its way through its file");
    assert_eq!(again.to_json(), written);
    thread_local!(static FILES: std::collections::BTreeMap<String, Vec<u8>> = material::record_files(&material::record()));
    FILES.with(|files| {
        let evidence = Evidence { record: &record, files };
        if let Some(judgement) = show(evidence, &record.plan.policy) {
            let judged = record.plan.cells.iter().filter(|cell| cell.judged).count();
            assert_eq!(judgement.cells.len(), judged, "a judged cell without a verdict");
            let measured = |outcome: &Outcome| matches!(outcome, Outcome::Measured(_));
            let whole = record.plan.cells.iter().filter(|c| c.judged).all(|c| measured(&record.outcomes[&c.id]));
            assert!(judgement.verdict != Verdict::Pass || (judged > 0 && whole), "a pass of what was not measured");
        }
    });
    true
}

/// The good record, and one with each way in which a cell can be without numbers.
pub fn seeds() -> Vec<Seed> {
    let good = material::record();
    let fault = Fault {
        action: "accuracy pass".into(),
        causes: vec!["the link broke".into(), "broken pipe".into()],
        hints: vec!["plug it in".into()],
        console: vec!["Kernel panic".into()],
        attempts: vec![Attempt { action: "accuracy pass".into(), elapsed_ms: 5, error: Some("cut".into()) }],
        passes: Vec::new(),
        shipped: Shipped::default(),
    };
    let ways = [
        ("not_run", Outcome::NotRun),
        ("build_failed", Outcome::BuildFailed(fault.clone())),
        ("ship_failed", Outcome::ShipFailed(fault.clone())),
        ("device_fault", Outcome::DeviceFault(fault.clone())),
        ("timed_out", Outcome::TimedOut(fault)),
        ("skipped", Outcome::Skipped { reason: "not asked for".into() }),
    ];
    // Without the indent, so that a mutation more often hits something.
    let text = |record: &Record| serde_json::to_vec(record).expect("a record is JSON");
    let mut seeds = vec![("good".to_owned(), text(&good))];
    for (name, outcome) in ways {
        let mut record = good.clone();
        if let Some(last) = record.plan.cells.last() {
            record.outcomes.insert(last.id.clone(), outcome);
        }
        seeds.push((name.to_owned(), text(&record)));
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::plan::Cell;
    use boardproof_record::{EngineName, TargetName, UnitName, VariantName};

    /// A record that was changed so is refused with these words.
    #[track_caller]
    fn refused(change: impl FnOnce(&mut Record), words: &str) {
        let mut record = material::record();
        change(&mut record);
        let error = Record::from_json(&record.to_json()).unwrap_err().to_string();
        assert!(error.starts_with("record is damaged: ") && error.contains(words), "{error}");
    }

    fn last(record: &mut Record) -> &mut Cell {
        record.plan.cells.last_mut().unwrap()
    }

    #[test]
    fn a_record_that_names_what_it_does_not_have_is_refused_and_not_judged() {
        refused(|r| r.plan.models.clear(), "has no model");
        refused(|r| r.plan.targets.clear(), "which is not here");
        refused(|r| r.plan.units.clear(), "has no unit of target");
        let forget = |r: &mut Record| r.plan.models.values_mut().for_each(|model| model.variants.clear());
        refused(forget, "has no variant");
        refused(|r| last(r).target = TargetName::new("other").unwrap(), "has no unit of target");
    }

    #[test]
    fn a_cell_that_is_not_what_its_id_says_is_refused() {
        refused(|r| last(r).variant = VariantName::new("f32").unwrap(), "stands for");
        refused(|r| last(r).engine = EngineName::new("other").unwrap(), "stands for");
        refused(|r| last(r).unit = UnitName::new("other").unwrap(), "stands for");
        let twice = |r: &mut Record| {
            let cell = last(r).clone();
            r.plan.cells.push(cell);
        };
        refused(twice, "planned twice");
    }
}
