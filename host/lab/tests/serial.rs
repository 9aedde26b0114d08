//! The serial code on what a machine without a board has: pseudo terminals, TCP and unix sockets. At the far end a thread plays the
//! simulated device.

use boardproof_core::Session;
use boardproof_lab::events::Event as Said;
use boardproof_lab::held::Held;
use boardproof_lab::link::client::{Client, Patience};
use boardproof_lab::link::{ByteAddress, ByteLink, Bytes, Link, LinkError, Port, PortProblem, RATE_USUAL, Waits};
use boardproof_lab::ship::{Blob, ship};
use boardproof_protocol::frame::{BYTE_FRAME_MAX, CobsDeframer, Deframed, encode_cobs};
use boardproof_protocol::{Acquire, Reply, Request};
use boardproof_record::Digest;
use boardproof_record::observation::Shipped;
use boardproof_sim::{AffineEngine, Hardware, SimDevice};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn device() -> SimDevice {
    let hardware = Hardware { frame_max: BYTE_FRAME_MAX, rate_max: Some(921_600), ..Hardware::default() };
    SimDevice::with_engine(Box::new(AffineEngine { seed: 1 }), hardware)
}

/// Plays a device until the other side goes.
fn play(mut device: SimDevice, mut line: impl Read + Write) -> SimDevice {
    let (mut frame, mut scratch, mut coded) = ([0; 1100], [0; BYTE_FRAME_MAX], [0; 1100]);
    let mut deframer = CobsDeframer::new(&mut frame);
    let mut session = Session::default();
    let mut piece = [0; 512];
    loop {
        let count = match line.read(&mut piece) {
            Ok(count @ 1..) => count,
            Ok(0) | Err(_) => return device,
        };
        let mut input = &piece[..count];
        while !input.is_empty() {
            let Deframed::Payload(payload) = deframer.push(&mut input) else { continue };
            let send = &mut |answer: &[u8]| {
                let used = encode_cobs(answer, &mut coded).unwrap();
                let _ = line.write_all(&coded[..used]);
            };
            session.handle(&mut device, payload, &mut scratch, send);
        }
    }
}

/// A pseudo terminal: the address of one end, and the other end.
fn terminal() -> (ByteAddress, File) {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    let port = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
    (ByteAddress::Serial { port, rate: None }, File::from(far))
}

fn opened(address: &ByteAddress) -> ByteLink<Port> {
    ByteLink::open("board", address, RATE_USUAL, Waits::default()).unwrap()
}

fn client<L: Link>(link: L) -> Client<L> {
    let patience = link.patience();
    Client::new(link, patience, || false)
}

/// Greets, takes the lease and brings bytes of every value, in many frames.
fn upload(link: ByteLink<Port>, folder: &Path, rates: &[u32]) -> (Option<u32>, Shipped) {
    let content: Vec<u8> = (0..50_000_u32).flat_map(|i| [i as u8, (i >> 8) as u8]).collect();
    let path = folder.join("content");
    std::fs::write(&path, &content).unwrap();
    let blob = Blob { what: "content".into(), path, digest: Digest::of(&content), program: false };
    let mut client = client(link);
    client.hello().unwrap();
    let rate = client.quicken(rates).unwrap();
    let wish = Acquire { epoch: 1, holder: "test", ttl_ms: 60_000 };
    client.ask("take", &Request::Acquire(wish), |r| matches!(r, Reply::Leased { .. }).then_some(())).unwrap();
    let mut shipped = Shipped::default();
    ship(&mut client, &mut Held::new(1, "test"), &blob, None, &mut shipped, &mut |_: Said| {}).unwrap();
    (rate, shipped)
}

#[test]
fn a_blob_goes_through_a_pseudo_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (address, far) = terminal();
    let link = opened(&address);
    let board = std::thread::spawn(move || play(device(), far));
    let (rate, shipped) = upload(link, folder.path(), &[921_600]);
    // A pseudo terminal takes any rate.
    assert_eq!((rate, shipped.content_bytes), (Some(921_600), 100_000));
    board.join().unwrap();
}

#[test]
fn a_blob_goes_through_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let board = std::thread::spawn(move || play(device(), listener.accept().unwrap().0));
    let (rate, shipped) = upload(opened(&address), folder.path(), &[921_600]);
    assert_eq!((rate, shipped.content_bytes), (None, 100_000));
    board.join().unwrap();
}

/// A unix socket in this folder with a device behind it that serves so many connections, one after the other.
fn unix_board(folder: &Path, connections: usize) -> (ByteAddress, JoinHandle<()>) {
    let path = folder.join("line");
    let listener = UnixListener::bind(&path).unwrap();
    let board = std::thread::spawn(move || {
        let mut device = device();
        for _ in 0..connections {
            device = play(device, listener.accept().unwrap().0);
        }
    });
    (ByteAddress::Unix { path }, board)
}

