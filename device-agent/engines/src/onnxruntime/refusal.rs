//! The library's errors as refusals and run failures: its own words, in one line, with the operator where they name one.

use ort::Error;
use ort::error::ErrorCode;

use crate::engine::{Refusal, RunFailure, Stage};

/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 400;

/// The library's words in one line.
pub(super) fn reason<R>(error: &Error<R>) -> String {
    clip(&error.message().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A model that the library would not take.
pub(super) fn refuse<R>(error: &Error<R>) -> Refusal {
    refusal(stage(error.code()), reason(error))
}

fn stage(code: ErrorCode) -> Stage {
    match code {
        ErrorCode::InvalidProtobuf | ErrorCode::NoModel => Stage::Parse,
        ErrorCode::NotImplemented => Stage::Operator,
        ErrorCode::InvalidGraph => Stage::Type,
        _ => Stage::Plan,
    }
}

pub(super) fn refusal(stage: Stage, reason: String) -> Refusal {
    let (operator, node) = blamed(&reason);
    let unsupported = match (stage, &operator) {
        (Stage::Operator, Some(operator)) => vec![(operator.clone(), node.clone().unwrap_or_default())],
        _ => Vec::new(),
    };
    Refusal { stage, operator, node, reason, unsupported }
}

/// Operator and node of `Could not find an implementation for Conv(11) node with name 'conv1'` and of
/// `Fatal error: com.x:Foo(-1) is not a registered function/op`.
fn blamed(reason: &str) -> (Option<String>, Option<String>) {
    let node = reason.split_once("node with name '").and_then(|(_, rest)| rest.split_once('\''));
    let node = node.map(|(name, _)| name.to_owned()).filter(|name| !name.is_empty());
    let without =
        |text: &str| text.split('(').next().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let missing = reason.split_once("an implementation for ").and_then(|(_, rest)| without(rest));
    let unknown = || {
        let (before, _) = reason.split_once(" is not a registered function/op")?;
        without(before.rsplit(' ').next()?)
    };
    (missing.or_else(unknown), node)
}

/// A loaded model that did not answer.
pub(super) fn failure<R>(error: &Error<R>) -> RunFailure {
    RunFailure::Engine { reason: reason(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_and_node_are_taken_from_the_words() {
        let both = "Could not find an implementation for QGemm(1) node with name 'fc'";
        let unknown = "Load model failed: Fatal error: com.example:Foo(-1) is not a registered function/op";
        let nameless = "Could not find an implementation for ConvInteger(10) node with name ''";
        let words = |text: &str| {
            let refusal = refusal(Stage::Operator, text.into());
            (refusal.operator.unwrap_or_default(), refusal.node.unwrap_or_default(), refusal.unsupported.len())
        };
        assert_eq!(words(both), ("QGemm".into(), "fc".into(), 1));
        assert_eq!(words(unknown), ("com.example:Foo".into(), String::new(), 1));
        assert_eq!(words(nameless), ("ConvInteger".into(), String::new(), 1));
        assert_eq!(words("protobuf parsing failed"), (String::new(), String::new(), 0));
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let cut = clip(&"ä".repeat(REASON_CHARS_MAX + 1));
        assert_eq!(cut.chars().count(), REASON_CHARS_MAX + 3);
        assert_eq!(clip("short"), "short");
    }
}
