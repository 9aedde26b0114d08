//! The whole job on a microcontroller in QEMU, from building to verdict, with everything built and cached before.

use super::figure::Figure;
use super::watched::watched;
use crate::programs::{build_agents, build_tool, fresh_folder, tool};
use crate::step::step;
use anyhow::Result;
use std::path::Path;

const TARGET: &str = "mps2-an386";
const MODEL: &str = "mnist_dscnn";
const VARIANT: &str = "int8_qdq_pc";
const SAMPLES: &str = "200";
const LIMIT_S: f64 = 60.0;

/// Measures the second of two checks.
pub fn job(root: &Path) -> Result<Vec<Figure>> {
    build_tool()?;
    build_agents(root, &["host".to_owned(), TARGET.to_owned()])?;
    let check = || {
        let asked =
            ["check", MODEL, "--variant", VARIANT, "--target", TARGET, "--samples", SAMPLES, "--quiet", "--out"];
        let mut check = tool(root, &asked);
        check.arg(fresh_folder(root, "bench/job")?);
        watched(check)
    };
    step("check, to have everything in place", check)?;
    let wall_s = step("check", check)?.wall.as_secs_f64();
    let what = format!("`check` of {MODEL} {VARIANT} with {SAMPLES} samples on {TARGET}, whole process, emulated");
    Ok(vec![Figure::at_most(what, wall_s, LIMIT_S, "s", format!("{wall_s:.1} s"))])
}
