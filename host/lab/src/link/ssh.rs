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
}

/// The command that runs `remote` there. Never asks anything: unknown and changed host keys are refused.
pub fn ssh_command(destination: &SshDestination, remote: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"]);
    command.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR"]);
    // What a user's configuration does for people at a terminal would get into the way of a program.
    command.args(["-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no"]);
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
        })
    }
}

impl SshProblem {
    /// It may be gone by itself: a unit that is starting looks like this.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::NoRoute | Self::Cut)
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
        }
    }
}

/// Reads what an SSH client wrote. `None` when it says nothing about the connection.
pub fn classify(stderr: &str) -> Option<SshProblem> {
    const SIGNS: [(&str, SshProblem); 18] = [
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", SshProblem::ChangedHostKey),
        ("host key is known for", SshProblem::UnknownHostKey),
        ("Host key verification failed", SshProblem::UnknownHostKey),
        ("Permission denied (", SshProblem::PermissionDenied),
        ("Too many authentication failures", SshProblem::PermissionDenied),
        ("Connection refused", SshProblem::Refused),
        ("Could not resolve hostname", SshProblem::NameNotResolved),
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
    SIGNS.iter().find(|(sign, _)| stderr.contains(sign)).map(|(_, problem)| *problem)
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

    #[test]
    fn an_address_is_never_an_option() {
        let destination = SshDestination {
            address: "-oProxyCommand=evil".into(),
            port: None,
            user: None,
            identity_file: None,
            known_hosts_file: None,
        };
        let command = ssh_command(&destination, "true");
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        assert_eq!(&args[args.len() - 3..], ["--", "-oProxyCommand=evil", "true"]);
    }
}
