//! Keeps the inputs of flipped samples in the record, so that its report can show them anywhere.

use anyhow::{Context, Result};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::flips::worth_keeping;
use boardproof_lab::store::{RecordFolder, open, shown_part};
use boardproof_record::record::Record;

/// Samples of one evalset that are kept.
const SAMPLES_MAX: usize = 64;

/// Cuts the inputs out of the evalsets and names them in the record.
pub fn keep(folder: &RecordFolder, record: &mut Record) -> Result<()> {
    let opened = open(folder.path())?;
    let chosen = worth_keeping(Evidence { record: &opened.record, files: &opened.files }, SAMPLES_MAX)?;
    for model in record.plan.models.values() {
        let Some(samples) = chosen.get(model.name.as_str()) else { continue };
        let Some(input) = model.evalset.inputs.first() else { continue };
        let bytes = std::fs::read(&model.evalset.file)
            .with_context(|| format!("could not read evalset {}", model.evalset.file))?;
        let part = shown_part(&bytes, input, samples).context("could not cut samples out of the evalset")?;
        if let Some(part) = part {
            let file = folder.keep(&format!("shown/{}.safetensors", model.evalset.digest), &part)?;
            record.shown.insert(model.evalset.digest, file);
        }
    }
    Ok(())
}
