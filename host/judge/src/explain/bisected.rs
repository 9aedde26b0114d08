//! The first layer at which a site parts from another one, where neither layers nor sketches of them can be seen: by models cut behind a
//! layer, of which each is run on both. What lies behind the first layer that parts is taken to part as well.

use super::sides::Seen;
use crate::evidence::{Evidence, EvidenceError, Tensor};
use boardproof_record::CellId;
use serde::Serialize;

/// What bisection found of a site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bisected {
    /// Unit and engine.
    pub site: String,
    /// What it is held against.
    pub against: String,
    /// A ratio below this parts, in dB; `None` where nothing is allowed.
    pub limit_db: Option<f64>,
    /// What was run, in order.
    pub tried: Vec<Tried>,
    /// The first layer that parts, by its place among the inquiry's layers; `None` where none of those that were run does.
    pub first: Option<usize>,
    /// Why it came to no end.
    pub stopped: Option<String>,
}

/// One model that was cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// The layer that it ends with, by its place among the inquiry's layers.
    pub layer: usize,
    /// Its tensor.
    pub tensor: String,
    /// Site against the other one.
    pub seen: Seen,
    /// It parts.
    pub parts: bool,
}

/// One output on two sites, or why one of them has none.
pub fn held_against(
    evidence: Evidence<'_>,
    host: &CellId,
    own: &CellId,
) -> Result<Result<Seen, String>, EvidenceError> {
    let mut both = Vec::new();
    for cell in [host, own] {
        match evidence.outputs(cell)?.and_then(|outputs| outputs.first().map(Tensor::to_f64)) {
            Some(values) => both.push(values),
            None => return Ok(Err(format!("{cell}: {}", super::why_not(evidence, cell)))),
        }
    }
    let (host, own) = (&both[0], &both[1]);
    Ok(match host.len() == own.len() {
        true => Ok(Seen::between(host, own)),
        false => Err(format!("expected {} elements, got {}", host.len(), own.len())),
    })
}

/// Does a site that is so far from another one part from it? Without a limit nothing is allowed.
pub fn parts(seen: &Seen, limit_db: Option<f64>) -> bool {
    match limit_db {
        Some(limit_db) => seen.is_below(limit_db),
        None => seen.non_finite > 0 || seen.sqnr_db.is_some(),
    }
}

impl Bisected {
    /// In a sentence.
    pub fn sentence(&self) -> String {
        let Self { site, against, tried, .. } = self;
        let runs = match tried.len() {
            1 => "1 run".to_owned(),
            runs => format!("{runs} runs"),
        };
        if let Some(why) = &self.stopped {
            return format!("{site}: bisection came to no end after {runs}: {why}");
        }
        match self.first.and_then(|first| tried.iter().find(|one| one.layer == first)) {
            Some(one) => {
                let db = super::text::decibel(Some(one.seen));
                let tensor = &one.tensor;
                format!(
                    "{site}: by bisection the first layer that parts from {against} is '{tensor}' ({db} dB), in {runs}"
                )
            }
            None if tried.is_empty() => format!("{site}: its answers are those of {against}: nothing to bisect"),
            None => format!("{site}: its answers part from {against}, and in {runs} no layer by itself does"),
        }
    }
}
