"""What onnxruntime makes of every quantized layer: the fixtures of ../layers.rs.

    python -m venv VENV && VENV/bin/pip install -r device-agent/compile/tests/layers/requirements.txt
    VENV/bin/python device-agent/compile/tests/layers/make.py          # from the root of the repository; rewrites *.safetensors here

Run it again when a model of models/ has changed (the test compares digests and says so) or when a case was added to cases.py; then
`BOARDPROOF_BLESS=1 cargo test -p boardproof-compile --test layers` writes docs/micro-layers.md anew.

A fixture holds, for each model that it is of (`MODEL/` is empty in the fixture of one):

    MODEL/in.NAME       samples of an input
    MODEL/layer.NAME    an 8-bit tensor of the graph as ONNX defines it: every operator in floating point, graph optimizations off, and
                        each operator that takes 8-bit values (QLinearConv, QGemm, ...) written as DequantizeLinear, operator,
                        QuantizeLinear. onnxruntime's own kernels for those are no reference: on processors without VNNI, sums of two
                        products of u8 and s8 saturate in 16 bit.
    MODEL/kernel.NAME   how far the own kernel is from that, when it is given the same inputs: elements, by 1, by more, largest
    MODEL/out.NAME      an output, as ONNX defines it; MODEL/best.NAME: as onnxruntime computes it by default, optimizations and all
    MODEL/model         the ONNX model, if it is one of cases.py
"""
import hashlib
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(HERE))

import cases  # noqa: E402

# Operators on 8-bit values: the operator on numbers, where its inputs are (value, scale, zero point), where its output's scale is, and the
# attributes that only the former has.
ON_BYTES = {
    "QLinearConv": ("Conv", (0, 3), 6, ()),
    "QGemm": ("Gemm", (0, 3), 7, ()),
    "QLinearMatMul": ("MatMul", (0, 3), 6, ()),
    "QLinearAdd": ("Add", (0, 3), 6, ()),
    "QLinearMul": ("Mul", (0, 3), 6, ()),
    "QLinearSigmoid": ("Sigmoid", (0,), 3, ()),
    "QLinearLeakyRelu": ("LeakyRelu", (0,), 3, ()),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,), 3, ("channels_last",)),
    "QLinearSoftmax": ("Softmax", (0,), 3, ("opset",)),
    "QLinearConcat": ("Concat", None, 0, ()),
}
# Where the bias is, of those that have one.
BIAS = {"QLinearConv": 8, "QGemm": 6}
# Dimension of the weights whose channels have scales of their own.
WEIGHT_AXIS = {"QLinearConv": 0, "QGemm": 0, "QLinearMatMul": 1}
ELEMENT = {np.dtype("int8"): onnx.TensorProto.INT8, np.dtype("uint8"): onnx.TensorProto.UINT8}


def run(model, feeds, outputs, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), feeds)))


def constants_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attributes_of(node, without=()):
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value for name, value in found.items() if name not in without}


class InNumbers:
    """A model with its operators on 8-bit values as operators on numbers."""

    def __init__(self, model):
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.constants = constants_of(model)
        self.nodes = []
        for node in model.graph.node:
            self.nodes.append(node) if node.op_type not in ON_BYTES else self.rewrite(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(self.nodes)

    def rewrite(self, node):
        op, inputs, output, without = ON_BYTES[node.op_type]
        if inputs is None:
            inputs = range(2, len(node.input), 3)
        numbers = [self.number(node, at) for at in inputs]
        at = BIAS.get(node.op_type)
        if at is not None and len(node.input) > at and node.input[at]:
            numbers.append(self.bias(node, at))
        made = f"{node.output[0]} in numbers"
        self.nodes.append(helper.make_node(op, numbers, [made], **attributes_of(node, without)))
        self.nodes.append(helper.make_node("QuantizeLinear", [made, *node.input[output:output + 2]], list(node.output)))

    def number(self, node, at):
        name = f"{node.output[0]} input {at}"
        scale = self.constants[node.input[at + 1]]
        axis = {"axis": WEIGHT_AXIS[node.op_type]} if scale.size > 1 else {}
        if node.op_type == "QGemm" and axis and not attributes_of(node).get("transB", 0):
            axis = {"axis": 1}
        self.nodes.append(helper.make_node("DequantizeLinear", node.input[at:at + 3], [name], **axis))
        return name

    def bias(self, node, at):
        """A step of the bias is a step of the sum."""
        scale = np.float64(attributes_of(node).get("alpha", 1.0))
        scale = scale * self.constants[node.input[1]].astype(np.float64) * self.constants[node.input[4]].astype(np.float64)
        name = f"{node.output[0]} bias"
        values = (self.constants[node.input[at]] * scale).astype(np.float32)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def layers(model, feeds):
    """Every computed 8-bit tensor."""
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=False)
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*typed.graph.value_info, *typed.graph.output)}
    names = [o for node in model.graph.node for o in node.output if kinds.get(o) in ELEMENT.values()]
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    known = {o.name for o in model.graph.output}
    wide.graph.output.extend(helper.make_tensor_value_info(n, kinds[n], None) for n in names if n not in known)
    return run(wide, feeds, names)


