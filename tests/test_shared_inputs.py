"""Inputs without a batch axis, in programs that only predict (docs/decisions/0017)."""

from __future__ import annotations

import numpy as np
import pytest

from gvm import _core, cbor
from gvm.errors import ProgramError
from gvm.formats import Formats
from gvm.graph import Builder
from gvm.model import Model
from tests.hand_written import changed, inference, put, trained

PLAIN = Formats(uniform=8)


def test_a_shared_input_beside_a_batched_one() -> None:
    """Every example is multiplied by the same matrix, given at each call, for every partition."""
    g = Builder()
    matrix, x = g.input("matrix", (3, 2)), g.input("x", (-1, 3))
    model = Model.from_graph(g.graph(predict=[g.matmul(x, matrix)]), formats=PLAIN)
    examples = np.arange(15.0).reshape(5, 3) / 8
    for table in (np.arange(6.0).reshape(3, 2), -np.ones((3, 2))):
        for size in (1, 2, 5):
            made = model.run([table, examples], batch_size=size)
            np.testing.assert_array_equal(made, examples @ table)


def test_all_inputs_shared() -> None:
    """A program without a batch has one example, and its first axis is one like another."""
    g = Builder()
    x, y = g.input("x", (2, 3)), g.input("y", (), "i32")
    turned = g.transpose(g.relu(x), permutation=(1, 0))
    total = g.convert(g.reduce_sum(x, axes=(0, 1)), dtype=2, fraction_bits=0)
    graph = g.graph(predict=[turned, total, g.maximum(total, y)])
    given = [np.asarray([[1.0, -2, 3], [-4, 5, 6.5]]), np.asarray(12)]
    model = Model.from_graph(graph, calibration=given)
    assert [o.shape for o in model.run(given)] == [(3, 2), (), ()]
    np.testing.assert_array_equal(model.run(given)[0], [[1, 0], [0, 5], [3, 6.5]])
    assert [int(v) for v in model.run(given)[1:]] == [10, 12]  # 9.5 to even


def test_the_core_takes_them_without_a_loss_only() -> None:
    body = changed(put("inputs", 0, 2, [4, 2]), inference())
    (result,) = _core.Program(cbor.encode(body)).tensors(4)
    assert result[0].shape == (4, 1)
    for start in (trained(), {**inference(), "loss": trained()["loss"]}):
        with pytest.raises(ProgramError, match="inputs 0: must have a batch axis"):
            _core.Program(cbor.encode(changed(put("inputs", 0, 2, [4, 2]), start)))
