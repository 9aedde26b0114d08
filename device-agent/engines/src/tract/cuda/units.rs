//! Which unit runs a node: the GPU, the copies to and from it, or the CPU because tract-cuda has no kernel for it.

use tract_gpu::fact::DeviceTypedFactExt;
use tract_gpu::sync::{DeviceSync, DeviceSyncKind};
use tract_onnx::prelude::TypedModel;
use tract_onnx::tract_core::internal::TypedNode;

use super::super::operators::works;
use super::super::profile::macs;
use crate::engine::{OperatorFacts, fell_back};
use crate::tensor::DType;

/// Unit of operators on the GPU, as the operator's kernel says it.
const GPU: &str = "CUDA";
/// Unit of the others.
const CPU: &str = "CPU";

/// What a node does, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Gpu,
    ToDevice,
    ToHost,
    Cpu,
}

impl Unit {
    /// Everything that leaves its output on the GPU was run there: tract's types say where a tensor is.
    pub(super) fn of(node: &TypedNode) -> Self {
        match node.op_as::<DeviceSync>().map(|copy| copy.kind) {
            Some(DeviceSyncKind::ToDevice) => Self::ToDevice,
            Some(DeviceSyncKind::ToHost) => Self::ToHost,
            None if node.outputs.iter().any(|outlet| outlet.fact.as_device_fact().is_some()) => Self::Gpu,
            None => Self::Cpu,
        }
    }
}

/// Operators of tract-cuda that multiply and sum: in f32 where their input is, in what its libraries choose where it is f16.
const MULTIPLY: [&str; 4] = ["CudaConv", "CudaGgmlGemm", "CudaRingGemm", "CudaFlashAttention"];

/// Puts the unit that runs it into each operator's kernel. `operators` are those of the order, inputs and constants left out.
pub(super) fn name_units(operators: &mut [OperatorFacts], graph: &TypedModel, order: &[usize]) {
    let nodes = order.iter().map(|id| graph.node(*id)).filter(|node| works(node));
    for (operator, node) in operators.iter_mut().zip(nodes) {
        let unit = Unit::of(node);
        operator.kernel = Some(match (unit, operator.kernel.take()) {
            (Unit::Cpu, Some(kernel)) => format!("{} {kernel}", fell_back(CPU, GPU)),
            (Unit::Cpu, None) => fell_back(CPU, GPU),
            (Unit::Gpu | Unit::ToDevice | Unit::ToHost, _) => GPU.to_owned(),
        });
        let float = || operator.dtypes_in.first().filter(|dtype| *dtype == DType::F32.name()).cloned();
        if unit == Unit::Gpu && MULTIPLY.contains(&operator.op.as_str()) {
            operator.accumulator = float();
        }
    }
}

/// Multiply-accumulates of a node. tract-cuda does not count those of a convolution: each element of its output is a sum over the weights
/// of one output channel.
pub(super) fn macs_of(graph: &TypedModel, node: &TypedNode) -> Option<u64> {
    if node.op().name() != "CudaConv" {
        return macs(graph, node);
    }
    let facts = graph.node_input_facts(node.id).ok()?;
    let weights = facts.get(1)?.shape.as_concrete()?.iter().skip(1).product::<usize>();
    let elements = node.outputs.first()?.fact.shape.as_concrete()?.iter().product::<usize>();
    u64::try_from(weights * elements).ok()
}
