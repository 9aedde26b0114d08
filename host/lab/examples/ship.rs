//! Ships a program and data to the virtual board, side by side with a plain `cat` of the same bytes through the same SSH options, and
//! prints one JSON object for `cargo xtask bench ship`. Nothing of one round is left for the next.
//!
//! `cargo run --release -p boardproof-lab --example ship -- IMAGE AGENT RUNNER ROUNDS FILE...`, the files being model and evalset.

use boardproof_lab::build::Artifact;
use boardproof_lab::held::Held;
use boardproof_lab::link::UnitLink;
use boardproof_lab::link::client::Client;
use boardproof_lab::link::ssh_command;
use boardproof_lab::power::{QemuBoard, QemuSpec};
use boardproof_lab::reach::{Destination, Reach};
use boardproof_lab::ship::{Blob, prepare, ship};
use boardproof_protocol::{Acquire, Reply, Request};
use boardproof_record::observation::Shipped;
use boardproof_record::plan::{BuildSpec, Builder, Clock, Limits, LinkSpec, PowerSpec, Target, Unit};
use boardproof_record::record::Build;
use boardproof_record::{Digest, EngineName, TargetName, UnitName};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

type Failed = Box<dyn Error>;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("because: {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [image, agent, runner, rounds, files @ ..] = &words[..] else {
        return Err("expected IMAGE AGENT RUNNER ROUNDS FILE...".into());
    };
    let mut blobs = vec![blob("runner", runner, true)?];
    for file in files {
        blobs.push(blob("data", file, false)?);
    }
    let machine_id = "b0a4d".repeat(7)[..32].to_owned();
    let spec = QemuSpec { image: image.into(), memory_mb: 1024, cpus: 2, machine_id, home_kb: None };
    let start = Instant::now();
    let board = QemuBoard::boot(&spec, Duration::from_secs(180))?;
    shell(&board, "true", None)?;
    let boot_ms = ms(start);
    let cache = tempfile::tempdir()?;
    // As `boardproof` does when it has built a program.
    prepare(&blobs[0], cache.path())?;
    let mut bench = Bench { board, agent: artifact(agent)?, cache: cache.path().to_owned(), blobs, epoch: 0 };
    let mut seen = Vec::new();
    for _ in 0..rounds.parse()? {
        let cat_ms = bench.cat()?;
        let round = bench.round()?;
        eprintln!("cat {cat_ms} ms, {round:?}");
        seen.push((cat_ms, round));
    }
    let column = |value: fn(&(u64, Round)) -> u64| seen.iter().map(value).collect::<Vec<_>>();
    let figures = serde_json::json!({
        "boot_ms": boot_ms,
        "content_bytes": seen.first().map(|s| s.1.shipped.content_bytes),
        "wire_bytes": seen.first().map(|s| s.1.shipped.wire_bytes),
        "cat_ms": column(|s| s.0),
        "agent_ms": column(|s| s.1.agent_ms),
        "connect_ms": column(|s| s.1.connect_ms),
        "ship_ms": column(|s| s.1.ship_ms),
        "agent_peak_kb": column(|s| s.1.agent_peak_kb),
        "second_wire_bytes": seen.iter().map(|s| s.1.again.wire_bytes).max(),
        "second_cached_bytes": seen.iter().map(|s| s.1.again.cached_bytes).min(),
    });
    println!("{figures}");
    Ok(())
}

/// What one round took.
#[derive(Debug)]
struct Round {
    /// From a bare board to a greeting: what the first run on a board costs.
    agent_ms: u64,
    /// From a board that has the agent to a greeting.
    connect_ms: u64,
    /// All blobs, on a session that is there.
    ship_ms: u64,
    /// Largest resident memory of the agent that received them.
    agent_peak_kb: u64,
    shipped: Shipped,
    /// The same in a new session.
    again: Shipped,
}

struct Bench {
    board: QemuBoard,
    agent: Artifact,
    cache: PathBuf,
    blobs: Vec<Blob>,
    epoch: u64,
}

impl Bench {
    /// The bytes of all blobs through a plain `cat`.
    fn cat(&self) -> Result<u64, Failed> {
        let mut bytes = Vec::new();
        for blob in &self.blobs {
            bytes.extend(std::fs::read(&blob.path)?);
        }
        let expected = bytes.len().to_string();
        let start = Instant::now();
        let said = shell(&self.board, "cat > $HOME/plain && wc -c < $HOME/plain", Some(bytes))?;
        let took = ms(start);
        shell(&self.board, "rm $HOME/plain", None)?;
        if said.trim() == expected { Ok(took) } else { Err(format!("expected {expected} bytes, got {said}").into()) }
    }

