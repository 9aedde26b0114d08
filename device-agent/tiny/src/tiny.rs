//! The parser of commands and the replies.

use crate::number::{signed, thousandths, unsigned};

/// Characters of a command that are kept; what comes after is lost without a word.
pub const COMMAND_MAX: usize = 80;
/// Bytes of the largest sample that the reference firmware takes: 96 * 96 * 3.
pub const BUFFER_MAX: usize = 27_648;
/// What `profile` names as firmware. Runners know this text.
pub const FIRMWARE: &str = "ULPMark for tinyML Firmware V0.0.1";

const TERMINATOR: u8 = b'%';
/// `infer` without numbers. The help text of the reference promises no warm-up, its code makes ten: the code counts.
const INFERENCES_UNTOLD: u32 = 1;
const WARMUP_UNTOLD: u32 = 10;
const LAP: &[u8] = b"m-lap-us-";
const PRINTED_PER_LINE: usize = 8;

/// The device under test: model, memory and clock.
///
/// The functions that return an error answer as `e-[<text>]` followed by `m-ready`, and the rest of `infer` is left out: the reference has
/// no way to say that an inference failed, and results of an earlier one must not pass for those of this one.
pub trait Dut {
    /// Who made this, shown in `m-name-dut-[...]`. Without `]`.
    fn vendor(&self) -> &str;
    /// The benchmark's name of the model: `kws01`, `vww01`, `ad01`, `ic01`, `strww01`, or any other word. Without `]`.
    fn model(&self) -> &str;
    /// Where `db` puts the bytes of a sample. As long as the largest sample; the reference has [`BUFFER_MAX`] bytes.
    fn buffer(&mut self) -> &mut [u8];
    /// Turns the first `bytes` bytes of the buffer into the input tensor. Called once per `infer`, before the warm-up, outside of the
    /// window. `bytes` is what arrived, which may be less than was announced, or nothing: then this must fail.
    fn load(&mut self, bytes: usize) -> Result<(), &'static str>;
    /// One inference.
    fn infer(&mut self) -> Result<(), &'static str>;
    /// Values of the last inference's output.
    fn outputs(&self) -> usize;
    /// Value `index` of the last inference's output, dequantized.
    fn output(&self, index: usize) -> f32;
    /// Microseconds since boot, wrapping. At least 1 kHz.
    fn now_us(&mut self) -> u32;
    /// Called inside the window, before the first inference.
    fn before(&mut self) {}
    /// Called inside the window, after the last inference.
    fn after(&mut self) {}
}

/// The state of one text line: a command that is being received and how much of a sample is here.
#[derive(Debug, Clone)]
pub struct Tiny {
    command: [u8; COMMAND_MAX],
    length: usize,
    /// Bytes of the sample announced by `db load`; 0 before it.
    announced: usize,
    /// Bytes of it that arrived.
    arrived: usize,
}

impl Default for Tiny {
    fn default() -> Self {
        Self::new()
    }
}

impl Tiny {
    /// Nothing received yet.
    pub const fn new() -> Self {
        Self { command: [0; COMMAND_MAX], length: 0, announced: 0, arrived: 0 }
    }

    /// What the reference prints after a reset: mode, one timestamp, `m-init-done`, `m-ready`. A firmware that shares the line with
    /// another protocol leaves it out.
    pub fn banner(&self, dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
        out(b"m-timestamp-mode-performance\r\n");
        timestamp(dut, out);
        out(b"m-init-done\r\nm-ready\r\n");
    }

    /// Takes one received byte; at the end of a command does what it says and writes the reply. `infer` returns when it is done.
    pub fn push(&mut self, byte: u8, dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
        if self.take(byte) {
            self.answer(dut, out);
        }
    }

    /// Takes one received byte; true when a command is whole and wants [`Tiny::answer`].
    pub fn take(&mut self, byte: u8) -> bool {
        if byte == TERMINATOR {
            return true;
        }
        if let Some(place) = self.command.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        false
    }

