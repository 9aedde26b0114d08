//! Which of two dialects is spoken on a line.

use crate::tiny::Tiny;

/// First words of the text protocol.
const WORDS: [&[u8]; 7] = [b"name", b"timestamp", b"profile", b"help", b"db", b"infer", b"results"];

/// What a byte completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// `0x00`: what the frame decoder has collected ends here.
    Delimiter,
    /// A command of the text protocol is whole in the [`Tiny`] and wants [`Tiny::answer`].
    Command,
}

/// Tells text commands from frames, byte by byte.
///
/// Frames need no proof here: they carry a CRC, so taking noise or text for frames costs nothing. Text has no check at all, and so
/// has to prove itself: a command is believed when everything since the last `0x00`, the last pause or power-on is printable ASCII and
/// its first word is one of the protocol's. A frame does not look like that: each begins, after its `0x00`, with the distance to its first
/// zero byte, and with a sequence number below 2^24 that distance is below 0x20 and not printable. After the first believed command the
/// line speaks text, and every `%` is a command, so that errors are answered like the reference does, until a `0x00` comes.
#[derive(Debug, Clone)]
pub struct Detector {
    /// A command was believed and no `0x00` came since.
    text: bool,
    /// Everything since the last `0x00` or pause is printable.
    clean: bool,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// Nothing heard yet.
    pub const fn new() -> Self {
        Self { text: false, clean: true }
    }

    /// The line speaks text.
    pub fn speaks_text(&self) -> bool {
        self.text
    }

    /// Hears that nothing came for a while; 20 ms is longer than any pause within a frame. Without it, noise before the first command
    /// of a text runner keeps the line to frames until a `0x00` comes, which such a runner never sends.
    pub fn pause(&mut self, tiny: &mut Tiny) {
        if !self.text {
            self.clean = true;
            tiny.clear();
        }
    }

    /// Hears one byte and keeps the command in `tiny`.
    pub fn push(&mut self, byte: u8, tiny: &mut Tiny) -> Heard {
        if byte == 0 {
            *self = Self::new();
            tiny.clear();
            return Heard::Delimiter;
        }
        if !tiny.take(byte) {
            self.clean &= matches!(byte, b' '..=b'~');
            return Heard::Nothing;
        }
        self.text |= self.clean && starts_with_a_word(tiny.command());
        if self.text {
            return Heard::Command;
        }
        tiny.clear();
        Heard::Nothing
    }
}

fn starts_with_a_word(command: &[u8]) -> bool {
    let word = command.split(|byte| *byte == b' ').find(|word| !word.is_empty()).unwrap_or_default();
    WORDS.contains(&word)
}
