//! From what was asked for to the list of cells.

use crate::error::{PlanError, nearest};
use crate::model::{Manifest, Purpose};
use boardproof_record::plan::{Cell, HOST, Model, Pass, PassPlan, Plan, PowerSpec, Role, Target, Unit, Variant};
use boardproof_record::policy::Policy;
use boardproof_record::{CellId, EngineName, ModelName, TargetName, UnitName, VariantName};
use std::collections::BTreeMap;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Models; empty: all that are known.
    pub models: Vec<String>,
    /// Variants; empty: those whose purpose is `release`.
    pub variants: Vec<String>,
    /// Targets or units, in the order in which they are to be visited.
    pub places: Vec<String>,
    /// Engine of every cell.
    pub engine: EngineName,
    /// How much to measure.
    pub counts: Counts,
}

/// How much to measure. Zero samples means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Samples of the accuracy pass; 0 for the whole evalset.
    pub samples: u64,
    /// Inferences of the latency pass; `None` for as many as suit the target.
    pub latency_iterations: Option<u32>,
    /// Warm-up inferences of the latency pass.
    pub latency_warmup: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self { samples: 0, latency_iterations: None, latency_warmup: 50 }
    }
}

/// Latency inferences on a target as fast as the host: a bound on p99 needs 662 (LoadGen's early-stopping rule, t = 1), and these leave
/// room for t = 2.
const LATENCY_ITERATIONS: u32 = 2000;
/// Fewest on hardware: a slow board still gives p99.
const LATENCY_ITERATIONS_MIN: u32 = 700;
/// Fewest on an emulator, whose tail is that of the machine around it: enough for a tight bound on the median. A rule on p99 says how
/// many more it takes.
const LATENCY_ITERATIONS_MIN_EMULATED: u32 = 200;
/// Samples per inference in the accuracy pass where the model leaves it open.
const ACCURACY_BATCH: u32 = 16;

/// Makes the plan. Unknown names list the known ones, nearest first; nothing that was asked for is left out silently.
pub fn plan(
    wanted: &Wanted,
    manifests: &BTreeMap<ModelName, Manifest>,
    targets: &BTreeMap<TargetName, Target>,
    units: &BTreeMap<UnitName, Unit>,
    policy: Policy,
) -> Result<Plan, PlanError> {
    let places = wanted.places.iter().map(|p| locate(p, targets, units)).collect::<Result<Vec<_>, _>>()?;
    let models = models(wanted, manifests)?;
    models.iter().try_for_each(|manifest| check_tolerances(&manifest.model, targets))?;
    let mut plan =
        Plan { models: BTreeMap::new(), targets: BTreeMap::new(), units: BTreeMap::new(), policy, cells: Vec::new() };
    let host = locate(HOST, targets, units)?;
    for (unit, target) in std::iter::once(&host).chain(&places) {
        plan.targets.insert(target.name.clone(), target.clone());
        plan.units.insert(unit.name.clone(), unit.clone());
    }
    for manifest in &models {
        let variants = variants(wanted, manifest)?;
        plan.models.insert(manifest.model.name.clone(), with_variants(&manifest.model, &variants));
    }
    let by_place: Vec<_> = std::iter::once(&host).chain(places.iter().filter(|(u, _)| u.name != host.0.name)).collect();
    let host_judged = places.iter().any(|(u, _)| u.name == host.0.name);
    for (unit, target) in by_place {
        for manifest in &models {
            let asked = variants(wanted, manifest)?;
            plan.cells.extend(Site { wanted, model: &manifest.model, unit, target, host_judged }.cells(&asked));
        }
    }
    if plan.cells.iter().any(|c| c.judged) {
        Ok(plan)
    } else {
        Err(PlanError::Empty("no model, variant or target was asked for".into()))
    }
}

/// A limit for a target that does not exist would never be in force, and nobody would notice.
fn check_tolerances(model: &Model, targets: &BTreeMap<TargetName, Target>) -> Result<(), PlanError> {
    let named = model.tolerances.iter().filter_map(|t| Some((t, t.target.as_ref()?)));
    let Some((tolerance, target)) = named.into_iter().find(|(_, target)| !targets.contains_key(*target)) else {
        return Ok(());
    };
    let known = nearest(target.as_str(), targets.keys().map(TargetName::as_str)).join(", ");
    Err(PlanError::value(
        &format!("model.toml of '{}'", model.name),
        format!("target of the [[tolerance]] for {}", tolerance.metric),
        format!("one of: {known}"),
        format!("'{target}'"),
    ))
}

