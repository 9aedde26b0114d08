//! What no policy can switch off: a cell was measured whole, by the programs of its run, the engine agrees with itself, the answers are
//! numbers, and what they are compared with can be trusted. A reference that is broken must never let anything pass, so the same is asked
//! of it as of the cell that is judged.

use super::answers::{Answers, answers};
use super::clock;
use super::placed::NO_FALLBACK;
use super::second::Opinion;
use super::sense::sense;
use super::stop::EARLY_STOP;
use crate::evidence::{Evidence, EvidenceError, Truth};
use boardproof_record::observation::{Ended, Observation, Outcome, PassObservation};
use boardproof_record::plan::{Cell, HOST, LinkSpec, MICRO, Pass, PassPlan};
use boardproof_record::verdict::{RuleResult, Verdict};
use boardproof_record::{Digest, RuleId};

/// Rule that every pass must have run to its end and left what it was for.
pub const RUNS: &str = "runs";
/// Rule that the engine's optimizer must have kept the answers.
pub const SELF_CHECK: &str = "self-check";
/// Rule that the unit's clock must agree with the host's where timings are judged.
pub const CLOCK: &str = "clock";
/// Rule that every answer must be a number.
pub const FINITE: &str = "finite";
/// Rule that what a cell is compared with must have been measured and be fit for it.
pub const COMPARED_WITH: &str = "compared-with";
/// Rule that a microcontroller must answer bit for bit what its engine answers on the host.
pub const SAME_AS_HOST: &str = "same-as-host";
/// Rule that firmware and model must fit into the flash of a product.
pub const FLASH: &str = "flash-budget";
/// Rule that all that runs must fit into the RAM of a product.
pub const RAM: &str = "ram-budget";
/// All of them.
pub const ALWAYS: [&str; 10] =
    [RUNS, SELF_CHECK, CLOCK, FINITE, COMPARED_WITH, SAME_AS_HOST, FLASH, RAM, NO_FALLBACK, EARLY_STOP];

/// The cell ran, the engine agrees with itself, and the unit's clock with the host's. The first result is of [`RUNS`]; without it there are no numbers to look at.
pub fn ran(evidence: Evidence<'_>, cell: &Cell, seen: &Observation) -> Vec<RuleResult> {
    let plan = |pass: &PassObservation| cell.passes.iter().find(|p| p.pass == pass.pass);
    // Of several the worst, of equals the first.
    let broken = seen.passes.iter().rev().filter_map(|pass| broken_pass(pass, plan(pass))).max_by_key(|r| r.verdict);
    let mut results = vec![match broken.or_else(|| hole(evidence, cell, seen)) {
        Some(result) => result,
        None => own(RUNS, Verdict::Pass, "every pass ran to its end".into()),
    }];
    if cell.passes.iter().any(|p| p.pass == Pass::Inspect) && results[0].verdict == Verdict::Pass {
        results.push(self_check(cell, seen));
    }
    if cell.passes.iter().any(|p| p.pass == Pass::Latency) && results[0].verdict == Verdict::Pass {
        let (verdict, words) = clock::check(seen, evidence.clock(&cell.id));
        results.push(own(CLOCK, verdict, words));
    }
    if results[0].verdict == Verdict::Pass {
        results.extend(budgets(evidence, cell));
    }
    results
}

