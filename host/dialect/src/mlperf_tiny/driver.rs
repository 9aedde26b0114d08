//! The driver: commands, their answers, and the way back into step.

use super::fault::Fault;
use super::line::{Lines, NoLine, shown};
use super::reply::{self, Said};
use super::{BYTES_PER_COMMAND, BYTES_PER_COMMAND_MAX, COMMAND_MAX};
use crate::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What an interface board wants in front of a command for the device.
const RELAY: &str = "dut ";
/// Most lines of one answer; the longest that is asked for, `db print` of the largest sample, has 3456.
const LINES_MAX: usize = 16 * 1024;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to `name` while the device may still be booting, per attempt.
    pub scan: Duration,
    /// For the answer to any command but `infer`.
    pub command: Duration,
    /// For the answer to `infer`, warm-up included: depends on model, board and counts.
    pub infer: Duration,
}

impl Default for Patience {
    /// What the public runners wait.
    fn default() -> Self {
        Self { scan: Duration::from_secs(2), command: Duration::from_secs(5), infer: Duration::from_secs(30) }
    }
}

/// How to speak to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Deadlines.
    pub patience: Patience,
    /// How often `name` is tried, and how often the way back into step. With the default patience three cover a boot of 5 s.
    pub attempts: u32,
    /// Bytes per `db`, 1 to 38.
    pub bytes_per_command: usize,
    /// The device hangs behind an interface board: commands go out as `dut <command>` and only lines marked `[dut]: ` are the device's.
    pub relay: bool,
    /// Read results a second time with `results` and refuse them if they differ: the protocol has no checksum.
    pub confirm_results: bool,
    /// Read a sample back with `db print` and refuse it if it differs. Takes about as long as sending it.
    pub confirm_sample: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            attempts: 3,
            bytes_per_command: BYTES_PER_COMMAND,
            relay: false,
            confirm_results: true,
            confirm_sample: false,
        }
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `dut` in every known firmware.
    pub device: String,
    /// Who made it.
    pub vendor: String,
    /// Firmware and its version.
    pub firmware: String,
    /// The benchmark's name of the model.
    pub model: String,
}

/// How long one *window* took: `inferences` of them in a row, and what the firmware does before the first and after the last. The device
/// times windows, not inferences: a mean is all that can be had, and percentiles are those of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// By the device's clock, whose resolution is unknown: 1 ms at worst.
    pub elapsed_us: u64,
    /// The device's clock at the end of the window.
    pub end_us: u64,
    /// Inferences in the window.
    pub inferences: u32,
    /// By the host's clock, from before the command to its `m-ready`, warm-up and text included: the window cannot be longer.
    pub bracket: Duration,
}

impl Latency {
    /// Nanoseconds per inference, the mean of the window.
    pub fn mean_ns(&self) -> u64 {
        let window = u128::from(self.elapsed_us) * 1000;
        u64::try_from(window / u128::from(self.inferences.max(1))).unwrap_or(u64::MAX)
    }
}

/// A reading of the device's clock, and the host's clock around it: the reading was taken in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// By the device's clock.
    pub us: u64,
    /// By the host's, before it was asked for.
    pub asked: Instant,
    /// By the host's, when it was here.
    pub told: Instant,
}

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// How long it took.
    pub latency: Latency,
    /// Outputs of its last inference, as printed.
    pub outputs: Vec<f32>,
}

/// A device that speaks MLPerf Tiny.
pub struct MlperfTiny<B> {
    lines: Lines<B>,
    options: Options,
    /// A sample was loaded whole and the device has not restarted since, as far as it told.
    loaded: bool,
    /// The last answer broke off: what comes next may belong to it.
    out_of_step: bool,
    marks: u32,
    noise: usize,
}

