//! What is known of the unit, as events of a job.

use crate::Hardware;
use crate::events::{Events, Full};
use boardproof_protocol::{Ended, Event, Key, TextKey};

/// Tells all of it; the last event is the end of the job.
pub fn tell<H: Hardware>(hardware: &mut H, events: &mut Events<'_>) -> Result<(), Full> {
    let (now, hz) = (hardware.now(), hardware.hz().max(1));
    let (about, budget, sections) = (hardware.about(), hardware.budget(), hardware.sections());
    let texts = [
        (TextKey::CpuModel, about.cpu),
        (TextKey::CpuFeatures, about.features),
        (TextKey::Board, about.board),
        (TextKey::Os, "bare metal"),
        (TextKey::ClockSource, about.clock),
        (TextKey::ResetReason, about.reset_reason),
        (TextKey::CrashRecord, about.crash),
    ];
    for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
        events.push(&Event::Text { key, index: 0, value })?;
    }
    let free = budget.ram.saturating_sub(u64::from(sections.static_ram) + u64::from(sections.stack));
    for (key, value) in [
        (Key::CpuCount, 1),
        (Key::CpuFrequencyHz, about.core_hz),
        (Key::MemoryTotalBytes, budget.ram),
        (Key::MemoryAvailableBytes, free),
        (Key::AgentBytes, u64::from(sections.flash())),
        (Key::UptimeMs, now / hz * 1000 + now % hz * 1000 / hz),
        (Key::LinkOverruns, u64::from(hardware.overruns())),
    ] {
        events.push(&Event::Number { key, index: 0, value })?;
    }
    match about.watchdog_ms {
        Some(ms) => events.push(&Event::Number { key: Key::WatchdogMs, index: 0, value: u64::from(ms) })?,
        None => events.push(&Event::Missing { key: Key::WatchdogMs, reason: "this unit has no watchdog" })?,
    }
    for (key, reason) in [
        (Key::TemperatureMilliC, "this firmware reads no temperature"),
        (Key::WallClockUnixS, "this unit has no calendar"),
        (Key::LoadMilli, "nothing else runs on this unit"),
        (Key::ThrottleCount, "this unit does not throttle"),
    ] {
        events.push(&Event::Missing { key, reason })?;
    }
    events.push(&Event::Ended(Ended::Completed))
}
