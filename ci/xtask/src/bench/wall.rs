//! Wall time of a `check` against the time that its inferences took. The evalset is a real one, repeated until it has enough samples.

use super::figure::Figure;
use super::tensors::repeated;
use super::watched::VERDICTS;
use crate::programs::{build_agents, build_tool, fresh_folder, tool};
use crate::runs::Run;
use crate::step::{output, step};
use anyhow::{Context, Result, bail};
use boardproof_record::Digest;
use boardproof_record::observation::{Outcome, PassObservation};
use boardproof_record::plan::Pass;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use toml::{Table, Value};

const SAMPLES: usize = 10_000;
const MODEL: &str = "shuttle_ae";

/// Every release variant on this machine, programs built and blobs shipped before, answers measured anew.
pub fn wall(root: &Path) -> Result<Vec<Figure>> {
    build_tool()?;
    build_agents(root, &["host".to_owned()])?;
    let model = fresh_folder(root, "bench/check/model")?;
    enlarged(&root.join("models").join(MODEL), &model)?;
    let out = root.join("target/xtask/bench/check/record");
    let check = || {
        let mut check = tool(root, &["check", "--target", "host", "--no-reference-cache", "--quiet", "--out"]);
        check.arg(fresh_folder(root, "bench/check/record")?).arg(&model);
        let start = Instant::now();
        let status = check.stdin(Stdio::null()).stdout(Stdio::null()).status().context("could not start boardproof")?;
        let wall = start.elapsed();
        match status.code() {
            Some(code) if VERDICTS.contains(&code) => Ok(wall),
            _ => bail!("boardproof check ended with {status}"),
        }
    };
    step("check, to have everything in place", check)?;
    let wall = step(&format!("check of {SAMPLES} samples"), check)?;
    let inference_s = inference_ns(&out)? as f64 / 1e9;
    let (wall_s, limit_s) = (wall.as_secs_f64(), 1.15 * inference_s + 1.0);
    let what = format!("`check` of {SAMPLES} samples on `host` ({MODEL}, its samples repeated), whole process");
    let measured = format!("{wall_s:.2} s, {inference_s:.2} s of it inference");
    Ok(vec![Figure::at_most(what, wall_s, (limit_s * 100.0).round() / 100.0, "s (1.15 x inference + 1 s)", measured)])
}

/// Copies a model's folder with a longer evalset.
fn enlarged(from: &Path, to: &Path) -> Result<()> {
    let mut files = crate::step::program("cp", &["-r", "--"]);
    files.arg(from.join(".")).arg(to);
    output(files)?;
    let manifest = to.join("model.toml");
    let text = std::fs::read_to_string(&manifest).context("could not read model.toml")?;
    let mut table: Table = text.parse().context("model.toml is not TOML")?;
    let evalset = table.get_mut("evalset").and_then(Value::as_table_mut).context("model.toml has no evalset")?;
    let file = evalset.get("file").and_then(Value::as_str).context("the evalset has no file")?;
    let path = to.join(file);
    let bytes = repeated(&std::fs::read(&path).context("could not read the evalset")?, SAMPLES)?;
    std::fs::write(&path, &bytes).context("could not write the evalset")?;
    evalset.insert("sha256".into(), Digest::of(&bytes).to_string().into());
    evalset.insert("bytes".into(), Value::Integer(bytes.len() as i64));
    evalset.insert("samples".into(), Value::Integer(SAMPLES as i64));
    // Samples that repeat others are refused, unless somebody says why they are there.
    let accepts = Table::from_iter([("duplicates".to_owned(), Value::from("repeated to be many"))]);
    evalset.insert("accepts".into(), accepts.into());
    std::fs::write(&manifest, toml::to_string(&table)?).context("could not write model.toml")
}

/// Time between the runner's own clock readings in the passes that run samples; loading and starting are not in it.
fn inference_ns(record: &Path) -> Result<u64> {
    let run = Run::read(record)?;
    let outcomes = run.record.outcomes.values().chain(run.record.again.values());
    let measured = outcomes.filter_map(|outcome| match outcome {
        Outcome::Measured(seen) => Some(&seen.passes),
        _ => None,
    });
    let counts = |pass: &&PassObservation| matches!(pass.pass, Pass::Accuracy | Pass::Latency);
    let of = |pass: &PassObservation| pass.facts.numbers.get("measured_wall_ns").copied();
    let times: Option<Vec<u64>> = measured.flatten().filter(counts).map(of).collect();
    times.map(|times| times.iter().sum()).context("a pass does not say how long it measured")
}
