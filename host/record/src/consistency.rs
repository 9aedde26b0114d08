//! What must hold between the parts of a record, whoever wrote it. A record may come from anywhere and be judged long after it was
//! written: everything that the judge looks up by name is proved to be there, once and only once, before it looks.

use crate::observation::{Observation, Outcome};
use crate::plan::{Cell, FOREIGN, HOST, Model, Pass, PassPlan, Plan, Role};
use crate::record::Record;
use crate::{CellId, ModelName};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::marker::PhantomData;

/// A record whose parts contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record is damaged: {what}")]
pub struct Inconsistent {
    /// What contradicts what.
    pub what: String,
}

fn inconsistent<T>(what: impl Into<String>) -> Result<T, Inconsistent> {
    Err(Inconsistent { what: what.into() })
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Inconsistent> {
    if holds { Ok(()) } else { inconsistent(what()) }
}

impl Record {
    /// Proves that plan, outcomes and evalsets belong together.
    pub fn check(&self) -> Result<(), Inconsistent> {
        self.plan.check()?;
        let planned: BTreeSet<&CellId> = self.plan.cells.iter().map(|c| &c.id).collect();
        let missing = planned.iter().find(|id| !self.outcomes.contains_key(**id)).copied();
        if let Some(cell) = missing.or_else(|| self.outcomes.keys().find(|id| !planned.contains(id))) {
            return inconsistent(format!("planned cells and outcomes differ at '{cell}'"));
        }
        for cell in &self.plan.cells {
            if let Some(Outcome::Measured(seen)) = self.outcomes.get(&cell.id) {
                check_observation(cell, seen)?;
            }
        }
        for (cell, outcome) in &self.again {
            let again = |pass: &PassPlan| pass.pass == Pass::Latency && pass.again;
            let planned = self.plan.cells.iter().find(|c| c.id == *cell && c.passes.iter().any(again));
            let Some(planned) = planned else {
                return inconsistent(format!("'{cell}' was measured again, which was not planned"));
            };
            if let Outcome::Measured(seen) = outcome {
                check_observation(planned, seen)?;
            }
        }
        for (cell, metrics) in &self.custom {
            let model = self.plan.cells.iter().find(|c| c.id == *cell).and_then(|c| self.plan.models.get(&c.model));
            let known = |name: &String| model.is_some_and(|model| model.custom.iter().any(|m| m.name == *name));
            if let Some(name) = metrics.keys().find(|name| !known(name)) {
                return inconsistent(format!(
                    "'{cell}' has numbers of a custom metric '{name}', which was not planned"
                ));
            }
        }
        Ok(())
    }
}

/// Every pass at most once, and none that was not planned: which of two would count?
fn check_observation(cell: &Cell, seen: &Observation) -> Result<(), Inconsistent> {
    let mut known = BTreeSet::new();
    for pass in &seen.passes {
        let name = pass_name(pass.pass);
        ensure(known.insert(pass.pass), || format!("'{}' has two observations of the {name} pass", cell.id))?;
        let planned = cell.passes.iter().any(|p| p.pass == pass.pass);
        ensure(planned, || format!("'{}' has an observation of the {name} pass, which was not planned", cell.id))?;
    }
    Ok(())
}

fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Inspect => "inspect",
        Pass::Accuracy => "accuracy",
        Pass::Latency => "latency",
        Pass::Memory => "memory",
    }
}

impl Plan {
    /// Proves that every name in the plan stands for one thing of the plan.
    pub fn check(&self) -> Result<(), Inconsistent> {
        keys_are_names("model", self.models.iter().map(|(key, model)| (key, &model.name)))?;
        keys_are_names("target", self.targets.iter().map(|(key, target)| (key, &target.name)))?;
        keys_are_names("unit", self.units.iter().map(|(key, unit)| (key, &unit.name)))?;
        self.models.values().try_for_each(check_model)?;
        for unit in self.units.values() {
            let (unit, target) = (&unit.name, &unit.target);
            ensure(self.targets.contains_key(target), || {
                format!("unit '{unit}' is of target '{target}', which is not here")
            })?;
        }
        let mut rules = BTreeSet::new();
        for rule in &self.policy.rules {
            ensure(rules.insert(&rule.id), || format!("the policy has two rules '{}'", rule.id))?;
        }
        let mut ids = BTreeSet::new();
        for cell in &self.cells {
            ensure(ids.insert(&cell.id), || format!("cell '{}' is planned twice", cell.id))?;
            self.check_cell(cell)?;
        }
        self.models.keys().try_for_each(|model| self.check_reference(model))
    }

