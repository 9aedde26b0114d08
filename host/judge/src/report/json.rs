//! Everything for a machine: the judgement and the summary in one document. Its schema is `docs/schema/report.schema.json`.

use super::summary::Summary;
use boardproof_record::verdict::Judgement;
use serde::Serialize;

/// The document.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document<'a> {
    /// Version of this document.
    version: u32,
    /// What the gate says.
    judgement: &'a Judgement,
    /// What it rests on.
    summary: &'a Summary,
}

/// Version of this document.
pub const VERSION: u32 = 1;

/// Renders the document. JSON has no infinity: decibels of identical outputs are the word `infinite`.
pub fn render(judgement: &Judgement, summary: &Summary) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(&Document { version: VERSION, judgement, summary })? + "\n")
}
