//! What the library's own profile says: which nodes ran, where, in which datatypes, and for how long. There is no other way to ask it what
//! became of a model.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::providers::short;
use crate::engine::{OperatorCost, OperatorFacts, fell_back};
use crate::tensor::DType;

/// End of the name of an event that is the run of a node.
const KERNEL: &str = "_kernel_time";

/// An event of the profile; most are of no interest.
#[derive(Deserialize)]
struct Event {
    cat: String,
    name: String,
    #[serde(default)]
    dur: u64,
    #[serde(default)]
    args: BTreeMap<String, Value>,
}

/// A node that ran, and the time that all of its runs but the first took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ran {
    pub(super) facts: OperatorFacts,
    pub(super) cost: OperatorCost,
}

/// The nodes in the order in which they ran first. One that ran on another provider than the `wanted` one fell back.
pub(super) fn ran(text: &str, wanted: Option<&str>) -> Result<Vec<Ran>, serde_json::Error> {
    let events: Vec<Event> = serde_json::from_str(text)?;
    let mut nodes: Vec<Ran> = Vec::new();
    let mut places: BTreeMap<(String, String), (usize, u64, u64)> = BTreeMap::new();
    let runs = events.iter().filter(|event| event.cat == "Node");
    for (event, name) in runs.filter_map(|event| Some((event, event.name.strip_suffix(KERNEL)?))) {
        let key = (name.to_owned(), event.words("node_index"));
        match places.get_mut(&key) {
            None => {
                places.insert(key, (nodes.len(), 0, 0));
                nodes.push(event.first(name, nodes.len(), wanted));
            }
            // The first run allocates; it says nothing about those that follow.
            Some((_, runs, micros)) => (*runs, *micros) = (*runs + 1, *micros + event.dur),
        }
    }
    for (place, runs, micros) in places.into_values() {
        nodes[place].cost.time_ns = (micros * 1000).checked_div(runs);
    }
    Ok(nodes)
}

