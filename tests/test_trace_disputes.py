"""Disputes: every lie is found where it was told, and nobody honest is convicted."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gvm.errors import ProgramError
from gvm.ops import OPERATORS
from gvm.reads import Sum
from gvm.trace.element import Step, reads_of
from gvm.trace.game import most_rounds
from gvm.trace.listing import Listing
from tests.memory_run import MemoryRun, argue, one_of, residual
from tests.random_networks import random_network
from tests.random_programs import Run, random_program
from tests.trace_runs import at_step, flip

STEPS, WRONG = 5, 3
MAKERS: dict[str, Callable[[random.Random], Run]] = {
    "programs": random_program,
    "networks": random_network,
    "residual": residual,
}
COVER = (
    *(("programs", seed) for seed in (11, 36, 3, 8, 15)),
    ("networks", 22),
    ("residual", 1),
)
"""Programs that together have every operator."""


def most(run: MemoryRun, value: int, element: int) -> int:
    """The bound on rounds for a lie in an element."""
    listing, header = run.listing, run.header
    entry = listing.entries[value]
    terms = 0
    if entry.kind == "node":
        node = listing.nodes[entry.index]
        output = node.outputs.index(value)
        values = run.values(WRONG, node.inputs)

        def read(position: int, index: Any) -> list[int]:
            dtype = node.input_types[position].dtype
            size = {"i16": 2, "i32": 4, "i64": 8}.get(dtype, 1)
            kind = "u1" if size == 1 else f"<i{size}"
            array = np.frombuffer(values[node.inputs[position]], kind)
            return [int(v) for v in array[index]]

        reads = reads_of(node, Step(header.batch(WRONG), 5, WRONG), output, element, read)
        terms = reads.count if isinstance(reads, Sum) else 0
    return most_rounds(STEPS, header.values, entry.size(header.batch(WRONG)), terms)


@pytest.mark.parametrize(("kind", "seed"), COVER)
def test_a_flipped_bit_is_found_in_every_value(kind: str, seed: int) -> None:
    run = one_of(MAKERS[kind], seed)
    honest = MemoryRun(run, STEPS)
    rng = random.Random(seed)
    values = tried_values(honest.listing, rng)
    found = sum(is_found(honest, value, rng) for value in values)
    assert found > 0  # every other was refused by an operator, or is_found had failed


def is_found(honest: MemoryRun, value: int, rng: random.Random) -> bool:
    """Plays the dispute about a flipped bit of a value, which must be found; False where no machine
    goes on from it, since an operator refuses what follows from the lie as bad input."""
    entry = honest.listing.entries[value]
    size = int(np.prod(entry.shape(honest.header.batch(WRONG)), dtype=np.int64))
    element, side = rng.randrange(size), rng.randrange(2)
    liar = MemoryRun(honest.run, STEPS, alter=at_step(WRONG, flip(value, element)))
    liar.states = honest.states[: WRONG + 1]
    try:
        liar.roots(STEPS)
        liar.value_roots(WRONG)
    except ProgramError as error:
        assert error.name == "bad_input", error
        return False
    done = argue(honest, liar, side, STEPS, WRONG)
    assert done is not None
    assert done.failures[1 - side] == ""
    verdict = done.verdict
    assert (verdict.step, verdict.value) == (WRONG, value), entry
    assert verdict.guilty == (side == 0, side == 1)
    if entry.kind not in ("parameter", "state"):
        assert verdict.element == element
    assert done.rounds <= most(honest, value, element)
    return True


def tried_values(listing: Listing, rng: random.Random) -> list[int]:
    """A value of each kind that is given, and of each operator."""
    by_kind: dict[str, list[int]] = {}
    for v, entry in enumerate(listing.entries):
        node = listing.nodes[entry.index] if entry.kind == "node" else None
        by_kind.setdefault(node.operator.name if node else entry.kind, []).append(v)
    return sorted(rng.choice(values) for values in by_kind.values())


def operators_of(listing: Listing) -> set[str]:
    return {n.operator.name for n in listing.nodes}


def test_operators_that_those_do_not_have() -> None:
    missing, rng = set(OPERATORS), random.Random(1)
    for kind, seed in COVER:
        missing -= operators_of(Listing.of(one_of(MAKERS[kind], seed).program))
    for seed in range(100, 200):
        run = one_of(random_program, seed) if missing else None
        if run is None:
            break
        for name in sorted(missing & operators_of(Listing.of(run.program))):
            honest = MemoryRun(run, STEPS)
            value = next(n.outputs[0] for n in honest.listing.nodes if n.operator.name == name)
            if is_found(honest, value, rng):
                missing.discard(name)
    # Operators that only networks have; the referee is tried on all (test_trace_referee.py).
    assert len(missing) <= 3, missing
