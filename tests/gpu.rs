//! The engine for GPUs on a machine without one: nothing of it may ever look like a verdict. They build a runner for minutes, so that only
//! `cargo xtask test --all` runs those that need it.

use crate::tool::{Home, root};
use boardproof_record::observation::Outcome;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine with a driver is none to prove its absence on.
fn has_driver() -> bool {
    Path::new("/dev/nvidiactl").exists()
}

#[test]
#[ignore = "builds the runner for GPUs"]
fn a_machine_without_a_gpu_is_incomplete_and_never_a_verdict() {
    assert!(!has_driver(), "this machine has an NVIDIA driver: run ci/gpu-check instead");
    let home = Home::new();
    let models = root().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    for target in ["host", "nvidia-x86_64"] {
        let out = format!("out-{target}");
        let asked = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--target", target];
        let more = ["--engine", "cuda", "--samples", "64", "--iterations", "50", "--out", &out, "--quiet"];
        let ended = home.run(asked.iter().chain(&more));
        assert_eq!(ended.code, Some(4), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("use the NVIDIA GPU of cuda"), "{}", ended.stdout);
        let record = home.record(&out);
        let on_gpu = record.outcomes.iter().filter(|(id, _)| id.as_str().ends_with("/cuda"));
        let mut faults = 0;
        for (id, outcome) in on_gpu {
            let Outcome::DeviceFault(fault) = outcome else { panic!("{id}: {outcome:?}") };
            let causes = fault.causes.join("; ");
            assert!(causes.contains("libcuda.so.1"), "{id}: {causes}");
            assert!(fault.hints.iter().any(|hint| hint.contains("boardproof doctor")), "{id}: {:?}", fault.hints);
            faults += 1;
        }
        assert_eq!(faults, 2, "float model and variant");
    }
}

#[test]
fn doctor_says_what_of_cuda_is_missing() {
    if has_driver() {
        return;
    }
    let home = Home::new();
    let ended = home.run(["doctor", "--target", "nvidia-x86_64"]);
    assert_eq!(ended.code, Some(5), "{}", ended.stdout);
    for file in ["libcuda.so.1", "libnvrtc.so.12", "libnvidia-ml.so.1", "cuda_fp16.h"] {
        assert!(ended.stdout.contains(file), "{file}: {}", ended.stdout);
    }
    // A board that is in no inventory cannot be asked: what it takes is said all the same.
    let ended = home.run(["doctor", "--target", "jetson-orin-nano"]);
    assert!(ended.stdout.contains("CUDA on the unit") && ended.stdout.contains("libcudnn.so.9"), "{}", ended.stdout);
}

/// A folder that looks like a bundle as far as the script can tell, without a tool.
fn bundle(home: &Home) -> PathBuf {
    let bundle = home.path("bundle");
    for (from, to) in [
        (root().join("ci/gpu-check"), "gpu-check"),
        (root().join("ci/policy/gpu.toml"), "gpu.toml"),
        (root().join("models/mnist_dscnn/model.toml"), "models/mnist_dscnn/model.toml"),
        (root().join("models/adult_mlp/model.toml"), "models/adult_mlp/model.toml"),
    ] {
        let to = bundle.join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("could not make a folder");
        std::fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    bundle
}

fn with_programs(bundle: &Path) {
    std::fs::create_dir_all(bundle.join("programs")).expect("could not make a folder");
    std::fs::write(bundle.join("programs/programs.json"), "[]").expect("could not write the list");
}

/// A tool that says what one on a machine with a GPU would say. `GOOD`, `BAD` and `GATE` are the exit codes for good variants, the damaged one and
/// good ones that are judged again; `ON_CPU` is how many operators ran there.
const TOOL: &str = r#"#!/bin/sh
command=$1 out= variant=
while [ $# -gt 0 ]; do
    case "$1" in --out) out=$2 ;; --variant) variant=$2 ;; *mnist_damaged*) variant=bad_calib_3 ;; --policy) policy=$2 ;; esac
    shift
done
case "$command" in
gate)
    grep -q gpu-to-itself "$policy" && exit 4
    grep -q on-the-gpu "$policy" || exit 2
    [ "$variant" = bad_calib_3 ] && exit 1
    exit "${GATE:-0}"
    ;;
check)
    mkdir -p "$out" && echo "{}" > "$out/record.json"
    echo "  gpu     NVIDIA Fake, driver 1.2; ${ON_CPU:-3} of 20 operators on the CPU"
    [ "$variant" = bad_calib_3 ] && exit "${BAD:-1}"
    exit "${GOOD:-0}"
    ;;
esac
"#;

#[test]
fn the_gpus_script_says_what_is_not_as_it_should_be() {
    let home = Home::new();
    let bundle = bundle(&home);
    with_programs(&bundle);
    let tool = bundle.join("boardproof");
    std::fs::write(&tool, TOOL).expect("could not write the tool");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("it is the test's own");
    let script = |variables: &[(&str, &str)]| {
        let mut command = Command::new("sh");
        command.arg(bundle.join("gpu-check")).envs(variables.iter().copied());
        let done = command.output().expect("a shell");
        let said = std::fs::read_to_string(bundle.join("gpu-check.out/said")).expect("what was said");
        (done.status.code(), said)
    };
    for (variables, code, words) in [
        (&[][..], 0, "adult_mlp int8_qdq_pc: as it should be (0), on NVIDIA Fake"),
        (&[("ON_CPU", "20")], 1, "mnist_dscnn f32: every operator ran on the CPU"),
        (&[("BAD", "0")], 1, "mnist_dscnn bad_calib_3: exit code 0, expected 1"),
        (&[("GOOD", "3")], 1, "adult_mlp f32: exit code 3, expected 0"),
        // NVML shows nobody: neither that others are there nor that none is.
        (&[("GOOD", "4"), ("BAD", "4")], 0, "who else was on the GPU, NVML does not show"),
        (&[("GOOD", "4"), ("GATE", "4")], 1, "mnist_dscnn f32: exit code 4, expected 0"),
    ] {
        let (found, said) = script(variables);
        assert!(found == Some(code) && said.contains(words), "{variables:?}: {found:?}, {said}");
        assert_eq!(said.lines().any(|line| line.starts_with("all as it should be")), code == 0, "{said}");
    }
    assert!(!script(&[]).1.contains("NVML"));
}

#[test]
fn the_gpus_script_ends_with_a_sentence_where_there_is_no_gpu() {
    if has_driver() {
        return;
    }
    let home = Home::new();
    let bundle = bundle(&home);
    let tool = root().join("target/release/boardproof");
    std::os::unix::fs::symlink(tool, bundle.join("boardproof")).expect("could not link the tool");
    let script = || {
        let done = Command::new("sh").arg(bundle.join("gpu-check")).output().expect("a shell");
        (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let (code, said) = script();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("programs/programs.json is missing"), "{said}");
    with_programs(&bundle);
    let (code, said) = script();
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("gpu-check: no NVIDIA GPU can be used on this machine"), "{said}");
    assert!(said.contains("libcuda.so.1"), "{said}");
}
