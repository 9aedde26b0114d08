//! What NVML tells of the GPU. It is loaded when the engine is opened; a unit without it has no such readings, and says why.

use std::collections::BTreeSet;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;

use crate::device::{DeviceState, Reading};

const MHZ: u64 = 1_000_000;

/// The library, and the GPU that it is asked about.
pub(super) struct Watch {
    library: Nvml,
    /// As NVML writes it.
    uuid: String,
    /// Processes that had the GPU open before this one took it.
    before: Reading<BTreeSet<u32>>,
}

impl Watch {
    /// Loads the library. To be done before this process takes the GPU: whoever has it open then is somebody else.
    pub(super) fn open(uuid: &[u8; 16]) -> Reading<Self> {
        let library = Nvml::init().map_err(|error| format!("NVML (libnvidia-ml.so.1): {error}"))?;
        let mut watch = Self { library, uuid: written(uuid), before: Err("not asked yet".into()) };
        watch.before = watch.processes();
        Ok(watch)
    }

    pub(super) fn driver(&self) -> Reading<String> {
        self.library.sys_driver_version().map_err(said)
    }

    /// The state now, before this process has taken the GPU.
    pub(super) fn state_before(&self) -> DeviceState {
        self.state(self.before.clone().map(|all| all.len() as u64))
    }

    /// The state now, with this process on the GPU.
    pub(super) fn state_now(&self) -> DeviceState {
        let others = match (&self.before, self.processes()) {
            (Ok(before), Ok(now)) => others(before, &now, std::process::id()),
            (Err(reason), _) => Err(reason.clone()),
            (_, Err(reason)) => Err(reason),
        };
        self.state(others)
    }

    fn device(&self) -> Reading<nvml_wrapper::Device<'_>> {
        self.library.device_by_uuid(self.uuid.as_str()).map_err(said)
    }

    fn processes(&self) -> Reading<BTreeSet<u32>> {
        let device = self.device()?;
        let compute = device.running_compute_processes().map_err(said)?;
        let graphics = device.running_graphics_processes().map_err(said)?;
        Ok(compute.iter().chain(&graphics).map(|process| process.pid).collect())
    }

    fn state(&self, other_processes: Reading<u64>) -> DeviceState {
        let device = match self.device() {
            Ok(device) => device,
            Err(reason) => return unknown(&reason),
        };
        let times = |value: Result<u32, NvmlError>, factor: u64| value.map(|v| u64::from(v) * factor).map_err(said);
        DeviceState {
            clock_hz: times(device.clock_info(Clock::SM), MHZ),
            clock_max_hz: times(device.max_clock_info(Clock::SM), MHZ),
            memory_clock_hz: times(device.clock_info(Clock::Memory), MHZ),
            power_milli_w: times(device.power_usage(), 1),
            power_limit_milli_w: times(device.enforced_power_limit(), 1),
            temperature_milli_c: times(device.temperature(TemperatureSensor::Gpu), 1000),
            utilization_milli: times(device.utilization_rates().map(|rates| rates.gpu), 10),
            throttle: device.current_throttle_reasons().map(in_words).map_err(said),
            other_processes,
        }
    }
}

/// A state of which nothing is known, for one reason.
pub(super) fn unknown(reason: &str) -> DeviceState {
    let number = || Err(reason.to_owned());
    DeviceState {
        clock_hz: number(),
        clock_max_hz: number(),
        memory_clock_hz: number(),
        power_milli_w: number(),
        power_limit_milli_w: number(),
        temperature_milli_c: number(),
        utilization_milli: number(),
        throttle: Err(reason.to_owned()),
        other_processes: number(),
    }
}

fn said(error: NvmlError) -> String {
    format!("NVML: {error}")
}

/// `GPU-01234567-89ab-cdef-0123-456789abcdef`.
fn written(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `GPU_IDLE | SW_POWER_CAP` in small letters; a GPU with nothing to do is no reason to worry, and is named all the same.
fn in_words(reasons: ThrottleReasons) -> String {
    let names: Vec<String> =
        reasons.iter_names().map(|(name, _)| name.to_ascii_lowercase().replace('_', " ")).collect();
    names.join(", ")
}

/// Processes on the GPU without this one. In a container a process has another number outside, and NVML may list the outside's, or nobody
/// at all: where it does not list even this process, nothing is known of others.
fn others(before: &BTreeSet<u32>, now: &BTreeSet<u32>, own: u32) -> Reading<u64> {
    let lists_this_one = now.contains(&own) || now.difference(before).next().is_some();
    if !lists_this_one {
        return Err("NVML does not list this process, so it may not list others either (as in some containers)".into());
    }
    Ok(now.len() as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_counted_where_this_process_is_listed_and_never_guessed() {
        let set = |pids: &[u32]| pids.iter().copied().collect::<BTreeSet<u32>>();
        assert_eq!(others(&set(&[]), &set(&[7]), 7), Ok(0));
        assert_eq!(others(&set(&[3]), &set(&[3, 7]), 7), Ok(1));
        // A container: this process is 7 inside and 4007 outside.
        assert_eq!(others(&set(&[3]), &set(&[3, 4007]), 7), Ok(1));
        assert_eq!(others(&set(&[]), &set(&[4007, 5001]), 7), Ok(1));
        assert!(others(&set(&[]), &set(&[]), 7).is_err());
        assert!(others(&set(&[3]), &set(&[3]), 7).is_err());
    }

    #[test]
    fn a_gpu_is_named_as_nvml_names_it() {
        let uuid: [u8; 16] = std::array::from_fn(|i| i as u8 * 0x11);
        assert_eq!(written(&uuid), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn reasons_are_words() {
        let both = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        assert_eq!(in_words(both), "sw power cap, hw thermal slowdown");
        assert_eq!(in_words(ThrottleReasons::empty()), "");
    }
}
