//! How a microcontroller died: the record that its firmware keeps across a reset, in words.
//!
//! It comes two ways: the firmware's next start tells it as text, and a debug probe reads it out of a board that does not start again. Says
//! what happened, where and for whom; decides nothing.

use crate::symbols::Symbols;
use std::fmt::Write as _;

/// What a firmware says in its memory about its last fault and about the job that it is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// What happened; `None` while nothing has, and once the next start has told it.
    pub kind: Option<CrashKind>,
    /// Where.
    pub pc: u32,
    /// Where it would have gone back to.
    pub lr: u32,
    /// Program status.
    pub psr: u32,
    /// Stack pointer.
    pub sp: u32,
    /// Configurable fault status.
    pub cfsr: u32,
    /// Hard fault status.
    pub hfsr: u32,
    /// Address of a memory fault, where `cfsr` says that it holds one.
    pub mmfar: u32,
    /// Address of a bus fault, where `cfsr` says that it holds one.
    pub bfar: u32,
    /// Job that was running.
    pub job: Option<u32>,
    /// Step of it, in the firmware's words.
    pub step: &'static str,
}

/// What happened to a firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKind {
    /// A fault of the processor.
    Fault,
    /// The watchdog found the program stuck.
    Watchdog,
    /// A mistake that the firmware found itself.
    Panic,
}

/// Says that the words in memory are a record.
const MAGIC: u32 = 0xb0a2_c4a5;
const WORDS: usize = 13;
const NO_JOB: u32 = u32::MAX;
/// The steps of a job, by their numbers in the record.
const STEPS: [&str; 6] = ["idle", "loading", "listing operators", "checking", "running", "telling"];
const UNKNOWN_STEP: &str = "at an unknown step";

const MMARVALID: u32 = 1 << 7;
const BFARVALID: u32 = 1 << 15;
const VECTTBL: u32 = 1 << 1;
/// What ARMv7-M and ARMv8-M name the bits of CFSR, those that say most first.
const FAULTS: [(u32, &str); 18] = [
    (1 << 16, "undefined instruction"),
    (1 << 17, "invalid state of the processor"),
    (1 << 18, "invalid return from an exception"),
    (1 << 19, "coprocessor that is not there"),
    (1 << 20, "stack overflow"),
    (1 << 24, "unaligned access"),
    (1 << 25, "division by zero"),
    (1 << 8, "bus fault of an instruction"),
    (1 << 9, "bus fault of data"),
    (1 << 10, "bus fault of an earlier write"),
    (1 << 11, "bus fault while leaving an exception"),
    (1 << 12, "bus fault while entering an exception"),
    (1 << 13, "bus fault of the floating point unit"),
    (1 << 0, "memory fault of an instruction"),
    (1 << 1, "memory fault of data"),
    (1 << 3, "memory fault while leaving an exception"),
    (1 << 4, "memory fault while entering an exception"),
    (1 << 5, "memory fault of the floating point unit"),
];

impl Crash {
    /// The record as it lies in memory: thirteen words, little endian. `None` where no firmware of ours has written one.
    pub fn of_memory(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let words: [u32; WORDS] = std::array::from_fn(|i| words.get(i).map_or(0, |w| u32::from_le_bytes(*w)));
        let [magic, kind, pc, lr, psr, cfsr, hfsr, mmfar, bfar, sp, job, step, _starts] = words;
        if magic != MAGIC {
            return None;
        }
        let kind = match kind {
            0 => None,
            2 => Some(CrashKind::Watchdog),
            3 => Some(CrashKind::Panic),
            _ => Some(CrashKind::Fault),
        };
        let step = STEPS.get(step as usize).copied().unwrap_or(UNKNOWN_STEP);
        let job = (job != NO_JOB).then_some(job);
        Some(Self { kind, pc, lr, psr, sp, cfsr, hfsr, mmfar, bfar, job, step })
    }

    /// The record as a start of the firmware tells it. `None` where the text is none.
    pub fn of_text(text: &str) -> Option<Self> {
        let (what, registers) = text.split_once(": ")?;
        let mut words = registers.split_whitespace();
        let mut found = std::collections::BTreeMap::new();
        let mut addresses = Vec::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let value = u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()?;
            if name == "address" {
                addresses.push(value);
            } else {
                found.insert(name, value);
            }
        }
        let of = |name: &str| found.get(name).copied();
        let kind = match what {
            _ if what.starts_with("the watchdog") => CrashKind::Watchdog,
            _ if what.starts_with("panic") => CrashKind::Panic,
            _ => CrashKind::Fault,
        };
        let (job, step) = match what.rsplit_once(" in job ").and_then(|(_, job)| job.split_once(" while ")) {
            Some((job, step)) => (job.parse().ok(), STEPS.iter().find(|known| **known == step)),
            None => (None, None),
        };
        let cfsr = of("cfsr")?;
        let mut addresses = addresses.into_iter();
        let mmfar = if cfsr & MMARVALID != 0 { addresses.next()? } else { 0 };
        let bfar = if cfsr & BFARVALID != 0 { addresses.next()? } else { 0 };
        let (pc, lr, psr, sp, hfsr) = (of("pc")?, of("lr")?, of("psr")?, of("sp")?, of("hfsr")?);
        let step = step.copied().unwrap_or(UNKNOWN_STEP);
        Some(Self { kind: Some(kind), pc, lr, psr, sp, cfsr, hfsr, mmfar, bfar, job, step })
    }

    /// What happened, where, and for which job. Empty where nothing did.
    pub fn words(&self, symbols: &Symbols) -> String {
        let mut text = match self.kind {
            None => return String::new(),
            Some(CrashKind::Watchdog) => "the watchdog found the firmware stuck".to_owned(),
            Some(CrashKind::Panic) => "the firmware panicked".to_owned(),
            Some(CrashKind::Fault) => format!("the firmware crashed: {}", self.fault()),
        };
        let _ = write!(text, " at {}", symbols.place(self.pc));
        // Above this, it is no address but how an exception returns.
        if (1..0xf000_0000).contains(&self.lr) {
            let _ = write!(text, ", to return to {}", symbols.place(self.lr & !1));
        }
        if let Some(job) = self.job {
            let _ = write!(text, ", in job {job} while {}", self.step);
        }
        let _ = write!(text, " (cfsr {:#010x}, hfsr {:#010x}, psr {:#010x}, ", self.cfsr, self.hfsr, self.psr);
        let _ = write!(text, "sp {:#010x})", self.sp);
        text
    }

    /// The fault as the processor's registers have it.
    fn fault(&self) -> String {
        fault_words(self.cfsr, self.hfsr, self.mmfar, self.bfar)
    }
}

