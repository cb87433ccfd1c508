"""gvm.importers: convolutions and pooling over one to three axes, held to the frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator

import gvm
from gvm.errors import ImportModelError
from gvm.graph import evaluate_real
from gvm.importers.lowering import same_padding
from gvm.importers.onnx import load_onnx
from gvm.importers.onnx_static import load_static
from tests.onnx_models import check, inputs_of, model, names, operators, outputs_of, random

VOLUMES = "float[N,4,5,6,7] x"
IMAGES = "float[N,4,8,9] x"
SERIES = "float[N,4,9] x"
INPUTS = {1: SERIES, 2: IMAGES, 3: VOLUMES}


def cut(rank: int, **lists: tuple[int, ...]) -> str:
    """Attributes as text, the last ``rank`` entries of each list; of pads those of both sides."""

    def last(name: str, values: tuple[int, ...]) -> list[int]:
        if name != "pads":
            return list(values[-rank:])
        return [*values[3 - rank : 3], *values[6 - rank : 6]]

    return ", ".join(f"{name} = {last(name, values)}" for name, values in lists.items())


CONVOLUTIONS: list[dict[str, tuple[int, ...]]] = [
    {},
    {"pads": (1, 2, 1, 0, 1, 2)},
    {"strides": (2, 3, 2), "pads": (1, 1, 0, 2, 0, 1)},
    {"dilations": (2, 1, 3)},
    {"strides": (3, 4, 1), "dilations": (1, 2, 2), "pads": (2, 2, 2, 2, 2, 2)},
    {"pads": (-1, -1, 0, 0, 1, -2)},
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("given", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution(rank: int, given: dict[str, tuple[int, ...]], groups: int) -> None:
    window = (2, 3, 2)[-rank:]
    attributes = ", ".join(filter(None, [cut(rank, **given), f"group = {groups}"]))
    w, b = random(8, 4 // groups, *window), random(8)
    made = model(f"y = Conv <{attributes}> (x, w, b)", INPUTS[rank], w=w, b=b)
    pads = given.get("pads", (0,))
    expected = None
    if min(pads) < 0:  # which ONNX's reference does not know: the input cut beforehand
        before, after = pads[3 - rank : 3], pads[6 - rank : 6]
        (x,) = inputs_of(load_onnx(made))
        kept = (
            slice(-min(p, 0), d + min(q, 0))
            for p, q, d in zip(before, after, x.shape[2:], strict=True)
        )
        borders = [max(0, p) for p in (*before, *after)]
        inner = model(
            f"y = Conv <pads = {borders}, group = {groups}> (x, w, b)", INPUTS[rank], w=w, b=b
        )
        expected = ReferenceEvaluator(inner).run(None, {"x": x[(slice(None), slice(None), *kept)]})
    graph = check(made, expected=expected)
    assert operators(graph).count("conv2d") == 1 and names(graph) == {"w", "b"}


@pytest.mark.parametrize("kind", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_borders_worked_out(kind: str, rank: int) -> None:
    window, strides = (2, 3, 2)[-rank:], list((2, 1, 2)[-rank:])
    given = f'auto_pad = "{kind}", strides = {strides}'
    w = random(3, 4, *window)
    check(model(f"y = Conv <{given}> (x, w)", INPUTS[rank], w=w))
    for pool in ("MaxPool", "AveragePool"):
        text = f"y = {pool} <{given}, kernel_shape = {list(window)}> (x)"
        like = None
        if kind == "SAME_LOWER":  # ONNX's reference of MaxPool has the odd one after
            size = (5, 6, 7) if rank == 3 else (8, 9)[-rank:]
            sides = [same_padding(*a, 1) for a in zip(size, window, strides, strict=True)]
            pads = [after for _, after in sides] + [before for before, _ in sides]
            explicit = f"pads = {pads}, strides = {strides}, kernel_shape = {list(window)}"
            like = model(f"y = {pool} <{explicit}> (x)", INPUTS[rank])
        check(model(text, INPUTS[rank]), like=like)


def test_a_volume_of_one_slice_and_pointwise_volumes() -> None:
    check(model("y = Conv (x, w)", VOLUMES, w=random(3, 4, 5, 2, 2)))
    check(model("y = Conv (x, w)", VOLUMES, w=random(3, 4, 1, 1, 1)))
    check(model("y = Conv <strides = [1, 3, 1]> (x, w)", VOLUMES, w=random(3, 4, 3, 1, 1)))
    check(model("y = Conv <pads = [0, 1, 1, 0, 1, 1]> (x, w)", VOLUMES, w=random(3, 4, 5, 3, 3)))


def test_normalisation_folds_into_a_volume() -> None:
    body = """
      a = Conv <pads = [1, 1, 1, 1, 1, 1]> (x, w, b)
      n = BatchNormalization (a, gamma, beta, mean, variance)
      y = Relu (n)
    """
    channel = {n: random(6, seed=i) for i, n in enumerate(("b", "gamma", "beta", "mean"))}
    graph = check(model(body, VOLUMES, w=random(6, 4, 3, 3, 3), variance=np.ones(6) * 2, **channel))
    assert "mul" not in operators(graph)


TRANSPOSED: list[dict[str, tuple[int, ...]]] = [
    {},
    {"strides": (2, 3, 2)},
    {"strides": (2, 3, 2), "pads": (1, 0, 1, 0, 2, 1)},
    {"strides": (2, 3, 2), "output_padding": (1, 2, 1), "pads": (0, 1, 0, 1, 1, 1)},
    {"dilations": (2, 1, 3), "pads": (1, 1, 1, 1, 1, 1)},
    {"strides": (4, 5, 3)},
    {"strides": (2, 2, 2), "dilations": (2, 2, 2), "output_padding": (1, 1, 1)},
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("given", TRANSPOSED, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(rank: int, given: dict[str, tuple[int, ...]], groups: int) -> None:
    attributes = ", ".join(filter(None, [cut(rank, **given), f"group = {groups}"]))
    inputs = {1: "float[N,4,5] x", 2: "float[N,4,3,4] x", 3: "float[N,4,3,2,3] x"}[rank]
    weight = random(4, 6 // groups, *(3, 2, 3)[-rank:])
    graph = check(
        model(f"y = ConvTranspose <{attributes}> (x, w, b)", inputs, w=weight, b=random(6)),
        expected=[transposed(weight, random(6), rank, given, groups, inputs)],
    )
    assert operators(graph).count("conv2d_grad_input") == 1 and names(graph) == {"w", "b"}


def transposed(
    weight: Any, bias: Any, rank: int, given: dict[str, tuple[int, ...]], groups: int, inputs: str
) -> Any:
    """What ONNX defines, element by element; its reference has groups with weights for one only."""
    shape = [int(d) for d in inputs[inputs.index(",") + 1 : inputs.index("]")].split(",")]
    x = np.random.default_rng(3).normal(0.2, 1.0, (3, *shape)).astype(np.float32)
    strides = given.get("strides", (1, 1, 1))[-rank:]
    dilations = given.get("dilations", (1, 1, 1))[-rank:]
    added = given.get("output_padding", (0, 0, 0))[-rank:]
    pads = given.get("pads", (0,) * 6)
    before, after = pads[3 - rank : 3], pads[6 - rank : 6]
    window, each = weight.shape[2:], weight.shape[1]
    whole = [
        (n - 1) * s + (k - 1) * d + 1 + a
        for n, s, k, d, a in zip(shape[1:], strides, window, dilations, added, strict=True)
    ]
    y = np.zeros((3, each * groups, *whole))
    for at in np.ndindex(*shape[1:]):
        for tap in np.ndindex(*window):
            to = tuple(
                i * s + k * d for i, s, k, d in zip(at, strides, tap, dilations, strict=True)
            )
            for c in range(shape[0]):
                first = c // (shape[0] // groups) * each
                part = np.multiply.outer(x[(slice(None), c, *at)], weight[(c, slice(None), *tap)])
                y[(slice(None), slice(first, first + each), *to)] += part
    inside = tuple(slice(b, n - a) for b, a, n in zip(before, after, whole, strict=True))
    return y[(slice(None), slice(None), *inside)] + bias.reshape(-1, *[1] * rank)


@pytest.mark.parametrize("kind", ["SAME_UPPER", "SAME_LOWER"])
def test_transposed_to_a_shape(kind: str) -> None:
    w = random(4, 2, 3, 3)
    inputs = "float[N,4,3,5] x"
    given = f'auto_pad = "{kind}", strides = [2, 2]'
    graph = check(model(f"y = ConvTranspose <{given}> (x, w)", inputs, w=w))
    assert graph.types[graph.outputs["predict"][0]].shape == (-1, 2, 6, 10)
    body = f"y = ConvTranspose <{given}, output_shape = [7, 9]> (x, w)"
    check(model(body, inputs, w=w))


def test_a_transposed_convolution_beyond_what_it_reaches() -> None:
    """output_shape larger than the whole: zeros behind, and the bias everywhere."""
    w, b = np.ones((1, 1, 2), np.float32), np.asarray([3.0], np.float32)
    body = "y = ConvTranspose <strides = [3], output_shape = [8]> (x, w, b)"
    graph = load_onnx(model(body, "float[N,1,2] x", w=w, b=b))
    values = evaluate_real(graph, [np.asarray([[[1.0, 2.0]]])])
    made = values[graph.outputs["predict"][0]]
    assert made.tolist() == [[[4.0, 4.0, 3.0, 5.0, 5.0, 3.0, 3.0, 3.0]]]


# Pooling

POOLS: list[dict[str, tuple[int, ...]]] = [
    {},
    {"strides": (2, 2, 3)},
    {"strides": (2, 3, 2)},
    {"strides": (2, 1, 3), "pads": (1, 2, 0, 0, 1, 1)},
    {"dilations": (1, 2, 3)},
]


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("given", POOLS, ids=str)
def test_pooling(kind: str, rank: int, given: dict[str, tuple[int, ...]]) -> None:
    window = list((2, 3, 2)[-rank:])
    more = ["", "ceil_mode = 1"]
    if kind == "AveragePool":
        more += ["count_include_pad = 1", "count_include_pad = 1, ceil_mode = 1"]
    if kind == "LpPool":
        more = ["p = 1", "p = 3", "p = 4"]
    for each in more:
        attributes = ", ".join(filter(None, [f"kernel_shape = {window}", cut(rank, **given), each]))
        check(model(f"y = {kind} <{attributes}> (x)", INPUTS[rank]))


def test_average_of_a_volume_is_rounded_once_where_its_windows_are_whole() -> None:
    for strides in ("", ", strides = [2, 3, 2]"):
        text = f"y = AveragePool <kernel_shape = [2, 3, 2]{strides}> (x)"
        graph = load_onnx(model(text, VOLUMES))
        assert operators(graph).count("divide") == 1
        assert "avg_pool2d" not in operators(graph)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pooling(rank: int) -> None:
    check(model("y = GlobalAveragePool (x)", INPUTS[rank]))
    most = model("y = GlobalMaxPool (x)", INPUTS[rank])
    axes = tuple(range(2, rank + 2))
    check(most, expected=[inputs_of(load_onnx(most))[0].max(axes, keepdims=True)])
    for p in (1, 2, 3):
        made = model(f"y = GlobalLpPool <p = {p}> (x)", INPUTS[rank])
        (x,) = inputs_of(load_onnx(made))
        norm = (np.abs(x.astype(np.float64)) ** p).sum(axes, keepdims=True) ** (1 / p)
        check(made, expected=[norm])


def test_unpooling() -> None:
    body = """
      p, i = MaxPool <kernel_shape = [2, 3], strides = [2, 3]> (x)
      h = Sigmoid (p)
      y = MaxUnpool <kernel_shape = [2, 3], strides = [2, 3]> (h, i)
    """
    check(model(body, IMAGES))
    check(model(body.replace("[2, 3]", "[3]"), SERIES))
    overlapping = model(body.replace("strides = [2, 3]", "strides = [1, 1]"), IMAGES)
    with pytest.raises(ImportModelError, match="windows overlap"):
        load_onnx(overlapping)
    with pytest.raises(ImportModelError, match="indices of MaxPool count across examples"):
        load_onnx(model("p, y = MaxPool <kernel_shape = [2, 3]> (x)", IMAGES))
    with pytest.raises(ImportModelError, match="indices of MaxPool count across examples"):
        load_onnx(model("p, i = MaxPool <kernel_shape = [2, 3]> (x) y = Relu (i)", IMAGES))


@pytest.mark.parametrize("order", [0, 1])
def test_positions_of_maxima(order: int) -> None:
    """A model that states a batch of one has them as outputs, also where borders never win."""
    for rank, inputs in ((1, "float[1,2,7] x"), (2, "float[1,2,5,6] x"), (3, "float[1,2,4,5,3] x")):
        if order and rank != 2:
            continue
        given = cut(rank, pads=(1, 1, 0, 0, 1, 1), strides=(2, 1, 2), dilations=(1, 2, 1))
        window = list((2, 2, 2)[-rank:])
        text = f"p, i = MaxPool <kernel_shape = {window}, {given}, storage_order = {order}> (x)"
        made = model(text, inputs, outputs=("p", "i"))
        graph = load_onnx(made)
        (x,) = inputs_of(graph, batch=1)
        x = -np.abs(x)
        pooled, positions = outputs_of(graph, [x])
        flat = x.transpose(0, 1, *range(rank + 1, 1, -1)) if order else x
        assert graph.types[graph.outputs["predict"][1]].dtype == "i32"
        np.testing.assert_array_equal(flat.reshape(-1)[positions.astype(int)], pooled)
        imported = gvm.from_onnx(made, calibration=x)
        np.testing.assert_array_equal(imported.run(x)[1], positions)


def test_unpooling_where_it_is_said() -> None:
    made = model(
        "y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (x, i)",
        "float[1,1,2,2] x, int64[1,1,2,2] i",
    )
    x, i = np.asarray([[[[1.0, 2], [3, 4]]]]), np.asarray([[[[5, 7], [13, 15]]]])
    static = load_static(made, {"x": x.astype(np.float32), "i": i}, known=())
    assert static.graph is not None
    (y,) = outputs_of(static.graph, [x, i])
    assert y.shape == (1, 1, 4, 4) and y[0, 0, 1::2, 1::2].tolist() == [[1, 2], [3, 4]]
    assert y.sum() == 10


def test_norms_keep_their_precision() -> None:
    """A small norm beside large ones: powers are taken of what its window normalises."""
    x = np.random.default_rng(0).normal(0, 1, (32, 2, 8, 8)).astype(np.float32)
    x *= np.exp2(-np.arange(8, dtype=np.float32))[:, None]
    for p in (2, 3, 4):
        text = f"y = LpPool <kernel_shape = [1, 2], strides = [1, 2], p = {p}> (x)"
        made = model(text, "float[N,2,8,8] x")
        real = evaluate_real(load_onnx(made), [x])[load_onnx(made).outputs["predict"][0]]
        y = gvm.from_onnx(made, calibration=x).run(x)
        assert np.abs(y - real).max() < 2.0**-10


# End to end


def test_a_network_of_volumes_trains() -> None:
    """Every lowering has its gradient, and 16 bits are enough for it."""
    body = """
      a = Conv <pads = [1, 1, 1, 1, 1, 1], strides = [2, 2, 2]> (x, w, b)
      r = Relu (a)
      u = ConvTranspose <strides = [2, 2, 2]> (r, v)
      p = MaxPool <kernel_shape = [2, 2, 2], strides = [1, 2, 2]> (u)
      q = AveragePool <kernel_shape = [2, 2, 2]> (p)
      f = Flatten (q)
      y = Gemm (f, c)
    """
    made = model(
        body,
        "float[N,2,5,6,4] x",
        w=random(4, 2, 3, 3, 3),
        b=random(4),
        v=random(4, 3, 2, 2, 2),
        c=random(24, 2),
    )
    x = np.random.default_rng(0).normal(0, 1, (16, 2, 5, 6, 4)).astype(np.float32)
    graph = load_onnx(made)
    real = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
    imported = gvm.from_onnx(made, calibration=x, loss="softmax_cross_entropy")
    assert np.abs(imported.run(x) - real).max() < 0.005 * np.abs(real).max()
    labels = real.argmax(1) ^ (np.arange(16) % 2)
    before = float(imported.evaluate(x, labels))
    imported.train(x, labels, optimizer=gvm.SGD(0.02), epochs=4, batch_size=8, seed=1)
    assert float(imported.evaluate(x, labels)) < before
