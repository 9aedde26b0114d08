//! Drops copies that nothing needs: a copy gives values another shape, and many operators do not look at shapes.

use crate::lower::Program;
use crate::value::{Body, Operator};
use boardproof_micro::Kind;

/// What may stand in a copy's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instead {
    /// Its input as it is: whoever reads the copy looks at no shape.
    Input,
    /// Its input in the copy's shape: whoever makes it looks at no shape, and nobody else reads it.
    Reshaped,
}

/// Drops them.
pub fn drop_idle(program: &mut Program) {
    let mut at = 0;
    while at < program.operators.len() {
        match instead(program, &program.operators[at]) {
            Some(instead) => {
                let copy = program.operators.remove(at);
                bypass(program, &copy, instead);
            }
            None => at += 1,
        }
    }
}

fn instead(program: &Program, copy: &Operator) -> Option<Instead> {
    let (from, to) = (copy.inputs[0], copy.output);
    if copy.kind != Kind::Copy || program.outputs.contains(&to) {
        return None;
    }
    let steps = |tensor: usize| (program.tensors[tensor].scale, program.tensors[tensor].zero_point);
    // An input of 8-bit values may be worth nothing yet where its copy is.
    if steps(from) == steps(to) && readers(program, to).all(reads_any_shape) {
        return Some(Instead::Input);
    }
    may_be_reshaped(program, from).then_some(Instead::Reshaped)
}

fn readers(program: &Program, tensor: usize) -> impl Iterator<Item = &Operator> {
    program.operators.iter().filter(move |operator| operator.inputs.contains(&tensor))
}

/// Does the operator work on so many elements, whatever their shape is?
fn reads_any_shape(operator: &Operator) -> bool {
    match operator.kind {
        Kind::FullyConnected | Kind::Table | Kind::Copy => true,
        // With numbers to add it looks at the last dimension.
        Kind::Dequantize => matches!(operator.body, Body::Add(None)),
        _ => false,
    }
}

fn may_be_reshaped(program: &Program, tensor: usize) -> bool {
    let maker = program.operators.iter().find(|operator| operator.output == tensor).map(|operator| operator.kind);
    let any_shape = matches!(maker, None | Some(Kind::FullyConnected | Kind::Quantize | Kind::Table));
    any_shape && !program.outputs.contains(&tensor) && readers(program, tensor).count() == 1
}

/// Whoever read the copy reads what stands in its place.
fn bypass(program: &mut Program, copy: &Operator, instead: Instead) {
    let (from, to) = (copy.inputs[0], copy.output);
    if instead == Instead::Reshaped {
        let copied = program.tensors[to].clone();
        let tensor = &mut program.tensors[from];
        (tensor.dims, tensor.scale, tensor.zero_point) = (copied.dims, copied.scale, copied.zero_point);
    }
    for input in program.operators.iter_mut().flat_map(|operator| &mut operator.inputs) {
        if *input == to {
            *input = from;
        }
    }
}
