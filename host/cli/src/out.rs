//! Standard output. A reader that has had enough (`boardproof gate R | head`) is no error, and the exit code is still the verdict's.

use std::fmt::Display;
use std::io::Write;

/// Writes text to standard output as it is.
pub fn put(text: impl Display) {
    // There is nobody left to tell when this fails.
    let _ = write!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard output.
pub fn put_line(text: impl Display) {
    put(format_args!("{text}\n"));
}