    /// The characters of the command that is being received.
    pub fn command(&self) -> &[u8] {
        &self.command[..self.length]
    }

    /// Forgets the command that is being received, not the sample.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Does what the command says and writes the reply, `m-ready` last.
    pub fn answer(&mut self, dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
        let command = self.command;
        let length = core::mem::take(&mut self.length);
        // The reference takes the command for a C string.
        let text = command[..length].split(|byte| *byte == 0).next().unwrap_or_default();
        let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        match words.next().unwrap_or_default() {
            b"name" => say(out, &[b"m-name-dut-[", dut.vendor().as_bytes(), b"]\r\n"]),
            b"timestamp" => timestamp(dut, out),
            b"profile" => profile(dut, out),
            b"help" => help(out),
            b"db" => self.buffer(words, dut, out),
            b"infer" => self.infer(words, dut, out),
            b"results" => results(dut, out),
            unknown => say(out, &[b"e-[Unknown command: ", unknown, b"]\r\n"]),
        }
        out(b"m-ready\r\n");
    }

    fn buffer<'w>(
        &mut self,
        mut words: impl Iterator<Item = &'w [u8]>,
        dut: &mut impl Dut,
        out: &mut impl FnMut(&[u8]),
    ) {
        match words.next() {
            None => out(b"e-[Command 'db' requires a subcommand]\r\n"),
            Some(b"load") => self.announce(words.next(), dut, out),
            Some(b"print") => print(&dut.buffer()[..self.announced], out),
            Some(digits) => self.receive(digits, dut, out),
        }
    }

    fn announce(&mut self, bytes: Option<&[u8]>, dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
        let Some(bytes) = bytes else { return out(b"e-[Command 'db load' requires the # of bytes]\r\n") };
        let bytes = leading_integer(bytes);
        // Whatever comes next is no part of the sample before.
        (self.announced, self.arrived) = (0, 0);
        let largest = dut.buffer().len();
        match usize::try_from(bytes) {
            Ok(0) => out(b"e-[Command 'db load' must be >0 bytes]\r\n"),
            Ok(announced) if announced <= largest => {
                self.announced = announced;
                out(b"m-[Expecting ");
                signed(bytes, out);
                out(b" bytes]\r\n");
            }
            // The one message without `e-` and without a carriage return.
            _ => {
                out(b"Supplied buffer size ");
                signed(bytes, out);
                out(b" exceeds maximum of ");
                unsigned(largest as u32, out);
                out(b"\n");
            }
        }
    }

    fn receive(&mut self, digits: &[u8], dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
        let (pairs, odd) = digits.as_chunks::<2>();
        if !odd.is_empty() {
            return out(b"e-[Insufficent number of hex digits]\r\n");
        }
        for pair in pairs {
            let (Some(high), Some(low)) = (hex(pair[0]), hex(pair[1])) else {
                return say(out, &[b"e-[Invalid hex digit '", pair, b"']\r\n"]);
            };
            // Without `db load`, or after its last byte, the reference goes on writing; here the byte is left out, with the same reply.
            if self.arrived >= self.announced {
                continue;
            }
            if let Some(place) = dut.buffer().get_mut(self.arrived) {
                *place = high << 4 | low;
            }
            self.arrived += 1;
            if self.arrived == self.announced {
                return out(b"m-load-done\r\n");
            }
        }
    }

    fn infer<'w>(
        &mut self,
        mut words: impl Iterator<Item = &'w [u8]>,
        dut: &mut impl Dut,
        out: &mut impl FnMut(&[u8]),
    ) {
        let (mut inferences, mut warmup) = (INFERENCES_UNTOLD, WARMUP_UNTOLD);
        if let Some(word) = words.next() {
            match u32::try_from(leading_integer(word)) {
                Ok(number @ 1..) => inferences = number,
                _ => return out(b"e-[Inference iterations must be >0]\r\n"),
            }
        }
        if let Some(word) = words.next() {
            match u32::try_from(leading_integer(word)) {
                Ok(number) => warmup = number,
                Err(_) => return out(b"e-[Inference warmup must be >=0]\r\n"),
            }
        }
        if let Err(reason) = self.measure(inferences, warmup, dut, out) {
            say(out, &[b"e-[", reason.as_bytes(), b"]\r\n"]);
        }
    }

    /// The order is the benchmark's; the window holds `before`, the inferences and `after`. The first timestamp is read where it belongs and
    /// written after the second: its 20 characters take 1.7 ms at 115200 baud and are no part of an inference.
    fn measure(
        &self,
        inferences: u32,
        warmup: u32,
        dut: &mut impl Dut,
        out: &mut impl FnMut(&[u8]),
    ) -> Result<(), &'static str> {
        dut.load(self.arrived)?;
        numbered(b"m-warmup-start-", warmup, out);
        for _ in 0..warmup {
            dut.infer()?;
        }
        out(b"m-warmup-done\r\n");
        numbered(b"m-infer-start-", inferences, out);
        let begin = dut.now_us();
        dut.before();
        for _ in 0..inferences {
            dut.infer()?;
        }
        dut.after();
        let end = dut.now_us();
        numbered(LAP, begin, out);
        numbered(LAP, end, out);
        out(b"m-infer-done\r\n");
        results(dut, out);
        Ok(())
    }
}

