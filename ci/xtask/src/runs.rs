//! What a `boardproof check` left behind, read as anybody would read it: the record and the judgement beside it.

use anyhow::{Context, Result, bail};
use boardproof_record::observation::Outcome;
use boardproof_record::plan::Cell;
use boardproof_record::record::Record;
use boardproof_record::verdict::{CellJudgement, Judgement, Verdict};
use std::path::Path;

/// A record and the judgement on it.
pub struct Run {
    pub record: Record,
    pub judgement: Judgement,
}

/// A judged cell with everything known of it.
pub struct Judged<'a> {
    pub cell: &'a Cell,
    pub answer: &'a CellJudgement,
    pub outcome: &'a Outcome,
    /// What became of the same variant on this machine, where that is another cell.
    pub on_host: Option<&'a Outcome>,
}

impl Run {
    /// Reads both files.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
        };
        let record = Record::from_json(&read("record.json")?).context("the record cannot be read")?;
        let judgement = serde_json::from_str(&read("judgement.json")?).context("the judgement cannot be read")?;
        Ok(Self { record, judgement })
    }

    /// The judged cells, in plan order. A judged cell without an answer is an error: it must not go missing here either.
    pub fn judged(&self) -> Result<Vec<Judged<'_>>> {
        let mut judged = Vec::new();
        for cell in self.record.plan.cells.iter().filter(|cell| cell.judged) {
            let answer = self.judgement.cells.iter().find(|answer| answer.cell == cell.id);
            let on_host = self.record.plan.on_host(cell).filter(|host| host.id != cell.id);
            let on_host = on_host.and_then(|host| self.record.outcomes.get(&host.id));
            match (answer, self.record.outcomes.get(&cell.id)) {
                (Some(answer), Some(outcome)) => judged.push(Judged { cell, answer, outcome, on_host }),
                _ => bail!("the judgement says nothing about {}", cell.id.as_str()),
            }
        }
        Ok(judged)
    }
}

impl Judged<'_> {
    /// The engine gave the model up: a verdict on the model, whatever the numbers of other engines.
    pub fn cannot_run(&self) -> Option<String> {
        let gave_up = |outcome: &Outcome| match outcome {
            Outcome::Measured(seen) => seen.passes.iter().any(|pass| pass.cannot_run.is_some()),
            _ => false,
        };
        let not_shipped = matches!(self.outcome, Outcome::Skipped { .. }) && self.on_host.is_some_and(gave_up);
        (not_shipped || gave_up(self.outcome)).then(|| self.answer.reason.clone())
    }

    /// Metrics of the rules that failed.
    pub fn failed_metrics(&self) -> Vec<&str> {
        let failed = self.answer.rules.iter().filter(|rule| rule.verdict == Verdict::Fail);
        failed.map(|rule| rule.metric.as_str()).collect()
    }
}
