//! Which tensors of a variant stand for which of the reference.
//!
//! Quantizers keep the names of tensors and add to them; what they add differs. A name that both have is looked at first, then what is
//! made of it: `x` quantized and back (QDQ), or `x_quantized`, the output of an operator on whole numbers (QOperator).

use crate::constant::ends;
use crate::graph::Graph;
use crate::onnx::{F16, F32, F64, NodeProto};
use crate::quantized::quantizer_of_output;
use boardproof_record::layers::Quantizer;
use std::collections::BTreeMap;

/// Operators that only move numbers: their outputs would repeat the lines of their inputs.
const MOVES: [&str; 12] = [
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Split",
    "Identity",
    "Slice",
    "Gather",
    "Concat",
    "Cast",
    "Expand",
];

/// Names of scale and zero point in the variant.
pub type StepNames = (String, String);

/// A tensor of the reference and where it is in the variant.
#[derive(Debug, Clone)]
pub struct Pair {
    /// In the reference.
    pub tensor: String,
    /// In the variant: numbers as the reference has them, or whole numbers that stand for them.
    pub seen_as: String,
    /// It is whole numbers, and this makes numbers of them.
    pub whole: Option<StepNames>,
    /// How the variant quantizes it.
    pub steps: Option<StepNames>,
    /// Its name in the variant before it is quantized.
    pub raw: Option<String>,
    /// Its name in the variant as whole numbers.
    pub quantized: Option<String>,
}

/// How a tensor that is read stands for one of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// As whole numbers.
    Quantized,
    /// Quantized and back.
    Requantized,
}

/// Everything that both have.
pub struct Alignment {
    /// Tensors worth a line.
    pub pairs: Vec<Pair>,
    /// Tensors of the reference that were not found.
    pub unseen: Vec<String>,
    /// Tensors of the variant that stand for a pair's.
    pub forms: BTreeMap<String, (usize, Form)>,
}

/// Aligns a variant with its reference.
pub fn align(reference: &Graph, variant: &Graph) -> Alignment {
    let mut found = Alignment { pairs: Vec::new(), unseen: Vec::new(), forms: BTreeMap::new() };
    for tensor in worth_a_line(reference) {
        match pair(variant, &tensor) {
            Some(pair) => found.add(pair),
            None => found.unseen.push(tensor),
        }
    }
    found
}

impl Alignment {
    fn add(&mut self, pair: Pair) {
        let at = self.pairs.len();
        let seen = match (&pair.whole, &pair.quantized) {
            (Some(_), _) => Form::Quantized,
            (None, Some(_)) => Form::Requantized,
            (None, None) => Form::Plain,
        };
        if let Some(quantized) = &pair.quantized {
            self.forms.insert(quantized.clone(), (at, Form::Quantized));
        }
        self.forms.insert(pair.seen_as.clone(), (at, seen));
        if let Some(raw) = &pair.raw {
            self.forms.insert(raw.clone(), (at, Form::Plain));
        }
        self.pairs.push(pair);
    }
}

/// Inputs, and what is computed from them in floating point.
fn worth_a_line(reference: &Graph) -> Vec<String> {
    let is_float = |tensor: &str| matches!(reference.element(tensor), F32 | F16 | F64);
    let inputs = reference.inputs().map(|input| input.name.clone()).collect::<Vec<_>>();
    let computed = reference.proto.node.iter().filter(|node| !MOVES.contains(&node.op_type.as_str()));
    let outputs = computed.flat_map(|node| node.output.iter()).filter(|o| !o.is_empty() && !reference.is_fixed(o));
    inputs.into_iter().chain(outputs.cloned()).filter(|tensor| is_float(tensor)).collect()
}

fn pair(variant: &Graph, tensor: &str) -> Option<Pair> {
    let made = |seen_as: &str| Pair {
        tensor: tensor.into(),
        seen_as: seen_as.into(),
        whole: None,
        steps: None,
        raw: None,
        quantized: None,
    };
    if variant.has(tensor) && !variant.is_fixed(tensor) {
        let quantizes = |node: &&NodeProto| node.op_type == "QuantizeLinear" && node.input[0] == tensor;
        if let Some(quantize) = variant.readers(tensor).find(quantizes) {
            let (steps, whole) = (quantizer_of_output(quantize), quantize.output[0].clone());
            let back = variant.readers(&whole).find(|node| node.op_type == "DequantizeLinear");
            return Some(match back {
                Some(back) => Pair { steps, raw: Some(tensor.into()), quantized: Some(whole), ..made(&back.output[0]) },
                // The whole numbers belong to the operator that reads them.
                None => Pair { steps, ..made(tensor) },
            });
        }
        return Some(match variant.maker(tensor).filter(|node| node.op_type == "DequantizeLinear") {
            Some(back) => {
                let steps = back.input.get(1).cloned().zip(back.input.get(2).cloned());
                Pair { steps, quantized: back.input.first().cloned(), ..made(tensor) }
            }
            None => made(tensor),
        });
    }
    let whole = format!("{tensor}_quantized");
    let steps = quantizer_of_output(variant.maker(&whole)?)?;
    Some(Pair { whole: Some(steps.clone()), steps: Some(steps), quantized: Some(whole.clone()), ..made(&whole) })
}

/// The numbers of a pair's quantization, where they are constants and one for all of it.
pub fn quantizer(variant: &Graph, steps: &StepNames) -> Option<Quantizer> {
    let scale = variant.constants.get(&steps.0)?.scalar()?;
    let zero = variant.constants.get(&steps.1)?;
    let (least, most) = ends(zero.element)?;
    Some(Quantizer { scale, zero: zero.scalar()?, least, most })
}
