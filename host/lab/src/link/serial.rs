//! Serial ports, pseudo terminals, USB devices that play a serial port, TCP and unix sockets: whatever an address names.
//!
//! The laboratory is written in threads, and tokio-serial knows ports only as futures. So each port has a thread with a runtime of its own
//! in it, and nothing outside this file sees a future. The thread is needed anyway: what a device sends must be taken from the
//! system's small buffer also while the host does something else, or a line without flow control loses it.

use super::LinkError;
use super::address::ByteAddress;
use super::bytes::{ByteLink, Bytes, Waits};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialPortType, SerialStream};

/// Bits per second where nobody names another rate.
pub const RATE_USUAL: u32 = 115_200;
/// Longest time to open a port or to connect.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Pieces that may wait for the host. What comes when they are full is lost, as on a line whose receiver is too slow.
const QUEUE: usize = 1024;
/// Most bytes of one piece.
const PIECE: usize = 4096;

/// What is wrong with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortProblem {
    /// There is no such port; these are there.
    Missing(Vec<String>),
    /// This user may not open it.
    Denied,
    /// Another program has it.
    Locked,
    /// It is no serial port.
    NoPort,
    /// Nobody listens there.
    Refused,
    /// Something else.
    Other,
}

impl fmt::Display for PortProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(known) if known.is_empty() => f.write_str("there is no such port, nor any other"),
            Self::Missing(known) => write!(f, "there is no such port; there are {}", known.join(", ")),
            Self::Denied => f.write_str("this user may not"),
            Self::Locked => f.write_str("another program has it"),
            Self::NoPort => f.write_str("it is no serial port"),
            Self::Refused => f.write_str("nobody listens there"),
            Self::Other => f.write_str("the system would not"),
        }
    }
}

impl PortProblem {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing(_) => "is the board plugged in? the inventory's address names its port",
            Self::Denied => {
                "serial ports belong to the group dialout: `sudo usermod -aG dialout $USER`, then log in anew"
            }
            Self::Locked => "close the terminal program or the other run that uses this port",
            Self::Refused => "is the emulator or the port server at the other end running?",
            Self::NoPort | Self::Other => return None,
        };
        Some(hint.into())
    }
}

/// What the thread of a port is asked.
enum Order {
    Write { bytes: Vec<u8>, done: SyncSender<io::Result<()>> },
    Rate { rate: u32, done: SyncSender<io::Result<()>> },
}

/// An open port or socket.
pub struct Port {
    address: ByteAddress,
    /// Serial number of the USB device behind the port: after a replug it may have another name.
    usb_serial: Option<String>,
    rate_start: Option<u32>,
    rate: Option<u32>,
    line: Line,
}

/// The ways to and from the thread. It ends when `orders` is dropped.
struct Line {
    orders: UnboundedSender<Order>,
    arrived: Receiver<io::Result<Vec<u8>>>,
}

impl Port {
    /// Opens what the address names; `rate` is that of a serial port whose address names none. `unit` is for messages.
    pub fn open(unit: &str, address: &ByteAddress, rate: u32) -> Result<Self, LinkError> {
        let rate = match address {
            ByteAddress::Serial { rate: own, .. } => Some(own.unwrap_or(rate)),
            _ => None,
        };
        let line = open(address, rate).map_err(|source| {
            let problem = problem(address, &source);
            LinkError::Port { unit: unit.into(), port: address.to_string(), problem, source }
        })?;
        let usb_serial = match address {
            ByteAddress::Serial { port, .. } => {
                usb_serials().find(|(name, _)| is_same(name, port)).map(|found| found.1)
            }
            _ => None,
        };
        Ok(Self { address: address.clone(), usb_serial, rate_start: rate, rate, line })
    }

    fn ask(&self, order: impl FnOnce(SyncSender<io::Result<()>>) -> Order, deadline: Instant) -> io::Result<()> {
        let (done, answer) = sync_channel(1);
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.line.orders.send(order(done)).map_err(|_| gone())?;
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl ByteLink<Port> {
    /// A link over the port or socket that the address names; `rate` is that of a serial port whose address names none.
    pub fn open(unit: &str, address: &ByteAddress, rate: u32, waits: Waits) -> Result<Self, LinkError> {
        Ok(Self::new(unit, Port::open(unit, address, rate)?, waits))
    }
}

impl Bytes for Port {
    fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        self.ask(|done| Order::Write { bytes: bytes.to_vec(), done }, deadline)
    }

    fn read(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        match self.line.arrived.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => {
                let piece = piece?;
                into.extend_from_slice(&piece);
                Ok(piece.len())
            }
            Err(RecvTimeoutError::Timeout) => Ok(0),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn rate(&self) -> Option<u32> {
        self.rate
    }

    fn set_rate(&mut self, rate: u32) -> io::Result<()> {
        self.ask(|done| Order::Rate { rate, done }, Instant::now() + OPEN_WITHIN)?;
        self.rate = Some(rate);
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let named = open(&self.address, self.rate_start);
        self.line = match (named, &self.usb_serial) {
            (Err(_), Some(serial)) => {
                let found = usb_serials().find(|(_, of)| of == serial);
                let (port, _) = found.ok_or(io::ErrorKind::NotFound)?;
                open(&ByteAddress::Serial { port, rate: None }, self.rate_start)?
            }
            (named, _) => named?,
        };
        self.rate = self.rate_start;
        Ok(())
    }
}

/// Starts the thread of a port; returns once the port is open.
fn open(address: &ByteAddress, rate: Option<u32>) -> io::Result<Line> {
    let (orders, to_do) = unbounded_channel();
    let (tell, arrived) = sync_channel(QUEUE);
    let (opened, is_open) = sync_channel(1);
    let address = address.clone();
    std::thread::Builder::new().name("port".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(error))),
        };
        runtime.block_on(async move {
            match tokio::time::timeout(OPEN_WITHIN, connect(&address, rate)).await {
                Ok(Ok(stream)) => {
                    let _ = opened.send(Ok(()));
                    serve(stream, to_do, &tell).await;
                }
                Ok(Err(error)) => drop(opened.send(Err(error))),
                Err(_) => drop(opened.send(Err(io::ErrorKind::TimedOut.into()))),
            }
        });
    })?;
    is_open.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
    Ok(Line { orders, arrived })
}

