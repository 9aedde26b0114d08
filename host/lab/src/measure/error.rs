//! What went wrong that is not the model's doing, and what to do about it.

use super::pass_name;
use crate::fit::{self, FitError};
use crate::link::client::ClientError;
use crate::link::{LinkError, SshProblem};
use crate::micro::PrepareError;
use crate::reach::ReachError;
use crate::ship::ShipError;
use crate::store::StoreError;
use boardproof_protocol::RUNNER_FAULT;
use boardproof_record::observation::{Ended, PassObservation};

/// Anything that is not the model's doing.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant passes on the error of one stage")]
pub enum BenchError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Ship(#[from] ShipError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Prepare(Box<PrepareError>),
    #[error("the unit has no room for the model and one sample: expected {needed} bytes, got {room}")]
    NoRoom { room: u64, needed: u64 },
    #[error("the unit was reset: boot {before:#x} became {after:#x}")]
    Reset {
        before: u64,
        after: u64,
        #[source]
        why: Option<Death>,
    },
    #[error("the runner did not start for the {pass}: {words}")]
    NotStarted { pass: String, words: String },
    #[error("the runner broke off in the {pass}: {what}{words}")]
    BrokeOff { pass: String, what: String, words: String },
    #[error("the unit was not there in an earlier cell, nor within {waited_s} s after it: {why}")]
    Lost { waited_s: u64, why: String },
}

/// Why a unit has started anew, by its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Death(pub(super) String);

impl From<PrepareError> for BenchError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(Box::new(error))
    }
}

impl BenchError {
    pub(super) fn interrupted(&self) -> bool {
        matches!(self.client(), Some(ClientError::Interrupted))
    }

    fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            Self::Ship(error) => error.client(),
            Self::Reach(ReachError::Client { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// The unit said nothing, on the link or to a new one.
    pub(super) fn timed_out(&self) -> bool {
        let no_link = matches!(
            self,
            Self::Reach(ReachError::Link { source: LinkError::Ssh { problem: SshProblem::TimedOut, .. }, .. })
        );
        no_link || self.client().is_some_and(ClientError::timed_out)
    }

    pub(super) fn link_is_gone(&self) -> bool {
        self.client().is_some_and(ClientError::link_is_gone)
    }

    /// The unit is not there, as far as this end can tell.
    pub(super) fn unit_is_away(&self) -> bool {
        self.link_is_gone() || matches!(self, Self::Reach(error) if error.may_pass())
    }

    /// Nothing was heard of the unit, or its link ended; a unit that forgot the session has started anew and can tell itself why.
    pub(super) fn was_silent(&self) -> bool {
        let refused = matches!(self.client(), Some(ClientError::Refused { .. }));
        (self.unit_is_away() || self.timed_out()) && !refused
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Reach(error) => error.hint(),
            Self::Fit(error) => Some(error.hint()),
            Self::NotStarted { words, .. } => Some(hint_of_a_runner(words).into()),
            Self::BrokeOff { words, .. } if words.contains(NO_LIBRARY) => Some(ADD_LIBRARY.into()),
            Self::BrokeOff { words, .. } if words.contains(NO_PROVIDER) => Some(OTHER_LIBRARY.into()),
            Self::BrokeOff { words, .. } if words.contains(NO_GPU) => Some(LOOK_FOR_GPU.into()),
            Self::BrokeOff { words, .. } if words.contains(GPU_FAILED) => Some(LOOK_AT_GPU.into()),
            Self::BrokeOff { .. } => Some(BROKE_OFF.into()),
            Self::NoRoom { .. } => Some("give the firmware's store more of the unit's memory".into()),
            Self::Reset { why: Some(_), .. } => Some(STARTED_ANEW.into()),
            Self::Lost { .. } => Some("see its console: it may have crashed, or lost its power or its network".into()),
            _ => self.client().and_then(ClientError::hint),
        }
    }
}

/// Signals that a process gets from outside: none of them is an engine's crash. What the kernel kills for memory, the agent reports as
/// that.
const FROM_OUTSIDE: [i32; 7] = [1, 2, 3, 9, 13, 14, 15];
const STARTED_ANEW: &str =
    "no answer of before a crash is used; measure again, and if it crashes again look at the place that it names";
const BROKE_OFF: &str = "look at the unit and its log: somebody or something else than the model ended the runner";

/// What a runner says that cannot use the library of its engine.
const NO_LIBRARY: &str = "load the library of ";
const ADD_LIBRARY: &str = "`boardproof engine add onnxruntime --target TARGET` keeps a library for this architecture, which is then shipped; or install one on the unit";

/// What a runner says whose engine has no such execution provider, or cannot use it there.
const NO_PROVIDER: &str = "use the execution provider ";
const OTHER_LIBRARY: &str = "`boardproof engine add onnxruntime --from FILE` keeps a library that was built with it, which is then shipped; or give [target.onnxruntime] the unit's as `library`, or take it out of `providers`";
/// What a runner says that finds no GPU, or not what it needs besides one.
const NO_GPU: &str = "use the NVIDIA GPU of ";
const LOOK_FOR_GPU: &str = "`boardproof doctor --target TARGET` (or `--unit UNIT`) says what of CUDA is missing there; `--engine tract` checks on the processor instead";
/// What it says of a GPU that failed under it.
const GPU_FAILED: &str = "the device under the engine failed";
const LOOK_AT_GPU: &str = "look at the GPU with `nvidia-smi` and at the unit's kernel log: its memory may be taken by others, or it may be damaged";

/// The end of a pass that is a fault, because it says nothing of the model.
pub(super) fn fault_of(pass: &PassObservation) -> Option<BenchError> {
    let what = match pass.ended {
        Ended::NotStarted => return Some(not_started(pass)),
        Ended::Exited { code: 0 } => "it ended too early".to_owned(),
        Ended::Exited { code } if code == i32::from(RUNNER_FAULT) => "it could not do what it was asked".to_owned(),
        Ended::Signalled { signal } if FROM_OUTSIDE.contains(&signal) => format!("signal {signal}, from outside"),
        _ => return None,
    };
    let words = [pass.facts.texts.get("stderr[1]"), pass.facts.texts.get("stderr")];
    let words = words.into_iter().flatten().filter_map(|text| text.trim().lines().next_back());
    let words = words.map(|line| format!(": {line}")).collect();
    Some(BenchError::BrokeOff { pass: pass_name(pass.pass), what, words })
}

/// A runner that did not start is a fault: nothing is known of the model.
fn not_started(pass: &PassObservation) -> BenchError {
    let said = |name| pass.facts.texts.get(name).map(|t| t.trim()).filter(|t| !t.is_empty());
    // What the agent says of it, then the end of what the runner said itself.
    let words = [said("stderr[1]"), said("stderr").and_then(|t| t.lines().next_back())];
    let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let words = if words.is_empty() { "it said nothing".to_owned() } else { words };
    BenchError::NotStarted { pass: pass_name(pass.pass), words }
}

/// What to do about a runner that did not start. The signs are the words of the loaders of glibc and musl and of the agent.
fn hint_of_a_runner(words: &str) -> &'static str {
    const LOADER: [&str; 5] = [
        "' not found (required by",
        "error while loading shared libraries",
        "Error loading shared library",
        "Error relocating",
        "its loader (",
    ];
    if LOADER.iter().any(|sign| words.contains(sign)) {
        fit::STATIC_RUNNER
    } else if words.contains("another architecture") {
        "set `runner_triple` of the target to one for the unit's architecture"
    } else if words.contains("by signal 4") {
        "the unit's processor lacks an instruction that the runner was built with: see `runner_triple` of the target"
    } else if words.contains("memory limit of") {
        "raise `memory_bytes` of the target: the runner needs some of it before it has a model"
    } else {
        "start the runner on the unit by hand: it lies below blobs/ in boardproof's folder there"
    }
}

