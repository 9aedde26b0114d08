//! Boards in QEMU through the virtual probe: everything between the probe's handle and the emulated core is what a board on a desk gets.
//!
//! These tests need `qemu-system-arm` and fail without it.

mod board;
mod firmware;

use board::{Board, until};
use boardproof_probe::{
    AttachOptions, CRASH_SYMBOL, CoreState, Permission, Probe, ProbeError, ProbeSource, RttPlace, StubAddress,
};
use boardproof_record::plan::{Grant, Probe as ProbeSpec};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

const CHIP: &str = "mps2-an386";
const RAM: u32 = 0x2000_0000;

fn permission(step: Grant, chip: &str) -> Permission {
    Permission::granted(step, &ProbeSpec { chip: chip.into(), grants: vec![step] }).unwrap()
}

fn attach(board: &Board) -> Probe {
    Probe::attach(&board.source(), board.chip(), AttachOptions::default()).unwrap()
}

fn flash(probe: &Probe, elf: &[u8]) {
    let flashed = probe.flash(elf, true, &permission(Grant::Flash, probe.chip())).unwrap();
    assert!(flashed.verified);
}

fn word(probe: &Probe, address: u32) -> u32 {
    let mut bytes = [0; 4];
    probe.read(address, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

fn counts(probe: &Probe) {
    let before = word(probe, firmware::COUNTER);
    until("the counter to go on", || word(probe, firmware::COUNTER) != before);
}

#[test]
fn a_blank_board_of_each_kind_is_flashed_and_runs() {
    for chip in ["mps2-an385", "mps2-an386", "mps2-an500"] {
        let board = Board::blank(chip);
        let probe = attach(&board);
        assert_eq!(probe.state().unwrap(), CoreState::Halted, "{chip}");
        let elf = firmware::counter();
        let flashed = probe.flash(&elf, true, &permission(Grant::Flash, chip)).unwrap();
        assert_eq!(flashed.bytes, firmware::code_bytes(&elf), "{chip}");
        let mut in_flash = vec![0; firmware::code_bytes(&elf) as usize];
        probe.read(0, &mut in_flash).unwrap();
        assert_eq!(in_flash, firmware::code(&elf), "{chip}");
        assert_eq!(word(&probe, 0xffc), u32::MAX, "{chip}: the rest of the sector is erased");
        assert_eq!(word(&probe, 0x1000), 0, "{chip}: the next sector is untouched");
        probe.reset().unwrap();
        assert_eq!(probe.state().unwrap(), CoreState::Running, "{chip}");
        counts(&probe);
    }
}

#[test]
fn a_blank_board_that_should_run_locks_up_and_can_be_flashed_all_the_same() {
    let board = Board::blank(CHIP);
    let probe = attach(&board);
    probe.reset().unwrap();
    assert_eq!(probe.state().unwrap(), CoreState::LockedUp);
    drop(probe);
    let probe = attach(&board);
    flash(&probe, &firmware::counter());
    probe.reset().unwrap();
    counts(&probe);
}

#[test]
fn another_firmware_replaces_the_one_that_runs() {
    let board = Board::running(CHIP, &firmware::sleeper());
    let probe = attach(&board);
    flash(&probe, &firmware::counter());
    probe.reset().unwrap();
    counts(&probe);
}

#[test]
fn memory_is_read_and_written_while_the_core_stands_and_while_it_runs() {
    let board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    let bytes: Vec<u8> = (0..5003u32).map(|index| (index * 7) as u8).collect();
    for (halts, address) in [(true, RAM + 0x10_0001), (false, RAM + 0x20_0003)] {
        if halts {
            probe.halt().unwrap();
        } else {
            probe.run().unwrap();
            counts(&probe);
        }
        probe.write(address, &bytes).unwrap();
        let mut read = vec![0; bytes.len()];
        probe.read(address, &mut read).unwrap();
        assert!(read == bytes, "halted: {halts}");
        let mut around = [1; 2];
        probe.read(address - 1, &mut around[..1]).unwrap();
        probe.read(address + 5003, &mut around[1..]).unwrap();
        assert_eq!(around, [0; 2], "halted: {halts}");
    }
    counts(&probe);
}

#[test]
fn a_model_is_loaded_into_the_large_memory_of_each_board() {
    for (chip, psram) in [("mps2-an386", 0x2100_0000), ("mps2-an500", 0x6000_0000)] {
        let board = Board::blank(chip);
        let probe = attach(&board);
        let model: Vec<u8> = (0..256 * 1024u32).map(|index| (index ^ (index >> 8)) as u8).collect();
        let start = Instant::now();
        probe.write(psram, &model).unwrap();
        let wrote = start.elapsed();
        let mut read = vec![0; model.len()];
        probe.read(psram, &mut read).unwrap();
        assert!(read == model, "{chip}");
        println!("{chip}: 256 KiB written in {wrote:?}, read in {:?}", start.elapsed() - wrote);
    }
}

#[test]
fn the_core_is_halted_reset_and_stopped_at_a_breakpoint() {
    let board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    assert_eq!(probe.state().unwrap(), CoreState::Running);
    assert!(firmware::COUNTER_LOOP.contains(&probe.halt().unwrap()));
    assert_eq!(probe.state().unwrap(), CoreState::Halted);
    let stands = word(&probe, firmware::COUNTER);
    assert_eq!(word(&probe, firmware::COUNTER), stands);
    assert_eq!(probe.reset_and_halt().unwrap(), firmware::ENTRY);
    assert_eq!(probe.state().unwrap(), CoreState::Halted);
    let stop = firmware::COUNTER_LOOP.start + 2;
    probe.breakpoint(stop, true).unwrap();
    for round in 1..=3 {
        probe.run().unwrap();
        until("the breakpoint", || probe.state().unwrap() == CoreState::Halted);
        assert_eq!(probe.post_mortem().unwrap().pc, stop);
        assert_eq!(word(&probe, firmware::COUNTER), round - 1 + if round == 1 { stands } else { 0 });
    }
    probe.breakpoint(stop, false).unwrap();
    probe.run().unwrap();
    assert_eq!(probe.state().unwrap(), CoreState::Running);
    counts(&probe);
}

#[test]
fn a_board_that_runs_or_sleeps_goes_on_when_the_probe_comes_and_when_it_goes() {
    for (name, elf) in [("counter", firmware::counter()), ("sleeper", firmware::sleeper())] {
        let board = Board::running(CHIP, &elf);
        assert!(board.is_running(), "{name}");
        let probe = attach(&board);
        assert_eq!(probe.state().unwrap(), CoreState::Running, "{name}");
        assert!(board.is_running(), "{name} with a probe");
        drop(probe);
        assert!(board.is_running(), "{name} without the probe");
        let probe = attach(&board);
        probe.halt().unwrap();
        assert!(!board.is_running(), "{name} halted");
        drop(probe);
        assert!(board.is_running(), "{name} without the probe that halted it");
    }
}

/// A control block with one channel in each direction, at the address and with the buffers that the echo firmware uses.
fn control_block() -> Vec<u8> {
    let (up, down) = (firmware::RTT + 0x100, firmware::RTT + 0x200);
    let words = [1, 1, 0, up, 61, 0, 0, 0, 0, down, 47, 0, 0, 0];
    let words = words.into_iter().flat_map(u32::to_le_bytes);
    b"SEGGER RTT\0\0\0\0\0\0".iter().copied().chain(words).collect()
}

#[test]
fn rtt_carries_bytes_both_ways() {
    for scans in [false, true] {
        let board = Board::blank(CHIP);
        let probe = attach(&board);
        flash(&probe, &firmware::echo());
        probe.write(firmware::RTT, &control_block()).unwrap();
        probe.reset().unwrap();
        let place = if scans { RttPlace::Scan } else { RttPlace::Address(firmware::RTT) };
        let mut stream = probe.rtt(place).unwrap();
        stream.set_limit(Duration::from_secs(10));
        let sent: Vec<u8> = (0..700u32).map(|index| (index * 3) as u8).collect();
        let mut got = vec![];
        for piece in sent.chunks(90) {
            stream.write_all(piece).unwrap();
            let mut back = vec![0; piece.len()];
            stream.read_exact(&mut back).unwrap();
            got.extend(back);
        }
        assert_eq!(got, sent);
        stream.set_limit(Duration::from_millis(30));
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

#[test]
fn rtt_that_is_not_there_is_an_error() {
    let board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    for place in [RttPlace::Address(RAM + 0x100), RttPlace::Scan] {
        let error = probe.rtt(place).unwrap_err();
        assert_eq!(error.to_string(), "looking for an RTT control block failed");
        assert!(error.hint().unwrap().contains("_SEGGER_RTT"));
    }
    counts(&probe);
}

#[test]
fn a_dead_board_tells_how_it_died() {
    let board = Board::running(CHIP, &firmware::fault());
    let probe = attach(&board);
    let died = probe.post_mortem().unwrap();
    assert_eq!((died.found, died.pc, died.exception()), (CoreState::Running, firmware::HANDLER, 3));
    assert_eq!(died.lr, 0xffff_fff9, "out of thread mode, on the main stack");
    assert_eq!(died.sp, firmware::STACK - 32, "one frame");
    assert_eq!((died.cfsr, died.hfsr), (0x8200, 0x4000_0000), "a precise bus fault, escalated");
    assert_eq!((died.mmfar, died.bfar), (None, Some(firmware::NOWHERE)));
    assert_eq!(word(&probe, died.sp + 24), firmware::FAULTING, "the frame says where");
    assert_eq!(probe.state().unwrap(), CoreState::Running);
}

#[test]
fn the_crash_record_is_found_by_its_symbol() {
    let board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    let record = *b"a record that survived";
    probe.write(firmware::CRASH, &record).unwrap();
    let named = firmware::with_symbol(&firmware::counter(), CRASH_SYMBOL, firmware::CRASH, record.len() as u32);
    assert_eq!(probe.crash_record(&named).unwrap(), record);
    let error = probe.crash_record(&firmware::counter()).unwrap_err();
    assert!(matches!(error, ProbeError::NoSymbol { .. }), "{error}");
}

#[test]
fn a_wrong_permission_touches_nothing() {
    let board = Board::blank(CHIP);
    let probe = attach(&board);
    for wrong in [permission(Grant::Erase, CHIP), permission(Grant::Flash, "mps2-an385")] {
        let error = probe.flash(&firmware::counter(), true, &wrong).unwrap_err();
        assert!(matches!(error, ProbeError::OtherPermission { .. }), "{error}");
    }
    probe.erase(&permission(Grant::Flash, CHIP)).unwrap_err();
    assert_eq!([word(&probe, 0), word(&probe, firmware::ENTRY)], [0, 0]);
    let options = AttachOptions { unlock: Some(permission(Grant::Flash, CHIP)), ..AttachOptions::default() };
    drop(probe);
    let error = Probe::attach(&board.source(), CHIP, options).unwrap_err();
    assert!(matches!(error, ProbeError::OtherPermission { .. }), "{error}");
}

#[test]
fn erasing_takes_all_of_the_flash_and_nothing_else() {
    let board = Board::blank(CHIP);
    let probe = attach(&board);
    probe.write(RAM + 0x10_0000, &[1, 2, 3, 4]).unwrap();
    probe.erase(&permission(Grant::Erase, CHIP)).unwrap();
    assert_eq!([0, 0x1000, 0x3f_fffc].map(|address| word(&probe, address)), [u32::MAX; 3]);
    assert_eq!(word(&probe, RAM + 0x10_0000), 0x0403_0201);
    drop(probe);
    assert!(!board.is_running(), "QEMU would end itself");
}

#[test]
fn a_firmware_is_told_from_one_with_another_bit() {
    let board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    assert!(probe.holds(&firmware::counter()).unwrap());
    assert!(!probe.holds(&firmware::fault()).unwrap());
    let vandal = firmware::vandal();
    flash(&probe, &vandal);
    assert!(probe.holds(&vandal).unwrap());
    probe.reset().unwrap();
    until("the bit to be turned", || word(&probe, firmware::VICTIM) != 0);
    assert!(!probe.holds(&vandal).unwrap());
}

#[test]
fn memory_is_not_a_way_around_the_permission_to_flash() {
    let board = Board::blank(CHIP);
    let probe = attach(&board);
    for address in [0, 0x3f_ffff] {
        let error = probe.write(address, &[1]).unwrap_err();
        assert!(matches!(error, ProbeError::IntoFlash { start: 0, end: 0x40_0000, .. }), "{error}");
        assert_eq!(word(&probe, address & !3), 0);
    }
}

#[test]
fn a_firmware_that_does_not_fit_is_refused() {
    let board = Board::blank(CHIP);
    let probe = attach(&board);
    let allowed = permission(Grant::Flash, CHIP);
    let error = probe.flash(&firmware::at(0x0800_0000), true, &allowed).unwrap_err();
    assert!(board::chain(&error).contains("No flash memory contains"), "{}", board::chain(&error));
    let error = probe.flash(b"no ELF file", true, &allowed).unwrap_err();
    assert!(matches!(error, ProbeError::Elf(_)), "{error}");
    let error = probe.flash(&firmware::for_a_pc(), true, &allowed).unwrap_err().to_string();
    assert_eq!(error, "the firmware is for X86_64_X32, and mps2-an386 has a core of type Armv7em");
    assert_eq!(word(&probe, 0), 0);
}

#[test]
fn a_board_that_is_gone_is_an_error_and_no_hang() {
    let mut board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    counts(&probe);
    board.kill();
    let start = Instant::now();
    let error = probe.read(RAM, &mut [0; 4]).unwrap_err();
    assert!(board::chain(&error).contains("was gone when it should"), "{}", board::chain(&error));
    probe.halt().unwrap_err();
    let error = probe.flash(&firmware::counter(), true, &permission(Grant::Flash, CHIP)).unwrap_err();
    assert!(matches!(error, ProbeError::Failed { .. }), "{error}");
    drop(probe);
    let error = Probe::attach(&board.source(), CHIP, AttachOptions::default()).unwrap_err();
    assert!(board::chain(&error).contains("could not connect to the gdb stub at"), "{}", board::chain(&error));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_board_that_freezes_is_an_error_at_the_deadline_and_no_late_answer_is_taken() {
    let board = Board::running(CHIP, &firmware::counter());
    // Long enough for a machine under load as long as nothing is frozen.
    let options = AttachOptions { limit: Duration::from_millis(2500), ..AttachOptions::default() };
    let probe = Probe::attach(&board.source(), CHIP, options).unwrap();
    counts(&probe);
    board.freeze(true);
    let error = probe.read(firmware::COUNTER, &mut [0; 4]).unwrap_err();
    assert!(board::chain(&error).contains("did not stop the core within 2000 ms"), "{}", board::chain(&error));
    board.freeze(false);
    let error = probe.read(0, &mut [0; 4]).unwrap_err();
    assert!(board::chain(&error).contains("is out of step"), "{}", board::chain(&error));
    drop(probe);
    let probe = attach(&board);
    probe.reset().unwrap();
    counts(&probe);
}

#[test]
fn a_second_debugger_gets_an_error_at_its_deadline_and_does_no_harm_later() {
    let board = Board::running(CHIP, &firmware::counter());
    let probe = attach(&board);
    let options = AttachOptions { limit: Duration::from_millis(400), ..AttachOptions::default() };
    let error = Probe::attach(&board.source(), CHIP, options).unwrap_err();
    assert!(board::chain(&error).contains("did not say what it can within 320 ms"), "{}", board::chain(&error));
    assert!(error.hint().unwrap().contains("another debugger"));
    counts(&probe);
    drop(probe);
    // QEMU now takes the connection that was given up, which stops the machine; this one comes after it.
    let probe = attach(&board);
    assert_eq!(probe.state().unwrap(), CoreState::Running);
}

#[test]
fn the_stub_is_reached_over_tcp_too() {
    let board = Board::over_tcp(CHIP);
    let ProbeSource::Virtual { stub: StubAddress::Tcp(_) } = board.source() else { panic!("{:?}", board.source()) };
    let probe = attach(&board);
    flash(&probe, &firmware::counter());
    probe.reset().unwrap();
    counts(&probe);
}

#[test]
fn an_unknown_chip_is_refused_before_the_board_is_touched() {
    let board = Board::running(CHIP, &firmware::counter());
    let error = Probe::attach(&board.source(), "mps2-an555", AttachOptions::default()).unwrap_err();
    assert!(matches!(error, ProbeError::UnknownChip { known: 3, .. }), "{error}");
}
