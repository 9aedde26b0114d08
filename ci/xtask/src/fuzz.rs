//! `cargo xtask fuzz`: libFuzzer on the decoders, for as long as one likes. The same targets run briefly, seeded, in the ordinary tests.
//!
//! Works with the pinned compiler: the coverage that libFuzzer needs is a pass of LLVM that every rustc carries. What is found lies
//! under `target/fuzz`; `--minimize` takes what covers something new over into the committed corpus.

use crate::programs::host_triple;
use crate::step::{cargo, program, run, step, works};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Committed inputs: a folder for each target, named as the target is.
const CORPUS: &str = "tests/fuzz/corpus";
/// Everything that fuzzing makes: `build/`, `corpus/TARGET/`, `found/`, `log/TARGET`.
const WORK: &str = "target/fuzz";
/// Longest input that is tried, and longest that is committed; tests/fuzz holds both to the same.
const INPUT_BYTES_MAX: u32 = 16_384;
const FILE_BYTES_MAX: u32 = 16_000;
/// What was found for one target may add so much to the committed corpus.
const FOUND_BYTES_MAX: u64 = 40_000;
/// And so many files: of more, every so-and-so-many-th by size is taken.
const FOUND_FILES_MAX: usize = 40;
/// First letters of a committed file that the crate's own program makes, and of one that was found.
const SEED: &str = "seed-";
const FOUND: &str = "found-";
/// Instruments what is built for the target triple, and nothing that runs during the build.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Arguments of `fuzz`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Fuzz target [default: all, one after the other]
    target: Option<String>,
    /// How long each, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Feed the target this one input, and tell what happens
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "minimize")]
    repeat: Option<PathBuf>,
    /// Do not fuzz: take what was found over into the committed corpus, the fewest and smallest files that cover the same
    #[arg(long)]
    minimize: bool,
}

/// Fuzzes.
pub fn fuzz(root: &Path, arguments: &Arguments) -> Result<()> {
    let known = targets(root)?;
    let chosen = match &arguments.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("no fuzz target is called '{name}'; known: {}", known.join(", ")),
    };
    if !works("c++", &["--version"]) {
        bail!("libFuzzer is compiled here, which needs a C++ compiler: apt-get install g++");
    }
    let fuzzer = Fuzzer { program: step("build the fuzz targets", || build(root))?, work: root.join(WORK) };
    if let Some(file) = &arguments.repeat {
        return fuzzer.repeat(&chosen[0], file);
    }
    for name in chosen {
        let committed = root.join(CORPUS).join(&name);
        if arguments.minimize {
            step(&format!("minimize {name}"), || fuzzer.minimize(&name, &committed))?;
        } else {
            let stats = step(&format!("fuzz {name}"), || fuzzer.fuzz(&name, &committed, arguments.seconds))?;
            eprintln!("{:>21}{stats}", "");
        }
    }
    Ok(())
}

/// Names of the targets: those of the folders of the committed corpus; a test of the crate holds them to be the same.
fn targets(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(CORPUS)).with_context(|| format!("could not list {CORPUS}"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("{CORPUS} names no fuzz target");
    }
    Ok(names)
}

/// Builds the one program that holds every target, in a folder of its own: nothing that is built otherwise is built anew for it.
fn build(root: &Path) -> Result<PathBuf> {
    let (triple, folder) = (host_triple()?, Path::new(WORK).join("build"));
    let mut command = cargo(&["build", "--quiet", "--locked", "--profile", "fuzz", "--target", &triple]);
    command.args(["--package", "boardproof-fuzz", "--features", "libfuzzer", "--bin", "libfuzzer", "--target-dir"]);
    command.arg(&folder).env("RUSTFLAGS", COVERAGE).env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(command)?;
    Ok(root.join(folder).join(triple).join("fuzz/libfuzzer"))
}

/// The program that was built, and where it works.
struct Fuzzer {
    program: PathBuf,
    work: PathBuf,
}

impl Fuzzer {
    fn command(&self, target: &str) -> Command {
        let mut command = program(&self.program.to_string_lossy(), &[]);
        command.env("BOARDPROOF_FUZZ_TARGET", target);
        command
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        Ok(folder)
    }

