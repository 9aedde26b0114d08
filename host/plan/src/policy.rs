//! `policy.toml`: the rules that decide.

use crate::error::{PlanError, check_schema, from_toml};
use boardproof_record::plan::RUNNER_ENGINES;
use boardproof_record::policy::{Against, Decide, Direction, Family, OperatingAt, Policy, Reference, Rule};
use boardproof_record::{EngineName, ModelName, RuleId, TargetName};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    schema: u32,
    policy: RawPolicy,
    reference: Option<RawReference>,
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    engine: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: String,
    #[serde(default)]
    allow_nonfinite_mismatch: bool,
    #[serde(default = "yes")]
    inconclusive_blocks: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    metric: String,
    direction: Direction,
    limit: f64,
    unit: String,
    against: Against,
    #[serde(default)]
    decide: Decide,
    #[serde(default = "default_confidence")]
    confidence: f64,
    #[serde(default = "one")]
    min_samples: u64,
    #[serde(default)]
    tasks: Vec<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    targets: Vec<String>,
    slice: Option<String>,
    at: Option<OperatingAt>,
    custom: Option<String>,
    family: Option<Family>,
    reason: String,
}

fn default_confidence() -> f64 {
    0.95
}

fn one() -> u64 {
    1
}

/// Parses a policy. Whether a metric exists is the judge's to say; everything else is checked here.
pub fn parse_policy(file: &str, text: &str) -> Result<Policy, PlanError> {
    let raw: RawFile = from_toml(file, text)?;
    check_schema(file, raw.schema)?;
    if raw.rule.is_empty() {
        return Err(PlanError::value(
            file,
            "[[rule]]",
            "one or more: a policy without rules passes everything",
            "none",
        ));
    }
    let mut seen = BTreeSet::new();
    let rules = raw.rule.into_iter().map(|r| rule(file, r, &mut seen)).collect::<Result<_, _>>()?;
    Ok(Policy {
        name: raw.policy.name,
        rules,
        allow_nonfinite_mismatch: raw.policy.allow_nonfinite_mismatch,
        inconclusive_blocks: raw.policy.inconclusive_blocks,
        reference: raw.reference.map(reference).transpose()?,
    })
}

fn reference(raw: RawReference) -> Result<Reference, PlanError> {
    Ok(Reference { engine: runner_engine(&raw.engine)? })
}

/// An engine that a runner can hold.
pub fn runner_engine(name: &str) -> Result<EngineName, PlanError> {
    let known = RUNNER_ENGINES.iter().find(|known| **known == name);
    let known = known.and_then(|name| EngineName::new(*name).ok());
    known.ok_or_else(|| PlanError::Unknown {
        kind: "engine",
        found: name.into(),
        known: crate::nearest(name, RUNNER_ENGINES),
    })
}

fn rule(file: &str, raw: RawRule, seen: &mut BTreeSet<RuleId>) -> Result<Rule, PlanError> {
    let named = |source| PlanError::Name { file: file.into(), source };
    let id = RuleId::new(raw.id).map_err(named)?;
    let place = format!("rule '{id}'");
    if !seen.insert(id.clone()) {
        return Err(PlanError::value(file, place, "each id once", "two"));
    }
    if !raw.limit.is_finite() {
        return Err(PlanError::value(file, format!("{place} limit"), "a finite number", raw.limit));
    }
    if !(raw.confidence > 0.5 && raw.confidence < 1.0) {
        return Err(PlanError::value(file, format!("{place} confidence"), "above 0.5 and below 1", raw.confidence));
    }
    if raw.reason.trim().is_empty() {
        return Err(PlanError::value(file, place, "a reason", "none"));
    }
    const TASKS: [&str; 4] = ["classification", "binary", "anomaly", "regression"];
    if let Some(task) = raw.tasks.iter().find(|t| !TASKS.contains(&t.as_str())) {
        return Err(PlanError::Unknown { kind: "task", found: task.clone(), known: crate::nearest(task, TASKS) });
    }
    Ok(Rule {
        id,
        metric: raw.metric,
        direction: raw.direction,
        limit: raw.limit,
        unit: raw.unit,
        against: raw.against,
        decide: raw.decide,
        confidence: raw.confidence,
        min_samples: raw.min_samples,
        tasks: raw.tasks,
        models: raw.models.into_iter().map(ModelName::new).collect::<Result<_, _>>().map_err(named)?,
        targets: raw.targets.into_iter().map(TargetName::new).collect::<Result<_, _>>().map_err(named)?,
        slice: raw.slice,
        at: raw.at,
        custom: raw.custom,
        family: raw.family,
        reason: raw.reason,
    })
}
