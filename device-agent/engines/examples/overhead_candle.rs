//! Per-inference time through `Loaded::run` against the same layers written out on candle's own tensors, in one process, in alternating
//! blocks. As in the runner, each inference has an input that was made for it, and answers are dropped outside of the window, on both sides.
//!
//! `overhead_candle MODEL.onnx [BLOCKS]`, for models that are a chain of layers. Prints both medians and their ratio.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use boardproof_compile::onnx::{ModelProto, NodeProto};
use boardproof_engines::{CandleEngine, DType, Engine, LoadOptions, Tensor};
use candle_core::{Device, Tensor as CandleTensor};
use prost::Message;

const RUNS_PER_BLOCK: usize = 200;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A layer as somebody writes it who uses candle alone.
enum Layer {
    Dense { weights: CandleTensor, bias: CandleTensor },
    Conv { kernel: CandleTensor, bias: CandleTensor, padding: usize, stride: usize, groups: usize },
    Norm { factor: CandleTensor, summand: CandleTensor },
    Relu,
    Sigmoid,
    Mean(Vec<usize>),
}

impl Layer {
    fn forward(&self, x: &CandleTensor) -> candle_core::Result<CandleTensor> {
        match self {
            Layer::Dense { weights, bias } => x.matmul(weights)?.broadcast_add(bias),
            Layer::Conv { kernel, bias, padding, stride, groups } if kernel.rank() == 3 => {
                x.conv1d(kernel, *padding, *stride, 1, *groups)?.broadcast_add(bias)
            }
            Layer::Conv { kernel, bias, padding, stride, groups } => {
                x.conv2d(kernel, *padding, *stride, 1, *groups)?.broadcast_add(bias)
            }
            Layer::Norm { factor, summand } => x.broadcast_mul(factor)?.broadcast_add(summand),
            Layer::Relu => x.relu(),
            Layer::Sigmoid => (x.neg()?.exp()? + 1.0)?.recip(),
            Layer::Mean(axes) => x.mean(axes.as_slice()),
        }
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: overhead_candle MODEL.onnx [BLOCKS]")?;
    let blocks: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let model = std::fs::read(&path)?;

    // Loading also keeps candle on this thread, for both.
    let mut loaded = CandleEngine.load(&model, &LoadOptions::default())?;
    let shape = loaded.inputs()[0].shape.clone();
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|index| (index % 17) as f32 / 17.0).collect();
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let raw = Tensor::new(DType::F32, shape.clone(), bytes)?;
    loaded.prepare(&[raw.view()])?;
    let layers = layers(&model)?;
    let input = || CandleTensor::from_vec(values.clone(), shape.as_slice(), &Device::Cpu);
    let bare = |input: CandleTensor| layers.iter().try_fold(input, |x, layer| layer.forward(&x));

    loaded.run()?;
    let same = loaded.answers()?[0].view().to_f64();
    let apart =
        bare(input()?)?.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(same).map(|(a, b)| (f64::from(a) - b).abs());
    if apart.fold(0.0, f64::max) > 1e-5 {
        return Err("the layers written out answer otherwise than the engine".into());
    }
    let (mut ours_ns, mut bare_ns) = (Vec::new(), Vec::new());
    for _ in 0..blocks {
        for _ in 0..RUNS_PER_BLOCK {
            loaded.prepare(&[raw.view()])?;
            let start = Instant::now();
            loaded.run()?;
            ours_ns.push(start.elapsed().as_nanos());
        }
        for _ in 0..RUNS_PER_BLOCK {
            let input = input()?;
            let start = Instant::now();
            let answers = bare(input)?;
            bare_ns.push(start.elapsed().as_nanos());
            drop(answers);
        }
    }
    let (ours_ns, bare_ns) = (median(ours_ns), median(bare_ns));
    println!("{path} | ours {ours_ns} ns | bare {bare_ns} ns | ratio {:.4}", ours_ns as f64 / bare_ns as f64);
    Ok(())
}

/// The model as a chain of layers; anything else is an error.
fn layers(model: &[u8]) -> Outcome<Vec<Layer>> {
    let graph = ModelProto::decode(model)?.graph.ok_or("expected a graph, got none")?;
    let mut tensors = BTreeMap::new();
    for tensor in &graph.initializer {
        let values: Vec<f32> = tensor.raw_data.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
        let shape: Vec<usize> = tensor.dims.iter().map(|extent| *extent as usize).collect();
        tensors.insert(tensor.name.clone(), CandleTensor::from_vec(values, shape, &Device::Cpu)?);
    }
    let mut chain = graph.input.first().ok_or("expected an input, got none")?.name.clone();
    let mut layers = Vec::new();
    for node in &graph.node {
        if node.input.first() != Some(&chain) {
            return Err(format!("expected a chain of layers, got {} aside of it", node.name).into());
        }
        chain.clone_from(&node.output[0]);
        layers.push(layer(node, &tensors)?);
    }
    Ok(layers)
}

fn layer(node: &NodeProto, tensors: &BTreeMap<String, CandleTensor>) -> Outcome<Layer> {
    let tensor = |index: usize| node.input.get(index).and_then(|name| tensors.get(name)).ok_or("a missing constant");
    let ints = |name: &str| node.attribute.iter().find(|found| found.name == name).map(|found| found.ints.clone());
    let first = |name: &str| ints(name).and_then(|list| list.first().copied()).unwrap_or(0) as usize;
    Ok(match node.op_type.as_str() {
        "Relu" => Layer::Relu,
        "Sigmoid" => Layer::Sigmoid,
        "Gemm" => Layer::Dense { weights: tensor(1)?.t()?.contiguous()?, bias: tensor(2)?.clone() },
        "BatchNormalization" => {
            let factor = (tensor(1)? / (tensor(4)? + 1e-5)?.sqrt()?)?;
            let summand = (tensor(2)? - (tensor(3)? * &factor)?)?;
            Layer::Norm { factor: factor.unsqueeze(0)?, summand: summand.unsqueeze(0)? }
        }
        "ReduceMean" => Layer::Mean(ints("axes").unwrap_or_default().into_iter().map(|axis| axis as usize).collect()),
        "Conv" => {
            let kernel = tensor(1)?.clone();
            let groups = node.attribute.iter().find(|found| found.name == "group").map_or(1, |found| found.i) as usize;
            let bias = tensor(2)?.reshape([vec![1, kernel.dims()[0]], vec![1; kernel.rank() - 2]].concat())?;
            Layer::Conv { kernel, bias, padding: first("pads"), stride: first("strides"), groups }
        }
        other => return Err(format!("expected a layer that is written out here, got {other}").into()),
    })
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
