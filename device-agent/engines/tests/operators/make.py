"""Makes operators.safetensors: one-operator ONNX models, inputs, and onnxruntime's answers to them.

    pip install numpy onnx==1.23.2 onnxruntime==1.32.0 safetensors
    python make.py

Per case: CASE.model (the ONNX bytes), CASE.in.NAME, CASE.out.INDEX. The same numbers come out each time.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

random = np.random.default_rng(7)
tensors = {}
OPSET = 17


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def value_type(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def case(name, operator, inputs, constants=(), outputs=1, opset=OPSET, **attributes):
    """A model of one node whose first inputs are given and whose others are constants; None leaves an input out."""
    names, given, initializers = [], [], []
    for index, array in enumerate(inputs):
        names.append(f"x{index}")
        given.append(helper.make_tensor_value_info(f"x{index}", value_type(array), array.shape))
        tensors[f"{name}.in.x{index}"] = array.copy(order="C")
    for index, array in enumerate(constants):
        names.append("" if array is None else f"c{index}")
        if array is not None:
            initializers.append(numpy_helper.from_array(array, f"c{index}"))
    made = [helper.make_empty_tensor_value_info(f"y{index}") for index in range(outputs)]
    node = helper.make_node(operator, names, [f"y{index}" for index in range(outputs)], name, **attributes)
    graph = helper.make_graph([node], name, given, made, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    bytes_ = model.SerializeToString()
    session = onnxruntime.InferenceSession(bytes_, providers=["CPUExecutionProvider"])
    answers = session.run(None, {f"x{index}": array for index, array in enumerate(inputs)})
    tensors[f"{name}.model"] = np.frombuffer(bytes_, np.uint8)
    for index, answer in enumerate(answers):
        tensors[f"{name}.out.{index}"] = answer.copy(order="C")


def i64(*numbers):
    return np.array(numbers, np.int64)


def elementwise():
    x, y = floats(2, 3, 4), floats(3, 1)
    for operator in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"]:
        case(operator.lower(), operator, [x, y])
    positive = np.abs(x) + np.float32(0.1)
    for operator in ["Abs", "Neg", "Relu", "Ceil", "Cos", "Erf", "Exp", "Floor", "Sigmoid", "Sin", "Tanh", "HardSwish"]:
        case(operator.lower(), operator, [x * 3])
    for operator in ["Log", "Sqrt", "Reciprocal"]:
        case(operator.lower(), operator, [positive])
    case("round", "Round", [np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.4, 3.5, 1e9], np.float32)])
    case("hard_sigmoid", "HardSigmoid", [x * 3], alpha=0.3, beta=0.4)
    case("leaky_relu", "LeakyRelu", [x], alpha=0.2)
    case("pow_2", "Pow", [x], [np.array(2, np.float32)])
    case("pow_3", "Pow", [x], [np.array([3], np.float32)])
    case("clip", "Clip", [x], [np.array(-0.5, np.float32), np.array(0.25, np.float32)])
    case("clip_below", "Clip", [x], [np.array(-0.5, np.float32)])
    case("clip_above", "Clip", [x], [None, np.array(0.25, np.float32)])
    case("clip_6", "Clip", [x], opset=7, min=-0.5, max=0.25)
    for approximate in ["none", "tanh"]:
        case(f"gelu_{approximate}", "Gelu", [x], opset=20, approximate=approximate)
    norm = [floats(3), floats(3), floats(3), np.abs(floats(3)) + np.float32(0.1)]
    case("batch_normalization", "BatchNormalization", [x], norm, epsilon=1e-3)


def products():
    case("matmul_2d", "MatMul", [floats(3, 4), floats(4, 5)])
    case("matmul_shared", "MatMul", [floats(2, 6, 3, 4), floats(4, 5)])
    case("matmul_batches", "MatMul", [floats(2, 1, 3, 4), floats(6, 4, 5)])
    case("matmul_row", "MatMul", [floats(4), floats(2, 4, 5)])
    case("matmul_column", "MatMul", [floats(2, 3, 4), floats(4)])
    case("gemm", "Gemm", [floats(3, 4), floats(4, 5), floats(5)])
    case("gemm_turned", "Gemm", [floats(4, 3)], [floats(5, 4), floats(3, 1)], transA=1, transB=1, alpha=0.5, beta=2.0)
    case("gemm_bare", "Gemm", [floats(3, 4)], [floats(5, 4)], transB=1)
    x = floats(2, 6, 9, 8)
    convolutions = {
        "plain": (floats(4, 6, 3, 3), {}),
        "groups": (floats(4, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        "depthwise": (floats(6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        "multiplier": (floats(12, 1, 3, 2), {"group": 6, "pads": [1, 0, 1, 1]}),
        "uneven_pads": (floats(4, 6, 3, 3), {"pads": [0, 1, 2, 0]}),
        "uneven_strides": (floats(4, 6, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 1]}),
        "dilated": (floats(4, 6, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
        "uneven_dilations": (floats(4, 6, 3, 3), {"dilations": [2, 1], "strides": [2, 2]}),
        "same_upper": (floats(4, 6, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        "same_lower": (floats(4, 6, 2, 3), {"auto_pad": "SAME_LOWER"}),
        "valid": (floats(4, 6, 3, 3), {"auto_pad": "VALID"}),
        "pointwise_strided": (floats(4, 6, 1, 1), {"strides": [2, 2]}),
    }
    for name, (kernel, attributes) in convolutions.items():
        case(f"conv_{name}", "Conv", [x], [kernel, floats(kernel.shape[0])], **attributes)
    row = floats(2, 6, 11)
    case("conv_row", "Conv", [row], [floats(4, 6, 3)], pads=[1, 1], strides=[2])
    case("conv_row_depthwise", "Conv", [row], [floats(6, 1, 3), floats(6)], group=6, pads=[2, 0], dilations=[2])


def pools():
    x, row = floats(2, 3, 9, 8), floats(2, 3, 11)
    for operator in ["MaxPool", "AveragePool"]:
        name = operator.lower()
        case(f"{name}", operator, [x], kernel_shape=[2, 3], strides=[2, 1])
        case(f"{name}_padded", operator, [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 2])
        case(f"{name}_row", operator, [row], kernel_shape=[3], strides=[2], pads=[1, 1])
    case("averagepool_counting", "AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    case("averagepool_same", "AveragePool", [x], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    for operator in ["GlobalAveragePool", "GlobalMaxPool"]:
        case(operator.lower(), operator, [x])


def reductions():
    x = floats(2, 3, 4, 5)
    for operator in ["ReduceMean", "ReduceMax", "ReduceMin"]:
        case(operator.lower(), operator, [x], axes=[1, -1], keepdims=0)
    case("reducemean_kept", "ReduceMean", [x], axes=[2], keepdims=1)
    case("reducemean_all", "ReduceMean", [x], keepdims=0)
    case("reducemean_18", "ReduceMean", [x], [i64(-2)], opset=18)
    case("reducesum", "ReduceSum", [x], [i64(0, 2)], keepdims=0)
    case("softmax", "Softmax", [x * 5])
    case("softmax_axis", "Softmax", [x], axis=1)
    case("softmax_12", "Softmax", [x], opset=12)
    case("logsoftmax", "LogSoftmax", [x * 20])
    case("layernorm", "LayerNormalization", [x], [floats(5), floats(5)], epsilon=1e-3)
    case("layernorm_two_axes", "LayerNormalization", [x], [floats(4, 5)], axis=2)


def shapes():
    x = floats(2, 3, 4)
    case("reshape", "Reshape", [x], [i64(0, -1, 2)])
    case("flatten", "Flatten", [x])
    case("flatten_2", "Flatten", [x], axis=2)
    case("flatten_end", "Flatten", [x], axis=3)
    case("transpose", "Transpose", [x], perm=[1, 2, 0])
    case("transpose_all", "Transpose", [x])
    case("squeeze", "Squeeze", [floats(2, 1, 3, 1)], [i64(1)])
    case("squeeze_all", "Squeeze", [floats(2, 1, 3, 1)])
    case("unsqueeze", "Unsqueeze", [x], [i64(0, -1)])
    case("expand", "Expand", [floats(3, 1)], [i64(2, 1, 4)])
    case("concat", "Concat", [x, floats(2, 2, 4)], axis=1)
    case("gather", "Gather", [x], [i64(2, 0, -1)], axis=1)
    case("gather_one", "Gather", [x], [np.array(1, np.int64)], axis=1)
    case("gather_table", "Gather", [x], [np.array([[0, 1], [2, 0]], np.int64)], axis=1)
    case("slice", "Slice", [x], [i64(1, -3), i64(3, 2**63 - 1), i64(1, 2)])
    case("slice_steps", "Slice", [x], [i64(-1, 0), i64(-(2**63), 4), i64(1, 2), i64(-1, 2)])
    case("split", "Split", [x], [i64(1, 3)], outputs=2, axis=2)
    case("split_even", "Split", [x], outputs=2, axis=-1)
    case("pad", "Pad", [x], [i64(0, 1, 0, 1, 0, 2), np.array(0.5, np.float32)])
    case("cast_f16", "Cast", [x], to=TensorProto.FLOAT16)
    case("cast_i32", "Cast", [x * 9], to=TensorProto.INT32)
    case("cast_from_u8", "Cast", [random.integers(0, 256, (2, 3)).astype(np.uint8)], to=TensorProto.FLOAT)


def quantized():
    x = floats(2, 3, 5)
    scale, zero = np.array(0.02, np.float32), np.array(-5, np.int8)
    case("quantize", "QuantizeLinear", [x], [scale, zero])
    case("quantize_u8", "QuantizeLinear", [x], [scale])
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 300, -300], np.float32)
    case("quantize_halves", "QuantizeLinear", [halves], [np.array(1, np.float32), np.array(0, np.int8)])
    scales, zeros = np.array([0.01, 0.02, 0.03], np.float32), np.array([0, 3, -3], np.int8)
    case("quantize_axis", "QuantizeLinear", [x], [scales, zeros], axis=1)
    bytes_ = random.integers(-128, 128, (2, 3, 5)).astype(np.int8)
    case("dequantize", "DequantizeLinear", [bytes_], [scale, zero])
    case("dequantize_axis", "DequantizeLinear", [bytes_], [scales, zeros], axis=1)
    case("dequantize_i32", "DequantizeLinear", [random.integers(-(2**20), 2**20, (3,)).astype(np.int32)], [scale])
    case("dynamic", "DynamicQuantizeLinear", [x], outputs=3)
    case("dynamic_positive", "DynamicQuantizeLinear", [np.abs(x)], outputs=3)
    a = random.integers(0, 256, (3, 70)).astype(np.uint8)
    b = random.integers(-128, 128, (70, 4)).astype(np.int8)
    case("matmul_integer", "MatMulInteger", [a], [b, np.array(130, np.uint8), np.array(2, np.int8)])
    kernel, kernel_zero = random.integers(0, 256, (4, 2, 3, 3)).astype(np.uint8), np.array(120, np.uint8)
    picture = random.integers(0, 256, (2, 4, 6, 6)).astype(np.uint8)
    picture_zero = np.array(100, np.uint8)
    where = {"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 2]}
    case("conv_integer", "ConvInteger", [picture], [kernel, picture_zero, kernel_zero], **where)
    f32 = lambda *numbers: np.array(numbers if len(numbers) > 1 else numbers[0], np.float32)
    case("qlinear_matmul", "QLinearMatMul", [a], [f32(0.02), np.array(130, np.uint8), b, f32(0.01, 0.02, 0.015, 0.005),
         np.array([0, 0, 0, 0], np.int8), f32(0.5), np.array(120, np.uint8)])
    signed = random.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)
    constants = [f32(0.02), picture_zero, signed, f32(0.01, 0.02, 0.03, 0.04), np.zeros(4, np.int8), f32(0.6),
                 np.array(110, np.uint8), random.integers(-9000, 9000, 4).astype(np.int32)]
    case("qlinear_conv", "QLinearConv", [picture], constants, **where)


for family in [elementwise, products, pools, reductions, shapes, quantized]:
    family()
save_file(tensors, "operators.safetensors")
print(len([name for name in tensors if name.endswith(".model")]), "cases")
