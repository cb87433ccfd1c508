"""Runs of random programs in memory, for disputes about every operator."""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from gvm import _core
from gvm.model import Model
from gvm.optimizers import SGD
from gvm.random import permutation
from gvm.templates import resnet
from gvm.tensors import convert_parameters
from gvm.trace.dispute import Dispute, play
from gvm.trace.evaluate import Alter, Array, Where, canonical, step_values
from gvm.trace.file import Header
from gvm.trace.game import Game
from gvm.trace.listing import LITTLE, Listing
from gvm.trace.player import Player
from gvm.types import NUMPY
from gvm.updates import with_optimizer
from tests.random_programs import Run, tensors

SEED = 5


class MemoryRun:
    """What a player needs of a run: some steps over the data of a random program, in batches of
    3."""

    def __init__(
        self, run: Run, steps: int, alter: Callable[[int], Alter | None] | None = None
    ) -> None:
        self.run, self.alter, self.steps = run, alter, steps
        self.program, self.listing = run.program, Listing.of(run.program)
        self.inputs, self.labels = list(run.inputs), list(run.labels)
        kinds = ("input", "label", "parameter", "state")
        types = {k: [self.listing.entries[v].type for v in self.listing.given(k)] for k in kinds}
        self.inputs = [
            a.astype(NUMPY[t.dtype]) for a, t in zip(run.inputs, types["input"], strict=True)
        ]
        self.labels = [
            a.astype(NUMPY[t.dtype]) for a, t in zip(run.labels, types["label"], strict=True)
        ]
        given = [*self.inputs, *self.labels], [*types["input"], *types["label"]]
        data = list(zip(*given, strict=True))
        header = Header(
            _core.Program(run.program.encode()).info()["train_id"],
            self.listing.id,
            tuple(_core.blake3(canonical(a, t.dtype)) for a, t in data),
            run.batch,
            min(3, run.batch),
            SEED,
            steps,
            len(self.listing.entries),
            len(types["input"]),
            len(types["parameter"]),
            len(types["parameter"]) + len(types["state"]),
        )
        first = [
            canonical(a, t.dtype) for a, t in zip(run.parameters, types["parameter"], strict=True)
        ]
        first += [canonical(np.zeros(t.shape), t.dtype) for t in types["state"]]
        self.states = [first]
        roots = b"".join(_core.blake3(t) for t in first)
        self.header = replace(header, state=_core.blake3(roots))
        self.trace = SimpleNamespace(records={}, header=self.header)

    def roots(self, step: int) -> bytes:
        while len(self.states) <= step:
            values = self.values(len(self.states) - 1, self.listing.results)
            self.states.append([values[v] for v in self.listing.results])
        return b"".join(_core.blake3(t) for t in self.states[step])

    def values(self, step: int, wanted: Container[int] | None = None) -> dict[int, bytes]:
        return {
            v: canonical(a, self.listing.entries[v].type.dtype)
            for v, a in self._execute(step)
            if wanted is None or v in wanted
        }

    def value_roots(self, step: int) -> bytes:
        values = self.values(step)
        return b"".join(_core.blake3(values[v]) for v in range(len(values)))

    def _execute(self, step: int) -> Any:
        self.roots(step)
        epoch, taken = self.header.place(step)
        batch = self.header.batch(step)
        picked = permutation(SEED, epoch, self.header.count)[taken : taken + batch]
        given: dict[int, Array] = {}
        for kind, arrays in (("input", self.inputs), ("label", self.labels)):
            for v, a in zip(self.listing.given(kind), arrays, strict=True):
                given[v] = a[picked]
        held = [*self.listing.given("parameter"), *self.listing.given("state")]
        for v, data in zip(held, self.states[step], strict=True):
            type_ = self.listing.entries[v].type
            array = np.frombuffer(data, LITTLE[type_.dtype]).reshape(type_.shape)
            given[v] = array.astype(NUMPY[type_.dtype])
        alter = None if self.alter is None else self.alter(step)
        return step_values(self.listing, Where(batch, SEED, step, 0, 1), given, alter)


def one_of(maker: Callable[[random.Random], Run], seed: int) -> Run:
    """A random run."""
    return maker(random.Random(seed))


def argue(honest: MemoryRun, liar: MemoryRun, side: int, last: int, wrong: int) -> Dispute | None:
    """The dispute between two runs about their last state, or about the step where only values
    differ; None where nothing differs. The liar is party ``side``."""
    runs = (liar, honest) if side == 0 else (honest, liar)
    players: Any = tuple(Player(run, i) for i, run in enumerate(runs))  # type: ignore[arg-type]
    ends = tuple(p.root(last) for p in players)
    header = honest.header
    if ends[0] != ends[1]:
        game = Game.begin(header, players[0].root(0), last, ends)
    elif honest.value_roots(wrong) != liar.value_roots(wrong):
        # The last states are equal again, or the lie moves no state at all.
        after = players[0].root(wrong + 1), players[1].root(wrong + 1)
        game = Game.of_step(header, wrong, players[0].root(wrong), after)
    else:
        return None
    return play(game, players)


def run_of(model: Model, x: Array, labels: Array) -> Run:
    """A model with momentum, and its data."""
    program = with_optimizer(model.program, SGD(0.1, momentum=0.9))
    inputs, targets = model.examples(x, labels, "test")
    types = _core.Program(model.bytes).tensors(2)
    parameters = convert_parameters(model.parameters, types, program.parameters)
    return Run(program, tuple(inputs), tuple(targets), tensors(program, 2, parameters))


def residual(rng: random.Random) -> Run:
    """A small network with batch normalisation."""
    x = np.random.default_rng(rng.getrandbits(32)).normal(size=(8, 8, 8, 3))
    made = resnet(8, (8, 8, 3), 4, width=4, batch_norm=True, calibration=x, max_batch=8)
    return run_of(made, x, np.arange(8) % 4)