/// What a microcontroller takes of the flash and the RAM that its target grants. A number that is missing is no room.
fn budgets(evidence: Evidence<'_>, cell: &Cell) -> Vec<RuleResult> {
    let Some(target) = evidence.record.plan.targets.get(&cell.target) else { return Vec::new() };
    if target.build.firmware.is_none() || !cell.passes.iter().any(|p| p.pass == Pass::Memory) {
        return Vec::new();
    }
    let held = |rule: &str, what: &str, parts: &[(&str, &str)], limit: Option<u64>| {
        let limit = limit?;
        let of = |key: &str| super::timed::number_of(evidence, cell, Pass::Memory, key);
        let known: Option<Vec<(f64, &str)>> = parts.iter().map(|(key, name)| Some((of(key)?, *name))).collect();
        let Some(known) = known else {
            return Some(own(rule, Verdict::Incomplete, format!("what is taken of the {what} was not measured")));
        };
        let sum: f64 = known.iter().map(|(bytes, _)| bytes).sum();
        let words: Vec<String> = known.iter().map(|(bytes, name)| format!("{bytes} {name}")).collect();
        let fits = sum <= limit as f64;
        let of_limit = if fits { "of" } else { "do not fit into" };
        let detail = format!("{sum} bytes {of_limit} {limit} of {what} ({})", words.join(" + "));
        let verdict = if fits { Verdict::Pass } else { Verdict::Fail };
        let mut result = own(rule, verdict, detail);
        (result.observed, result.limit, result.unit) = (Some(sum), limit as f64, "bytes".into());
        result.limit_reason = "limits of the target".into();
        Some(result)
    };
    let flash = [("flash_bytes", "firmware"), ("model_bytes", "model")];
    let ram = [("static_ram_bytes", "static"), ("arena_peak_bytes", "arena"), ("stack_peak_bytes", "stack")];
    let results =
        [held(FLASH, "flash", &flash, target.limits.flash_bytes), held(RAM, "RAM", &ram, target.limits.memory_bytes)];
    results.into_iter().flatten().collect()
}

/// On a microcontroller the engine is the one of the host, in integers: any other answer is damage done on the way or on the board.
/// Looks at the first samples, as many as were visited.
pub fn same_as_host(evidence: Evidence<'_>, cell: &Cell, visited: u64) -> Result<Option<RuleResult>, EvidenceError> {
    let on_board = cell.engine.as_str() == MICRO && cell.unit.as_str() != HOST;
    if !on_board || !cell.passes.iter().any(|p| p.pass == Pass::Accuracy) {
        return Ok(None);
    }
    let missing = |why: String| Ok(Some(own(SAME_AS_HOST, Verdict::Incomplete, why)));
    let Some(host) = evidence.on_host(cell) else { return missing("its engine was not run on the host".into()) };
    if let Err(why) = fit(evidence, host, Pass::Accuracy) {
        return missing(why);
    }
    let first = |cell: &Cell| evidence.first_outputs(&cell.id, visited);
    let (Some(here), Some(there)) = (first(cell)?, first(host)?) else {
        return missing("there are no answers to compare".into());
    };
    let samples = here.first().and_then(|output| output.shape.first()).copied().unwrap_or(0);
    let same = here.len() == there.len() && here.iter().zip(&there).all(|(a, b)| a.is_bit_for_bit(b));
    Ok(Some(if same {
        own(SAME_AS_HOST, Verdict::Pass, format!("bit for bit the host's answers to {samples} samples"))
    } else {
        let words = "the unit's answers are not those of the same engine on the host: something is damaged";
        own(SAME_AS_HOST, Verdict::Fail, words.into())
    }))
}

/// Something that a whole observation has and this one lacks.
fn hole(evidence: Evidence<'_>, cell: &Cell, seen: &Observation) -> Option<RuleResult> {
    let why =
        cell.passes.iter().find_map(|plan| hole_of_pass(plan, seen)).or_else(|| stranger(evidence, cell, seen))?;
    Some(own(RUNS, Verdict::Incomplete, why))
}

fn hole_of_pass(plan: &PassPlan, seen: &Observation) -> Option<String> {
    let name = pass_name(plan.pass);
    let Some(pass) = seen.pass(plan.pass) else { return Some(format!("the {name} pass is missing")) };
    match plan.pass {
        _ if !plan.is_whole(pass.inferences) => {
            Some(format!("the {name} pass did {} of {} inferences", pass.inferences, planned(plan)))
        }
        Pass::Accuracy if pass.outputs.is_none() => Some("the accuracy pass left no outputs".into()),
        Pass::Latency if pass.ticks.is_none() => Some("the latency pass left no times".into()),
        _ => None,
    }
}

