//! Time of an inference through the harness against a bare loop over the same engine, in one process, in alternating blocks.

use super::figure::Figure;
use crate::check::DEVICE_FOLDER;
use crate::programs::host_triple;
use crate::python::environment;
use crate::step::{cargo, output, program, run, works};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Inferences that last this long are promised the smaller overhead.
const LONG_NS: f64 = 30_000.0;
/// Largest ratio of a time through the harness to a bare one in the same process, for inferences that last so long.
const LIMIT: f64 = 1.02;
/// The same for shorter ones, and against a loop in another process and another language.
const LIMIT_SHORT: f64 = 1.03;
/// The version whose library the tool brings.
const PACKAGE: &str = "onnxruntime==1.32.0";

/// An engine, the example that measures it, and the models for which a bare loop is written out there.
struct Bare {
    engine: &'static str,
    example: &'static str,
    is_for: fn(&str) -> bool,
    /// What is promised for an inference that takes so many nanoseconds bare; nothing of an engine that serves as the reference only.
    limit: fn(f64) -> Option<f64>,
    /// The other loop is Python's.
    in_python: bool,
}

const ENGINES: [Bare; 3] = [
    Bare { engine: "tract", example: "overhead", is_for: |_| true, limit: promised, in_python: false },
    Bare {
        engine: "candle",
        example: "overhead_candle",
        // The layers are written out by hand, one behind the other.
        is_for: |model| model != "vowels_former",
        limit: |_| None,
        in_python: false,
    },
    Bare {
        engine: "onnxruntime",
        example: "overhead_onnxruntime",
        is_for: |_| true,
        limit: |_| Some(LIMIT_SHORT),
        in_python: true,
    },
];

/// One figure per engine and model.
pub fn overhead(models: &[String]) -> Result<Vec<Figure>> {
    let triple = host_triple()?;
    let mut figures = Vec::new();
    for Bare { engine, example, is_for, limit, in_python } in ENGINES {
        for model in models.iter().filter(|model| is_for(model)) {
            let file = format!("models/{model}/f32.onnx");
            let mut command = cargo(&["run", "--quiet", "--release", "--locked", "--package", "boardproof-engines"]);
            command.args(["--no-default-features", "--features", engine, "--example", example, "--target", &triple]);
            command.args(["--target-dir", DEVICE_FOLDER, "--", &file]);
            if in_python {
                command.arg(python()?);
            }
            // As the agent starts a runner: candle reads the processor's description at every product where nobody says how many.
            command.env("RAYON_NUM_THREADS", "1");
            let line = output(command)?;
            let (ratio, bare_ns) = (number_behind(&line, "ratio")?, number_behind(&line, "bare")?);
            let measured = format!("{ratio:.3} at {:.0} µs", bare_ns / 1000.0);
            let what = format!("time of an inference through the harness against a bare loop of {engine}, {model}");
            figures.push(match limit(bare_ns) {
                Some(limit) => Figure::at_most(what, ratio, limit, "", measured),
                None => Figure::shown(what, measured),
            });
        }
    }
    Ok(figures)
}

fn promised(bare_ns: f64) -> Option<f64> {
    Some(if bare_ns >= LONG_NS { LIMIT } else { LIMIT_SHORT })
}

/// A Python that has the package.
fn python() -> Result<PathBuf> {
    let python = environment()?;
    if !works(&python.to_string_lossy(), &["-c", "import onnxruntime"]) {
        run(program(&python.to_string_lossy(), &["-m", "pip", "install", "--quiet", PACKAGE]))?;
    }
    Ok(python)
}

/// The number behind a word.
fn number_behind(line: &str, wanted: &str) -> Result<f64> {
    let mut words = line.split_whitespace().skip_while(|word| *word != wanted).skip(1);
    let word = words.next().with_context(|| format!("expected '{wanted}' and a number, got '{}'", line.trim()))?;
    let number: f64 = word.parse().with_context(|| format!("expected a number behind '{wanted}', got '{word}'"))?;
    // NaN is above no limit.
    if number.is_finite() { Ok(number) } else { bail!("expected a finite number behind '{wanted}', got {number}") }
}

#[cfg(test)]
mod tests {
    use super::number_behind;

    #[test]
    fn a_line_without_a_ratio_is_no_pass() {
        let line = "a.onnx | ours 12 ns | bare 11 ns | ratio 1.0100\n";
        assert_eq!(number_behind(line, "ratio").unwrap(), 1.01);
        assert_eq!(number_behind(line, "bare").unwrap(), 11.0);
        assert!(number_behind("a.onnx | ours 12 ns\n", "ratio").is_err());
        assert!(number_behind("ratio NaN\n", "ratio").is_err());
    }
}