#[test]
fn a_blob_goes_through_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (address, board) = unix_board(folder.path(), 1);
    let (_, shipped) = upload(opened(&address), folder.path(), &[]);
    assert_eq!(shipped.content_bytes, 100_000);
    board.join().unwrap();
}

#[test]
fn a_line_that_is_cut_is_connected_anew_and_the_session_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("line");
    let listener = UnixListener::bind(&path).unwrap();
    let board = std::thread::spawn(move || {
        // The first takes a request and goes without an answer.
        let (mut first, _) = listener.accept().unwrap();
        let _ = first.read(&mut [0; 16]).unwrap();
        drop(first);
        play(device(), listener.accept().unwrap().0)
    });
    let mut client = client(opened(&ByteAddress::Unix { path }));
    assert_eq!(client.hello().unwrap().frame_max, BYTE_FRAME_MAX);
    drop(client);
    board.join().unwrap();
}

#[test]
fn a_line_that_does_not_come_back_is_gone_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (address, board) = unix_board(folder.path(), 0);
    board.join().unwrap();
    let error = ByteLink::open("board", &address, RATE_USUAL, Waits::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Port { problem: PortProblem::Refused, .. }), "{error}");

    let (address, far) = terminal();
    let waits = Waits { replug: Duration::from_millis(300), ..Waits::default() };
    let mut link = ByteLink::open("board", &address, RATE_USUAL, waits).unwrap();
    drop(far);
    let error = link.receive(soon()).unwrap_err();
    assert!(matches!(error, LinkError::Gone { .. }), "{error}");
    assert!(error.to_string().contains("'board' is gone"), "{error}");
}

#[test]
fn a_port_that_is_not_there_is_told_with_those_that_are() {
    let address = "serial:/dev/ttyBOARDPROOF9".parse().unwrap();
    let error = Port::open("board", &address, RATE_USUAL).map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Port { problem: PortProblem::Missing(_), .. }), "{error}");
    assert!(error.to_string().contains("serial:/dev/ttyBOARDPROOF9 for unit 'board'"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("plugged in")));
}

#[test]
fn a_port_that_another_program_has_is_told() {
    let (address, _far) = terminal();
    let _first = Port::open("board", &address, RATE_USUAL).unwrap();
    let error = Port::open("board", &address, RATE_USUAL).map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Port { problem: PortProblem::Locked, .. }), "{error:?}");
    assert!(error.to_string().contains("another program has it"), "{error}");
}

#[test]
fn a_file_is_no_port() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let address = ByteAddress::Serial { port: file.path().to_str().unwrap().into(), rate: None };
    let error = Port::open("board", &address, RATE_USUAL).map(|_| ()).unwrap_err();
    assert!(matches!(error, LinkError::Port { problem: PortProblem::NoPort, .. }), "{error:?}");
}

#[test]
fn every_byte_goes_through_a_terminal_as_it_is() {
    let (address, mut far) = terminal();
    let mut port = Port::open("board", &address, RATE_USUAL).unwrap();
    let all: Vec<u8> = (0..=255).chain([0x0d, 0x0a, 3, 4, 0x11, 0x13, 0x1a, 0x1c, 0x7f, 0xff, 0]).collect();
    port.write(&all, soon()).unwrap();
    let mut there = vec![0; all.len()];
    far.read_exact(&mut there).unwrap();
    far.write_all(&all).unwrap();
    let mut back = Vec::new();
    while back.len() < all.len() {
        assert!(port.read(&mut back, soon()).unwrap() > 0, "only {} bytes came back", back.len());
    }
    assert!(there == all && back == all);
}

#[test]
fn a_silent_port_is_an_error_within_bounds() {
    let (address, _far) = terminal();
    let greeting = Patience { answer: Duration::from_millis(20), asks: 5 };
    let link = ByteLink::open("board", &address, 921_600, Waits { greeting, ..Waits::default() }).unwrap();
    let error = client(link).hello().unwrap_err();
    assert!(error.timed_out() && error.hint().is_some_and(|hint| hint.contains("921600")), "{error:?}");
}

#[test]
fn a_plug_that_is_pulled_and_put_back_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("board");
    let plug = |address: &ByteAddress| {
        let ByteAddress::Serial { port, .. } = address else { panic!("{address}") };
        let _ = std::fs::remove_file(&name);
        std::os::unix::fs::symlink(port, &name).unwrap();
    };
    let (first, far) = terminal();
    plug(&first);
    let address = ByteAddress::Serial { port: name.to_str().unwrap().into(), rate: None };
    let mut link = opened(&address);
    drop(far);
    assert!(link.receive(Instant::now() + Duration::from_millis(50)).unwrap().is_none(), "it may come back");
    let (second, far) = terminal();
    plug(&second);
    let board = std::thread::spawn(move || play(device(), far));
    assert_eq!(client(link).hello().unwrap().frame_max, BYTE_FRAME_MAX);
    board.join().unwrap();
}