/// Inferences that were planned, in words.
fn planned(plan: &PassPlan) -> String {
    match (plan.pass, plan.enough) {
        (Pass::Latency, 0) => plan.iterations.to_string(),
        (Pass::Latency, enough) => format!("{enough} to {}", plan.iterations),
        _ if plan.may_stop() => format!("a multiple of {}, or all {},", plan.stage, plan.samples),
        (Pass::Inspect | Pass::Accuracy | Pass::Memory, _) => plan.samples.to_string(),
    }
}

/// A program that measured and is not one that this run made. The simulated device has no agent that could be built, and of a firmware that
/// somebody else built there is nothing to hold it against.
fn stranger(evidence: Evidence<'_>, cell: &Cell, seen: &Observation) -> Option<String> {
    let record = evidence.record;
    let simulated = record.plan.targets.get(&cell.target).is_some_and(|t| matches!(t.link, LinkSpec::Sim { .. }));
    let firmware = record.plan.targets.get(&cell.target).is_some_and(|t| t.build.firmware.is_some());
    let unknown = |(program, digest): &(&str, Option<Digest>)| {
        let made = record.builds.iter().any(|b| b.program == *program && Some(b.digest) == *digest);
        let in_process = simulated && *program == "agent";
        // A firmware is agent and runner in one.
        let in_firmware = firmware && *program == "runner" && digest.is_none();
        let of_somebody_else = evidence.is_foreign(cell) && digest.is_none();
        !(made || in_process || in_firmware || of_somebody_else)
    };
    let programs = [("runner", seen.device.runner_digest), ("agent", seen.device.agent_digest)];
    let (program, digest) = programs.into_iter().find(unknown)?;
    let found = digest.map_or_else(|| "without a digest".into(), |d| d.short());
    Some(format!("its {program} ({found}) is not one that this run made"))
}

/// May others be compared with what this pass of the cell measured?
pub fn fit(evidence: Evidence<'_>, cell: &Cell, pass: Pass) -> Result<(), String> {
    let no = |why: String| Err(format!("{} cannot be compared with: {why}", cell.id));
    let seen = match evidence.record.outcomes.get(&cell.id) {
        Some(Outcome::Measured(seen)) => seen,
        Some(other) => return no(not_measured(other)),
        None => return no("it is not in the record".into()),
    };
    let Some(plan) = cell.passes.iter().find(|p| p.pass == pass) else {
        return no(format!("its {} pass was not planned", pass_name(pass)));
    };
    if let Some(broken) = seen.pass(pass).and_then(|pass| broken_pass(pass, Some(plan))) {
        return no(broken.detail);
    }
    if let Some(why) = hole_of_pass(plan, seen).or_else(|| stranger(evidence, cell, seen)) {
        return no(why);
    }
    if let (Pass::Latency, (Verdict::Incomplete, why)) = (pass, clock::check(seen, evidence.clock(&cell.id))) {
        return no(why);
    }
    let inspected = cell.passes.iter().any(|p| p.pass == Pass::Inspect);
    match inspected.then(|| self_check(cell, seen)).filter(|check| check.verdict != Verdict::Pass) {
        Some(check) => no(check.detail),
        None => Ok(()),
    }
}

/// The engine of microcontrollers has no optimizer that could be switched off; its self-check runs every sample in two arenas that held
/// something else before.
fn has_arena(cell: &Cell) -> bool {
    cell.engine.as_str() == MICRO
}

fn self_check(cell: &Cell, seen: &Observation) -> RuleResult {
    match seen.pass(Pass::Inspect).and_then(|p| p.self_check.as_ref()) {
        None => own(SELF_CHECK, Verdict::Incomplete, "the self-check has no result".into()),
        Some(check) if check.samples == 0 => own(
            SELF_CHECK,
            Verdict::Inconclusive,
            format!("the engine could not be compared with itself: {}", check.detail),
        ),
        Some(check) if check.agree => {
            let words = if has_arena(cell) {
                "the answers do not depend on what the arena held before, on"
            } else {
                "optimized and unoptimized graph agree on"
            };
            own(SELF_CHECK, Verdict::Pass, format!("{words} {} samples", check.samples))
        }
        Some(_) if has_arena(cell) => own(
            SELF_CHECK,
            Verdict::Fail,
            "the answers depend on what the arena held before: the engine reads memory that it has not written".into(),
        ),
        Some(check) => {
            let place = if check.operator.is_empty() {
                "an operator that could not be named".to_owned()
            } else {
                check.operator.clone()
            };
            let sqnr = check.sqnr_db.map_or_else(String::new, |db| format!(", {db:.1} dB"));
            own(SELF_CHECK, Verdict::Fail, format!("the engine's optimizer changes the answers at {place}{sqnr}"))
        }
    }
}

