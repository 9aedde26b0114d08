//! Instructions and cycles, where the kernel gives them.

/// Totals, or why there are none.
pub struct Totals {
    /// Instructions retired.
    pub instructions: Result<u64, String>,
    /// Cycles.
    pub cycles: Result<u64, String>,
}

pub use hardware::Counters;

/// The architectures that perf-event2 describes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod hardware {
    use super::Totals;
    use perf_event::events::Hardware;
    use perf_event::{Builder, Counter};

    /// Two hardware counters over the measured inferences.
    pub struct Counters {
        instructions: Result<Counter, String>,
        cycles: Result<Counter, String>,
    }

    impl Counters {
        /// Opens the counters; a kernel that refuses is a reason, not an error.
        pub fn open() -> Self {
            Self { instructions: open(Hardware::INSTRUCTIONS), cycles: open(Hardware::CPU_CYCLES) }
        }

        /// Counts from now on.
        pub fn start(&mut self) {
            for counter in [&mut self.instructions, &mut self.cycles] {
                let started = counter.as_mut().map_or(Ok(()), |c| c.enable());
                if let Err(error) = started {
                    *counter = Err(format!("perf_event_open: {error}"));
                }
            }
        }

        /// Stops and reads.
        pub fn stop(&mut self) -> Totals {
            Totals { instructions: read(&mut self.instructions), cycles: read(&mut self.cycles) }
        }
    }

    fn open(event: Hardware) -> Result<Counter, String> {
        Builder::new(event).build().map_err(|e| format!("perf_event_open: {e}"))
    }

    fn read(counter: &mut Result<Counter, String>) -> Result<u64, String> {
        let counter = counter.as_mut().map_err(|reason| reason.clone())?;
        counter.disable().and_then(|()| counter.read()).map_err(|e| format!("perf_event_open: {e}"))
    }
}

/// The others: perf-event2 does not build for them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod hardware {
    use super::Totals;

    /// No counters, and why.
    pub struct Counters;

    impl Counters {
        /// Opens nothing.
        pub fn open() -> Self {
            Self
        }

        /// Counts nothing.
        pub fn start(&mut self) {}

        /// Says why there is nothing.
        pub fn stop(&mut self) -> Totals {
            let reason = format!("this build of the runner has no counters for {}", std::env::consts::ARCH);
            Totals { instructions: Err(reason.clone()), cycles: Err(reason) }
        }
    }
}
