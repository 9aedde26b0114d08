use super::*;
use crate::core_debug::tests::FakeMachine;

const WORDS: u32 = 2;
const HALVES: u32 = 1;
const BYTES: u32 = 0;
const ADVANCE: u32 = 0x10;

fn dap() -> (Dap<FakeMachine>, FakeMachine) {
    let machine = FakeMachine::able();
    (Dap::new(CoreDebug::new(machine.clone(), false).unwrap()), machine)
}

fn at(dap: &mut Dap<FakeMachine>, csw: u32, address: u32) {
    dap.write_access_port(AccessPort::Csw, csw).unwrap();
    dap.write_access_port(AccessPort::Tar, address).unwrap();
}

#[test]
fn the_port_says_what_it_is_and_has_power_when_asked() {
    let (mut dap, _machine) = dap();
    assert_eq!(dap.read_debug_port(DebugPort::at(0)), DPIDR);
    assert_eq!(dap.read_access_port(AccessPort::at(0xfc)).unwrap(), IDR);
    assert_eq!(dap.read_debug_port(DebugPort::CtrlStat), 0);
    dap.write_debug_port(DebugPort::CtrlStat, POWER_UP);
    assert_eq!(dap.read_debug_port(DebugPort::CtrlStat), 0xf000_0000);
    dap.write_debug_port(DebugPort::CtrlStat, 0);
    assert_eq!(dap.read_debug_port(DebugPort::CtrlStat), 0);
}

#[test]
fn there_is_one_access_port() {
    let (mut dap, machine) = dap();
    dap.write_debug_port(DebugPort::Select, 1 << 24);
    assert_eq!(dap.read_access_port(AccessPort::Idr).unwrap(), 0);
    dap.write_access_port(AccessPort::Tar, 0x2000_0000).unwrap();
    dap.write_access_port(AccessPort::Drw, 1).unwrap();
    assert!(machine.0.lock().unwrap().memory.is_empty());
}

#[test]
fn words_go_up_in_memory_in_one_access() {
    let (mut dap, machine) = dap();
    at(&mut dap, WORDS | ADVANCE, 0x2000_0000);
    dap.write_data(&[0x0403_0201, 0x0807_0605]).unwrap();
    assert_eq!(dap.read_access_port(AccessPort::Tar).unwrap(), 0x2000_0008);
    assert_eq!(machine.0.lock().unwrap().calls, ["write"]);
    at(&mut dap, WORDS | ADVANCE, 0x2000_0000);
    let mut words = [0; 2];
    dap.read_data(&mut words).unwrap();
    assert_eq!(words, [0x0403_0201, 0x0807_0605]);
}

#[test]
fn smaller_accesses_lie_on_the_lanes_of_their_addresses() {
    for (csw, address, words, bytes) in [
        (BYTES, 0x2000_0001, &[0xaa00, 0xbb_0000, 0xcc00_0000, 0xdd][..], &[0xaa, 0xbb, 0xcc, 0xdd][..]),
        (HALVES, 0x2000_0002, &[0xbbaa_0000, 0xddcc], &[0xaa, 0xbb, 0xcc, 0xdd]),
    ] {
        let (mut dap, machine) = dap();
        at(&mut dap, csw | ADVANCE, address);
        dap.write_data(words).unwrap();
        let mut stored = vec![0; bytes.len()];
        crate::machine::Machine::read(&mut machine.clone(), address, &mut stored).unwrap();
        assert_eq!(stored, bytes);
        at(&mut dap, csw | ADVANCE, address);
        let mut read = vec![0; words.len()];
        dap.read_data(&mut read).unwrap();
        assert_eq!(read, words);
    }
}

#[test]
fn without_increment_the_same_word_is_meant() {
    let (mut dap, machine) = dap();
    at(&mut dap, WORDS, 0x2000_0000);
    dap.write_data(&[1, 2]).unwrap();
    assert_eq!(dap.read_access_port(AccessPort::Tar).unwrap(), 0x2000_0000);
    let bench = machine.0.lock().unwrap();
    assert_eq!((bench.memory[&0x2000_0000], bench.memory.get(&0x2000_0004)), (2, None));
}

#[test]
fn the_debug_block_is_in_front_of_the_machine() {
    let (mut dap, machine) = dap();
    at(&mut dap, WORDS | ADVANCE, 0xe000_edf0);
    let halted_and_ready = dap.read_access_port(AccessPort::Drw).unwrap();
    assert_eq!(halted_and_ready, 0x0003_0003);
    assert!(machine.0.lock().unwrap().calls.is_empty());
}
