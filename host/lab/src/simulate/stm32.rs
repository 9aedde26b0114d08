//! What ST's validation firmware would say of a network.

use boardproof_dialect::stm32msg::sim;
use boardproof_sim::{Edge, InsideError, InsideProcess, Network};

/// A network as the simulated firmware wants it.
pub(super) struct Validated {
    process: InsideProcess,
    inside: sim::Inside,
    /// Why it broke down.
    pub(super) broken: Option<InsideError>,
    interrupted: fn() -> bool,
}

impl Validated {
    pub(super) fn new(process: InsideProcess, name: &str, signature: &str, interrupted: fn() -> bool) -> Self {
        let model = process.model();
        let edges = |edges: &[Edge]| edges.iter().map(edge).collect();
        let inside = sim::Inside {
            name: name.into(),
            signature: signature.into(),
            macs: model.macs,
            operators: model.operators,
            activation_bytes: u32::try_from(model.arena_bytes).unwrap_or(u32::MAX),
            inputs: edges(&model.inputs),
            outputs: edges(&model.outputs),
        };
        Self { process, inside, broken: None, interrupted }
    }

    pub(super) fn process(&self) -> &InsideProcess {
        &self.process
    }
}

fn edge(edge: &Edge) -> sim::Edge {
    let elements = match edge.dtype.as_str() {
        "F32" => sim::Elements::Float,
        _ => sim::Elements::Int8 { scale: edge.scale, zero_point: edge.zero_point },
    };
    sim::Edge { name: edge.name.clone(), dims: edge.dims.clone(), elements }
}

impl sim::Network for Validated {
    fn model(&self) -> &sim::Inside {
        &self.inside
    }

    fn infer(&mut self, inputs: &[Vec<u8>]) -> Option<(Vec<Vec<u8>>, u64)> {
        if (self.interrupted)() {
            return None;
        }
        let mut answer = Vec::new();
        match self.process.infer(&inputs.concat(), &mut answer) {
            Ok(took) => {
                let outputs = &self.process.model().outputs;
                let mut rest = &answer[..];
                let output = |edge: &Edge| {
                    let (now, more) = rest.split_at(edge.bytes);
                    rest = more;
                    now.to_vec()
                };
                let cycles = took.as_nanos() * u128::from(sim::CORE_HZ) / 1_000_000_000;
                Some((outputs.iter().map(output).collect(), u64::try_from(cycles).unwrap_or(u64::MAX)))
            }
            Err(error) => {
                self.broken = Some(error);
                None
            }
        }
    }
}
