"""What a trace costs: the time of records beside that of the steps between them.

    python -m benchmarks.trace_overhead --save

For each network a session takes `every` steps, then records its state as training does (hashes, a
checkpoint in the folder where one is due), then `every` steps again, in turns, so that whatever
else runs meets both. `every` is what the trace chooses by itself (gvm/trace/recorder.py) and parts
and multiples of it. The status is 1 when the chosen one costs more than a twentieth. One thread.
Takes about two minutes on a quiet machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import gvm
from benchmarks.environment import environment, write_json
from gvm.model import Model
from gvm.random import permutation
from gvm.templates import mlp, resnet
from gvm.trace.recorder import Recorder, chosen_interval
from gvm.train import Plan, TrainingState, open_workers
from gvm.updates import with_optimizer

GOAL, SEED, WARM = 0.05, 5, 3


def networks() -> dict[str, tuple[Model, int]]:
    """Networks and their batch sizes: much and little work for each parameter."""
    return {
        "mlp 784-1000-1000-10": (mlp((784, 1000, 1000, 10), max_batch=100), 100),
        "mlp 24-32-5": (mlp((24, 32, 5), max_batch=32), 32),
        "resnet8, 32 x 32": (resnet(8, (32, 32, 3), 10, max_batch=32), 32),
    }


def measured(model: Model, batch: int, every: int | None, turns: int) -> dict[str, Any]:
    """Seconds of steps and of records, in turns."""
    program = with_optimizer(model.program, gvm.SGD(0.001, momentum=0.9))
    rng, count = np.random.default_rng(SEED), 4 * batch
    x = rng.normal(size=(count, *program.inputs[0].shape[1:]))
    inputs, labels = model.examples(x, rng.integers(0, 5, count), "measured")
    parameters, state, start = _begun(model)
    plan = Plan(1, batch, SEED, 1, None, 1, -1)
    order, stepping, recording = permutation(SEED, 0, count), 0.0, []
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "run", every)
        recorder.begin(model, program, inputs, labels, start, plan, False, (parameters, state))
        every, step = recorder.header.every, 0
        with open_workers(program.encode(), plan, inputs, labels, parameters, state) as workers:
            workers.losses = 1
            for turn in range(-WARM, turns):
                began = time.perf_counter()
                for _ in range(every):
                    at = step * batch % count
                    workers.step(order[at : at + batch], step)
                    step += 1
                between = time.perf_counter()
                recorder.write(workers.session, replace(start, step=step))
                if turn >= 0:
                    stepping += between - began
                    recording.append(time.perf_counter() - between)
    return {
        "every": every,
        "records": turns,
        "step_ms": round(1e3 * stepping / (turns * every), 4),
        "record_ms": round(1e3 * sum(recording) / turns, 4),
        "record_ms_median": round(1e3 * float(np.median(recording)), 4),
        "overhead": round(sum(recording) / stepping, 4),
    }


def _begun(model: Model) -> tuple[bytes, bytes, TrainingState]:
    from gvm.training_run import _begun as begun

    _, parameters, state, start = begun(model, gvm.SGD(0.001, momentum=0.9), None, None, SEED, 1000)
    return parameters, state, start


def main(
    turns: Annotated[int, typer.Option(min=1, help="Records of each row.")] = 48,
    save: Annotated[
        bool, typer.Option(help="Write benchmarks/results/trace_overhead.json.")
    ] = False,
) -> None:
    """Measures the overhead of traces for chosen and other intervals."""
    say = Console(stderr=True).print
    rows: list[dict[str, Any]] = []
    missed = False
    for name, (model, batch) in networks().items():
        program = with_optimizer(model.program, gvm.SGD(0.001, momentum=0.9))
        chosen = chosen_interval(program, batch)
        for every in sorted({max(1, chosen // 4), chosen, 4 * chosen}):
            row: dict[str, Any] = {"network": name, "batch_size": batch, "chosen": every == chosen}
            row |= measured(model, batch, every, turns)
            rows.append(row)
            missed |= row["chosen"] and row["overhead"] > GOAL
            say(row)
    if save:
        found = {"goal": GOAL, "rows": rows, "environment": environment()}
        write_json("trace_overhead", found)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
