//! What happens during a run, told as it happens. The CLI shows it; nothing depends on who listens.

use boardproof_record::CellId;
use boardproof_record::plan::Pass;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A line about a long step: building, booting, waiting.
    Said(String),
    /// A cell is being worked on.
    CellStarted {
        /// Which.
        cell: CellId,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// Bytes of a blob were taken by the unit.
    Shipped {
        /// What is shipped.
        what: String,
        /// Coded bytes taken.
        done: u64,
        /// Coded bytes in all.
        total: u64,
    },
    /// A pass began.
    PassStarted {
        /// Which.
        pass: Pass,
    },
    /// Inferences of the pass were done.
    PassAdvanced {
        /// Which.
        pass: Pass,
        /// Done.
        done: u64,
        /// To do.
        total: u64,
    },
    /// Time went by in a pass that has nothing to tell.
    Waited,
    /// A cell is finished.
    CellEnded {
        /// Which.
        cell: CellId,
        /// In a word or two.
        outcome: String,
    },
}

/// Who listens.
pub trait Events {
    /// Hears what happened.
    fn hear(&mut self, event: Event);
}

impl<F: FnMut(Event)> Events for F {
    fn hear(&mut self, event: Event) {
        self(event);
    }
}