/// Are the cell's answers to the first samples numbers? `None` when it was not asked for answers. A policy that allows values that are not finite must still
/// have something finite to look at.
pub fn finite(
    evidence: Evidence<'_>,
    cell: &Cell,
    allowed: bool,
    visited: u64,
) -> Result<Option<RuleResult>, EvidenceError> {
    if !cell.passes.iter().any(|p| p.pass == Pass::Accuracy) {
        return Ok(None);
    }
    Ok(Some(match not_numbers(evidence, cell, allowed, visited)? {
        None => own(FINITE, Verdict::Pass, "every answer is a number".into()),
        Some(why) => own(FINITE, Verdict::Fail, why),
    }))
}

fn not_numbers(
    evidence: Evidence<'_>,
    cell: &Cell,
    allowed: bool,
    visited: u64,
) -> Result<Option<String>, EvidenceError> {
    let Some(outputs) = evidence.first_outputs(&cell.id, visited)? else { return Ok(None) };
    for output in &outputs {
        let (elements, bad) = (output.elements(), output.non_finite());
        if (bad > 0 && !allowed) || (bad == elements && elements > 0) {
            return Ok(Some(format!("{bad} of {elements} elements of output '{}' are NaN or infinite", output.name)));
        }
    }
    Ok(None)
}

/// Was everything that the cell is compared with measured? What it is worth is asked where it is used.
pub fn compared_with(
    evidence: Evidence<'_>,
    cell: &Cell,
    reference: Result<(), &str>,
    opinion: &Opinion,
) -> RuleResult {
    let others = [evidence.reference(cell), evidence.on_host(cell), evidence.reference_on_unit(cell)];
    let gap = others.into_iter().flatten().find_map(|other| match evidence.record.outcomes.get(&other.id) {
        Some(Outcome::Measured(_)) => None,
        Some(outcome) => Some(format!("{}, which it is compared with, was {}", other.id, not_measured(outcome))),
        None => Some(format!("{}, which it is compared with, is not in the record", other.id)),
    });
    match (reference, gap) {
        (Err(why), _) => own(COMPARED_WITH, Verdict::Incomplete, why.to_owned()),
        (Ok(()), Some(gap)) => own(COMPARED_WITH, Verdict::Incomplete, gap),
        (Ok(()), None) => {
            let words = opinion.in_words().map_or_else(String::new, |words| format!("; {words}"));
            own(COMPARED_WITH, Verdict::Pass, format!("what it is compared with can be trusted{words}"))
        }
    }
}

/// Answers that others may be compared with, or why not.
pub fn trusted(
    evidence: Evidence<'_>,
    cell: &Cell,
    truth: &Truth<'_>,
    allow_nonfinite: bool,
) -> Result<Result<Answers, String>, EvidenceError> {
    let no = |why: String| Ok(Err(format!("{} cannot be compared with: {why}", cell.id)));
    if let Err(why) = fit(evidence, cell, Pass::Accuracy) {
        return Ok(Err(why));
    }
    let samples = evidence.visited(&cell.id);
    if samples != truth.labels.len() as u64 {
        return no(format!("it answered {samples} samples, this run {}", truth.labels.len()));
    }
    if let Some(why) = not_numbers(evidence, cell, allow_nonfinite, samples)? {
        return no(why);
    }
    let Some(found) = answers(evidence, cell, truth)? else { return no("it has no answers".into()) };
    match sense(evidence, cell, truth, &found)? {
        Ok(()) => Ok(Ok(found)),
        Err(why) => no(why),
    }
}

