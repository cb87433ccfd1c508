"""A step in one call against shards and apply: gradients large enough to come in several parts, on
several threads, and programs that reduce a value more than once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gvm import _core
from gvm.errors import ProgramError
from tests.hand_written import PARAMETERS, Body, Nodes, buffer, inference, load, tensor

RATE = {"multiplier": 26214, "exponent": 18}
SEED = 3


def forward(nodes: Nodes, weight: int) -> int:
    y = nodes.add("matmul", 0, nodes.add("convert", weight, dtype=1, fraction_bits=8, rounding=0))
    return nodes.add("convert", y, dtype=2, fraction_bits=12, rounding=0)


def dense(k: int, n: int, batch: int, weights: int = 1) -> Body:
    """x [B, k] and its delta d [B, n]; the functions but grad and apply."""
    body = inference(batch) | {
        "inputs": [tensor("i16", 8, -1, k), tensor("i16", 8, -1, n)],
        "labels": [tensor("i32", 0, -1)],
        "parameters": [tensor("i32", 24, k, n)] * weights,
        "state": [],
    }
    predict, loss = Nodes(2 + weights), Nodes(3 + weights)
    y = forward(predict, 2)
    body["predict"] = {"nodes": predict.take(), "outputs": [y]}
    z = forward(loss, 3)
    sums = [
        loss.add("reduce_sum", loss.add("softmax_cross_entropy", z, 2), axes=(0,), keepdims=0),
        loss.add("example_count"),
    ]
    sums.append(loss.add("reduce_sum", loss.add("argmax_correct", z, 2), axes=(0,), keepdims=0))
    body["loss"] = {"nodes": loss.take(), "outputs": sums}
    return body


def both(body: Body, k: int, n: int, batch: int, threads: int, spread: int, count: int) -> Any:
    """Parameters and clamps after two steps, by shards and by steps."""
    program = load(body)
    rng = np.random.default_rng(1)
    inputs = [rng.integers(-spread, spread, (batch, m)).astype(np.int16) for m in (k, n)]
    labels = [np.zeros(batch, np.int32)]
    found = []
    for whole in (False, True):
        session = _core.Session(program, threads if whole else 1)
        session.write(PARAMETERS, buffer(program, PARAMETERS, 1))
        for step in range(2):
            if whole:
                session.step(inputs, labels, SEED, step, count)
                continue
            totals = np.zeros(program.info()["totals"], np.int64)
            shard = _core.Shard(session, inputs, labels, 0, batch, SEED, step)
            for segment in range(program.info()["segments"]):
                part = np.zeros_like(totals)
                shard.run(segment, totals, part)
                totals += part
            session.apply(totals, SEED, step)
        found.append((session.read(PARAMETERS), session.clamps(3)))
    return found


@pytest.mark.parametrize(
    ("k", "n", "batch", "threads"),
    [(300, 1000, 40, 4), (130, 600, 40, 2), (12, 8500, 16500, 2), (5, 9000, 3, 3), (200, 40, 9, 2)],
)
def test_gradients_that_come_in_parts(k: int, n: int, batch: int, threads: int) -> None:
    """Wide sums of many rows, of rows longer than what an update takes, and of many terms."""
    body, grad, apply = dense(k, n, batch), Nodes(4), Nodes(3)
    total, gradient = grad.add("example_count"), grad.add("matmul_grad_weight", 0, 1)
    body["grad"] = [{"nodes": grad.take(), "reduce": [total, gradient]}]
    new = apply.add("sgd", 0, 2, 1, **RATE)
    body["apply"] = {"nodes": apply.take(), "outputs": [new]}
    by_shards, by_steps = both(body, k, n, batch, threads, 20000, 1)
    assert by_shards == by_steps


@pytest.mark.parametrize("count", [1, 2])
def test_a_gradient_that_two_segments_reduce(count: int) -> None:
    body, grad, apply = dense(24, 16, 12, weights=2), Nodes(5), Nodes(5)
    total, gradient = grad.add("example_count"), grad.add("matmul_grad_weight", 0, 1)
    first = {"nodes": grad.take(), "reduce": [total, gradient]}
    body["grad"] = [first, {"nodes": [], "reduce": [gradient]}]
    new = [apply.add("sgd", w, 3 + w, 2, **RATE) for w in (0, 1)]
    body["apply"] = {"nodes": apply.take(), "outputs": new}
    by_shards, by_steps = both(body, 24, 16, 12, 1, 300, count)
    assert by_shards == by_steps


def test_a_count_that_two_segments_reduce() -> None:
    """The update reads the later total, which is known only when its segment ends."""
    body, grad, apply = dense(24, 16, 12), Nodes(4), Nodes(4)
    total = grad.add("example_count")
    first = {"nodes": grad.take(), "reduce": [total]}
    grad.total()
    gradient = grad.add("matmul_grad_weight", 0, 1)
    body["grad"] = [first, {"nodes": grad.take(), "reduce": [gradient, total]}]
    new = apply.add("sgd", 0, 2, 3, **RATE)
    body["apply"] = {"nodes": apply.take(), "outputs": [new]}
    by_shards, by_steps = both(body, 24, 16, 12, 1, 300, 1)
    assert by_shards == by_steps


def test_a_count_that_no_update_takes_is_the_programs_fault() -> None:
    body, grad, apply = dense(24, 16, 12), Nodes(4), Nodes(3)
    total = grad.add("reduce_sum", 2, axes=(0,), keepdims=0)
    gradient = grad.add("matmul_grad_weight", 0, 1)
    body["grad"] = [{"nodes": grad.take(), "reduce": [total, gradient]}]
    new = apply.add("sgd", 0, 2, 1, **RATE)
    body["apply"] = {"nodes": apply.take(), "outputs": [new]}
    program = load(body)
    session = _core.Session(program)
    session.write(PARAMETERS, buffer(program, PARAMETERS, 1))
    before = session.read(PARAMETERS)
    inputs = [np.ones((12, 24), np.int16), np.ones((12, 16), np.int16)]
    with pytest.raises(ProgramError, match="count must be at most 2\\^22"):
        session.step(inputs, [np.full(12, 2**22, np.int32)], SEED, 0, 1)
    assert session.read(PARAMETERS) == before
    session.step(inputs, [np.ones(12, np.int32)], SEED, 0, 1)
    assert session.read(PARAMETERS) != before
