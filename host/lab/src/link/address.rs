//! Where a line for bytes is: `serial:/dev/ttyACM0@115200`, `tcp:host:port`, `unix:/path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a line for bytes is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByteAddress {
    /// A serial port, a pseudo terminal or a USB device that plays one.
    Serial {
        /// The port's file.
        port: String,
        /// Bits per second at the start, where the address names them.
        rate: Option<u32>,
    },
    /// A TCP socket that listens.
    Tcp {
        /// Name or number of the machine.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A socket of this machine that listens.
    Unix {
        /// Its file.
        path: PathBuf,
    },
}

/// An address that names no line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{address}' is no address of a line: {problem}")]
pub struct AddressError {
    /// What was given.
    pub address: String,
    /// What is wrong with it.
    pub problem: String,
}

const FORMS: &str = "expected serial:/dev/PORT[@BAUD], tcp:HOST:PORT or unix:/PATH";

impl FromStr for ByteAddress {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Self, AddressError> {
        let wrong = |problem: String| AddressError { address: address.into(), problem };
        let Some((kind, place)) = address.split_once(':') else { return Err(wrong(FORMS.into())) };
        match kind {
            "serial" => serial(place).map_err(wrong),
            "tcp" => tcp(place).map_err(wrong),
            "unix" if place.is_empty() => Err(wrong("the path is missing".into())),
            "unix" => Ok(Self::Unix { path: place.into() }),
            other => Err(wrong(format!("{FORMS}, got the kind '{other}'"))),
        }
    }
}

fn serial(place: &str) -> Result<ByteAddress, String> {
    let (port, rate) = match place.rsplit_once('@') {
        Some((port, rate)) => (port, Some(baud(rate)?)),
        None => (place, None),
    };
    if port.is_empty() {
        return Err("the port is missing".into());
    }
    Ok(ByteAddress::Serial { port: port.into(), rate })
}

fn baud(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("expected bits per second behind '@', got '{text}'"))
}

fn tcp(place: &str) -> Result<ByteAddress, String> {
    let Some((host, port)) = place.rsplit_once(':') else { return Err("expected HOST:PORT".into()) };
    // An IPv6 address is written in brackets, or its last group would pass for the port.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let number = port.parse().ok().filter(|port| *port > 0);
    let port = number.ok_or_else(|| format!("expected a port from 1 to 65535, got '{port}'"))?;
    Ok(ByteAddress::Tcp { host: host.into(), port })
}

impl fmt::Display for ByteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { port, rate: Some(rate) } => write!(f, "serial:{port}@{rate}"),
            Self::Serial { port, rate: None } => write!(f, "serial:{port}"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written_the_same() {
        for text in [
            "serial:/dev/ttyACM0@115200",
            "serial:/dev/serial/by-id/usb-A_b@c-if00@9600",
            "serial:/dev/ttyUSB0",
            "tcp:localhost:4000",
            "tcp:[::1]:4000",
            "unix:/run/board.sock",
        ] {
            assert_eq!(text.parse::<ByteAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<ByteAddress>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(expected), "{error}");
        };
        check("/dev/ttyACM0", "expected serial:");
        check("usb:/dev/ttyACM0", "got the kind 'usb'");
        check("serial:", "the port is missing");
        check("serial:@9600", "the port is missing");
        check("serial:/dev/ttyACM0@fast", "got 'fast'");
        check("serial:/dev/ttyACM0@0", "got '0'");
        check("tcp:localhost", "expected HOST:PORT");
        check("tcp::80", "the host is missing");
        check("tcp:board:70000", "got '70000'");
        check("unix:", "the path is missing");
    }
}
