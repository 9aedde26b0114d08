//! Instructions of each kernel: a program without agent runs layers, compares their answers with the host's bit by bit, and says what they took.

use super::{RUNS, alike};
use crate::bench::figure::Figure;
use crate::firmware::cargo_of_kernels;
use crate::step::output;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Most instructions for one multiply-accumulate, by the word that a layer's name begins with. The rest is shown.
const LIMITS: [(&str, f64); 4] =
    [("conv 1x1", 2.0), ("conv 3x3", 2.5), ("fully connected", 2.0), ("depthwise 3x3", 6.0)];
/// Plain Rust against DSP instructions.
const PLAIN_RATIO: f64 = 1.6;

/// One layer on one path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layer {
    name: String,
    macs: u64,
    instructions: u64,
}

impl Layer {
    fn each(&self) -> f64 {
        self.instructions as f64 / self.macs as f64
    }
}

/// What was seen of the kernels.
pub struct Seen {
    dsp: Vec<Layer>,
    plain: Vec<Layer>,
    /// Runs that counted what the first one did.
    same: usize,
}

/// Runs all layers by both paths; by that with DSP instructions, often.
pub fn measured(root: &Path) -> Result<Seen> {
    let once = |features: &[&str]| {
        let arguments = [&["run", "--quiet", "--release", "--locked"], features].concat();
        let command = cargo_of_kernels(root, &arguments);
        output(command)?.lines().map(layer).collect::<Result<Vec<_>>>()
    };
    let plain = once(&[])?;
    let runs = (0..RUNS).map(|_| once(&["--features", "dsp"])).collect::<Result<Vec<_>>>()?;
    let same = alike(&runs);
    let dsp = runs.into_iter().next().context("nothing was run")?;
    if dsp.len() != plain.len() || dsp.is_empty() {
        bail!("expected as many layers by both paths, got {} by DSP and {} plain", dsp.len(), plain.len());
    }
    Ok(Seen { dsp, plain, same })
}

/// Reads a line: `dsp conv 1x1 64->64 on 8x8 262144 macs 471240 instructions 1.79 each, equal`.
fn layer(line: &str) -> Result<Layer> {
    let wrong = || format!("expected a layer, its instructions and 'equal', got '{line}'");
    let words: Vec<&str> = line.strip_suffix(", equal").with_context(wrong)?.split_whitespace().collect();
    let [_, name @ .., macs, "macs", instructions, "instructions", _, "each"] = &words[..] else { bail!(wrong()) };
    let number = |word: &str| word.parse::<u64>().ok().filter(|number| *number > 0).with_context(wrong);
    Ok(Layer { name: name.join(" "), macs: number(macs)?, instructions: number(instructions)? })
}

/// Two for each layer, and one for all runs.
pub fn figures(seen: &Seen) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (dsp, plain) in seen.dsp.iter().zip(&seen.plain) {
        let name = &dsp.name;
        let measured = format!("{:.2}: {} for {}", dsp.each(), dsp.instructions, dsp.macs);
        let what = format!("instructions per multiply-accumulate, {name}");
        let limit = LIMITS.iter().find(|(begin, _)| name.starts_with(begin));
        figures.push(match limit {
            Some((_, limit)) => Figure::at_most(what, dsp.each(), *limit, "", measured),
            None => Figure::shown(what, measured),
        });
        let ratio = plain.each() / dsp.each();
        let measured = format!("{ratio:.2}: {:.2} instructions", plain.each());
        let what = format!("plain Rust against DSP instructions, {name}");
        figures.push(Figure::at_most(what, ratio, PLAIN_RATIO, "x", measured));
    }
    let measured = format!("{} of {RUNS} runs", seen.same);
    let what = "all these layers, in machines started anew";
    figures.push(Figure::at_least(what, seen.same as f64, RUNS as f64, "equal runs", measured));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "dsp   conv 1x1 64->64 on 8x8        262144 macs   471240 instructions 1.79 each, equal";

    #[test]
    fn a_layer_is_read_and_one_whose_answer_differs_is_none() {
        let name = "conv 1x1 64->64 on 8x8".to_owned();
        assert_eq!(layer(LINE).unwrap(), Layer { name, macs: 262_144, instructions: 471_240 });
        for line in [&LINE.replace("equal", "DIFFERENT"), &LINE.replace("262144", "0"), "panicked at"] {
            assert!(layer(line).is_err(), "{line}");
        }
    }

    #[test]
    fn limits_go_by_operator() {
        let of = |name: &str, instructions| Layer { name: name.into(), macs: 100, instructions };
        let dsp = vec![of("conv 1x1 a", 200), of("depthwise 3x3 b", 601), of("depthwise 1x3 c", 900)];
        let plain = vec![of("conv 1x1 a", 321), of("depthwise 3x3 b", 700), of("depthwise 1x3 c", 900)];
        let text = crate::bench::figure::table(&figures(&Seen { dsp, plain, same: 19 }));
        let ends: Vec<&str> = text.lines().skip(2).map(|line| line.split(" | ").nth(3).unwrap()).collect();
        assert_eq!(ends, ["reached", "**missed**", "**missed**", "reached", "", "reached", "**missed**"], "{text}");
    }
}
