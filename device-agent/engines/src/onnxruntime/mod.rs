//! onnxruntime: a library of its own on the unit, loaded when the engine is opened.
//!
//! Owns everything that knows the `ort` crate; nothing of it is visible outside this module. One thread; on the CPU, or on the execution
//! providers that are asked for, and then every node that runs elsewhere says so.

mod profile;
mod providers;
mod refusal;
mod session;
mod values;

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;

use self::refusal::reason;
use self::session::OrtModel;
use crate::engine::{Engine, EngineFault, LoadOptions, Loaded, Refusal};
use crate::self_check::{Arithmetic, SelfCheck, SelfCheckLimits, SelfCheckOutcome, parting};
use crate::tensor::{DType, Tensor, TensorView};

/// Where the dynamic loader looks by itself when no file is given.
const USUAL_LIBRARY: &str = "libonnxruntime.so";

/// The library allows one environment per process; it lives as long as the process.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
/// The library that was loaded.
static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
/// Its version, as the library tells it.
static VERSION: OnceLock<String> = OnceLock::new();

/// onnxruntime with all of its graph optimizations.
#[derive(Debug, Clone, Copy)]
pub struct OnnxruntimeEngine {
    environment: &'static Environment,
    version: &'static str,
}

impl OnnxruntimeEngine {
    /// Loads the library, this file or else the one that the unit's dynamic loader finds.
    ///
    /// # Errors
    /// `EngineFault::Library` when it cannot be loaded or is none: a fault of the unit or of what was shipped, never of a model.
    pub fn open(library: Option<&Path>) -> Result<Self, EngineFault> {
        let path = library.unwrap_or(Path::new(USUAL_LIBRARY));
        let fault = |reason: String| EngineFault::Library { engine: "onnxruntime", path: path.to_path_buf(), reason };
        let environment = match ENVIRONMENT.get() {
            Some(environment) => {
                let loaded = LIBRARY.get().filter(|loaded| *loaded != path);
                loaded.map_or(Ok(environment), |loaded| {
                    Err(fault(format!("this process has loaded {} already, and loads no second one", loaded.display())))
                })?
            }
            None => {
                let builder = ort::init_from(path).map_err(|error| fault(said(&error)))?;
                let built = builder.with_name("boardproof").with_telemetry(false).build();
                let built = built.map_err(|error| fault(reason(&error)))?;
                built.set_log_level(LogLevel::Fatal);
                LIBRARY.get_or_init(|| path.to_path_buf());
                ENVIRONMENT.get_or_init(|| built)
            }
        };
        Ok(Self {
            environment,
            version: VERSION.get_or_init(|| version(path).unwrap_or_else(|| ort::info().to_owned())),
        })
    }
}

/// The error with all of its causes, in one line.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The library's own word for its version, such as `1.32.0`.
#[expect(unsafe_code, reason = "the library's C interface tells its version, and no safe call reaches it")]
fn version(path: &Path) -> Option<String> {
    // SAFETY: this library is loaded already, so that loading it runs nothing; its header declares `OrtGetApiBase` as this function without
    // arguments, which gives a table that is valid as long as the library is loaded, or null; the version in it is a constant text.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base = library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase").ok()?;
        let base = base().as_ref()?;
        Some(CStr::from_ptr((base.GetVersionString)()).to_str().ok()?.to_owned())
    }
}

impl Engine for OnnxruntimeEngine {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn version(&self) -> &'static str {
        self.version
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Loaded>, Refusal> {
        Ok(Box::new(OrtModel::load(self.environment, model, options, GraphOptimizationLevel::All)?))
    }

