"""Small models of one operator or of what stands next to it: what a compiler of shapes and constants may get wrong.

Each case is a function that gets a `Net` and names the model's outputs. `make.py` records what onnxruntime makes of it; the test `layers` compiles
it, or expects it refused with the words that stand in `cases.rs`.
"""
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

CASES = {}
SAMPLES = 4


def case(opset=17, domain_versions=()):
    def named(build):
        CASES[build.__name__] = (build, opset, dict(domain_versions))
        return build

    return named


class Net:
    """A model in the making. Every value is computed at once, so that the steps of a quantization fit what it quantizes."""

    def __init__(self, name, opset, versions):
        self.random = np.random.default_rng(sum(name.encode()))
        self.imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        self.imports += [helper.make_opsetid(domain, version) for domain, version in versions.items()]
        self.name, self.opset = name, opset
        self.nodes, self.constants, self.inputs, self.values, self.bytes = [], [], [], {}, {}
        # Can onnxruntime run it?
        self.runs = True

    def fresh(self, kind):
        return f"{kind}{len(self.nodes) + len(self.constants) + len(self.inputs)}"

    # ------------------------------------------------------------------ values
    def input(self, *dims, span=3.0):
        """An input of numbers, not quantized yet."""
        name = self.fresh("x")
        value = self.random.uniform(-span, span, (SAMPLES, *dims)).astype(np.float32)
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *dims]))
        self.values[name] = value
        return name

    def constant(self, value, kind=None):
        name = self.fresh("c")
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=kind or np.float32), name))
        return name

    def ints(self, *values):
        return self.constant(values, np.int64)

    def op(self, kind, *inputs, domain="", outputs=1, computed=True, **attributes):
        """A node; its value is what onnxruntime says, unless it cannot run it."""
        name = self.fresh(kind.lower())
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        node = helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes)
        self.nodes.append(node)
        if computed:
            self.values |= self.run(node)
        else:
            # Any value will do: nothing is recorded.
            self.values[name] = self.values[inputs[0]]
            self.runs = False
        return name

    def run(self, node):
        """One node by itself."""
        known = {c.name: c for c in self.constants}
        fed = {i: self.values[i] for i in node.input if i in self.values}
        inputs = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in fed.items()]
        outputs = [onnx.ValueInfoProto(name=o) for o in node.output]
        used = [known[i] for i in dict.fromkeys(node.input) if i in known]
        graph = helper.make_graph([node], "one", inputs, outputs, used)
        model = helper.make_model(graph, opset_imports=self.imports, ir_version=9)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(node.output, session.run(None, fed)))

    # ------------------------------------------------------------------ quantization
    def steps(self, low, high, kind):
        ends = np.iinfo(kind)
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale = np.float32(max(high - low, 1e-3) / (ends.max - ends.min))
        return scale, kind(np.clip(round(ends.min - low / scale), ends.min, ends.max))

    def steps_of(self, name, kind, part=1.0):
        value = self.values[name]
        scale, zero = self.steps(value.min() * part, value.max() * part, kind)
        return self.constant(scale), self.constant(zero, kind)

    def q(self, name, kind=np.int8, part=1.0):
        """8-bit values of numbers. With `part` below 1 the outermost lie at the ends."""
        scale, zero = self.steps_of(name, kind, part)
        made = self.op("QuantizeLinear", name, scale, zero)
        self.bytes[made] = (made, scale, zero)
        return made

    def dq(self, values):
        _, scale, zero = self.bytes[values]
        return self.op("DequantizeLinear", values, scale, zero)

    def qdq(self, name, kind=np.int8, part=1.0):
        return self.dq(self.q(name, kind, part))

    def image(self, *dims, kind=np.int8):
        return self.qdq(self.input(*dims), kind)

    def weights(self, *dims, per_channel=True, axis=0, kind=np.int8):
        """Weights on numbers: DequantizeLinear of a constant."""
        value, scale, zero = self.weight_values(dims, per_channel, axis, kind)
        attributes = {"axis": axis} if per_channel else {}
        name = self.fresh("w")
        self.nodes.append(helper.make_node("DequantizeLinear", [value, scale, zero], [name], **attributes))
        self.values |= self.run(self.nodes[-1])
        return name

    def weight_values(self, dims, per_channel, axis, kind):
        value = self.random.integers(-127, 128, dims).astype(np.int64) - (0 if kind is np.int8 else -128)
        count = dims[axis] if per_channel else 1
        scale = self.random.uniform(0.002, 0.01, count).astype(np.float32)
        zero = np.full(count, 0 if kind is np.int8 else 128)
        if not per_channel:
            scale, zero = scale[0], zero[0]
        return self.constant(value, kind), self.constant(scale), self.constant(zero, kind)

    def bias(self, count):
        return self.constant(self.random.uniform(-1.0, 1.0, count))

    def conv(self, x, dims, bias=True, **attributes):
        inputs = [x, self.weights(*dims)] + ([self.bias(dims[0])] if bias else [])
        return self.op("Conv", *inputs, **attributes)

    def gemm(self, x, inputs, outputs):
        return self.op("Gemm", x, self.weights(outputs, inputs), self.bias(outputs), transB=1)

    # ------------------------------------------------------------------ the whole
    def model(self, outputs):
        infos = [onnx.ValueInfoProto(name=name) for name in outputs]
        for info in infos:
            value = self.values.get(info.name)
            kind = TensorProto.FLOAT if value is None else helper.np_dtype_to_tensor_dtype(value.dtype)
            dims = None if value is None else ["N", *value.shape[1:]]
            info.CopyFrom(helper.make_tensor_value_info(info.name, kind, dims))
        graph = helper.make_graph(self.nodes, self.name, self.inputs, infos, self.constants)
        return helper.make_model(graph, opset_imports=self.imports, ir_version=9)


