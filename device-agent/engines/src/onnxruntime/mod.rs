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
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;

use self::refusal::reason;
use self::session::OrtModel;
use crate::engine::{Engine, EngineFault, LoadOptions, Loaded, Provider, Refusal};
use crate::self_check::{Arithmetic, SelfCheck, SelfCheckLimits, SelfCheckOutcome, parting};
use crate::tensor::{DType, Tensor, TensorView};

/// The library allows one environment per process; it lives as long as the process.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
/// Held while a library is opened.
static OPENING: Mutex<()> = Mutex::new(());
/// The library that was loaded.
static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
/// Its version, as the library tells it.
static VERSION: OnceLock<String> = OnceLock::new();

/// onnxruntime with all of its graph optimizations.
#[derive(Debug, Clone, Copy)]
pub struct OnnxruntimeEngine {
    environment: &'static Environment,
    version: &'static str,
    /// It was found on the unit, and nobody shipped it.
    is_of_the_unit: bool,
}

impl OnnxruntimeEngine {
    /// Loads the library, this file or else the one that the unit's dynamic loader finds.
    ///
    /// # Errors
    /// `EngineFault::Library` when it cannot be loaded or is none: a fault of the unit or of what was shipped, never of a model.
    pub fn open(library: Option<&Path>) -> Result<Self, EngineFault> {
        // One at a time: which library is loaded is known only afterwards.
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        let environment = match (ENVIRONMENT.get(), library) {
            (Some(environment), None) => environment,
            (Some(environment), Some(path)) => match LIBRARY.get().filter(|loaded| *loaded != path) {
                None => environment,
                Some(loaded) => {
                    let why = format!("this process has loaded {} already, and loads no second one", loaded.display());
                    return Err(fault(path, why));
                }
            },
            (None, Some(path)) => load(path)?,
            (None, None) => load_the_units_own()?,
        };
        let path = LIBRARY.get().map_or(Path::new(""), PathBuf::as_path);
        let version = VERSION.get_or_init(|| version(path).unwrap_or_else(|| ort::info().to_owned()));
        Ok(Self { environment, version, is_of_the_unit: library.is_none() })
    }
}

fn fault(path: &Path, reason: String) -> EngineFault {
    EngineFault::Library { engine: "onnxruntime", path: path.to_path_buf(), reason }
}

fn load(path: &Path) -> Result<&'static Environment, EngineFault> {
    let builder = ort::init_from(path).map_err(|error| fault(path, said(&error)))?;
    let built = builder.with_name("boardproof").with_telemetry(false).build();
    let built = built.map_err(|error| fault(path, reason(&error)))?;
    built.set_log_level(LogLevel::Fatal);
    LIBRARY.get_or_init(|| path.to_path_buf());
    Ok(ENVIRONMENT.get_or_init(|| built))
}

/// The first that can be loaded of those under the usual names; else what is wrong with the first that is there, or that there is none.
fn load_the_units_own() -> Result<&'static Environment, EngineFault> {
    let is_there = |fault: &EngineFault| !fault.to_string().contains("cannot open shared object file");
    let mut told: Option<EngineFault> = None;
    for name in usual_names() {
        match load(Path::new(&name)) {
            Ok(environment) => return Ok(environment),
            Err(fault) if told.as_ref().is_none_or(|told| is_there(&fault) && !is_there(told)) => told = Some(fault),
            Err(_) => {}
        }
    }
    Err(told.unwrap_or_else(|| fault(Path::new(PLAIN), "no name to look for".into())))
}

/// Name of the library where its headers are installed with it, or somebody has unpacked what its makers publish.
const PLAIN: &str = "libonnxruntime.so";
/// Minor versions of it that distributions may call theirs by: from the oldest whose interface is used on.
const MINORS: std::ops::RangeInclusive<u32> = 17..=99;

/// Names that the unit's dynamic loader may know it by: a product has no headers, and its library the name of its interface, or of its version,
/// of which the newest comes first.
fn usual_names() -> impl Iterator<Item = String> {
    let versions = MINORS.rev().map(|minor| format!("{PLAIN}.1.{minor}"));
    [PLAIN.to_owned(), format!("{PLAIN}.1")].into_iter().chain(versions)
}

