//! A client of QEMU's gdb stub: one question, one answer, each with a deadline.

use crate::machine::{Machine, Register, Stop};
use crate::packet::{Decoder, Item, encode, hex, unhex};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a stub listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StubAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl fmt::Display for StubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// What a stub was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Say what it can.
    Greet,
    /// Describe the core's registers.
    Describe,
    /// Read memory.
    Read {
        /// From here on.
        address: u32,
        /// Bytes.
        length: usize,
    },
    /// Write memory.
    Write {
        /// From here on.
        address: u32,
        /// Bytes.
        length: usize,
    },
    /// Read the register of this number.
    ReadRegister(u8),
    /// Set the register of this number.
    WriteRegister(u8),
    /// Plant or remove a breakpoint here.
    Breakpoint(u32),
    /// Let the core run.
    Resume,
    /// Do one instruction.
    Step,
    /// Stop the core.
    Stop,
    /// Reset the machine.
    Reset,
    /// Let go of the machine.
    Release,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greet => f.write_str("say what it can"),
            Self::Describe => f.write_str("describe the core's registers"),
            Self::Read { address, length } => write!(f, "read {length} bytes at {address:#010x}"),
            Self::Write { address, length } => write!(f, "write {length} bytes at {address:#010x}"),
            Self::ReadRegister(number) => write!(f, "read register {number}"),
            Self::WriteRegister(number) => write!(f, "set register {number}"),
            Self::Breakpoint(address) => write!(f, "change the breakpoint at {address:#010x}"),
            Self::Resume => f.write_str("let the core run"),
            Self::Step => f.write_str("do one instruction"),
            Self::Stop => f.write_str("stop the core"),
            Self::Reset => f.write_str("reset the machine"),
            Self::Release => f.write_str("let go of the machine"),
        }
    }
}

/// A stub that cannot be reached or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// Nobody listens, or not for us.
    #[error("could not connect to the gdb stub at {address}")]
    Connect {
        /// Where.
        address: StubAddress,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// QEMU is gone.
    #[error("the gdb stub at {address} was gone when it should {action}")]
    Gone {
        /// Where it was.
        address: StubAddress,
        /// What it should do.
        action: Action,
    },
    /// No answer in time.
    #[error("the gdb stub at {address} did not {action} within {} ms", waited.as_millis())]
    Silent {
        /// Where.
        address: StubAddress,
        /// What it should do.
        action: Action,
        /// How long it had.
        waited: Duration,
    },
    /// Another answer than the protocol has for this question.
    #[error("the gdb stub at {address} was asked to {action}: expected {expected}, got {found:?}")]
    Answer {
        /// Where.
        address: StubAddress,
        /// What it should do.
        action: Action,
        /// What it should say.
        expected: &'static str,
        /// What it said; cut off when long.
        found: String,
    },
    /// An answer is missing: the next one may be that one, come late.
    #[error("the gdb stub at {address} is out of step since an answer stayed out, so it was not asked to {action}")]
    OutOfStep {
        /// Where.
        address: StubAddress,
        /// What it should do.
        action: Action,
    },
    /// The stub does not show this register.
    #[error(
        "QEMU's gdb stub shows no core register of selector {selector}: expected 0 to 16 (R0 to R12, SP, LR, PC, xPSR)"
    )]
    NoRegister {
        /// The selector of DCRSR.
        selector: u32,
    },
}

impl probe_rs::probe::ProbeError for StubError {}

/// A register that a reset clears and a debugger may change: it tells when an asked reset has been done.
const RESET_MARK_REGISTER: Register = Register::General(12);
const RESET_MARK: u32 = 0xb0a4_d000;
/// A core that has not done one instruction after this sleeps. Too short costs nothing but the step.
const STEP: Duration = Duration::from_millis(50);
/// Of memory in one packet: QEMU takes 4096 bytes of packet, two digits per byte.
const CHUNK: usize = 1024;
/// How often a damaged answer is asked for again.
const DAMAGED_MAX: u32 = 3;

