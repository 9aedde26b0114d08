//! Our own engine behind the agent's trait.

use crate::Text;
use crate::engine::{EDGE_RANK_MAX, Edge, Engine, Failed, Loaded, OperatorFacts, Unfit};
use boardproof_micro::{Dtype as Values, Model, SKETCH_BYTES, Tensor};
use boardproof_protocol::{Dtype, Stage};

/// The engine of `device-agent/micro`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Micro;

/// A model that was found whole, and the bytes that it was found in.
#[derive(Debug)]
pub struct MicroModel<'m> {
    model: Model<'m>,
    bytes: &'m [u8],
}

impl Engine for Micro {
    const NAME: &'static str = "micro";
    const TITLE: &'static str = {
        assert!(boardproof_micro::VERSION == 2);
        "micro 2"
    };
    type Loaded<'m> = MicroModel<'m>;

    fn load<'m>(&mut self, bytes: &'m [u8], arena: &mut [u8]) -> Result<MicroModel<'m>, Unfit> {
        let model = Model::check(bytes).map_err(|invalid| {
            let reason = Text::of(format_args!("{invalid}"));
            Unfit::Refused { stage: Stage::Parse, reason }
        })?;
        let needed = model.arena_bytes();
        if needed > arena.len() {
            return Err(Unfit::NoRoom { needed });
        }
        Ok(MicroModel { model, bytes })
    }
}

impl MicroModel<'_> {
    fn edge(&self, tensor: &Tensor) -> Edge<'_> {
        let mut dims = [0; EDGE_RANK_MAX];
        dims.iter_mut().zip(tensor.dims).for_each(|(to, from)| *to = from as u32);
        Edge {
            name: self.model.tensor_name(tensor),
            dtype: wire_dtype(tensor.dtype),
            dims,
            rank: tensor.rank.min(EDGE_RANK_MAX),
            place: tensor.range(),
            scale: tensor.scale,
            zero_point: tensor.zero_point,
        }
    }
}

impl Loaded for MicroModel<'_> {
    fn arena_bytes(&self) -> usize {
        self.model.arena_bytes()
    }

    fn inputs(&self) -> usize {
        self.model.input_count()
    }

    fn input(&self, index: usize) -> Edge<'_> {
        self.edge(&self.model.input(index))
    }

    fn outputs(&self) -> usize {
        self.model.output_count()
    }

    fn output(&self, index: usize) -> Edge<'_> {
        self.edge(&self.model.output(index))
    }

    fn operator(&self, index: usize) -> Option<OperatorFacts<'_>> {
        let model = &self.model;
        let operator = model.operator(index)?;
        let dtypes = match (model.tensor(operator.inputs[0].into()).dtype, model.tensor(operator.output.into()).dtype) {
            (Values::F32, _) => "f32->i8",
            (_, Values::F32) => "i8->f32",
            _ if operator.kind.inputs() == 2 => "i8,i8->i8",
            _ => "i8->i8",
        };
        let kernel = if cfg!(feature = "dsp") && model.macs(&operator) > 0 { "dsp" } else { "plain" };
        Some(OperatorFacts { name: model.operator_name(&operator), op: operator.kind.name(), dtypes, kernel })
    }

    fn run(&mut self, arena: &mut [u8]) -> Result<(), Failed> {
        self.model.run(arena).map_err(|error| Failed { reason: Text::of(format_args!("{error}")) })
    }

    fn layers(&self) -> usize {
        self.model.operator_count()
    }

    fn run_layer(&mut self, arena: &mut [u8], layer: usize, seed: u32) -> Result<[u8; SKETCH_BYTES], Failed> {
        self.model.run_operator(layer, arena).map_err(|error| Failed { reason: Text::of(format_args!("{error}")) })?;
        let none = || Failed { reason: Text::of(format_args!("there is no layer {layer}")) };
        self.model.sketch(seed, layer, arena).ok_or_else(none)
    }

    fn is_unharmed(&self) -> bool {
        Model::check(self.bytes).is_ok()
    }
}

fn wire_dtype(dtype: Values) -> Dtype {
    match dtype {
        Values::I8 => Dtype::I8,
        Values::F32 => Dtype::F32,
    }
}