/// The file that the loader took, links followed: the kernel knows what it has mapped.
fn mapped() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let files = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    let mut named = files.filter(|file| file.rsplit('/').next().is_some_and(|name| name.starts_with(PLAIN)));
    named.next().map(str::to_owned)
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

    fn check_providers(&self, providers: &[Provider]) -> Result<(), EngineFault> {
        providers::check(self.environment, providers)
    }

    fn own_library(&self) -> Option<String> {
        self.is_of_the_unit.then(mapped).flatten()
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

    #[test]
    fn a_library_of_something_else_is_a_fault_and_no_crash() {
        // Every process here has it open already.
        for other in ["libc.so.6", "libm.so.6"] {
            let error = OnnxruntimeEngine::open(Some(Path::new(other))).unwrap_err().to_string();
            assert!(error.contains(other) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_units_own_library_is_looked_for_under_the_names_of_developers_products_and_distributions() {
        let names: Vec<String> = usual_names().collect();
        assert_eq!(names[..2], ["libonnxruntime.so", "libonnxruntime.so.1"]);
        let place = |name: &str| names.iter().position(|found| found == name).expect("it is among them");
        assert!(place("libonnxruntime.so.1.21") < place("libonnxruntime.so.1.17"), "the newest comes first");
        assert!(!names.contains(&"libonnxruntime.so.1.16".to_owned()), "its interface is too old");
    }

    /// Under this name nobody knows it but who has it loaded: the file is the kernel's to tell.
    #[test]
    fn the_file_that_was_loaded_is_told_where_it_is_the_units_own_and_called_as_usual() {
        let Some(engine) = library() else { return };
        assert_eq!(engine.own_library(), None, "it was brought");
        let own = OnnxruntimeEngine { is_of_the_unit: true, ..engine };
        let path = std::env::var("BOARDPROOF_ONNXRUNTIME").expect("there is one");
        let name = Path::new(&path).file_name().is_some_and(|name| name.to_string_lossy().starts_with(PLAIN));
        assert_eq!(own.own_library().is_some(), name, "{path}");
    }

    /// What the library wrote before is gone with the answers: an output that it does not write shows what no answer is.
    #[test]
    fn answers_that_are_given_back_are_poisoned_in_every_datatype() {
        if library().is_none() {
            return;
        }
        for dtype in [
            DType::F32,
            DType::F64,
            DType::F16,
            DType::U8,
            DType::I8,
            DType::U16,
            DType::I16,
            DType::U32,
            DType::I32,
            DType::U64,
            DType::I64,
        ] {
            let size = dtype.size_bytes();
            let zeros = Tensor::new(dtype, vec![2, 3], vec![0; 6 * size]).expect("six elements");
            let mut value = values::to_ort(zeros.view()).expect("a tensor of the library's");
            values::poison(&mut value);
            let found = values::from_ort(&value).expect("it is one of ours");
            assert_eq!((found.dtype(), found.shape()), (dtype, &[2, 3][..]));
            for element in found.view().to_f64() {
                assert!(element > 100.0 && element.is_finite(), "{dtype:?}: {element}");
            }
        }
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
            let wanted = [missing.into(), "CPUExecutionProvider".into()];
            let error = engine.check_providers(&wanted).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("CPUExecutionProvider"), "{error}");
        }
        assert_eq!(engine.check_providers(&["CPUExecutionProvider".into()]), Ok(()));
    }

    /// Azure's provider takes operators of its own and no other: every node of an ordinary model falls back.
    #[test]
    fn nodes_that_the_wanted_provider_does_not_take_say_where_they_ran() {
        let Some(engine) = library() else { return };
        let azure = [Provider::from("AzureExecutionProvider")];
        if let Err(error) = engine.check_providers(&azure) {
            eprintln!("skipped: {error}");
            return;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist_dscnn/int8_qdq_pc.onnx");
        let model = std::fs::read(file).expect("a model of the workspace");
        let kernels = |providers: &[Provider]| {
            let options = LoadOptions { describe: true, providers: providers.to_vec(), ..LoadOptions::default() };
            let loaded = engine.load(&model, &options).expect("it runs");
            loaded.operators().iter().map(|op| op.kernel.clone().unwrap_or_default()).collect::<Vec<_>>()
        };
        let fallen = kernels(&azure);
        assert!(!fallen.is_empty() && fallen.iter().all(|kernel| kernel == "CPU (fell back from Azure)"), "{fallen:?}");
        let wanted = kernels(&["CPUExecutionProvider".into()]);
        assert!(!wanted.is_empty() && wanted.iter().all(|kernel| kernel == "CPU"), "{wanted:?}");
        assert_eq!(kernels(&[]), wanted);
    }

    /// The library looks at no option of Azure's provider, but it takes none without a value: so they reach it.
    #[test]
    fn options_of_a_provider_are_told_to_the_library() {
        let Some(engine) = library() else { return };
        let told = |value: &str| {
            let options = [("a_name".to_owned(), value.to_owned())].into();
            engine.check_providers(&[Provider { name: "AzureExecutionProvider".into(), options }])
        };
        if let Err(error) = engine.check_providers(&["AzureExecutionProvider".into()]) {
            eprintln!("skipped: {error}");
            return;
        }
        assert_eq!(told("a value"), Ok(()));
        let error = told("").unwrap_err().to_string();
        assert!(error.contains("AzureExecutionProvider") && error.contains("empty"), "{error}");
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
