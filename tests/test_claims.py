"""Steps whose products are claimed: a step's bits for true claims, and every lie found."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from gvm import _core
from gvm.errors import GvmError
from gvm.trace.evaluate import Where, step_values
from gvm.trace.listing import Listing
from gvm.types import NUMPY
from tests.random_networks import random_network, wide_network
from tests.random_programs import Run, packed, random_program

PARAMETERS, STATE = 2, 3
SEED, STEP = 5, 3
KEY = bytes(range(32))
PRIME = 2**61 - 1


class Claimed:
    """A step, its inputs, and the exact sums of its products."""

    def __init__(self, run: Run) -> None:
        self.run, self.listing = run, Listing.of(run.program)
        self.native = _core.Program(run.program.encode())
        state = [np.zeros(t.shape, np.int64) for t in run.program.state]
        kinds = {
            "input": run.inputs,
            "label": run.labels,
            "parameter": run.parameters,
            "state": state,
        }
        entries = self.listing.entries
        given = {
            v: np.array(array, NUMPY[entries[v].type.dtype], order="C")
            for kind, arrays in kinds.items()
            for v, array in zip(self.listing.given(kind), arrays, strict=True)
        }
        self.inputs = [given[v] for v in self.listing.given("input")]
        self.labels = [given[v] for v in self.listing.given("label")]
        self.sums: list[tuple[int, Any]] = []
        where = Where(len(self.inputs[0]), SEED, STEP)
        for v, array in step_values(self.listing, where, given):
            entry = entries[v]
            if entry.kind != "node":
                continue
            node = self.listing.nodes[entry.index]
            name = node.operator.name
            if name.startswith(("matmul", "conv2d")) and node.named.get("groups", 1) == 1:
                self.sums.append((entry.index, array))

    def session(self, level: int = -1, threads: int = 1) -> Any:
        made = _core.Session(self.native, threads, level)
        made.write(PARAMETERS, packed(self.run.program, PARAMETERS, self.run.parameters))
        return made

    def check(self, sums: list[tuple[int, Any]], key: bytes = KEY, **options: int) -> Any:
        session = self.session(**options)
        found = session.check_step(self.inputs, self.labels, SEED, STEP, sums, key)
        return found, (session.read(PARAMETERS), session.read(STATE))

    def stepped(self) -> tuple[bytes, bytes]:
        session = self.session()
        session.step(self.inputs, self.labels, SEED, STEP, 0)
        return session.read(PARAMETERS), session.read(STATE)


MAKERS = {
    "wide": lambda: wide_network(random.Random(4)),
    **{f"network-{i}": lambda i=i: random_network(random.Random(i)) for i in range(4)},
    **{f"program-{i}": lambda i=i: random_program(random.Random(i)) for i in range(8)},
}


@pytest.mark.parametrize("name", MAKERS)
def test_true_claims_make_the_same_bits(name: str) -> None:
    step = Claimed(MAKERS[name]())
    wanted = step.stepped()
    levels = [] if name == "wide" else range(_core.cpu_level() + 1)
    for level, threads in ((-1, 3), *((i, 1) for i in levels)):
        found, made = step.check(step.sums, level=level, threads=threads)
        assert found == (len(step.sums), -1, 0, 0, 0)
        assert made == wanted
    narrow = [(n, a.astype(np.int32)) for n, a in step.sums if np.abs(a).max() < 2**31]
    assert step.check(narrow) == ((len(narrow), -1, 0, 0, 0), wanted)
    assert step.check([]) == ((0, -1, 0, 0, 0), wanted)


@pytest.mark.parametrize("name", ["network-0", "network-1"])
def test_a_lie_in_any_product_is_found(name: str) -> None:
    step, rng = Claimed(MAKERS[name]()), np.random.default_rng(7)
    session = step.session()
    began = session.read(PARAMETERS), session.read(STATE)
    for i, (node, truth) in enumerate(step.sums):
        for move in (1, -1, 2**33, PRIME, -PRIME):
            lie, element = truth.copy(), int(rng.integers(truth.size))
            lie.reshape(-1)[element] += move
            sums = [*step.sums[:i], (node, lie), *step.sums[i + 1 :]]
            found = session.check_step(step.inputs, step.labels, SEED, STEP, sums, rng.bytes(32))
            true = int(truth.reshape(-1)[element])
            assert found[1:] == (node, element, true + move, true)
    assert (session.read(PARAMETERS), session.read(STATE)) == began


def test_of_two_lies_the_first_node_is_named() -> None:
    step = Claimed(MAKERS["network-1"]())
    sums = [(n, a + (i in (1, 4))) for i, (n, a) in enumerate(step.sums)]
    found, _ = step.check(sums)
    assert found[:3] == (2, step.sums[1][0], 0)


def test_numbers_at_the_limits_are_refused_not_wrapped() -> None:
    step = Claimed(MAKERS["network-1"]())
    for node, truth in step.sums[::3]:
        for number in (-(2**63), 2**63 - 1):
            lie = truth.copy()
            lie.reshape(-1)[-1] = number
            true = int(truth.reshape(-1)[-1])
            assert step.check([(node, lie)])[0][1:] == (node, truth.size - 1, number, true)


def test_refusals() -> None:
    step = Claimed(MAKERS["network-1"]())
    node, truth = step.sums[0]
    other = next(i for i, n in enumerate(step.listing.nodes) if n.operator.name == "convert")
    for sums, key, message in (
        ([(node, truth)], KEY[1:], "32 bytes"),
        ([(node, truth.reshape(-1)[1:])], KEY, "elements"),
        ([(other, truth)], KEY, "must be a product, received convert"),
        ([(10**6, truth)], KEY, "no node 1000000"),
        ([(node, truth), (node, truth)], KEY, "one at most"),
    ):
        with pytest.raises(GvmError, match=message):
            step.check(sums, key)
    with pytest.raises(ValueError, match="int32 or int64"):
        step.check([(node, truth.astype(np.int16))])
