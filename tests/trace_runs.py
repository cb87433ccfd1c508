"""Recorded runs for tests, and such as a machine with a fault would record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gvm
from gvm.model import Model
from gvm.trace.evaluate import Alter, Array
from gvm.trace.file import MAGIC, NAME, end, linked, read_trace, record
from gvm.trace.recorder import checkpoint_path, checkpoint_steps
from gvm.trace.replay import Replay
from tests.small_networks import CROSS_ENTROPY, examples, labels_for, mlp

EXAMPLES = 100


def fresh_model() -> Model:
    return Model.from_graph(mlp(), examples(mlp()), loss=CROSS_ENTROPY, progress=False)


def record_run(
    folder: Path,
    every: int | None = 4,
    epochs: int = 4,
    model: Model | None = None,
    **options: Any,
) -> Model:
    """35 steps of a small classifier, 7 in each epoch; returns the trained model."""
    model = model or fresh_model()
    (x,), y = examples(mlp(), EXAMPLES), labels_for(mlp(), CROSS_ENTROPY, EXAMPLES)
    options = {"optimizer": gvm.SGD(0.1, momentum=0.9), "seed": 3, **options}
    model.train(
        x,
        y,
        epochs=epochs,
        batch_size=16,
        trace=folder,
        trace_every=every,
        progress=False,
        **options,
    )
    return model


def flip(value: int, element: int, bit: int = 0) -> Alter:
    """A bit of an element of a value is wrong."""

    def alter(number: int, array: Array) -> Array:
        if number != value:
            return array
        changed = array.copy()
        flat = changed.reshape(-1)
        flat[element] = flat[element] ^ flat.dtype.type(1 << bit)
        return changed

    return alter


def at_step(step: int, alter: Alter) -> Callable[[int], Alter | None]:
    """A fault in one step."""
    return lambda s: alter if s == step else None


def forge(source: Path, folder: Path, alter: Callable[[int], Alter | None]) -> None:
    """The folder that a machine with a fault would have recorded in place of ``source``."""
    shutil.copytree(source, folder)
    with Replay(source, alter=alter) as replay:
        header = replay.header.encoded()
        link, made = replay.header.link, MAGIC + len(header).to_bytes(8, "little") + header
        replay.state(replay.header.step)
        for step in replay.trace.records:
            bodies = [record(step, replay.executed(step))]
            if step in checkpoint_steps(folder):
                model = Model.load(checkpoint_path(folder, step))
                parameters, state = replay.state(step)
                Model(model.program, parameters, state, model.training).save(
                    checkpoint_path(folder, step)
                )
            if step == replay.trace.last:
                bodies.append(end(step))
            for body in bodies:
                link = linked(link, body)
                made += body + link
    (folder / NAME).write_bytes(made)
    read_trace(folder)
