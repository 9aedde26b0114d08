//! From what was asked for to the list of cells.

use crate::error::{PlanError, nearest};
use crate::model::{Manifest, Purpose};
use boardproof_record::order;
use boardproof_record::plan::{
    CUDA, Cell, FOREIGN, HOST, LinkSpec, MICRO, Model, ONNXRUNTIME, Ordered, Pass, PassPlan, Plan, PowerSpec,
    RUNNER_ENGINES, Role, TRACT, Target, Unit, Variant,
};
use boardproof_record::policy::Policy;
use boardproof_record::{CellId, EngineName, ModelName, TargetName, UnitName, VariantName};
use std::collections::{BTreeMap, BTreeSet};

/// What was asked for. What is said twice counts once.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Models that were named, each by itself: each must have every variant that is asked for.
    pub models: Vec<String>,
    /// Models of folders that were named: one that has none of the variants is left out, see [`lacking`]. When no model is asked for
    /// here or there, all that are known are meant so.
    pub in_folders: Vec<String>,
    /// Variants, or `all`; empty: those whose purpose is `release`.
    pub variants: Vec<String>,
    /// Targets or units, in the order in which they are to be visited.
    pub places: Vec<String>,
    /// Engines to check with, one after the other on each unit, in place of the target's own; empty: the target's own. A firmware has
    /// its engine inside and keeps it.
    pub engines: Vec<EngineName>,
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
    /// Let the accuracy passes of judged cells stop as soon as their verdict is certain.
    pub stop_early: bool,
}

impl Default for Counts {
    fn default() -> Self {
        Self { samples: 0, latency_iterations: None, latency_warmup: 50, stop_early: false }
    }
}

/// Latency inferences on a target as fast as the host: a bound on p99 needs 662 (LoadGen's early-stopping rule, t = 1), and these leave
/// room for t = 2.
const LATENCY_ITERATIONS: u32 = 2000;
/// Fewest on hardware: a slow board still gives p99.
const LATENCY_ITERATIONS_MIN: u32 = 700;
/// How many times as many a runner may do of a model that is so fast that these are over in a moment: whatever else the unit does in that
/// moment would be all that they tell of.
const LATENCY_MORE: u32 = 10;
/// Enough on an emulator when they take long: its tail is that of the machine around it, and the median is bound tightly by then. A rule
/// on p99 says how many more it takes.
const LATENCY_ENOUGH_EMULATED: u32 = 200;
/// Samples per inference in the accuracy pass where the model leaves it open.
const ACCURACY_BATCH: u32 = 16;
/// Word for every variant that a model has.
const ALL: &str = "all";

/// Makes the plan. Unknown names list the known ones, nearest first; what is left out of it, [`lacking`] tells.
pub fn plan(
    wanted: &Wanted,
    manifests: &BTreeMap<ModelName, Manifest>,
    targets: &BTreeMap<TargetName, Target>,
    units: &BTreeMap<UnitName, Unit>,
    policy: Policy,
) -> Result<Plan, PlanError> {
    check_places(targets, units)?;
    let places = wanted.places.iter().map(|p| locate(p, targets, units)).collect::<Result<Vec<_>, _>>()?;
    let places = distinct(places, |(unit, _)| unit.name.clone());
    let asked = asked(wanted, manifests)?;
    asked.iter().try_for_each(|(manifest, _)| check_tolerances(&manifest.model, targets))?;
    let mut plan =
        Plan { models: BTreeMap::new(), targets: BTreeMap::new(), units: BTreeMap::new(), policy, cells: Vec::new() };
    let host = locate(HOST, targets, units)?;
    for (unit, target) in std::iter::once(&host).chain(&places) {
        plan.targets.insert(target.name.clone(), target.clone());
        plan.units.insert(unit.name.clone(), unit.clone());
    }
    for (manifest, variants) in &asked {
        let model = with_variants(&manifest.model, variants);
        let model = if wanted.counts.stop_early { in_order(model) } else { model };
        plan.models.insert(model.name.clone(), model);
    }
    let by_place: Vec<_> = std::iter::once(&host).chain(places.iter().filter(|(u, _)| u.name != host.0.name)).collect();
    let host_judged = places.iter().any(|(u, _)| u.name == host.0.name);
    check_engines(wanted, &places)?;
    let reference = plan.policy.reference_engine();
    let tract = EngineName::new(TRACT).expect("a name of ours");
    let engines = HostEngines::of(wanted, [&reference, &tract], &host.1, &places);
    for (unit, target) in by_place {
        for (manifest, variants) in &asked {
            let on_host = unit.name.as_str() == HOST;
            let site = |engine| Site {
                wanted,
                model: &manifest.model,
                unit,
                target,
                engine,
                reference: engines.reference,
                host_judged,
            };
            let own = if on_host { engines.own.clone() } else { engines_of(wanted, target) };
            if on_host && !own.contains(&engines.reference) {
                plan.cells.push(site(engines.reference).reference());
            }
            plan.cells.extend(in_turn(own.iter().map(|engine| site(engine).cells(variants)).collect()));
            let others = engines.others.iter().filter(|_| on_host);
            plan.cells.extend(others.flat_map(|engine| site(engine).host_variants(variants)));
        }
    }
    time_references_twice(&mut plan);
    if !plan.cells.iter().any(|c| c.judged) {
        return Err(PlanError::Empty("no model, variant or target was asked for".into()));
    }
    places.iter().try_for_each(|(unit, target)| check_one_inside(&plan, unit, target))?;
    // What a record must keep, an hour of measuring must not find out.
    plan.check()?;
    Ok(plan)
}

