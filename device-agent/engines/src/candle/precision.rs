//! candle against itself: the model as it ships against the same operators in f64, and the first operator at which they part.
//!
//! candle optimizes nothing that could be left out. What can go wrong are its kernels, which differ by processor and by datatype: those
//! for f64 are others than those for f32 and f16.

use super::loaded::CandleModel;
use super::source::Source;
use super::value::{Value, Width};
use crate::engine::{LoadOptions, Loaded, OperatorFacts, Refusal, RunFailure};
use crate::self_check::{Arithmetic, Parting, SelfCheck, SelfCheckOutcome, parting};
use crate::tensor::{DType, Tensor, TensorView};

pub(super) fn self_check(
    source: &Source,
    options: &LoadOptions,
    loaded: &mut dyn Loaded,
    samples: &[Vec<TensorView<'_>>],
) -> Result<SelfCheck, Refusal> {
    let mut exact = CandleModel::new(source, options, Width::Double)?;
    let tolerance = arithmetic(loaded).tolerance();
    let unavailable = |reason: String| SelfCheck {
        samples: 0,
        parting: Parting { relative_l2: 0.0, max_abs: 0.0 },
        tolerance,
        outcome: SelfCheckOutcome::Unavailable { reason },
    };
    if samples.is_empty() {
        return Ok(unavailable("no samples were given".into()));
    }
    let reference = match answers(&mut exact, samples) {
        Ok(reference) => reference,
        Err(failure) => return Ok(unavailable(format!("the model does not run in f64: {failure}"))),
    };
    let apart = match answers(loaded, samples) {
        Ok(answers) => parting(&reference, &answers),
        // What ships does not even run: as far apart as can be.
        Err(_) => Parting { relative_l2: f64::INFINITY, max_abs: f64::INFINITY },
    };
    let outcome = if apart.relative_l2 <= tolerance {
        SelfCheckOutcome::Agrees
    } else {
        let mut written = CandleModel::new(source, options, Width::Written)?;
        let operator = samples.iter().find_map(|sample| first_apart(&mut exact, &mut written, sample, tolerance));
        SelfCheckOutcome::Parts { stage: "kernels".into(), operator: operator.map(Box::new), replaced: Vec::new() }
    };
    Ok(SelfCheck { samples: samples.len(), parting: apart, tolerance, outcome })
}

/// The coarsest arithmetic of the model's operators.
fn arithmetic(loaded: &dyn Loaded) -> Arithmetic {
    let names = loaded.operators().iter().flat_map(|facts| facts.dtypes_in.iter().chain(&facts.dtypes_out));
    Arithmetic::of(names.filter_map(|name| DType::from_name(name)))
}

fn answers(model: &mut dyn Loaded, samples: &[Vec<TensorView<'_>>]) -> Result<Vec<Vec<Tensor>>, RunFailure> {
    let mut run = |sample: &Vec<TensorView<'_>>| {
        model.prepare(sample)?;
        model.run()?;
        model.answers()
    };
    samples.iter().map(&mut run).collect()
}

/// The first operator whose outputs are apart on one sample.
fn first_apart(
    exact: &mut CandleModel,
    written: &mut CandleModel,
    sample: &[TensorView<'_>],
    tolerance: f64,
) -> Option<OperatorFacts> {
    exact.prepare(sample).ok()?;
    written.prepare(sample).ok()?;
    let (exact, made) = (exact.trace().ok()?, written.trace().ok()?);
    // Numbers as they are held: those in f64 need not fit the type that the model writes.
    let held = |values: &[Value]| values.iter().map(Value::as_f64).collect::<Result<Vec<_>, _>>().ok();
    let is_apart = |(exact, made): (&Vec<Value>, &Vec<Value>)| match (held(exact), held(made)) {
        (Some(exact), Some(made)) => parting(&[exact], &[made]).relative_l2 > tolerance,
        _ => true,
    };
    let step = exact.iter().zip(&made).position(is_apart)?;
    written.operators().get(step).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candle::CandleEngine;
    use crate::engine::Engine;
    use crate::self_check::SelfCheckLimits;
    use boardproof_compile::onnx::{
        DimProto, GraphProto, ModelProto, NodeProto, OperatorSetProto, ShapeProto, TensorType, TypeProto,
        ValueInfoProto,
    };
    use half::f16;
    use prost::Message;

    /// `sqrt(|x| * |x|)` of two halves, whose square need not be one.
    fn squares() -> Vec<u8> {
        let node = |name: &str, operator: &str, inputs: &[&str], output: &str| NodeProto {
            name: name.into(),
            op_type: operator.into(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        };
        let extent = |size| DimProto { dim_value: size, ..DimProto::default() };
        let shape = ShapeProto { dim: vec![extent(1), extent(2)] };
        let tensor_type = Some(TensorType { elem_type: 10, shape: Some(shape) });
        let end = |name: &str| ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto { tensor_type: tensor_type.clone() }),
        };
        let nodes = vec![
            node("size", "Abs", &["x"], "a"),
            node("square", "Mul", &["a", "a"], "b"),
            node("root", "Sqrt", &["b"], "y"),
        ];
        let graph = GraphProto { node: nodes, input: vec![end("x")], output: vec![end("y")], ..GraphProto::default() };
        let opset = OperatorSetProto { domain: String::new(), version: 17 };
        ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }.encode_to_vec()
    }

    fn check(values: [f32; 2]) -> SelfCheck {
        let (model, options) = (squares(), LoadOptions::default());
        let bytes = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let input = Tensor::new(DType::F16, vec![1, 2], bytes).unwrap();
        let mut loaded = CandleEngine.load(&model, &options).unwrap();
        let limits = SelfCheckLimits::default();
        CandleEngine.self_check(&model, &options, loaded.as_mut(), &[vec![input.view()]], &limits).unwrap()
    }

    #[test]
    fn the_first_operator_that_parts_is_named() {
        assert_eq!(check([3.0, -4.0]).outcome, SelfCheckOutcome::Agrees);
        let SelfCheckOutcome::Parts { operator: Some(operator), .. } = check([3.0, -400.0]).outcome else {
            panic!("expected a named operator");
        };
        assert_eq!(operator.to_string(), "Mul (square), f16,f16->f16");
    }
}
