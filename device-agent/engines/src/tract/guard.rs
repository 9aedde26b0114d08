//! Turns tract's errors and panics into refusals and run failures with one-line reasons.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::prelude::TractResult;

use super::VERSION;
use crate::engine::{Refusal, RunFailure, Stage};

/// Longest reason that is kept, in characters: tract prints whole tensors into some of its errors.
const REASON_CHARS_MAX: usize = 400;

/// A node of the model file, for blaming it by name.
#[derive(Debug, Clone)]
pub(super) struct SourceNode {
    /// Name, or the first output's name where the node has none (as tract does it).
    pub(super) name: String,
    /// Operator type, with its domain when that is not ONNX's own.
    pub(super) operator: String,
}

/// What went wrong inside a guarded call.
#[derive(Debug)]
pub(super) enum Trouble {
    /// tract returned an error.
    Error(tract_onnx::prelude::TractError),
    /// tract panicked with this message.
    Panic(String),
}

/// Calls into tract; a panic becomes a value.
pub(super) fn guard<T>(call: impl FnOnce() -> TractResult<T>) -> Result<T, Trouble> {
    // A caught panic can leave the closure's captures half changed; callers drop them or refuse to use them again.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Trouble::Error(error)),
        Err(payload) => {
            let message = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied());
            Err(Trouble::Panic(message.unwrap_or("no message").to_owned()))
        }
    }
}

impl Trouble {
    /// The refusal this means at `stage`, blaming the innermost of `nodes` that the error mentions.
    pub(super) fn refuse(&self, stage: Stage, nodes: &[SourceNode]) -> Refusal {
        let blamed = self.blamed(nodes);
        // With the node named, tract's own path to it says nothing new.
        let reason = if blamed.is_some() { self.root() } else { self.reason() };
        Refusal {
            stage,
            operator: blamed.map(|node| node.operator.clone()),
            node: blamed.map(|node| node.name.clone()),
            reason: format!("tract {VERSION}: {reason}"),
            unsupported: Vec::new(),
        }
    }

    /// The run failure this means.
    pub(super) fn fail(&self) -> RunFailure {
        match self {
            Trouble::Error(_) => RunFailure::Engine { reason: self.reason() },
            Trouble::Panic(_) => RunFailure::Panicked { reason: self.reason() },
        }
    }

    /// The causes in one line, outermost first.
    pub(super) fn reason(&self) -> String {
        match self {
            Trouble::Error(error) => one_line(&format!("{error:#}")),
            Trouble::Panic(message) => one_line(&format!("panicked: {message}")),
        }
    }

    /// The innermost cause in one line.
    fn root(&self) -> String {
        match self {
            Trouble::Error(error) => one_line(&error.root_cause().to_string()),
            Trouble::Panic(_) => self.reason(),
        }
    }

    fn blamed<'n>(&self, nodes: &'n [SourceNode]) -> Option<&'n SourceNode> {
        let Trouble::Error(error) = self else { return None };
        // Innermost cause first; within one cause the longest name, because tract derives names by adding suffixes.
        error.chain().collect::<Vec<_>>().into_iter().rev().find_map(|cause| {
            let text = cause.to_string();
            nodes
                .iter()
                .filter(|node| text.contains(&format!("{}\"", node.name)) || text.contains(&format!("{} ", node.name)))
                .max_by_key(|node| node.name.len())
        })
    }
}

fn one_line(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let excess = flat.chars().count().saturating_sub(REASON_CHARS_MAX);
    if excess == 0 {
        return flat;
    }
    // The root cause stands at the end: keep that.
    format!("... {}", flat.chars().skip(excess).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_value() {
        let trouble = guard::<()>(|| panic!("index {} out of range", 7)).expect_err("a panic");
        assert_eq!(trouble.reason(), "panicked: index 7 out of range");
        assert!(matches!(trouble.fail(), RunFailure::Panicked { .. }));
    }

    #[test]
    fn long_reasons_keep_their_end() {
        let text = format!("{} root\ncause", "x".repeat(2 * REASON_CHARS_MAX));
        let line = one_line(&text);
        assert!(line.ends_with("root cause"), "{line}");
        assert!(line.chars().count() <= REASON_CHARS_MAX + 4);
    }
}
