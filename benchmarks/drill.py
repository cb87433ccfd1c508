"""The drill: one training run executed in every way there is must end in one state.

    python -m benchmarks.drill [--steps 10000] [--quick]

A small convolutional network is trained with stochastic rounding and momentum in both profiles on
every CPU level of this machine, times {1, 2} threads, {1, 2, 3, 7} workers and three micro-batches,
and on every level by 48 workers, most of which have no example in a step of 12. Parameters,
optimizer state, every epoch's exact totals and the clamp counts must be equal. Status 1 where they
are not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import gvm
from benchmarks.environment import environment, write_json
from gvm.graph import Builder, Graph
from gvm.progress import progress_bar

PROFILES = ("w32", "w16")
THREADS = (1, 2)
WORKERS = (1, 2, 3, 7)
MICRO_BATCHES = (None, 1, 5)
CROWD = 48
"""Workers of one more way on each level: a product with these would take hours."""
BATCH = 12
EXAMPLES = 596
"""Not a multiple of the batch: the last step of an epoch has 8 examples."""
STEPS_PER_EPOCH = -(-EXAMPLES // BATCH)
SIZE, CLASSES = 6, 4
SEED = 2026


@dataclass(frozen=True)
class Way:
    """One way to execute the run."""

    profile: str
    backend: str
    threads: int
    workers: int
    micro_batch: int | None

    def __str__(self) -> str:
        split = "whole" if self.micro_batch is None else self.micro_batch
        return (
            f"{self.profile}, {self.backend}, threads {self.threads}, workers {self.workers}, "
            f"micro-batch {split}"
        )


def ways(profiles: tuple[str, ...] = PROFILES) -> Iterator[Way]:
    """Every way this machine has; the first of each profile is the plainest."""
    backends = gvm.backends()[1:]
    for choice in product(profiles, backends, THREADS, WORKERS, MICRO_BATCHES):
        yield Way(*choice)
    for profile, backend in product(profiles, backends):
        yield Way(profile, backend, 1, CROWD, None)


def network() -> Graph:
    """Two convolutions, a maximum pooling and a dense layer, with weights of a fixed seed."""
    rng = np.random.default_rng(SEED)

    def weights(*shape: int) -> NDArray[Any]:
        fan = int(np.prod(shape[:-1]))
        return rng.normal(0, (2 / fan) ** 0.5, shape)

    g = Builder()
    x = g.input("x", (-1, SIZE, SIZE, 1))
    first = g.bias_add(
        g.conv2d(x, g.parameter("w1", weights(3, 3, 1, 8)), padding=(1, 1, 1, 1)),
        g.parameter("b1", np.zeros(8)),
    )
    pooled = g.max_pool2d(g.relu(first), window=(2, 2), strides=(2, 2))
    second = g.bias_add(
        g.conv2d(pooled, g.parameter("w2", weights(2, 2, 8, 8))), g.parameter("b2", np.zeros(8))
    )
    flat = g.reshape(g.relu(second), shape=(-1, 32))
    logits = g.bias_add(
        g.matmul(flat, g.parameter("w3", weights(32, CLASSES))),
        g.parameter("b3", np.zeros(CLASSES)),
    )
    return g.graph(predict=(logits,))


def data() -> tuple[NDArray[Any], NDArray[Any]]:
    """Noisy images of four patterns, and their classes."""
    rng = np.random.default_rng(SEED)
    patterns = rng.normal(size=(CLASSES, SIZE, SIZE, 1))
    labels = rng.integers(0, CLASSES, EXAMPLES)
    return patterns[labels] + rng.normal(0, 1.5, (EXAMPLES, SIZE, SIZE, 1)), labels


def execute(graph: Graph, way: Way, steps: int) -> tuple[dict[str, Any], float]:
    """What the run came to, and its seconds; ``steps`` is rounded up to whole epochs."""
    x, y = data()
    model = gvm.Model.from_graph(
        graph, x[:64], loss="softmax_cross_entropy", labels=y[:64], progress=False
    )
    began = time.perf_counter()
    history = model.train(
        x,
        y,
        optimizer=gvm.SGD(0.02, momentum=0.9),
        epochs=-(-steps // STEPS_PER_EPOCH),
        batch_size=BATCH,
        seed=SEED,
        profile=way.profile,
        backend=way.backend,
        threads=way.threads,
        workers=way.workers,
        micro_batch=way.micro_batch,
        progress=False,
    )
    facts = {
        "parameters_id": history.parameters_id,
        "state_id": history.state_id,
        "steps": history.steps,
        "loss_total": history.epochs[-1].total,
        "correct": history.epochs[-1].correct,
        "clamped": history.clamped,
    }
    return facts, time.perf_counter() - began


def drill(
    steps: int, profiles: tuple[str, ...] = PROFILES, show: bool | None = False
) -> tuple[dict[str, dict[str, Any]], dict[Way, dict[str, Any]], dict[Way, float]]:
    """Executes every way: what each profile must come to, the ways that differ, and seconds."""
    graph = network()
    expected: dict[str, dict[str, Any]] = {}
    different: dict[Way, dict[str, Any]] = {}
    seconds: dict[Way, float] = {}
    todo = list(ways(profiles))
    with progress_bar(len(todo), "drill", show) as advance:
        for way in todo:
            facts, seconds[way] = execute(graph, way, steps)
            if facts != expected.setdefault(way.profile, facts):
                different[way] = facts
            advance(f"{way}; {len(different)} differ")
    return expected, different, seconds


def table(different: dict[Way, dict[str, Any]], seconds: dict[Way, float]) -> Table:
    """Rows: profile, CPU level and threads. Columns: workers, with what differs, or seconds."""
    columns = sorted({w.workers for w in seconds})
    made = Table("profile", "backend", "threads", *(f"{w} w." for w in columns))
    for row in dict.fromkeys((w.profile, w.backend, w.threads) for w in seconds):
        cells = []
        for workers in columns:
            of = [w for m in MICRO_BATCHES if (w := Way(*row, workers, m)) in seconds]
            odd = [str(w.micro_batch or "whole") for w in of if w in different]
            cells.append(
                f"[red]{', '.join(odd)} differ[/]" if odd else f"{sum(seconds[w] for w in of):.1f}"
            )
        made.add_row(*map(str, row), *cells)
    splits = ", ".join(str(m or "whole") for m in MICRO_BATCHES)
    made.caption = (
        f"seconds, by workers, micro-batches {splits} together; equal unless it says differ"
    )
    return made


def main(
    steps: Annotated[int, typer.Option(min=1)] = 10_000,
    quick: Annotated[bool, typer.Option(help="200 steps, and write no result.")] = False,
) -> None:
    """Executes the drill; status 1 when a way differs."""
    console = Console()
    where = environment()
    expected, different, seconds = drill(200 if quick else steps, show=None)
    console.print(table(different, seconds))
    for profile, facts in expected.items():
        print(f"{profile}: {facts['steps']} steps, parameters {facts['parameters_id']}")
    for way, facts in different.items():
        print(f"DIFFERS: {way}: parameters {facts['parameters_id']}", file=sys.stderr)
    print(f"{len(seconds)} ways, {len(different)} differ, {sum(seconds.values()):.0f} s")
    if not quick:
        write_json(
            "drill",
            {
                "environment": where,
                "expected": expected,
                "different": {str(w): f for w, f in different.items()},
                "ways": len(seconds),
                "seconds": {str(w): round(s, 2) for w, s in seconds.items()},
                "seconds_total": round(sum(seconds.values()), 1),
            },
        )
    raise typer.Exit(1 if different else 0)


if __name__ == "__main__":
    typer.run(main)
