"""Profiles: every step once per run, what it executes, and no trace of it in results."""

import json
from pathlib import Path

import numpy as np
import pytest

import gvm
from gvm import _core
from gvm.inspection import inspect
from gvm.profile import ROUTES, profile
from tests import hand_written
from tests.hand_written import GRAD, LOSS, PREDICT


@pytest.fixture(scope="module")
def model() -> gvm.Model:
    return gvm.templates.mlp((20, 30, 5))


def test_every_node_is_in_one_step(model: gvm.Model) -> None:
    x = np.linspace(-1, 1, 12 * 20, dtype=np.float32).reshape(12, 20)
    before = model.run(x)
    found = profile(model, x, runs=3)
    assert (found.runs, found.batch) == (3, 12)
    nodes = inspect(model).nodes
    assert len(found.events) == 3 * len(found.steps)
    numbers = [n for s in found.steps for n in s.nodes]
    assert len(set(numbers)) == len(numbers)
    constant = {n.number for n in nodes if all(t.batch_axis is None for t in n.types)}
    assert set(numbers) | constant == {n.number for n in nodes}
    dense = found.steps[0]
    assert dense.operators == "matmul+bias_add+convert+relu"
    assert dense.multiply_adds == 12 * 20 * 30
    assert dense.route.split(" 1")[0] in ROUTES
    assert dense.seconds > 0 and dense.rate > 0
    assert model.run(x).tolist() == before.tolist()
    assert model.session().profile() == []


def test_batch_size_and_runs(model: gvm.Model) -> None:
    x = np.zeros((12, 20), np.float32)
    assert profile(model, x, batch_size=5, runs=1).batch == 5
    with pytest.raises(ValueError, match="runs must be at least 1, received 0"):
        profile(model, x, runs=0)


def test_routes_are_those_of_the_data() -> None:
    """Small numbers fit 32 bits; full ones by 300 terms do not, in parts or at all."""
    program = hand_written.load(
        hand_written.predicting(
            lambda f: f.add("convert", f.add("matmul", 0, 1), dtype=2, fraction_bits=0, rounding=0),
            hand_written.tensor("i16", 8, 300, 40),
            max_batch=64,
        )
        | {"inputs": [hand_written.tensor("i16", 8, -1, 300)]}
    )
    # By weight and input: narrow, wide and split; few rows read kept weights like many.
    cases = [(100, 100, 64, 0), (2700, 2700, 64, 1), (32767, 32767, 64, 2), (100, 100, 4, 0)]
    for weight, value, rows, route in cases:
        session = _core.Session(program)
        data = np.full(300 * 40, weight, "<i2").tobytes()
        session.write(hand_written.PARAMETERS, data + bytes(-len(data) % 64))
        session.set_profile(True)
        y = session.predict([np.full((rows, 300), value, np.int16)])[0]
        expected = min(2**31 - 1, (300 * weight * value + 2**15) >> 16)
        assert (y == expected).all()
        ((function, _, begin, end, tiles),) = session.profile()
        assert function == PREDICT and 0 < end - begin
        assert tiles[route] > 0 and sum(tiles) == tiles[route]


def test_training_is_timed_too() -> None:
    session = hand_written.session(hand_written.load(hand_written.trained()))
    session.set_profile(True)
    inputs = [np.zeros((2, 2), np.int16)]
    session.loss(inputs, [np.zeros(2, np.int32)])
    session.step(inputs, [np.zeros(2, np.int32)], 1, 0, 0)
    functions = [entry[0] for entry in session.profile()]
    assert any(tiles[3] > 0 for *_, tiles in session.profile())  # two rows of weights that change
    assert {LOSS, GRAD} <= set(functions) and functions == sorted(functions)
    assert all(a[3] <= b[2] for a, b in zip(*(session.profile()[i:] for i in (0, 1)), strict=False))
    session.set_profile(False)
    session.predict(inputs)
    assert session.profile() == []


def test_trace_is_what_chrome_reads(model: gvm.Model, tmp_path: Path) -> None:
    found = profile(model, np.zeros((4, 20), np.float32), runs=2)
    found.save_trace(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert len(events) == len(found.events)
    assert all(e["ph"] == "X" and e["dur"] >= 0 and e["ts"] >= 0 for e in events)
    assert events[0]["ts"] == 0 and "matmul" in events[0]["name"]
