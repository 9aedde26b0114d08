//! What the engine `cuda` needs where it runs: driver, libraries and headers, of this machine or of a unit behind SSH.

use super::Finding;
use boardproof_lab::cuda::{Part, parts, wanted};
use boardproof_lab::interrupt::interrupted;
use boardproof_record::plan::{CUDA, Target, Unit};

/// Each part, found or not; nothing for a target with another engine.
pub fn findings(target: &Target, unit: Option<&Unit>) -> Vec<Finding> {
    if target.engine.as_str() != CUDA {
        return Vec::new();
    }
    match parts(unit, target, interrupted) {
        Ok(parts) => parts.into_iter().map(finding).collect(),
        Err(error) => {
            let get = error.hint().unwrap_or_else(|| "see what `ssh -v` to it says".into());
            vec![Finding { what: "CUDA on the unit".into(), found: Err(error.to_string()), needed: true, get }]
        }
    }
}

fn finding(part: Part) -> Finding {
    let Part { file, what, needed, get, found } = part;
    let found = found.ok_or_else(|| "not found".to_owned());
    Finding { what: format!("{file} ({what})"), found, needed, get: get.into() }
}

/// What it takes on a unit that cannot be asked, because none is in the inventory.
pub fn not_looked_for(target: &Target) -> Option<Finding> {
    let files: Vec<&str> = wanted().iter().filter(|part| part.needed).map(|part| part.file).collect();
    let found = Err(format!("not looked for without a unit; it takes {}", files.join(", ")));
    let get = "`boardproof doctor --unit NAME` looks for them on the unit".into();
    let what = "CUDA on the unit".into();
    (target.engine.as_str() == CUDA).then_some(Finding { what, found, needed: false, get })
}
