//! From model bytes to a typed graph: parse, refuse what tract lacks, fix every axis, infer types.

use tract_onnx::pb;
use tract_onnx::prelude::{Framework, InferenceFact, InferenceModel, InferenceModelExt, TypedModel};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

use super::VERSION;
use super::guard::{SourceNode, Trouble, guard};
use crate::engine::{Dim, LoadOptions, Refusal, Stage};

/// A parsed model file.
pub(super) struct Source {
    graph: InferenceModel,
    /// Nodes of the file in its order.
    pub(super) nodes: Vec<SourceNode>,
    /// Declared inputs (without initializers) by name.
    pub(super) inputs: Vec<(String, Vec<Dim>)>,
    /// Declared outputs by name.
    pub(super) outputs: Vec<(String, Vec<Dim>)>,
}

impl Source {
    /// Parses ONNX bytes. Weights in other files are refused: a model is one blob.
    pub(super) fn parse(model: &[u8]) -> Result<Self, Refusal> {
        // Quantizers and converters leave value_info with symbolic batches behind that contradict a fixed batch; declared output
        // shapes do the same. tract infers both.
        let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let proto = guard(|| framework.proto_model_for_read(&mut &*model))
            .map_err(|trouble| trouble.refuse(Stage::Parse, &[]))?;
        let Some(declared) = proto.graph.as_ref().filter(|graph| !graph.node.is_empty()) else {
            return Err(plain_refusal(Stage::Parse, "expected a graph with nodes, got none".into()));
        };
        let nodes: Vec<SourceNode> = declared.node.iter().map(source_node).collect();
        let graph = guard(|| framework.model_for_proto_model(&proto))
            .map_err(|trouble| trouble.refuse(Stage::Parse, &nodes))?;
        refuse_unimplemented(&graph, &nodes)?;
        let inputs = declared
            .input
            .iter()
            .filter(|input| !declared.initializer.iter().any(|tensor| tensor.name == input.name))
            .map(declared_shape)
            .collect();
        let outputs = declared.output.iter().map(declared_shape).collect();
        Ok(Source { graph, nodes, inputs, outputs })
    }

    /// The graph with every axis fixed and every type known, before any optimization.
    pub(super) fn typed(&self, options: &LoadOptions) -> Result<TypedModel, Refusal> {
        let mut graph = self.graph.clone();
        for (index, (name, declared)) in self.inputs.iter().enumerate() {
            let shape = concrete_shape(name, declared, options)?;
            let set = guard(|| {
                let dtype = graph.input_fact(index)?.datum_type.concretize();
                let fact = match dtype {
                    Some(dtype) => InferenceFact::dt_shape(dtype, &*shape),
                    None => InferenceFact::shape(&*shape),
                };
                graph.set_input_fact(index, fact)
            });
            set.map_err(|trouble| trouble.refuse(Stage::Type, &self.nodes))?;
        }
        guard(|| graph.into_typed()).map_err(|trouble| self.refuse(Stage::Type, &trouble))
    }

    pub(super) fn refuse(&self, stage: Stage, trouble: &Trouble) -> Refusal {
        trouble.refuse(stage, &self.nodes)
    }

    /// The model's node that a node of a rewritten graph comes from: tract keeps names and appends to them.
    pub(super) fn origin(&self, name: &str) -> Option<&SourceNode> {
        self.nodes.iter().filter(|node| name.starts_with(&node.name)).max_by_key(|node| node.name.len())
    }
}

fn plain_refusal(stage: Stage, reason: String) -> Refusal {
    Refusal { stage, operator: None, node: None, reason, unsupported: Vec::new() }
}

fn source_node(node: &pb::NodeProto) -> SourceNode {
    let name = if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() };
    let operator = match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    };
    SourceNode { name, operator }
}

fn refuse_unimplemented(graph: &InferenceModel, nodes: &[SourceNode]) -> Result<(), Refusal> {
    let missing: Vec<(String, String)> = graph
        .nodes()
        .iter()
        .filter(|node| node.op_is::<UnimplementedOp>())
        .map(|node| {
            let operator = nodes.iter().find(|source| source.name == node.name).map(|source| source.operator.clone());
            (operator.unwrap_or_else(|| node.op().name().into_owned()), node.name.clone())
        })
        .collect();
    let Some((operator, node)) = missing.first().cloned() else { return Ok(()) };
    Err(Refusal {
        stage: Stage::Operator,
        operator: Some(operator),
        node: Some(node),
        reason: format!("not implemented by tract {VERSION}"),
        unsupported: missing,
    })
}

fn declared_shape(value: &pb::ValueInfoProto) -> (String, Vec<Dim>) {
    use pb::tensor_shape_proto::dimension::Value;
    let shape = match value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(tensor)) => tensor.shape.as_ref(),
        _ => None,
    };
    let dims = shape.map(|shape| {
        let dim = |dim: &pb::tensor_shape_proto::Dimension| match &dim.value {
            // Negative extents are how some exporters write "open".
            Some(Value::DimValue(extent)) => usize::try_from(*extent).map_or(Dim::Symbol(String::new()), Dim::Fixed),
            Some(Value::DimParam(symbol)) => Dim::Symbol(symbol.clone()),
            None => Dim::Symbol(String::new()),
        };
        shape.dim.iter().map(dim).collect()
    });
    (value.name.clone(), dims.unwrap_or_default())
}

fn concrete_shape(input: &str, declared: &[Dim], options: &LoadOptions) -> Result<Vec<usize>, Refusal> {
    declared
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim {
            Dim::Fixed(extent) => Ok(*extent),
            Dim::Symbol(symbol) => options
                .dims
                .get(symbol)
                .copied()
                .or_else(|| (axis == 0).then(|| options.batch.unwrap_or(1)))
                .ok_or_else(|| {
                    plain_refusal(
                        Stage::Type,
                        format!("input {input}: axis {axis} is open ({symbol:?}) and no extent was given"),
                    )
                }),
        })
        .collect()
}
