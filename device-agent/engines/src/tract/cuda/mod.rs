//! NVIDIA GPUs by tract: the graph that tract has typed and decluttered, translated to CUDA by tract-cuda and run on the first GPU.
//!
//! Driver, NVRTC, cuBLAS, cuDNN and NVML are loaded when the engine is opened; without them it opens with a fault, before any model is looked
//! at. What tract-cuda has no kernel for it runs on the CPU, between copies there and back: every operator says which of the two ran it.
//! Refuses to set clocks, power limits or persistence: they are read.

mod fault;
mod gpu;
mod loaded;
mod nvml;
mod units;

use tract_onnx::tract_core::runtime::runtime_for_name;

use self::fault::of_the_device;
use self::gpu::Gpu;
use self::loaded::CudaModel;
use super::VERSION;
use super::bisect::{Runs, self_check};
use super::guard::{Trouble, guard};
use super::loaded::TractModel;
use super::source::Source;
use crate::device::Device;
use crate::engine::{Engine, EngineFault, LoadOptions, Loaded, Refusal, Stage};
use crate::self_check::{SelfCheck, SelfCheckLimits};
use crate::tensor::TensorView;

/// Name of the engine, and of its runtime in tract.
const NAME: &str = "cuda";

/// tract on the first NVIDIA GPU.
pub struct CudaEngine {
    gpu: Gpu,
}

impl CudaEngine {
    /// Loads what the GPU needs and takes it: its kernels are compiled here, by NVRTC, where they are not kept from an earlier time.
    ///
    /// # Errors
    /// `EngineFault::Device` when there is no driver, no GPU, or no library that tract-cuda needs: a fault of the unit, never of a model.
    pub fn open() -> Result<Self, EngineFault> {
        let gpu = Gpu::open().map_err(|reason| EngineFault::Device { engine: NAME, device: "NVIDIA GPU", reason })?;
        Ok(Self { gpu })
    }
}

impl Engine for CudaEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> &'static str {
        VERSION
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Loaded>, Refusal> {
        let source = Source::parse(model)?;
        let typed = source.typed(options)?;
        let refuse = |trouble: &Trouble| {
            let stage = if of_the_device(&trouble.reason()) { Stage::Device } else { Stage::Optimize };
            source.refuse(stage, trouble)
        };
        let graph = guard(|| typed.into_decluttered()).map_err(|trouble| refuse(&trouble))?;
        let plan = guard(|| {
            let runtime = runtime_for_name(NAME)?.ok_or_else(|| fault::internal("tract has no runtime for CUDA"))?;
            let runnable = runtime.prepare(graph)?;
            runnable.typed_plan().cloned().ok_or_else(|| fault::internal("tract's runtime for CUDA shows no plan"))
        });
        let plan = plan.map_err(|trouble| refuse(&trouble))?;
        Ok(Box::new(CudaModel::new(TractModel::ready(&source, &plan, options)?)))
    }

    fn self_check(
        &self,
        model: &[u8],
        options: &LoadOptions,
        loaded: &mut dyn Loaded,
        samples: &[Vec<TensorView<'_>>],
        limits: &SelfCheckLimits,
    ) -> Result<SelfCheck, Refusal> {
        self_check(&Source::parse(model)?, options, loaded, samples, limits, Runs::OnADevice)
    }

    fn device(&self) -> Option<&dyn Device> {
        Some(&self.gpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine without a driver; with one, the same words name the next thing that is missing, or nothing is.
    #[test]
    fn a_unit_without_a_gpu_is_a_fault_that_says_what_is_missing() {
        let Err(error) = CudaEngine::open() else { return };
        let text = error.to_string();
        assert!(text.starts_with("use the NVIDIA GPU of cuda: ") && !text.contains('\n'), "{text}");
        if !std::path::Path::new("/dev/nvidiactl").exists() {
            assert!(text.contains("libcuda.so.1") || text.contains("cuInit"), "{text}");
        }
    }
}
