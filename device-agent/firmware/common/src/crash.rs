//! What a fault leaves behind for the next start, and for a debug probe.

use crate::Text;
use core::fmt::Write as _;

/// The record, as it lies under the symbol `BOARDPROOF_CRASH`: thirteen words, little endian. A start does not clear it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crash {
    /// [`Self::MAGIC`] when this firmware wrote the record.
    pub magic: u32,
    /// What happened: one of the constants; 0 for nothing.
    pub kind: u32,
    /// Where.
    pub pc: u32,
    /// Where it would have gone back to.
    pub lr: u32,
    /// Program status.
    pub psr: u32,
    /// Configurable fault status.
    pub cfsr: u32,
    /// Hard fault status.
    pub hfsr: u32,
    /// Address of a memory management fault, when `cfsr` says that it is one.
    pub mmfar: u32,
    /// Address of a bus fault, when `cfsr` says that it is one.
    pub bfar: u32,
    /// Stack pointer.
    pub sp: u32,
    /// Job that was running; [`Self::NO_JOB`] for none. Kept up to date while it runs.
    pub job: u32,
    /// Step of it, see [`Self::PHASES`].
    pub phase: u32,
    /// Number of this start, from 1 since the power came.
    pub starts: u32,
}

impl Crash {
    /// Says that a record is one.
    pub const MAGIC: u32 = 0xb0a2_c4a5;
    /// A fault of the processor.
    pub const FAULT: u32 = 1;
    /// The watchdog found the program stuck.
    pub const WATCHDOG: u32 = 2;
    /// A mistake of the firmware that it found itself.
    pub const PANIC: u32 = 3;
    /// No job was running.
    pub const NO_JOB: u32 = u32::MAX;
    /// Names of the steps of a job.
    pub const PHASES: [&str; 6] = ["idle", "loading", "listing operators", "checking", "running", "telling"];

    /// Looks at what the start before this one left, and begins the record of this one. Returns why this start came, and the fault in words.
    pub fn look_back(&mut self) -> (&'static str, Text<320>) {
        if self.magic != Self::MAGIC {
            *self = Self { magic: Self::MAGIC, starts: 1, job: Self::NO_JOB, ..Self::default() };
            return ("power on", Text::new());
        }
        self.starts = self.starts.wrapping_add(1).max(1);
        let reason = match self.kind {
            0 => "warm reset",
            Self::WATCHDOG => "watchdog",
            _ => "fault",
        };
        let words = if self.kind == 0 { Text::new() } else { self.words() };
        (self.kind, self.job, self.phase) = (0, Self::NO_JOB, 0);
        (reason, words)
    }

    /// The record in words.
    pub fn words(&self) -> Text<320> {
        let mut text = Text::new();
        let Self { pc, lr, psr, cfsr, hfsr, mmfar, bfar, sp, job, .. } = self;
        let _ = write!(text, "{}", self.kind_words());
        if *job != Self::NO_JOB {
            let phase = Self::PHASES.get(self.phase as usize).unwrap_or(&"at an unknown step");
            let _ = write!(text, " in job {job} while {phase}");
        }
        let _ = write!(text, ": pc {pc:#010x} lr {lr:#010x} psr {psr:#010x} sp {sp:#010x}");
        let _ = write!(text, " cfsr {cfsr:#010x} hfsr {hfsr:#010x}");
        if cfsr & 1 << 7 != 0 {
            let _ = write!(text, " address {mmfar:#010x}");
        }
        if cfsr & 1 << 15 != 0 {
            let _ = write!(text, " address {bfar:#010x}");
        }
        text
    }

    /// As the ARMv7-M architecture names the bits of CFSR and HFSR.
    fn kind_words(&self) -> &'static str {
        const FAULTS: [(u32, &str); 17] = [
            (1 << 16, "undefined instruction"),
            (1 << 17, "invalid state"),
            (1 << 18, "invalid return"),
            (1 << 19, "no coprocessor"),
            (1 << 24, "unaligned access"),
            (1 << 25, "division by zero"),
            (1 << 20, "stack overflow"),
            (1 << 8, "bus fault of an instruction"),
            (1 << 9, "bus fault of data"),
            (1 << 10, "imprecise bus fault"),
            (1 << 11, "bus fault while unstacking"),
            (1 << 12, "bus fault while stacking"),
            (1 << 0, "memory fault of an instruction"),
            (1 << 1, "memory fault of data"),
            (1 << 3, "memory fault while unstacking"),
            (1 << 4, "memory fault while stacking"),
            (1 << 13, "bus fault of the floating point unit"),
        ];
        match self.kind {
            Self::WATCHDOG => "the watchdog found the program stuck",
            Self::PANIC => "panic",
            _ if self.hfsr & 1 << 1 != 0 => "vector table could not be read",
            _ => FAULTS.iter().find(|(bit, _)| self.cfsr & bit != 0).map_or("hard fault", |(_, words)| words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_with_registers_job_and_address() {
        let mut crash = Crash { magic: 7, ..Crash::default() };
        assert_eq!(crash.look_back().0, "power on");
        crash.kind = Crash::FAULT;
        (crash.pc, crash.lr, crash.sp, crash.cfsr, crash.bfar) = (0x1234, 0x567, 0x2000_0000, 1 << 9 | 1 << 15, 0xdead);
        (crash.job, crash.phase) = (9, 4);
        let (reason, words) = crash.look_back();
        assert_eq!((reason, crash.starts), ("fault", 2));
        let expected = "bus fault of data in job 9 while running: pc 0x00001234 lr 0x00000567 psr 0x00000000 sp 0x20000000 \
                        cfsr 0x00008200 hfsr 0x00000000 address 0x0000dead";
        assert_eq!(words.as_str(), expected);
        assert_eq!(crash.look_back(), ("warm reset", Text::new()));
        crash.kind = Crash::WATCHDOG;
        let (reason, words) = crash.look_back();
        assert_eq!(reason, "watchdog");
        assert!(words.as_str().starts_with("the watchdog found the program stuck: pc"), "{words:?}");
    }
}