    /// Agent and blobs onto a board that has neither; then the blobs again.
    fn round(&mut self) -> Result<Round, Failed> {
        shell(&self.board, "rm -rf $HOME/.cache", None)?;
        let reach = self.reach()?;
        let start = Instant::now();
        let (client, _) = reach.connect(|| false)?;
        let agent_ms = ms(start);
        drop(client);
        let start = Instant::now();
        let (mut client, _) = reach.connect(|| false)?;
        let connect_ms = ms(start);
        let start = Instant::now();
        let shipped = self.ship_all(&mut client)?;
        let ship_ms = ms(start);
        let peak =
            "for p in /proc/[0-9]*/status; do grep -q '^Name:.agent-' $p && grep VmHWM $p; done 2>/dev/null; true";
        let peak = shell(&self.board, peak, None)?;
        let agent_peak_kb = peak.split_whitespace().nth(1).ok_or("no agent runs there")?.parse()?;
        client.bye();
        drop(client);
        let (mut client, _) = reach.connect(|| false)?;
        let again = self.ship_all(&mut client)?;
        client.bye();
        Ok(Round { agent_ms, connect_ms, ship_ms, agent_peak_kb, shipped, again })
    }

    fn ship_all(&mut self, client: &mut Client<UnitLink>) -> Result<Shipped, Failed> {
        self.epoch += 1;
        let wish = Acquire { epoch: self.epoch, holder: "bench", ttl_ms: 60_000 };
        let leased = |reply: &Reply<'_>| matches!(reply, Reply::Leased { .. }).then_some(());
        client.ask("take the lease", &Request::Acquire(wish), leased)?;
        let mut sum = Shipped::default();
        for blob in &self.blobs {
            ship(client, &mut Held::new(self.epoch, "bench"), blob, Some(&self.cache), &mut sum, &mut |_| {})?;
        }
        Ok(sum)
    }

    fn reach(&self) -> Result<Reach, Failed> {
        let name = "virtual-board-aarch64";
        let unit = Unit {
            name: UnitName::new(name)?,
            target: TargetName::new(name)?,
            address: None,
            port: None,
            user: None,
            identity_file: None,
            ssh_config: None,
            identity: None,
            power: None,
            probe: None,
            tags: Vec::new(),
        };
        let build = BuildSpec {
            runner_triple: String::new(),
            agent_triple: String::new(),
            builder: Builder::Auto,
            linker: None,
            packages: Vec::new(),
            firmware: None,
        };
        let target = Target {
            name: TargetName::new(name)?,
            summary: String::new(),
            architecture: "aarch64".into(),
            proved: true,
            proved_note: String::new(),
            emulated: true,
            build,
            link: LinkSpec::Ssh,
            power: PowerSpec::None,
            limits: Limits {
                memory_bytes: None,
                flash_bytes: None,
                pass_deadline_s: 60,
                slowdown: 1,
                accuracy_workers: 1,
            },
            engine: EngineName::new("tract")?,
            clock: Clock::Time,
            probe: None,
            dialect: None,
            onnxruntime: None,
        };
        Ok(Reach::new(
            &unit,
            &target,
            Some(&self.agent),
            Path::new("unused"),
            Some(Destination::Ssh(self.board.destination())),
        )?)
    }
}

fn blob(what: &str, path: &str, program: bool) -> Result<Blob, Failed> {
    let digest = Digest::of(&std::fs::read(path)?);
    Ok(Blob { what: what.into(), path: path.into(), digest, program })
}

fn artifact(path: &str) -> Result<Artifact, Failed> {
    let bytes = std::fs::read(path)?;
    let build = Build {
        program: "agent".into(),
        triple: String::new(),
        builder: String::new(),
        source: Digest::of(b""),
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        cached: true,
        layout: None,
    };
    Ok(Artifact { path: path.into(), build })
}

/// Runs a script there with these bytes on its standard input.
fn shell(board: &QemuBoard, script: &str, input: Option<Vec<u8>>) -> Result<String, Failed> {
    let mut command = ssh_command(&board.destination(), script);
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn()?;
    if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), input) {
        stdin.write_all(&bytes)?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("`{script}` ended with {}", output.status).into()) }
}

fn ms(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}