impl<B: Bytes> MlperfTiny<B> {
    /// Waits for a device: sends `name` until it is answered, which also waits for the end of its boot. What comes before is ignored.
    pub fn connect(line: B, options: Options) -> Result<Self, Fault> {
        let largest = (COMMAND_MAX - "db ".len() - if options.relay { RELAY.len() } else { 0 }) / 2;
        if !(1..=largest.min(BYTES_PER_COMMAND_MAX)).contains(&options.bytes_per_command) {
            let found = format!("{} bytes per command", options.bytes_per_command);
            return Err(Fault::Impossible { command: "db".to_owned(), expected: format!("1 to {largest}"), found });
        }
        let mut device =
            Self { lines: Lines::new(line), options, loaded: false, out_of_step: false, marks: 0, noise: 0 };
        device.attempt(|device, last| {
            device.skim("name", options.patience.scan, |said, _| matches!(said, Said::Name { .. }))?;
            // Answers to earlier attempts may be on their way.
            if last > 0 { device.mark() } else { Ok(()) }
        })?;
        Ok(device)
    }

    /// Asks for everything that a device says of itself, and whether it tells the time: in energy mode it does not.
    pub fn identify(&mut self) -> Result<Identity, Fault> {
        let outcome = self.ask_identity();
        self.heed(outcome)
    }

    fn ask_identity(&mut self) -> Result<Identity, Fault> {
        let mut name = self.ask("name", self.options.patience.command)?;
        let (device, vendor) = name.expect("`m-name-<device>-[<vendor>]`", |said| match said {
            Said::Name { device, vendor } => Some((device.clone(), vendor.clone())),
            _ => None,
        })?;
        name.end()?;
        let mut profile = self.ask("profile", self.options.patience.command)?;
        let firmware = profile.expect("`m-profile-[<firmware>]`", |said| match said {
            Said::Profile(firmware) => Some(firmware.clone()),
            _ => None,
        })?;
        let model = profile.expect("`m-model-[<model>]`", |said| match said {
            Said::Model(model) => Some(model.clone()),
            _ => None,
        })?;
        profile.end()?;
        self.read_clock()?;
        Ok(Identity { device, vendor, firmware, model })
    }

    /// Reads the device's clock.
    pub fn timestamp(&mut self) -> Result<Stamp, Fault> {
        let outcome = self.read_clock();
        self.heed(outcome)
    }

    fn read_clock(&mut self) -> Result<Stamp, Fault> {
        if self.out_of_step {
            self.resync()?;
        }
        let asked = Instant::now();
        let mut answer = self.ask("timestamp", self.options.patience.command)?;
        let told = Instant::now();
        let us = answer.expect("`m-lap-us-<n>`; a device in energy mode has none", lap)?;
        answer.end()?;
        Ok(Stamp { us, asked, told })
    }

    /// Sends a sample. The bytes are what the benchmark says for its model; a wrong count is for the device to notice.
    pub fn load(&mut self, sample: &[u8]) -> Result<(), Fault> {
        self.loaded = false;
        let outcome = self.send_sample(sample);
        self.loaded = outcome.is_ok();
        self.heed(outcome)
    }

    fn send_sample(&mut self, sample: &[u8]) -> Result<(), Fault> {
        let mut answer = self.ask(&format!("db load {}", sample.len()), self.options.patience.command)?;
        answer.expect(&format!("`m-[Expecting {} bytes]`", sample.len()), |said| {
            (*said == Said::Expecting(sample.len())).then_some(())
        })?;
        answer.end()?;
        let mut left = sample.len();
        for piece in sample.chunks(self.options.bytes_per_command) {
            let digits: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut answer = self.ask(&format!("db {digits}"), self.options.patience.command)?;
            left -= piece.len();
            if left == 0 {
                answer.expect("`m-load-done`", |said| (*said == Said::LoadDone).then_some(()))?;
            }
            answer.end()?;
        }
        if self.options.confirm_sample { self.confirm_sample(sample) } else { Ok(()) }
    }