/// Why there is no observation, in words.
pub fn not_measured(outcome: &Outcome) -> String {
    let fault = |what: &str, f: &boardproof_record::observation::Fault| format!("{what}: {}", f.causes.join(": "));
    match outcome {
        Outcome::NotRun => "not measured: the run ended before this cell".into(),
        Outcome::Skipped { reason } => format!("not measured: {reason}"),
        Outcome::BuildFailed(f) => fault("not measured, the programs could not be built", f),
        Outcome::ShipFailed(f) => fault("not measured, the unit could not be prepared", f),
        Outcome::DeviceFault(f) => fault("not measured, the unit failed", f),
        Outcome::TimedOut(f) => fault("not measured, the unit did not answer in time", f),
        Outcome::Measured(_) => "measured".into(),
    }
}

fn broken_pass(pass: &PassObservation, plan: Option<&PassPlan>) -> Option<RuleResult> {
    let name = pass_name(pass.pass);
    let (verdict, detail) = match pass.ended {
        Ended::Completed => return None,
        Ended::CannotRun => (Verdict::Fail, cannot_run(pass)),
        Ended::Exited { code } => {
            (Verdict::Fail, format!("the {name} pass ended with exit code {code}{}", last_words(pass)))
        }
        Ended::Signalled { signal } => {
            (Verdict::Fail, format!("the {name} pass crashed with signal {signal}{}", last_words(pass)))
        }
        Ended::OutOfMemory { limit_bytes: 0 } => {
            (Verdict::Fail, format!("the {name} pass ran out of the unit's memory"))
        }
        Ended::OutOfMemory { limit_bytes } => {
            (Verdict::Fail, format!("the {name} pass ran out of memory: its limit is {limit_bytes} bytes"))
        }
        // It does run: that these were too many for the time that they were given is the plan's doing.
        Ended::DeadlineExceeded { deadline_ms }
            if matches!(pass.pass, Pass::Accuracy | Pass::Latency) && pass.inferences > 0 =>
        {
            (Verdict::Incomplete, too_many(pass, plan, deadline_ms))
        }
        Ended::DeadlineExceeded { deadline_ms } => {
            (Verdict::Fail, format!("the {name} pass was not done within {} s", f64::from(deadline_ms) / 1000.0))
        }
        Ended::Cancelled => (Verdict::Incomplete, format!("the {name} pass was cancelled")),
        Ended::NotStarted => (Verdict::Incomplete, format!("the {name} pass could not be started{}", last_words(pass))),
    };
    Some(own(RUNS, verdict, detail))
}

fn too_many(pass: &PassObservation, plan: Option<&PassPlan>, deadline_ms: u32) -> String {
    let all = plan.map_or_else(|| "all".into(), planned);
    let (name, done, s) = (pass_name(pass.pass), pass.inferences, f64::from(deadline_ms) / 1000.0);
    format!(
        "{done} of {all} inferences of the {name} pass were done within {s} s: \
         raise limits.pass_deadline_s of the target or ask for fewer"
    )
}

fn cannot_run(pass: &PassObservation) -> String {
    match &pass.cannot_run {
        // The reason names operator and node where the engine knows them.
        Some(found) => format!("cannot run: {}", found.reason),
        None => "cannot run".into(),
    }
}

fn last_words(pass: &PassObservation) -> String {
    let words = pass.facts.texts.get("stderr").map(String::as_str).unwrap_or_default();
    words.trim().lines().next_back().map(|line| format!(": {line}")).unwrap_or_default()
}

/// Name of a pass in sentences.
pub fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Inspect => "inspect",
        Pass::Accuracy => "accuracy",
        Pass::Latency => "latency",
        Pass::Memory => "memory",
    }
}

pub(super) fn own(rule: &str, verdict: Verdict, detail: String) -> RuleResult {
    RuleResult {
        rule: RuleId::new(rule).expect("a name of this file"),
        metric: rule.into(),
        slice: None,
        verdict,
        observed: None,
        lower: None,
        upper: None,
        limit: 0.0,
        limit_reason: "always in force".into(),
        unit: String::new(),
        samples: 0,
        samples_more: None,
        detail,
    }
}
