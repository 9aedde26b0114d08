//! Progress on stderr: one line per cell on a terminal, one line per finished cell elsewhere, nothing when asked to be quiet.

use boardproof_lab::events::{Event, Events};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Shows events as they happen.
pub struct Progress {
    live: bool,
    quiet: bool,
    start: Instant,
    /// Start of the current cell and of its current pass.
    cell_start: Instant,
    pass_start: Instant,
    cell: String,
    drawn: bool,
    last: Instant,
}

impl Progress {
    /// Live on a terminal; plain lines in a pipe or in CI.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self { live, quiet, start: now, cell_start: now, pass_start: now, cell: String::new(), drawn: false, last: now }
    }

    /// Leaves the terminal clean.
    pub fn finish(&mut self) {
        self.wipe();
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.drawn) {
            eprint!("\r\x1b[2K");
        }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        self.wipe();
        eprintln!("[{:>6.1}s] {text}", self.start.elapsed().as_secs_f64());
    }

    /// The line that changes. Drawn at most ten times a second.
    fn status(&mut self, text: &str, now: bool) {
        if !self.live || (!now && self.last.elapsed().as_millis() < 100) {
            return;
        }
        self.last = Instant::now();
        let text: String =
            format!("[{:>6.1}s] {} {text}", self.start.elapsed().as_secs_f64(), self.cell).chars().take(110).collect();
        eprint!("\r\x1b[2K{text}");
        let _ = std::io::stderr().flush();
        self.drawn = true;
    }
}

impl Events for Progress {
    fn hear(&mut self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            // A compiler says a line per crate: those pass by, what boardproof itself says stays.
            Event::Said(text) if is_compiler(&text) => {
                self.status(&text, false);
            }
            Event::Said(text) => self.line(&text),
            Event::CellStarted { cell, number, of } => {
                self.cell = format!("{number}/{of} {cell}");
                self.cell_start = Instant::now();
                self.status("preparing", true);
            }
            Event::Shipped { what, done, total } => {
                let text = format!("shipping {what} {} of {} kB", done / 1000, total / 1000);
                self.status(&text, done == total);
            }
            Event::PassStarted { pass } => {
                self.pass_start = Instant::now();
                let text = format!("{pass:?} pass").to_lowercase();
                self.status(&text, true);
            }
            Event::PassAdvanced { pass, done, total } => {
                let seconds = self.pass_start.elapsed().as_secs_f64();
                let rate = done as f64 / seconds.max(1e-9);
                let left = (total.saturating_sub(done)) as f64 / rate.max(1e-9);
                let text = format!("{pass:?} pass {done}/{total}, {rate:.0}/s, {left:.0} s left").to_lowercase();
                self.status(&text, done == total);
            }
            Event::CellEnded { cell: _, outcome } => {
                let text = format!("{} {outcome} in {:.1} s", self.cell, self.cell_start.elapsed().as_secs_f64());
                self.line(&text);
            }
        }
    }
}

fn is_compiler(text: &str) -> bool {
    ["Compiling ", "Fresh ", "Downloaded ", "Downloading ", "Finished ", "Blocking ", "Locking ", "Updating "]
        .iter()
        .any(|word| text.starts_with(word))
}
