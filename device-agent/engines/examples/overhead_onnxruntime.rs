//! Per-inference time through `Loaded::run` against onnxruntime's own loop in Python, in alternating blocks on the same model with the same
//! library, one thread each.
//!
//! `overhead_onnxruntime MODEL.onnx PYTHON [BLOCKS]`, where PYTHON has the package onnxruntime: its library is used for both. Prints both
//! medians and their ratio; the harness may cost at most 3 %.
//!
//! Python goes the shortest way that it has: input and outputs are bound once and live in the library's memory, and the loop calls the binding
//! itself, without what its package does around it. Both use one thread, all graph optimizations and the library's defaults else; both get
//! outputs in new memory for each inference. What is left of Python in its time are one call and two readings of its clock.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use boardproof_engines::{DType, Engine, LoadOptions, OnnxruntimeEngine, Tensor};

const RUNS_PER_BLOCK: usize = 500;

/// Says where its library lies, then times a block for every line that it reads.
const LOOP: &str = r#"
import glob, os, sys, time
import numpy, onnxruntime
print(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "libonnxruntime.so*"))[0], flush=True)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
shape = [extent if isinstance(extent, int) else 1 for extent in entry.shape]
values = (numpy.arange(numpy.prod(shape)) % 17 / 17).astype(numpy.float32).reshape(shape)
binding = session.io_binding()
binding.bind_ortvalue_input(entry.name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
for output in session.get_outputs():
    binding.bind_output(output.name)
run, bound, now = session._sess.run_with_iobinding, binding._iobinding, time.perf_counter_ns
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = now()
        run(bound, None)
        times.append(now() - start)
    print(*times, flush=True)
"#;

/// The loop in Python, waiting to be asked.
struct Python {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start(python: &str, model: &str) -> Result<(Self, PathBuf), Box<dyn Error>> {
        let mut command = Command::new(python);
        command.args(["-c", LOOP, model]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let ask = child.stdin.take().ok_or("no way to ask")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no way to hear")?);
        let mut started = Self { child, ask, answers };
        let library = PathBuf::from(started.line()?.trim());
        Ok((started, library))
    }

    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err("the loop in Python ended".into()),
            _ => Ok(line),
        }
    }

    fn block(&mut self) -> Result<Vec<u128>, Box<dyn Error>> {
        writeln!(self.ask, "{RUNS_PER_BLOCK}")?;
        self.line()?.split_whitespace().map(|word| Ok(word.parse()?)).collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: overhead_onnxruntime MODEL.onnx PYTHON [BLOCKS]";
    let (path, python) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let blocks: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let (mut theirs, library) = Python::start(&python, &path)?;

    let engine = OnnxruntimeEngine::open(Some(&library))?;
    let mut loaded = engine.load(&std::fs::read(&path)?, &LoadOptions::default())?;
    let shape = loaded.inputs()[0].shape.clone();
    let values = (0..shape.iter().product::<usize>()).map(|index| (index % 17) as f32 / 17.0);
    let bytes = values.flat_map(f32::to_le_bytes).collect();
    loaded.prepare(&[Tensor::new(DType::F32, shape, bytes)?.view()])?;

    let (mut ours_ns, mut theirs_ns) = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        for _ in 0..RUNS_PER_BLOCK {
            let start = Instant::now();
            loaded.run()?;
            ours_ns.push(start.elapsed().as_nanos());
        }
        theirs_ns.extend(theirs.block()?);
    }
    let (ours_ns, bare_ns) = (median(ours_ns), median(theirs_ns));
    println!("{path} | ours {ours_ns} ns | bare {bare_ns} ns | ratio {:.4}", ours_ns as f64 / bare_ns as f64);
    Ok(())
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
