//! The graph with QuantizeLinear and DequantizeLinear around every layer that is quantized.

use crate::network::{Layer, Network, Ranges, bounds, is_move};
use crate::range::quantizer;
use crate::weights::{bias, weights};
use crate::write::{Constants, axis, bytes, float, node, words};
use crate::{Granularity, QuantizeError, Settings};
use boardproof_layers::onnx::{GraphProto, ModelProto, NodeProto, TensorName};
use boardproof_record::layers::Quantizer;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// First version of ONNX's operators in which scales lie along an axis.
const OPSET_OF_CHANNELS: i64 = 13;

/// What becomes of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The operator of a layer that is quantized.
    Quantized(usize),
    /// Its activation.
    Activation(usize),
    /// It moves numbers, quantized or not.
    Moves,
    /// An operator without weights whose layer stays in float: what that means is that what it reads is not rounded.
    Unrounded,
    /// It stays as it is.
    Float,
}

/// Where tensors are quantized.
struct Placement {
    roles: Vec<Role>,
    /// Tensors whose numbers lie on steps.
    stepped: BTreeSet<String>,
    /// Tensors that get a pair.
    paired: BTreeSet<String>,
}

impl Network {
    /// The model in whole numbers, but for the layers in `left`, by their places in [`Network::layers`].
    ///
    /// # Errors
    /// A range is missing, scales per channel are asked of operators that are older than they are, or the weights are no numbers.
    pub fn quantized(
        &self,
        ranges: &Ranges,
        settings: Settings,
        left: &BTreeSet<usize>,
    ) -> Result<Vec<u8>, QuantizeError> {
        self.written(ranges, settings, self.placement(self.roles(left)))
    }

    /// The float model with one layer in whole numbers, to find out what it costs alone: unlike beside layers that are left in float, what
    /// it makes is rounded, whoever reads it.
    ///
    /// # Errors
    /// As [`Network::quantized`].
    pub fn alone(&self, ranges: &Ranges, settings: Settings, layer: usize) -> Result<Vec<u8>, QuantizeError> {
        let others = (0..self.layers.len()).filter(|other| *other != layer).collect();
        let mut roles = self.roles(&others);
        roles.iter_mut().filter(|role| **role == Role::Unrounded).for_each(|role| *role = Role::Float);
        self.written(ranges, settings, self.placement(roles))
    }

    fn written(&self, ranges: &Ranges, settings: Settings, placement: Placement) -> Result<Vec<u8>, QuantizeError> {
        let opset = self.opset();
        if settings.granularity == Granularity::Channel && opset < OPSET_OF_CHANNELS {
            let why = format!(
                "scales per channel need operators of version {OPSET_OF_CHANNELS}, got {opset}: export it anew, or quantize per tensor"
            );
            return Err(QuantizeError::Model { why });
        }
        let constants = Constants::of(&self.graph);
        let outputs = self.graph.proto.output.iter().map(|output| output.name.clone()).collect();
        let mut writer = Writer {
            network: self,
            ranges,
            settings,
            placement,
            constants,
            outputs,
            nodes: Vec::new(),
            pairs: BTreeMap::new(),
            operands: BTreeMap::new(),
        };
        writer.write()?;
        let Writer { nodes, constants, .. } = writer;
        Ok(self.model_of(nodes, constants.added))
    }

    /// The model of these nodes, without what only served constants that are whole numbers now.
    fn model_of(&self, nodes: Vec<NodeProto>, added: Vec<Vec<u8>>) -> Vec<u8> {
        let nodes = self.without_unread(nodes);
        let read: BTreeSet<&str> = nodes.iter().flat_map(|node| node.input.iter().map(String::as_str)).collect();
        let is_read =
            |bytes: &&Vec<u8>| TensorName::decode(bytes.as_slice()).is_ok_and(|t| read.contains(t.name.as_str()));
        let kept = self.graph.proto.initializer.iter().filter(is_read).cloned();
        let initializer = kept.chain(added).collect();
        let input = self.graph.inputs().cloned().collect();
        let graph = GraphProto { node: nodes, initializer, input, ..self.graph.proto.clone() };
        let producer_name = "boardproof".into();
        ModelProto { graph: Some(graph), producer_name, ..self.graph.model.clone() }.encode_to_vec()
    }