/// A port or socket.
enum Stream {
    Serial(Box<SerialStream>),
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn connect(address: &ByteAddress, rate: Option<u32>) -> io::Result<Stream> {
    match address {
        ByteAddress::Serial { port, .. } => {
            let mut stream = tokio_serial::new(port, rate.unwrap_or(RATE_USUAL)).open_native_async()?;
            // Some USB devices send nothing until a terminal is ready; a pseudo terminal has no such lines, which is no harm.
            let _ = stream.write_data_terminal_ready(true);
            let _ = stream.write_request_to_send(true);
            Ok(Stream::Serial(Box::new(stream)))
        }
        ByteAddress::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        ByteAddress::Unix { path } => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

impl Stream {
    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Serial(stream) => Pin::new(&mut **stream).poll_read(context, into),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Serial(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn set_rate(&mut self, rate: u32) -> io::Result<()> {
        match self {
            Self::Serial(stream) => Ok(stream.set_baud_rate(rate)?),
            Self::Tcp(_) | Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What happened at a port.
enum Happened {
    Ordered(Order),
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    /// Nobody uses the port any more.
    Dropped,
}

/// Reads and writes until nobody uses the port any more, or it is gone.
async fn serve(mut stream: Stream, mut orders: UnboundedReceiver<Order>, tell: &SyncSender<io::Result<Vec<u8>>>) {
    let mut piece = vec![0; PIECE];
    let mut writing: Option<(Vec<u8>, usize, SyncSender<io::Result<()>>)> = None;
    loop {
        let happened = poll_fn(|context| {
            if let Some((bytes, written, _)) = &writing {
                if let Poll::Ready(result) = stream.poll_write(context, &bytes[*written..]) {
                    return Poll::Ready(Happened::Wrote(result));
                }
            } else if let Poll::Ready(order) = orders.poll_recv(context) {
                return Poll::Ready(order.map_or(Happened::Dropped, Happened::Ordered));
            }
            let mut into = ReadBuf::new(&mut piece);
            let read = stream.poll_read(context, &mut into);
            read.map(|result| Happened::Read(result.map(|()| into.filled().len())))
        });
        match happened.await {
            Happened::Ordered(Order::Write { bytes, done }) if bytes.is_empty() => drop(done.send(Ok(()))),
            Happened::Ordered(Order::Write { bytes, done }) => writing = Some((bytes, 0, done)),
            Happened::Ordered(Order::Rate { rate, done }) => drop(done.send(stream.set_rate(rate))),
            Happened::Wrote(result) => {
                let Some((bytes, written, done)) = writing.take() else { continue };
                match result {
                    Ok(0) => drop(done.send(Err(io::ErrorKind::WriteZero.into()))),
                    Ok(count) if written + count < bytes.len() => writing = Some((bytes, written + count, done)),
                    Ok(_) => drop(done.send(Ok(()))),
                    Err(error) => drop(done.send(Err(error))),
                }
            }
            Happened::Read(Ok(count @ 1..)) => drop(tell.try_send(Ok(piece[..count].to_vec()))),
            Happened::Read(Ok(0)) => return drop(tell.try_send(Err(io::ErrorKind::UnexpectedEof.into()))),
            Happened::Read(Err(error)) => return drop(tell.try_send(Err(error))),
            Happened::Dropped => return,
        }
    }
}

/// Name and serial number of every USB device that plays a port.
fn usb_serials() -> impl Iterator<Item = (String, String)> {
    tokio_serial::available_ports().unwrap_or_default().into_iter().filter_map(|port| match port.port_type {
        SerialPortType::UsbPort(usb) => Some((port.port_name, usb.serial_number?)),
        _ => None,
    })
}

/// Do both names mean one port? One may be a link to the other.
fn is_same(a: &str, b: &str) -> bool {
    let real = |name: &str| std::fs::canonicalize(name).unwrap_or_else(|_| name.into());
    a == b || real(a) == real(b)
}

fn problem(address: &ByteAddress, error: &io::Error) -> PortProblem {
    let serial = matches!(address, ByteAddress::Serial { .. });
    match error.kind() {
        io::ErrorKind::PermissionDenied => PortProblem::Denied,
        io::ErrorKind::ConnectionRefused => PortProblem::Refused,
        io::ErrorKind::NotFound if is_locked(error) => PortProblem::Locked,
        io::ErrorKind::NotFound if serial => {
            let known = tokio_serial::available_ports().unwrap_or_default();
            PortProblem::Missing(known.into_iter().map(|port| port.port_name).collect())
        }
        io::ErrorKind::NotFound => PortProblem::Refused,
        _ if serial && error.to_string().contains("Not a typewriter") => PortProblem::NoPort,
        _ => PortProblem::Other,
    }
}

/// tokio-serial has one kind of error for a port that is not there and one that another program holds; its words tell them apart.
fn is_locked(error: &io::Error) -> bool {
    let words = error.to_string();
    words.contains("exclusive lock") || words.contains("busy")
}
