//! Flash and RAM: of the firmware, and of protocol and engine alone. A program of the firmware's own workspace builds all of them.

use crate::bench::figure::Figure;
use crate::firmware::cargo_of_firmware;
use crate::step::output;
use anyhow::{Context, Result, bail};
use std::path::Path;

const LINK_FLASH_KB: f64 = 8.0;
const LINK_RAM_KB: f64 = 2.0;
const ENGINE_FLASH_KB: f64 = 24.0;

/// Builds and reads.
pub fn figures(root: &Path) -> Result<Vec<Figure>> {
    let arguments = ["run", "--quiet", "--locked", "--package", "boardproof-firmware-smoke", "--bin", "firmware-size"];
    of(&output(cargo_of_firmware(root, &arguments))?)
}

fn of(text: &str) -> Result<Vec<Figure>> {
    let agent =
        text.lines().find_map(|line| line.strip_prefix("agent ")).context("the firmware's sizes are missing")?;
    let words: Vec<&str> = agent.split_whitespace().collect();
    let [vectors, code, constants, data, bss, flash, ram] = words[..] else {
        bail!("expected seven sizes of the firmware, got '{agent}'")
    };
    let flash = format!("{flash} bytes: {vectors} vectors, {code} code, {constants} constants, {data} initial values");
    let frames = bytes(text, "RAM of frame buffers")?;
    let rest = bytes(text, "RAM of the agent besides frame buffers")?;
    let ram = format!("{rest} bytes ({ram} with {frames} of frame buffers; {bss} zeroed at start)");
    let most = |what: &str, limit: f64| -> Result<Figure> {
        let value = bytes(text, what)?;
        Ok(Figure::at_most(what, value / 1000.0, limit, "kB", format!("{value} bytes")))
    };
    Ok(vec![
        Figure::shown("flash of the firmware, agent and engine", flash),
        Figure::shown("static RAM of the firmware besides frame buffers", ram),
        most("flash of protocol core and link", LINK_FLASH_KB)?,
        most("RAM of protocol core and link besides frame buffers", LINK_RAM_KB)?,
        most("flash of the engine with all operators", ENGINE_FLASH_KB)?,
    ])
}

/// The number of a line `WHAT: NUMBER bytes`.
fn bytes(text: &str, what: &str) -> Result<f64> {
    let after = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(": ")?.strip_suffix(" bytes"));
    let number = after.with_context(|| format!("expected a line '{what}: NUMBER bytes', got none"))?;
    number.parse().with_context(|| format!("expected bytes of '{what}', got '{number}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "\
bytes     vectors     text   rodata     data      bss    flash      RAM
agent        1024    74744     8604       48    14008    84420    14056
flash of protocol core and link: 8001 bytes
flash of the engine with all operators: 24000 bytes
RAM of protocol core and link besides frame buffers: 8 bytes
RAM of the agent besides frame buffers: 6864 bytes
RAM of frame buffers: 7192 bytes
";

    #[test]
    fn sizes_are_held_against_what_was_promised() {
        let text = crate::bench::figure::table(&of(SEEN).unwrap());
        assert!(text.contains("84420 bytes: 1024 vectors, 74744 code, 8604 constants, 48 initial values"), "{text}");
        assert!(text.contains("| 6864 bytes (14056 with 7192 of frame buffers; 14008 zeroed at start) |"), "{text}");
        assert!(text.contains("| at most 8 kB | 8001 bytes | **missed** |"), "{text}");
        assert!(text.contains("| at most 24 kB | 24000 bytes | reached |"), "{text}");
        for line in SEEN.lines().skip(1) {
            assert!(of(&SEEN.replace(line, "")).is_err(), "{line}");
        }
    }
}
