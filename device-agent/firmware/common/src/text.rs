//! Words of a length that is known only at run time, without allocation.

use core::fmt;

/// At most `N` bytes of text. What has no room is cut off, at a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Text<N> {
    /// No words.
    pub const fn new() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }

    /// What `format_args!` makes.
    pub fn of(words: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        let _ = fmt::write(&mut text, words);
        text
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.filled]).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        let mut length = words.len().min(N - self.filled);
        while !words.is_char_boundary(length) {
            length -= 1;
        }
        self.bytes[self.filled..self.filled + length].copy_from_slice(&words.as_bytes()[..length]);
        self.filled += length;
        if length == words.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_cut_at_a_character() {
        assert_eq!(Text::<8>::of(format_args!("{}-{}", 12, "ab")).as_str(), "12-ab");
        assert_eq!(Text::<4>::of(format_args!("abcä")).as_str(), "abc");
        assert_eq!(Text::<5>::of(format_args!("abcäd")).as_str(), "abcä");
    }
}