/// Finds a unit by name, or a target that is its own unit.
pub fn locate(
    found: &str,
    targets: &BTreeMap<TargetName, Target>,
    units: &BTreeMap<UnitName, Unit>,
) -> Result<(Unit, Target), PlanError> {
    let by_name = |name: &str| targets.values().find(|t| t.name.as_str() == name);
    if let Some(unit) = units.values().find(|u| u.name.as_str() == found) {
        let target =
            by_name(unit.target.as_str()).ok_or_else(|| unknown("target", unit.target.as_str(), targets.keys()))?;
        return Ok((unit.clone(), target.clone()));
    }
    let known = targets.keys().map(TargetName::as_str).chain(units.keys().map(UnitName::as_str));
    let target = by_name(found).ok_or_else(|| PlanError::Unknown {
        kind: "target",
        found: found.into(),
        known: nearest(found, known),
    })?;
    if matches!(target.link, boardproof_record::plan::LinkSpec::Ssh) && !matches!(target.power, PowerSpec::Qemu { .. })
    {
        let of_target: Vec<_> =
            units.values().filter(|u| u.target == target.name).map(|u| u.name.to_string()).collect();
        let found = if of_target.is_empty() {
            "no unit in the inventory".into()
        } else {
            format!("units: {}", of_target.join(", "))
        };
        return Err(PlanError::value(
            "command line",
            format!("target '{}'", target.name),
            "--unit with one of your units",
            found,
        ));
    }
    let name =
        UnitName::new(target.name.as_str()).map_err(|source| PlanError::Name { file: "target".into(), source })?;
    let unit = Unit {
        name,
        target: target.name.clone(),
        address: None,
        port: None,
        user: None,
        identity_file: None,
        identity: None,
        power: None,
        tags: Vec::new(),
    };
    Ok((unit, target.clone()))
}

fn unknown<'a, N: std::fmt::Display + 'a>(
    kind: &'static str,
    found: &str,
    known: impl Iterator<Item = &'a N>,
) -> PlanError {
    let names: Vec<_> = known.map(N::to_string).collect();
    PlanError::Unknown { kind, found: found.into(), known: nearest(found, names.iter().map(String::as_str)) }
}

fn models<'m>(wanted: &Wanted, manifests: &'m BTreeMap<ModelName, Manifest>) -> Result<Vec<&'m Manifest>, PlanError> {
    if manifests.is_empty() {
        return Err(PlanError::Empty("no model.toml was found".into()));
    }
    if wanted.models.is_empty() {
        return Ok(manifests.values().collect());
    }
    let find = |name: &String| manifests.values().find(|m| m.model.name.as_str() == name);
    wanted.models.iter().map(|name| find(name).ok_or_else(|| unknown("model", name, manifests.keys()))).collect()
}

/// Variants asked for that this model has. A name that no asked model has is an error of [`check_variant_names`].
fn variants<'m>(wanted: &Wanted, manifest: &'m Manifest) -> Result<Vec<&'m Variant>, PlanError> {
    let all = &manifest.model.variants;
    if wanted.variants.is_empty() {
        let release: Vec<_> =
            all.values().filter(|v| manifest.purposes.get(&v.name) == Some(&Purpose::Release)).collect();
        return match release.is_empty() {
            true => Err(PlanError::Empty(format!(
                "model '{}' has no variant with purpose \"release\"",
                manifest.model.name
            ))),
            false => Ok(release),
        };
    }
    if wanted.variants.iter().any(|v| v == "all") {
        return Ok(all.values().collect());
    }
    let find = |name: &String| all.values().find(|v| v.name.as_str() == name);
    wanted.variants.iter().map(|name| find(name).ok_or_else(|| unknown("variant", name, all.keys()))).collect()
}

fn with_variants(model: &Model, asked: &[&Variant]) -> Model {
    let keep = |name: &VariantName| *name == model.reference || asked.iter().any(|v| v.name == *name);
    let variants = model.variants.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    Model { variants, ..model.clone() }
}

/// One model on one unit.
struct Site<'a> {
    wanted: &'a Wanted,
    model: &'a Model,
    unit: &'a Unit,
    target: &'a Target,
    host_judged: bool,
}

