//! Facts about the unit: who it is, and what state it is in. Reads files of the kernel and the system; runs nothing, changes nothing.
//!
//! Every number that cannot be read becomes `Missing` with the reason; a text that cannot be read says so in its own words.

mod cpu;
mod system;
mod thermal;

use crate::digest;
use crate::job::{clip, encoded};
use boardproof_protocol::{Event, Key, TextKey};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// A reading, or why there is none.
pub type Reading<T> = Result<T, String>;

/// What does not change while the agent runs.
#[derive(Debug)]
pub struct Identity {
    /// Version and digest of the agent.
    pub build: String,
    /// Operating system and C library, and what is unusual about the store.
    pub system: String,
    /// What names this one unit; empty when nothing does.
    pub unit: String,
    /// Memory of the unit in bytes; 0 when it cannot be read.
    pub memory_bytes: u64,
}

impl Identity {
    /// Reads who the unit is.
    pub fn read(build: String, note: Option<&str>) -> Self {
        let mut system = format!("linux {}", system::libc().unwrap_or_else(|_| "unknown".into()));
        if let Some(note) = note {
            system = format!("{system} ({note})");
        }
        let memory_bytes = system::memory_bytes("MemTotal").unwrap_or(0);
        Self { build, system, unit: system::unit(), memory_bytes }
    }
}

/// Facts on their way to the host, in order.
#[derive(Default)]
struct Facts(Vec<Vec<u8>>);

impl Facts {
    fn number(&mut self, key: Key, index: usize, reading: Reading<u64>) {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        self.0.push(match reading {
            Ok(value) => encoded(&Event::Number { key, index, value }),
            Err(reason) => encoded(&Event::Missing { key, reason: clip(&reason) }),
        });
    }

    fn text(&mut self, key: TextKey, index: usize, reading: Reading<String>) {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let value = reading.unwrap_or_else(|reason| format!("unknown ({reason})"));
        self.0.push(encoded(&Event::Text { key, index, value: clip(&value) }));
    }
}

/// All facts about the unit as it is now, encoded as events.
pub fn environment() -> Vec<Vec<u8>> {
    let mut facts = Facts::default();
    system_facts(&mut facts);
    cpu_facts(&mut facts);
    thermal_facts(&mut facts);
    agent_facts(&mut facts);
    facts.0
}

fn system_facts(facts: &mut Facts) {
    facts.text(TextKey::Kernel, 0, Ok(system::kernel()));
    facts.text(TextKey::Libc, 0, system::libc());
    facts.text(TextKey::Os, 0, system::os());
    facts.text(TextKey::Board, 0, system::board());
    facts.number(Key::MemoryTotalBytes, 0, system::memory_bytes("MemTotal"));
    facts.number(Key::MemoryAvailableBytes, 0, system::memory_bytes("MemAvailable"));
    facts.number(Key::LoadMilli, 0, system::load_milli());
    facts.number(Key::UptimeMs, 0, Ok(crate::clock::since_boot_ms()));
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall = wall.map(|d| d.as_secs()).map_err(|_| "the wall clock is before 1970".to_owned());
    facts.number(Key::WallClockUnixS, 0, wall);
}

fn cpu_facts(facts: &mut Facts) {
    let info = read(Path::new("/proc/cpuinfo"));
    facts.text(TextKey::CpuModel, 0, info.clone().and_then(|i| cpu::model(&i)));
    facts.text(TextKey::CpuFeatures, 0, info.clone().and_then(|i| cpu::features(&i)));
    let root = Path::new("/sys/devices/system/cpu");
    let cores = cpu::online(root);
    facts.number(Key::CpuCount, 0, cores.as_ref().map(|c| c.len() as u64).map_err(Clone::clone));
    facts.number(Key::PinnedCore, 0, cpu::pinned());
    let cores = cores.unwrap_or_default();
    for core in &cores {
        if let Ok(governor) = cpu::governor(root, *core) {
            facts.text(TextKey::Governor, *core, Ok(governor));
        }
    }
    let readings: [(Key, Vec<Reading<u64>>); 2] = [
        (
            Key::CpuFrequencyHz,
            cores.iter().map(|c| cpu::frequency_hz(root, *c, info.as_deref().unwrap_or(""))).collect(),
        ),
        (Key::CpuFrequencyMaxHz, cores.iter().map(|c| cpu::frequency_max_hz(root, *c)).collect()),
    ];
    for (key, readings) in readings {
        per_item(facts, key, cores.iter().copied().zip(readings).collect(), "no processor is listed");
    }
}

