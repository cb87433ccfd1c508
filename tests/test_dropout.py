"""Dropout: its masks, its gradient, and where it is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gvm
from gvm import _core
from gvm.graph import Builder, Graph
from gvm.model import Model
from gvm.ops import OPERATORS
from gvm.ops.dropout import Dropout
from gvm.program import steps_of
from gvm.random import Purpose, halves, permutation
from gvm.types import i16
from tests.hand_written import Nodes, inference, load
from tests.small_models import EXAMPLES, FEATURES, HIDDEN, MOMENTUM, X, Y, dense, ids

KEEP = 40000
SEED = 5


def dropping(keep: int = KEEP) -> Graph:
    g = Builder()
    hidden = g.relu(dense(g, g.input("x", (-1, FEATURES)), HIDDEN, "first"))
    y = dense(g, g.dropout(hidden, keep=keep, stream=3), 3, "second")
    return g.graph(predict=(y,))


def model(keep: int = KEEP) -> Model:
    return Model.from_graph(dropping(keep), X, "softmax_cross_entropy", Y, progress=False)


def test_as_many_stay_as_keep_says() -> None:
    for keep in (1, 6554, 32768, 65535):
        x = np.full((1000, 1000), 100, dtype=np.int16)
        (y,), _ = _core.run_operator(
            OPERATORS["dropout"].opcode, [keep, 9, 0], [(i16(8, 1000, 1000), x)],
            local=1, offset=0, batch=1, seed=1, step=2, site=3, level=-1, threads=1,
        )  # fmt: skip
        share, wanted = float((y != 0).mean()), keep / 65536
        assert abs(share - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / x.size)
        scaled = min(round(100 * 65536 / keep), 32767)
        assert set(np.unique(y).tolist()) <= {0, scaled}


def test_evaluation_drops_nothing() -> None:
    dropped, plain = model(), model(65536)
    for function in ("predict", "loss"):
        assert "dropout" not in [s.name for s in steps_of(getattr(dropped.program, function))]
    found = [s for s in steps_of(dropped.program.grad) if s.name == "dropout"]
    # Forward and backward: one stream, each with the rounding of its pass.
    assert [s.attributes for s in found] == [(KEEP, 3, 1), (KEEP, 3, 2)]
    assert dropped.evaluate(X, Y) == plain.evaluate(X, Y)
    assert np.array_equal(dropped.run(X), plain.run(X))
    assert dropped.graph_id == plain.graph_id
    assert dropped.train_id != plain.train_id


def test_what_stays_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements that stay grow by 1/keep, which calibration does not see: formats leave room."""

    def clamped() -> int:
        made = model(6554)
        history = made.train(X, Y, optimizer=MOMENTUM, batch_size=16, seed=SEED)
        return sum(n for name, n in history.clamped.items() if "dropout" in name)

    assert clamped() == 0
    monkeypatch.setattr(Dropout, "growth", staticmethod(lambda attributes: 1.0))
    assert clamped() > 0


@pytest.mark.parametrize(("label", "moves"), [(0, False), (1, True)])
def test_gradients_stop_at_the_limits(label: int, moves: bool) -> None:
    """What stays is 16, beyond the limit of 8: a step may pull it back, not push it further."""
    g = Builder()
    weight = g.parameter("weight", np.ones((1, 1)))
    hidden = g.dropout(g.matmul(g.input("x", (-1, 1)), weight), keep=16384, stream=0)
    logits = g.matmul(hidden, g.parameter("last", np.array([[0.125, 0.0]])))
    made = Model.from_graph(
        g.graph(predict=(logits,)), None, "softmax_cross_entropy", formats="<4,12>"
    )
    made.train(np.full((64, 1), 4.0), np.full(64, label), batch_size=64, seed=SEED)
    assert (float(made.parameter_arrays()["weight"].real()[0, 0]) < 1) == moves
    assert float(made.parameter_arrays()["weight"].real()[0, 0]) <= 1


def test_a_step_is_that_of_the_masked_network() -> None:
    made = model()
    before = {n: p.real().astype(np.float64) for n, p in made.parameter_arrays().items()}
    rate = 0.5
    made.train(X, Y, optimizer=gvm.SGD(rate), batch_size=EXAMPLES, seed=SEED, rounding="nearest")
    after = {n: p.real() for n, p in made.parameter_arrays().items()}
    # The batch is the whole data set in the order of the first epoch.
    order = permutation(SEED, 0, EXAMPLES)
    x, y = X[order], Y[order]
    drawn = halves(SEED, 3, 0, Purpose.DROPOUT, 0, EXAMPLES * HIDDEN).reshape(EXAMPLES, HIDDEN)
    mask = (drawn < KEEP) * (65536 / KEEP)
    hidden = np.maximum(x @ before["first/w"] + before["first/b"], 0)
    logits = (hidden * mask) @ before["second/w"] + before["second/b"]
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta = exp / exp.sum(axis=1, keepdims=True) - np.eye(3)[y]
    back = (delta @ before["second/w"].T) * mask * (hidden > 0)
    wanted = {"second/w": (hidden * mask).T @ delta, "first/w": x.T @ back, "first/b": back.sum(0)}
    for name, gradient in wanted.items():
        step = rate * gradient / EXAMPLES
        assert np.abs(step).max() > 0.01
        assert np.abs(before[name] - step - after[name]).max() < 2e-3


@pytest.mark.parametrize("options", [{"micro_batch": 3, "threads": 2}, {"workers": 2}])
def test_masks_know_no_partition(options: dict[str, Any]) -> None:
    run: dict[str, Any] = {"optimizer": MOMENTUM, "epochs": 2, "batch_size": 16, "seed": SEED}
    alone = model().train(X, Y, **run)
    assert ids(model().train(X, Y, **run, **options)) == ids(alone)
    assert ids(model().train(X, Y, **run | {"seed": 6})) != ids(alone)


def test_templates_drop() -> None:
    made = gvm.templates.mlp((8, 16, 16, 4), dropout=0.25, progress=False)
    found = [s.attributes for s in steps_of(made.program.grad) if s.name == "dropout"]
    assert sorted(a[:2] for a in found) == [(49152, 0), (49152, 0), (49152, 1), (49152, 1)]
    with pytest.raises(gvm.GvmError, match=r"dropout must be in \[0, 1\), received 1"):
        gvm.templates.mlp((8, 16, 4), dropout=1, progress=False)


def test_inference_refuses_to_drop() -> None:
    for keep, refused in ((65536, False), (65535, True)):
        body = inference(4)
        nodes = Nodes(2)
        y = nodes.add("dropout", 0, keep=keep, stream=0, rounding=0)
        body.update(predict={"nodes": nodes.take(), "outputs": [y]})
        if not refused:
            load(body)
            continue
        with pytest.raises(gvm.ProgramError, match="keep in predict must be 65536, received 65535"):
            load(body)
