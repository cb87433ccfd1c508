"""Two workers beside one: steps of LeNet on MNIST in turn, on two processors.

    python -m benchmarks.workers --data DIR [--rounds 40]

Before it is timed, a run with each number of workers must come to the same state. The pools are
open at once and take rounds of steps in turn, so that whatever else a machine does falls on both;
each thread count is 1. Results go to ``benchmarks/results/workers.json``.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import gvm
from benchmarks.environment import environment, write_json
from benchmarks.mnist import CALIBRATION, read_mnist
from gvm import _core
from gvm.graph import Builder, Graph
from gvm.train import Plan, open_workers
from gvm.updates import with_optimizer

BATCH, SEED = 100, 0
STEPS = 10
"""Of a round."""
COUNTS = (1, 2)
GOAL = 1.7


def lenet() -> Graph:
    """Two convolutions of 20 and 50 maps, pooled, and 500 units."""
    draw = np.random.default_rng(SEED)
    g = Builder()

    def weights(name: str, *shape: int) -> int:
        fan_in = int(np.prod(shape[:-1]))
        return int(g.parameter(f"{name}/w", draw.normal(0, fan_in**-0.5, shape)))

    def bias(name: str, y: int, units: int) -> int:
        return int(g.bias_add(y, g.parameter(f"{name}/b", np.zeros(units)), name=name))

    x = g.input("x", (-1, 28, 28, 1))
    for name, maps in (("first", 20), ("second", 50)):
        y = g.conv2d(x, weights(name, 5, 5, g.shape(x)[3], maps))
        x = g.max_pool2d(g.relu(bias(name, y, maps)), window=(2, 2), strides=(2, 2))
    x = g.reshape(x, shape=(-1, 800))
    x = g.relu(bias("third", g.matmul(x, weights("third", 800, 500)), 500))
    return g.graph(predict=(bias("fourth", g.matmul(x, weights("fourth", 500, 10)), 10),))


def measure(x: Any, y: Any, rounds: int, counts: tuple[int, ...] = COUNTS) -> dict[str, Any]:
    """Seconds per step for each number of workers: the median over rounds, and that of the ratio
    of a round of one to the round beside it."""
    model = gvm.Model.from_graph(
        lenet(), x[:CALIBRATION], "softmax_cross_entropy", y[:CALIBRATION], progress=False
    )
    program = with_optimizer(model.program, gvm.SGD(0.02, momentum=0.9))
    data = program.encode()
    native = _core.Program(data)
    state = bytes(native.info()["state_bytes"])
    inputs, labels = model.examples(x, y, "workers")
    order = np.arange(len(x))
    seconds: dict[int, list[float]] = {n: [] for n in counts}
    with ExitStack() as stack:
        pools = {
            n: stack.enter_context(
                open_workers(
                    data,
                    Plan(1, BATCH, SEED, workers=n, threads=1),
                    inputs,
                    labels,
                    model.parameters,
                    state,
                )
            )
            for n in counts
        }
        for pool in pools.values():
            pool.losses = 3

        def steps(n: int, first: int) -> float:
            began = time.perf_counter()
            for step in range(first, first + STEPS):
                at = step * BATCH % (len(order) - BATCH + 1)
                pools[n].step(order[at : at + BATCH], step)
            return (time.perf_counter() - began) / STEPS

        ids = []
        for n in counts:
            steps(n, 0)
            ids.append(native.parameters_id(pools[n].session.read(2)))
        if len(set(ids)) != 1:
            raise gvm.GvmError("workers: the parameters depend on their number")
        for i in range(1, rounds + 1):
            for n in counts if i % 2 else counts[::-1]:
                seconds[n].append(steps(n, i * STEPS))
    one, *others = counts
    return {
        "rounds": rounds,
        "steps_per_round": STEPS,
        "batch": BATCH,
        "parameters_id": ids[0].hex(),
        "milliseconds": {n: round(1e3 * statistics.median(seconds[n]), 3) for n in counts},
        "speedup": {
            n: round(
                statistics.median(a / b for a, b in zip(seconds[one], seconds[n], strict=True)),
                3,
            )
            for n in others
        },
    }


def main(
    data: Annotated[Path, typer.Option(help="Folder of the idx files of MNIST.")],
    rounds: Annotated[int, typer.Option(min=2, help="Of each number of workers.")] = 40,
) -> None:
    """Measures, writes, and ends with status 1 when the goal is missed."""
    x, y, _, _ = read_mnist(data)
    found = measure(x[:10_000], y[:10_000], rounds)
    met = found["speedup"][2] >= GOAL
    path = write_json("workers", {**environment(), **found, "goal": GOAL, "met": met})
    Console().print(f"{found['milliseconds']} ms, {found['speedup']} times as fast: {path}")
    raise typer.Exit(0 if met else 1)


if __name__ == "__main__":
    typer.run(main)
