"""Comparisons, conditions, rows of tables and positions inside whole models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm import _core
from gvm.errors import ProgramError
from gvm.graph import Builder, Graph, Value, evaluate_real
from gvm.model import Model
from gvm.ops import OPERATORS
from gvm.optimizers import SGD
from gvm.types import i16, i32

EXAMPLES = 96
WHERE = {"local": 3, "offset": 0, "batch": 3, "seed": 0, "step": 0, "site": 0}
WHERE |= {"level": 0, "threads": 1}


def normal(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=shape)


def maxout(g: Builder, x: Value) -> Value:
    """The greater of two products, not below the smaller of two others."""
    a, b, c, d = (g.matmul(x, g.parameter(f"w{i}", normal(6, 5, seed=i))) for i in range(4))
    return int(g.maximum(g.maximum(a, b), g.minimum(c, d)))


def chosen(g: Builder, x: Value) -> Value:
    """One of two products, where the first lies between two values or does not."""
    a, b, c = (g.matmul(x, g.parameter(f"w{i}", normal(6, 5, seed=i))) for i in range(3))
    inside = g.logical(g.compare(a, b, relation=1), g.compare(c, a, relation=2), function=0)
    turned = g.reshape(g.logical(inside, function=3), shape=(-1, 5))
    return int(g.select(turned, a, g.mask(inside, c)))


def model_of(make: Any, loss: str | None = "mean_squared_error") -> tuple[Graph, Model]:
    g = Builder()
    x = g.input("x", (-1, 6))
    graph = g.graph(predict=[make(g, x)])
    y = normal(EXAMPLES, 5, seed=9) if loss else None
    model = Model.from_graph(graph, normal(EXAMPLES, 6, seed=8), loss, y)
    return graph, model


@pytest.mark.parametrize("make", [maxout, chosen])
def test_choices_are_near_real_and_train(make: Any) -> None:
    graph, model = model_of(make)
    x, y = normal(EXAMPLES, 6, seed=8), normal(EXAMPLES, 5, seed=9)
    (output,) = graph.outputs["predict"]
    real = evaluate_real(graph, [x])[output]
    off = np.abs(model.run(x) - real) > 2e-2
    # A condition may fall the other way where two values are within a rounding of each other.
    assert off.mean() < 0.01
    before = float(model.evaluate(x, y))
    model.train(x, y, epochs=8, batch_size=16, optimizer=SGD(0.1), seed=1)
    assert float(model.evaluate(x, y)) < 0.8 * before


def test_positions_and_truths_are_results() -> None:
    graph, model = model_of(lambda g, x: g.argmax(x, axis=1), None)
    x = normal(EXAMPLES, 6, seed=8)
    assert model.run(x).tolist() == x.argmax(axis=1).tolist()
    _, model = model_of(lambda g, x: g.compare(x, g.relu(x), relation=0), None)
    assert model.run(x).tolist() == (x >= 0).tolist()


@pytest.mark.parametrize("index", [-1, 5])
@pytest.mark.parametrize("op", ["gather", "gather_grad"])
def test_an_index_outside_the_table_is_refused(op: str, index: int) -> None:
    operator = OPERATORS[op]
    table = (i16(0, 5, 2), np.zeros((5, 2), np.int16))
    delta = (i16(0, -1, 2), np.zeros((3, 2), np.int16))
    indices = (i32(0, -1), np.array([0, index, 4], np.int32))
    given = [table if op == "gather" else delta, indices]
    attributes = [] if op == "gather" else [5]
    with pytest.raises(ProgramError, match=rf"{op}: index must be in \[0, 5\), received") as caught:
        _core.run_operator(operator.opcode, attributes, given, **WHERE)
    assert caught.value.name == "bad_input"