/// The fault status registers in words; an address that does not count is passed over.
pub(crate) fn fault_words(cfsr: u32, hfsr: u32, mmfar: u32, bfar: u32) -> String {
    let mut faults: Vec<String> = Vec::new();
    if hfsr & VECTTBL != 0 {
        faults.push("bus fault while the vector table was read".into());
    }
    for (bit, words) in FAULTS {
        let address = match bit {
            _ if cfsr & bit == 0 => continue,
            0x01..=0x3f if cfsr & MMARVALID != 0 => Some(mmfar),
            0x100..=0x2000 if cfsr & BFARVALID != 0 => Some(bfar),
            _ => None,
        };
        faults.push(address.map_or_else(|| words.to_owned(), |address| format!("{words} for address {address:#010x}")));
    }
    if faults.is_empty() { "hard fault".into() } else { faults.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "bus fault of data in job 9 while running: pc 0x00001234 lr 0x00000567 psr 0x61000000 sp 0x20000000 \
                        cfsr 0x00008200 hfsr 0x40000000 address 0xfffffff0";

    fn words_of(words: [u32; WORDS]) -> Vec<u8> {
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn a_record_from_memory_and_one_from_text_are_the_same() {
        let text = Crash::of_text(TEXT).unwrap();
        let memory = [MAGIC, 1, 0x1234, 0x567, 0x6100_0000, 0x8200, 0x4000_0000, 0, 0xffff_fff0, 0x2000_0000, 9, 4, 2];
        assert_eq!(Crash::of_memory(&words_of(memory)), Some(text));
        let expected = "the firmware crashed: bus fault of data for address 0xfffffff0 at 0x00001234, to return to 0x00000566, in job 9 \
                        while running (cfsr 0x00008200, hfsr 0x40000000, psr 0x61000000, sp 0x20000000)";
        assert_eq!(text.words(&Symbols::default()), expected);
    }

    #[test]
    fn a_watchdog_a_panic_and_a_board_that_is_at_work_are_told_apart() {
        let record = |kind, job, step| {
            let words = [MAGIC, kind, 2, 0xffff_fff9, 0, 0, 0, 0, 0, 0, job, step, 1];
            Crash::of_memory(&words_of(words)).unwrap()
        };
        let words = record(2, 3, 4).words(&Symbols::default());
        assert!(
            words.starts_with("the watchdog found the firmware stuck at 0x00000002, in job 3 while running"),
            "{words}"
        );
        let words = record(3, NO_JOB, 0).words(&Symbols::default());
        assert!(words.starts_with("the firmware panicked at 0x00000002 (cfsr"), "{words}");
        let working = record(0, 3, 1);
        assert_eq!((working.kind, working.job, working.step), (None, Some(3), "loading"));
        assert_eq!(working.words(&Symbols::default()), "");
        assert_eq!(record(0, 3, 77).step, UNKNOWN_STEP);
    }

    #[test]
    fn what_is_no_record_is_none() {
        assert_eq!(Crash::of_memory(&[0; 52]), None);
        assert_eq!(Crash::of_memory(b"\xa5"), None);
        for text in ["", "kernel panic", "fault: pc 12", "fault: pc 0x12", &TEXT[..TEXT.len() - 20]] {
            assert_eq!(Crash::of_text(text), None, "{text}");
        }
        let told = Crash::of_text(&TEXT.replace("bus fault of data in job 9 while running", "panic")).unwrap();
        assert_eq!((told.kind, told.job), (Some(CrashKind::Panic), None));
    }

    #[test]
    fn every_bit_that_is_set_is_told() {
        assert_eq!(fault_words(0, 1 << 30, 0, 0), "hard fault");
        assert_eq!(fault_words(0, 2, 0, 0), "bus fault while the vector table was read");
        let both = fault_words(1 << 25 | 1 << 1 | MMARVALID, 1 << 30, 0x10, 0);
        assert_eq!(both, "division by zero, memory fault of data for address 0x00000010");
        assert_eq!(fault_words(1 << 10, 1 << 30, 0, 7), "bus fault of an earlier write");
    }
}