impl Event {
    fn words(&self, key: &str) -> String {
        self.args.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Datatypes of `[{"uint8": [1, 7, 7, 48]}, {"float": []}]`.
    fn dtypes(&self, key: &str) -> Vec<String> {
        let all = self.args.get(key).and_then(Value::as_array);
        let names = all.into_iter().flatten().filter_map(|one| one.as_object()?.keys().next());
        names.map(|name| dtype(name)).collect()
    }

    /// Shapes of the same.
    fn shapes(&self, key: &str) -> Vec<Vec<u64>> {
        let all = self.args.get(key).and_then(Value::as_array);
        let shapes = all.into_iter().flatten().filter_map(|one| one.as_object()?.values().next()?.as_array());
        shapes.map(|shape| shape.iter().filter_map(Value::as_u64).collect()).collect()
    }

    /// Where it ran: its provider, and the one that it fell back from. A node whose provider is not told did not run where it was wanted
    /// as far as anybody knows.
    fn place(&self, wanted: Option<&str>) -> Option<String> {
        let provider = self.words("provider");
        let place = if provider.is_empty() { "a provider without a name" } else { short(&provider) };
        match wanted.filter(|wanted| *wanted != provider) {
            Some(wanted) => Some(fell_back(place, short(wanted))),
            None => (!provider.is_empty()).then(|| place.to_owned()),
        }
    }

    fn first(&self, name: &str, index: usize, wanted: Option<&str>) -> Ran {
        let dtypes_in = self.dtypes("input_type_shape");
        let op = self.words("op_name");
        let accumulator = accumulator(&op, &dtypes_in);
        let facts = OperatorFacts {
            index,
            name: name.to_owned(),
            op,
            source: None,
            source_op: None,
            dtypes_in,
            dtypes_out: self.dtypes("output_type_shape"),
            kernel: self.place(wanted),
            accumulator,
        };
        let cost = OperatorCost {
            index,
            time_ns: None,
            output_bytes: self.words("output_size").parse().ok(),
            macs: macs(&facts.op, &self.shapes("input_type_shape"), &self.shapes("output_type_shape")),
        };
        Ran { facts, cost }
    }
}

/// The profile's word for a datatype as ours.
fn dtype(name: &str) -> String {
    let ours = match name {
        "float" => DType::F32.name(),
        "double" => DType::F64.name(),
        "float16" => DType::F16.name(),
        "uint8" => DType::U8.name(),
        "int8" => DType::I8.name(),
        "uint16" => DType::U16.name(),
        "int16" => DType::I16.name(),
        "uint32" => DType::U32.name(),
        "int32" => DType::I32.name(),
        "uint64" => DType::U64.name(),
        "int64" => DType::I64.name(),
        other => other,
    };
    ours.to_owned()
}

/// Operators whose kernels multiply 8-bit integers and sum them in 32 bits, by their definition in the operator's specification.
const INTEGER: [&str; 7] = [
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
];
/// Operators that multiply and sum in the datatype of their inputs.
const MULTIPLY: [&str; 6] = ["Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"];

fn accumulator(op: &str, dtypes_in: &[String]) -> Option<String> {
    if INTEGER.contains(&op) {
        return Some(DType::I32.name().to_owned());
    }
    dtypes_in.first().filter(|_| MULTIPLY.contains(&op)).cloned()
}

/// Multiply-accumulates from shapes: each element of the output is a sum over one output channel's weights, or over the inner extent.
fn macs(op: &str, inputs: &[Vec<u64>], outputs: &[Vec<u64>]) -> Option<u64> {
    let elements = outputs.first()?.iter().product::<u64>();
    // Quantized operators have scale and zero point between data and weights.
    let weights = inputs.get(if op.starts_with("QLinear") || op == "QGemm" { 3 } else { 1 })?;
    let each = match op {
        "Conv" | "FusedConv" | "QLinearConv" | "ConvInteger" => weights.iter().skip(1).product(),
        _ if INTEGER.contains(&op) || MULTIPLY.contains(&op) => *inputs.first()?.last()?,
        _ => return None,
    };
    Some(elements * each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, index: u32, dur: u64, op: &str, input: &str) -> Value {
        serde_json::json!({
            "cat": "Node", "name": format!("{name}_kernel_time"), "dur": dur, "ts": 1, "ph": "X",
            "args": {
                "op_name": op, "node_index": index.to_string(), "provider": "CPUExecutionProvider", "output_size": "784",
                "input_type_shape": [{ input: [1, 2] }, { "float": [] }], "output_type_shape": [{ input: [1, 2] }],
            },
        })
    }

    #[test]
    fn nodes_come_in_order_with_the_time_of_later_runs() {
        let events = Value::Array(vec![
            serde_json::json!({ "cat": "Session", "name": "model_loading", "dur": 9, "args": {} }),
            node("conv", 2, 100, "QLinearConv", "uint8"),
            node("fc", 3, 50, "Gemm", "float"),
            node("conv", 2, 10, "QLinearConv", "uint8"),
            node("fc", 3, 5, "Gemm", "float"),
            node("conv", 2, 20, "QLinearConv", "uint8"),
            node("fc", 3, 6, "Gemm", "float"),
        ]);
        let found = ran(&events.to_string(), Some("CPUExecutionProvider")).unwrap();
        let words = |ran: &Ran| (ran.facts.to_string(), ran.facts.kernel.clone(), ran.facts.accumulator.clone());
        let cpu = || Some("CPU".to_owned());
        assert_eq!(words(&found[0]), ("QLinearConv (conv), u8,f32->u8".into(), cpu(), Some("i32".into())));
        assert_eq!(words(&found[1]), ("Gemm (fc), f32,f32->f32".into(), cpu(), Some("f32".into())));
        let costs: Vec<_> = found.iter().map(|ran| (ran.cost.time_ns, ran.cost.output_bytes)).collect();
        assert_eq!(costs, [(Some(15_000), Some(784)), (Some(5500), Some(784))]);
    }

    #[test]
    fn one_run_tells_no_time() {
        let events = Value::Array(vec![node("conv", 2, 100, "Conv", "float")]);
        assert_eq!(ran(&events.to_string(), None).unwrap()[0].cost.time_ns, None);
        assert!(ran("no profile", None).is_err());
    }

    #[test]
    fn a_node_on_another_provider_than_the_wanted_one_fell_back() {
        let on = |provider: &str| {
            let mut node = node("conv", 2, 100, "Conv", "float");
            node["args"]["provider"] = provider.into();
            let text = Value::Array(vec![node]).to_string();
            ran(&text, Some("CUDAExecutionProvider")).unwrap()[0].facts.kernel.clone().unwrap_or_default()
        };
        assert_eq!(on("CUDAExecutionProvider"), "CUDA");
        assert_eq!(on("CPUExecutionProvider"), "CPU (fell back from CUDA)");
        assert_eq!(on(""), "a provider without a name (fell back from CUDA)");
    }
}
