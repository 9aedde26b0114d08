//! The library of an engine that is one: kept on this machine to be shipped, or the unit's own.

use super::Finding;
use crate::run::cache_folder;
use boardproof_lab::interrupt::interrupted;
use boardproof_lab::library::{Library, is_library, of_the_unit};
use boardproof_record::plan::{LinkSpec, Target, Unit};

/// Whether there is one to run with; nothing for a target whose engine is built into its runner.
pub fn finding(target: &Target, unit: Option<&Unit>) -> Option<Finding> {
    let engine = target.engine.as_str();
    if !is_library(engine) {
        return None;
    }
    let what = format!("library of {engine} for {}", target.architecture);
    let get = format!("boardproof engine add {engine} --target {}", target.name);
    let kept = Library::kept(&cache_folder(), engine, &target.architecture).filter(|_| target.own_library().is_none());
    if let Some(kept) = kept {
        return Some(Finding { what, found: Ok(format!("{}, {}", kept.from, kept.digest.short())), needed: true, get });
    }
    let (none, get) = match target.own_library() {
        Some(file) => (
            format!("{file} of [target.onnxruntime] is not there"),
            format!("install {file} on the unit, or take it out of the target"),
        ),
        None => ("none is kept here, and the unit has none where its loader looks".to_owned(), get),
    };
    let cannot_be_asked = matches!(target.link, LinkSpec::Ssh) && unit.is_none();
    let found = match of_the_unit(unit, target, interrupted) {
        Ok(Some(place)) => Ok(format!("the unit's own, {place}")),
        Ok(None) if cannot_be_asked => Err("none to ship; the unit may have its own (look at one with --unit)".into()),
        Ok(None) => Err(none),
        Err(error) => Err(format!("none to ship; {error}")),
    };
    Some(Finding { what, found, needed: !cannot_be_asked, get })
}
