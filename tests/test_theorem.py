"""The theorem (docs/arithmetic.md): for every accepted program and every partition of a batch over
micro-batches, threads and workers, and on every kind of CPU, the state after a step is equal."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gvm import _core
from tests.interpreter import interpret
from tests.random_networks import random_network, wide_network
from tests.random_programs import Run, packed, random_program

PARAMETERS, STATE = 2, 3
SEED, STEPS = 0x0123456789ABCDEF, 2


@dataclass(frozen=True)
class Worker:
    """One worker's part of a batch: micro-batches that follow each other, on one session."""

    micro_batches: tuple[int, ...]
    threads: int
    level: int


@dataclass(frozen=True)
class Outcome:
    """All that a step decides."""

    totals: tuple[tuple[int, ...], ...]
    parameters: bytes
    state: bytes


def execute(run: Run, workers: Sequence[Worker], first_step: int = 0, shift: int = 0) -> Outcome:
    """Some steps on the same batch, each worker with its own copy of the parameters.

    ``shift`` tells all but the first shard a wrong offset: the fault that the tests must notice.
    """
    program = _core.Program(run.program.encode())
    info = program.info()
    sessions = [_core.Session(program, w.threads, w.level) for w in workers]
    for session in sessions:
        session.write(PARAMETERS, packed(run.program, PARAMETERS, run.parameters))
        session.write(STATE, bytes(info["state_bytes"]))
    seen = []
    for step in range(first_step, first_step + STEPS):
        shards, offset = [], 0
        for session, worker in zip(sessions, workers, strict=True):
            for n in worker.micro_batches:
                part = slice(offset, offset + n)
                inputs, labels = ([a[part] for a in arrays] for arrays in (run.inputs, run.labels))
                told = offset - shift if offset else 0
                shards.append(_core.Shard(session, inputs, labels, told, run.batch, SEED, step))
                offset += n
        assert offset == run.batch
        totals = np.zeros(info["totals"], dtype=np.int64)
        for segment in range(info["segments"]):
            sums = np.zeros_like(totals)
            # Any order: the last shard first.
            for shard in reversed(shards):
                shard.run(segment, totals, sums)
            totals += sums
        for session in sessions:
            session.apply(totals, SEED, step)
        seen.append(tuple(int(v) for v in totals))
    ends = {(session.read(PARAMETERS), session.read(STATE)) for session in sessions}
    assert len(ends) == 1
    ((parameters, state),) = ends
    return Outcome(tuple(seen), parameters, state)


def random_workers(rng: random.Random, batch: int) -> list[Worker]:
    """A partition of a batch."""
    cuts = sorted(rng.sample(range(1, batch), rng.randrange(batch)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, batch], strict=True)]
    workers = []
    while sizes:
        taken = rng.randrange(1, len(sizes) + 1)
        workers.append(
            Worker(tuple(sizes[:taken]), rng.randrange(1, 4), rng.choice(_core.levels()))
        )
        sizes = sizes[taken:]
    return workers


# A seed makes the whole program, so there is nothing to shrink.
SEEDS = st.integers(0, 2**64 - 1)
PHASES = (Phase.explicit, Phase.generate)
PROGRAMS: dict[str, Callable[[random.Random], Run]] = {
    "programs": random_program,
    "networks": random_network,
}


@pytest.mark.parametrize("kind", PROGRAMS)
@settings(max_examples=16, phases=PHASES)
@given(seed=SEEDS)
def test_state_is_equal_for_every_partition(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    run = PROGRAMS[kind](rng)
    first_step = rng.choice((0, 7, 2**33))
    alone = execute(run, [Worker((run.batch,), 1, 0)], first_step)
    for _ in range(2):
        workers = random_workers(rng, run.batch)
        assert execute(run, workers, first_step) == alone, workers


def test_threads_share_large_tensors() -> None:
    run = wide_network(random.Random(1))
    alone = execute(run, [Worker((run.batch,), 1, 0)])
    for level in _core.levels():
        assert execute(run, [Worker((run.batch,), 3, level)]) == alone
    assert execute(run, [Worker((7, 2), 2, max(_core.cpu_levels())), Worker((3,), 3, 0)]) == alone


def test_a_wrong_offset_is_noticed() -> None:
    runs = [random_program(random.Random(seed)) for seed in range(12)]
    runs = [r for r in runs if r.batch > 2]
    noticed = [
        execute(r, [Worker((2, r.batch - 2), 1, 0)])
        != execute(r, [Worker((2, r.batch - 2), 1, 0)], shift=1)
        for r in runs
    ]
    assert any(noticed)


@pytest.mark.parametrize("kind", PROGRAMS)
@settings(max_examples=10, phases=PHASES)
@given(seed=SEEDS)
def test_predictions_and_losses_do_not_know_their_batch(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    run = PROGRAMS[kind](rng)
    program = _core.Program(run.program.encode())
    level, threads = rng.choice(_core.levels()), rng.randrange(1, 4)
    sessions = [_core.Session(program, 1, 0), _core.Session(program, threads, level)]
    for session in sessions:
        session.write(PARAMETERS, packed(run.program, PARAMETERS, run.parameters))
    whole = sessions[0].predict(list(run.inputs))
    loss = sessions[0].loss(list(run.inputs), list(run.labels))
    parts, losses = [], []
    for i in range(run.batch):
        one = slice(i, i + 1)
        inputs, labels = ([a[one] for a in arrays] for arrays in (run.inputs, run.labels))
        parts.append(sessions[1].predict(inputs))
        losses.append(sessions[1].loss(inputs, labels))
    for k, output in enumerate(whole):
        axis = run_output_axis(program, k)
        joined = np.concatenate([part[k] for part in parts], axis=axis)
        assert np.array_equal(joined, output)
    assert tuple(int(v) for v in np.sum(losses, axis=0)) == loss


def run_output_axis(program: Any, output: int) -> int:
    """The batch axis of an output of predict."""
    axis = program.tensors(4)[output][0].batch_axis
    assert axis is not None
    return int(axis)


# --- The definition ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROGRAMS)
@settings(max_examples=5, phases=PHASES)
@given(seed=SEEDS)
def test_core_computes_what_the_references_define(kind: str, seed: int) -> None:
    run = PROGRAMS[kind](random.Random(seed)).head(3)
    totals, parameters, state = interpret(run, SEED, STEPS)
    by_definition = Outcome(tuple(totals), parameters, state)
    assert execute(run, [Worker((run.batch,), 1, max(_core.cpu_levels()))]) == by_definition
