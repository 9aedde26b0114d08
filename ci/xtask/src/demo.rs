//! `cargo xtask demo`: from nothing to a verdict that a person understands. One variant passes, one must be stopped.

use crate::programs::{build_agents, build_tool, fresh_folder, tool};
use crate::runs::Run;
use crate::setup;
use crate::step::step;
use anyhow::{Context, Result, bail};
use boardproof_record::verdict::Verdict;
use std::path::Path;
use std::process::Stdio;

const TARGET: &str = "virtual-board-aarch64";
const MODEL: &str = "mnist_dscnn";
/// As many of the evalset's 2,000 as decide every rule; the others would take the emulated board another quarter of a minute.
const SAMPLES: &str = "1000";
/// Variants, and what must become of them. The bad one was calibrated on three samples: its accuracy is as good as ever.
const EXPECTED: [(&str, Verdict); 2] = [("int8_qdq_pc", Verdict::Pass), ("bad_calib_3", Verdict::Fail)];
/// Exit code of `check` when something failed.
const FAIL: i32 = 1;

/// Shows the tool at work, and fails when it does not say what it must.
pub fn demo(root: &Path) -> Result<()> {
    let targets = ["host".to_owned(), TARGET.to_owned()];
    setup::for_targets(root, &targets)?;
    build_tool()?;
    build_agents(root, &targets)?;
    let out = fresh_folder(root, "demo")?;
    let code = step("boardproof check", || {
        let mut command = tool(root, &["check", MODEL, "--target", TARGET, "--samples", SAMPLES]);
        for (variant, _) in EXPECTED {
            command.args(["--variant", variant]);
        }
        command.arg("--out").arg(&out);
        let status = command.stdin(Stdio::null()).status().context("could not start boardproof")?;
        status.code().context("boardproof was ended by a signal")
    })?;
    if code != FAIL {
        bail!("boardproof check ended with {code}, expected {FAIL}: one of the two variants has to fail");
    }
    expect(&Run::read(&out)?)?;
    let page = out.join("report.html");
    step("HTML report", || {
        let mut command = tool(root, &["report", "--format", "html", "--output"]);
        command.arg(&page).arg(&out);
        crate::step::run(command)
    })?;
    eprintln!("as it should be: {} passes, {} is stopped", EXPECTED[0].0, EXPECTED[1].0);
    eprintln!("record: {}\nreport: {}", out.display(), page.display());
    Ok(())
}

fn expect(run: &Run) -> Result<()> {
    let judged = run.judged()?;
    for (variant, expected) in EXPECTED {
        let found = judged.iter().find(|j| j.cell.variant.as_str() == variant && j.cell.target.as_str() == TARGET);
        let found = found.with_context(|| format!("{variant} was not judged on {TARGET}"))?;
        if found.answer.verdict != expected {
            bail!("{variant}: expected {expected:?}, got {:?}: {}", found.answer.verdict, found.answer.reason);
        }
    }
    Ok(())
}