/// A float model that variants are timed against is timed before and after them: what slowed it down the first time, and was gone when they came,
/// would make slow variants look good. Not on an emulator, whose times say nothing about hardware, and not over a slow line.
fn time_references_twice(plan: &mut Plan) {
    let timed = |cell: &Cell| cell.passes.iter().any(|pass| pass.pass == Pass::Latency);
    let judged: Vec<Cell> = plan.cells.iter().filter(|cell| cell.judged && timed(cell)).cloned().collect();
    for cell in &mut plan.cells {
        let target = &plan.targets[&cell.target];
        let is_runner = RUNNER_ENGINES.contains(&cell.engine.as_str());
        let can = target.clock.is_time() && !target.emulated && target.dialect.is_none() && is_runner;
        let is_float = cell.variant == plan.models[&cell.model].reference;
        let same = |other: &Cell| {
            other.id != cell.id && (&other.model, &other.unit, &other.engine) == (&cell.model, &cell.unit, &cell.engine)
        };
        if can && is_float && judged.iter().any(same) {
            cell.passes.iter_mut().filter(|pass| pass.pass == Pass::Latency).for_each(|pass| pass.again = true);
        }
    }
}

/// A firmware of somebody else has one model inside. Were another one judged by its answers, the verdict would be about the wrong model.
fn check_one_inside(plan: &Plan, unit: &Unit, target: &Target) -> Result<(), PlanError> {
    let asked: Vec<String> = plan.cells.iter().filter(|c| c.unit == unit.name).map(|c| c.id.to_string()).collect();
    if target.dialect.is_none() || asked.len() == 1 {
        return Ok(());
    }
    let expected = "one variant of one model, the one that is inside its firmware (name it with --variant)";
    let what = format!("cells of unit '{}'", unit.name);
    Err(PlanError::value("command line", what, expected, format!("{}: {}", asked.len(), asked.join(", "))))
}

/// Engines that run on this machine.
struct HostEngines<'a> {
    /// The one that answers for the float model.
    reference: &'a EngineName,
    /// Those whose cells are judged where this machine is checked itself.
    own: Vec<&'a EngineName>,
    /// Others that run on some unit: they run the variants here too, so that drift can be told from the engine's own.
    others: Vec<&'a EngineName>,
}