impl Site<'_> {
    /// Reference first, then the variants that were asked for.
    fn cells(&self, asked: &[&Variant]) -> Vec<Cell> {
        let on_host = self.unit.name.as_str() == HOST;
        let judged = !on_host || self.host_judged;
        let reference = &self.model.variants[&self.model.reference];
        let reference_asked = asked.iter().any(|v| v.name == reference.name);
        let reference_role = match (on_host, reference_asked) {
            (true, _) => Role::Reference,
            (false, true) => Role::Device,
            (false, false) => Role::DeviceReference,
        };
        let variant_role = if judged { Role::Device } else { Role::HostVariant };
        let others = asked.iter().filter(|v| v.name != reference.name);
        std::iter::once(self.cell(reference, reference_role, judged && reference_asked))
            .chain(others.map(|v| self.cell(v, variant_role, judged)))
            .collect()
    }

    fn cell(&self, variant: &Variant, role: Role, judged: bool) -> Cell {
        let on_host = self.unit.name.as_str() == HOST;
        let timed = !on_host || self.host_judged;
        let answers = !matches!(role, Role::DeviceReference);
        let mut passes = Vec::new();
        if answers {
            passes.push(self.pass(Pass::Inspect, variant));
            passes.push(self.pass(Pass::Accuracy, variant));
        }
        if timed {
            passes.push(self.pass(Pass::Latency, variant));
            passes.push(self.pass(Pass::Memory, variant));
        }
        let engine = self.wanted.engine.clone();
        Cell {
            id: CellId::new(&self.model.name, &variant.name, &self.unit.name, &engine),
            model: self.model.name.clone(),
            variant: variant.name.clone(),
            unit: self.unit.name.clone(),
            target: self.target.name.clone(),
            engine,
            role,
            judged,
            passes,
        }
    }

    fn pass(&self, pass: Pass, variant: &Variant) -> PassPlan {
        let counts = &self.wanted.counts;
        let all = self.model.evalset.samples;
        let samples = if counts.samples == 0 { all } else { counts.samples.min(all) };
        let iterations = counts.latency_iterations.unwrap_or_else(|| usual_iterations(self.target));
        let (batch, samples, warmup, iterations) = match pass {
            Pass::Inspect => (1, all.min(8), 0, 0),
            Pass::Accuracy => (variant.batch.unwrap_or(ACCURACY_BATCH), samples, 0, 0),
            Pass::Latency => (1, all, counts.latency_warmup, iterations),
            Pass::Memory => (1, all.min(8), 0, 8),
        };
        PassPlan {
            pass,
            batch,
            samples,
            warmup,
            iterations,
            enough: 0,
            deadline_ms: self.target.limits.pass_deadline_s.saturating_mul(1000),
            memory_limit_bytes: self.target.limits.memory_bytes,
        }
    }
}

fn usual_iterations(target: &Target) -> u32 {
    let least = if target.emulated { LATENCY_ITERATIONS_MIN_EMULATED } else { LATENCY_ITERATIONS_MIN };
    (LATENCY_ITERATIONS / target.limits.slowdown.max(1)).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use crate::target::parse_target;

    fn model(target: &str) -> Model {
        let text = format!(
            "name = 'm'\nsummary = ''\nlicence = ''\nprovenance = ''\ninputs = []\noutputs = []\nreference = 'f32'\n\
             [task]\nkind = 'regression'\n[variants]\n[[tolerances]]\nmetric = 'sqnr_db'\nlimit = 9.0\nreason = 'r'\n\
             target = '{target}'\n[evalset]\nfile = ''\ndigest = '{}'\nbytes = 1\nsamples = 1\ninputs = []\n\
             labels = 'labels'\nslices = {{}}\n",
            "0".repeat(64)
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_tolerance_for_a_target_that_does_not_exist_is_an_error() {
        let targets: BTreeMap<TargetName, Target> = builtin::TARGETS
            .iter()
            .map(|(name, text)| parse_target(name, text).unwrap())
            .map(|target| (target.name.clone(), target))
            .collect();
        // A known target that this run does not visit is none of its business.
        for target in targets.keys() {
            check_tolerances(&model(target.as_str()), &targets).unwrap();
        }
        let error = check_tolerances(&model("hoost"), &targets).unwrap_err().to_string();
        assert!(error.contains("sqnr_db") && error.contains("one of: host,") && error.contains("'hoost'"), "{error}");
    }
}