fn say(out: &mut impl FnMut(&[u8]), parts: &[&[u8]]) {
    for part in parts {
        out(part);
    }
}

fn numbered(text: &[u8], number: u32, out: &mut impl FnMut(&[u8])) {
    out(text);
    unsigned(number, out);
    out(b"\r\n");
}

fn timestamp(dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
    numbered(LAP, dut.now_us(), out);
}

fn profile(dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
    say(out, &[b"m-profile-[", FIRMWARE.as_bytes(), b"]\r\nm-model-[", dut.model().as_bytes(), b"]\r\n"]);
}

fn results(dut: &mut impl Dut, out: &mut impl FnMut(&[u8])) {
    out(b"m-results-[");
    for index in 0..dut.outputs() {
        if index > 0 {
            out(b",");
        }
        thousandths(dut.output(index), out);
    }
    out(b"]\r\n");
}

fn print(bytes: &[u8], out: &mut impl FnMut(&[u8])) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for line in bytes.chunks(PRINTED_PER_LINE) {
        out(b"m-buffer");
        for byte in line {
            out(&[b'-', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        out(b"\r\n");
    }
    // The reference ends a short last line twice.
    if !bytes.len().is_multiple_of(PRINTED_PER_LINE) {
        out(b"\r\n");
    }
}

fn help(out: &mut impl FnMut(&[u8])) {
    say(out, &[FIRMWARE.as_bytes(), b"\r\n\r\n"]);
    out(b"name                  who this is\r\n");
    out(b"timestsamp            microseconds since boot (send: timestamp)\r\n");
    out(b"profile               firmware and model\r\n");
    out(b"db load N             a sample of N bytes follows\r\n");
    out(b"db HH[HH]*            bytes of the sample\r\n");
    out(b"db print              the sample\r\n");
    out(b"infer [N=1] [W=10]    W inferences to warm up, N in the window\r\n");
    out(b"results               outputs of the last inference\r\n");
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// What C's `atoi` makes of a word: leading blanks, a sign, digits up to the first other character, 0 without any. Too large stays largest.
fn leading_integer(word: &[u8]) -> i32 {
    let word = word.trim_ascii_start();
    let (negative, digits) = match word.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, word),
    };
    let size = digits.iter().map_while(|digit| char::from(*digit).to_digit(10));
    let size = size.fold(0i32, |size, digit| size.saturating_mul(10).saturating_add(digit as i32));
    if negative { -size } else { size }
}