impl<'a> HostEngines<'a> {
    /// A GPU of another unit is none of this machine's: `tract` stands in here for the engine on it, unless this machine is checked itself.
    fn of(
        wanted: &'a Wanted,
        [reference, tract]: [&'a EngineName; 2],
        host: &'a Target,
        places: &'a [(Unit, Target)],
    ) -> Self {
        let stands_in = |engine: &'a EngineName| if engine.as_str() == CUDA { tract } else { engine };
        let is_checked = places.iter().any(|(unit, _)| unit.name.as_str() == HOST);
        let own =
            engines_of(wanted, host).into_iter().map(|engine| if is_checked { engine } else { stands_in(engine) });
        let own = distinct(own, |engine| engine.as_str());
        let elsewhere = places.iter().filter(|(unit, _)| unit.name.as_str() != HOST);
        let all = elsewhere.flat_map(|(_, target)| engines_of(wanted, target)).map(stands_in);
        let others = all.filter(|engine| !own.contains(engine) && engine.as_str() != FOREIGN);
        let others = distinct(others, |engine| engine.as_str());
        Self { reference, own, others }
    }
}

/// The engine is inside the firmware, whose ever it is.
fn has_engine_inside(target: &Target) -> bool {
    matches!(target.engine.as_str(), MICRO | FOREIGN)
}

/// Engines of a target's cells.
fn engines_of<'a>(wanted: &'a Wanted, target: &'a Target) -> Vec<&'a EngineName> {
    if wanted.engines.is_empty() || has_engine_inside(target) {
        return vec![&target.engine];
    }
    distinct(&wanted.engines, |engine| engine.as_str())
}

/// Processors beside which NVIDIA's driver runs.
const GPU_ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Engines that were asked for must have somewhere to run.
fn check_engines(wanted: &Wanted, places: &[(Unit, Target)]) -> Result<(), PlanError> {
    let names = || wanted.engines.iter().map(EngineName::as_str).collect::<Vec<_>>().join(", ");
    if !wanted.engines.is_empty() && places.iter().all(|(_, target)| has_engine_inside(target)) {
        let expected = "none where every unit has its engine inside its firmware";
        return Err(PlanError::value("command line", "--engine", expected, names()));
    }
    for (unit, target) in places {
        let on_gpu = engines_of(wanted, target).iter().any(|engine| engine.as_str() == CUDA);
        if on_gpu && !GPU_ARCHITECTURES.contains(&target.architecture.as_str()) {
            let expected = format!("{CUDA} on {} alone", GPU_ARCHITECTURES.join(" and "));
            let found = format!("{CUDA} on {}", target.architecture);
            return Err(PlanError::value("command line", format!("engine of unit '{}'", unit.name), expected, found));
        }
        // Its runner is a process of this machine among files of its own: it finds no library that was shipped.
        let simulated = matches!(target.link, LinkSpec::Sim { .. });
        if simulated && engines_of(wanted, target).iter().any(|engine| engine.as_str() == ONNXRUNTIME) {
            let what = format!("engine of unit '{}'", unit.name);
            return Err(PlanError::value(
                "command line",
                what,
                "an engine without a library on a simulated device",
                ONNXRUNTIME,
            ));
        }
    }
    Ok(())
}

/// The cells of one engine after the other, taken in turn: what is compared is measured side by side.
fn in_turn(by_engine: Vec<Vec<Cell>>) -> Vec<Cell> {
    let most = by_engine.iter().map(Vec::len).max().unwrap_or(0);
    let mut by_engine: Vec<_> = by_engine.into_iter().map(Vec::into_iter).collect();
    (0..most).flat_map(|_| by_engine.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

/// Each thing once, where it was said first.
fn distinct<T, K: Ord>(all: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|one| seen.insert(key(one))).collect()
}

/// Refuses what would stand in the place of another: the reference is measured on this machine and nowhere else, and a name that is a
/// target's own unit is no other unit's.
pub fn check_places(targets: &BTreeMap<TargetName, Target>, units: &BTreeMap<UnitName, Unit>) -> Result<(), PlanError> {
    let host = targets.values().find(|t| t.name.as_str() == HOST);
    if host.is_some_and(|host| !matches!(host.link, LinkSpec::Local)) {
        let expected = "local (it is this machine, where every reference is measured)";
        return Err(PlanError::value("targets", format!("link of target '{HOST}'"), expected, "another"));
    }
    let taken = |unit: &&Unit| {
        let same = |target: &Target| target.name.as_str() == unit.name.as_str() && !needs_unit(target);
        unit.name.as_str() == HOST || targets.values().any(same)
    };
    // What a clock counts is the target's to say: a unit that is switched otherwise would have its ticks misread.
    let machine = |power: &PowerSpec| matches!(power, PowerSpec::Machine { .. });
    let misread = |unit: &&Unit| {
        let target = targets.get(&unit.target);
        target.zip(unit.power.as_ref()).is_some_and(|(target, power)| machine(power) || machine(&target.power))
    };
    if let Some(unit) = units.values().find(misread) {
        let expected = "no power of its own where the target or it is a machine in QEMU";
        return Err(PlanError::value("inventory", format!("power of unit '{}'", unit.name), expected, "one"));
    }
    match units.values().find(taken) {
        Some(unit) => {
            let expected = format!("a name of its own ('{}' is a target that is its own unit)", unit.name);
            Err(PlanError::value("inventory", "name of a unit", expected, format!("'{}'", unit.name)))
        }
        None => Ok(()),
    }
}

/// The target is somebody's hardware: the inventory says where a unit of it is.
fn needs_unit(target: &Target) -> bool {
    let far = matches!(target.link, LinkSpec::Ssh | LinkSpec::Serial { .. } | LinkSpec::Rtt);
    far && !matches!(target.power, PowerSpec::Qemu { .. } | PowerSpec::Machine { .. })
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
    if needs_unit(target) {
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
        ssh_config: None,
        identity: None,
        power: None,
        probe: None,
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

/// A model to check.
#[derive(Clone, Copy)]
struct Chosen<'m> {
    manifest: &'m Manifest,
    /// By itself, not as one of many.
    named: bool,
}

fn chosen<'m>(wanted: &Wanted, manifests: &'m BTreeMap<ModelName, Manifest>) -> Result<Vec<Chosen<'m>>, PlanError> {
    if manifests.is_empty() {
        return Err(PlanError::Empty("no model.toml was found".into()));
    }
    if wanted.models.is_empty() && wanted.in_folders.is_empty() {
        return Ok(manifests.values().map(|manifest| Chosen { manifest, named: false }).collect());
    }
    let find = |name: &String, named| {
        let manifest = manifests.values().find(|m| m.model.name.as_str() == name);
        manifest.map(|manifest| Chosen { manifest, named }).ok_or_else(|| unknown("model", name, manifests.keys()))
    };
    let named = wanted.models.iter().map(|name| find(name, true));
    let all = named.chain(wanted.in_folders.iter().map(|name| find(name, false)));
    Ok(distinct(all.collect::<Result<Vec<_>, _>>()?, |one| one.manifest.model.name.clone()))
}

/// Models and their variants that were asked for. A model in which there is nothing to check is not among them.
fn asked<'m>(
    wanted: &Wanted,
    manifests: &'m BTreeMap<ModelName, Manifest>,
) -> Result<Vec<(&'m Manifest, Vec<&'m Variant>)>, PlanError> {
    let chosen = chosen(wanted, manifests)?;
    check_variants(wanted, &chosen)?;
    let with_variants = chosen.iter().map(|one| Ok((one.manifest, variants(wanted, one.manifest)?)));
    let all: Vec<_> = with_variants.collect::<Result<_, PlanError>>()?;
    Ok(all.into_iter().filter(|(_, variants)| !variants.is_empty()).collect())
}

/// Models and the variants that were asked for and that they do not have, where that is no error: other models have them.
pub fn lacking(
    wanted: &Wanted,
    manifests: &BTreeMap<ModelName, Manifest>,
) -> Result<Vec<(ModelName, String)>, PlanError> {
    let chosen = chosen(wanted, manifests)?;
    let of = |one: &Chosen<'_>| {
        let model = &one.manifest.model;
        let missing = named_variants(wanted).filter(|name| !has(model, name)).cloned();
        missing.map(|name| (model.name.clone(), name)).collect::<Vec<_>>()
    };
    Ok(chosen.iter().flat_map(of).collect())
}

fn named_variants(wanted: &Wanted) -> impl Iterator<Item = &String> {
    wanted.variants.iter().filter(|name| *name != ALL)
}

fn has(model: &Model, variant: &str) -> bool {
    model.variants.keys().any(|name| name.as_str() == variant)
}

