//! OpenSSH as the SSH client: its agents, keys, configuration, known hosts and jump hosts are the user's own and just work.
//! What it says when there is no link is read here.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

/// Where an SSH session goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshDestination {
    /// Host name, address, or an alias of the user's configuration.
    pub address: String,
    /// Port, when it is not the configuration's.
    pub port: Option<u16>,
    /// User, when it is not the configuration's.
    pub user: Option<String>,
    /// Key, when it is not the agent's or the configuration's.
    pub identity_file: Option<PathBuf>,
    /// Known hosts of this unit alone, when it has its own.
    pub known_hosts_file: Option<PathBuf>,
    /// Configuration in the place of the user's and the machine's.
    pub config_file: Option<PathBuf>,
}

/// The command that runs `remote` there. Never asks anything: unknown and changed host keys are refused.
pub fn ssh_command(destination: &SshDestination, remote: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"]);
    command.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR"]);
    // What a user's configuration does for people at a terminal would get into the way of a program.
    command.args(["-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"]);
    // To jump hosts OpenSSH starts clients of its own, which know none of these options but the configuration's file: what they would ask
    // for at the terminal is asked of a program that says no.
    command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
    if let Some(file) = &destination.config_file {
        command.arg("-F").arg(file);
    }
    if let Some(port) = destination.port {
        command.args(["-p", &port.to_string()]);
    }
    if let Some(file) = &destination.identity_file {
        command.arg("-i").arg(file).args(["-o", "IdentitiesOnly=yes"]);
    }
    if let Some(file) = &destination.known_hosts_file {
        command
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", file.display()))
            .args(["-o", "GlobalKnownHostsFile=/dev/null"]);
    }
    if let Some(user) = &destination.user {
        command.args(["-l", user]);
    }
    // "--" so that an address from a file can never be taken for an option.
    command.args(["--", &destination.address, remote]);
    command
}

/// Why there is no SSH link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshProblem {
    /// The unit's host key is in no known hosts file.
    UnknownHostKey,
    /// The unit's host key is not the one that is known.
    ChangedHostKey,
    /// The unit does not take the user or the key.
    PermissionDenied,
    /// Nothing listens there.
    Refused,
    /// Nothing answered.
    TimedOut,
    /// The name means nothing.
    NameNotResolved,
    /// There is no way to that address.
    NoRoute,
    /// The link was there and broke.
    Cut,
    /// The unit takes the user but runs no command for them.
    NoShell,
    /// The way leads through a jump host and ends there.
    AtJumpHost(JumpHostProblem),
}

/// Why a way ends at a jump host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JumpHostProblem {
    /// Its host key is in no known hosts file.
    UnknownHostKey,
    /// Its host key is not the one that is known.
    ChangedHostKey,
    /// It does not take the user or the key.
    PermissionDenied,
    /// Its name means nothing.
    NameNotResolved,
    /// It does not answer.
    Unreachable,
    /// It takes the user and forwards no connection for them.
    ForwardsNothing,
}

impl fmt::Display for JumpHostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownHostKey => "the host key of a jump host is not known",
            Self::ChangedHostKey => "the host key of a jump host has changed",
            Self::PermissionDenied => "a jump host does not take this user or key",
            Self::NameNotResolved => "the name of a jump host cannot be resolved",
            Self::Unreachable => "a jump host cannot be reached",
            Self::ForwardsNothing => "a jump host forwards no connections",
        })
    }
}

impl JumpHostProblem {
    fn hint(self) -> &'static str {
        match self {
            Self::UnknownHostKey => {
                "connect once with `ssh` to the jump host, compare the fingerprint with its own, and accept it"
            }
            Self::ChangedHostKey => {
                "if the jump host was reinstalled, remove the old key with `ssh-keygen -R JUMPHOST`; if not, something else answers at its \
                 address"
            }
            Self::PermissionDenied => {
                "user and identity_file of a unit are for the unit alone: name those of the jump host in the SSH configuration, or load its key \
                 into the ssh agent (ssh-add)"
            }
            Self::NameNotResolved => "check ProxyJump in the SSH configuration",
            Self::Unreachable => "is the jump host up, and does its sshd listen there?",
            Self::ForwardsNothing => {
                "allow TCP forwarding for this user on the jump host (AllowTcpForwarding in its sshd_config)"
            }
        }
    }
}

