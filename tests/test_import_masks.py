"""Masks by very low numbers, in the spellings of Keras and of exporters to ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.graph import Graph
from gvm.importers.onnx import load_onnx
from gvm.model import Model

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from tests.onnx_models import model, names, operators, outputs_of, random  # noqa: E402

KEPT = np.tril(np.ones((4, 5), bool))
SCORES = "float[N,4,5] x"
LOWEST = np.finfo(np.float32).min


def masked(body: str, low: float, inputs: str = SCORES, **weights: Any) -> Any:
    added = np.where(KEPT, 0, low).astype(np.float32)
    one = np.float32(1)
    return model(body, inputs, low=np.float32(low), k=KEPT, m=added, one=one, **weights)


def held(source: Any, *data: NDArray[Any], tolerance: float = 1e-4) -> tuple[Graph, NDArray[Any]]:
    """Real numbers and integers both agree with ONNX's reference; the graph, the integers."""
    graph = load_onnx(source)
    given = [i.name for i in source.graph.input]
    with np.errstate(over="ignore", invalid="ignore"):
        (expected,) = ReferenceEvaluator(source).run(None, dict(zip(given, data, strict=True)))
    np.testing.assert_allclose(outputs_of(graph, list(data))[0], expected, atol=2e-6)
    found = Model.from_graph(graph, list(data), progress=False).run(
        list(data) if len(data) > 1 else data[0]
    )
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
    return graph, found


@pytest.mark.parametrize("low", [-1e2, -1e4, -1e9, -2.3e38, LOWEST])
@pytest.mark.parametrize(
    "body",
    [
        "s = Where (k, x, low) y = Softmax (s)",
        "n = Not (k) s = Where (n, low, x) y = Softmax (s)",
        "s = Add (x, m) y = Softmax (s)",
        "s = Where (k, x, low) u = Reshape (s, shape) t = Softmax (u) y = Squeeze (t, at)",
    ],
)
def test_a_number_that_leaves_out_has_no_say_in_the_format(body: str, low: float) -> None:
    source = masked(body, low, shape=np.asarray([-1, 1, 4, 5]), at=np.asarray([1]))
    _, found = held(source, random(16, 4, 5))
    assert (found[:, ~KEPT] == 0).all()


@pytest.mark.parametrize("low", [-1e9, LOWEST])
def test_a_mask_that_is_an_input(low: float) -> None:
    """As BERT has it: (1 - mask) times the lowest number, added to the scores of every head."""
    body = "i = Sub (one, p) b = Mul (i, low) u = Unsqueeze (b, at) s = Add (x, u) y = Softmax (s)"
    source = masked(body, low, "float[N,4,5] x, float[N,5] p", at=np.asarray([1]))
    keys = (np.random.default_rng(1).uniform(size=(16, 5)) < 0.6).astype(np.float32)
    keys[:, 0] = 1
    graph, found = held(source, random(16, 4, 5), keys)
    assert (found[np.broadcast_to((keys == 0)[:, None], found.shape)] == 0).all()
    assert operators(graph)[-2:] == ["select", "softmax"] and "mul" not in operators(graph)


def test_scores_of_all_sizes_share_a_number() -> None:
    body = (
        "s = Where (k, x, low) a = Softmax (s) "
        "h = Mul (x, w) t = Where (k, h, low) b = Softmax (t) y = Add (a, b)"
    )
    graph, _ = held(masked(body, LOWEST, w=np.float32(300)), random(16, 4, 5))
    assert sum(n.startswith("low") for n in names(graph)) == 2


def test_a_row_that_leaves_out_everything_is_even() -> None:
    source = masked("s = Add (x, all) y = Softmax (s)", -1e9, all=np.full((4, 5), -1e9, "f"))
    graph = load_onnx(source)
    x = random(8, 4, 5)
    assert (outputs_of(graph, [x])[0] == 0.2).all()
    assert np.allclose(Model.from_graph(graph, [x], progress=False).run(x), 0.2, atol=1e-4)


def test_what_others_read_stays_a_sum() -> None:
    source = masked("s = Add (x, m) e = Softmax (s) t = Mul (s, one) y = Max (e, t)", -1e9)
    assert "select" not in operators(load_onnx(source))


TOKENS = "int64[N,5] x"
ROWS_OF_TABLES = "e = Gather (table, x) h = Add (e, places) t = Transpose <perm = [0, 2, 1]> (h) "


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        (
            "f = Cast <to = 1> (p) i = Sub (one, f) b = Mul (i, low) u = Unsqueeze (b, at) "
            "s = MatMul (h, t) v = Add (s, u) a = Softmax (v) y = MatMul (a, h)",
            f"{TOKENS}, int64[N,5] p",
        ),
        (
            "q = Equal (x, none) u = Unsqueeze (q, at) s = MatMul (h, t) v = Where (u, low, s) "
            "a = Softmax (v) y = MatMul (a, h)",
            TOKENS,
        ),
    ],
)
def test_tokens_are_rows_of_tables(body: str, inputs: str) -> None:
    """Whole numbers of an input, beside a mask of whole numbers or compared with one."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 20, (32, 5))
    tokens[:, 0] = 1
    tokens[1, 3] = -2  # from the end
    given = [tokens, (tokens != 7).astype(np.int64)][: inputs.count("int64")]
    source = masked(
        ROWS_OF_TABLES + body,
        LOWEST,
        inputs,
        table=random(20, 8),
        places=random(5, 8, seed=2),
        at=np.asarray([1]),
        none=np.asarray(7),
    )
    graph, _ = held(source, *given, tolerance=1e-3)
    assert all(graph.types[v].dtype == "i32" for v in graph.inputs)
    assert {"table", "places"} <= {p.name for p in graph.parameters if p.trainable}


def test_keras_masks() -> None:
    """Causal, and by what an embedding leaves out."""
    keras = pytest.importorskip("keras")
    import gvm

    keras.utils.set_random_seed(1)
    tokens = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(9, 8, mask_zero=True)(tokens)
    y = keras.layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    source = keras.Model(tokens, keras.layers.Dense(3)(y))
    rows = np.random.default_rng(2).integers(1, 9, (32, 6))
    rows[::2, 4:] = 0
    found = gvm.from_tensorflow(source, calibration=rows, progress=False).run(rows)
    expected = source.predict(rows, verbose=0)
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)