    fn self_check(
        &self,
        model: &[u8],
        options: &LoadOptions,
        loaded: &mut dyn Loaded,
        samples: &[Vec<TensorView<'_>>],
        _limits: &SelfCheckLimits,
    ) -> Result<SelfCheck, Refusal> {
        let options = LoadOptions { describe: false, ..options.clone() };
        let plain = OrtModel::load(self.environment, model, &options, GraphOptimizationLevel::Disable);
        let mut plain = match plain {
            Ok(plain) => plain,
            // Some models run only after optimization: kernels exist for the fused operators alone.
            Err(refusal) => return Ok(unavailable(format!("the graph without optimizations: {refusal}"))),
        };
        let dtypes = loaded.operators().iter().flat_map(|op| &op.dtypes_in).filter_map(|name| DType::from_name(name));
        let arithmetic = Arithmetic::of(dtypes);
        let answers = answers(&mut plain, samples).and_then(|plain| Ok((plain, answers(loaded, samples)?)));
        let (expected, found) = match answers {
            Ok(both) => both,
            Err(failure) => return Ok(unavailable(failure)),
        };
        let parting = parting(&expected, &found);
        let outcome = if parting.relative_l2 <= arithmetic.tolerance() {
            SelfCheckOutcome::Agrees
        } else {
            let stage = "graph optimizations".to_owned();
            SelfCheckOutcome::Parts { stage, operator: None, replaced: Vec::new() }
        };
        Ok(SelfCheck { samples: samples.len(), parting, tolerance: arithmetic.tolerance(), outcome })
    }

    fn check_providers(&self, providers: &[String]) -> Result<(), EngineFault> {
        providers::check(self.environment, providers)
    }

    fn allocates_in_the_process_heap(&self) -> bool {
        false
    }
}

fn unavailable(reason: String) -> SelfCheck {
    let parting = parting(&[], &[]);
    SelfCheck { samples: 0, parting, tolerance: 0.0, outcome: SelfCheckOutcome::Unavailable { reason } }
}

fn answers(loaded: &mut dyn Loaded, samples: &[Vec<TensorView<'_>>]) -> Result<Vec<Vec<Tensor>>, String> {
    let one = |sample: &Vec<TensorView<'_>>| {
        loaded.prepare(sample)?;
        loaded.run()?;
        loaded.answers()
    };
    samples.iter().map(one).collect::<Result<_, _>>().map_err(|failure| failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_is_a_fault_that_names_it() {
        let path = std::env::temp_dir().join("boardproof-no-library.so");
        let error = OnnxruntimeEngine::open(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("onnxruntime") && error.contains("boardproof-no-library.so"), "{error}");
    }

    /// The library, where the test is told of one.
    fn library() -> Option<OnnxruntimeEngine> {
        let Some(path) = std::env::var_os("BOARDPROOF_ONNXRUNTIME") else {
            eprintln!("skipped: BOARDPROOF_ONNXRUNTIME names no library");
            return None;
        };
        Some(OnnxruntimeEngine::open(Some(Path::new(&path))).expect("it is one"))
    }

    #[test]
    fn a_provider_that_the_library_has_not_is_a_fault_that_names_those_it_has() {
        let Some(engine) = library() else { return };
        for missing in ["QNNExecutionProvider", "NoSuchExecutionProvider"] {
            let wanted = [missing.to_owned(), "CPUExecutionProvider".to_owned()];
            let error = engine.check_providers(&wanted).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("CPUExecutionProvider"), "{error}");
        }
        assert_eq!(engine.check_providers(&["CPUExecutionProvider".into()]), Ok(()));
    }

    /// Azure's provider takes operators of its own and no other: every node of an ordinary model falls back.
    #[test]
    fn nodes_that_the_wanted_provider_does_not_take_say_where_they_ran() {
        let Some(engine) = library() else { return };
        let azure = ["AzureExecutionProvider".to_owned()];
        if let Err(error) = engine.check_providers(&azure) {
            eprintln!("skipped: {error}");
            return;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist_dscnn/int8_qdq_pc.onnx");
        let model = std::fs::read(file).expect("a model of the workspace");
        let kernels = |providers: &[String]| {
            let options = LoadOptions { describe: true, providers: providers.to_vec(), ..LoadOptions::default() };
            let loaded = engine.load(&model, &options).expect("it runs");
            loaded.operators().iter().map(|op| op.kernel.clone().unwrap_or_default()).collect::<Vec<_>>()
        };
        let fallen = kernels(&azure);
        assert!(!fallen.is_empty() && fallen.iter().all(|kernel| kernel == "CPU (fell back from Azure)"), "{fallen:?}");
        let wanted = kernels(&["CPUExecutionProvider".to_owned()]);
        assert!(!wanted.is_empty() && wanted.iter().all(|kernel| kernel == "CPU"), "{wanted:?}");
        assert_eq!(kernels(&[]), wanted);
    }

    /// The kernels' own layout of the weights is in no profile; what they multiply is counted all the same.
    #[test]
    fn multiply_accumulates_are_those_of_the_model() {
        let Some(engine) = library() else { return };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist_dscnn/int8_qdq_pc.onnx");
        let model = std::fs::read(file).expect("a model of the workspace");
        let options = LoadOptions { describe: true, ..LoadOptions::default() };
        let mut loaded = engine.load(&model, &options).expect("it runs");
        let found: u64 = loaded.profile(1).expect("it tells").iter().filter_map(|cost| cost.macs).sum();
        // Elements of the output times what each is a sum of: one full 3x3 convolution, then depthwise 3x3 and 1x1 in turn, then the classes.
        let first = 14 * 14 * 24 * 9 + 7 * 7 * 24 * 9 + 7 * 7 * 48 * 24;
        let rest = 3 * (7 * 7 * 48 * 9 + 7 * 7 * 48 * 48);
        assert_eq!(found, first + rest + 10 * 48);
    }
}
