//! Takes two forms of an ONNX model apart: which layers they share, how the variant quantizes each, how far their weights are apart, and
//! models whose outputs are what is inside of them.
//!
//! Pure: bytes in, bytes and values out. Runs nothing and judges nothing: what the models that are made here answer is measured like any
//! other variant, and what it means is the judge's to say.
#![forbid(unsafe_code)]

mod align;
pub mod constant;
mod cut;
mod ends;
mod excerpt;
pub mod graph;
mod models;
pub mod onnx;
mod quantized;
mod walk;
mod weights;

pub use excerpt::{Excerpt, Given};
pub use models::{shape_of, shown};

use align::{Alignment, align, quantizer};
use boardproof_record::layers::{Layer, Layers};
use graph::Graph;
use models::{Both, Tap, tapped};
use std::collections::{BTreeMap, BTreeSet};
use walk::{Stretch, back_from, operators_to_input};

/// What stands for the operator of a tensor that nothing computes.
const INPUT: &str = "Input";

/// A model that cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayersError {
    /// It is no ONNX model, or one that breaks the format's own rules.
    #[error("could not read the {what}: {why}")]
    Malformed {
        /// Which model.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Nothing in one is found in the other.
    #[error(
        "could not find a layer that reference and variant share: none of the reference's {layers} tensors has a name that the variant knows"
    )]
    NothingShared {
        /// Number of the reference's tensors.
        layers: usize,
    },
}

/// Two models taken apart.
pub struct Apart {
    reference: Graph,
    variant: Graph,
    alignment: Alignment,
    stretches: Vec<Stretch>,
    /// What they share.
    pub layers: Layers,
}

/// Takes a variant apart beside its reference.
///
/// # Errors
/// One of them cannot be read, or they share no layer at all.
pub fn take_apart(reference: &[u8], variant: &[u8]) -> Result<Apart, LayersError> {
    let (reference, variant) = (Graph::read("reference", reference)?, Graph::read("variant", variant)?);
    let alignment = align(&reference, &variant);
    let computed = alignment.pairs.iter().filter(|pair| !reference.is_input(&pair.tensor)).count();
    if computed == 0 {
        return Err(LayersError::NothingShared { layers: alignment.unseen.len() });
    }
    let stretches: Vec<Stretch> = alignment.pairs.iter().map(|pair| stretch(&variant, &alignment, pair)).collect();
    let mut layers =
        Layers { layers: Vec::new(), weights: Vec::new(), unseen: alignment.unseen.clone(), not_alone: None };
    for (at, pair) in alignment.pairs.iter().enumerate() {
        let is_shared = |tensor: &str| alignment.pairs.iter().any(|other| other.tensor == tensor);
        let of_reference = back_from(&reference, &pair.tensor, &[], is_shared);
        let found = weights::of_layer((&reference, &of_reference), (&variant, &stretches[at]), at);
        let new = |w: &boardproof_record::layers::Weights| !layers.weights.iter().any(|old| old.tensor == w.tensor);
        let new: Vec<_> = found.into_iter().filter(new).collect();
        layers.weights.extend(new);
        layers.layers.push(layer(&reference, &variant, &alignment, at, (&of_reference, &stretches[at])));
    }
    let both =
        Both { reference: &reference, variant: &variant, alignment: &alignment, stretches: stretches.as_slice() };
    layers.not_alone = both.not_alone();
    Ok(Apart { reference, variant, alignment, stretches, layers })
}

fn stretch(variant: &Graph, alignment: &Alignment, pair: &align::Pair) -> Stretch {
    let own: Vec<&str> = [&pair.raw, &pair.quantized].into_iter().flatten().map(String::as_str).collect();
    back_from(variant, &pair.seen_as, &own, |tensor| alignment.forms.contains_key(tensor))
}

fn layer(
    reference: &Graph,
    variant: &Graph,
    alignment: &Alignment,
    at: usize,
    (of_reference, of_variant): (&Stretch, &Stretch),
) -> Layer {
    let pair = &alignment.pairs[at];
    // The last one that works on the numbers is what the layer is; a quantizer before or behind it only writes them otherwise.
    let work = |at: &&usize| {
        let node = &variant.proto.node[**at];
        let is_form = matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear");
        !is_form && !variant.is_fixed(&node.output[0])
    };
    let maker = of_variant.nodes.iter().rev().find(work).map(|at| &variant.proto.node[*at]);
    let operator = match maker {
        Some(node) => node.op_type.clone(),
        None if reference.is_input(&pair.tensor) => INPUT.to_owned(),
        None => "QuantizeLinear".to_owned(),
    };
    let stands_for = |read: &str| match alignment.forms.get(read) {
        Some((at, _)) => alignment.pairs[*at].tensor.clone(),
        None => read.to_owned(),
    };
    let mut reads: Vec<String> = of_variant.reads.iter().map(|read| stands_for(read)).collect();
    reads.sort();
    reads.dedup();
    Layer {
        tensor: pair.tensor.clone(),
        seen_as: pair.seen_as.clone(),
        node: maker.map(|node| node.name.clone()).unwrap_or_default(),
        operator,
        quantizer: pair.steps.as_ref().and_then(|steps| quantizer(variant, steps)),
        reads,
        reads_reference: of_reference.reads.clone(),
        to_input: operators_to_input(variant, of_variant, |read| reference.is_input(&stands_for(read))),
        to_input_reference: operators_to_input(reference, of_reference, |read| reference.is_input(read)),
    }
}