def build(name):
    """The model of a case, its samples, and whether onnxruntime can run it."""
    make, opset, versions = CASES[name]
    net = Net(name, opset, versions)
    outputs = make(net)
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    feeds = {i.name: net.values[i.name] for i in net.inputs}
    return net.model(outputs), feeds, net.runs


# ------------------------------------------------------------------------------------------------ sums
@case()
def conv_strides_dilations_pads(net):
    x = net.image(3, 9, 8)
    return net.qdq(net.conv(x, (5, 3, 3, 2), strides=[2, 1], dilations=[1, 2], pads=[1, 2, 0, 1]))


@case()
def conv_auto_pad(net):
    x = net.image(2, 8, 7, kind=np.uint8)
    upper = net.qdq(net.conv(x, (3, 2, 3, 4), auto_pad="SAME_UPPER", strides=[2, 2]), np.uint8)
    lower = net.qdq(net.conv(x, (3, 2, 3, 4), auto_pad="SAME_LOWER", strides=[3, 1]), np.uint8)
    return upper, lower


@case()
def conv_depthwise(net):
    x = net.image(5, 7, 6, kind=np.uint8)
    return net.qdq(net.op("Relu", net.conv(x, (5, 1, 3, 3), group=5, pads=[1, 1, 1, 1])), np.uint8)


@case()
def conv_groups(net):
    return net.qdq(net.conv(net.image(6, 5, 5), (4, 3, 3, 3), group=2))


@case()
def conv_more_outputs_per_channel(net):
    return net.qdq(net.conv(net.image(3, 5, 5), (6, 1, 3, 3), group=3, pads=[1, 1, 1, 1]))


@case()
def conv_of_rows(net):
    return net.qdq(net.conv(net.image(3, 11), (4, 3, 5), strides=[2], pads=[2, 1], bias=False))


@case()
def windows_over_one_row_and_its_padding(net):
    x = net.image(2, 1, 9)
    summed = net.conv(x, (3, 2, 1, 2), pads=[1, 0, 1, 1], strides=[2, 2])
    largest = net.op("MaxPool", net.image(1, 1, 9), kernel_shape=[1, 3], pads=[0, 1, 0, 1], strides=[2, 2])
    return net.qdq(summed), net.qdq(largest)


@case()
def conv_unsigned_weights(net):
    x, w = net.image(2, 5, 6, kind=np.uint8), net.weights(3, 2, 3, 3, per_channel=False, kind=np.uint8)
    return net.qdq(net.op("Conv", x, w), np.uint8)


@case()
def conv_computed_bias(net):
    return net.qdq(net.op("Conv", net.image(2, 4, 4), net.weights(3, 2, 3, 3), net.image(3), computed=False))


@case()
def gemm_alpha_beta(net):
    x = net.image(6)
    made = net.op("Gemm", x, net.weights(6, 4, axis=1), net.constant(net.random.uniform(-1, 1, (1, 4))), alpha=0.5, beta=2.0)
    return net.qdq(made)


