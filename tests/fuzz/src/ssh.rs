//! What an SSH client writes when there is no link.

use crate::Seed;
use boardproof_lab::link::{LinkError, classify};

/// Standard error of `ssh`, of any content.
pub fn stderr(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let found = classify(&text);
    // What other programs write around it changes nothing, and neither does a line more.
    assert_eq!(classify(&format!("banner of a jump host\n{text}\n")), found);
    let unit = "board".to_owned();
    let error = match found {
        Some(problem) => {
            assert!(!problem.to_string().is_empty() && !problem.hint(&unit).is_empty());
            LinkError::Ssh { unit, problem, stderr: text.into_owned() }
        }
        None => LinkError::Closed { unit, status: "exit code 255".into(), stderr: text.into_owned() },
    };
    let words = error.to_string();
    assert_eq!(words.lines().count(), 1, "an error of more than one line: {words:?}");
    assert_eq!(error.ssh(), found);
    found.is_some()
}

pub fn seeds() -> Vec<Seed> {
    let said = [
        ("changed", "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."),
        ("unknown", "No ED25519 host key is known for board and you have requested strict checking."),
        ("denied", "root@board: Permission denied (publickey,password)."),
        ("refused", "ssh: connect to host board port 22: Connection refused"),
        ("name", "ssh: Could not resolve hostname bord: Name or service not known"),
        ("timeout", "ssh: connect to host 192.0.2.1 port 22: Connection timed out"),
        ("route", "ssh: connect to host 192.0.2.1 port 22: No route to host"),
        ("cut", "client_loop: send disconnect: Broken pipe"),
        ("shell", "exec request failed on channel 0"),
        ("jump host", "Host key verification failed.\nkex_exchange_identification: Connection closed by remote host"),
        ("behind it", "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed"),
    ];
    said.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).to_vec()
}