    /// Runs `warmup` inferences, then a window of `inferences`. Needs a [`MlperfTiny::load`] that succeeded.
    pub fn infer(&mut self, inferences: u32, warmup: u32) -> Result<Inference, Fault> {
        if !self.loaded {
            return Err(Fault::NotLoaded);
        }
        let outcome = self.run_window(inferences, warmup);
        self.heed(outcome)
    }

    fn run_window(&mut self, inferences: u32, warmup: u32) -> Result<Inference, Fault> {
        // Without the second number the reference warms up ten times, whatever its help text says.
        let command = format!("infer {inferences} {warmup}");
        if inferences == 0 || i32::try_from(inferences.max(warmup)).is_err() {
            let found = format!("{inferences} and {warmup}");
            return Err(Fault::Impossible { command, expected: "1 to 2147483647, 0 to 2147483647".to_owned(), found });
        }
        let begun = Instant::now();
        let mut answer = self.ask(&command, self.options.patience.infer)?;
        let bracket = begun.elapsed();
        answer
            .expect(&format!("`m-warmup-start-{warmup}`"), |said| (*said == Said::WarmupStart(warmup)).then_some(()))?;
        answer.expect("`m-warmup-done`", |said| (*said == Said::WarmupDone).then_some(()))?;
        answer.expect(&format!("`m-infer-start-{inferences}`"), |said| {
            (*said == Said::InferStart(inferences)).then_some(())
        })?;
        let begin = answer.expect("`m-lap-us-<n>`", lap)?;
        let end = answer.expect("a second `m-lap-us-<n>`", lap)?;
        answer.expect("`m-infer-done`", |said| (*said == Said::InferDone).then_some(()))?;
        let (outputs, printed) = results(&mut answer)?;
        answer.end()?;
        if self.options.confirm_results {
            self.confirm_results(printed)?;
        }
        let latency = Latency { elapsed_us: elapsed_us(begin, end)?, end_us: end, inferences, bracket };
        Ok(Inference { latency, outputs })
    }

    /// Gets back into step after an answer broke off: asks for a word that no device knows until it says that it does not know that word.
    /// Done before the next command when it is needed; the sample counts as lost if a banner comes meanwhile.
    pub fn resync(&mut self) -> Result<(), Fault> {
        self.attempt(|device, _| device.mark())
    }

    /// Lines so far that were no part of any answer.
    pub fn noise_lines(&self) -> usize {
        self.noise
    }

    /// Gives the line back.
    pub fn into_line(self) -> B {
        self.lines.line
    }

    fn confirm_sample(&mut self, sample: &[u8]) -> Result<(), Fault> {
        let mut answer = self.ask("db print", self.options.patience.command)?;
        let mut printed = Vec::new();
        while printed.len() < sample.len() {
            printed.extend(answer.expect("`m-buffer-xx-...`", |said| match said {
                Said::Buffer(bytes) => Some(bytes.clone()),
                _ => None,
            })?);
        }
        answer.end()?;
        match printed.iter().zip(sample).position(|(printed, sent)| printed != sent) {
            None if printed.len() == sample.len() => Ok(()),
            at => {
                let around = at.unwrap_or(sample.len()) / 8 * 8;
                let part = |bytes: &[u8]| {
                    format!("{:02x?} from byte {around} on", bytes.iter().skip(around).take(8).collect::<Vec<_>>())
                };
                Err(Fault::NotConfirmed { what: "the sample", first: part(sample), second: part(&printed) })
            }
        }
    }

    fn confirm_results(&mut self, first: String) -> Result<(), Fault> {
        let mut answer = self.ask("results", self.options.patience.command)?;
        let (_, second) = results(&mut answer)?;
        answer.end()?;
        match first == second {
            true => Ok(()),
            false => Err(Fault::NotConfirmed { what: "the result", first: shown(&first), second: shown(&second) }),
        }
    }

