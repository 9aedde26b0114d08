//! Everything for a machine: the judgement and the summary in one document.

use super::summary::Summary;
use boardproof_record::verdict::Judgement;
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    judgement: &'a Judgement,
    summary: &'a Summary,
}

/// Version of this document.
pub const VERSION: u32 = 1;

/// Renders the document. JSON has no infinities: an SQNR of identical outputs is `null` there.
pub fn render(judgement: &Judgement, summary: &Summary) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(&Document { version: VERSION, judgement, summary })? + "\n")
}
