//! The agent on a Cortex-M4F in QEMU.

use boardproof_firmware_smoke::{Board, build};
use boardproof_protocol::{Acquire, Reply, Request};

const EPOCH: u64 = 7;

fn an386() -> Board {
    Board::start("mps2-an386", &build("mps2-an386", "thumbv7em-none-eabihf", ""))
}

fn lease(board: &mut Board) {
    let wish = Acquire { epoch: EPOCH, holder: "smoke", ttl_ms: 60_000 };
    assert!(board.one(&Request::Acquire(wish), |reply| matches!(reply, Reply::Leased { .. })));
}

#[test]
fn it_greets_and_keeps_what_is_uploaded() {
    let mut board = an386();
    let (architecture, engines, hz) = board.greet(|reply| match reply {
        Reply::Hello(hello) => (hello.architecture.to_owned(), hello.engines.to_owned(), hello.tick_hz),
        other => panic!("{other:?}"),
    });
    assert_eq!((architecture.as_str(), engines.as_str(), hz), ("arm", "micro 1", 25_000_000));
    lease(&mut board);
    let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    let digest = board.upload(EPOCH, &bytes);
    let present = board.one(&Request::Stat { digest }, |reply| match reply {
        Reply::Stat { present, received } => (present, received),
        other => panic!("{other:?}"),
    });
    assert_eq!(present, (true, 20_000));
}