/// A model with these tensors for its outputs, named by [`shown`] in this order, each a line of F32 per sample.
pub fn with_outputs(graph: &Graph, tensors: &[&str]) -> Vec<u8> {
    let taps: Vec<_> = tensors.iter().map(|tensor| Tap { tensor, whole: None }).collect();
    tapped(graph, &taps, false)
}

impl Apart {
    /// The reference with one of its layers for its only output: what is looked at alone keeps an optimizer from less.
    pub fn reference_shown_at(&self, layer: usize) -> Vec<u8> {
        let taps = self.alignment.pairs.get(layer).map(|p| Tap { tensor: &p.tensor, whole: None });
        tapped(&self.reference, taps.as_slice(), false)
    }

    /// Operator and name of the reference's node that computes a layer, before whatever quantizes it; none for an input.
    pub fn maker(&self, layer: usize) -> Option<(&str, &str)> {
        let mut tensor = &self.alignment.pairs.get(layer)?.tensor;
        loop {
            let node = self.reference.maker(tensor)?;
            if !matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear") {
                return Some((&node.op_type, &node.name));
            }
            tensor = node.input.first()?;
        }
    }

    /// The reference with its layers for outputs.
    pub fn reference_shown(&self, with_shapes: bool) -> Vec<u8> {
        let taps: Vec<_> = self.alignment.pairs.iter().map(|p| Tap { tensor: &p.tensor, whole: None }).collect();
        tapped(&self.reference, &taps, with_shapes)
    }

    /// The variant with its layers for outputs.
    pub fn variant_shown(&self) -> Vec<u8> {
        let taps = self.alignment.pairs.iter().map(|p| Tap { tensor: &p.seen_as, whole: p.whole.as_ref() });
        tapped(&self.variant, &taps.collect::<Vec<_>>(), false)
    }

    /// The variant with those layers for outputs that it quantizes and makes numbers of again: what an engine of whole numbers can show.
    /// `None` where there is none.
    pub fn variant_shown_in_steps(&self) -> Option<Vec<u8>> {
        let is_end = |tensor: &str| self.variant.maker(tensor).is_some_and(|node| node.op_type == "DequantizeLinear");
        let pairs = self.alignment.pairs.iter().enumerate();
        let made = pairs.filter(|(_, pair)| !self.reference.is_input(&pair.tensor));
        let ends: Vec<(usize, &str)> =
            made.map(|(at, pair)| (at, pair.seen_as.as_str())).filter(|(_, tensor)| is_end(tensor)).collect();
        (!ends.is_empty()).then(|| models::tapped_ends(&self.variant, &ends))
    }

    /// The variant cut behind one of its layers, which is its only output; for an engine of whole numbers in the layer's own shape. `None` for
    /// an input, and for what such an engine cannot show.
    pub fn variant_cut_at(&self, layer: usize, in_steps: bool) -> Option<Vec<u8>> {
        let pair = self.alignment.pairs.get(layer).filter(|pair| !self.reference.is_input(&pair.tensor))?;
        if !in_steps {
            let tap = Tap { tensor: &pair.seen_as, whole: pair.whole.as_ref() };
            return Some(models::cut_behind(&self.variant, layer, &tap));
        }
        let is_end = self.variant.maker(&pair.seen_as).is_some_and(|node| node.op_type == "DequantizeLinear");
        is_end.then(|| models::cut_behind_end(&self.variant, (layer, &pair.seen_as)))
    }

    /// The reference with every layer of the variant behind it, each by itself; `None` where [`Layers::not_alone`] says why not.
    pub fn each_alone(&self) -> Option<Vec<u8>> {
        let all: Vec<usize> = (0..self.alignment.pairs.len()).collect();
        self.layers.not_alone.is_none().then(|| self.both().alone(&all))
    }

    /// A layer as a model of its own, in both forms. `shapes` says of each tensor that the layer reads the shape behind the sample.
    ///
    /// `None` where [`Layers::not_alone`] says why not, where a shape is missing, or of an input, which no layer makes.
    pub fn excerpt(&self, layer: usize, shapes: &BTreeMap<String, Vec<u64>>) -> Option<Excerpt> {
        let found = self.layers.layers.get(layer).filter(|found| found.operator != INPUT)?;
        let reads: BTreeSet<&String> = found.reads.iter().chain(&found.reads_reference).collect();
        let given = |tensor: &&String| Some(Given { tensor: (*tensor).clone(), shape: shapes.get(*tensor)?.clone() });
        let given: Vec<Given> = reads.iter().map(given).collect::<Option<_>>()?;
        let is_shared = |tensor: &str| self.alignment.pairs.iter().any(|other| other.tensor == tensor);
        let of_reference = back_from(&self.reference, &found.tensor, &[], is_shared);
        self.layers.not_alone.is_none().then(|| excerpt::excerpt(&self.both(), &of_reference, layer, &given))
    }

    fn both(&self) -> Both<'_> {
        let Self { reference, variant, alignment, stretches, .. } = self;
        Both { reference, variant, alignment, stretches }
    }
}
