//! Becoming the runner: the last steps that must happen in the child itself. Refuses to decide anything.
//!
//! The agent starts a runner by starting itself with `launch ...`; that process ties its life to the agent's, takes its limits and
//! replaces itself by the runner. So no code runs between fork and exec of a program with threads. Under an emulator in user mode the
//! kernel cannot start a program of the board's architecture; there the emulator that runs the agent is put in front.

use crate::arguments::Launch;
use crate::elf::Elf;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, setrlimit};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Exit code of a launch that failed; a runner that ends with it has not written [`FAILED`].
pub const FAILED_CODE: i32 = 127;
/// How the text on standard error begins when the launch failed.
pub const FAILED: &str = "boardproof-agent could not start the runner: ";
/// Variables that a runner keeps; all others are cleared, so that two runs see one environment. Those of CUDA say which GPUs this user's job
/// may take, where several share a machine, and where the headers are that kernels are compiled with.
const KEPT: [&str; 7] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "QEMU_LD_PREFIX",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_PATH",
];
/// Where kernels that are compiled on the unit are kept. Without it they would go into whatever folder the agent was started in.
const CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Set for every runner: engines use one thread, and candle reads the processor's description at every product where nobody says how many.
const ONE_THREAD: (&str, &str) = ("RAYON_NUM_THREADS", "1");

/// The command that runs `program` through a launch by this agent.
pub fn command(launch: &Launch) -> Command {
    let (mut command, own) = match emulator() {
        Some(words) => (with_words(&words), std::env::current_exe().unwrap_or_default().into_os_string()),
        // Also right when the agent's file was replaced or removed since it started.
        None => (Command::new("/proc/self/exe"), OsString::new()),
    };
    if !own.is_empty() {
        command.arg(own);
    }
    command.arg("launch").arg("--parent").arg(launch.parent.to_string());
    for (option, bytes) in
        [("--data-limit-bytes", launch.data_limit_bytes), ("--space-limit-bytes", launch.space_limit_bytes)]
    {
        if let Some(bytes) = bytes {
            command.arg(option).arg(bytes.to_string());
        }
    }
    if let Some(cgroup) = &launch.cgroup {
        command.arg("--cgroup").arg(cgroup);
    }
    command.arg("--").args(&launch.words);
    command.env_clear().process_group(0);
    command.env(ONE_THREAD.0, ONE_THREAD.1);
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(folder) = cache_home() {
        command.env(CACHE_HOME, folder);
    }
    command
}

/// The user's folder for what can be made anew.
fn cache_home() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(CACHE_HOME).or_else(|| Some(absolute("HOME")?.join(".cache")))
}

/// Becomes the program; returns only when that failed, with the reason on standard error.
pub fn exec(launch: &Launch) -> ExitCode {
    let error = match prepare(launch) {
        Ok(()) => run(&launch.words),
        Err(error) => error,
    };
    eprintln!("{FAILED}{}: {error}", launch.words.first().map(|w| w.to_string_lossy()).unwrap_or_default());
    ExitCode::from(FAILED_CODE as u8)
}

fn prepare(launch: &Launch) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The agent may have died before the line above took effect.
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != i32::try_from(launch.parent).ok() {
        return Err(io::Error::other("the agent that asked for it is gone"));
    }
    if let Some(cgroup) = &launch.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    for (resource, bytes) in [(Resource::Data, launch.data_limit_bytes), (Resource::As, launch.space_limit_bytes)] {
        if bytes.is_some() {
            setrlimit(resource, Rlimit { current: bytes, maximum: bytes })?;
        }
    }
    Ok(())
}

fn run(words: &[OsString]) -> io::Error {
    let Some((program, rest)) = words.split_first() else { return io::Error::other("no program was given") };
    if let Err(error) = startable(Path::new(program)) {
        return error;
    }
    let error = match emulator() {
        Some(emulator) => with_words(&emulator).args(words).exec(),
        None => Command::new(program).args(rest).exec(),
    };
    // The kernel says "not found" of a file that is there when the file's loader is not.
    if error.raw_os_error() == Some(libc::ENOENT) && Path::new(program).exists() {
        return io::Error::other("its loader (the C library or interpreter that it was made for) is not on this board");
    }
    error
}

/// A program for this architecture or a script. C libraries differ in what they do with other files: some give them to a shell.
fn startable(program: &Path) -> io::Result<()> {
    let mut head = [0; 2];
    File::open(program)?.read_exact(&mut head)?;
    if &head == b"#!" {
        return Ok(());
    }
    match Elf::of(program) {
        Some(found) if Some(found) == Elf::this() => Ok(()),
        Some(_) => Err(io::Error::other("it is a program for another architecture than this board's")),
        None => Err(io::Error::other("it is neither a program for this board's architecture nor a script")),
    }
}

fn with_words(words: &[OsString]) -> Command {
    let mut command = Command::new(words.first().map_or(OsStr::new(""), OsString::as_os_str));
    command.args(&words[1.min(words.len())..]);
    command
}

/// Does an emulator in user mode run this program?
pub fn is_emulated() -> bool {
    emulator().is_some()
}

/// The emulator that runs this program and its own arguments, when there is one.
///
/// QEMU's user mode answers for `/proc/self` as the emulated program should see it, but `/proc/thread-self` shows the truth: the
/// emulator's own file, and its command line up to the emulated program.
fn emulator() -> Option<Vec<OsString>> {
    let seen = fs::read_link("/proc/self/exe").ok()?;
    let real = fs::read_link("/proc/thread-self/exe").ok()?;
    if seen == real {
        return None;
    }
    let line = fs::read("/proc/thread-self/cmdline").ok()?;
    let words: Vec<&OsStr> = line.split(|b| *b == 0).map(OsStr::from_bytes).collect();
    let own = words.iter().skip(1).position(|w| fs::canonicalize(w).is_ok_and(|p| p == seen))?;
    let rest = words[1..=own].iter().map(|w| (*w).to_owned());
    Some([real.into_os_string()].into_iter().chain(rest).collect())
}
