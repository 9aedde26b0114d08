//! Wire types become record types here and nowhere else.

use boardproof_protocol as wire;
use boardproof_record::observation::{CannotRun, Ended, Facts, Operator, SelfCheck};
use boardproof_record::plan::Pass;

/// `RssPeakBytes` becomes `rss_peak_bytes`; the second and later of several get `[index]`.
fn name(key: &impl std::fmt::Debug, index: u16) -> String {
    let mut name = String::new();
    for c in format!("{key:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    if index == 0 { name } else { format!("{name}[{index}]") }
}

/// Facts of a pass that count its time: those of its parts add up.
pub const TIMES: [&str; 4] = ["measured_wall_ns", "pass_wall_ns", super::window::MIN, super::window::MAX];

/// Samples that a pass has seen, where those are fewer than it was planned with: the unit has no room for more at a time.
pub const SAMPLES_SEEN: &str = "samples_seen";

/// Adds a fact, if the event is one.
pub fn add(facts: &mut Facts, event: &wire::Event<'_>) {
    match event {
        wire::Event::Number { key, index, value } => {
            facts.numbers.insert(name(key, *index), *value);
        }
        wire::Event::Text { key, index, value } => {
            facts.texts.insert(name(key, *index), (*value).to_owned());
        }
        wire::Event::Missing { key, reason } => {
            facts.missing.insert(name(key, 0), (*reason).to_owned());
        }
        _ => {}
    }
}

/// The pass on the wire.
pub fn pass(pass: Pass) -> wire::Pass {
    match pass {
        Pass::Inspect => wire::Pass::Inspect,
        Pass::Accuracy => wire::Pass::Accuracy,
        Pass::Latency => wire::Pass::Latency,
        Pass::Memory => wire::Pass::Memory,
    }
}

/// How a job ended.
pub fn ended(ended: wire::Ended) -> Ended {
    match ended {
        wire::Ended::Completed => Ended::Completed,
        wire::Ended::CannotRun => Ended::CannotRun,
        wire::Ended::Exited { code } => Ended::Exited { code },
        wire::Ended::Signalled { signal } => Ended::Signalled { signal },
        wire::Ended::OutOfMemory { limit_bytes } => Ended::OutOfMemory { limit_bytes },
        wire::Ended::DeadlineExceeded { deadline_ms } => Ended::DeadlineExceeded { deadline_ms },
        wire::Ended::Cancelled => Ended::Cancelled,
        wire::Ended::NotStarted => Ended::NotStarted,
    }
}

/// An operator.
pub fn operator(op: &wire::Operator<'_>) -> Operator {
    Operator {
        index: op.index,
        name: op.name.into(),
        op: op.op.into(),
        dtypes: op.dtypes.into(),
        kernel: op.kernel.into(),
    }
}

/// A refusal by the engine.
pub fn cannot_run(found: &wire::CannotRun<'_>) -> CannotRun {
    let stage = name(&found.stage, 0);
    CannotRun { stage, operator: found.operator.into(), node: found.node.into(), reason: found.reason.into() }
}

/// A self-check. JSON has no infinity: identical answers have no ratio, and a difference that is no number is absent.
pub fn self_check(found: &wire::SelfCheck<'_>) -> SelfCheck {
    let finite = |v: f64| v.is_finite().then_some(v);
    SelfCheck {
        samples: found.samples,
        agree: found.agree,
        max_abs: finite(found.max_abs),
        sqnr_db: finite(found.sqnr_db),
        operator: found.operator.into(),
        detail: found.detail.into(),
    }
}

/// Element type by its safetensors name, with its size in bytes.
pub fn dtype(dtype: wire::Dtype) -> (safetensors::Dtype, usize) {
    use safetensors::Dtype as Known;
    match dtype {
        wire::Dtype::F32 => (Known::F32, 4),
        wire::Dtype::F16 => (Known::F16, 2),
        wire::Dtype::Bf16 => (Known::BF16, 2),
        wire::Dtype::F64 => (Known::F64, 8),
        wire::Dtype::I8 => (Known::I8, 1),
        wire::Dtype::U8 => (Known::U8, 1),
        wire::Dtype::I16 => (Known::I16, 2),
        wire::Dtype::U16 => (Known::U16, 2),
        wire::Dtype::I32 => (Known::I32, 4),
        wire::Dtype::U32 => (Known::U32, 4),
        wire::Dtype::I64 => (Known::I64, 8),
        wire::Dtype::U64 => (Known::U64, 8),
        wire::Dtype::Bool => (Known::BOOL, 1),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_those_of_the_record() {
        use boardproof_protocol::{Key, TextKey};
        assert_eq!(super::name(&Key::RssPeakBytes, 0), "rss_peak_bytes");
        assert_eq!(super::name(&Key::CpuFrequencyHz, 2), "cpu_frequency_hz[2]");
        assert_eq!(super::name(&TextKey::Os, 0), "os");
    }
}
