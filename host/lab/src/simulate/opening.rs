//! Lines of this machine on which a simulated firmware can be met: a TCP port of the loopback, or a pseudo terminal.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

/// How often a wait looks for an interruption.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Where a firmware is to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A TCP port; 0 for any that is free.
    Tcp(SocketAddr),
    /// A pseudo terminal.
    Terminal,
}

/// A line that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// Nobody proves who comes, so only this machine may.
    #[error("could not listen on {address}: expected an address of this machine alone (127.0.0.1 or ::1), got {}", address.ip())]
    Public {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The system would not.
    #[error("could not {action} {place}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// With what.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A line that is open.
#[derive(Debug)]
pub struct Opened {
    address: String,
    end: End,
}

#[derive(Debug)]
enum End {
    Tcp(TcpListener),
    /// Our end, and the other one: kept open, or ours would break whenever a peer leaves.
    Terminal {
        ours: File,
        _theirs: OwnedFd,
    },
}

impl Opened {
    /// Opens the line.
    ///
    /// # Errors
    /// The port is taken, the address is not of this machine alone, or there are no terminals.
    pub fn open(opening: Opening) -> Result<Self, OpeningError> {
        match opening {
            Opening::Tcp(address) if !address.ip().is_loopback() => Err(OpeningError::Public { address }),
            Opening::Tcp(address) => listen(address).map_err(|source| OpeningError::System {
                action: "listen on",
                place: address.to_string(),
                source,
            }),
            Opening::Terminal => terminal().map_err(|errno| OpeningError::System {
                action: "open",
                place: "a pseudo terminal".into(),
                source: errno.into(),
            }),
        }
    }

    /// As an inventory has it: `tcp:127.0.0.1:PORT` or `serial:/dev/pts/N`.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn failed(&self, action: &'static str, source: impl Into<io::Error>) -> OpeningError {
        OpeningError::System { action, place: self.address.clone(), source: source.into() }
    }

    /// Waits for the next peer; `None` when `interrupted`. On a terminal nobody sees who comes and goes: all of them are one.
    pub(super) fn next_peer(&self, interrupted: fn() -> bool) -> Result<Option<Peer<'_>>, OpeningError> {
        let Some(line) = self.next_line(interrupted).map_err(|source| self.failed("wait for a peer on", source))?
        else {
            return Ok(None);
        };
        Ok(Some(Peer { opened: self, line, unsaid: Vec::new(), gone: false }))
    }

    fn next_line(&self, interrupted: fn() -> bool) -> io::Result<Option<Line<'_>>> {
        match &self.end {
            End::Terminal { .. } if interrupted() => Ok(None),
            End::Terminal { ours, .. } => Ok(Some(Line::Terminal(ours))),
            End::Tcp(listener) => {
                if !wait(listener, PollFlags::IN, interrupted)? {
                    return Ok(None);
                }
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Some(Line::Tcp(stream)))
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<Opened> {
    let listener = TcpListener::bind(address)?;
    let address = format!("tcp:{}", listener.local_addr()?);
    Ok(Opened { address, end: End::Tcp(listener) })
}

fn terminal() -> Result<Opened, Errno> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    // Bytes as they are, also for a peer that sets nothing: no echo, no lines, no signals.
    let mut termios = tcgetattr(&theirs)?;
    termios.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &termios)?;
    let address = format!("serial:{}", name.to_string_lossy());
    Ok(Opened { address, end: End::Terminal { ours: File::from(ours), _theirs: theirs } })
}

/// Waits until it is ready; false when `interrupted`.
fn wait(end: impl AsFd, flags: PollFlags, interrupted: fn() -> bool) -> io::Result<bool> {
    while !interrupted() {
        match poll(&mut [PollFd::new(&end, flags)], Some(&LOOK_EVERY)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

enum Line<'a> {
    Tcp(TcpStream),
    Terminal(&'a File),
}

impl AsFd for Line<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Terminal(file) => file.as_fd(),
        }
    }
}

/// Whoever is on the line.
pub(super) struct Peer<'a> {
    opened: &'a Opened,
    line: Line<'a>,
    unsaid: Vec<u8>,
    /// It does not listen any more.
    gone: bool,
}

/// Bytes of an answer that are gathered: a packet instead of one for every number.
const GATHERED: usize = 1024;

impl Peer<'_> {
    /// Waits for bytes; `None` when the peer is gone or `interrupted`.
    pub(super) fn read(&mut self, into: &mut [u8], interrupted: fn() -> bool) -> Result<Option<usize>, OpeningError> {
        if self.gone {
            return Ok(None);
        }
        let read = wait(&self.line, PollFlags::IN, interrupted).and_then(|ready| match &mut self.line {
            _ if !ready => Ok(0),
            Line::Tcp(stream) => stream.read(into),
            Line::Terminal(file) => file.read(into),
        });
        match read {
            Ok(0) => Ok(None),
            Ok(count) => Ok(Some(count)),
            // A peer that goes without a word is no trouble of ours.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(self.opened.failed("read from", error)),
        }
    }

    /// Says this; lines leave when they are whole.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.unsaid.extend_from_slice(bytes);
        if self.unsaid.len() >= GATHERED || bytes.ends_with(b"\n") {
            self.write();
        }
    }

    /// Says what is left.
    pub(super) fn flush(&mut self) {
        self.write();
    }

    fn write(&mut self) {
        let said = std::mem::take(&mut self.unsaid);
        if self.gone || said.is_empty() {
            return;
        }
        let done = match &mut self.line {
            Line::Tcp(stream) => stream.write_all(&said),
            Line::Terminal(file) => file.write_all(&said),
        };
        self.gone = done.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_come() {
        for address in ["0.0.0.0:0", "192.0.2.1:4000", "[::]:0"] {
            let refused = Opened::open(Opening::Tcp(address.parse().unwrap())).unwrap_err();
            assert!(matches!(refused, OpeningError::Public { .. }), "{refused}");
        }
        let opened = Opened::open(Opening::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        assert!(opened.address().starts_with("tcp:127.0.0.1:") && !opened.address().ends_with(":0"));
    }

    #[test]
    fn bytes_cross_a_terminal_as_they_are_and_peers_come_and_go() {
        let opened = Opened::open(Opening::Terminal).unwrap();
        let path = opened.address().strip_prefix("serial:").unwrap().to_owned();
        let all: Vec<u8> = (0..=255).collect();
        for _ in 0..2 {
            let mut theirs = File::options().read(true).write(true).open(&path).unwrap();
            theirs.write_all(&all).unwrap();
            let mut ours = opened.next_peer(|| false).unwrap().unwrap();
            let (mut heard, mut piece) = (Vec::new(), [0; 64]);
            while heard.len() < all.len() {
                let count = ours.read(&mut piece, || false).unwrap().unwrap();
                heard.extend_from_slice(&piece[..count]);
            }
            assert_eq!(heard, all);
            ours.say(&all);
            ours.flush();
            let mut back = vec![0; all.len()];
            theirs.read_exact(&mut back).unwrap();
            assert_eq!(back, all);
        }
    }
}
