//! Per-inference time through `Loaded::run` against a bare tract loop, in one process, in alternating blocks.
//!
//! `overhead MODEL.onnx [BLOCKS]`. Prints both medians and their ratio; the harness may cost at most 2 %.

use std::error::Error;
use std::time::Instant;

use boardproof_engines::{DType, Engine, LoadOptions, Tensor, TractEngine};
use tract_onnx::prelude::{DatumType, Framework, InferenceFact, InferenceModelExt, TValue, tvec};
use tract_onnx::tract_core::internal::{Tensor as TractTensor, TypedSimplePlan};

const RUNS_PER_BLOCK: usize = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: overhead MODEL.onnx [BLOCKS]")?;
    let blocks: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let model = std::fs::read(&path)?;

    let mut loaded = TractEngine.load(&model, &LoadOptions::default())?;
    let shape = loaded.inputs()[0].shape.clone();
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|index| (index % 17) as f32 / 17.0).collect();
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    loaded.prepare(&[Tensor::new(DType::F32, shape.clone(), bytes)?.view()])?;

    let mut graph = tract_onnx::onnx().with_ignore_value_info(true).model_for_path(&path)?;
    graph.set_input_fact(0, InferenceFact::dt_shape(DatumType::F32, &*shape))?;
    let mut state = TypedSimplePlan::new(graph.into_optimized()?)?.spawn()?;
    let input: TValue = TractTensor::from_shape(&shape, &values)?.into();

    let (mut ours_ns, mut bare_ns) = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        for _ in 0..RUNS_PER_BLOCK {
            let start = Instant::now();
            loaded.run()?;
            ours_ns.push(start.elapsed().as_nanos());
        }
        for _ in 0..RUNS_PER_BLOCK {
            let start = Instant::now();
            let answers = state.run(tvec!(input.clone()))?;
            bare_ns.push(start.elapsed().as_nanos());
            drop(answers);
        }
    }
    let (ours_ns, bare_ns) = (median(ours_ns), median(bare_ns));
    println!("{path} | ours {ours_ns} ns | bare {bare_ns} ns | ratio {:.4}", ours_ns as f64 / bare_ns as f64);
    Ok(())
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
