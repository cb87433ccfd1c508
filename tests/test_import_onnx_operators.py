"""gvm.importers.onnx: operators one by one, compared with ONNX's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm
from gvm.importers.onnx import load_onnx

onnx = pytest.importorskip("onnx")

from onnx.reference import ReferenceEvaluator  # noqa: E402

from tests.onnx_models import (  # noqa: E402
    ROWS,
    SERIES,
    check,
    inputs_of,
    integers,
    model,
    names,
    operators,
    outputs_of,
    random,
)

# Windows


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "strides = [2, 3], pads = [1, 0, 2, 1]",
        "dilations = [2, 1]",
        'auto_pad = "SAME_UPPER", strides = [2, 2]',
        'auto_pad = "SAME_LOWER", strides = [2, 2]',
        'auto_pad = "VALID"',
        "kernel_shape = [3, 2]",
    ],
)
def test_convolution(attributes: str) -> None:
    graph = check(
        model(f"y = Conv <{attributes}> (x, w, b)", w=random(5, 4, 3, 2), b=random(5))
        if attributes
        else model("y = Conv (x, w, b)", w=random(5, 4, 3, 2), b=random(5))
    )
    assert operators(graph) == ["transpose", "conv2d", "bias_add", "transpose"]
    assert names(graph) == {"w", "b"} and all(p.trainable for p in graph.parameters)


def test_grouped_and_one_dimensional_convolution() -> None:
    check(model("y = Conv <group = 2> (x, w)", w=random(6, 2, 3, 3)))
    check(model("y = Conv <group = 4> (x, w)", w=random(8, 1, 3, 3)))
    check(
        model(
            "y = Conv <pads = [1, 2], strides = [2]> (x, w, b)",
            SERIES,
            w=random(3, 5, 3),
            b=random(3),
        )
    )


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape = [3, 2]",
        "kernel_shape = [2, 2], strides = [2, 2], pads = [1, 0, 0, 1]",
        "kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1",
        "kernel_shape = [2, 3], strides = [3, 2], pads = [1, 1, 1, 1], ceil_mode = 1",
        'kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER"',
    ],
)
def test_pooling(kind: str, attributes: str) -> None:
    check(model(f"y = {kind} <{attributes}> (x)"))


def test_more_pooling() -> None:
    check(
        model(
            "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad=1>(x)"
        )
    )
    check(model("y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)"))
    check(model("y = MaxPool <kernel_shape = [2], strides = [2]> (x)", SERIES))
    check(model("y = GlobalAveragePool (x)"))
    check(model("y = GlobalMaxPool (x)"))


def test_layout_stays_inside_of_a_network() -> None:
    body = """
      a = Conv <pads = [1, 1, 1, 1]> (x, w1)
      n = BatchNormalization (a, gamma, beta, mean, variance)
      r = Relu (n)
      c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)
      s = Add (r, c)
      m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (s)
      g = GlobalAveragePool (m)
      t = Sigmoid (g)
      u = Mul (m, t)
      k = Concat <axis = 1> (u, m)
      p = Pad <mode = "constant"> (k, pads)
      f = Flatten (p)
      y = Gemm <transB = 1> (f, w3, b3)
    """
    graph = check(
        model(
            body,
            w1=random(6, 4, 3, 3),
            gamma=random(6),
            beta=random(6, seed=2),
            mean=random(6, seed=3),
            variance=random(6) ** 2 + 0.5,
            w2=random(6, 6, 3, 3, seed=4),
            b2=random(6),
            pads=integers(0, 0, 1, 0, 0, 0, 0, 1),
            w3=random(3, 12 * 5 * 5),
            b3=random(3),
        )
    )
    assert operators(graph).count("transpose") == 2
    assert operators(graph)[:4] == ["transpose", "conv2d", "bias_add", "relu"]
    assert {p.name for p in graph.parameters if p.trainable} >= {"w1", "beta", "w2", "b2", "w3"}


# Arithmetic and activations

ACTIVATIONS = (
    *("Relu", "Sigmoid", "Tanh", "Exp", "Erf", "Softplus", "Neg", "Abs", "Softsign", "Sin", "Cos"),
    *("Identity", "LeakyRelu", "Elu", "Selu", "HardSigmoid", "HardSwish", "Celu", "Gelu", "Mish"),
    *("Elu <alpha = 0.5>", "LeakyRelu <alpha = 0.2>", 'Gelu <approximate = "tanh">'),
    *("Celu <alpha = 2.0>", "HardSigmoid <alpha = 0.3, beta = 0.4>", "Dropout"),
)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(kind: str) -> None:
    check(model(f"y = {kind} (x)", ROWS))


def test_functions_of_what_is_positive() -> None:
    body = "p = Softplus (x) q = Add (p, half) a = Log (q) b = Sqrt (q) c = Reciprocal (q)"
    graph = check(model(body, ROWS, outputs=("a", "b", "c"), half=np.float32(0.5)), tolerance=1e-4)
    assert operators(graph).count("unary") == 4


def test_arithmetic() -> None:
    body = """
      a = Add (x, c)  b = Sub (c, x)  d = Mul (x, c)  e = Div (x, c)  f = Div (x, two)
      p = Softplus (x) q = Add (p, two)
      g = Div (x, q)  h = Pow (q, half)  i = Pow (x, two)  j = Pow (x, three)
      k = Max (x, q, c)  l = Min (x, c)  m = Sum (x, q, c)  n = Mean (x, q)
      o = Clip (x, low, high)  r = Clip (x, low)  s = Clip (x, , high)
      z = Sigmoid (x)  t = Mul (x, z)  u = Sub (x, c) v = PRelu (x, c) w = Sub (x, q)
      y = Cast <to = 11> (x)
    """
    made = model(
        body,
        ROWS,
        outputs=tuple("abdefghijklmnorstuvwy"),
        c=random(6) + 2,
        two=np.float32(2),
        half=np.float32(0.5),
        three=np.float32(3),
        low=np.float32(-0.5),
        high=np.float32(0.75),
    )
    graph = check(made, tolerance=1e-4)
    from gvm.functions import BY_NAME

    tables = [n.attributes["function"] for n in graph.nodes if n.op == "unary"]
    assert BY_NAME["silu"].number in tables


def test_broadcasting() -> None:
    body = """
      a = Add (x, c)  b = Mul (a, s)  d = ReduceMax <keepdims = 1> (b, axes)  y = Sub (b, d)
    """
    check(model(body, c=random(4, 1, 1), s=random(9), axes=integers(1, 2)))


def test_softmax() -> None:
    for opset in (11, 13):
        for axis in (1, 2, 3, -1):
            attributes = f"<axis = {axis}>"
            source = model(f"y = Softmax {attributes} (x)", opset=opset)
            if opset == 11:
                x = inputs_of(load_onnx(source))[0]
                at = axis % 4
                flat = x.reshape(*x.shape[:at], -1).astype(np.float64)
                e = np.exp(flat - flat.max(-1, keepdims=True))
                expected = [(e / e.sum(-1, keepdims=True)).reshape(x.shape)]
                # Old operator sets flatten before the axis too: rows are apart either way.
                check(source, expected=expected if at == 1 else _flat_softmax(x, at))
            else:
                check(source)
    check(model("y = LogSoftmax <axis = 1> (x)", ROWS), tolerance=1e-4)


def _flat_softmax(x: NDArray[Any], axis: int) -> list[NDArray[Any]]:
    rows = x.reshape(int(np.prod(x.shape[:axis])), -1).astype(np.float64)
    e = np.exp(rows - rows.max(1, keepdims=True))
    return [(e / e.sum(1, keepdims=True)).reshape(x.shape)]


@pytest.mark.parametrize("keep", [0, 1])
def test_logarithms_of_sums_of_exponentials_hold_any_numbers(keep: int) -> None:
    """exp(60) has no format; the largest number is taken out of the sum."""
    body = f"e = Exp (x) s = ReduceSum <keepdims = {keep}> (e, axes) y = Log (s)"
    source = model(body, ROWS, axes=integers(1))
    assert "reduce_max" in operators(check(source))
    x = random(16, 6) * 60
    made = gvm.from_onnx(source, calibration=x, progress=False).run(x)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": x.astype(np.float64)})
    assert np.abs(made - expected).max() < 2**-7  # two units of 120 in 16 bits


# Products


@pytest.mark.parametrize("attributes", ["", "<transB = 1>", "<alpha = 0.5, beta = 2.0>"])
def test_gemm(attributes: str) -> None:
    w = random(3, 6) if "transB" in attributes else random(6, 3)
    graph = check(model(f"y = Gemm {attributes} (x, w, b)", ROWS, w=w, b=random(3)))
    assert operators(graph) == ["matmul", "bias_add"] and names(graph) == {"w", "b"}
    check(model(f"y = Gemm {attributes} (x, w)", ROWS, w=w))
    check(model(f"y = Gemm {attributes} (x, w, b)", ROWS, w=w, b=random(1, 3)))


def test_products() -> None:
    body = """
      a = MatMul (x, w)  b = MatMul (v, x)  t = Transpose <perm = [0, 2, 1]> (x)
      c = MatMul (x, t)  d = MatMul (x, u)  e = MatMul (x, k)
    """
    check(
        model(
            body,
            SERIES,
            outputs=tuple("abcde"),
            w=random(6, 4),
            v=random(3, 5),
            u=random(6),
            k=random(1, 6, 2),
        )
    )


# Normalisations


def test_normalisations() -> None:
    channels = {"s": random(4) + 1, "b": random(4, seed=5)}
    check(model("y = InstanceNormalization (x, s, b)", **channels), tolerance=1e-4)
    check(model("y = GroupNormalization <num_groups = 2> (x, s, b)", **channels), tolerance=1e-4)
    check(
        model("y = LayerNormalization (x, s, b)", SERIES, s=random(6) + 1, b=random(6)),
        tolerance=1e-4,
    )
    check(model("y = LayerNormalization <axis = 1> (x, s)", SERIES, s=random(5, 6)), tolerance=1e-4)
    # ONNX's reference normalises as many channels as there are examples.
    check(model("y = LRN <size = 3, alpha = 0.5> (x)"), tolerance=1e-4, batch=4)
    check(
        model("y = LRN <size = 4, alpha = 0.5, beta = 0.5, bias = 2.0> (x)"),
        tolerance=1e-4,
        batch=4,
    )
    rows = {n: random(6, seed=i) for i, n in enumerate(("g", "b", "m"))}
    check(model("y = BatchNormalization (x, g, b, m, v)", ROWS, v=random(6) ** 2 + 1, **rows))


# Reductions


@pytest.mark.parametrize(
    "kind", ["Sum", "Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp"]
)
def test_reductions(kind: str) -> None:
    check(model(f"y = Reduce{kind} <keepdims = 0> (x, axes)", axes=integers(-1, 1)), tolerance=1e-4)
    check(model(f"y = Reduce{kind} (x, axes)", axes=integers(2)), tolerance=1e-4)
    old = model(f"y = Reduce{kind} <axes = [2, 3]> (x)", opset=11)
    new = model(f"y = Reduce{kind} (x, axes)", axes=integers(2, 3))
    check(old, like=new, tolerance=1e-4)


# Shapes of values


def test_shapes_of_values() -> None:
    body = """
      a = Reshape (x, s1)  b = Flatten <axis = 1> (x)  c = Transpose <perm = [0, 2, 3, 1]> (x)
      d = Unsqueeze (x, s2)  e = Squeeze (d, s2)  f = Flatten <axis = 2> (x)  h = Add (f, f)
      g = Reshape (h, s3)
    """
    made = model(
        body,
        outputs=tuple("abcdeg"),
        s1=integers(0, 2, -1),
        s2=integers(1),
        s3=integers(-1, 4, 72),
    )
    check(made)


def test_parts() -> None:
    body = """
      a, b = Split <axis = 1, num_outputs = 2> (x)  c, d, e = Split <axis = -1> (x, sizes)
      f = Slice (x, starts, ends, axes, steps)  g = Slice (x, starts, ends)
      h = Gather <axis = 1> (x, two)  i = Gather <axis = 2> (x, some)
      j = Gather <axis = 3> (x, grid)
      k = Concat <axis = 1> (x, a)  l = Slice (x, from, to, last, back)
    """
    check(
        model(
            body,
            outputs=tuple("abcdefghijkl"),
            sizes=integers(2, 3, 4),
            starts=integers(0, 1),
            ends=integers(2**62, -1),
            axes=integers(0, 2),
            steps=integers(1, 2),
            two=np.int64(2),
            some=integers(0, 2, 4, 3, 3, -1),
            grid=np.asarray([[0, 1], [5, 2]]),
            **{"from": integers(-1), "to": integers(-(2**62)), "last": integers(3)},
            back=integers(-2),
        )
    )


def test_borders_and_repetitions() -> None:
    body = """
      a = Pad (x, pads)  b = Pad (x, pads, value)  c = Pad <mode = "reflect"> (x, pads)
      d = Pad <mode = "edge"> (x, pads)  e = Tile (x, times)
      g = Resize <mode = "nearest"> (x, , scales)
      h = DepthToSpace <blocksize = 2> (x)  i = DepthToSpace <blocksize = 2, mode = "CRD"> (x)
      j = Slice (x, zero, eight, three)  k = SpaceToDepth <blocksize = 2> (j)
      m = ReduceMean (x, three)  n = Expand (m, wide)
    """
    check(
        model(
            body,
            outputs=tuple("abcdeghikn"),
            pads=integers(0, 1, 2, 0, 0, 0, 1, 3),
            value=np.float32(1.5),
            times=integers(1, 2, 1, 3),
            scales=np.asarray([1, 1, 2, 3], np.float32),
            zero=integers(0),
            eight=integers(8),
            three=integers(3),
            wide=integers(4, 1, 5),
        )
    )


def test_resizing() -> None:
    wide = {"sizes": integers(16, 27), "scales": np.asarray([1, 1, 2, 3], np.float32)}
    check(model('y = Resize <mode = "nearest", axes = [2, 3]> (x, , , sizes)', **wide))
    way = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    check(model(f'y = Resize <mode = "nearest", {way}> (x, , scales)', **wide))
    check(model("y = Upsample (x, scales)", opset=9, **wide))


def test_negative_borders_crop() -> None:
    graph = load_onnx(model("y = Pad (x, crop)", crop=integers(0, 0, -1, 2, 0, 0, 0, -3)))
    (x,) = inputs_of(graph)
    expected = np.pad(x[:, :, 1:, :-3], ((0, 0), (0, 0), (0, 0), (2, 0)))
    assert np.array_equal(outputs_of(graph, [x])[0], expected)


def test_constants_join_every_example() -> None:
    body = "y = Concat <axis = 1> (token, x)"
    graph = load_onnx(model(body, SERIES, token=random(1, 1, 6)))
    (x,) = inputs_of(graph)
    wide = np.broadcast_to(random(1, 1, 6), (3, 1, 6))
    np.testing.assert_allclose(outputs_of(graph, [x])[0], np.concatenate([wide, x], 1))


def test_shape_arithmetic() -> None:
    body = """
      shape = Shape (x)  n = Gather (shape, zero)  first = Unsqueeze (n, axis)
      tail = Constant <value = int64[2] {-1, 2}> ()  target = Concat <axis = 0> (first, tail)
      a = Reshape (x, target)
      inner = Slice (shape, one, far)  size = ReduceProd (inner)
      flat = Concat <axis = 0> (first, size)  b = Reshape (x, flat)
      cast = Cast <to = 7> (inner)  whole = Concat <axis = 0> (first, cast)  c = Reshape (b, whole)
      sizes = ConstantOfShape <value = int64[1] {2}> (two)
      d = Reshape (x, again)
    """
    made = model(
        body,
        SERIES,
        outputs=tuple("abcd"),
        zero=np.int64(0),
        axis=integers(0),
        one=integers(1),
        far=integers(99),
        two=integers(1),
        again=integers(-1, 30),
    )
    check(made)


def test_batch_merged_with_heads() -> None:
    """Attention as PyTorch writes it: the steps come first, heads are merged with the batch."""
    body = """
      s = Shape (x)  n = Gather (s, zero)  rows = Mul (n, two)  r = Unsqueeze (rows, axis)
      first = Unsqueeze (n, axis)
      t = Transpose <perm = [1, 0, 2]> (x)
      target = Concat <axis = 0> (five, r, three)
      h = Reshape (t, target)
      q = Transpose <perm = [1, 0, 2]> (h)
      k = Transpose <perm = [1, 2, 0]> (h)
      p = MatMul (q, k)
      a = Softmax <axis = -1> (p)
      v = MatMul (a, q)
      o = Transpose <perm = [1, 0, 2]> (v)
      back = Concat <axis = 0> (five, first, six)
      m = Reshape (o, back)
      w = ReduceMean (m, over)
      y = Transpose <perm = [1, 0, 2]> (m)
    """
    graph = check(
        model(
            body,
            SERIES,
            outputs=("y", "w"),
            zero=np.int64(0),
            two=np.int64(2),
            axis=integers(0),
            five=integers(5),
            three=integers(3),
            six=integers(6),
            over=integers(0, 2),
        )
    )
    assert operators(graph).count("softmax") == 1
