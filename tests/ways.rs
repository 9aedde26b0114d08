//! Ways to a board that a lab's own OpenSSH knows: a key that only an agent holds, an alias of a configuration file, a jump host. The board is
//! its own jump host, under another name.
//!
//! In each: the whole job works, or the refusal names what stands in the way and what to do.

use crate::site::{SOON, Site, UNIT};
use crate::tool::{Ended, Home, root, wait_for};
use boardproof_lab::link::SshDestination;
use boardproof_record::observation::{Ended as PassEnded, Outcome};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An agent of the test's own. Ends with it.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("agent.sock");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().expect("there is an ssh-agent");
        let agent = Self { process, socket };
        // Without keys it answers and ends with 1; before it listens, with 2.
        wait_for("the agent", || {
            let asked = agent.command("ssh-add").arg("-l").output().expect("there is an ssh-add");
            (asked.status.code() == Some(1)).then_some(())
        });
        agent
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        command
    }

    fn take(&self, key: &Path) {
        let added = self.command("ssh-add").arg(key).output().expect("there is an ssh-add");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A lab's files: inventory, configuration, known hosts, keys.
struct Lab {
    home: Home,
    board: SshDestination,
    /// The board's own key, as known-hosts files have it behind the name.
    host_key: String,
}

impl Lab {
    fn of(site: &mut Site) -> Self {
        let board = site.board().destination();
        let known = board.known_hosts_file.as_ref().expect("the board has its own");
        let known = std::fs::read_to_string(known).expect("it can be read");
        let host_key = known.split_once(' ').expect("a name and a key").1.trim().to_owned();
        Self { home: Home::new(), board, host_key }
    }

    fn key(&self) -> &Path {
        self.board.identity_file.as_deref().expect("the board has a key")
    }

    fn port(&self) -> u16 {
        self.board.port.expect("the board listens")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path(name);
        std::fs::write(&path, text).expect("could not write a file of the lab");
        path
    }

    /// A key that no board knows.
    fn other_key(&self) -> PathBuf {
        let file = self.home.path("other");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).stdin(Stdio::null());
        assert!(keygen.status().expect("there is an ssh-keygen").success());
        file
    }

    /// The unit in the inventory, reached as its `fields` say.
    fn unit(&self, fields: &str) {
        let text = format!("schema = 1\n\n[[unit]]\nname = \"{UNIT}\"\ntarget = \"bench-board\"\n{fields}\n");
        self.write("inventory.toml", &text);
    }

    /// A configuration in which the board is `far-board`: directly, or by way of `gate`, which is the board's own port on this machine.
    /// `entries` come first, and the first word on a matter counts.
    fn configuration(&self, entries: &str, by_gate: bool) {
        let (gate, key) = (self.port(), self.key().display());
        let way = if by_gate { "Port 22\n  ProxyJump gate".to_owned() } else { format!("Port {gate}") };
        let known = self.home.path("known_hosts");
        self.write(
            "ssh_config",
            &format!(
                "{entries}\nHost gate\n  HostName 127.0.0.1\n  HostKeyAlias gate\n  Port {gate}\n\
                 Host far-board\n  HostName 127.0.0.1\n  HostKeyAlias far-board\n  {way}\n\
                 Host *\n  User bp\n  IdentityFile {key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n",
                known.display()
            ),
        );
    }

    /// Who is known by what key.
    fn known(&self, hosts: &[(&str, &str)]) {
        let lines: String = hosts.iter().map(|(name, key)| format!("{name} {key}\n")).collect();
        self.write("known_hosts", &lines);
    }

    /// The whole job, with few samples. `agent` serves the keys, or nobody does.
    fn check(&self, out: &str, agent: Option<&Agent>) -> Ended {
        let models = root().join("models");
        let models = models.to_str().expect("a path of text");
        let few = ["--samples", "64", "--iterations", "100", "--out", out];
        let what = ["check", "mnist_dscnn", "-v", "f32", "--models", models, "--unit", UNIT];
        let places = ["--inventory", "inventory.toml", "--target-folder", "targets"];
        let mut command = self.home.command([&what[..], &few, &places].concat());
        match agent {
            Some(agent) => command.env("SSH_AUTH_SOCK", &agent.socket),
            None => command.env_remove("SSH_AUTH_SOCK"),
        };
        let ended = crate::tool::Running::of(command).end();
        assert!(ended.elapsed < SOON, "{:?}", ended.elapsed);
        ended
    }

    /// All passes of the cell on the board ran.
    #[track_caller]
    fn works(&self, out: &str, agent: Option<&Agent>) {
        let ended = self.check(out, agent);
        let Outcome::Measured(seen) = Site::outcome(&self.home, out) else { panic!("{ended:?}") };
        assert!(seen.passes.len() == 4 && seen.passes.iter().all(|pass| pass.ended == PassEnded::Completed));
        assert!(seen.attempts.iter().all(|attempt| attempt.error.is_none()), "{:?}", seen.attempts);
    }

    /// Nothing was measured, because of this; and this is what to do.
    #[track_caller]
    fn refused(&self, out: &str, agent: Option<&Agent>, why: &str, hint: &str) {
        let ended = self.check(out, agent);
        ended.expect_code(4);
        let Outcome::ShipFailed(fault) = Site::outcome(&self.home, out) else { panic!("{ended:?}") };
        assert!(fault.causes.iter().any(|cause| cause.contains(why)), "{why}: {:?}", fault.causes);
        assert!(fault.hints.iter().any(|found| found.contains(hint)), "{hint}: {:?}", fault.hints);
        assert!(ended.stdout.contains(why), "{}", ended.stdout);
    }
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_key_that_only_an_agent_holds_opens_the_board_and_an_agent_without_it_is_told_what_to_do() {
    let mut site = Site::shared();
    let lab = Lab::of(&mut site);
    site.write_target(&lab.home);
    let agent = Agent::start(&lab.home.path(""));
    // A configuration that names no key: what is offered is the agent's.
    let known = lab.home.path("known_hosts");
    lab.known(&[(&format!("[127.0.0.1]:{}", lab.port()), &lab.host_key)]);
    lab.write(
        "ssh_config",
        &format!("UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nIdentityFile none\n", known.display()),
    );
    let config = lab.home.path("ssh_config");
    lab.unit(&format!(
        "address = \"127.0.0.1\"\nport = {}\nuser = \"bp\"\nssh_config = \"{}\"",
        lab.port(),
        config.display()
    ));
    let (why, hint) = ("it does not take this user or key", "load the key into the ssh agent (ssh-add)");
    lab.refused("nobody", None, why, hint);
    agent.take(&lab.other_key());
    lab.refused("another", Some(&agent), why, hint);
    agent.take(lab.key());
    lab.works("agent", Some(&agent));
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn an_alias_of_a_configuration_file_is_an_address() {
    let mut site = Site::shared();
    let lab = Lab::of(&mut site);
    site.write_target(&lab.home);
    lab.configuration("", false);
    let config = lab.home.path("ssh_config");
    lab.unit(&format!("address = \"far-board\"\nssh_config = \"{}\"", config.display()));
    lab.known(&[]);
    lab.refused("unknown", None, "its host key is not known", "compare the fingerprint");
    lab.known(&[("far-board", &lab.host_key)]);
    lab.works("alias", None);
    lab.unit("address = \"far-board\"\nssh_config = \"none\"");
    let doctor = ["doctor", "--unit", UNIT, "--inventory", "inventory.toml", "--target-folder", "targets"];
    let said = lab.home.run(doctor).expect_code(5).stdout.clone();
    assert!(said.contains("SSH configuration") && said.contains("none: No such file"), "{said}");
}

#[test]
#[ignore = "boots QEMU; cargo xtask test runs it"]
fn a_jump_host_leads_to_the_board_and_what_is_wrong_with_it_is_not_laid_to_the_board() {
    let mut site = Site::shared();
    let lab = Lab::of(&mut site);
    site.write_target(&lab.home);
    let config = lab.home.path("ssh_config");
    lab.unit(&format!("address = \"far-board\"\nssh_config = \"{}\"", config.display()));
    let other = std::fs::read_to_string(lab.other_key().with_extension("pub")).expect("a key");
    let (right, wrong) = (lab.host_key.as_str(), other.trim());

    lab.configuration("", true);
    lab.known(&[("gate", wrong), ("far-board", right)]);
    lab.refused("gate-changed", None, "the host key of a jump host has changed", "ssh-keygen -R JUMPHOST");
    lab.known(&[("far-board", right)]);
    lab.refused("gate-unknown", None, "the host key of a jump host is not known", "to the jump host");
    // Whoever stands between can lead elsewhere, and is found out by the board's own key.
    lab.known(&[("gate", right), ("far-board", wrong)]);
    lab.refused("board-changed", None, "its host key has changed", "something else answers at its address");
    lab.known(&[("gate", right), ("far-board", right)]);
    lab.configuration("Host gate\n  User nobody-there", true);
    lab.refused("gate-denied", None, "a jump host does not take this user or key", "name those of the jump host");

    lab.configuration("", true);
    lab.works("jumped", None);
}
