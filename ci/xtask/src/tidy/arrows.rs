//! Which crate may depend on which: the arrows of ARCHITECTURE.md, read from the manifests.

use super::{File, Finding};

/// Folder of a crate, and the crates of this project that it may build on. A crate that is not here may build on none.
const ARROWS: &[(&str, &[&str])] = &[
    ("host/record/", &[]),
    ("host/plan/", &["boardproof-record"]),
    ("host/evalset/", &["boardproof-record"]),
    ("host/judge/", &["boardproof-record"]),
    ("host/layers/", &["boardproof-record"]),
    ("host/quantize/", &["boardproof-record", "boardproof-layers"]),
    // The simulated device is one more kind of link, and so is the wire, which answers by a session of its own.
    // How samples become inputs, and what a model for microcontrollers is, is said once, on the device's side.
    (
        "host/lab/",
        &[
            "boardproof-record",
            "boardproof-protocol",
            "boardproof-core",
            "boardproof-sim",
            "boardproof-dialect",
            "boardproof-compile",
            "boardproof-engines",
            "boardproof-micro",
        ],
    ),
    ("host/probe/", &["boardproof-record", "boardproof-virtual-probe"]),
    (
        "host/cli/",
        &[
            "boardproof-record",
            "boardproof-plan",
            "boardproof-evalset",
            "boardproof-lab",
            "boardproof-judge",
            "boardproof-layers",
            "boardproof-probe",
            "boardproof-quantize",
        ],
    ),
    ("device-agent/compile/", &["boardproof-micro"]),
    ("device-agent/protocol/", &[]),
    ("device-agent/core/", &["boardproof-protocol"]),
    ("device-agent/sim/", &["boardproof-protocol", "boardproof-core", "boardproof-tiny"]),
    ("device-agent/agent/", &["boardproof-protocol", "boardproof-core"]),
    ("device-agent/engines/", &["boardproof-micro", "boardproof-compile"]),
    (
        "device-agent/firmware/common/",
        &["boardproof-protocol", "boardproof-core", "boardproof-micro", "boardproof-tiny"],
    ),
    ("device-agent/firmware/own-engine/", &["boardproof-protocol", "boardproof-firmware-common"]),
    (
        // The engine for the board that has a wrong kernel, on which tests look for it.
        "device-agent/firmware/mps2/",
        &[
            "boardproof-protocol",
            "boardproof-core",
            "boardproof-micro",
            "boardproof-firmware-common",
            "boardproof-firmware-own-engine",
        ],
    ),
    ("device-agent/firmware/smoke/", &["boardproof-protocol", "boardproof-micro"]),
    // The board families: a family knows its chips and nothing of the protocol.
    ("device-agent/firmware/", &["boardproof-firmware-common"]),
    ("device-agent/micro/bench-firmware/", &["boardproof-micro"]),
    ("device-agent/micro/kernels/", &[]),
    // Cargo's profiles go by crate, and only what takes an inference's time is built for speed.
    ("device-agent/micro/", &["boardproof-micro-kernels"]),
    ("device-agent/runner/", &["boardproof-protocol", "boardproof-engines"]),
    ("ci/xtask/", &["boardproof-record"]),
    (
        "tests/fuzz/",
        &[
            "boardproof-record",
            "boardproof-plan",
            "boardproof-lab",
            "boardproof-judge",
            "boardproof-protocol",
            "boardproof-core",
            "boardproof-sim",
            "boardproof-agent",
        ],
    ),
    (
        "tests/",
        &[
            "boardproof-record",
            "boardproof-plan",
            "boardproof-lab",
            "boardproof-judge",
            "boardproof-sim",
            "boardproof-protocol",
            "boardproof-core",
        ],
    ),
];

/// Inference runtimes, and the only crate that may link one.
const RUNTIMES: [&str; 4] = ["tract-", "candle-", "ort", "onnxruntime"];
const RUNTIME_CRATE: &str = "device-agent/engines/";

pub(super) fn examine(files: &[File]) -> Vec<Finding> {
    files.iter().filter(|file| file.path.ends_with("/Cargo.toml")).flat_map(examine_manifest).collect()
}

fn examine_manifest(file: &File) -> Vec<Finding> {
    let Some(text) = &file.text else { return Vec::new() };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![Finding::new(&file.path, 0, format!("not TOML: {error}"))],
    };
    let allowed = ARROWS.iter().find(|(folder, _)| file.path.starts_with(folder)).map_or(&[][..], |(_, names)| names);
    let mut findings = Vec::new();
    for name in dependencies(&table) {
        let line = text.lines().position(|line| line.trim_start().starts_with(&name)).map_or(0, |index| index + 1);
        if name.starts_with("boardproof-") && !allowed.contains(&name.as_str()) {
            let what = format!("may not depend on {name}: see the rules in ARCHITECTURE.md");
            findings.push(Finding::new(&file.path, line, what));
        }
        let is_runtime =
            RUNTIMES.iter().any(|runtime| name == *runtime || (runtime.ends_with('-') && name.starts_with(runtime)));
        if is_runtime && !file.path.starts_with(RUNTIME_CRATE) {
            findings.push(Finding::new(
                &file.path,
                line,
                format!("{name} is an inference runtime: only {RUNTIME_CRATE} links one"),
            ));
        }
    }
    findings
}

/// Names under `dependencies` and `build-dependencies`, for every target; what tests use is theirs.
fn dependencies(table: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["dependencies", "build-dependencies"] {
        let found = table.get(kind).and_then(toml::Value::as_table);
        names.extend(found.into_iter().flat_map(|table| table.keys().cloned()));
    }
    let per_target = table.get("target").and_then(toml::Value::as_table);
    for inner in per_target.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table) {
        names.extend(dependencies(inner));
    }
    names
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::check;

    #[track_caller]
    fn check_manifest(path: &str, dependencies: &str, expected: &[(&str, &str)]) {
        check(&[(path, &format!("[package]\nname = \"a\"\n{dependencies}"))], expected);
    }

    #[test]
    fn the_judge_does_not_touch_the_lab() {
        let lab = "[dependencies]\nboardproof-record = \"1\"\nboardproof-lab = \"1\"\n";
        check_manifest(
            "host/judge/Cargo.toml",
            lab,
            &[("host/judge/Cargo.toml:5", "may not depend on boardproof-lab")],
        );
        check_manifest("host/cli/Cargo.toml", lab, &[]);
    }

    #[test]
    fn a_dependency_of_one_system_or_of_a_build_script_counts() {
        let hidden = "[target.'cfg(unix)'.dependencies]\nboardproof-plan = \"1\"\n[build-dependencies]\nboardproof-lab = \"1\"\n";
        let expected =
            [("host/record/Cargo.toml:4", "boardproof-plan"), ("host/record/Cargo.toml:6", "boardproof-lab")];
        check_manifest("host/record/Cargo.toml", hidden, &expected);
    }

    #[test]
    fn tests_may_use_what_they_like() {
        check_manifest("host/judge/Cargo.toml", "[dev-dependencies]\nboardproof-lab = \"1\"\n", &[]);
    }

    #[test]
    fn only_the_engines_link_a_runtime() {
        let tract = "[dependencies]\ntract-onnx = \"1\"\n";
        check_manifest("device-agent/engines/Cargo.toml", tract, &[]);
        check_manifest(
            "device-agent/agent/Cargo.toml",
            tract,
            &[("device-agent/agent/Cargo.toml:4", "inference runtime")],
        );
    }
}
