"""Verifying a recorded step by its claimed sums, beside executing it.

    python -m benchmarks.verify_fast [--rounds 9] [--only NAME] [--threads 1] [--save]

Each network trains for three steps on data of its own, recorded; the sums of the last are written
(``gvm trace --products``). First it is shown that the check ends in the state of the step, and that
a change of any product is found; then step and check take turns, from the same state. A check reads
the sums from their file (in the machine's cache) and executes all but the products. Medians of
seconds; the goal is a fifth of the step, for steps made of products: those marked so.
The status is 1 when a check is wrong. About two minutes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import gvm
from benchmarks.environment import environment, write_json
from gvm import _core
from gvm.graph import Builder
from gvm.model import Model
from gvm.templates import mlp, resnet
from gvm.trace.fast import verify_fast
from gvm.trace.products import Reader, products_path, write_products
from gvm.trace.recorder import PARAMETERS, STATE
from gvm.trace.replay import Machine, Replay

GOAL = 0.2
SEED, CLASSES, STEPS = 3, 10, 3
Session = Any


@dataclass(frozen=True)
class Network:
    """What is trained: a model made of examples, and its batch."""

    make: Callable[[Any, Any], Model]
    shape: tuple[int, ...]
    batch: int
    goal: bool
    """Whether its step is made of products, to which the goal applies."""


def lenet(x: Any, y: Any, batch: int) -> Model:
    """Two convolutions of 5 x 5, each with a maximum over 2 x 2, and two dense layers."""
    rng, g = np.random.default_rng(SEED), Builder()

    def weights(name: str, *shape: int) -> Any:
        scale = float(np.sqrt(2 / np.prod(shape[:-1])))
        return g.parameter(name, rng.normal(0, scale, shape))

    z = g.input("x", (-1, *x.shape[1:]))
    for i, (inputs, filters) in enumerate(((1, 20), (20, 50))):
        z = g.conv2d(z, weights(f"w{i}", 5, 5, inputs, filters))
        z = g.relu(g.bias_add(z, g.parameter(f"b{i}", np.zeros(filters))))
        z = g.max_pool2d(z, window=(2, 2), strides=(2, 2))
    z = g.reshape(z, shape=(-1, 800))
    z = g.relu(g.bias_add(g.matmul(z, weights("w2", 800, 500)), g.parameter("b2", np.zeros(500))))
    z = g.bias_add(g.matmul(z, weights("w3", 500, CLASSES)), g.parameter("b3", np.zeros(CLASSES)))
    graph = g.graph(predict=(z,))
    return Model.from_graph(graph, x, "softmax_cross_entropy", y, max_batch=batch, progress=False)


def dense(*widths: int) -> Callable[[Any, Any], Model]:
    """An MLP, calibrated."""
    return lambda x, y: mlp((784, *widths, CLASSES), calibration=x, max_batch=len(x))


def residual(width: int) -> Callable[[Any, Any], Model]:
    """ResNet-18 with so many filters in its first stage."""
    return lambda x, y: resnet(
        18, (32, 32, 3), CLASSES, width=width, calibration=x[:8], max_batch=len(x)
    )


NETWORKS = {
    "mlp-1000, batch 100": Network(dense(1000, 1000), (784,), 100, False),
    "mlp-1000, batch 1000": Network(dense(1000, 1000), (784,), 1000, True),
    "mlp-2000, batch 2000": Network(dense(2000, 2000), (784,), 2000, True),
    "lenet, batch 100": Network(lambda x, y: lenet(x, y, 100), (28, 28, 1), 100, False),
    "resnet18, batch 32": Network(residual(64), (32, 32, 3), 32, True),
}


def recorded(network: Network, folder: Path) -> None:
    """Trains and writes the sums of the last step."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(network.batch, *network.shape))
    y = rng.integers(0, CLASSES, network.batch)
    network.make(x, y).train(
        x,
        y,
        optimizer=gvm.SGD(0.01, momentum=0.9),
        epochs=STEPS,
        batch_size=network.batch,
        seed=SEED,
        trace=folder,
        trace_every=1,
        progress=False,
    )
    write_products(folder, (STEPS - 1, STEPS - 1), progress=False)