    fn without_unread(&self, nodes: Vec<NodeProto>) -> Vec<NodeProto> {
        let mut read: BTreeSet<String> = self.graph.proto.output.iter().map(|output| output.name.clone()).collect();
        let mut kept = Vec::new();
        for node in nodes.into_iter().rev() {
            let is_fixed = node.output.iter().all(|output| self.graph.is_fixed(output));
            if !is_fixed || node.output.iter().any(|output| read.contains(output)) {
                read.extend(node.input.iter().cloned());
                kept.push(node);
            }
        }
        kept.reverse();
        kept
    }

    fn roles(&self, left: &BTreeSet<usize>) -> Vec<Role> {
        let role = |node: &NodeProto| if is_move(&self.graph, node) { Role::Moves } else { Role::Float };
        let mut roles: Vec<Role> = self.graph.proto.node.iter().map(role).collect();
        for (own, layer) in self.layers.iter().enumerate() {
            match (left.contains(&own), layer.weights) {
                (true, Some(_)) => {}
                (true, None) => roles[layer.at] = Role::Unrounded,
                (false, _) => {
                    roles[layer.at] = Role::Quantized(own);
                    layer.activation.iter().for_each(|at| roles[*at] = Role::Activation(own));
                }
            }
        }
        roles
    }

    fn placement(&self, roles: Vec<Role>) -> Placement {
        let nodes = &self.graph.proto.node;
        let outputs: BTreeSet<String> = self.graph.proto.output.iter().map(|output| output.name.clone()).collect();
        let needed = self.read_back(&roles, BTreeSet::new(), |role| matches!(role, Role::Quantized(_)));
        let wanted = self.read_back(&roles, outputs.clone(), |role| *role != Role::Unrounded);
        let is_wanted = |name: &String| wanted.contains(name);
        let mut stepped = BTreeSet::new();
        let mut paired: BTreeSet<String> = needed.clone();
        for (node, role) in nodes.iter().zip(&roles) {
            match role {
                Role::Quantized(own) if is_wanted(&self.layers[*own].tensor) => {
                    stepped.insert(self.layers[*own].tensor.clone());
                    paired.insert(self.layers[*own].tensor.clone());
                }
                Role::Moves => {
                    let from_steps = stepped.contains(&node.input[0]) && node.output.iter().any(is_wanted);
                    if from_steps || node.output.iter().any(|output| needed.contains(output)) {
                        stepped.extend(node.output.iter().cloned());
                        paired.extend(node.output.iter().filter(|name| outputs.contains(*name)).cloned());
                    }
                }
                _ => {}
            }
        }
        Placement { roles, stepped, paired }
    }

    /// Tensors that are `read` already, and those that nodes of these roles read, themselves or by way of moves. Constants do not count.
    fn read_back(&self, roles: &[Role], mut read: BTreeSet<String>, by: impl Fn(&Role) -> bool) -> BTreeSet<String> {
        for (node, role) in self.graph.proto.node.iter().zip(roles).rev() {
            let is_read = |output: &String| read.contains(output);
            let inputs: Vec<&String> = match role {
                Role::Moves if node.output.iter().any(is_read) => vec![&node.input[0]],
                Role::Moves => Vec::new(),
                Role::Quantized(own) if by(role) => {
                    self.layers[*own].operands.iter().map(|place| &node.input[*place]).collect()
                }
                _ if by(role) => node.input.iter().collect(),
                _ => Vec::new(),
            };
            read.extend(inputs.into_iter().filter(|name| !self.graph.constants.contains_key(*name)).cloned());
        }
        read
    }
}

/// A tensor's steps in the file.
#[derive(Clone)]
struct Pair {
    scale: String,
    zero: String,
}

