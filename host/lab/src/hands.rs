//! What can be laid on a unit besides its link: a debug probe, and its supply.
//!
//! The lab knows neither probes nor grants. Whoever starts a run gives it hands that do what the target grants and nothing else.

use crate::crash::{Crash, fault_words};
use crate::symbols::Symbols;
use boardproof_record::observation::Attempt;
use std::fmt;

/// Why hands could not do something.
pub type HandsError = Box<dyn std::error::Error + Send + Sync>;

/// What can be laid on a unit besides its link. Every call ends within a deadline of its own.
pub trait Hands {
    /// Looks into a unit whose link says nothing. The core goes on meanwhile; with `stands`, it is stopped for a moment, and where it
    /// stands is told, too. `None` where there is nothing to look with.
    fn look(&mut self, stands: bool) -> Option<Result<Look, HandsError>>;

    /// The ways in which the unit can be started anew, the mildest first.
    fn restarts(&self) -> Vec<Restart>;

    /// Starts it anew. Afterwards it is booting, with the agent that it had.
    fn restart(&mut self, how: Restart) -> Result<(), HandsError>;

    /// Can [`Self::write`] be used?
    fn writes(&self) -> bool;

    /// Writes into the unit's RAM, where its agent has said that something may lie.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), HandsError>;
}

/// A way to start a unit anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// By the reset of its debug probe.
    Reset,
    /// Off and on again.
    Cycle,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => Attempt::RESET,
            Self::Cycle => Attempt::CYCLE,
        })
    }
}

/// What a debug probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What the core does.
    pub core: Core,
    /// What the firmware has written down; `None` where none of ours has started since the unit has power.
    pub record: Option<Crash>,
    /// Where the core stood.
    pub stands: Option<Stands>,
}

/// What a core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// It runs, or waits for an interrupt.
    Runs,
    /// A debugger holds it.
    Halted,
    /// It took a fault while it handled one, and does nothing until a reset.
    LockedUp,
    /// The probe cannot tell.
    Unknown,
}

/// Registers of a core that was stopped for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stands {
    /// Where it stood.
    pub pc: u32,
    /// Where it would return to.
    pub lr: u32,
    /// Program status.
    pub psr: u32,
    /// Configurable fault status.
    pub cfsr: u32,
    /// Hard fault status.
    pub hfsr: u32,
    /// Address of a memory fault, if it holds one.
    pub mmfar: Option<u32>,
    /// Address of a bus fault, if it holds one.
    pub bfar: Option<u32>,
}

/// Is there life in a unit that says nothing?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It will not answer any more before it starts anew.
    Dead,
    /// It is at a job: slow, or stuck in it.
    AtWork,
    /// It runs and has nothing to do: it would answer if it were asked, so the line is broken.
    Idle,
    /// Nobody can tell.
    Unknown,
}

impl Look {
    /// Is there life in it?
    pub fn life(&self) -> Life {
        match (self.core, self.record) {
            (Core::Halted | Core::LockedUp, _) | (_, Some(Crash { kind: Some(_), .. })) => Life::Dead,
            (Core::Unknown, _) => Life::Unknown,
            // Its first act is to write a record.
            (Core::Runs, None) => Life::Dead,
            (Core::Runs, Some(Crash { job: Some(_), .. })) => Life::AtWork,
            (Core::Runs, Some(_)) => Life::Idle,
        }
    }

    /// All of it in words.
    pub fn words(&self, symbols: &Symbols) -> String {
        let core = match (self.core, self.record) {
            (Core::Halted, _) => "a debugger holds the core".to_owned(),
            (Core::LockedUp, _) => "the core is locked up by a fault within a fault".to_owned(),
            (Core::Unknown, _) => "what the core does is not known".to_owned(),
            (Core::Runs, None) => "the core runs, and our firmware has not started".to_owned(),
            (Core::Runs, Some(Crash { kind: Some(_), .. })) => "the core runs, and has not started anew".to_owned(),
            (Core::Runs, Some(Crash { job: Some(job), step, .. })) => {
                format!("the core runs, in job {job} while {step}")
            }
            (Core::Runs, Some(_)) => "the firmware runs and waits for the host: the line to it is broken".to_owned(),
        };
        let crash = self.record.map(|record| record.words(symbols)).filter(|words| !words.is_empty());
        let stands = self.stands.map(|stands| stands.words(symbols));
        [crash, Some(core), stands].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

impl Stands {
    fn words(&self, symbols: &Symbols) -> String {
        let Self { pc, lr, psr, cfsr, hfsr, mmfar, bfar } = *self;
        let mut words = format!("it stood at {}", symbols.place(pc));
        // Above this, it is no address but how an exception returns.
        if lr < 0xf000_0000 {
            words += &format!(", to return to {}", symbols.place(lr & !1));
        }
        if psr & 0x1ff != 0 {
            words += &format!(", in exception {}", psr & 0x1ff);
        }
        if cfsr != 0 || hfsr != 0 {
            words += &format!(", after: {}", fault_words(cfsr, hfsr, mmfar.unwrap_or(0), bfar.unwrap_or(0)));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, job: u32) -> Option<Crash> {
        let words = [0xb0a2_c4a5, kind, 0x100, 0x201, 0, 0x8200, 0, 0, 0x30, 0, job, 4, 1];
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        Crash::of_memory(&bytes)
    }

    #[test]
    fn a_dead_board_is_told_from_a_slow_one_and_both_from_a_broken_line() {
        let check = |core, record, life, words: &str| {
            let look = Look { core, record, stands: None };
            assert_eq!(look.life(), life, "{look:?}");
            let told = look.words(&Symbols::default());
            assert!(told.contains(words), "{told}");
        };
        check(Core::LockedUp, record(0, 3), Life::Dead, "a fault within a fault");
        check(Core::Halted, record(0, 3), Life::Dead, "a debugger holds the core");
        check(Core::Runs, record(1, 3), Life::Dead, "crashed: bus fault of data for address 0x00000030 at 0x00000100");
        check(Core::Runs, None, Life::Dead, "has not started");
        check(Core::Runs, record(0, 3), Life::AtWork, "the core runs, in job 3 while running");
        check(Core::Runs, record(0, u32::MAX), Life::Idle, "the line to it is broken");
        check(Core::Unknown, record(0, 3), Life::Unknown, "not known");
    }

    #[test]
    fn where_a_core_stood_is_told_with_its_exception() {
        let stands = Stands { pc: 8, lr: 0xffff_fff9, psr: 3, cfsr: 1 << 16, hfsr: 0, mmfar: None, bfar: None };
        assert_eq!(
            stands.words(&Symbols::default()),
            "it stood at 0x00000008, in exception 3, after: undefined instruction"
        );
    }
}
