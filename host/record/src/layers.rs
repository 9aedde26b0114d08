//! What two forms of one model have in common inside: layers, how each is quantized, and how far their weights are apart.

use crate::{CellId, Digest, ModelName, VariantName};
use serde::{Deserialize, Serialize};

/// A variant taken apart beside its reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    /// Layers that both have, in the order of the reference.
    pub layers: Vec<Layer>,
    /// Weights that both have.
    pub weights: Vec<Weights>,
    /// Layers of the reference that the variant has not, or not as a tensor of its own.
    pub unseen: Vec<String>,
    /// Why no layer can be run alone; `None` where they can.
    pub not_alone: Option<String>,
}

/// A tensor that both forms compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name in the reference.
    pub tensor: String,
    /// Its name in the variant, where it is compared: behind its quantization.
    pub seen_as: String,
    /// Node of the variant that computes it; empty for an input.
    pub node: String,
    /// Operator of that node; `Input` for an input.
    pub operator: String,
    /// How the variant quantizes it, where that is the same for all of it and known before it is run.
    pub quantizer: Option<Quantizer>,
    /// Tensors of the reference that the variant computes it from.
    pub reads: Vec<String>,
    /// Tensors of the reference that the reference computes it from.
    pub reads_reference: Vec<String>,
    /// Operators between an input and the layer's weights, where it reads one: what the variant does to its input.
    pub to_input: Vec<String>,
    /// The same of the reference.
    pub to_input_reference: Vec<String>,
}

/// `scale * (whole - zero)` for whole numbers from `least` to `most`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantizer {
    /// Worth of one step.
    pub scale: f64,
    /// What stands for 0.
    pub zero: f64,
    /// Smallest whole number.
    pub least: f64,
    /// Largest whole number.
    pub most: f64,
}

impl Quantizer {
    /// Smallest number that has a whole number of its own.
    pub fn low(&self) -> f64 {
        self.scale * (self.least - self.zero)
    }

    /// Largest.
    pub fn high(&self) -> f64 {
        self.scale * (self.most - self.zero)
    }

    /// The whole number that stands for a number: rounded half to even, as QuantizeLinear of ONNX does, and kept within the ends.
    pub fn whole(&self, number: f64) -> f64 {
        ((number / self.scale).round_ties_even() + self.zero).clamp(self.least, self.most)
    }

    /// The number that a whole number stands for.
    pub fn number(&self, whole: f64) -> f64 {
        self.scale * (whole - self.zero)
    }
}

/// One tensor of weights in both forms. Shares are of its elements; a channel is a slice along the layer's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Its name in the reference.
    pub tensor: String,
    /// Its name in the variant.
    pub seen_as: String,
    /// The layer that it belongs to, by its place among the layers.
    pub layer: usize,
    /// Element type in the variant, as in safetensors.
    pub dtype: String,
    /// Shapes of reference and variant, where no order of dimensions makes one of the other: nothing else can be said then.
    pub unlike: Option<(Vec<usize>, Vec<usize>)>,
    /// Number of elements.
    pub elements: usize,
    /// More dimensions than one: not a bias.
    pub is_matrix: bool,
    /// `10 log10(sum r^2 / sum (v - r)^2)`; `None` where they are equal.
    pub sqnr_db: Option<f64>,
    /// Elements that are more than rounding away: more than one step, or in floating point more than 1/256 of the largest.
    pub off_share: f64,
    /// Elements that stand at an end of their integer type while the reference's lies more than one step beyond.
    pub clipped_share: f64,
    /// Smallest share of the integer type's range that a channel uses; 1 for floats.
    pub range_used_min: f64,
    /// Number of channels.
    pub channels: usize,
    /// Channels that are apart by more than 20 dB of noise.
    pub channels_off: usize,
    /// Of these: those that are the reference's times a factor.
    pub channels_scaled: usize,
    /// Of these: those that are the reference's plus a number.
    pub channels_shifted: usize,
    /// Of these: those that are another channel of the reference, or one with its sign changed.
    pub channels_exchanged: usize,
    /// NaN or infinite in the variant.
    pub non_finite: usize,
}

/// What an explaining run measures: which cells of its record show what. Written beside the record as `explain.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inquiry {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelName,
    /// The variant that is explained.
    pub variant: VariantName,
    /// The reference.
    pub reference: VariantName,
    /// The two taken apart.
    pub layers: Layers,
    /// Least signal-to-quantization-noise ratio of the answers, in dB; a layer below it breaks the budget.
    pub budget_db: f64,
    /// Cell of the reference with its layers for outputs.
    pub reference_shown: CellId,
    /// Where the variant was run: the host first, then the unit when it is another.
    pub sites: Vec<Site>,
    /// Number in the model's evalset of each sample that was run; empty where they are simply its first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<u64>,
    /// What it was asked of, where that is a cell of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<OfRecord>,
}

/// The cell of a record that is explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfRecord {
    /// Content of the record's `record.json`.
    pub record: Digest,
    /// The cell.
    pub cell: CellId,
    /// Samples whose answer is another than the reference's there, by their number in the evalset: those of which the reference was
    /// surest first.
    pub flipped: Vec<u64>,
}

/// Folder of a record that holds what was measured to explain its cells: each in a folder of its own.
pub const EXPLAINED: &str = "explain";

/// Version of [`Inquiry`] that is written here.
pub const INQUIRY: u32 = 1;

/// The cells of a variant on one unit by one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Unit and engine, for people.
    pub name: String,
    /// The variant as it ships.
    pub whole: CellId,
    /// The variant with its layers for outputs; `None` where only its answers can be seen.
    pub shown: Option<CellId>,
    /// Each of its layers behind the reference's.
    pub alone: Option<CellId>,
    /// Sketches of its layers, of an engine that tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketched: Option<CellId>,
}