struct Writer<'a> {
    network: &'a Network,
    ranges: &'a Ranges,
    settings: Settings,
    placement: Placement,
    constants: Constants,
    outputs: BTreeSet<String>,
    nodes: Vec<NodeProto>,
    /// Steps by the tensor whose numbers they are.
    pairs: BTreeMap<String, Pair>,
    /// Constants that were quantized as operands.
    operands: BTreeMap<String, String>,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<(), QuantizeError> {
        let network = self.network;
        for input in network.graph.inputs() {
            self.pair(&input.name)?;
        }
        for (at, node) in network.graph.proto.node.iter().enumerate() {
            match self.placement.roles[at] {
                Role::Quantized(own) => self.layer(&network.layers[own], node)?,
                // Written with its layer.
                Role::Activation(_) => {}
                Role::Moves => {
                    let back = self.placement.stepped.contains(&node.output[0]);
                    let mut moved = self.named(node);
                    moved.input[0] = if back { self.back(&node.input[0]) } else { self.raw(&node.input[0]) };
                    self.nodes.push(moved);
                    node.output.iter().try_for_each(|output| self.pair(output))?;
                }
                role @ (Role::Unrounded | Role::Float) => {
                    let mut kept = self.named(node);
                    let read = |input: &String| match role {
                        Role::Unrounded => self.raw(input),
                        _ => self.read_as_float(input),
                    };
                    kept.input = node.input.iter().map(read).collect();
                    self.nodes.push(kept);
                    node.output.iter().try_for_each(|output| self.pair(output))?;
                }
            }
        }
        Ok(())
    }

    /// The node with its outputs as they are called before they are quantized.
    fn named(&self, node: &NodeProto) -> NodeProto {
        NodeProto { output: node.output.iter().map(|output| self.raw(output)).collect(), ..node.clone() }
    }

    /// A float layer reads steps where the numbers lie on them already: what is before it keeps its pair, which engines look for.
    fn read_as_float(&self, tensor: &str) -> String {
        if self.placement.stepped.contains(tensor) { self.back(tensor) } else { self.raw(tensor) }
    }

    /// Name of a tensor before it is quantized. An output keeps its own name for what comes back.
    fn raw(&self, tensor: &str) -> String {
        let renamed = self.outputs.contains(tensor) && self.placement.paired.contains(tensor);
        if renamed { format!("{tensor}_QuantizeLinear_Input") } else { tensor.to_owned() }
    }

    /// Name of a tensor that was quantized and came back; its own where it is not quantized.
    fn back(&self, tensor: &str) -> String {
        let own = self.outputs.contains(tensor) || !self.placement.paired.contains(tensor);
        if own { tensor.to_owned() } else { format!("{tensor}_DequantizeLinear_Output") }
    }

    /// Quantizes a tensor and back, where it is to be.
    fn pair(&mut self, tensor: &str) -> Result<(), QuantizeError> {
        if !self.placement.paired.contains(tensor) {
            return Ok(());
        }
        let steps = self.steps(self.network.root(tensor))?;
        let (raw, back, whole) = (self.raw(tensor), self.back(tensor), format!("{tensor}_QuantizeLinear_Output"));
        self.nodes.push(node("QuantizeLinear", &[&raw, &steps.scale, &steps.zero], &whole, Vec::new()));
        self.nodes.push(node("DequantizeLinear", &[&whole, &steps.scale, &steps.zero], &back, Vec::new()));
        Ok(())
    }

    fn quantizer(&self, root: &str) -> Result<Quantizer, QuantizeError> {
        let range = self.ranges.get(root).copied();
        let range = range.ok_or_else(|| QuantizeError::NoRange { tensor: root.into() })?;
        Ok(quantizer(range, self.settings.activation))
    }

    fn steps(&mut self, root: &str) -> Result<Pair, QuantizeError> {
        if let Some(pair) = self.pairs.get(root) {
            return Ok(pair.clone());
        }
        let q = self.quantizer(root)?;
        let pair = self.add_steps(root, &[], &[q.scale], q.zero, q.least);
        self.pairs.insert(root.to_owned(), pair.clone());
        Ok(pair)
    }

    fn add_steps(&mut self, of: &str, dims: &[usize], scales: &[f64], zero: f64, least: f64) -> Pair {
        let zeros = scales.iter().map(|_| zero);
        Pair {
            scale: self.constants.add(&format!("{of}_scale"), dims, float(scales.iter().copied())),
            zero: self.constants.add(&format!("{of}_zero_point"), dims, bytes(zeros, least)),
        }
    }

    /// A quantized layer: what it reads comes back from whole numbers, and what it makes goes to them.
    fn layer(&mut self, layer: &Layer, node: &NodeProto) -> Result<(), QuantizeError> {
        let mut written = node.clone();
        for place in &layer.operands {
            written.input[*place] = self.operand(&node.input[*place])?;
        }
        if let Some(axis) = layer.weights {
            self.weights(node, axis, &mut written)?;
        }
        let activation = layer.activation.map(|at| &self.network.graph.proto.node[at]);
        let quantizer = self.quantizer(self.network.root(&layer.tensor))?;
        let has_ends = self.placement.paired.contains(&layer.tensor);
        match activation.filter(|activation| !has_ends || !self.is_cut_off_by(activation, &quantizer)) {
            Some(activation) => {
                self.nodes.push(written);
                let kept = self.named(activation);
                self.nodes.push(kept);
            }
            None => {
                written.output = vec![self.raw(&layer.tensor)];
                self.nodes.push(written);
            }
        }
        self.pair(&layer.tensor)
    }

    /// Do the ends of the steps cut off all that the activation cuts off?
    fn is_cut_off_by(&self, activation: &NodeProto, quantizer: &Quantizer) -> bool {
        let slack = quantizer.scale * 1e-3;
        bounds(&self.network.graph, activation)
            .is_some_and(|(low, high)| quantizer.low() >= low - slack && quantizer.high() <= high + slack)
    }

    /// What a quantized layer reads in the place of a tensor or a constant.
    fn operand(&mut self, tensor: &str) -> Result<String, QuantizeError> {
        let network = self.network;
        let Some(constant) = network.graph.constants.get(tensor) else { return Ok(self.back(tensor)) };
        if let Some(known) = self.operands.get(tensor) {
            return Ok(known.clone());
        }
        finite(tensor, &constant.values)?;
        let ends = constant.values.iter().fold((0.0_f64, 0.0_f64), |(low, high), v| (low.min(*v), high.max(*v)));
        let q = quantizer(ends, self.settings.activation);
        let steps = self.add_steps(tensor, &[], &[q.scale], q.zero, q.least);
        let whole = bytes(constant.values.iter().map(|v| q.whole(*v)), q.least);
        let whole = self.constants.add(&format!("{tensor}_quantized"), &constant.dims, whole);
        let back = self.dequantized(&whole, tensor, &steps, Vec::new());
        self.operands.insert(tensor.to_owned(), back.clone());
        Ok(back)
    }

    fn dequantized(&mut self, whole: &str, of: &str, steps: &Pair, attribute: Vec<Vec<u8>>) -> String {
        let back = self.constants.name(&format!("{of}_DequantizeLinear_Output"));
        self.nodes.push(node("DequantizeLinear", &[whole, &steps.scale, &steps.zero], &back, attribute));
        back
    }

    fn weights(&mut self, node: &NodeProto, along: usize, written: &mut NodeProto) -> Result<(), QuantizeError> {
        let graph = &self.network.graph;
        let (name, constant) = (&node.input[1], &graph.constants[&node.input[1]]);
        let bias_name = node.input.get(2).filter(|input| !input.is_empty());
        let biases = bias_name.map(|input| graph.constants[input].values.as_slice());
        finite(name, &constant.values)?;
        finite(name, biases.unwrap_or_default())?;
        let input_scale = self.quantizer(self.network.root(&node.input[0]))?.scale;
        let by_channel = (self.settings.granularity == Granularity::Channel).then_some(along);
        let found = weights(constant, by_channel, biases, input_scale);
        let (dims, attribute) = match by_channel {
            Some(along) => (vec![found.scales.len()], axis(along)),
            None => (Vec::new(), Vec::new()),
        };
        let whole = self.constants.add(&format!("{name}_quantized"), &constant.dims, bytes(found.whole, -128.0));
        let steps = self.add_steps(name, &dims, &found.scales, 0.0, -128.0);
        written.input[1] = self.dequantized(&whole, name, &steps, attribute);
        if let Some((name, values)) = bias_name.zip(biases) {
            let (whole, scales) = bias(values, &found.scales, input_scale);
            let attribute = if dims.is_empty() { Vec::new() } else { axis(0) };
            let whole = self.constants.add(&format!("{name}_quantized"), &[values.len()], words(whole));
            let steps = Pair {
                scale: self.constants.add(&format!("{name}_scale"), &dims, float(scales.iter().copied())),
                zero: self.constants.add(&format!("{name}_zero_point"), &dims, words(scales.iter().map(|_| 0.0))),
            };
            written.input[2] = self.dequantized(&whole, name, &steps, attribute);
        }
        Ok(())
    }
}

fn finite(constant: &str, values: &[f64]) -> Result<(), QuantizeError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(found) => Err(QuantizeError::NonFinite { tensor: constant.into(), found: *found }),
        None => Ok(()),
    }
}