    /// Sends a command and reads its whole answer, in step.
    fn ask(&mut self, command: &str, patience: Duration) -> Result<Answer, Fault> {
        if self.out_of_step {
            self.resync()?;
        }
        self.converse(command, patience)
    }

    /// Remembers what a fault means for the next command: who restarted has no sample, and after an answer that broke off or does not
    /// fit, what comes next may belong to something else.
    fn heed<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &outcome {
            self.out_of_step |= !fault.in_step();
            self.loaded &= fault.in_step();
        }
        outcome
    }

    fn converse(&mut self, command: &str, patience: Duration) -> Result<Answer, Fault> {
        let deadline = self.send(command, patience, true)?;
        let mut answer = Answer { command: command.to_owned(), said: VecDeque::new(), remarks: Vec::new() };
        let mut refusal = None;
        for _ in 0..LINES_MAX {
            let Some(line) = self.hear(command, patience, deadline, answer.last())? else { continue };
            match reply::read(&line) {
                Said::Ready => {
                    return match refusal {
                        Some(line) => Err(Fault::Refused { command: command.to_owned(), line }),
                        None => Ok(answer),
                    };
                }
                Said::Banner => return Err(Fault::Restarted { command: command.to_owned(), line }),
                Said::Error => refusal = refusal.or(Some(shown(&line))),
                Said::Remark => {
                    self.noise += usize::from(!line.is_empty());
                    answer.remarks.extend((!line.is_empty()).then(|| shown(&line)));
                }
                said => answer.said.push_back((said, line)),
            }
        }
        let expected = format!("`m-ready` within {LINES_MAX} lines");
        Err(Fault::Unexpected { command: command.to_owned(), expected, line: answer.last().to_owned() })
    }

    /// Sends a command and ignores whatever comes until `wanted` and then `m-ready`.
    fn skim(&mut self, command: &str, patience: Duration, wanted: impl Fn(&Said, &str) -> bool) -> Result<(), Fault> {
        let deadline = self.send(command, patience, false)?;
        let mut found = false;
        let mut last = String::new();
        for _ in 0..LINES_MAX {
            let Some(line) = self.hear(command, patience, deadline, &last)? else { continue };
            let said = reply::read(&line);
            self.loaded &= said != Said::Banner;
            if found && said == Said::Ready {
                return Ok(());
            }
            found |= wanted(&said, &line);
            last = line;
        }
        Err(Fault::Unexpected { command: command.to_owned(), expected: "an answer".to_owned(), line: shown(&last) })
    }

    fn mark(&mut self) -> Result<(), Fault> {
        self.marks = self.marks.wrapping_add(1);
        let mark = format!("bp{}", self.marks);
        let unknown = format!("e-[Unknown command: {mark}]");
        self.skim(&mark, self.options.patience.command, |_, line| line == unknown)?;
        self.out_of_step = false;
        Ok(())
    }

    /// Tries until it works or the attempts are spent; the last fault counts.
    fn attempt(&mut self, mut action: impl FnMut(&mut Self, u32) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut tried = 0;
        loop {
            match action(self, tried) {
                Err(Fault::Silent { .. } | Fault::Unexpected { .. }) if tried + 1 < self.options.attempts => tried += 1,
                outcome => return outcome,
            }
        }
    }

    /// Takes away what came unasked, then sends.
    fn send(&mut self, command: &str, patience: Duration, in_step: bool) -> Result<Instant, Fault> {
        let failed = |source| Fault::Line { command: command.to_owned(), source };
        for line in self.lines.stale().map_err(failed)? {
            self.noise += 1;
            let said = reply::read(reply::relayed(&line).0);
            // Noise says nothing of the sample; a message that nobody asked for may be the rest of a banner.
            self.loaded &= said == Said::Remark;
            match said {
                Said::Banner if in_step => return Err(Fault::Restarted { command: command.to_owned(), line }),
                Said::Remark => {}
                _ if in_step => {
                    let expected = "silence before it".to_owned();
                    return Err(Fault::Unexpected { command: command.to_owned(), expected, line: shown(&line) });
                }
                _ => {}
            }
        }
        let relay = if self.options.relay { RELAY } else { "" };
        let deadline = Instant::now() + patience;
        self.lines.line.write(format!("{relay}{command}%").as_bytes(), deadline).map_err(failed)?;
        Ok(deadline)
    }

    /// The device's next line; `None` for a line of the interface board.
    fn hear(
        &mut self,
        command: &str,
        waited: Duration,
        deadline: Instant,
        last: &str,
    ) -> Result<Option<String>, Fault> {
        let command = command.to_owned();
        // What came in time may be read late; who goes on after twice the time never stops.
        if Instant::now() > deadline + waited {
            return Err(Fault::Silent { command, waited, heard: shown(last) });
        }
        match self.lines.next(deadline) {
            Ok(line) => match reply::relayed(&line) {
                (_, false) if self.options.relay => Ok(None),
                (own, _) => Ok(Some(own.to_owned())),
            },
            Err(NoLine::Late(begin)) => {
                let heard = if begin.is_empty() { shown(last) } else { begin };
                Err(Fault::Silent { command, waited, heard })
            }
            Err(NoLine::Long(line)) => {
                Err(Fault::Unexpected { command, expected: "a line that ends".to_owned(), line })
            }
            Err(NoLine::Line(source)) => Err(Fault::Line { command, source }),
        }
    }
}

