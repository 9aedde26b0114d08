//! The command line. Parsing only: nothing here touches a file.

use crate::store::Wish;
use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: boardproof-agent serve [--store DIR] [--store-limit-bytes N] [--log]
       boardproof-agent clean [--store DIR]
       boardproof-agent --version | --help

serve speaks the boardproof protocol on standard input and output until its input ends.
The store is DIR, else $BOARDPROOF_CACHE, else $XDG_CACHE_HOME/boardproof, else ~/.cache/boardproof, else /tmp/boardproof-UID.";

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Print the usage.
    Help,
    /// Print version and digest.
    Version,
    /// Speak the protocol.
    Serve(Serve),
    /// Remove the store.
    Clean(Wish),
    /// Become another program; the agent starts runners through this.
    Launch(Launch),
}

/// Options of `serve`.
#[derive(Debug)]
pub struct Serve {
    /// Where the store may be.
    pub store: Wish,
    /// Write what happens to standard error.
    pub log: bool,
}

/// How a runner is to be started.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Process that must still be the parent.
    pub parent: u32,
    /// Limit on private writable memory, in bytes.
    pub data_limit_bytes: Option<u64>,
    /// Limit on the address space, in bytes.
    pub space_limit_bytes: Option<u64>,
    /// Control group to enter.
    pub cgroup: Option<PathBuf>,
    /// The program and its arguments.
    pub words: Vec<OsString>,
}

/// Parses the words after the program's name. The error is a sentence for the user.
pub fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let Some(first) = words.next() else { return Err("expected a command, got none".into()) };
    match first.to_str() {
        Some("--help" | "-h" | "help") => Ok(Command::Help),
        Some("--version" | "-V") => Ok(Command::Version),
        Some("serve") => {
            let (store, log) = store_options(words, true)?;
            Ok(Command::Serve(Serve { store, log }))
        }
        Some("clean") => Ok(Command::Clean(store_options(words, false)?.0)),
        Some("launch") => launch(words).map(Command::Launch),
        _ => Err(format!("expected serve, clean, --version or --help, got {first:?}")),
    }
}

fn store_options(mut words: impl Iterator<Item = OsString>, serving: bool) -> Result<(Wish, bool), String> {
    let (mut folder, mut limit_bytes, mut log) = (None, None, false);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--store") => folder = Some(PathBuf::from(value("--store", words.next())?)),
            Some("--store-limit-bytes") if serving => {
                limit_bytes = Some(number("--store-limit-bytes", words.next())?);
            }
            Some("--log") if serving => log = true,
            _ => return Err(format!("unknown option {word:?}")),
        }
    }
    Ok((Wish::from_environment(folder, limit_bytes), log))
}

fn launch(mut words: impl Iterator<Item = OsString>) -> Result<Launch, String> {
    let mut launch = Launch::default();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--parent") => launch.parent = number("--parent", words.next())?,
            Some("--data-limit-bytes") => {
                launch.data_limit_bytes = Some(number("--data-limit-bytes", words.next())?);
            }
            Some("--space-limit-bytes") => {
                launch.space_limit_bytes = Some(number("--space-limit-bytes", words.next())?);
            }
            Some("--cgroup") => launch.cgroup = Some(value("--cgroup", words.next())?.into()),
            Some("--") => {
                launch.words = words.collect();
                return if launch.words.is_empty() { Err("expected a program after --".into()) } else { Ok(launch) };
            }
            _ => return Err(format!("unknown option {word:?}")),
        }
    }
    Err("expected -- and a program".into())
}

fn value(option: &str, word: Option<OsString>) -> Result<OsString, String> {
    word.ok_or_else(|| format!("{option}: expected a value, got none"))
}

fn number<T: std::str::FromStr>(option: &str, word: Option<OsString>) -> Result<T, String> {
    let word = value(option, word)?;
    word.to_str().and_then(|w| w.parse().ok()).ok_or_else(|| format!("{option}: expected a number, got {word:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, part) in [
            ("", "got none"),
            ("sreve", "\"sreve\""),
            ("serve --stroe x", "\"--stroe\""),
            ("serve --store", "--store: expected a value"),
            ("serve --store-limit-bytes 1k", "\"1k\""),
            ("clean --log", "\"--log\""),
            ("launch --parent 3", "--"),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_launch_keeps_the_words_of_its_program() {
        let Ok(Command::Launch(launch)) = of("launch --parent 7 --data-limit-bytes 9 -- /x --parent -- y") else {
            panic!("expected a launch");
        };
        assert_eq!((launch.parent, launch.data_limit_bytes), (7, Some(9)));
        assert_eq!(launch.words, ["/x", "--parent", "--", "y"]);
    }
}
