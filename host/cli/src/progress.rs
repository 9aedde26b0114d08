//! Progress on stderr: one line per cell on a terminal, one line per finished cell elsewhere, nothing when asked to be quiet.

use boardproof_lab::events::{Event, Events};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows events as they happen.
pub struct Progress {
    live: bool,
    quiet: bool,
    start: Instant,
    /// Start of the current cell and of what it is doing now.
    cell_start: Instant,
    stage_start: Instant,
    /// Bytes that were there when an upload began to be shown.
    stage_from: u64,
    cell: String,
    /// What it is doing now: drawn again with a later time while nothing else is heard.
    stage: String,
    drawn: bool,
    last: Instant,
}

impl Progress {
    /// Live on a terminal; plain lines in a pipe or in CI.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none() && !dumb;
        let (cell, stage) = (String::new(), String::new());
        Self {
            live,
            quiet,
            start: now,
            cell_start: now,
            stage_start: now,
            stage_from: 0,
            cell,
            stage,
            drawn: false,
            last: now,
        }
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

    /// A line that stays, also for those who want to hear of errors only.
    pub fn warn(&mut self, text: &str) {
        self.line(text);
    }

    /// The line that changes. Drawn at most ten times a second.
    fn status(&mut self, stage: String, now: bool) {
        self.stage = stage;
        if !self.live || (!now && self.last.elapsed().as_millis() < 100) {
            return;
        }
        self.last = Instant::now();
        let width = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        let cell = (!self.cell.is_empty()).then(|| (self.cell.as_str(), self.cell_start.elapsed()));
        let text = status_line(self.start.elapsed(), cell, &self.stage, width);
        eprint!("\r\x1b[2K{text}");
        let _ = std::io::stderr().flush();
        self.drawn = true;
    }

    fn begin(&mut self, stage: String) {
        self.stage_start = Instant::now();
        self.status(stage, true);
    }
}

/// One line, never more: a line that wraps is not wiped.
fn status_line(run: Duration, cell: Option<(&str, Duration)>, stage: &str, width: usize) -> String {
    let mut text = format!("[{:>6.1}s] ", run.as_secs_f64());
    if let Some((cell, elapsed)) = cell {
        text += &format!("{cell} {:.0}s: ", elapsed.as_secs_f64());
    }
    text += stage;
    text.chars().take(width.saturating_sub(1)).collect()
}

/// Rate and time left, once there is a rate.
fn pace(done: u64, total: u64, unit: &str, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64();
    if done == 0 || !rate.is_finite() {
        return String::new();
    }
    let left = total.saturating_sub(done) as f64 / rate;
    format!(", {rate:.0}{unit}/s, {left:.0} s left")
}

impl Events for Progress {
    fn hear(&mut self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            // A compiler says a line per crate: those pass by, what boardproof itself says stays.
            Event::Said(text) if is_compiler(&text) => self.status(text, false),
            Event::Said(text) => self.line(&text),
            Event::CellStarted { cell, number, of } => {
                self.cell = format!("{number}/{of} {cell}");
                self.cell_start = Instant::now();
                self.begin("preparing".into());
            }
            Event::Shipped { what, done, total } => {
                // What an earlier upload has left there is not this one's pace: it starts with the first piece.
                let name = format!("shipping {what} ");
                if !self.stage.starts_with(&name) {
                    (self.stage_start, self.stage_from) = (Instant::now(), done);
                }
                let (fresh, wanted) = (done.saturating_sub(self.stage_from), total.saturating_sub(self.stage_from));
                let pace = pace(fresh / 1000, wanted / 1000, " kB", self.stage_start.elapsed());
                self.status(format!("{name}{} of {} kB{pace}", done / 1000, total / 1000), done == total);
            }
            Event::PassStarted { pass } => self.begin(format!("{pass:?} pass").to_lowercase()),
            Event::PassAdvanced { pass, done, total } => {
                let pace = pace(done, total, "", self.stage_start.elapsed());
                self.status(format!("{pass:?} pass {done}/{total}{pace}").to_lowercase(), done == total);
            }
            Event::Waited => self.status(self.stage.clone(), false),
            Event::CellEnded { cell: _, outcome } => {
                let text = format!("{} {outcome} in {:.1} s", self.cell, self.cell_start.elapsed().as_secs_f64());
                self.line(&text);
                self.cell.clear();
            }
        }
    }
}

fn is_compiler(text: &str) -> bool {
    ["Compiling ", "Fresh ", "Downloaded ", "Downloading ", "Finished ", "Blocking ", "Locking ", "Updating "]
        .iter()
        .any(|word| text.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_stage_times_rate_and_what_is_left_and_fits_the_terminal() {
        let (run, cell, stage) = (Duration::from_secs(62), Duration::from_secs(9), Duration::from_secs(4));
        let text = format!("accuracy pass 400/2000{}", pace(400, 2000, "", stage));
        assert_eq!(text, "accuracy pass 400/2000, 100/s, 16 s left");
        let line = status_line(run, Some(("3/5 m/v@u/e", cell)), &text, 120);
        assert_eq!(line, "[  62.0s] 3/5 m/v@u/e 9s: accuracy pass 400/2000, 100/s, 16 s left");
        assert_eq!(status_line(run, Some(("3/5 m/v@u/e", cell)), &text, 40).chars().count(), 39);
    }

    #[test]
    fn nothing_done_promises_nothing() {
        assert_eq!(pace(0, 10, "", Duration::from_secs(1)), "");
        assert_eq!(pace(5, 10, "", Duration::ZERO), "");
        assert_eq!(pace(10, 10, " kB", Duration::from_secs(2)), ", 5 kB/s, 0 s left");
    }
}