impl fmt::Display for SshProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownHostKey => "its host key is not known",
            Self::ChangedHostKey => "its host key has changed",
            Self::PermissionDenied => "it does not take this user or key",
            Self::Refused => "the connection was refused",
            Self::TimedOut => "it did not answer in time",
            Self::NameNotResolved => "the name cannot be resolved",
            Self::NoRoute => "there is no route to it",
            Self::Cut => "the connection broke",
            Self::NoShell => "it runs no commands for this user",
            Self::AtJumpHost(problem) => return problem.fmt(f),
        })
    }
}

impl SshProblem {
    /// It may be gone by itself: a unit that is starting looks like this.
    pub fn may_pass(self) -> bool {
        let of_jump_host = Self::AtJumpHost(JumpHostProblem::Unreachable);
        matches!(self, Self::Refused | Self::TimedOut | Self::NoRoute | Self::Cut) || self == of_jump_host
    }

    /// What to do about it.
    pub fn hint(self, unit: &str) -> String {
        match self {
            Self::UnknownHostKey => format!("connect once with `ssh` to '{unit}', compare the fingerprint with the board's, and accept it"),
            Self::ChangedHostKey => {
                "if the board was reinstalled, remove the old key with `ssh-keygen -R ADDRESS`; if not, something else answers at its address".into()
            }
            Self::PermissionDenied => "set user and identity_file of the unit, or load the key into the ssh agent (ssh-add)".into(),
            Self::Refused => "is the board up, and does sshd listen on this port?".into(),
            Self::TimedOut | Self::NoRoute => "is the board switched on and on this network?".into(),
            Self::NameNotResolved => "check `address` of the unit in the inventory".into(),
            Self::Cut => "see the board's console: it may have been reset or lost its network".into(),
            Self::NoShell => "give the unit's user a login shell (`sh` is enough) and no forced command".into(),
            Self::AtJumpHost(problem) => problem.hint().into(),
        }
    }
}

/// Reads what an SSH client wrote. `None` when it says nothing about the connection.
pub fn classify(stderr: &str) -> Option<SshProblem> {
    const SIGNS: [(&str, SshProblem); 21] = [
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", SshProblem::ChangedHostKey),
        ("host key is known for", SshProblem::UnknownHostKey),
        ("Host key verification failed", SshProblem::UnknownHostKey),
        ("Permission denied (", SshProblem::PermissionDenied),
        ("Too many authentication failures", SshProblem::PermissionDenied),
        ("Connection refused", SshProblem::Refused),
        ("Could not resolve hostname", SshProblem::NameNotResolved),
        // These two are a jump host's words about the unit, and the third about itself.
        ("open failed: connect failed: Error resolving", SshProblem::NameNotResolved),
        ("open failed: connect failed: Name or service not known", SshProblem::NameNotResolved),
        ("open failed: administratively prohibited", SshProblem::AtJumpHost(JumpHostProblem::ForwardsNothing)),
        ("No route to host", SshProblem::NoRoute),
        ("Network is unreachable", SshProblem::NoRoute),
        ("Connection timed out", SshProblem::TimedOut),
        ("Operation timed out", SshProblem::TimedOut),
        ("exec request failed on channel", SshProblem::NoShell),
        ("This account is currently not available", SshProblem::NoShell),
        ("This service allows sftp connections only", SshProblem::NoShell),
        ("not responding", SshProblem::Cut),
        ("Broken pipe", SshProblem::Cut),
        ("Connection reset by", SshProblem::Cut),
        ("Connection closed by", SshProblem::Cut),
    ];
    let (_, problem) = SIGNS.iter().find(|(sign, _)| stderr.contains(sign))?;
    Some(if ended_on_the_way(stderr) { at_jump_host(*problem) } else { *problem })
}

/// The client that speaks to the unit was left without a connection by the one that speaks to a jump host, and that one did not get as far as
/// asking for the unit.
fn ended_on_the_way(stderr: &str) -> bool {
    let left_alone = "kex_exchange_identification: Connection closed by remote host";
    stderr.contains(left_alone) && !stderr.contains("stdio forwarding failed")
}

