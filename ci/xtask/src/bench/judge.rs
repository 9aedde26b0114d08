//! Throughput of the metrics, as criterion measures it.

use super::figure::Figure;
use crate::step::{cargo, output};
use anyhow::{Context, Result, bail};

/// Bytes of both operands per second and core, in GB/s.
const LIMIT: f64 = 1.0;
/// The case that the promise is about: all metrics over 10^8 pairs in one pass.
const PROMISED: &str = "10^8 pairs";

/// One figure per case; the long one is promised, the others show what classes and datatypes do.
pub fn judge() -> Result<Vec<Figure>> {
    let mut command = cargo(&["bench", "--quiet", "--locked", "--package", "boardproof-judge", "--bench", "numerics"]);
    command.args(["--", "--warm-up-time", "0.5", "--measurement-time", "2"]);
    let cases = cases(&output(command)?)?;
    if !cases.iter().any(|(name, _)| name.contains(PROMISED)) {
        bail!("criterion said nothing about {PROMISED}");
    }
    let figure = |(name, speed): (String, f64)| {
        let (what, measured) = (format!("metrics over {name}"), format!("{speed:.2} GB/s"));
        match name.contains(PROMISED) {
            true => Figure::at_least(what, speed, LIMIT, "GB/s per core", measured),
            false => Figure::shown(what, measured),
        }
    };
    Ok(cases.into_iter().map(figure).collect())
}

/// Cases and their speeds in GB/s: a name stands on a line of its own or before `time:`, its estimate in the middle of `thrpt: [...]`.
fn cases(text: &str) -> Result<Vec<(String, f64)>> {
    let (mut cases, mut name) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("numerics/") {
            name = rest.split("  ").next().unwrap_or(rest).split("time:").next().unwrap_or(rest).trim().to_owned();
        }
        if let Some((_, rest)) = line.split_once("thrpt:")
            && rest.contains("iB/s")
        {
            let words: Vec<_> = rest.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
            let (number, unit) = (words.get(2), words.get(3));
            let number: f64 = number.context("no estimate")?.parse().context("the estimate is not a number")?;
            let factor = match unit.copied() {
                Some("GiB/s") => 1.073_741_824,
                Some("MiB/s") => 1.048_576e-3,
                other => bail!("expected GiB/s or MiB/s, got {other:?}"),
            };
            cases.push((name.clone(), number * factor));
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::cases;

    #[test]
    fn the_middle_of_each_estimate_is_taken() {
        let text = "numerics/f32 logits/1   time:   [34.1 ms 34.3 ms 34.5 ms]\n                 thrpt:  [1.70 GiB/s 1.75 GiB/s 1.80 GiB/s]\n\
                    numerics/f32 logits, 10^8 pairs\n   time: [1 s 1 s 1 s]\n   thrpt:  [600.0 MiB/s 700.0 MiB/s 800.0 MiB/s]\n   thrpt: [-1.0% +0.1% +2%]\n";
        let found = cases(text).unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["f32 logits/1", "f32 logits, 10^8 pairs"]);
        assert!((found[0].1 - 1.879).abs() < 0.001 && (found[1].1 - 0.734).abs() < 0.001, "{found:?}");
    }
}
