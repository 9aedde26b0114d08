//! The microcontroller's agent and engine: instructions of the kernels, whether they are the same each time, bytes of flash and RAM. Nothing here
//! depends on the machine that measures: QEMU counts instructions, and the linker bytes.

mod kernels;
mod sizes;

use super::figure::Figure;
use crate::firmware::cargo_of_firmware;
use crate::programs::fresh_folder;
use crate::step::{cargo, output, step};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Stands above the table.
pub const HEAD: &str = "Instructions are those that QEMU counts (`-icount`) on mps2-an386, a Cortex-M4F: never cycles, and never a time. A kernel's \
    are those of one layer, preparation and all, over its multiply-accumulates. Flash is of the release profile.";

/// Runs that must count the same.
const RUNS: usize = 20;
/// The model whose inferences are counted on the board.
const MODEL: &str = "mnist_dscnn/int8_qdq_pc";
/// An arena against the most bytes that live at once.
const ARENA_RATIO: f64 = 1.1;

/// All figures.
pub fn firmware(root: &Path) -> Result<Vec<Figure>> {
    let models = step("arenas of all models", || Models::compiled(root))?;
    let mut figures = kernels::figures(&step("instructions of kernels", || kernels::measured(root))?);
    figures.push(step("inferences on the board", || inferences(root, &models.file(MODEL)))?);
    figures.extend(step("sizes", || sizes::figures(root))?);
    figures.extend(models.figures());
    Ok(figures)
}

/// The same inference on boards that were just started: all must count the same ticks.
fn inferences(root: &Path, model: &Path) -> Result<Figure> {
    let mut command =
        cargo_of_firmware(root, &["run", "--quiet", "--locked", "--package", "boardproof-firmware-smoke"]);
    command.args(["--bin", "firmware-ticks", "--"]).arg(model).arg(RUNS.to_string());
    let boards = output(command)?.lines().map(numbers).collect::<Result<Vec<_>>>()?;
    let ticks = *boards.first().and_then(|ticks| ticks.first()).context("no inference was counted")?;
    let same = boards.iter().filter(|all| all.iter().all(|one| *one == ticks)).count();
    let what = format!("all inferences of {MODEL} by the firmware, on boards started anew");
    // A tick is 40 ns of the emulated clock and an instruction 32.
    let measured = format!("{same} of {} boards, {} instructions each time", boards.len(), ticks * 40 / 32);
    Ok(Figure::at_least(what, same as f64, RUNS as f64, "equal runs", measured))
}

fn numbers(line: &str) -> Result<Vec<u64>> {
    let number = |word: &str| word.parse().with_context(|| format!("expected ticks, got '{word}'"));
    line.split_whitespace().map(number).collect()
}

/// How many are the same as the first.
fn alike<T: PartialEq>(all: &[T]) -> usize {
    all.iter().filter(|one| Some(*one) == all.first()).count()
}

/// A model that was compiled for the engine.
#[derive(Debug, PartialEq)]
struct Arena {
    name: String,
    bytes: f64,
    least: f64,
}

/// All models that can be.
struct Models {
    folder: PathBuf,
    arenas: Vec<Arena>,
}

impl Models {
    fn compiled(root: &Path) -> Result<Self> {
        let folder = fresh_folder(root, "bench/firmware")?;
        let mut command = cargo(&["run", "--quiet", "--release", "--locked", "--package", "boardproof-compile"]);
        command.args(["--example", "arena", "--"]).arg(&folder);
        let mut list = crate::step::program("git", &["ls-files", "models/*/*.onnx"]);
        list.current_dir(root);
        command.args(output(list)?.lines().map(|file| root.join(file)));
        let arenas = output(command)?.lines().map(arena).collect::<Result<_>>()?;
        Ok(Self { folder, arenas })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.micro", name.replace('/', "-")))
    }

    /// One for each model and arena: variants that differ in their weights alone have one line.
    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let of = |name: &str| name.split_once('/').map_or_else(|| name.to_owned(), |(model, _)| model.to_owned());
        for chunk in self.arenas.chunk_by(|a, b| of(&a.name) == of(&b.name) && (a.bytes, a.least) == (b.bytes, b.least))
        {
            let [Arena { name, bytes, least }, ..] = chunk else { continue };
            let what = format!("arena of {} ({} variants) against the most that lives at once", of(name), chunk.len());
            let measured = format!("{:.3}: {bytes} of {least} bytes", bytes / least);
            figures.push(Figure::at_most(what, bytes / least, ARENA_RATIO, "x", measured));
        }
        figures
    }
}

/// Reads a line of the example: name, arena, least, size.
fn arena(line: &str) -> Result<Arena> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [name, bytes, least, _] = parts[..] else {
        anyhow::bail!("expected name, arena, least and size of a model, got '{line}'")
    };
    let number = |text: &str| text.parse::<f64>().with_context(|| format!("expected bytes, got '{text}'"));
    Ok(Arena { name: name.into(), bytes: number(bytes)?, least: number(least)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_differ_are_counted_as_such() {
        assert_eq!((alike(&[5, 5, 5]), alike(&[5, 5, 6]), alike::<u8>(&[])), (3, 2, 0));
    }

    #[test]
    fn arenas_are_held_against_what_lives_at_once() {
        let lines = ["m/a\t110\t100\t9", "m/b\t110\t100\t8", "n/a\t111\t100\t7"];
        let arenas = lines.map(|line| arena(line).unwrap()).into();
        let figures = Models { folder: PathBuf::new(), arenas }.figures();
        let text = super::super::figure::table(&figures);
        assert!(
            text.contains("arena of m (2 variants)") && text.contains("1.100: 110 of 100 bytes | reached"),
            "{text}"
        );
        assert!(text.contains("1.110: 111 of 100 bytes | **missed**"), "{text}");
        assert!(arena("m/a\t110").is_err() && arena("m/a\tx\t1\t1").is_err());
    }
}
