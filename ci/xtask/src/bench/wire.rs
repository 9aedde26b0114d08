//! The serial line in virtual time: what it carries of its capacity, and a million frames over a bad one. The tests measure; the figures are theirs.

use super::figure::Figure;
use crate::step::{cargo, output};
use anyhow::{Context, Result};

/// Frames over the bad wire.
const FRAMES: u64 = 1_000_000;
const PAYLOAD_PERCENT: f64 = 90.0;
/// An image of 96 x 96 x 3 bytes at 115,200 baud.
const IMAGE_S: f64 = 2.6;

/// Runs the tests; a wrong result, a hang or a panic fails them.
pub fn wire() -> Result<Vec<Figure>> {
    let mut command =
        cargo(&["test", "--quiet", "--release", "--locked", "--package", "boardproof-lab", "--test", "wire"]);
    command.args(["--", "--nocapture", "an_image", "answers_leave", "a_bad_wire"]);
    command.env("BOARDPROOF_WIRE_FRAMES", FRAMES.to_string());
    of(&output(command)?)
}

fn of(said: &str) -> Result<Vec<Figure>> {
    let line = |what: &str| {
        let found = said.lines().find(|line| line.contains(what));
        // The test runner's own dots stand before what tests tell.
        found
            .map(|line| line.trim().trim_start_matches('.'))
            .with_context(|| format!("expected the test to tell of '{what}', it did not"))
    };
    let (to, from) = (line("host to device: ")?, line("device to host: ")?);
    let (firmware, simulated) = (line("firmware: ")?, line("simulated: ")?);
    let share = |what: &str, line: &str| -> Result<Figure> {
        let percent = before(line, " % payload")?;
        let what = format!("content on a serial line at 115200 baud, {what} (virtual time)");
        Ok(Figure::at_least(what, percent, PAYLOAD_PERCENT, "% of its bytes", line))
    };
    let seconds = before(to, " s at ")?;
    let bad = |what: &str, line: &str| -> Result<Figure> {
        let (_, counts) = line.split_once(": ").with_context(|| format!("expected counts in '{line}'"))?;
        Ok(Figure::at_least(what, before(counts, " frames")?, FRAMES as f64, "frames", counts))
    };
    Ok(vec![
        share("host to device", to)?,
        share("device to host", from)?,
        Figure::at_most("an image of 96 x 96 x 3 over it", seconds, IMAGE_S, "s", format!("{seconds:.3} s")),
        bad(
            "frames over a serial line that drops, flips, repeats, stalls and is cut, the firmware's own agent behind it, and never a wrong result",
            firmware,
        )?,
        bad("the same with the simulated device, at other rates and with receivers of one byte, behind it", simulated)?,
    ])
}

/// The number right before some words.
fn before(line: &str, words: &str) -> Result<f64> {
    let number = line.split_once(words).and_then(|(before, _)| before.split_whitespace().last());
    let number = number.with_context(|| format!("expected a number before '{words}', got '{line}'"))?;
    number.parse().with_context(|| format!("expected a number before '{words}', got '{number}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tests_tell_becomes_figures() {
        let said = ".host to device: 27648 bytes in 2.585 s at 115200 baud, 92.8 % payload\n\
                    device to host: 80000 bytes in 8.100 s at 115200 baud, 85.7 % payload\n\
                    .firmware: 1000034 frames, 900 faults, 0 overruns; 90 results in 91 runs, none wrong; 3.0 s\n\
                    .simulated: 1000012 frames, 90000 faults, 12 overruns; 90 results in 91 runs, none wrong; 3.0 s\n";
        let text = crate::bench::figure::table(&of(said).unwrap());
        assert_eq!(text.matches("reached").count(), 4, "{text}");
        assert!(text.contains("| at least 90 % of its bytes |") && text.contains("**missed**"), "{text}");
        assert!(of("nothing").is_err());
    }
}
