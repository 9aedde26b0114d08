//! The words for a processor with a memory of its own, such as a GPU: its state, its memory, and where the time of an inference goes.
//!
//! Everything is read and nothing is set: clocks and power limits are somebody else's to choose.

/// A number, or why there is none.
pub type Reading<T> = Result<T, String>;

/// A processor with a memory of its own, as the engine on it sees it.
pub trait Device {
    /// The device as its driver names it.
    fn name(&self) -> &str;

    /// Version of the driver.
    fn driver(&self) -> Reading<String>;

    /// What it did and how hot it was just before the engine took it.
    fn before(&self) -> &DeviceState;

    /// The same now.
    fn now(&self) -> DeviceState;

    /// Its memory now.
    fn memory(&self) -> DeviceMemory;
}

/// State of a device at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// Frequency of its cores.
    pub clock_hz: Reading<u64>,
    /// Highest frequency of its cores.
    pub clock_max_hz: Reading<u64>,
    /// Frequency of its memory.
    pub memory_clock_hz: Reading<u64>,
    /// Power that it takes.
    pub power_milli_w: Reading<u64>,
    /// Power that it may take.
    pub power_limit_milli_w: Reading<u64>,
    /// Its temperature, in thousandths of a degree Celsius.
    pub temperature_milli_c: Reading<u64>,
    /// Share of the latest sampling period in which it did something, in thousandths.
    pub utilization_milli: Reading<u64>,
    /// Why its clocks are lower than they could be, in words; empty when nothing holds them back.
    pub throttle: Reading<String>,
    /// Processes that have it open, without this one.
    pub other_processes: Reading<u64>,
}

/// Memory of a device at one moment, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMemory {
    /// All that it has.
    pub total_bytes: Reading<u64>,
    /// In use by whomever.
    pub used_bytes: Reading<u64>,
    /// Largest sum of what this process has had allocated by the driver's pool.
    pub pool_peak_bytes: Reading<u64>,
}

/// Where the time of one inference went, in nanoseconds. All but `enqueue_ns` by the device's own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Split {
    /// Copies to the device.
    pub to_device_ns: u64,
    /// Kernels, with the gaps between them.
    pub compute_ns: u64,
    /// Copies back.
    pub to_host_ns: u64,
    /// The device waited while operators ran on the CPU instead.
    pub on_cpu_ns: u64,
    /// The host's time to hand the kernels over, by the host's clock. It overlaps with the others.
    pub enqueue_ns: u64,
}