/// What a client to a jump host said of it. One that was cut says nothing of where.
fn at_jump_host(problem: SshProblem) -> SshProblem {
    SshProblem::AtJumpHost(match problem {
        SshProblem::UnknownHostKey => JumpHostProblem::UnknownHostKey,
        SshProblem::ChangedHostKey => JumpHostProblem::ChangedHostKey,
        SshProblem::PermissionDenied => JumpHostProblem::PermissionDenied,
        SshProblem::NameNotResolved => JumpHostProblem::NameNotResolved,
        SshProblem::Refused | SshProblem::TimedOut | SshProblem::NoRoute => JumpHostProblem::Unreachable,
        other => return other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openssh_says_is_understood() {
        let check = |text: &str, expected| assert_eq!(classify(text), expected, "{text}");
        check(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            Some(SshProblem::ChangedHostKey),
        );
        check(
            "No ED25519 host key is known for board and you have requested strict checking.\nHost key verification failed.",
            Some(SshProblem::UnknownHostKey),
        );
        check("root@board: Permission denied (publickey,password).", Some(SshProblem::PermissionDenied));
        check("ssh: connect to host board port 22: Connection refused", Some(SshProblem::Refused));
        check("ssh: Could not resolve hostname bord: Name or service not known", Some(SshProblem::NameNotResolved));
        check("ssh: connect to host 192.0.2.1 port 22: Connection timed out", Some(SshProblem::TimedOut));
        check("exec request failed on channel 0", Some(SshProblem::NoShell));
        check("kex_exchange_identification: Connection closed by remote host", Some(SshProblem::Cut));
        check("client_loop: send disconnect: Broken pipe", Some(SshProblem::Cut));
        check("ssh: connect to host 192.0.2.1 port 22: No route to host", Some(SshProblem::NoRoute));
        check("Timeout, server board not responding.", Some(SshProblem::Cut));
        check("sh: exec: agent: Permission denied", None);
    }

    /// Texts of OpenSSH 9.2, with a jump host between.
    #[test]
    fn what_ends_at_a_jump_host_is_told_from_what_ends_at_the_unit() {
        const CLOSED: &str = "kex_exchange_identification: Connection closed by remote host";
        let check = |text: &str, expected| assert_eq!(classify(&format!("{text}\n{CLOSED}")), Some(expected), "{text}");
        let at = SshProblem::AtJumpHost;
        check("Host key verification failed.", at(JumpHostProblem::UnknownHostKey));
        check("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", at(JumpHostProblem::ChangedHostKey));
        check("bp@jump: Permission denied (publickey).", at(JumpHostProblem::PermissionDenied));
        check("ssh: connect to host 127.0.0.1 port 1: Connection refused", at(JumpHostProblem::Unreachable));
        check("ssh: Could not resolve hostname jump: Name or service not known", at(JumpHostProblem::NameNotResolved));
        let forwarding = |what: &str| format!("channel 0: open failed: {what}\nstdio forwarding failed");
        check(&forwarding("administratively prohibited: open failed"), at(JumpHostProblem::ForwardsNothing));
        check(&forwarding("connect failed: Connection refused"), SshProblem::Refused);
        check(&forwarding("connect failed: No route to host"), SshProblem::NoRoute);
        let unresolved = "connect failed: Error resolving 'board' port '22'. Temporary failure in name resolution";
        check(&forwarding(unresolved), SshProblem::NameNotResolved);
        check("", SshProblem::Cut);
        // The unit's own key, behind a jump host that is well.
        let unknown = "No ED25519 host key is known for board and you have requested strict checking.";
        assert_eq!(classify(unknown), Some(SshProblem::UnknownHostKey));
        assert!(at(JumpHostProblem::Unreachable).may_pass() && !at(JumpHostProblem::UnknownHostKey).may_pass());
    }

    #[test]
    fn an_address_is_never_an_option() {
        let destination = SshDestination {
            address: "-oProxyCommand=evil".into(),
            port: None,
            user: None,
            identity_file: None,
            known_hosts_file: None,
            config_file: None,
        };
        let command = ssh_command(&destination, "true");
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        assert_eq!(&args[args.len() - 3..], ["--", "-oProxyCommand=evil", "true"]);
    }
}
