//! Drops copies that nothing needs: a copy gives values another shape, and many operators do not look at shapes.

use crate::lower::Program;
use crate::value::{Body, Operator};
use boardproof_micro::Kind;

/// Drops them.
pub fn drop_idle(program: &mut Program) {
    let mut at = 0;
    while at < program.operators.len() {
        if program.operators[at].kind == Kind::Copy && is_idle(program, at) {
            let copy = program.operators.remove(at);
            bypass(program, &copy);
        } else {
            at += 1;
        }
    }
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

/// Can the tensor have another shape? Its maker must not look at it, and nobody but the copy may read it.
fn may_be_reshaped(program: &Program, tensor: usize) -> bool {
    let maker = program.operators.iter().find(|operator| operator.output == tensor).map(|operator| operator.kind);
    let any_shape = matches!(maker, None | Some(Kind::FullyConnected | Kind::Quantize | Kind::Table));
    any_shape && !program.outputs.contains(&tensor) && readers(program, tensor).count() == 1
}

fn is_idle(program: &Program, at: usize) -> bool {
    let (from, to) = (program.operators[at].inputs[0], program.operators[at].output);
    let any_reader = || readers(program, to).all(reads_any_shape);
    !program.outputs.contains(&to) && (any_reader() || may_be_reshaped(program, from))
}

/// Whoever read the copy reads what it was of, in the copy's shape where that is possible.
fn bypass(program: &mut Program, copy: &Operator) {
    let (from, to) = (copy.inputs[0], copy.output);
    if !readers(program, to).all(reads_any_shape) {
        program.tensors[from].dims = program.tensors[to].dims.clone();
    }
    for input in program.operators.iter_mut().flat_map(|operator| &mut operator.inputs) {
        if *input == to {
            *input = from;
        }
    }
}
