"""Training: the loop over epochs and steps. Every step is a fact: its totals are exact sums, its
rounding is drawn from (seed, step)."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core, cbor
from gvm.checkpoints import Best, Checkpoints
from gvm.errors import GvmError, ProgramError
from gvm.files import write_bytes
from gvm.loss import Loss
from gvm.loss_totals import loss_places
from gvm.program import Program
from gvm.progress import progress_bar
from gvm.random import permutation
from gvm.saturation import Counts, Saturation, Tensor
from gvm.shards import ShardRunner

if TYPE_CHECKING:
    from gvm.model import Model
    from gvm.trace.recorder import Recorder

Arrays = Sequence[NDArray[Any]]
APPLY = 3


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: exact sums over its steps (rounded as in training), and the loss on the
    validation data."""

    epoch: int
    steps: int
    total: int
    """Sum of the training loss, 24 fraction bits."""
    count: int
    correct: int
    validation: Loss | None = None
    seconds: float = field(default=0.0, compare=False)
    """What this machine took: no part of the state."""

    @property
    def loss(self) -> float:
        """Mean training loss."""
        return self.total / 2**24 / max(1, self.count)

    @property
    def accuracy(self) -> float:
        """Share of training examples classified correctly while they were trained on."""
        return self.correct / max(1, self.count)


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands: with the parameters, the optimizer's state, the data and the batch size,
    all that the next step depends on."""

    seed: int
    step: int
    epoch: int
    epochs: tuple[Epoch, ...] = ()
    partial: tuple[int, int, int, int] | None = None
    """Of an epoch that is not finished: its steps so far, and the sums of the loss over them, of
    which the count is the number of examples that it has taken."""

    def encoded(self) -> dict[str, Any]:
        """As canonical values; what is measured (seconds) stays out."""
        body: dict[str, Any] = {
            "seed": self.seed,
            "step": self.step,
            "epoch": self.epoch,
            "history": [
                [
                    e.epoch,
                    e.steps,
                    e.total,
                    e.count,
                    e.correct,
                    None if e.validation is None else list(e.validation.integers),
                ]
                for e in self.epochs
            ],
        }
        return body if self.partial is None else body | {"partial": list(self.partial)}

    @staticmethod
    def decoded(body: dict[str, Any]) -> TrainingState:
        """The inverse of ``encoded``."""
        epochs = tuple(
            Epoch(epoch, steps, total, count, correct, None if checked is None else Loss(*checked))
            for epoch, steps, total, count, correct, checked in body["history"]
        )
        steps, total, count, correct = body.get("partial", (0, 0, 0, 0))
        partial = (steps, total, count, correct) if "partial" in body else None
        return TrainingState(body["seed"], body["step"], body["epoch"], epochs, partial)


@dataclass
class History:
    """The course of a run.

    ``epochs`` has those after the best one too where a run was stopped by patience; ids and
    ``steps`` are those of the best, which the model then holds.
    """

    epochs: list[Epoch] = field(default_factory=list)
    train_id: str = ""
    parameters_id: str = ""
    state_id: str = ""
    steps: int = 0
    clamped: dict[str, int] = field(default_factory=dict)
    """Elements that rounding clamped in the run, by node of ``grad`` and ``apply``; nodes without
    any are left out."""
    tensors: list[Tensor] = field(default_factory=list)
    """Formats, and what was clamped in each epoch: of parameters, and of values of
    which anything was."""

    def rows(self) -> list[dict[str, Any]]:
        """One row per epoch, for tables."""
        return [
            {
                "epoch": e.epoch,
                "loss": e.loss,
                "accuracy": e.accuracy,
                "loss_total": e.total,
                "count": e.count,
                "correct": e.correct,
                "validation_loss": None if e.validation is None else float(e.validation),
                "validation_accuracy": None if e.validation is None else e.validation.accuracy,
                "validation_total": None if e.validation is None else e.validation.total,
                "seconds": round(e.seconds, 3),
            }
            for e in self.epochs
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes .json (ids and rows) or .csv (rows), by the name; whole or not at all."""
        name = os.fspath(path)
        if name.endswith(".csv"):
            out = StringIO()
            writer = csv.DictWriter(
                out, fieldnames=list(self.rows()[0]) if self.epochs else ["epoch"]
            )
            writer.writeheader()
            writer.writerows(self.rows())
            write_bytes(path, out.getvalue().encode())
        elif name.endswith(".json"):
            ids = {k: v for k, v in asdict(self).items() if k != "epochs"}
            write_bytes(
                path, (json.dumps({**ids, "epochs": self.rows()}, indent=1) + "\n").encode()
            )
        else:
            raise GvmError(f"a history is saved as .json or .csv, received {name!r}")

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws loss and accuracy per epoch as PNG or SVG, by the name."""
        from gvm.plots import plot_history

        plot_history(self, path)

    def plot_saturation(self, path: str | os.PathLike[str]) -> None:
        """Draws the share of clamped elements per tensor and epoch as PNG or SVG, by the name."""
        from gvm.plots import plot_saturation

        plot_saturation([t.row() for t in self.tensors], path)


def state_id(train_id: bytes, parameters_id: bytes, state: bytes, training: TrainingState) -> str:
    """BLAKE3 of all that a run consists of (numerics section 9), in hex."""
    body = {
        "train": train_id,
        "parameters": parameters_id,
        "state": _core.blake3(state),
        "training": training.encoded(),
    }
    return _core.blake3(b"gvm.state.v1\n" + cbor.encode(body)).hex()


@dataclass(frozen=True)
class Plan:
    """How a run is executed. None of it but the batch size and the seed moves a bit of the
    result."""

    epochs: int
    batch_size: int
    seed: int
    workers: int = 1
    micro_batch: int | None = None
    threads: int = 0
    level: int = -1
    cluster: str | None = None
    """"ray": the other workers are actors; None: processes of this machine."""


@contextmanager
def open_workers(
    program: bytes, plan: Plan, inputs: Arrays, labels: Arrays, parameters: bytes, state: bytes
) -> Iterator[Any]:
    """The workers of a run: this process alone, or others beside it."""
    if plan.workers > 1 and plan.cluster == "ray":
        from gvm.ray_workers import RayPool

        with RayPool(program, plan, inputs, labels, parameters, state) as actors:
            yield actors
    elif plan.workers > 1:
        from gvm.workers import WorkerPool

        with WorkerPool(program, plan, inputs, labels, parameters, state) as pool:
            yield pool
    else:
        yield Alone(program, plan, inputs, labels, parameters, state)


class Alone:
    """All shards in this process, one after the other."""

    def __init__(
        self,
        program: bytes,
        plan: Plan,
        inputs: Arrays,
        labels: Arrays,
        parameters: bytes,
        state: bytes,
    ) -> None:
        native = _core.Program(program)
        self.session = _core.Session(native, plan.threads, plan.level)
        self.session.write(2, parameters)
        self.session.write(3, state)
        self.runner = ShardRunner(native, self.session, inputs, labels, plan.micro_batch, plan.seed)
        self.whole = plan.micro_batch is None or plan.micro_batch >= plan.batch_size
        self.losses = int(native.info()["loss_outputs"])
        """So many totals are asked for; the caller knows where the loss is among them."""
        self.totals = np.zeros(0 if self.whole else self.runner.total_elements, dtype=np.int64)
        # What a segment reads must not overlap with what it writes.
        self.earlier = np.zeros_like(self.totals)

    def step(self, indices: NDArray[Any], step: int) -> NDArray[Any]:
        """One step on these examples; returns the totals, of the loss at least, which stay until
        the next step."""
        if self.whole:
            return self.runner.step(indices, step, self.losses)
        self.runner.start(indices, 0, len(indices), step)
        for segment, where in enumerate(self.runner.ranges):
            self.totals[where] = 0
            self.runner.run(segment, self.earlier, self.totals)
            if segment < self.runner.segments - 1:
                self.earlier[where] = self.totals[where]
        self.runner.apply(self.totals, step)
        return self.totals

    def clamps(self, function: int) -> list[int]:
        """Elements that rounding has clamped, by node."""
        return list(self.session.clamps(function))


def train(
    model: Model,
    program: Program,
    inputs: Arrays,
    labels: Arrays,
    parameters: bytes,
    state: bytes,
    start: TrainingState,
    plan: Plan,
    validation: tuple[Arrays, Arrays] | None,
    patience: int | None,
    checkpoints: Checkpoints | None,
    best: Best | None,
    progress: bool | None,
    trace: Recorder | None = None,
) -> tuple[bytes, bytes, TrainingState, History, Counts | None]:
    """Runs the steps of a compiled training program from ``start``; returns parameters, state,
    where the run stands, its history, and what was clamped. ``best``: of the epochs before, with
    what it held."""
    count = len(inputs[0])
    data = program.encode()
    native = _core.Program(data)
    with open_workers(data, plan, inputs, labels, parameters, state) as workers:
        places = loss_places(program, native)
        workers.losses = max(places) + 1
        training = start
        watch = Saturation(program, workers, start, model.saturation)
        if checkpoints is not None:
            checkpoints.counts = watch.counts
        if trace is not None and trace.due(start.step):
            trace.write(workers.session, start)
        steps_per_epoch = -(-count // plan.batch_size)
        with progress_bar(
            max(0, plan.epochs - start.epoch) * steps_per_epoch, "training", progress
        ) as advance:
            for epoch in range(start.epoch, plan.epochs):
                began = time.perf_counter()
                order = permutation(plan.seed, epoch, count)
                steps, *sums = training.partial or (0, 0, 0, 0)
                for at in range(sums[1], count, plan.batch_size):
                    totals = _step(workers, order[at : at + plan.batch_size], training.step)
                    for i, place in enumerate(places):
                        sums[i] += int(totals[place])
                    steps += 1
                    training = replace(
                        training,
                        step=training.step + 1,
                        partial=(steps, sums[0], sums[1], sums[2]),
                    )
                    advance(f"loss {sums[0] / 2**24 / sums[1]:.4f}")
                    if trace is not None and sums[1] < count and trace.due(training.step):
                        trace.write(workers.session, training)
                    if checkpoints is not None and checkpoints.due(training.step):
                        if sums[1] < count and not watch.diverged:
                            session = workers.session
                            checkpoints.write(session.read(2), session.read(3), training)
                checked = None
                if validation is not None:
                    checked = Loss.sum(
                        Loss(
                            *workers.session.loss(
                                [x[p] for x in validation[0]], [y[p] for y in validation[1]]
                            )
                        )
                        for p in batches(len(validation[0][0]), plan.batch_size)
                    )
                done = Epoch(
                    epoch + 1,
                    steps,
                    sums[0],
                    sums[1],
                    sums[2],
                    checked,
                    time.perf_counter() - began,
                )
                training = replace(
                    training, epoch=epoch + 1, epochs=(*training.epochs, done), partial=None
                )
                watch.look(training, steps, sums[1])
                if trace is not None and trace.due(training.step):
                    trace.write(workers.session, training)
                if checkpoints is not None and not watch.diverged:
                    session = workers.session
                    checkpoints.write(session.read(2), session.read(3), training)
                if checked is not None and (patience is not None or checkpoints is not None):
                    if best is None or checked < best[0]:
                        best = (checked, workers.session.read(2), workers.session.read(3), training)
                        if checkpoints is not None:
                            checkpoints.write_best(best)
                    elif patience is not None and epoch + 1 - best[3].epoch >= patience:
                        break
        if trace is not None:
            trace.finish(workers.session, training)
        course = training.epochs
        parameters, state = workers.session.read(2), workers.session.read(3)
        if best is not None and patience is not None:
            _, parameters, state, training = best
        clamped = model.clamp_report(workers, program) | watch.total()
        counts = watch.counts(training)
    parameters_id = native.parameters_id(parameters)
    train_id = native.info()["train_id"]
    history = History(
        list(course),
        train_id.hex(),
        parameters_id.hex(),
        state_id(train_id, parameters_id, state, training),
        training.step,
        clamped,
        watch.tensors,
    )
    return parameters, state, training, history, counts


def _step(workers: Any, indices: NDArray[Any], step: int) -> NDArray[Any]:
    try:
        totals: NDArray[Any] = workers.step(indices, step)
    except ProgramError as error:  # what a file holds is judged when it is read
        raise ProgramError(f"train, step {step}: {error}", error.status, error.name) from error
    return totals


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` examples."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