/// A variant must be one of each model that was named, and of some model in any case.
fn check_variants(wanted: &Wanted, chosen: &[Chosen<'_>]) -> Result<(), PlanError> {
    for name in named_variants(wanted) {
        let without = |one: &&Chosen<'_>| !has(&one.manifest.model, name);
        if let Some(one) = chosen.iter().filter(|one| one.named).find(without) {
            return Err(unknown("variant", name, one.manifest.model.variants.keys()));
        }
        if chosen.iter().all(|one| without(&one)) {
            let known = chosen.iter().flat_map(|one| one.manifest.model.variants.keys());
            return Err(unknown("variant", name, distinct(known, |name| name.as_str()).into_iter()));
        }
    }
    Ok(())
}

/// Variants asked for that this model has, in the order in which they were.
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
    if wanted.variants.iter().any(|v| v == ALL) {
        return Ok(all.values().collect());
    }
    let found = wanted.variants.iter().filter_map(|name| all.values().find(|v| v.name.as_str() == name));
    Ok(distinct(found, |v| &v.name))
}

fn with_variants(model: &Model, asked: &[&Variant]) -> Model {
    let keep = |name: &VariantName| *name == model.reference || asked.iter().any(|v| v.name == *name);
    let variants = model.variants.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    Model { variants, ..model.clone() }
}

/// The model with its samples in the order of a pass that may stop early. There is one: who could choose among many could choose his verdict.
fn in_order(mut model: Model) -> Model {
    let of = model.evalset.digest;
    model.evalset.order = Some(Ordered { of, seed: order::seed(&of) });
    model
}

/// One model on one unit.
#[derive(Clone, Copy)]
struct Site<'a> {
    wanted: &'a Wanted,
    model: &'a Model,
    unit: &'a Unit,
    target: &'a Target,
    engine: &'a EngineName,
    /// Engine that answers for the float model on this machine.
    reference: &'a EngineName,
    host_judged: bool,
}

impl Site<'_> {
    /// The float model by an engine that runs nothing else here.
    fn reference(&self) -> Cell {
        let site = Site { host_judged: false, ..*self };
        site.cell(&self.model.variants[&self.model.reference], Role::Reference, false)
    }

    /// Reference first, then the variants that were asked for.
    fn cells(&self, asked: &[&Variant]) -> Vec<Cell> {
        let on_host = self.unit.name.as_str() == HOST;
        let judged = !on_host || self.host_judged;
        let reference = &self.model.variants[&self.model.reference];
        let reference_asked = asked.iter().any(|v| v.name == reference.name);
        let reference_role = match (on_host, reference_asked) {
            (true, _) if self.engine == self.reference => Role::Reference,
            (true, _) if !self.host_judged => Role::HostVariant,
            (_, true) => Role::Device,
            (_, false) => Role::DeviceReference,
        };
        let variant_role = if judged { Role::Device } else { Role::HostVariant };
        let others = asked.iter().filter(|v| v.name != reference.name);
        // An engine for integers has no float model on its unit, unless somebody asks for it to hear why. Nor has a firmware that holds
        // another model.
        let has_reference = !matches!(self.engine.as_str(), MICRO | FOREIGN) || reference_asked;
        std::iter::once(self.cell(reference, reference_role, judged && reference_asked))
            .filter(|_| has_reference)
            .chain(others.map(|v| self.cell(v, variant_role, judged)))
            .collect()
    }

    /// The variants by an engine of other units: never judged, and not timed. With them the float model, where the engine runs one: what
    /// the engine does to it is not the variant's doing.
    fn host_variants(&self, asked: &[&Variant]) -> Vec<Cell> {
        let site = Site { host_judged: false, ..*self };
        let reference = &self.model.variants[&self.model.reference];
        let runs_floats = self.engine.as_str() != MICRO;
        let float = (runs_floats && self.engine != self.reference).then_some(reference);
        let variants = asked.iter().copied().filter(|v| !(runs_floats && v.name == reference.name));
        float.into_iter().chain(variants).map(|v| site.cell(v, Role::HostVariant, false)).collect()
    }

    fn cell(&self, variant: &Variant, role: Role, judged: bool) -> Cell {
        let on_host = self.unit.name.as_str() == HOST;
        let timed = !on_host || self.host_judged;
        // On this machine the float model by another engine than the reference's is its second opinion.
        let answers = on_host || !matches!(role, Role::DeviceReference);
        let mut passes = Vec::new();
        // What a firmware of somebody else cannot tell is not planned: rules on it find that it was not measured.
        let (tells_itself, tells_time) =
            self.target.dialect.as_ref().map_or((true, true), |dialect| (false, dialect.is_timed()));
        // A float model that fell back to the CPU would make every time beside it look good: it is looked at as well.
        let has_providers = self.engine.as_str() == ONNXRUNTIME && self.target.onnxruntime.is_some();
        let is_placed = has_providers || self.engine.as_str() == CUDA;
        if (answers || is_placed) && tells_itself {
            passes.push(self.pass(Pass::Inspect, variant));
        }
        if answers {
            let stage = if judged && self.may_stop_early(variant, role) { Some(LOOKS) } else { None };
            passes.push(staged(self.pass(Pass::Accuracy, variant), stage));
        }
        if timed && tells_time {
            passes.push(self.pass(Pass::Latency, variant));
        }
        if timed && tells_itself {
            passes.push(self.pass(Pass::Memory, variant));
        }
        let engine = self.engine.clone();
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

    /// May the accuracy pass stop as soon as the verdict is certain? Only that of a cell that nothing else is compared with, all of whose
    /// answers are then wanted; a firmware of somebody else is asked for what it can tell and in no parts.
    fn may_stop_early(&self, variant: &Variant, role: Role) -> bool {
        let elsewhere = self.wanted.places.iter().any(|place| place != HOST);
        let compared_with = self.unit.name.as_str() == HOST && (elsewhere || variant.name == self.model.reference);
        self.wanted.counts.stop_early && role == Role::Device && self.engine.as_str() != FOREIGN && !compared_with
    }

    /// Batch, samples, warm-up and iterations of a firmware of somebody else.
    fn foreign_pass(&self, pass: Pass, samples: u64, iterations: u32) -> (u32, u64, u32, u32) {
        match pass {
            Pass::Latency => {
                let warmup = self.wanted.counts.latency_warmup.min(MICRO_WARMUP);
                (1, samples.min(FOREIGN_SAMPLES).min(u64::from(iterations)), warmup, iterations)
            }
            Pass::Inspect | Pass::Accuracy | Pass::Memory => (1, samples, 0, 0),
        }
    }

    /// Batch, samples, warm-up and iterations on a microcontroller.
    fn micro_pass(&self, pass: Pass, samples: u64, iterations: u32) -> (u32, u64, u32, u32) {
        match pass {
            Pass::Inspect => (1, samples.min(8), 0, 0),
            Pass::Accuracy => (1, samples, 0, 0),
            Pass::Latency => (1, samples, self.wanted.counts.latency_warmup.min(MICRO_WARMUP), iterations),
            Pass::Memory => (1, samples.min(8), 0, 8),
        }
    }

    fn pass(&self, pass: Pass, variant: &Variant) -> PassPlan {
        let counts = &self.wanted.counts;
        let all = self.model.evalset.samples;
        let samples = if counts.samples == 0 { all } else { counts.samples.min(all) };
        let (iterations, enough) =
            counts.latency_iterations.map_or_else(|| usual_iterations(self.target, self.engine), |asked| (asked, 0));
        let enough = if pass == Pass::Latency { enough } else { 0 };
        // A file that fixes its batch runs with that one and no other.
        let single = variant.batch.unwrap_or(1);
        let (batch, samples, warmup, iterations) = match pass {
            // On a microcontroller samples cross a slow line: all passes make do with those of the accuracy pass. One at a time is all
            // that its engine does, whatever batch the file fixes.
            _ if self.engine.as_str() == MICRO => self.micro_pass(pass, samples, iterations),
            _ if self.engine.as_str() == FOREIGN => self.foreign_pass(pass, samples, iterations),
            Pass::Inspect => (single, all.min(8), 0, 0),
            Pass::Accuracy => (variant.batch.unwrap_or(ACCURACY_BATCH), samples, 0, 0),
            Pass::Latency => (single, all, counts.latency_warmup, iterations),
            Pass::Memory => (single, all.min(8), 0, 8),
        };
        PassPlan {
            pass,
            batch,
            samples,
            warmup,
            iterations,
            enough,
            again: false,
            stage: 0,
            deadline_ms: self.target.limits.pass_deadline_s.saturating_mul(1000),
            sketch: None,
            memory_limit_bytes: self.target.limits.memory_bytes,
        }
    }
}

