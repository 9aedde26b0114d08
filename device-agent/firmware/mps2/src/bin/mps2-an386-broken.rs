//! The agent for the MPS2 board with AN386 (Cortex-M4F), with a kernel that is wrong in one layer of every model: for tests that find it.
#![no_std]
#![no_main]

use boardproof_firmware_common::{
    Edge, Engine, Failed, Loaded, Micro, MicroModel, OperatorFacts, Text, Unfit, firmware,
};
use boardproof_micro::{Model, SKETCH_BYTES};

firmware!(boardproof_firmware_mps2::Mps2<386>, Broken, Broken);

/// The layer that is wrong, where others follow.
const LAYER: usize = 3;

/// Our engine, but for one layer.
struct Broken;

/// A model of it.
struct BrokenModel<'m> {
    good: MicroModel<'m>,
    model: Model<'m>,
}

impl Engine for Broken {
    const NAME: &'static str = Micro::NAME;
    const TITLE: &'static str = Micro::TITLE;
    type Loaded<'m> = BrokenModel<'m>;

    fn load<'m>(&mut self, bytes: &'m [u8], arena: &mut [u8]) -> Result<BrokenModel<'m>, Unfit> {
        let good = Micro.load(bytes, arena)?;
        let model = Model::check(bytes).map_err(|_| Unfit::NoRoom { needed: 0 })?;
        Ok(BrokenModel { good, model })
    }
}

impl BrokenModel<'_> {
    /// Runs a layer; every fifth value of the wrong one is a step too large, as by a multiplier that is.
    fn layer(&self, arena: &mut [u8], layer: usize) -> Result<(), Failed> {
        self.model.run_operator(layer, arena).map_err(|error| Failed { reason: Text::of(format_args!("{error}")) })?;
        // Not the last of a model that was cut before it: that one makes floats of whole numbers.
        let is_wrong = layer == LAYER && layer + 1 < self.layers();
        let made = self.model.operator(layer).filter(|_| is_wrong);
        let made = made.and_then(|operator| arena.get_mut(self.model.tensor(operator.output.into()).range()));
        made.unwrap_or_default()
            .iter_mut()
            .step_by(5)
            .for_each(|value| *value = (*value as i8).saturating_add(1) as u8);
        Ok(())
    }
}

impl Loaded for BrokenModel<'_> {
    fn arena_bytes(&self) -> usize {
        self.good.arena_bytes()
    }
    fn inputs(&self) -> usize {
        self.good.inputs()
    }
    fn input(&self, index: usize) -> Edge<'_> {
        self.good.input(index)
    }
    fn outputs(&self) -> usize {
        self.good.outputs()
    }
    fn output(&self, index: usize) -> Edge<'_> {
        self.good.output(index)
    }
    fn operator(&self, index: usize) -> Option<OperatorFacts<'_>> {
        self.good.operator(index)
    }
    fn run(&mut self, arena: &mut [u8]) -> Result<(), Failed> {
        (0..self.layers()).try_for_each(|layer| self.layer(arena, layer))
    }
    fn layers(&self) -> usize {
        self.good.layers()
    }
    fn run_layer(&mut self, arena: &mut [u8], layer: usize, seed: u32) -> Result<[u8; SKETCH_BYTES], Failed> {
        self.layer(arena, layer)?;
        let none = || Failed { reason: Text::of(format_args!("there is no layer {layer}")) };
        self.model.sketch(seed, layer, arena).ok_or_else(none)
    }
    fn is_unharmed(&self) -> bool {
        self.good.is_unharmed()
    }
}
