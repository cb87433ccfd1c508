"""gvm.importers: elements and parts gathered and scattered by their indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import gvm
from gvm.errors import ImportModelError
from gvm.graph import evaluate_real
from gvm.importers.onnx import load_onnx
from gvm.importers.onnx_static import load_static
from gvm.model import Model
from tests.onnx_models import check, inputs_of, model, operators, outputs_of

INPUT = "float[N,3,4] x"


def whole(data: Any) -> np.ndarray:
    return np.asarray(data, dtype=np.int64)


def expected(made: Any, move: Any) -> None:
    """Compares with what ``move`` makes of each example."""
    (x,) = inputs_of(load_onnx(made))
    check(made, expected=[np.stack([move(e) for e in x])])


def test_gathering_elements() -> None:
    rows = whole([[[0, 2, -1], [1, 1, 0]]])
    made = model("y = GatherElements <axis = 2> (x, i)", INPUT, i=rows)
    expected(made, lambda e: np.take_along_axis(e[:2], rows[0], axis=1))
    assert "matmul" not in operators(load_onnx(made))
    columns = whole([[[2, 0, 1, 1], [0, 0, -2, 2]]])
    made = model("y = GatherElements <axis = 1> (x, i)", INPUT, i=columns)
    expected(made, lambda e: np.take_along_axis(e, columns[0], axis=0))
    same = np.repeat(columns, 3, axis=0)
    made = model("y = GatherElements <axis = 1> (x, i)", "float[3,3,4] x", i=same)
    expected(made, lambda e: np.take_along_axis(e, columns[0], axis=0))


def test_gathering_parts() -> None:
    pairs = whole([[[2, 1], [0, 3], [-1, 0]]])
    made = model("y = GatherND <batch_dims = 1> (x, i)", INPUT, i=pairs)
    expected(made, lambda e: e[tuple(pairs[0].T)])
    rows = whole([[[2], [0]]])
    made = model("y = GatherND <batch_dims = 1> (x, i)", INPUT, i=rows)
    expected(made, lambda e: e[[2, 0]])
    turned = "t = Transpose <perm = [1, 2, 0]> (x)  g = GatherND (t, i)"
    made = model(turned + "  y = Transpose <perm = [1, 0]> (g)", INPUT, i=pairs[0])
    expected(made, lambda e: e[tuple(pairs[0].T)])


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scattering(reduction: str) -> None:
    into = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    places = whole([[[0, 1, 3], [2, 2, 1] if reduction != "none" else [2, 0, 1]]])
    updates = np.asarray([[[1.5, -2, 0.5], [3, -0.25, 2]]], np.float32)

    def elements(e: Any) -> Any:
        made = e.astype(np.float64)
        for r, c in np.ndindex(2, 3):
            at = (r, places[0, r, c])
            new = updates[0, r, c]
            made[at] = new if into[reduction] is None else into[reduction](made[at], new)
        return made

    text = f'y = ScatterElements <axis = 2, reduction = "{reduction}"> (x, i, u)'
    expected(model(text, INPUT, i=places, u=updates), elements)
    computed = f'p = Slice (x, b, e, a)  y = ScatterElements <axis = 2, reduction = "{reduction}">'
    made = model(
        f"{computed} (x, i, p)",
        INPUT,
        i=places,
        b=whole([0, 1]),
        e=whole([2, 4]),
        a=whole([1, 2]),
    )

    def own(e: Any) -> Any:
        made = e.astype(np.float64)
        for r, c in np.ndindex(2, 3):
            at, new = (r, places[0, r, c]), e[r, c + 1]
            made[at] = new if into[reduction] is None else into[reduction](made[at], new)
        return made

    expected(made, own)


def test_scattering_parts() -> None:
    """What frameworks write for x[:, 1:3] = y where they stored a batch of one."""
    places = np.stack(np.meshgrid([0], [1, 2], np.arange(4), indexing="ij"), axis=-1)
    body = "p = Slice (x, b, e, a)  h = Sigmoid (p)  y = ScatterND (x, i, h)"
    given = {"b": whole([0]), "e": whole([2]), "a": whole([1])}
    made = model(body, "float[1,3,4] x", i=whole(places), **given)

    def move(e: Any) -> Any:
        made = e.copy()
        made[1:3] = 1 / (1 + np.exp(-e[:2]))
        return made

    expected(made, move)
    with pytest.raises(ImportModelError, match="reads other examples"):
        load_onnx(model(body, "float[2,3,4] x", i=whole(places), **given))


def test_computed_indices() -> None:
    made = model("y = GatherElements <axis = 1> (x, i)", "float[2,5,4] x, int64[2,3,3] i")
    rng = np.random.default_rng(0)
    x, i = rng.normal(0, 1, (2, 5, 4)).astype(np.float32), rng.integers(-5, 5, (2, 3, 3))
    static = load_static(made, {"x": x, "i": i}, known=())
    assert static.graph is not None and static.inputs == ("x", "i")
    wanted = np.take_along_axis(x[:, :, :3], i % 5, axis=1)
    values = evaluate_real(static.graph, [x, i])
    np.testing.assert_array_equal(values[static.graph.outputs["predict"][0]], wanted)
    y = Model.from_graph(static.graph, [x, i], progress=False).run([x, i])
    assert np.abs(y - wanted).max() < 2.0**-11


def test_elements_move_exactly() -> None:
    """Moved elements keep their bits: the same numbers as those of the input."""
    places = whole([np.random.default_rng(0).permutation(12).reshape(1, 12)])
    flat = "f = Flatten (x)  g = GatherElements <axis = 1> (f, i)  y = Reshape (g, s)"
    made = model(flat, INPUT, i=places[0], s=whole([-1, 3, 4]))
    graph = load_onnx(made)
    (x,) = inputs_of(graph, 16)
    x = np.round(x * 256) / 256
    y = gvm.from_onnx(made, calibration=x, formats="<8,8>").run(x)
    np.testing.assert_array_equal(y.reshape(16, 12), x.reshape(16, 12)[:, places[0, 0]])


def test_scattering_trains() -> None:
    body = """
      h = MatMul (x, w)
      s = ScatterElements <axis = 2, reduction = "add"> (h, i, u)
      f = Flatten (s)
      y = Gemm (f, v)
    """
    rng = np.random.default_rng(0)
    made = model(
        body,
        INPUT,
        i=whole([[[0, 0], [1, 2]]]),
        u=np.asarray([[[0.5, 0.25], [1, -1]]], np.float32),
        w=rng.normal(0, 0.5, (4, 5)).astype(np.float32),
        v=rng.normal(0, 0.5, (15, 2)).astype(np.float32),
    )
    x = rng.normal(0, 1, (20, 3, 4)).astype(np.float32)
    graph = load_onnx(made)
    labels = rng.integers(0, 2, 20)
    imported = gvm.from_onnx(made, calibration=x, loss="softmax_cross_entropy")
    real = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
    assert np.abs(imported.run(x) - real).max() < 0.01
    before = float(imported.evaluate(x, labels))
    imported.train(x, labels, optimizer=gvm.SGD(0.05), epochs=3, batch_size=10, seed=1)
    assert float(imported.evaluate(x, labels)) < before


def test_refusals() -> None:
    for text, indices, message in (
        ("y = GatherElements <axis = 0> (x, i)", [[[0]]], "reads other examples"),
        ("y = GatherElements <axis = 1> (x, i)", [[[3]]], r"index must be in \[-3, 3\)"),
        ("y = GatherElements <axis = 1> (x, i)", [[[0]], [[1]]], "reads other examples"),
        ("y = GatherND (x, i)", [[0, 1]], "reads other examples"),
        ("y = ScatterElements <axis = 0> (x, i, u)", [[[0]]], "reads other examples"),
        ("y = ScatterElements <axis = 1> (x, i, u)", [[[0, 1]]], "1 updates for 2 indices"),
        ('y = ScatterElements <axis = 1, reduction = "sum"> (x, i, u)', [[[0]]], "reduction must"),
    ):
        made = model(text, INPUT, i=whole(indices), u=np.ones((1, 1, 1), np.float32))
        with pytest.raises(ImportModelError, match=message):
            load_onnx(made)


def test_outputs_are_of_the_source() -> None:
    made = model("y = GatherElements <axis = 2> (x, i)", INPUT, i=whole([[[0], [1], [2]]]))
    graph = load_onnx(made)
    assert outputs_of(graph, inputs_of(graph))[0].shape == (3, 3, 1)
