//! What a pass tells of the GPU under an engine: its state before and after, its memory by phase, and where the time of an inference goes.
//! An engine on the CPU has none of it, and nothing is said.

use super::{Job, RunError, Step, reading};
use crate::wire::Wire;
use boardproof_engines::{Device, DeviceState, Loaded, Reading};
use boardproof_protocol::{Event, Key, TextKey};

/// Inferences whose time is split, each by itself: marks on the GPU between its steps must not be in the timed windows.
const SPLIT_INFERENCES: u32 = 20;

/// Tells which GPU it is, and its state before the engine took it.
pub(super) fn before(wire: &mut Wire, device: Option<&dyn Device>) -> Result<(), RunError> {
    let Some(device) = device else { return Ok(()) };
    wire.send(&Event::Text { key: TextKey::GpuName, index: 0, value: device.name() })?;
    text(wire, TextKey::GpuDriver, 0, &device.driver())?;
    state(wire, 0, device.before())
}

/// Tells its state when the pass is over.
pub(super) fn after(wire: &mut Wire, device: Option<&dyn Device>) -> Result<(), RunError> {
    device.map_or(Ok(()), |device| state(wire, 1, &device.now()))
}

fn state(wire: &mut Wire, index: u16, state: &DeviceState) -> Result<(), RunError> {
    for (key, value) in [
        (Key::GpuClockHz, &state.clock_hz),
        (Key::GpuClockMaxHz, &state.clock_max_hz),
        (Key::GpuMemoryClockHz, &state.memory_clock_hz),
        (Key::GpuPowerMilliW, &state.power_milli_w),
        (Key::GpuPowerLimitMilliW, &state.power_limit_milli_w),
        (Key::GpuTemperatureMilliC, &state.temperature_milli_c),
        (Key::GpuUtilizationMilli, &state.utilization_milli),
        (Key::GpuOtherProcesses, &state.other_processes),
    ] {
        match value {
            Ok(value) => wire.send(&Event::Number { key, index, value: *value })?,
            Err(reason) => wire.send(&Event::Missing { key, reason: super::clip(reason) })?,
        }
    }
    text(wire, TextKey::GpuThrottle, index, &state.throttle)
}

/// A text that is not there has its reason in its place: only numbers can be missing on the wire.
fn text(wire: &mut Wire, key: TextKey, index: u16, value: &Reading<String>) -> Result<(), RunError> {
    let unknown = value.as_ref().err().map(|reason| format!("unknown: {reason}"));
    let value = unknown.as_deref().unwrap_or_else(|| value.as_deref().unwrap_or_default());
    wire.send(&Event::Text { key, index, value: super::clip(value) })
}

impl Job<'_> {
    /// Memory of the GPU in use by whomever.
    pub(super) fn gpu_in_use(&self, wire: &mut Wire, key: Key) -> Step<()> {
        if let Some(device) = self.engine.device() {
            reading(wire, key, device.memory().used_bytes)?;
        }
        Ok(())
    }

    pub(super) fn gpu_at_the_end(&self, wire: &mut Wire) -> Step<()> {
        let Some(device) = self.engine.device() else { return Ok(()) };
        let memory = device.memory();
        reading(wire, Key::GpuUsedEndBytes, memory.used_bytes)?;
        reading(wire, Key::GpuTotalBytes, memory.total_bytes)?;
        reading(wire, Key::GpuPoolPeakBytes, memory.pool_peak_bytes)?;
        Ok(())
    }

    /// Where the time of an inference goes, in inferences of their own.
    pub(super) fn gpu_splits(&self, wire: &mut Wire, loaded: &mut dyn Loaded) -> Step<()> {
        if self.engine.device().is_none() {
            return Ok(());
        }
        for (index, split) in (0..).zip(loaded.splits(SPLIT_INFERENCES)?) {
            for (key, value) in [
                (Key::GpuToDeviceNs, split.to_device_ns),
                (Key::GpuComputeNs, split.compute_ns),
                (Key::GpuToHostNs, split.to_host_ns),
                (Key::GpuOnCpuNs, split.on_cpu_ns),
                (Key::GpuEnqueueNs, split.enqueue_ns),
            ] {
                wire.send(&Event::Number { key, index, value })?;
            }
        }
        Ok(())
    }
}
