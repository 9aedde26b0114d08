//! Exit codes: one exhaustive match each way. Documented in `boardproof --help`.

use crate::evalset::Unfit;
use boardproof_judge::ab::AbError;
use boardproof_judge::compare::statistics::PowerError;
use boardproof_judge::gate::GateError;
use boardproof_lab::store::StoreError;
use boardproof_layers::LayersError;
use boardproof_plan::PlanError;
use boardproof_quantize::QuantizeError;
use boardproof_record::verdict::Verdict;
use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every rule is kept, or there was nothing to judge and it worked.
    Pass,
    /// Some rule is broken.
    Fail,
    /// The command line or an input is wrong.
    Usage,
    /// Some rule cannot be decided with these samples.
    Inconclusive,
    /// Something planned was not measured.
    Incomplete,
    /// A tool, a file or the lab failed before anything was measured.
    Fault,
    /// Somebody interrupted it.
    Interrupted,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Incomplete => 4,
            Self::Fault => 5,
            Self::Interrupted => 130,
        }
    }
}

/// A panic is a bug of ours and never looks like a verdict.
pub const BUG: u8 = 70;

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Incomplete => Self::Incomplete,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// The exit of an error: what people wrote is theirs to mend, everything else is a fault.
    pub fn of(error: &anyhow::Error) -> Self {
        let wrong_use = |cause: &(dyn std::error::Error + 'static)| {
            cause.is::<PlanError>()
                || cause.is::<LayersError>()
                || cause.is::<QuantizeError>()
                || cause.is::<PowerError>()
                || cause.is::<Unfit>()
                || matches!(cause.downcast_ref(), Some(StoreError::NotEmpty { .. }))
                || cause.downcast_ref().is_some_and(GateError::is_of_the_policy)
                || cause.downcast_ref().is_some_and(AbError::is_of_the_terms)
        };
        if error.chain().any(wrong_use) { Self::Usage } else { Self::Fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_verdict_but_a_pass_is_zero() {
        let codes =
            [Verdict::Pass, Verdict::Inconclusive, Verdict::Incomplete, Verdict::Fail].map(|v| Exit::from(v).code());
        assert_eq!(codes, [0, 3, 4, 1]);
    }
}
