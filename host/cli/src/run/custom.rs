//! Metrics of the models' own: computed by their commands after everything is measured, and kept in the record, so that it can be judged anywhere.

use super::Run;
use anyhow::Result;
use boardproof_lab::custom::{Programs, computed, file_of};
use boardproof_lab::interrupt::interrupted;
use boardproof_record::observation::{Ended, FileRef, Outcome};
use boardproof_record::plan::{Cell, CustomMetric, Pass};
use boardproof_record::record::{NUMBERS, Numbers};

impl Run<'_> {
    /// Runs the commands of the custom metrics that a rule names on the answers of every cell that has some. A model's folder may come from
    /// anywhere: what no rule of the user's policy asks for is not run. One that fails leaves its reason, and the rules on it
    /// without a number; nothing measured is lost.
    pub(super) fn compute_custom(&mut self) -> Result<()> {
        for cell in self.record.plan.cells.clone() {
            let rules = &self.record.plan.policy.rules;
            let is_named = |metric: &&CustomMetric| rules.iter().any(|rule| rule.custom.as_ref() == Some(&metric.name));
            let custom = &self.record.plan.models[&cell.model].custom;
            let metrics: Vec<CustomMetric> = custom.iter().filter(is_named).cloned().collect();
            let Some((outputs, samples)) = self.answered(&cell).filter(|_| !metrics.is_empty()) else { continue };
            for metric in metrics {
                if interrupted() {
                    return self.save();
                }
                let found = match self.compute(&cell, &metric, &outputs, samples) {
                    Ok((file, programs)) => Numbers::Given { file, programs },
                    Err(error) => {
                        self.progress.warn(&format!("warning: no {} of {}: {error:#}", metric.name, cell.id));
                        Numbers::Failed { causes: error.chain().map(ToString::to_string).collect() }
                    }
                };
                self.record.custom.entry(cell.id.clone()).or_default().insert(metric.name.clone(), found);
            }
        }
        self.save()
    }

    /// Outputs of a cell's accuracy pass, and of how many samples.
    fn answered(&self, cell: &Cell) -> Option<(FileRef, u64)> {
        let Some(Outcome::Measured(seen)) = self.record.outcomes.get(&cell.id) else { return None };
        let pass = seen.pass(Pass::Accuracy).filter(|pass| pass.ended == Ended::Completed)?;
        let planned = cell.passes.iter().find(|planned| planned.pass == Pass::Accuracy)?;
        let visited = if planned.may_stop() { pass.inferences.min(planned.samples) } else { planned.samples };
        Some((pass.outputs.clone()?, visited))
    }

    /// The numbers in the record, and the programs that computed them.
    fn compute(
        &self,
        cell: &Cell,
        metric: &CustomMetric,
        outputs: &FileRef,
        samples: u64,
    ) -> Result<(FileRef, Programs)> {
        let root = self.folder.path();
        let evalset = &self.record.plan.models[&cell.model].evalset.digest;
        let labels = &self.record.evalsets[evalset];
        let (found, programs) = computed(metric, &root.join(&outputs.path), &root.join(&labels.path), samples)?;
        let folder = outputs.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let file = format!("{folder}/custom-{}.safetensors", metric.name);
        Ok((self.folder.keep(&file, &file_of(NUMBERS, &found)?)?, programs))
    }
}