def measure(network: Network, rounds: int, threads: int, folder: Path) -> dict[str, Any]:
    """Verifies, then times."""
    recorded(network, folder)
    step = STEPS - 1
    found = verify_fast(folder, (step, step), progress=False)
    with Replay(folder, Machine(threads=threads)) as replay:
        picked = replay.indices(step)
        inputs = [a[picked] for a in replay.inputs]
        labels = [a[picked] for a in replay.labels]
        state, reader = replay.state(step), Reader(replay)
        sums = [(node, array.copy()) for node, array in reader.read(step).products]
        sessions: dict[str, Session] = {}
        for name in ("step", "check"):
            sessions[name] = _core.Session(replay.native, threads, -1)

        def begin(session: Session) -> None:
            session.write(PARAMETERS, state[0])
            session.write(STATE, state[1])

        def execute() -> None:
            sessions["step"].step(inputs, labels, SEED, step, 0)

        def check(claims: list[tuple[int, Any]]) -> Any:
            key = np.random.default_rng().bytes(32)
            return sessions["check"].check_step(inputs, labels, SEED, step, claims, key)

        for session in sessions.values():
            begin(session)
        execute()
        right = check(sums)[:2] == (len(sums), -1)
        states = [(s.read(PARAMETERS), s.read(STATE)) for s in sessions.values()]
        right = right and states[0] == states[1] and found.equal
        for i, (node, array) in enumerate(sums):
            lie = array.copy()
            lie[len(lie) // 2] ^= 1
            begin(sessions["check"])
            changed = check([*sums[:i], (node, lie), *sums[i + 1 :]])
            right = right and changed[1:3] == (node, len(lie) // 2)
        times: dict[str, list[float]] = {"step": [], "check": [], "read": []}
        for _ in range(rounds):
            for session in sessions.values():
                begin(session)
            began = time.perf_counter()
            execute()
            stepped = time.perf_counter()
            claims = list(reader.read(step).products)
            read = time.perf_counter()
            check(claims)
            times["step"].append(stepped - began)
            times["read"].append(read - stepped)
            times["check"].append(time.perf_counter() - read)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratios = [
        (c + r) / s for s, c, r in zip(times["step"], times["check"], times["read"], strict=True)
    ]
    return {
        "right": right,
        "made_of_products": network.goal,
        "products": len(sums),
        "wide_products": sum(a.itemsize == 8 for _, a in sums),
        "sums_bytes": sum(a.nbytes for _, a in sums),
        "file_bytes": products_path(folder, step).stat().st_size,
        "step_ms": round(1e3 * medians["step"], 2),
        "check_ms": round(1e3 * medians["check"], 2),
        "read_ms": round(1e3 * medians["read"], 2),
        "ratio": round(statistics.median(ratios), 3),
    }


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Of step and check.")] = 9,
    only: Annotated[str | None, typer.Option(help="Networks whose names begin so.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of both.")] = 1,
    save: Annotated[bool, typer.Option(help="Write benchmarks/results/verify_fast.json.")] = False,
) -> None:
    """Verifies and times each network."""
    say = Console(stderr=True).print
    rows = {}
    for name, network in NETWORKS.items():
        if only is not None and not name.startswith(only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measure(network, rounds, threads, Path(folder) / "run")
        say(name, rows[name])
    found = {"goal": GOAL, "threads": threads, "rounds": rounds, "networks": rows}
    if save:
        write_json("verify_fast", {**found, "environment": environment()})
    wrong = [name for name, row in rows.items() if not row["right"]]
    missed = [n for n, row in rows.items() if row["made_of_products"] and row["ratio"] > GOAL]
    say(f"wrong: {wrong or 'none'}; beyond the goal: {missed or 'none'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