    fn check_cell(&self, cell: &Cell) -> Result<(), Inconsistent> {
        let id = &cell.id;
        let composed = CellId::new(&cell.model, &cell.variant, &cell.unit, &cell.engine);
        ensure(*id == composed, || format!("cell '{id}' stands for '{composed}'"))?;
        let Some(model) = self.models.get(&cell.model) else { return inconsistent(format!("'{id}' has no model")) };
        ensure(model.variants.contains_key(&cell.variant), || format!("'{id}' has no variant"))?;
        let unit = self.units.get(&cell.unit);
        let on_target = unit.is_some_and(|unit| unit.target == cell.target) && self.targets.contains_key(&cell.target);
        ensure(on_target, || format!("'{id}' has no unit of target '{}'", cell.target))?;
        let foreign = self.targets.get(&cell.target).is_some_and(|target| target.dialect.is_some());
        ensure((cell.engine.as_str() == FOREIGN) == foreign, || {
            format!("'{id}' and target '{}' do not agree whether its firmware is somebody else's", cell.target)
        })?;
        let mut passes = BTreeSet::new();
        for plan in &cell.passes {
            let name = pass_name(plan.pass);
            ensure(passes.insert(plan.pass), || format!("'{id}' plans the {name} pass twice"))?;
            ensure(plan.samples <= model.evalset.samples, || {
                format!("'{id}' plans {} samples of {} in the {name} pass", plan.samples, model.evalset.samples)
            })?;
            let may_end_early = plan.enough == 0 || plan.pass == Pass::Latency && plan.enough <= plan.iterations;
            ensure(plan.stage == 0 || plan.may_stop(), || format!("'{id}' lets the {name} pass stop between stages"))?;
            ensure(!plan.may_stop() || model.evalset.order.is_some(), || {
                format!("'{id}' lets the {name} pass stop, and its evalset is in no order that was drawn")
            })?;
            ensure(may_end_early, || {
                format!("'{id}' lets the {name} pass of {} inferences end after {}", plan.iterations, plan.enough)
            })?;
        }
        Ok(())
    }

    /// One reference per model, and it is what it says: the float model on this machine.
    fn check_reference(&self, model: &ModelName) -> Result<(), Inconsistent> {
        let of_model = || self.cells.iter().filter(|c| c.model == *model);
        let references: Vec<&Cell> = of_model().filter(|c| c.role == Role::Reference).collect();
        match references.as_slice() {
            [] if of_model().all(|c| !c.judged) => Ok(()),
            [one] if one.variant == self.models[model].reference && one.unit.as_str() == HOST => Ok(()),
            [one] => inconsistent(format!("'{}' cannot be the reference of '{model}'", one.id)),
            found => inconsistent(format!("'{model}' has {} references, expected one", found.len())),
        }
    }
}

fn check_model(model: &Model) -> Result<(), Inconsistent> {
    keys_are_names("variant", model.variants.iter().map(|(key, variant)| (key, &variant.name)))?;
    let (name, reference) = (&model.name, &model.reference);
    let fished = model.evalset.order.is_some_and(|order| order.seed != crate::order::seed(&order.of));
    ensure(!fished, || format!("the order of the evalset of model '{name}' is not the one that its content gives"))?;
    ensure(model.variants.contains_key(reference), || {
        format!("model '{name}' has no variant '{reference}', its reference")
    })
}

fn keys_are_names<'a, N: PartialEq + Display + 'a>(
    kind: &str,
    mut entries: impl Iterator<Item = (&'a N, &'a N)>,
) -> Result<(), Inconsistent> {
    match entries.find(|(key, name)| key != name) {
        Some((key, name)) => inconsistent(format!("{kind} '{key}' calls itself '{name}'")),
        None => Ok(()),
    }
}

/// Reads a JSON object as a map and refuses a key that is there twice: the last one would win without a word.
pub(crate) fn unique<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + Display,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord + Display, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object with each key once")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = entries.next_key::<K>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format_args!("'{key}' is there twice")));
                }
                map.insert(key, entries.next_value()?);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}