@case()
def matmul_and_bias(net):
    made = net.op("MatMul", net.image(7), net.weights(7, 5, axis=1))
    return net.qdq(net.op("Add", net.bias(5), made))


# ------------------------------------------------------------------------------------------------ 8-bit operators
def q_conv(net, x, dims, kind, **attributes):
    values = net.q(x, kind)
    weights = net.weight_values(dims, True, 0, np.int8)
    scale_x, scale_w = (numpy_helper.to_array(c) for c in net.constants if c.name in (net.bytes[values][1], weights[1]))
    bias = net.constant(net.random.integers(-2000, 2000, dims[0]), np.int32)
    span = float(scale_x * scale_w.max() * 127 * 128)
    scale, zero = net.steps(-span, span, kind)
    to = (net.constant(scale), net.constant(zero, kind))
    made = net.op("QLinearConv", *net.bytes[values], *weights, *to, bias, **attributes)
    net.bytes[made] = (made, *to)
    return made


@case()
def qlinear_conv(net):
    made = q_conv(net, net.input(3, 6, 6), (4, 3, 3, 3), np.uint8, pads=[1, 1, 1, 1])
    return net.dq(made)


@case()
def qlinear_conv_channels_last(net):
    values = net.q(net.input(6, 6, 3), np.uint8)
    weights = net.weight_values((6, 3, 3, 3), True, 0, np.int8)
    to = (net.constant(0.1), net.constant(7, np.uint8))
    made = net.op("QLinearConv", *net.bytes[values], *weights, *to, domain="com.microsoft", channels_last=1,
                  computed=False)
    net.bytes[made] = (made, *to)
    return net.dq(made)


@case()
def qlinear_matmul_and_gemm(net):
    values = net.q(net.input(6), np.uint8)
    weights = net.weight_values((6, 5), False, 0, np.int8)
    to = (net.constant(0.03), net.constant(120, np.uint8))
    product = net.op("QLinearMatMul", *net.bytes[values], *weights, *to)
    net.bytes[product] = (product, *to)
    more = net.weight_values((5, 4), True, 1, np.int8)
    bias = net.constant(net.random.integers(-2000, 2000, 4), np.int32)
    last = (net.constant(0.05), net.constant(130, np.uint8))
    made = net.op("QGemm", *net.bytes[product], *more, bias, *last, domain="com.microsoft", alpha=0.75)
    net.bytes[made] = (made, *last)
    return net.dq(made)