def kernel(model, node, values):
    """The own kernel of an operator on 8-bit values, given the values that its inputs have by definition."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    fed = {name: values[name] for name in node.input if name in values}
    inputs = [helper.make_tensor_value_info(n, ELEMENT[v.dtype], v.shape) for n, v in fed.items()]
    expected = values[node.output[0]].astype(np.int64)
    output = helper.make_tensor_value_info(node.output[0], ELEMENT[values[node.output[0]].dtype], None)
    used = [constants[name] for name in dict.fromkeys(node.input) if name in constants]
    graph = helper.make_graph([node], "one", inputs, [output], used)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    apart = np.abs(run(alone, fed, node.output)[node.output[0]].astype(np.int64) - expected)
    return np.array([apart.size, (apart == 1).sum(), (apart > 1).sum(), apart.max(initial=0)], dtype=np.int64)


def record(model, feeds):
    """All that a fixture says of a model."""
    tensors = {f"in.{name}": value for name, value in feeds.items()}
    numbers = InNumbers(model).model
    # Its inputs are values of the graph as well, if they are of 8 bit.
    values = layers(numbers, feeds)
    tensors |= {f"layer.{name}": value for name, value in values.items()}
    known = values | {name: value for name, value in feeds.items() if value.dtype in ELEMENT}
    for node in model.graph.node:
        if node.op_type in ON_BYTES:
            tensors[f"kernel.{node.output[0]}"] = kernel(model, node, known)
    outputs = [o.name for o in model.graph.output]
    best = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    tensors |= {f"out.{name}": value for name, value in run(numbers, feeds, outputs).items()}
    tensors |= {f"best.{name}": value for name, value in run(model, feeds, outputs, best).items()}
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


# ------------------------------------------------------------------------------------------------ models/
# Samples of a variant, and of those that a recipe spoilt or that differ from another one in their batch only.
SAMPLES = {"adult_mlp": (16, 4), "mnist_dscnn": (3, 1), "shuttle_ae": (16, 4), "vowels_dscnn": (6, 2)}
VARIANTS = ["int8_qdq_pc", "int8_qdq_pt", "int8_qop", "int8_qop_portable"]
FEW = ["int8_qdq_pc_b1", "bad_calib_3", "bad_calib_clip"]
# With int8 at the ends.
ENDS = {"mnist_dscnn": ["int8_io"]}


def samples(name, count):
    test = load_file(ROOT / "models" / name / "data/test.safetensors")["inputs"]
    picked = test[np.linspace(0, len(test) - 1, count).astype(int)]
    if name == "mnist_dscnn":
        # The preprocessing that its manifest names, in f32.
        picked = ((picked.astype(np.float32) * np.float32(1 / 255)) - np.float32(0.1307)) / np.float32(0.3081)
        picked = picked.reshape(count, 1, 28, 28)
    return picked.astype(np.float32)


def read(model, numbers):
    """The values that the model reads for these numbers."""
    first = model.graph.input[0]
    if first.type.tensor_type.elem_type != onnx.TensorProto.INT8:
        return numbers
    constants = constants_of(model)
    [node] = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == first.name]
    scale, zero_point = (constants[name] for name in node.input[1:3])
    return np.clip(np.rint(numbers / scale) + zero_point, -128, 127).astype(np.int8)


def one_by_one(model, feeds):
    """A model that takes one sample is run once for each."""
    shape = model.graph.input[0].type.tensor_type.shape
    if shape.dim[0].dim_value != 1:
        return record(model, feeds)
    count = len(next(iter(feeds.values())))
    runs = [record(model, {name: value[i:i + 1] for name, value in feeds.items()}) for i in range(count)]
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def of_models():
    for name, (many, few) in SAMPLES.items():
        for variant in VARIANTS + FEW + ENDS.get(name, []):
            path = ROOT / "models" / name / f"{variant}.onnx"
            model = onnx.load(path)
            feeds = {model.graph.input[0].name: read(model, samples(name, few if variant in FEW else many))}
            # One entry: their order is not the same twice.
            metadata = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            save_file(one_by_one(model, feeds), HERE / f"{name}.{variant}.safetensors", metadata=metadata)


def of_cases():
    tensors = {}
    for name in cases.CASES:
        model, feeds, known = cases.build(name)
        found = record(model, feeds) if known else {f"in.{n}": value for n, value in feeds.items()}
        found["model"] = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
        tensors |= {f"{name}/{key}": value for key, value in found.items()}
    save_file(tensors, HERE / "cases.safetensors")


if __name__ == "__main__":
    for old in HERE.glob("*.safetensors"):
        old.unlink()
    of_models()
    of_cases()