fn thermal_facts(facts: &mut Facts) {
    let zones = thermal::zones(Path::new("/sys/class/thermal"));
    for zone in &zones {
        facts.text(TextKey::ThermalZone, zone.index, Ok(zone.name.clone()));
    }
    let readings = zones.into_iter().map(|z| (z.index, z.milli_c)).collect();
    per_item(facts, Key::TemperatureMilliC, readings, "the kernel shows no thermal zone");
    per_item(facts, Key::ThrottleCount, thermal::throttles(Path::new("/sys")), "the kernel shows no throttle counter");
}

fn agent_facts(facts: &mut Facts) {
    let size = digest::of_this_program().map(|(_, size)| size).map_err(|e| format!("/proc/self/exe: {e}"));
    facts.number(Key::AgentBytes, 0, size);
    facts.number(Key::AgentRssBytes, 0, system::own_rss_bytes());
}

/// One number for each item that has one. Items without get one `Missing` together: its message names no item.
fn per_item(facts: &mut Facts, key: Key, readings: Vec<(usize, Reading<u64>)>, none: &str) {
    let mut reasons: Vec<String> = Vec::new();
    if readings.is_empty() {
        reasons.push(none.to_owned());
    }
    for (index, reading) in readings {
        match reading {
            Ok(value) => facts.number(key, index, Ok(value)),
            Err(reason) => reasons.push(reason),
        }
    }
    reasons.dedup();
    if !reasons.is_empty() {
        facts.number(key, 0, Err(reasons.join("; ")));
    }
}

/// A small text file without the blanks around it.
fn read(path: &Path) -> Reading<String> {
    fs::read_to_string(path).map(|t| t.trim().to_owned()).map_err(|e| format!("{}: {e}", path.display()))
}

/// A small file that holds one number.
fn read_number<T: std::str::FromStr>(path: &Path) -> Reading<T> {
    let text = read(path)?;
    text.parse().map_err(|_| format!("{}: expected a number, got '{text}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_protocol::frame::decode_event;

    #[test]
    fn every_number_is_there_or_missing_with_a_reason() {
        let facts = environment();
        let (mut numbers, mut missing) = (Vec::new(), Vec::new());
        for fact in &facts {
            match decode_event(fact).unwrap() {
                Event::Number { key, .. } => numbers.push(key),
                Event::Missing { key, reason } => {
                    assert!(!reason.is_empty(), "{key:?}");
                    missing.push(key);
                }
                Event::Text { value, .. } => assert!(!value.is_empty()),
                other => panic!("no fact: {other:?}"),
            }
        }
        for key in [
            Key::CpuCount,
            Key::CpuFrequencyHz,
            Key::CpuFrequencyMaxHz,
            Key::TemperatureMilliC,
            Key::ThrottleCount,
            Key::LoadMilli,
            Key::MemoryTotalBytes,
            Key::MemoryAvailableBytes,
            Key::PinnedCore,
            Key::WallClockUnixS,
            Key::UptimeMs,
            Key::AgentBytes,
            Key::AgentRssBytes,
        ] {
            assert!(numbers.contains(&key) || missing.contains(&key), "{key:?}");
        }
        for key in [Key::CpuCount, Key::MemoryTotalBytes, Key::UptimeMs, Key::AgentRssBytes] {
            assert!(numbers.contains(&key), "{key:?} can be read on any Linux");
        }
    }

    #[test]
    fn items_without_a_reading_are_missing_once_per_reason() {
        let mut facts = Facts::default();
        let none = |i| (i, Err::<u64, _>("no cpufreq".to_owned()));
        per_item(&mut facts, Key::CpuFrequencyHz, vec![none(0), none(1)], "nothing");
        assert_eq!(facts.0.len(), 1);
        let Ok(Event::Missing { reason, .. }) = decode_event(&facts.0[0]) else { panic!("expected Missing") };
        assert_eq!(reason, "no cpufreq");
    }
}
