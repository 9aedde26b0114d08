//! From integer operators to the bytes of a model.

use crate::arena::{Block, least, place};
use crate::lower::Program;
use crate::value::{Body, Operator, SIZE_MAX, Sums, Tensor, Window, elements};
use crate::{CompileError, Compiled};
use boardproof_micro::write::{OperatorSpec, TensorSpec, Writer};
use boardproof_micro::{Kind, Model, scratch_bytes};

/// What a compiled model is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Inputs as the ONNX model declares them, in its order.
    pub inputs: Vec<InputReport>,
    /// Operators in order: name of the node, kind, multiply-accumulate steps.
    pub operators: Vec<(String, &'static str, u64)>,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Fewest bytes of any arena for these operators.
    pub arena_bytes_least: usize,
}

/// An input of the ONNX model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputReport {
    /// Its name.
    pub name: String,
    /// Element type as safetensors names it (`F32`, `U8`, `I8`).
    pub dtype: String,
    /// Shape without the sample.
    pub dims: Vec<usize>,
}

impl Report {
    /// Multiply-accumulate steps of one inference.
    pub fn macs(&self) -> u64 {
        self.operators.iter().map(|(_, _, macs)| macs).sum()
    }
}

/// Writes a program.
pub fn emit(program: &Program) -> Result<Compiled, CompileError> {
    expect_places(program)?;
    let order = order(program);
    let number = |tensor: usize| {
        order.iter().position(|t| *t == tensor).expect("every tensor of an operator is an end or made by one")
    };
    let blocks = blocks(program, &order);
    let (offsets, arena_bytes) = place(&blocks);
    let mut writer = Writer::new();
    for (i, tensor) in order.iter().enumerate() {
        let tensor = &program.tensors[*tensor];
        writer.tensor(&TensorSpec {
            name: &tensor.name,
            dtype: tensor.dtype,
            dims: &tensor.dims,
            offset: offsets[i],
            scale: tensor.scale,
            zero_point: tensor.zero_point,
        });
    }
    for (i, operator) in program.operators.iter().enumerate() {
        let mut parameters = parameters(&mut writer, operator);
        if scratch_of(program, operator) > 0 {
            parameters[9] = offsets[order.len() + i] as i32;
        }
        let inputs: Vec<usize> = operator.inputs.iter().map(|t| number(*t)).collect();
        let (name, kind, output) = (operator.name.as_str(), operator.kind, number(operator.output));
        writer.operator(&OperatorSpec { name, kind, inputs: &inputs, output, parameters });
    }
    let (inputs, outputs) = (program.inputs.len() as u8, program.outputs.len() as u8);
    let bytes = writer.finish(inputs, outputs, arena_bytes);
    let model = Model::check(&bytes).map_err(CompileError::Invalid)?;
    let operators = model.operators().map(|o| (model.operator_name(&o).to_owned(), o.kind.name(), model.macs(&o)));
    let report =
        Report { inputs: Vec::new(), operators: operators.collect(), arena_bytes, arena_bytes_least: least(&blocks) };
    Ok(Compiled { bytes, report })
}

/// The format has a place for every shape and number.
fn expect_places(program: &Program) -> Result<(), CompileError> {
    let fits = |size: &usize| (1..=SIZE_MAX).contains(size);
    let wrong =
        |tensor: &&Tensor| tensor.dims.len() > 4 || !tensor.dims.iter().all(fits) || elements(&tensor.dims).is_none();
    if let Some(tensor) = program.tensors.iter().find(wrong) {
        return Err(CompileError::Malformed(format!("tensor '{}' has shape {:?}", tensor.name, tensor.dims)));
    }
    let ends = program.inputs.len().max(program.outputs.len());
    if ends > usize::from(u8::MAX) || program.tensors.len().max(program.operators.len()) >= usize::from(u16::MAX) {
        let (tensors, operators) = (program.tensors.len(), program.operators.len());
        return Err(CompileError::Malformed(format!("it has {operators} operators and {tensors} tensors, too many")));
    }
    Ok(())
}