    /// Fuzzes for a while. New inputs go to the work folder, never into the committed corpus.
    fn fuzz(&self, target: &str, committed: &Path, seconds: u32) -> Result<String> {
        let (found, corpus) = (self.folder("found")?, self.folder(&format!("corpus/{target}"))?);
        let log = self.folder("log")?.join(target);
        let mut command = self.command(target);
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/{target}-", found.display())).arg(&corpus).arg(committed);
        let file = File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
        let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if status.success() {
            return Ok(summary(&text));
        }
        let last: Vec<&str> = text.lines().rev().take(30).collect();
        last.iter().rev().for_each(|line| eprintln!("    {line}"));
        match text.lines().find_map(|line| line.split_once("Test unit written to ")) {
            Some((_, input)) => bail!("{target} failed; repeat it with `cargo xtask fuzz {target} --repeat {input}`"),
            None => bail!("{target} ended with {status} and left no input; see {}", log.display()),
        }
    }

    fn repeat(&self, target: &str, file: &Path) -> Result<()> {
        let mut command = self.command(target);
        command.arg("-timeout=10").arg("-rss_limit_mb=2048").arg(file).env("RUST_BACKTRACE", "1");
        run(command)
    }

    /// Keeps the seeds; of everything else, committed or found, what covers something that is not covered yet.
    fn minimize(&self, target: &str, committed: &Path) -> Result<()> {
        let (merged, corpus) = (self.work.join("merged").join(target), self.folder(&format!("corpus/{target}"))?);
        if merged.exists() {
            fs::remove_dir_all(&merged)?;
        }
        fs::create_dir_all(&merged)?;
        for seed in files(committed)?.into_iter().filter(|path| name_of(path).starts_with(SEED)) {
            fs::copy(&seed, merged.join(name_of(&seed)))?;
        }
        let mut command = self.command(target);
        command.args(["-merge=1", "-timeout=10"]).arg(format!("-max_len={FILE_BYTES_MAX}"));
        command.arg(&merged).arg(committed).arg(&corpus).stdout(Stdio::null()).stderr(Stdio::null());
        run(command)?;
        for old in files(committed)?.into_iter().filter(|path| !name_of(path).starts_with(SEED)) {
            fs::remove_file(old)?;
        }
        let mut room = FOUND_BYTES_MAX;
        let mut new: Vec<_> = files(&merged)?.into_iter().filter(|path| !name_of(path).starts_with(SEED)).collect();
        new.sort_by_key(|path| fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len()));
        for path in new.iter().step_by(new.len().div_ceil(FOUND_FILES_MAX).max(1)) {
            let bytes = fs::metadata(path)?.len();
            if bytes > room {
                break;
            }
            room -= bytes;
            let name: String = name_of(path).trim_start_matches(FOUND).chars().take(12).collect();
            fs::copy(path, committed.join(format!("{FOUND}{name}")))?;
        }
        Ok(())
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What libFuzzer's closing lines say.
fn summary(log: &str) -> String {
    let stats: BTreeMap<&str, &str> = log
        .lines()
        .filter_map(|line| line.strip_prefix("stat::")?.split_once(':'))
        .map(|(k, v)| (k, v.trim()))
        .collect();
    let stat = |name: &str| stats.get(name).copied().unwrap_or("?");
    let covered = log.lines().rev().find_map(|line| line.split_once(" cov: ")).map_or("?", |(_, rest)| rest);
    format!(
        "{} inputs, {} a second, {} kept, {} places covered, {} MB at most",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec"),
        stat("new_units_added"),
        covered.split(' ').next().unwrap_or_default(),
        stat("peak_rss_mb"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_the_folders_of_the_corpus() {
        let root = tempfile::tempdir().unwrap();
        assert!(targets(root.path()).is_err());
        fs::create_dir_all(root.path().join(CORPUS)).unwrap();
        assert!(targets(root.path()).unwrap_err().to_string().contains("names no fuzz target"));
        for name in ["request", "frame"] {
            fs::create_dir(root.path().join(CORPUS).join(name)).unwrap();
        }
        assert_eq!(targets(root.path()).unwrap(), ["frame", "request"]);
    }

    #[test]
    fn the_closing_lines_are_told_in_one() {
        let log = "#9\tNEW    cov: 120 ft: 300 corp: 4/5b\n#99\tDONE   cov: 123 ft: 300 corp: 4/5b\n\
            stat::number_of_executed_units: 99\nstat::average_exec_per_sec:     33\nstat::new_units_added:          7\n\
            stat::slowest_unit_time_sec:    0\nstat::peak_rss_mb:              40\n";
        assert_eq!(summary(log), "99 inputs, 33 a second, 7 kept, 123 places covered, 40 MB at most");
    }
}
