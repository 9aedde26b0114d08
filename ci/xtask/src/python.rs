//! A Python environment of this checkout's own, with pip: nothing of the user's is changed, and a system's Python without pip will do.

use crate::deny;
use crate::step::{program, run, works};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const FOLDER: &str = "target/python";

/// Its interpreter; made when it is not there.
pub fn environment() -> Result<PathBuf> {
    let python = std::path::absolute(Path::new(FOLDER).join("bin/python3"))?;
    if !works(&python.to_string_lossy(), &["-m", "pip", "--version"]) {
        let system = deny::python();
        let system =
            system.with_context(|| format!("no Python here makes environments; apt-get install {}", deny::PACKAGE))?;
        run(program(system, &["-m", "venv", "--clear", FOLDER]))?;
    }
    Ok(python)
}