/// What came between a command and its `m-ready`, in order.
struct Answer {
    command: String,
    said: VecDeque<(Said, String)>,
    remarks: Vec<String>,
}

impl Answer {
    /// Takes the next message, which must be what `wanted` makes something of.
    fn expect<T>(&mut self, expected: &str, wanted: impl Fn(&Said) -> Option<T>) -> Result<T, Fault> {
        let (command, expected) = (self.command.clone(), expected.to_owned());
        match self.said.pop_front() {
            Some((said, line)) => {
                wanted(&said).ok_or_else(|| Fault::Unexpected { command, expected, line: shown(&line) })
            }
            // The one refusal that is no error: a sample larger than the device's buffer.
            None => Err(match self.remarks.iter().find(|line| line.starts_with("Supplied buffer size")) {
                Some(line) => Fault::Refused { command, line: line.clone() },
                None => Fault::Missing { command, expected, remarks: self.remarks.clone() },
            }),
        }
    }

    /// Nothing may be left.
    fn end(mut self) -> Result<(), Fault> {
        match self.said.pop_front() {
            None => Ok(()),
            Some((_, line)) => {
                Err(Fault::Unexpected { command: self.command, expected: "`m-ready`".to_owned(), line: shown(&line) })
            }
        }
    }

    fn last(&self) -> &str {
        self.said.back().map_or("", |(_, line)| line)
    }
}

fn lap(said: &Said) -> Option<u64> {
    match said {
        Said::Lap(us) => Some(*us),
        _ => None,
    }
}

/// The values and the line that they stand in.
fn results(answer: &mut Answer) -> Result<(Vec<f32>, String), Fault> {
    let printed = answer.said.front().map(|(_, line)| line.clone()).unwrap_or_default();
    let outputs = answer.expect("`m-results-[f,f,...]`", |said| match said {
        Said::Results(outputs) => Some(outputs.clone()),
        _ => None,
    })?;
    Ok((outputs, printed))
}

/// Microseconds from one timestamp to a later one. The counter has 32 bits in the reference and wraps every 71.6 minutes, far beyond any patience;
/// a firmware that prints more has a wider one, which must not run backwards.
pub fn elapsed_us(begin: u64, end: u64) -> Result<u64, Fault> {
    match (u32::try_from(begin), u32::try_from(end)) {
        (Ok(begin), Ok(end)) => Ok(u64::from(end.wrapping_sub(begin))),
        _ => end.checked_sub(begin).ok_or(Fault::Clock { begin, end }),
    }
}