/// Tensors in the order of the format: inputs, outputs, and the others that an operator makes.
fn order(program: &Program) -> Vec<usize> {
    let ends: Vec<usize> = program.inputs.iter().chain(&program.outputs).copied().collect();
    let made = program.operators.iter().map(|o| o.output).filter(|t| !ends.contains(t));
    ends.iter().copied().chain(made).collect()
}

fn scratch_of(program: &Program, operator: &Operator) -> usize {
    let input = &program.tensors[operator.inputs[0]];
    let channels = input.dims.last().copied().unwrap_or(1);
    let row = match (&operator.body, operator.kind) {
        (Body::Sums(sums), Kind::Conv2d) => sums.window.kernel.0 * sums.window.kernel.1 * channels,
        (_, Kind::FullyConnected) => input.elements(),
        (_, Kind::DepthwiseConv2d) => channels,
        _ => 0,
    };
    scratch_bytes(operator.kind, row)
}

/// Blocks of all tensors in their order, then the scratch of all operators.
fn blocks(program: &Program, order: &[usize]) -> Vec<Block> {
    let end = program.operators.len().saturating_sub(1);
    let of_tensor = |tensor: &usize| {
        let bytes = program.tensors[*tensor].elements() * program.tensors[*tensor].dtype.bytes();
        if program.inputs.contains(tensor) {
            // They stay as they are: the next run may be on the same ones.
            return Block { bytes, first: 0, last: end };
        }
        let first = program.operators.iter().position(|o| o.output == *tensor).unwrap_or(0);
        let used = program.operators.iter().rposition(|o| o.inputs.contains(tensor));
        let last = if program.outputs.contains(tensor) { end } else { used.unwrap_or(first).max(first) };
        Block { bytes, first, last }
    };
    let scratch =
        program.operators.iter().enumerate().map(|(i, o)| Block { bytes: scratch_of(program, o), first: i, last: i });
    order.iter().map(of_tensor).chain(scratch).collect()
}

fn parameters(writer: &mut Writer, operator: &Operator) -> [i32; 13] {
    let mut parameters = [0; 13];
    match &operator.body {
        Body::Sums(sums) => put_sums(writer, operator.kind, sums, &mut parameters),
        Body::Numbers(numbers, clamp) => {
            parameters[..4].copy_from_slice(numbers);
            parameters[8] = pair(clamp.0, clamp.1);
        }
        Body::Pool { window, by_count, clamp } => {
            put_window(window, &mut parameters);
            if !by_count.is_empty() {
                parameters[1] = writer.channels(by_count.iter().map(|by| (0, *by)));
            }
            parameters[7] = 0;
            parameters[8] = pair(clamp.0, clamp.1);
        }
        Body::Table(table) => {
            let bytes: Vec<u8> = table.iter().map(|v| *v as u8).collect();
            parameters[0] = writer.constant(&bytes);
        }
        Body::Softmax { exponentials, inverse } => {
            parameters[0] = writer.words(exponentials.iter().copied());
            parameters[1] = *inverse;
            parameters[8] = pair(-128, 127);
        }
        Body::Add(add) => {
            parameters[0] = match add {
                Some(add) => writer.words(add.iter().map(|n| n.to_bits() as i32)),
                None => -1,
            };
        }
    }
    parameters
}

fn put_sums(writer: &mut Writer, kind: Kind, sums: &Sums, parameters: &mut [i32; 13]) {
    let row = sums.weights.len() / sums.biases.len().max(1);
    parameters[0] =
        if kind == Kind::DepthwiseConv2d { writer.lanes(&sums.weights, row) } else { writer.rows(&sums.weights, row) };
    parameters[1] = writer.channels(sums.biases.iter().copied().zip(sums.multipliers.iter().copied()));
    if kind != Kind::FullyConnected {
        put_window(&sums.window, parameters);
    }
    parameters[8] = pair(sums.clamp.0, sums.clamp.1);
}

fn put_window(window: &Window, parameters: &mut [i32; 13]) {
    let of = |(a, b): (usize, usize)| pair(a as i32, b as i32);
    parameters[4] = of(window.kernel);
    parameters[5] = of(window.strides);
    parameters[6] = of(window.padding);
    parameters[7] = of(window.dilations);
}

fn pair(low: i32, high: i32) -> i32 {
    (low & 0xffff) | high << 16
}
