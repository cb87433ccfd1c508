"""What a step commits to: the same for every backend, and what the session computes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gvm import _core
from gvm.trace.evaluate import Where, canonical, step_bytes, step_roots, step_values, tensors_of
from gvm.trace.listing import Listing, read_descriptor
from tests.random_networks import random_network
from tests.random_programs import Run, packed, random_program

SEED, STEP = 0xFEDCBA9876543210, 3
PARAMETERS, STATE = 2, 3
PHASES = (Phase.explicit, Phase.generate)
PROGRAMS: dict[str, Callable[[random.Random], Run]] = {
    "programs": random_program,
    "networks": random_network,
}


def given_values(run: Run, listing: Listing) -> dict[int, Any]:
    """Inputs, labels, parameters and a state of zeros by their numbers."""
    state = [np.zeros(t.shape, np.int64) for t in run.program.state]
    kinds = {
        "input": run.inputs,
        "label": run.labels,
        "parameter": run.parameters,
        "state": state,
    }
    return {
        v: array
        for kind, arrays in kinds.items()
        for v, array in zip(listing.given(kind), arrays, strict=True)
    }


@pytest.mark.parametrize("kind", PROGRAMS)
@settings(max_examples=5, phases=PHASES)
@given(seed=st.integers(0, 2**64 - 1))
def test_values_are_those_of_a_session(kind: str, seed: int) -> None:
    run = PROGRAMS[kind](random.Random(seed))
    listing = Listing.of(run.program)
    given = given_values(run, listing)
    native = _core.Program(run.program.encode())
    session = _core.Session(native, 2, -1)
    session.write(PARAMETERS, packed(run.program, PARAMETERS, run.parameters))
    types = list(zip(run.inputs, run.program.inputs, strict=True))
    labels = list(zip(run.labels, run.program.labels, strict=True))
    totals = session.step(
        [np.ascontiguousarray(a, _narrow(t.dtype)) for a, t in types],
        [np.ascontiguousarray(a, _narrow(t.dtype)) for a, t in labels],
        SEED,
        STEP,
        native.info()["totals"],
    )
    wheres = [
        Where(run.batch, SEED, STEP, level, threads)
        for level in _core.cpu_levels()
        for threads in (1, 2)
    ]
    roots = {step_roots(listing, where, given) for where in wheres}
    assert len(roots) == 1
    values = step_bytes(listing, wheres[0], given)
    assert b"".join(_core.blake3(v) for v in values) == roots.pop()
    for v, entry in enumerate(listing.entries):
        assert len(values[v]) == entry.size(run.batch)
    new = tensors_of(native.tensors(PARAMETERS), session.read(PARAMETERS))
    new += tensors_of(native.tensors(STATE), session.read(STATE))
    assert [values[v] for v in listing.results] == new
    summed = np.frombuffer(b"".join(values[v] for v in listing.totals), "<i8")
    np.testing.assert_array_equal(totals, summed)


def _narrow(dtype: str) -> str:
    return {"i16": "int16", "i32": "int32", "i64": "int64"}.get(dtype, "uint8")


def test_nodes_read_what_stands_before_them() -> None:
    run = random_network(random.Random(5))
    listing = Listing.of(run.program)
    assert [n.outputs[0] for n in listing.nodes] == sorted(n.outputs[0] for n in listing.nodes)
    for number, node in enumerate(listing.nodes):
        assert max(node.inputs, default=-1) < node.outputs[0]
        assert all(listing.entries[v].index == number for v in node.outputs)
    kinds = {e.kind for e in listing.entries}
    assert kinds == {"input", "label", "parameter", "state", "node"} or not run.program.state
    for v, entry in enumerate(listing.entries):
        made, node = read_descriptor(listing.descriptor(v))
        assert made == entry
        assert node == (listing.nodes[entry.index] if entry.kind == "node" else None)


def test_altered_values_are_what_is_read() -> None:
    run = random_network(random.Random(6))
    listing = Listing.of(run.program)
    given, where = given_values(run, listing), Where(run.batch, SEED, STEP)
    honest = step_bytes(listing, where, given)
    target = next(n.outputs[0] for n in listing.nodes if listing.entries[n.outputs[0]].size(1) > 2)

    def flip(number: int, array: Any) -> Any:
        if number != target:
            return array
        changed = array.copy()
        changed.reshape(-1)[0] ^= 1
        return changed

    lie = step_bytes(listing, where, given, flip)
    assert lie[:target] == honest[:target]
    assert lie[target] != honest[target]


def test_values_can_be_kept() -> None:
    run = random_network(random.Random(7))
    listing = Listing.of(run.program)
    given, where = given_values(run, listing), Where(run.batch, SEED, STEP)
    kept = dict(step_values(listing, where, given, keep=True))
    assert [canonical(kept[v], e.type.dtype) for v, e in enumerate(listing.entries)] == step_bytes(
        listing, where, given
    )