#[derive(Debug)]
enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Wire {
    fn connect(address: &StubAddress, patience: Duration) -> std::io::Result<Self> {
        let wire = match address {
            StubAddress::Unix(path) => Self::Unix(UnixStream::connect(path)?),
            StubAddress::Tcp(address) => {
                let mut found = address.to_socket_addrs()?;
                let first = found.next().ok_or_else(|| std::io::Error::from(ErrorKind::AddrNotAvailable))?;
                let stream = TcpStream::connect_timeout(&first, patience)?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
        };
        match &wire {
            Self::Unix(stream) => stream.set_write_timeout(Some(patience))?,
            Self::Tcp(stream) => stream.set_write_timeout(Some(patience))?,
        }
        Ok(wire)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }

    /// Bytes that are there, after at most `limit`; `None` when there were none.
    fn read(&mut self, bytes: &mut [u8], limit: Duration) -> std::io::Result<Option<usize>> {
        // A timeout is rounded up to the kernel's clock tick, and zero would mean for ever.
        let waits = !limit.is_zero();
        let got = match self {
            Self::Unix(stream) => {
                stream.set_nonblocking(!waits)?;
                stream.set_read_timeout(waits.then_some(limit))?;
                stream.read(bytes)
            }
            Self::Tcp(stream) => {
                stream.set_nonblocking(!waits)?;
                stream.set_read_timeout(waits.then_some(limit))?;
                stream.read(bytes)
            }
        };
        match got {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(Some(count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes are to be sent whole, however long the socket takes them, up to its own deadline.
    fn blocks(&self) -> std::io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_nonblocking(false),
            Self::Tcp(stream) => stream.set_nonblocking(false),
        }
    }
}

/// A connection to a stub.
#[derive(Debug)]
pub(crate) struct Stub {
    address: StubAddress,
    wire: Wire,
    decoder: Decoder,
    patience: Duration,
    last_sent: Vec<u8>,
    ran: bool,
    /// A question was not answered. Whatever comes now may be its answer, so nothing is asked any more: data of one address must never
    /// be taken for those of another.
    out_of_step: bool,
}

impl Stub {
    /// Connects; this stops the machine. `patience` is for each answer.
    pub(crate) fn connect(address: &StubAddress, patience: Duration) -> Result<Self, StubError> {
        let wire = Wire::connect(address, patience)
            .map_err(|source| StubError::Connect { address: address.clone(), source })?;
        let (decoder, last_sent) = Default::default();
        let mut stub =
            Self { address: address.clone(), wire, decoder, patience, last_sent, ran: false, out_of_step: false };
        match stub.greet() {
            Ok(()) => Ok(stub),
            Err(error) => {
                stub.take_leave();
                Err(error)
            }
        }
    }

    /// The machine ran until this stub stopped it by connecting.
    pub(crate) fn ran(&self) -> bool {
        self.ran
    }

    /// A stub serves one debugger after the other. This connection waits for its turn even when its end here is closed, and its turn stops
    /// the machine: what it leaves in the socket lets the machine go again.
    fn take_leave(&mut self) {
        let _ = self.wire.blocks().and_then(|()| self.wire.write(&encode("D")));
    }

    /// QEMU stops a running machine when a debugger comes and says so before it answers anything. It takes register packets only from
    /// one who has read the description.
    fn greet(&mut self) -> Result<(), StubError> {
        self.send("qSupported:hwbreak+;swbreak+;xmlRegisters=arm", Action::Greet)?;
        let end = Instant::now() + self.patience;
        let mut answer = self.answer(Action::Greet, end)?;
        if is_stop(&answer) {
            self.ran = true;
            answer = self.answer(Action::Greet, end)?;
        }
        if !answer.starts_with(b"PacketSize=") {
            return Err(self.unexpected(Action::Greet, "PacketSize=...", &answer));
        }
        let description = self.ask("qXfer:features:read:target.xml:0,ffb", Action::Describe)?;
        match description.first() {
            Some(b'l' | b'm') => Ok(()),
            _ => Err(self.unexpected(Action::Describe, "l... or m...", &description)),
        }
    }

    fn ask(&mut self, question: &str, action: Action) -> Result<Vec<u8>, StubError> {
        self.send(question, action)?;
        self.answer(action, Instant::now() + self.patience)
    }

    fn ask_for_ok(&mut self, question: &str, action: Action) -> Result<(), StubError> {
        let answer = self.ask(question, action)?;
        if answer == b"OK" { Ok(()) } else { Err(self.unexpected(action, "OK", &answer)) }
    }

    fn send(&mut self, payload: &str, action: Action) -> Result<(), StubError> {
        self.last_sent = encode(payload);
        let bytes = std::mem::take(&mut self.last_sent);
        let sent = self.write(&bytes, action);
        self.last_sent = bytes;
        sent
    }

    fn write(&mut self, bytes: &[u8], action: Action) -> Result<(), StubError> {
        if self.out_of_step {
            return Err(StubError::OutOfStep { address: self.address.clone(), action });
        }
        let written = self.wire.blocks().and_then(|()| self.wire.write(bytes));
        written.map_err(|error| self.broken(action, &error))
    }

    /// The next packet, or an error at `end`.
    fn answer(&mut self, action: Action, end: Instant) -> Result<Vec<u8>, StubError> {
        match self.packet_until(action, end)? {
            Some(answer) => Ok(answer),
            None => Err(self.broken(action, &ErrorKind::TimedOut.into())),
        }
    }

    /// The next packet, or `None` when `end` has passed. Takes what is already here in any case.
    fn packet_until(&mut self, action: Action, end: Instant) -> Result<Option<Vec<u8>>, StubError> {
        let mut damaged = 0;
        loop {
            while let Some(item) = self.decoder.next() {
                match item {
                    Item::Packet(payload) => {
                        self.write(b"+", action)?;
                        return Ok(Some(payload));
                    }
                    Item::Taken => {}
                    Item::Again => {
                        let bytes = self.last_sent.clone();
                        self.write(&bytes, action)?;
                    }
                    Item::Damaged if damaged < DAMAGED_MAX => {
                        damaged += 1;
                        self.write(b"-", action)?;
                    }
                    Item::Damaged => {
                        return Err(self.unexpected(action, "a packet with its checksum", b"a damaged one"));
                    }
                }
            }
            let mut bytes = [0; 8192];
            let left = end.saturating_duration_since(Instant::now());
            match self.wire.read(&mut bytes, left) {
                Ok(Some(count)) => self.decoder.feed(&bytes[..count]),
                Ok(None) if left.is_zero() => return Ok(None),
                Ok(None) => {}
                Err(error) => return Err(self.broken(action, &error)),
            }
        }
    }

    fn broken(&mut self, action: Action, error: &std::io::Error) -> StubError {
        self.out_of_step = true;
        let address = self.address.clone();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => StubError::Silent { address, action, waited: self.patience },
            _ => StubError::Gone { address, action },
        }
    }

    fn unexpected(&self, action: Action, expected: &'static str, found: &[u8]) -> StubError {
        let found = String::from_utf8_lossy(&found[..found.len().min(60)]).into_owned();
        StubError::Answer { address: self.address.clone(), action, expected, found }
    }

    fn stop_of(&self, action: Action, packet: &[u8]) -> Result<Stop, StubError> {
        match packet.get(..3) {
            Some(b"T05") => Ok(Stop::Trap),
            Some(_) if is_stop(packet) => Ok(Stop::Asked),
            _ => Err(self.unexpected(action, "a stop (T...)", packet)),
        }
    }
}

fn is_stop(packet: &[u8]) -> bool {
    packet.first() == Some(&b'T')
}

fn number(register: Register) -> u8 {
    match register {
        Register::General(number) => number,
        // In the order of QEMU's description for these cores.
        Register::Xpsr => 25,
    }
}

fn after(address: u32, chunks: usize) -> u32 {
    // A chunk's address wraps like the bus does; how many there are fits by far.
    address.wrapping_add(u32::try_from(chunks * CHUNK).unwrap_or(u32::MAX))
}

impl Machine for Stub {
    fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), StubError> {
        for (chunks, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            let (address, length) = (after(address, chunks), chunk.len());
            let action = Action::Read { address, length };
            let answer = self.ask(&format!("m{address:x},{length:x}"), action)?;
            unhex(&answer, chunk).ok_or_else(|| self.unexpected(action, "two digits for each byte", &answer))?;
        }
        Ok(())
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), StubError> {
        for (chunks, chunk) in bytes.chunks(CHUNK).enumerate() {
            let (address, length) = (after(address, chunks), chunk.len());
            self.ask_for_ok(&format!("M{address:x},{length:x}:{}", hex(chunk)), Action::Write { address, length })?;
        }
        Ok(())
    }

    fn register(&mut self, register: Register) -> Result<u32, StubError> {
        let action = Action::ReadRegister(number(register));
        let answer = self.ask(&format!("p{:x}", number(register)), action)?;
        let mut bytes = [0; 4];
        unhex(&answer, &mut bytes).ok_or_else(|| self.unexpected(action, "eight digits", &answer))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn set_register(&mut self, register: Register, value: u32) -> Result<(), StubError> {
        let number = number(register);
        self.ask_for_ok(&format!("P{number:x}={}", hex(&value.to_le_bytes())), Action::WriteRegister(number))
    }

    fn breakpoint(&mut self, address: u32, planted: bool) -> Result<(), StubError> {
        let letter = if planted { 'Z' } else { 'z' };
        self.ask_for_ok(&format!("{letter}1,{address:x},2"), Action::Breakpoint(address))
    }

    fn resume(&mut self) -> Result<(), StubError> {
        self.send("c", Action::Resume)
    }

    /// A core in WFI does not step, and nothing wakes it as long as a debugger steps.
    fn step(&mut self) -> Result<Stop, StubError> {
        self.send("s", Action::Step)?;
        match self.packet_until(Action::Step, Instant::now() + STEP)? {
            Some(packet) => self.stop_of(Action::Step, &packet),
            None => self.interrupt(),
        }
    }

    fn interrupt(&mut self) -> Result<Stop, StubError> {
        self.write(&[0x03], Action::Stop)?;
        let packet = self.answer(Action::Stop, Instant::now() + self.patience)?;
        self.stop_of(Action::Stop, &packet)
    }

    fn stopped(&mut self) -> Result<Option<Stop>, StubError> {
        let packet = self.packet_until(Action::Resume, Instant::now())?;
        packet.map(|packet| self.stop_of(Action::Resume, &packet)).transpose()
    }

    /// QEMU says OK when it has noted the wish; the machine's own loop resets it later.
    fn reset(&mut self) -> Result<(), StubError> {
        self.set_register(RESET_MARK_REGISTER, RESET_MARK)?;
        self.ask_for_ok(&format!("qRcmd,{}", hex(b"system_reset")), Action::Reset)?;
        let end = Instant::now() + self.patience;
        while self.register(RESET_MARK_REGISTER)? == RESET_MARK {
            if Instant::now() >= end {
                let (address, waited) = (self.address.clone(), self.patience);
                return Err(StubError::Silent { address, action: Action::Reset, waited });
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), StubError> {
        self.ask_for_ok("D", Action::Release)
    }
}
