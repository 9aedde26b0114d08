//! What a line says. Pure.

/// What an interface board puts in front of the device's lines.
const RELAYED: &str = "[dut]: ";

/// A line, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// `m-ready`
    Ready,
    /// `m-timestamp-mode-...` or `m-init-done`: the device started.
    Banner,
    /// `m-name-<device>-[<vendor>]`
    Name { device: String, vendor: String },
    /// `m-profile-[<firmware>]`
    Profile(String),
    /// `m-model-[<model>]`
    Model(String),
    /// `m-lap-us-<n>`
    Lap(u64),
    /// `m-[Expecting <n> bytes]`
    Expecting(usize),
    /// `m-load-done`
    LoadDone,
    /// `m-buffer-xx-xx...`
    Buffer(Vec<u8>),
    /// `m-warmup-start-<n>`
    WarmupStart(u32),
    /// `m-warmup-done`
    WarmupDone,
    /// `m-infer-start-<n>`
    InferStart(u32),
    /// `m-infer-done`
    InferDone,
    /// `m-results-[f,f,...]`
    Results(Vec<f32>),
    /// `e-...`
    Error,
    /// `m-...` that is none of these, or that cannot be read.
    Strange,
    /// Neither a message nor an error: a log, noise, an empty line, or the one refusal that has no `e-`.
    Remark,
}

/// The device's own line in what an interface board relayed, and whether it was relayed.
pub(super) fn relayed(line: &str) -> (&str, bool) {
    match line.strip_prefix(RELAYED) {
        Some(own) => (own, true),
        None => (line, false),
    }
}

/// Reads a line strictly: a message is exactly what the protocol says, or [`Said::Strange`].
pub(super) fn read(line: &str) -> Said {
    if line.starts_with("e-") {
        return Said::Error;
    }
    let Some(message) = line.strip_prefix("m-") else { return Said::Remark };
    fixed(message).or_else(|| bracketed(message)).or_else(|| numbered(message)).unwrap_or(Said::Strange)
}

fn fixed(message: &str) -> Option<Said> {
    Some(match message {
        "ready" => Said::Ready,
        "init-done" | "timestamp-mode-performance" | "timestamp-mode-energy" => Said::Banner,
        "load-done" => Said::LoadDone,
        "warmup-done" => Said::WarmupDone,
        "infer-done" => Said::InferDone,
        _ => return None,
    })
}

fn bracketed(message: &str) -> Option<Said> {
    let (word, content) = message.strip_suffix(']')?.split_once('[')?;
    if content.is_empty() || content.contains(']') {
        return None;
    }
    Some(match word {
        "profile-" => Said::Profile(content.to_owned()),
        "model-" => Said::Model(content.to_owned()),
        "results-" => Said::Results(content.split(',').map(number).collect::<Option<_>>()?),
        "" => Said::Expecting(decimal(content.strip_prefix("Expecting ")?.strip_suffix(" bytes")?)?),
        _ => {
            let device = word.strip_prefix("name-")?.strip_suffix('-')?;
            Said::Name { device: device.to_owned(), vendor: content.to_owned() }
        }
    })
}

fn numbered(message: &str) -> Option<Said> {
    if let Some(bytes) = message.strip_prefix("buffer-") {
        return Some(Said::Buffer(bytes.split('-').map(byte).collect::<Option<_>>()?));
    }
    let (word, digits) = message.rsplit_once('-')?;
    Some(match word {
        "lap-us" => Said::Lap(decimal(digits)?),
        "warmup-start" => Said::WarmupStart(decimal(digits)?),
        "infer-start" => Said::InferStart(decimal(digits)?),
        _ => return None,
    })
}

/// A value of a result. An empty one is refused, unlike in the public runner: it would move all that follow to another class.
fn number(text: &str) -> Option<f32> {
    text.trim_matches(' ').parse().ok()
}

/// Digits and nothing else: `parse` alone would take a sign.
fn decimal<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn byte(text: &str) -> Option<u8> {
    let whole = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &Said) {
        assert_eq!(&read(line), expected, "{line:?}");
    }

    #[test]
    fn every_message_of_the_protocol_is_read() {
        check("m-ready", &Said::Ready);
        check("m-init-done", &Said::Banner);
        check("m-timestamp-mode-performance", &Said::Banner);
        check("m-timestamp-mode-energy", &Said::Banner);
        check(
            "m-name-dut-[Some Vendor, v2]",
            &Said::Name { device: "dut".to_owned(), vendor: "Some Vendor, v2".to_owned() },
        );
        check(
            "m-profile-[ULPMark for tinyML Firmware V0.0.1]",
            &Said::Profile("ULPMark for tinyML Firmware V0.0.1".to_owned()),
        );
        check("m-model-[kws01]", &Said::Model("kws01".to_owned()));
        check("m-lap-us-0", &Said::Lap(0));
        check("m-lap-us-4294967295", &Said::Lap(4_294_967_295));
        check("m-[Expecting 27648 bytes]", &Said::Expecting(27_648));
        check("m-load-done", &Said::LoadDone);
        check("m-buffer-00-ff-1A", &Said::Buffer(vec![0, 255, 26]));
        check("m-warmup-start-10", &Said::WarmupStart(10));
        check("m-warmup-done", &Said::WarmupDone);
        check("m-infer-start-1500", &Said::InferStart(1500));
        check("m-infer-done", &Said::InferDone);
        check("m-results-[0.004,-1.500, 2]", &Said::Results(vec![0.004, -1.5, 2.0]));
        check("m-results-[-inf]", &Said::Results(vec![f32::NEG_INFINITY]));
        check("e-[Unknown command: xyz]", &Said::Error);
        check("Supplied buffer size 30000 exceeds maximum of 27648", &Said::Remark);
        check("", &Said::Remark);
    }

    #[test]
    fn what_is_not_exactly_a_message_is_strange() {
        for line in [
            "m-ready ",
            "m-",
            "m-lap-us-",
            "m-lap-us-12x",
            "m-lap-us--5",
            "m-lap-us-+5",
            "m-lap-us-99999999999999999999",
            "m-results-[]",
            "m-results-[0.1,,0.3]",
            "m-results-[0.1,0.3,]",
            "m-results-[0.1,0.3",
            "m-results-[0.1]]",
            "m-results-[0.1\u{fffd}]",
            "m-buffer-",
            "m-buffer-0-1",
            "m-buffer-+1",
            "m-name-[x]",
            "m-name-dut-[]",
            "m-[Expecting some bytes]",
            "m-infer-start-1.5",
        ] {
            check(line, &Said::Strange);
        }
    }
}
