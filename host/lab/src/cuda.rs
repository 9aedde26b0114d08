//! What a unit has of CUDA: looked for by name, without loading anything.
//!
//! Owns the names that the engine `cuda` needs at run time, and the one question that is asked of a shell, here or on a unit.

use crate::reach::{ReachError, ask};
use boardproof_record::plan::{LinkSpec, Target, Unit};
use std::process::{Command, Stdio};

/// One thing that the engine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its file, as the dynamic loader or NVRTC asks for it.
    pub file: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Without it the engine does not start.
    pub needed: bool,
    /// What brings it.
    pub get: &'static str,
    /// Where it is; `None` where it was not found.
    pub found: Option<String>,
}

const TOOLKIT: &str = "install CUDA 12's runtime libraries and headers (on a Jetson: apt-get install nvidia-jetpack)";
/// Files, what they are, whether they are needed, and what brings them. The script answers in this order.
const PARTS: [(&str, &str, bool, &str); 9] = [
    (
        "libcuda.so.1",
        "driver of the GPU",
        true,
        "install NVIDIA's driver; in a container, pass the GPU through (--gpus all, --runtime nvidia)",
    ),
    ("libcudart.so.12", "CUDA runtime", true, TOOLKIT),
    ("libnvrtc.so.12", "compiler of kernels", true, TOOLKIT),
    ("libcublas.so.12", "matrix products", true, TOOLKIT),
    ("libcudnn.so.9", "convolutions", true, "install cuDNN 9 for CUDA 12"),
    ("cuda_fp16.h", "headers that kernels are compiled with", true, "install cuda-cudart-dev, or set CUDA_HOME"),
    ("cuda/std/cstdint", "headers of CCCL", true, "install cuda-cccl, or set CUDA_HOME"),
    (
        "/dev/nvidia[0-9]*",
        "the GPU, as its driver shows it to processes; on a Jetson /dev/nvgpu or /dev/nvhost-gpu",
        true,
        "look at it with nvidia-smi; in a container, pass it through (--gpus all, --runtime nvidia)",
    ),
    (
        "libnvidia-ml.so.1",
        "NVML: clocks, power, temperature, who else is there",
        false,
        "it comes with NVIDIA's driver",
    ),
];

/// One line per part of [`PARTS`]: the first place that has it, or nothing. A library may also lie under its plain name.
const SCRIPT: &str = r#"exec sh -c '
root=${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}
listed=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)
library() {
    for name in "$1" "${1%%.so.*}.so"; do
        for folder in $(echo "$LD_LIBRARY_PATH" | tr ":" " "); do
            [ -e "$folder/$name" ] && echo "$folder/$name" && return
        done
        place=$(echo "$listed" | sed -n "s|^[[:space:]]*$name .*=> ||p" | head -n 1)
        [ -n "$place" ] && echo "$place" && return
        for folder in /usr/lib /lib /usr/lib/$(uname -m)-linux-gnu; do
            [ -e "$folder/$name" ] && echo "$folder/$name" && return
        done
    done
    echo
}
header() {
    for folder in "$root"/include "$root"/targets/*/include; do
        for below in "" /cccl /libcudacxx/include; do
            [ -e "$folder$below/$1" ] && echo "$folder$below/$1" && return
        done
    done
    echo
}
for name in libcuda.so.1 libcudart.so.12 libnvrtc.so.12 libcublas.so.12 libcudnn.so.9; do library $name; done
header cuda_fp16.h
header cuda/std/cstdint
device() {
    for file in /dev/nvidia[0-9]* /dev/nvgpu* /dev/nvhost-gpu /dev/nvhost-ctrl-gpu /dev/dxg; do
        [ -e "$file" ] && echo "$file" && return
    done
    echo
}
device
library libnvidia-ml.so.1
'"#;

/// Looks for what the engine needs where the target's cells run: on this machine, or on the unit behind SSH.
///
/// # Errors
/// The unit does not answer, or is none that can be asked.
pub fn parts(unit: Option<&Unit>, target: &Target, interrupted: fn() -> bool) -> Result<Vec<Part>, ReachError> {
    let answer = match (&target.link, unit) {
        (LinkSpec::Ssh, Some(unit)) => ask(unit, target, SCRIPT, interrupted)?,
        _ => here(),
    };
    Ok(read(&answer))
}

/// The same parts, none of them looked for: what it takes.
pub fn wanted() -> Vec<Part> {
    read("")
}

fn here() -> String {
    let said = Command::new("/bin/sh").args(["-c", SCRIPT]).stdin(Stdio::null()).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default()
}

fn read(answer: &str) -> Vec<Part> {
    let mut lines = answer.lines().map(str::trim);
    let part = |(file, what, needed, get): (&'static str, &'static str, bool, &'static str)| {
        let found = lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
        Part { file, what, needed, get, found }
    };
    PARTS.map(part).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_line_in_the_answer() {
        assert_eq!(here().lines().count(), PARTS.len());
        assert!(PARTS.iter().all(|(file, ..)| SCRIPT.contains(file)));
        assert!(wanted().iter().all(|part| part.found.is_none()));
    }

    #[test]
    fn parts_are_found_by_the_loaders_path_and_the_toolkits_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(place("include/cccl/cuda/std")).unwrap();
        for file in ["libnvrtc.so", "include/cuda_fp16.h", "include/cccl/cuda/std/cstdint"] {
            std::fs::write(place(file), "").unwrap();
        }
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]).env("LD_LIBRARY_PATH", folder.path()).env("CUDA_HOME", folder.path());
        let found = read(&String::from_utf8(shell.output().unwrap().stdout).unwrap());
        let at = |index: usize| found[index].found.clone().unwrap_or_default();
        assert_eq!(at(2), place("libnvrtc.so").display().to_string());
        assert_eq!(at(5), place("include/cuda_fp16.h").display().to_string());
        assert_eq!(at(6), place("include/cccl/cuda/std/cstdint").display().to_string());
    }
}