/// An error and its causes, outermost first.
pub(crate) fn causes(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::observation::Facts;
    use boardproof_record::plan::Pass;

    fn pass(ended: Ended, texts: &[(&str, &str)]) -> PassObservation {
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        PassObservation {
            pass: Pass::Accuracy,
            ended,
            cannot_run: None,
            facts: Facts { texts, ..Facts::default() },
            operators: Vec::new(),
            self_check: None,
            outputs: None,
            ticks: None,
            inferences: 0,
            stopped: None,
        }
    }

    #[test]
    fn a_runner_that_did_not_start_is_a_fault_with_its_words_and_a_way_out() {
        let glibc = "/b/x: /lib/libc.so.6: version `GLIBC_2.99' not found (required by /b/x)\n";
        let check = |texts: &[(&str, &str)], said: &str, hint: &str| {
            let error = fault_of(&pass(Ended::NotStarted, texts)).expect("it is one");
            assert!(error.to_string().contains(said) && error.to_string().contains("accuracy pass"), "{error}");
            assert!(error.hint().is_some_and(|h| h.contains(hint)), "{:?}", error.hint());
        };
        check(&[("stderr", glibc), ("stderr[1]", "it ended with exit code 1")], "exit code 1: /b/x: ", "musl");
        check(&[("stderr", "error while loading shared libraries: libz.so.1: cannot open")], "libz.so.1", "musl");
        check(&[("stderr", "Error loading shared library libc.so.6: No such file")], "libc.so.6", "musl");
        check(&[("stderr", "could not start the runner: x: its loader (the C library) is not here")], "loader", "musl");
        check(&[("stderr", "it is a program for another architecture than this")], "another", "architecture");
        check(&[("stderr[1]", "the runner ended by signal 4 before it had started")], "signal 4", "instruction");
        check(&[("stderr[1]", "because of its memory limit of 7 bytes")], "7 bytes", "memory_bytes");
        check(&[], "it said nothing", "by hand");
        let crash = Ended::Signalled { signal: 11 };
        for ended in [Ended::Completed, Ended::Exited { code: 1 }, Ended::OutOfMemory { limit_bytes: 0 }, crash] {
            assert!(fault_of(&pass(ended, &[("stderr", glibc)])).is_none(), "{ended:?} is the model's");
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_or_fails_is_a_fault_that_says_where_to_look() {
        for (said, hint) in [
            ("could not open the engine: use the NVIDIA GPU of cuda: CUDA driver library not found", "doctor"),
            ("the device under the engine failed: CUDA_ERROR_OUT_OF_MEMORY", "nvidia-smi"),
        ] {
            let error = fault_of(&pass(Ended::Exited { code: 70 }, &[("stderr", said)])).expect("it is one");
            assert!(error.hint().is_some_and(|found| found.contains(hint)), "{:?}", error.hint());
        }
    }

    #[test]
    fn a_runner_that_something_else_than_the_model_ended_is_a_fault_with_its_words() {
        let told = [("stderr", "boardproof-runner: could not read x: I/O error\n"), ("stderr[1]", "no ticks")];
        for (ended, said) in [
            (
                Ended::Exited { code: 70 },
                "could not do what it was asked: no ticks: boardproof-runner: could not read x",
            ),
            (Ended::Exited { code: 0 }, "too early"),
            (Ended::Signalled { signal: 15 }, "signal 15"),
            (Ended::Signalled { signal: 9 }, "signal 9"),
        ] {
            let error = fault_of(&pass(ended, &told)).expect("it is one");
            assert!(error.to_string().contains(said) && error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn a_library_without_the_provider_that_is_wanted_is_a_fault_with_a_way_out() {
        let told =
            [("stderr", "boardproof-runner: use the execution provider CUDAExecutionProvider of onnxruntime: none")];
        let error = fault_of(&pass(Ended::Exited { code: 70 }, &told)).expect("it is one");
        assert!(error.hint().is_some_and(|hint| hint.contains("--from FILE") && hint.contains("providers")), "{error}");
    }
}
