//! The GPU: found, taken, and asked for its memory by the driver; its state comes from NVML.

use cudarc::driver::result as driver;
use cudarc::driver::sys::{CUdevice, CUmemPool_attribute};
use tract_cuda::with_cuda_stream;

use super::super::guard::guard;
use super::nvml::{Watch, unknown};
use crate::device::{Device, DeviceMemory, DeviceState, Reading};

/// The first GPU, taken by this process.
pub(super) struct Gpu {
    name: String,
    watch: Reading<Watch>,
    before: DeviceState,
}

impl Gpu {
    /// Looks for driver and libraries, then for a GPU, then takes it; the reason in one line when one of them is not there.
    pub(super) fn open() -> Result<Self, String> {
        // Without CUDA's own bindings: those would panic on a library that is not there.
        guard(|| tract_cuda::utils::ensure_cuda_runtime_dependencies("look for CUDA")).map_err(|why| why.reason())?;
        let found = guard(|| {
            driver::init()?;
            let device = driver::device::get(0)?;
            Ok((driver::device::get_name(device)?, driver::device::get_uuid(device)?))
        });
        let (name, uuid) = found.map_err(|why| why.reason())?;
        let watch = Watch::open(&uuid.bytes.map(|byte| byte as u8));
        let before = watch.as_ref().map_or_else(|reason| unknown(reason), Watch::state_before);
        // tract's context and this thread's stream: kernels are compiled here.
        guard(|| with_cuda_stream(|stream| Ok(stream.synchronize()?))).map_err(|why| why.reason())?;
        Ok(Self { name, watch, before })
    }
}

impl Device for Gpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn driver(&self) -> Reading<String> {
        self.watch.as_ref().map_err(Clone::clone)?.driver()
    }

    fn before(&self) -> &DeviceState {
        &self.before
    }

    fn now(&self) -> DeviceState {
        self.watch.as_ref().map_or_else(|reason| unknown(reason), Watch::state_now)
    }

    fn memory(&self) -> DeviceMemory {
        let asked = guard(|| {
            with_cuda_stream(|stream| {
                // What was asked for and not done yet has not freed its memory.
                stream.synchronize()?;
                let context = stream.context();
                let (free, total) = context.mem_get_info()?;
                Ok((free as u64, total as u64, context.has_async_alloc().then(|| context.cu_device())))
            })
        });
        match asked {
            Err(why) => {
                let none = || Err(why.reason());
                DeviceMemory { total_bytes: none(), used_bytes: none(), pool_peak_bytes: none() }
            }
            Ok((free, total, pool)) => DeviceMemory {
                total_bytes: Ok(total),
                used_bytes: Ok(total - free),
                pool_peak_bytes: pool.ok_or_else(|| "this GPU's driver has no memory pools".into()).and_then(pool_peak),
            },
        }
    }
}

/// High-water mark of the pool that tract's tensors and scratch come from.
#[expect(unsafe_code, reason = "the driver's interface to its pools, and no safe call reaches it")]
fn pool_peak(device: CUdevice) -> Reading<u64> {
    let mut bytes = 0_u64;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the device comes from a context that is alive; its default pool lives as long as the device; the attribute is written as one
    // 64-bit number, which is what the driver's manual says of it.
    let read = unsafe {
        driver::device::get_default_mem_pool(device)
            .and_then(|pool| driver::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()))
    };
    read.map(|()| bytes).map_err(|error| format!("{error:?}"))
}
