"""Every TensorFlow operator that real models hold: a function of it imports, and its integers agree
with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.importers.tensorflow import load_tensorflow
from gvm.model import Model

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

Array = NDArray[Any]
raw, nn = tf.raw_ops, tf.nn

ROW, SERIES, IMAGE, VOLUME = (6,), (5, 4), (6, 5, 3), (4, 5, 3, 2)
TOLERANCE = 2e-3
"""Of the largest value: a few units of 16-bit formats."""


def constant(*shape: int, seed: int = 1) -> Any:
    return tf.constant(np.random.default_rng(seed).normal(0, 0.6, shape), tf.float32)


def examples(shape: tuple[int, ...], kind: str, count: int = 7) -> Array:
    rng = np.random.default_rng(2)
    if kind in ("rows", "numbers"):
        return rng.integers(0, 5, (count, *shape)).astype(np.int32)
    drawn = rng.normal(0, 1, (count, *shape))
    if kind == "positive":
        drawn = np.abs(drawn) + 0.3
    if kind == "coarse":  # exact in every format, ties included
        drawn = np.rint(drawn * 2) / 2
    return drawn.astype(np.float32)


Function = Callable[[Any], Any]
Case = tuple[tuple[int, ...], Function] | tuple[tuple[int, ...], Function, str]


def truth(condition: Any) -> Any:
    """Truth values as numbers."""
    return tf.cast(condition, tf.float32)


def batch(x: Any) -> Any:
    return tf.shape(x)[0]


CASES: dict[str, Case] = {
    # Arithmetic
    "Add": (ROW, lambda x: raw.Add(x=x, y=constant(6))),
    "AddV2": (ROW, lambda x: x + tf.tanh(x)),
    "AddN": (ROW, lambda x: tf.add_n([x, x, tf.tanh(x)])),
    "BiasAdd": (IMAGE, lambda x: nn.bias_add(x, constant(3))),
    "Sub": (ROW, lambda x: constant(6) - x),
    "Mul": (ROW, lambda x: x * constant(6) * tf.tanh(x)),
    "RealDiv": (ROW, lambda x: (x / 3.0) / constant(6)),
    "RealDiv tensors": (ROW, lambda x: x / (2.0 + tf.sigmoid(x))),
    "Div": (ROW, lambda x: raw.Div(x=x, y=constant(6))),
    "DivNoNan": (ROW, lambda x: tf.math.divide_no_nan(x, nn.relu(x - 0.5)), "coarse"),
    "DivNoNan constant": (ROW, lambda x: tf.math.divide_no_nan(x, [1.0, 0, 2, 0, -4, 0.5])),
    "Xdivy": (ROW, lambda x: tf.math.xdivy(nn.relu(x), 1.5 + tf.tanh(x))),
    "FloorDiv": (ROW, lambda x: x // constant(6) + (x + 2.0) // 0.75, "coarse"),
    "FloorMod": (ROW, lambda x: x % 0.75, "coarse"),
    "Mod": (ROW, lambda x: raw.Mod(x=x, y=tf.constant(0.75)), "coarse"),
    "TruncateDiv": (ROW, lambda x: raw.TruncateDiv(x=x, y=tf.constant(-0.75)), "coarse"),
    "TruncateMod": (ROW, lambda x: raw.TruncateMod(x=x, y=tf.constant(0.75)), "coarse"),
    "Floor": (ROW, lambda x: tf.floor(x) + tf.floor(3 * x), "coarse"),
    "Ceil": (ROW, lambda x: tf.math.ceil(x), "coarse"),
    "Round": (ROW, lambda x: tf.round(x), "coarse"),
    "Rint": (ROW, lambda x: tf.math.rint(2.5 * x), "coarse"),
    "Neg": (ROW, lambda x: -x),
    "Abs": (ROW, tf.abs),
    "Square": (ROW, tf.square),
    "SquaredDifference": (ROW, lambda x: tf.math.squared_difference(x, tf.tanh(x))),
    "Maximum": (ROW, lambda x: tf.maximum(tf.maximum(x, constant(6)), -x)),
    "Minimum": (ROW, lambda x: tf.minimum(tf.minimum(x, constant(6)), -x)),
    "ClipByValue": (ROW, lambda x: raw.ClipByValue(t=x, clip_value_min=-0.5, clip_value_max=0.7)),
    "Pow": (ROW, lambda x: x**2 + x**3 + x**4),
    "Pow root": (ROW, lambda x: x**0.5 + x**-1.0 + x**-2.0, "positive"),
    "Pow constant": (ROW, lambda x: x**1.7, "positive"),
    "Pow each": (ROW, lambda x: x ** tf.constant([2.0, 1, 0, 3, 1.5, -0.5]), "positive"),
    "Pow base": (ROW, lambda x: 2.0**x),
    "Pow tensors": (ROW, lambda x: (0.5 + x) ** tf.tanh(x), "positive"),
    "Sign": (ROW, tf.sign, "coarse"),
    "Reciprocal": (ROW, tf.math.reciprocal, "positive"),
    # Functions
    "Exp": (ROW, tf.exp),
    "Expm1": (ROW, tf.math.expm1),
    "Log": (ROW, tf.math.log, "positive"),
    "Log1p": (ROW, tf.math.log1p, "positive"),
    "Sqrt": (ROW, tf.sqrt, "positive"),
    "Rsqrt": (ROW, tf.math.rsqrt, "positive"),
    "Tanh": (ROW, tf.tanh),
    "Sigmoid": (ROW, tf.sigmoid),
    "Erf": (ROW, tf.math.erf),
    "Erfc": (ROW, tf.math.erfc),
    "Sin": (ROW, tf.sin),
    "Cos": (ROW, tf.cos),
    "Softplus": (ROW, nn.softplus),
    "Softsign": (ROW, nn.softsign),
    "Relu": (ROW, nn.relu),
    "Relu6": (ROW, lambda x: nn.relu6(4 * x)),
    "LeakyRelu": (ROW, lambda x: nn.leaky_relu(x, 0.3)),
    "Elu": (ROW, nn.elu),
    "Selu": (ROW, nn.selu),
    "Softmax": (ROW, nn.softmax),
    "LogSoftmax": (ROW, nn.log_softmax),
    "silu": (ROW, nn.silu),
    "gelu": (ROW, nn.gelu),
    "gelu approximate": (ROW, lambda x: nn.gelu(x, approximate=True)),
    **{
        f"keras {name}": (ROW, (lambda n: lambda x: keras.activations.get(n)(x))(name))
        for name in (
            "relu", "leaky_relu", "relu6", "softmax", "celu", "elu", "selu", "softplus", "softsign",
            "squareplus", "soft_shrink", "sparse_plus", "silu", "gelu", "tanh", "tanh_shrink",
            "sigmoid", "exponential", "hard_sigmoid", "hard_silu", "hard_tanh",
            "hard_shrink", "linear", "mish", "log_softmax", "log_sigmoid", "sparse_sigmoid", "glu",
        )
    },
    "keras threshold": (ROW, lambda x: keras.activations.threshold(x, 0.3, -0.2)),
    # Products
    "MatMul": (ROW, lambda x: x @ constant(6, 4)),
    "MatMul turned": (ROW, lambda x: tf.matmul(x, constant(4, 6), transpose_b=True)),
    "BatchMatMulV2": (SERIES, lambda x: tf.matmul(x, x, transpose_b=True)),
    "Einsum": (SERIES, lambda x: tf.einsum("bij,bkj->bik", x, tf.tanh(x))),
    # Comparisons
    "Less": (ROW, lambda x: truth(x < 0.5), "coarse"),
    "LessEqual": (ROW, lambda x: truth(x <= 0.5), "coarse"),
    "Greater": (ROW, lambda x: truth(x > tf.abs(x) - 0.5), "coarse"),
    "GreaterEqual": (ROW, lambda x: truth(x >= 0.5), "coarse"),
    "Equal": (ROW, lambda x: truth(tf.equal(x, 0.5)), "coarse"),
    "NotEqual": (ROW, lambda x: truth(tf.not_equal(x, 0.5)), "coarse"),
    "LogicalAnd": (ROW, lambda x: truth(tf.logical_and(x < 0.5, x > -1)), "coarse"),
    "LogicalOr": (ROW, lambda x: truth(tf.logical_or(x < -0.5, x > 1)), "coarse"),
    "LogicalNot": (ROW, lambda x: truth(tf.logical_not(x < -0.5)), "coarse"),
    "LogicalAnd constant": (
        ROW, lambda x: truth(tf.logical_and(x < 0.5, [True, False, True, True, False, True])),
        "coarse",
    ),
    "All": (SERIES, lambda x: truth(tf.reduce_all(x < 1, axis=-1)), "coarse"),
    "Any": (SERIES, lambda x: truth(tf.reduce_any(x < -1, axis=[1, 2], keepdims=True)), "coarse"),
    "SelectV2": (ROW, lambda x: tf.where(x > 0.5, x, tf.tanh(x)), "coarse"),
    "SelectV2 constant": (
        ROW, lambda x: tf.where([True, False, True, True, False, False], x, constant(6))),
    "Select": (
        ROW, lambda x: raw.Select(condition=x > 0.5, x=x, y=tf.tanh(x)), "coarse"),
    "IsNan": (ROW, lambda x: tf.where(tf.math.is_nan(x), 0.0, x)),
    # Reductions
    "Sum": (IMAGE, lambda x: tf.reduce_sum(x, [1, 3])),
    "Mean": (IMAGE, lambda x: tf.reduce_mean(x, [1, 2], keepdims=True)),
    "Max": (IMAGE, lambda x: tf.reduce_max(x, -1)),
    "Min": (IMAGE, lambda x: tf.reduce_min(x, 2)),
    "Prod": (SERIES, lambda x: tf.reduce_prod(x, 1)),
    "Prod kept": (SERIES, lambda x: tf.reduce_prod(tf.tanh(x), -1, keepdims=True)),
    "ArgMax": (ROW, lambda x: tf.argmax(x, -1)),
    "ArgMin": (IMAGE, lambda x: tf.argmin(x, 2, tf.int32)),
    "EuclideanNorm": (SERIES, lambda x: raw.EuclideanNorm(input=x, axis=[2])),
    "L2Loss": (SERIES, lambda x: tf.math.l2_normalize(x, -1)),
    "variance": (SERIES, lambda x: tf.math.reduce_variance(x, -1)),
    "logsumexp": (SERIES, lambda x: tf.reduce_logsumexp(x, -1)),
    # Shapes
    "Identity": (ROW, lambda x: tf.identity(x) + 1),
    "IdentityN": (ROW, lambda x: tf.add(*tf.identity_n([x, tf.tanh(x)]))),
    "StopGradient": (ROW, lambda x: tf.stop_gradient(x) * x),
    "PlaceholderWithDefault": (
        ROW, lambda x: x * tf.compat.v1.placeholder_with_default(tf.constant(0.5), [])),
    "Cast": (ROW, lambda x: tf.cast(tf.cast(x, tf.float64) * 2, tf.float32)),
    "Cast to truth": (ROW, lambda x: truth(tf.cast(x, tf.bool)), "coarse"),
    "Cast truth to integers": (
        ROW, lambda x: tf.reduce_sum(tf.cast(x > 0, tf.int32), -1), "coarse"),
    "Cast rows": (ROW, lambda x: tf.cast(x, tf.float32) * 0.5, "numbers"),
    "Reshape": (IMAGE, lambda x: tf.reshape(x, [-1, 15, 6])),
    "Reshape merged": (
        SERIES,
        lambda x: tf.reshape(tf.reshape(x, [-1, 4]) @ constant(4, 3), [batch(x), 5, 3])),
    "Squeeze": ((1, 6, 1), tf.squeeze),
    "ExpandDims": (ROW, lambda x: tf.expand_dims(x, -2)),
    "Transpose": (IMAGE, lambda x: tf.transpose(x, [0, 3, 1, 2])),
    "ConcatV2": (IMAGE, lambda x: tf.concat([x, tf.tanh(x)], 2)),
    "ConcatV2 constant": (
        SERIES, lambda x: tf.concat([x, tf.tile(constant(1, 1, 4), [batch(x), 2, 1])], 1)),
    "Pack": (ROW, lambda x: tf.stack([x, tf.tanh(x), x], 1)),
    "Unpack": (SERIES, lambda x: tf.add(*tf.unstack(x, axis=1)[1:3])),
    "Split": (ROW, lambda x: tf.add(*tf.split(x, 2, axis=-1))),
    "SplitV": (ROW, lambda x: tf.split(x, [2, -1, 1], axis=-1)[1]),
    "Slice": (IMAGE, lambda x: tf.slice(x, [0, 1, 0, 1], [-1, 4, -1, 2])),
    "StridedSlice": (IMAGE, lambda x: x[:, 1:-1:2, ..., 0]),
    "StridedSlice new axis": (IMAGE, lambda x: x[:, tf.newaxis, :, 2, 1:]),
    "StridedSlice reversed": (IMAGE, lambda x: x[:, ::-1, 3:0:-2]),
    "StridedSlice shrunk": (SERIES, lambda x: x[..., -1]),
    "BroadcastTo": (ROW, lambda x: tf.broadcast_to(x[:, None], [batch(x), 3, 6])),
    "Tile": (SERIES, lambda x: tf.tile(x, [1, 2, 3])),
    "Tile computed": (ROW, lambda x: tf.tile(x, [1, tf.shape(x)[1] // 3])),
    "Fill": (ROW, lambda x: x + tf.fill(tf.shape(x), 0.5)),
    "Fill part": (SERIES, lambda x: tf.concat([x, tf.fill([batch(x), 2, 4], 0.25)], 1)),
    "ZerosLike": (ROW, lambda x: tf.concat([x, tf.zeros_like(x)], -1)),
    "OnesLike": (ROW, lambda x: tf.concat([raw.OnesLike(x=x), x], -1)),
    "Shape": (IMAGE, lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:2], [-1]], 0))),
    "Shape arithmetic": (
        SERIES,
        lambda x: tf.reshape(x, [batch(x), tf.reduce_prod(tf.shape(x)[1:]) + tf.rank(x) - 3])),
    "Size": (SERIES, lambda x: x / tf.cast(tf.size(x) // batch(x), tf.float32)),
    "Range": (SERIES, lambda x: x * tf.cast(tf.range(tf.shape(x)[2]), tf.float32)),
    "Pad": (IMAGE, lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [2, 0]])),
    "PadV2": (SERIES, lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=1.5)),
    "MirrorPad": (IMAGE, lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 0]], "REFLECT")),
    "MirrorPad symmetric": (SERIES, lambda x: tf.pad(x, [[0, 0], [2, 0], [1, 4]], "SYMMETRIC")),
    "ReverseV2": (IMAGE, lambda x: tf.reverse(x, [1, -1])),
    "Roll": (IMAGE, lambda x: tf.roll(x, [2, -1], [1, 2])),
    "SpaceToBatchND": (
        (8, 3), lambda x: keras.ops.conv(x, constant(2, 3, 4), dilation_rate=2, padding="valid")),
    "SpaceToDepth": ((4, 6, 3), lambda x: nn.space_to_depth(x, 2)),
    "DepthToSpace": ((2, 3, 8), lambda x: nn.depth_to_space(x, 2)),
    "GatherV2": (SERIES, lambda x: tf.gather(x, [3, 0, 0, 4], axis=1)),
    "GatherV2 shaped": (SERIES, lambda x: tf.gather(x, [[3, -0], [2, 1]], axis=2)),
    "GatherV2 one": (SERIES, lambda x: tf.gather(x, 3, axis=1)),
    "GatherV2 rows": (ROW, lambda x: tf.gather(constant(5, 3), x), "rows"),
    "GatherNd rows": (ROW, lambda x: tf.gather_nd(constant(5, 3), x[..., None]), "rows"),
    "GatherNd": (
        SERIES, lambda x: tf.transpose(tf.gather_nd(
            tf.transpose(x, [1, 2, 0]), [[0, 1], [4, 3], [2, 2]]))),
    "OneHot": (ROW, lambda x: tf.one_hot(x, 5), "rows"),
    "OneHot values": (ROW, lambda x: tf.one_hot(x, 6, 2.0, -1.0, axis=1), "rows"),
    "OneHot of ArgMax": (SERIES, lambda x: tf.one_hot(tf.argmax(x, -1), 4)),
    "Cumsum": (SERIES, lambda x: tf.cumsum(x, 1)),
    "Cumsum exclusive": (SERIES, lambda x: tf.cumsum(x, 2, exclusive=True, reverse=True)),
    "MatrixBandPart": ((4, 4), lambda x: tf.linalg.band_part(x, 1, -1)),
    "Assert": (ROW, lambda x: asserted(x)),
    "If": (ROW, lambda x: tf.cond(tf.shape(x)[1] > 3, lambda: x * 2, lambda: -x)),
    # Windows
    "Conv2D": (IMAGE, lambda x: nn.conv2d(x, constant(2, 3, 3, 4), [1, 2], "SAME")),
    "Conv2D NCHW": (
        IMAGE, lambda x: raw.Conv2D(
            input=x, filter=constant(2, 3, 6, 4), strides=[1, 1, 1, 1], padding="VALID",
            data_format="NCHW")),
    "DepthwiseConv2dNative": (
        IMAGE, lambda x: nn.depthwise_conv2d(x, constant(2, 2, 3, 2), [1, 1, 1, 1], "SAME")),
    "MaxPool": (IMAGE, lambda x: nn.max_pool2d(x, [2, 3], [1, 2], "SAME")),
    "AvgPool": (IMAGE, lambda x: nn.avg_pool2d(x, [2, 3], [1, 2], "SAME")),
    "FusedBatchNormV3": (IMAGE, lambda x: fused(x, "FusedBatchNormV3")),
    "FusedBatchNormV2": (IMAGE, lambda x: fused(x, "FusedBatchNormV2")),
    "FusedBatchNorm": (IMAGE, lambda x: fused(x, "FusedBatchNorm")),
    "FusedBatchNormV3 NCHW": (
        IMAGE, lambda x: fused(x, "FusedBatchNormV3", data_format="NCHW")),
    "Conv3D": (VOLUME, lambda x: nn.conv3d(x, constant(2, 2, 2, 2, 3), [1, 1, 2, 1, 1], "SAME")),
    "MaxPool3D": (VOLUME, lambda x: nn.max_pool3d(x, 2, 1, "VALID")),
    "AvgPool3D": (VOLUME, lambda x: nn.avg_pool3d(x, 2, 2, "SAME")),
    "Conv2DBackpropInput": (
        IMAGE,
        lambda x: nn.conv2d_transpose(x, constant(3, 3, 2, 3), [batch(x), 12, 10, 2], 2, "SAME")),
    "ResizeBilinear": (IMAGE, lambda x: tf.image.resize(x, [9, 10])),
    "ResizeNearestNeighbor": (IMAGE, lambda x: tf.image.resize(x, [12, 10], "nearest")),
    "While": (ROW, lambda x: tf.while_loop(
        lambda i, v: i < 3, lambda i, v: (i + 1, tf.tanh(v) + x), [0, x])[1]),
    "TensorList": (SERIES, lambda x: scanned(x)),
    "StatefulPartitionedCall": (ROW, lambda x: called(x)),
    "LRN": ((5, 4, 9), lambda x: nn.local_response_normalization(x, 2, 1.5, 0.3, 0.75)),
}  # fmt: skip


@tf.function
def called(x: Any) -> Any:
    return tf.raw_ops.Relu(features=x) - 1


def asserted(x: Any) -> Any:
    check = raw.Assert(condition=tf.reduce_all(x < 100.0), data=[x])
    with tf.control_dependencies([tf.group(check, tf.no_op())]):
        return tf.debugging.check_numerics(x, "finite") + 1


def scanned(x: Any) -> Any:
    """Running maxima, by a loop over lists of tensors."""
    steps = tf.transpose(x, [1, 0, 2])
    return tf.transpose(tf.scan(lambda a, v: tf.maximum(a, v), steps), [1, 0, 2])


def fused(x: Any, kind: str, **options: Any) -> Any:
    size = x.shape[1 if options.get("data_format") == "NCHW" else -1]
    statistics = {
        "scale": constant(size), "offset": constant(size, seed=3), "mean": constant(size, seed=4),
        "variance": tf.abs(constant(size, seed=5)) + 0.3,
    }  # fmt: skip
    return getattr(raw, kind)(x=x, **statistics, epsilon=0.01, is_training=False, **options)[0]


def groups() -> dict[str, list[str]]:
    """Names of the cases that read the same examples."""
    found: dict[str, list[str]] = {}
    for name, (shape, _, *kind) in CASES.items():
        found.setdefault(" ".join(map(str, (*shape, *kind))), []).append(name)
    return found


def traced(names: list[str]) -> tuple[Any, Any, Array]:
    """One function of all of them, as it is and with its graph, and its examples."""
    shape, _, *kind = CASES[names[0]]
    x = examples(shape, *kind or ["normal"])
    signature = tf.TensorSpec((None, *shape), tf.as_dtype(x.dtype))
    every = {f"{i:03}": CASES[name][1] for i, name in enumerate(names)}
    made = tf.function(
        lambda x: {key: tf.identity(make(x)) for key, make in every.items()},
        input_signature=[signature],
        autograph=False,
    )
    return made, made.get_concrete_function(), x


@pytest.mark.parametrize("group", groups())
def test_operators_of(group: str) -> None:
    names = groups()[group]
    made, function, x = traced(names)
    expected = function(tf.constant(x))
    model = Model.from_graph(load_tensorflow(made), x, progress=False)
    results = model.run(x)
    wrong = []
    for name, key, result in zip(
        names, sorted(expected), results if len(names) > 1 else [results], strict=True
    ):
        wanted = np.asarray(expected[key])
        assert result.shape == wanted.shape, name
        exact = wanted.dtype.kind in "bi"
        off = float(np.max(np.abs(result.astype(np.float64) - wanted)))
        if off > (0.0 if exact else TOLERANCE * float(np.max(np.abs(wanted)))):
            wrong.append((name, off))
    assert wrong == []


LISTED = """
    Const Identity NoOp Placeholder BiasAdd Mul AddV2 MatMul Reshape Conv2D Squeeze Rsqrt
    Softmax Sub Relu Mean DepthwiseConv2dNative Sigmoid Pad Transpose StridedSlice MaxPool Tanh
    Max IdentityN RealDiv AvgPool Less LogicalAnd ConcatV2 Neg Split TensorListFromTensor
    TensorListGetItem TensorListReserve TensorListStack TensorListSetItem Range While ExpandDims
    Sqrt Relu6 StopGradient SquaredDifference Erfc Pack Maximum FusedBatchNormV3 SelectV2 Tile
    Cast GatherV2 SpaceToBatchND BatchToSpaceND Square Sum StatefulPartitionedCall MirrorPad
    BatchMatMulV2 Shape Fill Einsum MatrixBandPart ReverseV2 Softplus Log Equal All Assert
    Unpack NotEqual Elu Selu Softsign Exp LogSoftmax Minimum Conv3D MaxPool3D LeakyRelu
    Conv2DBackpropInput ResizeBilinear Pow Min DivNoNan Add PlaceholderWithDefault
"""
"""Operators of 32 real graphs, the most frequent first."""


def test_every_listed_operator_is_in_a_case() -> None:
    seen: set[str] = set()
    for names in groups().values():
        definition = traced(names)[1].graph.as_graph_def()
        bodies = [f.node_def for f in definition.library.function]
        seen |= {node.op for nodes in (definition.node, *bodies) for node in nodes}
    kin = {"While": "StatelessWhile", "StatefulPartitionedCall": "PartitionedCall"}
    assert [name for name in LISTED.split() if not {name, kin.get(name, name)} & seen] == []
