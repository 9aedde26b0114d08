//! What people write: TOML of every kind. What was accepted keeps its promises, can be planned or refused, and survives a record.

use crate::Seed;
use crate::material;
use boardproof_judge::gate::check_policy;
use boardproof_lab::measure::options;
use boardproof_plan::{
    Counts, PlanError, TEMPLATE, Wanted, builtin, parse_inventory, parse_model, parse_policy, parse_project,
    parse_target, plan,
};
use boardproof_record::record::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Every error can be said, with its causes.
fn said<T>(result: Result<T, PlanError>) -> Option<T> {
    result
        .map_err(|error| {
            let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
            assert!(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")).len() > 5);
            error.hint()
        })
        .ok()
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("a value of a record is JSON");
    let again: T = serde_json::from_str(&text).expect("a value that was written can be read");
    assert_eq!(&again, value, "a value changed on its way through a record");
}

/// A `model.toml`.
pub fn model(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Some(manifest) = said(parse_model("model.toml", "folder", text)) else { return false };
    let model = &manifest.model;
    assert!(model.variants.contains_key(&model.reference) && !model.inputs.is_empty() && !model.outputs.is_empty());
    assert_eq!(model.evalset.inputs.len(), model.inputs.len());
    assert!(model.evalset.samples > 0 && manifest.purposes.len() == model.variants.len());
    survives(model);
    if let Some(plan) = material::plan_of(&manifest, material::policy()) {
        let ids: std::collections::BTreeSet<_> = plan.cells.iter().map(|cell| &cell.id).collect();
        assert_eq!(ids.len(), plan.cells.len(), "a cell is planned twice");
        for pass in plan.cells.iter().flat_map(|cell| &cell.passes) {
            assert!(pass.samples > 0 && pass.samples <= model.evalset.samples && pass.batch > 0, "{pass:?}");
        }
        for cell in &plan.cells {
            let (variant, target) = (&plan.models[&cell.model].variants[&cell.variant], &plan.targets[&cell.target]);
            let options = options(model, variant, target, cell, None);
            for text in options.alone.iter().chain([&options.usual]) {
                assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "options that are no JSON: {text}");
            }
        }
        let record = Record::new(plan, "0.1.0".into(), 0);
        let again = Record::from_json(&record.to_json()).expect("a record that was written can be read");
        assert_eq!(again, record);
    }
    true
}

/// A target's file.
pub fn target(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Some(target) = said(parse_target("target.toml", text)) else { return false };
    assert!(target.limits.slowdown > 0 && target.limits.pass_deadline_s > 0);
    survives(&target);
    // The small model can be planned on it, or it is said why not.
    let mut targets = material::targets();
    let name = target.name.clone();
    targets.insert(name.clone(), target);
    let wanted = Wanted {
        models: Vec::new(),
        in_folders: Vec::new(),
        variants: Vec::new(),
        places: vec![name.to_string()],
        engines: Vec::new(),
        counts: Counts::default(),
    };
    let manifest = material::manifest();
    let manifests = BTreeMap::from([(manifest.model.name.clone(), manifest)]);
    if let Some(plan) = said(plan(&wanted, &manifests, &targets, &BTreeMap::new(), material::policy())) {
        assert!(plan.cells.iter().any(|cell| cell.judged && cell.target == name));
        assert!(plan.cells.iter().flat_map(|cell| &cell.passes).all(|pass| pass.deadline_ms > 0));
        survives(&plan);
    }
    true
}

/// A policy.
pub fn policy(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Some(policy) = said(parse_policy("policy.toml", text)) else { return false };
    assert!(!policy.rules.is_empty(), "a policy that passes everything");
    for rule in &policy.rules {
        assert!(rule.limit.is_finite() && rule.confidence > 0.5 && rule.confidence < 1.0, "{rule:?}");
    }
    survives(&policy);
    let plan = material::plan_of(&material::manifest(), material::policy()).expect("it can be planned");
    if let Err(error) = check_policy(&plan, &policy, false) {
        assert!(!error.to_string().is_empty() && error.is_of_the_policy());
        return true;
    }
    let record = material::record();
    let files = material::record_files(&record);
    let evidence = boardproof_judge::evidence::Evidence { record: &record, files: &files };
    if let Some(judgement) = crate::judgement::show(evidence, &policy) {
        assert!(judgement.cells.iter().all(|cell| cell.rules.len() > 2), "a cell that no rule looked at");
    }
    true
}

/// The inventory of a lab.
pub fn inventory(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Some(units) = said(parse_inventory("inventory.toml", text)) else { return false };
    let targets = material::targets();
    for (name, unit) in &units {
        assert_eq!(name, &unit.name);
        survives(unit);
        if let Some((found, target)) = said(boardproof_plan::locate(name.as_str(), &targets, &units)) {
            assert_eq!((&found, &target.name), (unit, &unit.target));
        }
    }
    !units.is_empty()
}

/// A `boardproof.toml`.
pub fn project(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Some(project) = said(parse_project("boardproof.toml", text)) else { return false };
    assert!(project.schema == 1 && !project.models.is_empty() && !project.targets.is_empty());
    true
}

fn text_seed(name: &str, text: &str) -> Seed {
    (name.to_owned(), text.as_bytes().to_vec())
}

pub fn model_seeds() -> Vec<Seed> {
    const MNIST: &str = include_str!("../../../models/mnist_dscnn/model.toml");
    const SHUTTLE: &str = include_str!("../../../models/shuttle_ae/model.toml");
    const ADULT: &str = include_str!("../../../models/adult_mlp/model.toml");
    vec![
        text_seed("small", material::MODEL),
        text_seed("mnist", MNIST),
        text_seed("shuttle", SHUTTLE),
        text_seed("adult", ADULT),
    ]
}

pub fn target_seeds() -> Vec<Seed> {
    builtin::TARGETS.iter().map(|(name, text)| text_seed(&name.replace('-', "_"), text)).collect()
}

pub fn policy_seeds() -> Vec<Seed> {
    vec![text_seed("default", builtin::POLICY), text_seed("small", material::POLICY)]
}

pub fn inventory_seeds() -> Vec<Seed> {
    let example = include_str!("../../../targets/inventory.example.toml");
    let units = r#"schema = 1

[[unit]]
name = "pi-1"
target = "raspberry-pi-4"
address = "192.0.2.7"
port = 2222
user = "lab"
identity_file = "~/.ssh/lab"
identity = "0123456789abcdef"
power = { kind = "command", on = "true", off = "false", timeout_s = 5 }
tags = ["shelf 3"]

[[unit]]
name = "here"
target = "host"
"#;
    vec![text_seed("example", example), text_seed("units", units)]
}

pub fn project_seeds() -> Vec<Seed> {
    vec![text_seed("template", TEMPLATE)]
}