def q_two(net, kind, op):
    one, two = net.q(net.input(3, 4, 4), kind), net.q(net.input(3, 4, 4, span=1.0), kind)
    ends = np.iinfo(kind)
    to = (net.constant(0.025), net.constant((ends.min + ends.max) // 2, kind))
    made = net.op(op, *net.bytes[one], *net.bytes[two], *to, domain="com.microsoft")
    net.bytes[made] = (made, *to)
    return net.dq(made)


@case()
def qlinear_add(net):
    return q_two(net, np.uint8, "QLinearAdd"), q_two(net, np.int8, "QLinearAdd")


@case()
def qlinear_mul(net):
    return q_two(net, np.uint8, "QLinearMul"), q_two(net, np.int8, "QLinearMul")


@case()
def qlinear_functions(net):
    values = net.q(net.input(12, span=5.0), np.uint8)
    outputs = []
    for op, attributes in (("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.1})):
        to = (net.constant(0.02), net.constant(30, np.uint8))
        made = net.op(op, *net.bytes[values], *to, domain="com.microsoft", **attributes)
        net.bytes[made] = (made, *to)
        outputs.append(net.dq(made))
    return outputs


def q_softmax(net, opset, **attributes):
    values = net.q(net.input(3, 4, span=5.0), np.uint8)
    to = (net.constant(1 / 256), net.constant(0, np.uint8))
    made = net.op("QLinearSoftmax", *net.bytes[values], *to, domain="com.microsoft", opset=opset, **attributes)
    net.bytes[made] = (made, *to)
    return net.dq(made)


@case()
def qlinear_softmax(net):
    return q_softmax(net, 13, axis=-1)


@case(opset=11)
def qlinear_softmax_of_all(net):
    return q_softmax(net, 11, axis=1)


@case()
def qlinear_pool_and_concat(net):
    one, two = net.q(net.input(3, 4, 4), np.uint8), net.q(net.input(2, 4, 4, span=1.0), np.uint8)
    to = (net.constant(0.03), net.constant(128, np.uint8))
    made = net.op("QLinearConcat", *to, *net.bytes[one], *net.bytes[two], domain="com.microsoft", axis=1)
    net.bytes[made] = (made, *to)
    less = (net.constant(0.01), net.constant(100, np.uint8))
    pooled = net.op("QLinearGlobalAveragePool", *net.bytes[made], *less, domain="com.microsoft", channels_last=0)
    net.bytes[pooled] = (pooled, *less)
    return net.dq(pooled)


# ------------------------------------------------------------------------------------------------ element by element
def functions(net, names, span=6.0, **attributes):
    x = net.qdq(net.input(64, span=span))
    return [net.qdq(net.op(name, x, **attributes)) for name in names]


@case(opset=20)
def functions_of_one_value(net):
    return functions(net, ["Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Erf", "Neg"])


@case()
def function_exp(net):
    return functions(net, ["Exp"], span=2.0)


@case(opset=20)
def gelu(net):
    return functions(net, ["Gelu"])


@case(opset=20)
def gelu_by_tanh(net):
    return functions(net, ["Gelu"], approximate="tanh")


@case()
def gelu_of_microsoft(net):
    return functions(net, ["Gelu"], domain="com.microsoft")


@case()
def clip_between_constants(net):
    x = net.image(10)
    six = net.op("Clip", x, net.constant(0.0), net.constant(2.0))
    from_below = net.op("Clip", x, net.constant(-1.0))
    return net.qdq(six), net.qdq(from_below)


@case()
def clip_at_a_computed_end(net):
    return net.qdq(net.op("Clip", net.image(10), "", net.image(1), computed=False))


@case()
def clip_of_values(net):
    """Its ends would be values, not numbers."""
    made = net.q(net.input(6))
    clipped = net.op("Clip", made, net.constant(-5, np.int8), net.constant(9, np.int8))
    net.bytes[clipped] = (clipped, *net.bytes[made][1:])
    return net.dq(clipped)


@case(opset=10)
def clip_by_attributes(net):
    return net.qdq(net.op("Clip", net.image(10), min=-0.5, max=1.5))


@case()
def swish(net):
    x = net.image(20, kind=np.uint8)
    return net.qdq(net.op("Mul", x, net.op("Sigmoid", x)), np.uint8)


@case()
def sums_and_products_of_two(net):
    x, y = net.image(3, 5, 4), net.image(3, 5, 4)
    added = net.op("Relu", net.op("Add", x, y))
    return net.qdq(added), net.qdq(net.op("Mul", x, y), part=0.7)


@case()
def sum_of_image_and_itself_in_other_steps(net):
    x = net.image(3, 5, 4)
    image = net.qdq(net.conv(x, (3, 3, 3, 3), pads=[1, 1, 1, 1]))
    return net.qdq(net.op("Add", x, image))


@case()
def sum_of_two_shapes(net):
    return net.qdq(net.op("Add", net.image(3, 5, 4), net.image(3, 1, 1)))


# ------------------------------------------------------------------------------------------------ constants per channel
def with_constant(net, dims, shape, op="Mul", first=False):
    x = net.image(*dims)
    constant = net.constant(net.random.uniform(0.5, 2.0, shape))
    return net.qdq(net.op(op, *((constant, x) if first else (x, constant))))


@case()
def constants_per_channel(net):
    outputs = [with_constant(net, (3, 4, 5), (3, 1, 1), op) for op in ("Mul", "Add", "Sub", "Div")]
    outputs += [with_constant(net, (3, 4, 5), (1, 3, 1, 1), first=True), with_constant(net, (3, 4, 5), ())]
    return outputs + [with_constant(net, (6,), (6,), "Add"), with_constant(net, (6,), (1, 6))]


@case()
def constant_along_the_width(net):
    return with_constant(net, (3, 4, 3), (3,))


@case()
def constant_along_the_height(net):
    return with_constant(net, (3, 3, 5), (3, 1))


@case()
def constant_along_a_row(net):
    return with_constant(net, (4, 4), (4,), "Add")


@case()
def constant_that_makes_more(net):
    x = net.image(1)
    return net.qdq(net.op("Mul", net.op("Sigmoid", x), net.constant([2.0, 2.0, 2.0])))


@case()
def constant_of_more_dimensions(net):
    x = net.image(4)
    made = net.op("Mul", x, net.constant(np.full((1, 1, 1, 1), 2.0)))
    return net.qdq(made)


@case()
def constant_below_zero(net):
    x = net.image(3, 4, 4)
    return net.qdq(net.op("Mul", x, net.constant(np.array([-1.5, 0.5, -0.25]).reshape(3, 1, 1))))


def norm(net, x, channels, **attributes):
    parts = [net.constant(net.random.uniform(0.5, 2.0, channels)) for _ in range(4)]
    return net.op("BatchNormalization", x, *parts, **attributes)


@case()
def norm_of_image_and_features(net):
    image, features = norm(net, net.image(3, 4, 4), 3), norm(net, net.image(9), 9)
    return net.qdq(net.op("Relu", image)), net.qdq(features, np.uint8)


@case()
def norm_behind_conv(net):
    x = net.conv(net.image(2, 6, 7), (4, 2, 3, 3))
    return net.qdq(net.op("Relu", norm(net, x, 4)))


@case()
def constant_below_zero_behind_sums(net):
    conv = net.conv(net.image(2, 6, 7), (3, 2, 3, 3))
    factors = net.constant(np.array([-1.5, 0.5, -0.25]).reshape(3, 1, 1))
    row = net.op("Mul", net.constant([-2.0, 0.5, -1.0, 3.0]), net.gemm(net.image(6), 6, 4))
    return net.qdq(net.op("Mul", conv, factors)), net.qdq(row)


@case()
def norm_of_flattened_image(net):
    x = net.qdq(net.conv(net.image(2, 5, 6), (3, 2, 3, 3)))
    return net.qdq(norm(net, net.op("Flatten", x), 36))


@case()
def constant_of_flattened_image(net):
    x = net.op("Flatten", net.qdq(net.conv(net.image(2, 5, 6), (3, 2, 3, 3))))
    return net.qdq(net.op("Mul", x, net.constant(2.5))), net.qdq(net.op("Add", x, net.bias(36)))


@case()
def norm_in_training(net):
    x = net.image(3, 4, 4)
    parts = [net.constant(net.random.uniform(0.5, 2.0, 3)) for _ in range(4)]
    made = net.op("BatchNormalization", x, *parts, outputs=3, computed=False, training_mode=1)
    return net.qdq(made)


# ------------------------------------------------------------------------------------------------ pools
@case()
def pools(net):
    x = net.image(3, 7, 8)
    largest = net.op("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])
    means = net.op("AveragePool", x, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 0, 0])
    return net.qdq(largest, part=0.5), net.qdq(net.op("Relu", means)), net.qdq(net.op("Relu", largest))


@case()
def pools_of_rows(net):
    x = net.image(3, 9, kind=np.uint8)
    largest, means = (net.op(op, x, kernel_shape=[3], strides=[2]) for op in ("MaxPool", "AveragePool"))
    over_all = net.op("GlobalAveragePool", x)
    return [net.qdq(y, np.uint8) for y in (largest, means, over_all)]


@case()
def means_over_all_pixels(net):
    x = net.image(4, 5, 6)
    kept, not_kept = (net.op("ReduceMean", x, axes=[2, 3], keepdims=keep) for keep in (1, 0))
    relu = net.op("ReduceMean", net.op("Relu", x), axes=[-1, -2], keepdims=0)
    return net.qdq(kept), net.qdq(not_kept), net.qdq(relu)


@case(opset=18)
def means_over_axes_of_an_input(net):
    return net.qdq(net.op("ReduceMean", net.image(4, 5, 6), net.ints(2, 3), keepdims=0))


@case()
def mean_over_the_width(net):
    return net.qdq(net.op("ReduceMean", net.image(4, 5, 6), axes=[3], keepdims=0))


@case()
def pool_that_counts_padding(net):
    return net.qdq(net.op("AveragePool", net.image(2, 5, 5), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))


@case()
def pool_with_ceiling(net):
    return net.qdq(net.op("MaxPool", net.image(2, 6, 6), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1))


# ------------------------------------------------------------------------------------------------ softmax
@case()
def softmax_of_features(net):
    x = net.qdq(net.input(11, span=8.0))
    return net.qdq(net.op("Softmax", x), np.uint8), net.op("Softmax", x, axis=1)


@case()
def softmax_of_rows_and_image(net):
    rows = net.op("Softmax", net.image(5, 4), axis=-1)
    image = net.qdq(net.conv(net.image(1, 5, 5), (3, 1, 2, 2)))
    return net.qdq(rows), net.qdq(net.op("Softmax", image))


@case()
def softmax_of_image_of_one_channel(net):
    x = net.image(1, 4, 5)
    return net.qdq(net.conv(x, (2, 1, 3, 3))), net.qdq(net.op("Softmax", x)), net.qdq(net.op("Transpose", x, perm=[0, 1, 3, 2]))


@case()
def softmax_along_channels(net):
    return net.qdq(net.op("Softmax", net.image(3, 4, 4), axis=1))


@case(opset=11)
def softmax_of_old_over_all(net):
    return net.qdq(net.op("Softmax", net.image(2, 3, 4)))


@case(opset=11)
def softmax_of_old_over_features(net):
    return net.qdq(net.op("Softmax", net.image(7)))


@case(opset=11)
def softmax_of_old_over_the_last(net):
    return net.qdq(net.op("Softmax", net.image(2, 3, 4), axis=3))


# ------------------------------------------------------------------------------------------------ shapes
def pad(net, x, *pads, **attributes):
    return net.op("Pad", x, net.ints(*pads), **attributes)


@case()
def pad_of_image_of_one_channel_behind_conv(net):
    x = net.image(1, 6, 5)
    one = net.qdq(net.conv(x, (3, 1, 3, 3)))
    more = net.qdq(pad(net, x, 0, 0, 1, 2, 0, 0, 2, 1))
    return one, net.qdq(net.conv(more, (2, 1, 3, 3)))


@case()
def pad_of_channels_and_rows(net):
    image = net.qdq(net.conv(net.image(2, 5, 5), (3, 2, 2, 2)))
    rows = net.qdq(net.conv(net.image(2, 6), (3, 2, 2)))
    return net.qdq(pad(net, image, 0, 1, 0, 0, 0, 0, 0, 2)), net.qdq(pad(net, rows, 0, 1, 2, 0, 0, 1))


@case()
def pad_of_features_and_plain_rows(net):
    features, rows = net.image(5, kind=np.uint8), net.image(3, 4)
    made = net.qdq(pad(net, rows, 0, 0, 2, 0, 0, 0))
    held = net.qdq(pad(net, features, 0, 2, 0, 1), np.uint8, part=0.6)
    return held, made, net.qdq(net.conv(made, (2, 3, 2)))


@case(opset=18)
def pad_along_some_axes(net):
    x = net.image(2, 4, 5)
    return net.qdq(net.op("Pad", x, net.ints(1, 2, 0, 1), net.constant(0.0), net.ints(3, 2)))


@case()
def pad_with_a_number(net):
    return net.qdq(net.op("Pad", net.image(5), net.ints(0, 1, 0, 1), net.constant(1.5)))


@case(opset=10)
def pad_with_an_attribute(net):
    return net.qdq(net.op("Pad", net.image(5), pads=[0, 1, 0, 1], value=1.5))


@case()
def concat_of_images_behind_conv(net):
    x, y = net.image(1, 4, 5), net.image(1, 4, 5)
    made = net.qdq(net.conv(x, (2, 1, 3, 3)))
    outputs = [made]
    for axis in (1, 2, 3):
        whole = net.qdq(net.op("Concat", x, y, axis=axis))
        outputs += [whole, net.qdq(net.conv(whole, (2, net.values[whole].shape[1], 3, 3)))]
    return outputs


@case()
def concat_of_images(net):
    x = net.image(2, 5, 5)
    one, two = net.qdq(net.conv(x, (3, 2, 2, 2))), net.qdq(net.conv(x, (3, 2, 2, 2)))
    return [net.qdq(net.op("Concat", one, two, one, axis=axis)) for axis in (1, 2, -1)]


@case()
def concat_of_rows(net):
    x = net.image(2, 6)
    one, two = net.qdq(net.conv(x, (3, 2, 2))), net.qdq(net.conv(x, (3, 2, 2)))
    return [net.qdq(net.op("Concat", one, two, axis=axis)) for axis in (1, 2)]


@case()
def concat_of_image_and_plain(net):
    x, plain = net.image(3, 4, 5), net.image(3, 4, 5)
    image = net.qdq(net.conv(x, (3, 3, 1, 1)))
    return [net.qdq(net.op("Concat", plain, image, axis=axis)) for axis in (1, 2, 3)]


@case()
def concat_of_features_and_flattened(net):
    image = net.qdq(net.conv(net.image(2, 4, 5), (3, 2, 2, 2)))
    flat, features = net.op("Flatten", image), net.image(5)
    return net.qdq(net.gemm(net.qdq(net.op("Concat", features, flat, axis=1)), 41, 4))


@case()
def concat_and_pad_of_flattened(net):
    x = net.image(2, 4, 5)
    flats = [net.op("Flatten", net.qdq(net.conv(x, (3, 2, 2, 2)))) for _ in range(2)]
    return net.qdq(net.op("Concat", *flats, axis=1)), net.qdq(pad(net, flats[0], 0, 2, 0, 1))


@case()
def flatten_then_gemm(net):
    image = net.qdq(net.conv(net.image(2, 4, 5), (3, 2, 2, 2)))
    flat = net.op("Flatten", image)
    return net.qdq(net.gemm(flat, 36, 5)), net.qdq(net.gemm(net.qdq(net.op("Sigmoid", flat)), 36, 5)), net.qdq(net.op("Tanh", flat))


@case()
def flatten_of_one_channel_and_of_one_pixel(net):
    channel = net.qdq(net.conv(net.image(2, 4, 5), (1, 2, 2, 2)))
    pixel = net.qdq(net.op("GlobalAveragePool", net.image(6, 4, 4)))
    return net.qdq(net.gemm(net.op("Flatten", channel), 12, 5)), net.qdq(net.gemm(net.op("Flatten", pixel), 6, 5))


@case()
def reshape_of_features_to_image(net):
    features = net.qdq(net.gemm(net.image(5), 5, 24))
    image = net.op("Reshape", features, net.ints(0, 2, 3, 4))
    return net.qdq(net.conv(image, (3, 2, 2, 2))), net.qdq(net.op("Sigmoid", features))


@case()
def reshape_of_image(net):
    image = net.qdq(net.conv(net.image(2, 5, 5), (3, 2, 2, 2)))
    rows = net.op("Reshape", image, net.ints(0, 3, -1))
    other = net.op("Reshape", image, net.ints(-1, 3, 2, 8))
    mixed = net.op("Reshape", image, net.ints(0, 4, 12))
    same = net.op("Reshape", image, net.ints(0, 0, -1, 0))
    outputs = [net.qdq(pad(net, rows, 0, 0, 1, 0, 0, 0)), net.qdq(net.conv(other, (2, 3, 2, 2)))]
    return outputs + [net.qdq(net.op("Softmax", mixed)), net.qdq(net.op("Tanh", same))]


@case()
def reshape_of_flattened(net):
    image = net.qdq(net.conv(net.image(2, 5, 5), (3, 2, 2, 2)))
    back = net.op("Reshape", net.op("Flatten", image), net.ints(0, 6, 4, 2))
    return net.qdq(net.conv(back, (2, 6, 2, 2)))


@case()
def reshape_of_samples(net):
    return net.qdq(net.op("Relu", net.op("Reshape", net.image(3, 4), net.ints(-1, 4))))


@case()
def squeeze_of_pixel(net):
    pixel = net.qdq(net.op("GlobalAveragePool", net.image(6, 4, 4)))
    row = net.op("Squeeze", net.qdq(net.conv(net.image(2, 1, 6), (3, 2, 1, 2))), net.ints(2))
    return net.qdq(net.op("Tanh", net.op("Squeeze", pixel, net.ints(2, 3)))), net.qdq(net.conv(row, (2, 3, 2)))


@case()
def unsqueeze_of_features_and_rows(net):
    features = net.op("Unsqueeze", net.image(7), net.ints(1))
    rows = net.op("Unsqueeze", net.qdq(net.conv(features, (3, 1, 3))), net.ints(-2))
    return net.qdq(net.conv(rows, (2, 3, 1, 2)))


@case()
def transpose_of_image(net):
    image = net.qdq(net.conv(net.image(2, 5, 4), (3, 2, 2, 2)))
    last, turned = net.op("Transpose", image, perm=[0, 2, 3, 1]), net.op("Transpose", image, perm=[0, 1, 3, 2])
    outputs = [net.qdq(net.op("Softmax", last)), net.qdq(net.conv(turned, (2, 3, 2, 2)))]
    return outputs + [net.qdq(net.gemm(net.op("Flatten", last), 36, 3))]


@case()
def transpose_from_channels_last(net):
    x = net.op("Transpose", net.image(5, 4, 2), perm=[0, 3, 1, 2])
    return net.qdq(net.op("Relu", net.conv(x, (3, 2, 2, 2))))


@case()
def transpose_of_one_channel_behind_conv(net):
    x = net.image(1, 6, 5)
    made = net.qdq(net.conv(x, (2, 1, 3, 3)))
    turned = net.op("Transpose", x, perm=[0, 1, 3, 2])
    return made, net.qdq(net.conv(turned, (2, 1, 3, 3)))


@case()
def transpose_of_rows(net):
    rows = net.op("Transpose", net.image(7, 3), perm=[0, 2, 1])
    made = net.qdq(net.conv(rows, (4, 3, 3)))
    return made, net.qdq(net.op("Tanh", net.op("Transpose", made, perm=[0, 2, 1])))


@case()
def values_as_an_output(net):
    return net.q(net.conv(net.image(2, 4, 5), (3, 2, 2, 2)))


@case()
def dropout_and_identity(net):
    x = net.op("Identity", net.image(5))
    return net.qdq(net.op("Tanh", net.op("Dropout", x)))


# ------------------------------------------------------------------------------------------------ domains
@case(domain_versions=[("somebody.else", 1)])
def relu_of_somebody_else(net):
    x = net.image(5)
    made = net.op("Relu", x, domain="somebody.else", computed=False)
    return net.qdq(made)


@case()
def conv_of_microsoft(net):
    x = net.image(2, 4, 4)
    made = net.op("Conv", x, net.weights(3, 2, 3, 3), domain="com.microsoft", computed=False)
    return net.qdq(made)


@case()
def qgemm_of_onnx(net):
    values = net.q(net.input(6), np.uint8)
    made = net.op("QGemm", *net.bytes[values], *net.weight_values((6, 5), False, 0, np.int8), "", computed=False)
    return made


@case(opset=9)
def version_before_quantization(net):
    return net.op("Relu", net.input(4))


# ------------------------------------------------------------------------------------------------ quantization
@case()
def input_of_bytes_read_in_two_ways(net):
    name = bytes_input(net, 5)
    zero = net.constant(128, np.uint8)
    one = net.op("DequantizeLinear", name, net.constant(1.0), zero)
    two = net.op("DequantizeLinear", name, net.constant(0.5), zero)
    return net.qdq(net.op("Tanh", one)), net.qdq(net.op("Tanh", two))


@case()
def input_of_bytes(net):
    name = bytes_input(net, 2, 4, 5)
    x = net.op("DequantizeLinear", name, net.constant(0.02), net.constant(100, np.uint8))
    return net.qdq(net.conv(x, (3, 2, 2, 2)), np.uint8)


def bytes_input(net, *dims):
    name = net.fresh("x")
    net.inputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", *dims]))
    net.values[name] = net.random.integers(0, 256, (SAMPLES, *dims)).astype(np.uint8)
    return name


@case()
def input_of_bytes_reshaped(net):
    """Only behind a Reshape or Transpose does a node say what the bytes are worth."""
    outputs = []
    for shaped in (
        net.op("Reshape", bytes_input(net, 40), net.ints(0, 2, 4, 5)),
        net.op("Transpose", bytes_input(net, 4, 5, 2), perm=[0, 3, 1, 2]),
        net.op("Reshape", bytes_input(net, 1, 40), net.ints(0, 2, 4, 5)),
    ):
        x = net.op("DequantizeLinear", shaped, net.constant(0.02), net.constant(100, np.uint8))
        outputs.append(net.qdq(net.conv(x, (3, 2, 3, 3), pads=[1, 1, 1, 1])))
    flat = net.op("Flatten", bytes_input(net, 2, 6))
    x = net.op("DequantizeLinear", flat, net.constant(0.02), net.constant(100, np.uint8))
    return outputs + [x, net.qdq(net.gemm(x, 12, 3))]


@case()
def squeeze_of_all_ones(net):
    """The sample's dimension too, where there is one sample."""
    return net.qdq(net.op("Tanh", net.op("Squeeze", net.image(1, 6))))


@case(opset=21)
def weights_in_blocks(net):
    value = net.constant(net.random.integers(-127, 128, (4, 4)), np.int8)
    w = net.op("DequantizeLinear", value, net.constant(net.random.uniform(0.002, 0.01, (1, 4))), axis=0, block_size=4)
    return net.qdq(net.op("MatMul", net.image(4), w))


@case()
def quantized_again(net):
    x = net.image(2, 4, 5)
    other = net.qdq(net.qdq(x, np.uint8, part=0.5), np.int8)
    return net.qdq(net.conv(other, (3, 2, 2, 2))), net.qdq(net.op("Tanh", other))