/// Looks at an accuracy pass that may stop early, when it visits all of its samples. Each costs the start of a process; bounds that hold at
/// every look are as wide whatever their number.
const LOOKS: u64 = 20;

/// The pass in stages of a whole number of batches, so that no batch is cut.
fn staged(pass: PassPlan, looks: Option<u64>) -> PassPlan {
    let Some(looks) = looks else { return pass };
    let stage = pass.samples.div_ceil(looks).next_multiple_of(u64::from(pass.batch.max(1)));
    PassPlan { stage: if stage < pass.samples { stage } else { 0 }, ..pass }
}

/// Inferences before the measured ones on a microcontroller: there is little that could warm up.
const MICRO_WARMUP: u32 = 10;
/// Samples that a firmware of somebody else is timed on: each crosses a slow line as text.
const FOREIGN_SAMPLES: u64 = 8;
/// Inferences of a latency pass that counts instructions: each sample takes the same number every time.
const INSTRUCTION_ITERATIONS: u32 = 200;

/// Inferences of a latency pass that nobody asked a number of, and how many are enough when they take long (0: all of them).
fn usual_iterations(target: &Target, engine: &EngineName) -> (u32, u32) {
    if !target.clock.is_time() {
        return (INSTRUCTION_ITERATIONS, 0);
    }
    let iterations = (LATENCY_ITERATIONS / target.limits.slowdown.max(1)).max(LATENCY_ITERATIONS_MIN);
    match RUNNER_ENGINES.contains(&engine.as_str()) {
        _ if target.emulated => (iterations, LATENCY_ENOUGH_EMULATED),
        true => (iterations * LATENCY_MORE, iterations),
        // A firmware does as many as it is told, and its line is slow.
        false => (iterations, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{builtin, parse_inventory, parse_model, parse_policy, parse_target};
    use boardproof_record::plan::{CPU_PROVIDER, Fallback, Onnxruntime, TRACT};

    /// A small model under this name with these variants, the first of them its reference.
    fn manifest(name: &str, variants: &[(&str, &str)]) -> Manifest {
        let mut text = format!(
            "schema = 1\n[model]\nname = '{name}'\ntask = 'regression'\nsummary = 's'\nlicence = 'l'\nprovenance = 'p'\n\
             [[input]]\nname = 'x'\ndtype = 'F32'\nshape = ['N', 2]\n[[output]]\nname = 'y'\ndtype = 'F32'\nshape = ['N', 1]\n\
             [evalset]\nfile = 'e'\nsha256 = '{digest}'\nbytes = 1\nsamples = 100\ninputs = 'x'\nlabels = 'labels'\n\
             [reference]\nvariant = '{first}'\n",
            digest = "0".repeat(64),
            first = variants[0].0
        );
        for (variant, batch) in variants {
            text += &format!(
                "[[variant]]\nname = '{variant}'\nfile = '{variant}.onnx'\nsha256 = '{}'\nbytes = 1\nformat = 'onnx'\n\
                 quantization = 'q'\nbatch = {batch}\nsame_weights = true\npurpose = 'release'\n",
                "0".repeat(64)
            );
        }
        parse_model("model.toml", name, &text).unwrap()
    }

    fn known(manifests: impl IntoIterator<Item = Manifest>) -> BTreeMap<ModelName, Manifest> {
        manifests.into_iter().map(|m| (m.model.name.clone(), m)).collect()
    }

    /// Two models; only the second has the variant `rare`.
    fn two() -> BTreeMap<ModelName, Manifest> {
        let common = [("f32", "'N'"), ("int8", "'N'")];
        known([manifest("one", &common), manifest("two", &[&common[..], &[("rare", "'N'")]].concat())])
    }

    fn targets() -> BTreeMap<TargetName, Target> {
        let parsed = builtin::TARGETS.iter().map(|(name, text)| parse_target(name, text).unwrap());
        parsed.map(|target| (target.name.clone(), target)).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn wanted(models: &str, variants: &str, places: &str) -> Wanted {
        Wanted {
            models: words(models),
            in_folders: Vec::new(),
            variants: words(variants),
            places: words(places),
            engines: Vec::new(),
            counts: Counts::default(),
        }
    }

    #[test]
    fn a_policy_that_names_no_engine_has_the_targets_own_for_its_reference() {
        let manifests = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'")])]);
        let policy = Policy { reference: None, ..parse_policy("default", builtin::POLICY).unwrap() };
        let wanted = wanted("one", "int8", "host");
        let plan = plan(&wanted, &manifests, &targets(), &BTreeMap::new(), policy).unwrap();
        assert_eq!(cells(&plan), ["one/f32@host/tract Reference ialm", "one/int8@host/tract Device ialm judged"]);
    }

    fn planned(wanted: &Wanted, manifests: &BTreeMap<ModelName, Manifest>) -> Result<Plan, PlanError> {
        plan(wanted, manifests, &targets(), &BTreeMap::new(), parse_policy("default", builtin::POLICY).unwrap())
    }

    #[test]
    fn no_units_own_power_makes_a_clock_misread() {
        let check = |target: &str, power: &str| {
            let unit = format!("[[unit]]\nname = 'desk'\ntarget = '{target}'\naddress = 'unix:/run/line'\n{power}");
            let units = parse_inventory("inventory", &format!("schema = 1\n{unit}")).unwrap();
            check_places(&targets(), &units)
        };
        let command = "[unit.power]\nkind = 'command'\non = 'a'\noff = 'b'\ntimeout_s = 1\n";
        let machine = "[unit.power]\nkind = 'machine'\nmachine = 'mps2-an386'\ninstruction_shift = 5\n";
        check("nucleo-f446re", "").unwrap();
        check("nucleo-f446re", command).unwrap();
        check("mps2-an386", "").unwrap();
        for (target, power) in [("nucleo-f446re", machine), ("mps2-an386", command)] {
            let error = check(target, power).unwrap_err().to_string();
            assert!(error.contains("power of unit 'desk'") && error.contains("no power of its own"), "{error}");
        }
    }

    fn judged(plan: &Plan) -> Vec<String> {
        plan.cells.iter().filter(|c| c.judged).map(|c| c.id.to_string()).collect()
    }

    #[test]
    fn what_is_said_twice_is_planned_once() {
        let once = planned(&wanted("one", "f32 int8", "host sim"), &two()).unwrap();
        let twice = planned(&wanted("one one", "f32 int8 f32 int8", "host sim host sim"), &two()).unwrap();
        assert_eq!(once, twice);
        assert_eq!(judged(&once).len(), 4);
    }

    #[test]
    fn a_variant_that_only_some_models_have_is_checked_where_it_is() {
        let many = Wanted { in_folders: words("one two"), ..wanted("", "rare", "host") };
        for wanted in [wanted("", "rare", "host"), many] {
            assert_eq!(judged(&planned(&wanted, &two()).unwrap()), ["two/rare@host/tract"]);
            let without: Vec<_> = lacking(&wanted, &two()).unwrap();
            assert_eq!(without, [(ModelName::new("one").unwrap(), "rare".to_owned())]);
        }
        let all = Wanted { variants: words("all"), ..wanted("", "", "host") };
        assert_eq!(lacking(&all, &two()).unwrap(), []);
    }

    #[test]
    fn a_variant_that_a_named_model_lacks_or_no_model_has_is_an_error() {
        for (models, variants) in [("one two", "rare"), ("one", "int8 rare"), ("", "rarer"), ("", "all rarer")] {
            let error = planned(&wanted(models, variants, "host"), &two()).unwrap_err().to_string();
            assert!(error.starts_with("no variant is called 'rare"), "{models} {variants}: {error}");
        }
    }

    /// A unit with a firmware of somebody else, and its target.
    fn bench(dialect: &str) -> (BTreeMap<TargetName, Target>, BTreeMap<UnitName, Unit>) {
        let text = format!(
            "schema = 1\n[target]\nname = 'inside'\nsummary = 's'\narchitecture = 'arm'\nproved = false\nproved_note = 'n'\n\
             emulated = false\n[dialect]\n{dialect}\n[link]\nkind = 'serial'\nbaud = 115200\n[limits]\npass_deadline_s = 60\n"
        );
        let target = parse_target("inside.toml", &text).unwrap();
        let mut targets = targets();
        targets.insert(target.name.clone(), target);
        let unit = "schema = 1\n[[unit]]\nname = 'bench'\ntarget = 'inside'\naddress = 'serial:/dev/ttyACM0'\n";
        (targets, parse_inventory("inventory", unit).unwrap())
    }

    fn planned_on_bench(wanted: &Wanted, dialect: &str) -> Result<Plan, PlanError> {
        let (targets, units) = bench(dialect);
        let models = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'")])]);
        plan(wanted, &models, &targets, &units, parse_policy("default", builtin::POLICY).unwrap())
    }

    #[test]
    fn a_firmware_of_somebody_else_is_asked_for_what_it_can_tell() {
        let timed = "speaks = 'mlperf-tiny'\nmodel = 'kws01'";
        let not = "speaks = 'stm32msg'\nmodel = 'network'";
        let believed = "speaks = 'stm32msg'\nmodel = 'network'\nclock_believed = true";
        for (dialect, passes) in [
            (timed, &[Pass::Accuracy, Pass::Latency][..]),
            (not, &[Pass::Accuracy]),
            (believed, &[Pass::Accuracy, Pass::Latency]),
        ] {
            let plan = planned_on_bench(&wanted("one", "int8", "bench"), dialect).unwrap();
            let ids: Vec<String> = plan.cells.iter().map(|c| c.id.to_string()).collect();
            let on_host = ["one/f32@host/candle", "one/f32@host/tract", "one/int8@host/tract"];
            assert_eq!(ids, [&on_host[..], &["one/int8@bench/foreign"]].concat());
            let planned: Vec<Pass> = plan.cells[3].passes.iter().map(|p| p.pass).collect();
            assert_eq!(planned, passes, "{dialect}");
        }
    }

    #[test]
    fn a_firmware_of_somebody_else_has_one_model_inside() {
        let dialect = "speaks = 'mlperf-tiny'\nmodel = 'kws01'";
        let error = planned_on_bench(&wanted("one", "f32 int8", "bench"), dialect).unwrap_err().to_string();
        assert!(error.contains("unit 'bench'") && error.contains("--variant"), "{error}");
        assert!(error.contains("one/f32@bench/foreign, one/int8@bench/foreign"), "{error}");
    }

    /// Id, role and passes of each cell, one letter a pass.
    fn cells(plan: &Plan) -> Vec<String> {
        let letter = |pass: &PassPlan| match pass.pass {
            Pass::Inspect => 'i',
            Pass::Accuracy => 'a',
            Pass::Latency => 'l',
            Pass::Memory => 'm',
        };
        let line = |c: &Cell| {
            let passes: String = c.passes.iter().map(letter).collect();
            format!("{} {:?} {passes}{}", c.id, c.role, if c.judged { " judged" } else { "" })
        };
        plan.cells.iter().map(line).collect()
    }

    #[test]
    fn a_reference_by_another_engine_has_a_second_opinion() {
        let manifests = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'")])]);
        let planned = |places: &str| cells(&planned(&wanted("one", "int8", places), &manifests).unwrap());
        assert_eq!(
            planned("host"),
            [
                "one/f32@host/candle Reference ia",
                "one/f32@host/tract DeviceReference ialm",
                "one/int8@host/tract Device ialm judged",
            ]
        );
        assert_eq!(
            planned("qemu-aarch64"),
            [
                "one/f32@host/candle Reference ia",
                "one/f32@host/tract HostVariant ia",
                "one/int8@host/tract HostVariant ia",
                "one/f32@qemu-aarch64/tract DeviceReference lm",
                "one/int8@qemu-aarch64/tract Device ialm judged",
            ]
        );
    }

    #[test]
    fn engines_that_are_asked_for_run_everywhere_side_by_side() {
        let manifests = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'")])]);
        let engines = ["tract", "onnxruntime"].map(|name| EngineName::new(name).unwrap()).to_vec();
        let both =
            |places: &str| planned(&Wanted { engines: engines.clone(), ..wanted("one", "int8", places) }, &manifests);
        assert_eq!(
            cells(&both("qemu-aarch64").unwrap()),
            [
                "one/f32@host/candle Reference ia",
                "one/f32@host/tract HostVariant ia",
                "one/f32@host/onnxruntime HostVariant ia",
                "one/int8@host/tract HostVariant ia",
                "one/int8@host/onnxruntime HostVariant ia",
                "one/f32@qemu-aarch64/tract DeviceReference lm",
                "one/f32@qemu-aarch64/onnxruntime DeviceReference lm",
                "one/int8@qemu-aarch64/tract Device ialm judged",
                "one/int8@qemu-aarch64/onnxruntime Device ialm judged",
            ]
        );
        for (places, said) in [("mps2-an386", "has its engine inside"), ("sim", "without a library")] {
            let error = both(places).unwrap_err().to_string();
            assert!(error.contains(said), "{places}: {error}");
        }
    }

    /// A machine without a GPU checks one that has: nothing by the engine on the GPU is planned here, and what is compared is there.
    #[test]
    fn tract_stands_in_on_this_machine_for_a_gpu_elsewhere() {
        let manifests = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'")])]);
        let by = |engines: &[&str], places: &str| {
            let engines = engines.iter().map(|name| EngineName::new(*name).unwrap()).collect();
            planned(&Wanted { engines, ..wanted("one", "int8", places) }, &manifests).unwrap()
        };
        let plan = by(&[], "nvidia-x86_64");
        assert_eq!(
            cells(&plan),
            [
                "one/f32@host/candle Reference ia",
                "one/f32@host/tract HostVariant ia",
                "one/int8@host/tract HostVariant ia",
                "one/f32@nvidia-x86_64/cuda DeviceReference ilm",
                "one/int8@nvidia-x86_64/cuda Device ialm judged",
            ]
        );
        let judged = plan.cells.iter().find(|cell| cell.judged).unwrap();
        assert_eq!(plan.on_host(judged).unwrap().id.to_string(), "one/int8@host/tract");
        assert_eq!(cells(&by(&["cuda"], "nvidia-x86_64")), cells(&plan));
        let engines = vec![EngineName::new("cuda").unwrap()];
        let error = planned(&Wanted { engines, ..wanted("one", "int8", "qemu-armv7") }, &manifests).unwrap_err();
        assert!(error.to_string().contains("cuda on arm"), "{error}");
        let here = by(&["cuda"], "host");
        let judged = here.cells.iter().find(|cell| cell.judged).unwrap();
        assert_eq!(here.on_host(judged).unwrap().id, judged.id);
    }

    #[test]
    fn where_a_provider_is_wanted_the_float_model_is_looked_at_too() {
        let manifests = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'")])]);
        let mut targets = targets();
        let target = targets.values_mut().find(|t| t.name.as_str() == "qemu-aarch64").expect("it is one of them");
        let providers = vec!["ACLExecutionProvider".into(), CPU_PROVIDER.into()];
        target.onnxruntime =
            Some(Onnxruntime { providers, fallback: Fallback::Refused, options: BTreeMap::new(), library: None });
        let engines = [TRACT, ONNXRUNTIME].map(|name| EngineName::new(name).unwrap()).to_vec();
        let wanted = Wanted { engines, ..wanted("one", "int8", "qemu-aarch64") };
        let policy = parse_policy("default", builtin::POLICY).unwrap();
        let found = cells(&plan(&wanted, &manifests, &targets, &BTreeMap::new(), policy).unwrap());
        assert!(found.contains(&"one/f32@qemu-aarch64/onnxruntime DeviceReference ilm".to_owned()), "{found:?}");
        assert!(found.contains(&"one/f32@qemu-aarch64/tract DeviceReference lm".to_owned()), "{found:?}");
    }

    #[test]
    fn a_batch_that_the_file_fixes_is_that_of_every_pass() {
        let models = known([manifest("one", &[("f32", "'N'"), ("b4", "4")])]);
        let plan = planned(&wanted("one", "b4", "host"), &models).unwrap();
        let batches = |variant: &str| -> Vec<u32> {
            let cell = plan.cells.iter().find(|c| c.variant.as_str() == variant && c.engine.as_str() == TRACT).unwrap();
            cell.passes.iter().map(|p| p.batch).collect()
        };
        assert_eq!(batches("b4"), [4, 4, 4, 4]);
        assert_eq!(batches("f32"), [1, 16, 1, 1]);
    }

    #[test]
    fn only_a_pass_that_nothing_is_compared_with_may_stop_early() {
        let manifests = known([manifest("one", &[("f32", "'N'"), ("int8", "'N'"), ("b3", "3")])]);
        let staged = |variants: &str, places: &str, stop_early| {
            let counts = Counts { stop_early, ..Counts::default() };
            let plan = planned(&Wanted { counts, ..wanted("one", variants, places) }, &manifests).unwrap();
            assert!(plan.models.values().all(|model| model.evalset.order.is_some() == stop_early));
            let stage = |cell: &Cell| Some((cell.id.to_string(), cell.passes.iter().find(|p| p.may_stop())?.stage));
            plan.cells.iter().filter_map(stage).collect::<Vec<_>>()
        };
        let one = |cell: &str, stage| vec![(cell.to_owned(), stage)];
        assert_eq!(staged("int8", "sim", false), []);
        // A twentieth of 100 samples, in whole batches.
        assert_eq!(staged("int8", "sim", true), one("one/int8@sim/tract", 16));
        assert_eq!(staged("b3", "sim", true), one("one/b3@sim/tract", 6));
        assert_eq!(staged("int8", "host", true), one("one/int8@host/tract", 16));
        assert_eq!(staged("int8", "host sim", true), one("one/int8@sim/tract", 16), "what the board is compared with");
        assert_eq!(staged("f32", "host", true), [], "the reference's second opinion");
        assert_eq!(staged("f32", "sim", true), one("one/f32@sim/tract", 16));
    }

    #[test]
    fn nothing_stands_in_the_place_of_this_machine() {
        let unit = |name: &str, target: &str| {
            let text = format!("schema = 1\n[[unit]]\nname = '{name}'\ntarget = '{target}'\naddress = 'board'\n");
            parse_inventory("inventory.toml", &text).unwrap()
        };
        for (name, target) in [("host", "raspberry-pi-4"), ("sim", "raspberry-pi-4"), ("virtual-board-aarch64", "host")]
        {
            let policy = parse_policy("default", builtin::POLICY).unwrap();
            let error = plan(&wanted("one", "int8", "host"), &two(), &targets(), &unit(name, target), policy);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&format!("'{name}' is a target that is its own unit")), "{error}");
        }
        check_places(&targets(), &unit("raspberry-pi-4", "raspberry-pi-4")).unwrap();
        let mut elsewhere = targets();
        for target in elsewhere.values_mut().filter(|t| t.name.as_str() == HOST) {
            target.link = LinkSpec::Ssh;
        }
        let error = check_places(&elsewhere, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("link of target 'host': expected local"), "{error}");
    }

    fn model_with_tolerance_for(target: &str) -> Model {
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
            check_tolerances(&model_with_tolerance_for(target.as_str()), &targets).unwrap();
        }
        let error = check_tolerances(&model_with_tolerance_for("hoost"), &targets).unwrap_err().to_string();
        assert!(error.contains("sqnr_db") && error.contains("one of: host,") && error.contains("'hoost'"), "{error}");
    }
}
