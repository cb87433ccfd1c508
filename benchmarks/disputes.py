"""Disputes: a lie in any value of a long run is found, and what a referee reads of ResNet-50.

    python -m benchmarks.disputes --save
    python -m benchmarks.disputes --steps 1000 --resnet 18

The first part records a run, flips a bit of every value of a step in turn, each in another step,
and plays the dispute between the honest run and the one that goes on from the lie. The second takes
every kind of node of a training step of ResNet-50 (224 x 224 images, 32 of them, momentum), fills
its operands with random integers, and has the referee decide elements of its last result, and the
last terms where they are sums: bytes of the claim, and seconds to decide it, in the C library, in
its module in Node (scripts/verifier makes it) and by the definitions in Python, which must agree.
The status is 1 when somebody else than the liar is convicted, a bound on rounds is passed, or a
goal is missed. Wall-clock times are of this machine and of what else runs on it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import gvm
from benchmarks.environment import ROOT, environment, write_json
from gvm import _core
from gvm.errors import GvmError
from gvm.program import Program
from gvm.templates import mlp, resnet
from gvm.trace.claim import LEAF, Known, decide, find, make_claim, term_count
from gvm.trace.dispute import play
from gvm.trace.element import Step
from gvm.trace.evaluate import Alter, Array
from gvm.trace.game import Game, most_rounds
from gvm.trace.listing import LITTLE, Entry, Listing, Node
from gvm.trace.player import Player
from gvm.trace.replay import Machine, Replay
from gvm.trace.tree import SIZE
from gvm.types import RANGE
from gvm.updates import with_optimizer

BATCH, IMAGES, SEED = 32, 32, 9
LABELLED = ("softmax_cross_entropy", "softmax_cross_entropy_grad", "argmax_correct")
GOALS = {"referee_seconds": 1.0, "referee_seconds_wasm": 1.0, "opening_bytes": 1_000_000}
SECONDS = ("seconds", "seconds_wasm", "seconds_python")
MODULE = ROOT / "build" / "verify" / "gvm.wasm"


class Liar(Replay):
    """The run with a fault in one step, from which it goes on."""

    def __init__(self, folder: Path, wrong: int, alter: Alter, machine: Machine) -> None:
        super().__init__(folder, machine, alter=lambda step: alter if step == wrong else None)
        self.wrong = wrong
        self.trace.records = {s: r for s, r in self.trace.records.items() if s <= wrong}

    def checkpoint(self, step: int) -> int:
        """What was stored behind the fault is of the honest run."""
        return super().checkpoint(min(step, self.wrong))


def flip(value: int, element: int, bit: int) -> Alter:
    """A bit of an element of a value is wrong."""

    def alter(number: int, array: Array) -> Array:
        if number != value:
            return array
        changed = array.copy()
        flat = changed.reshape(-1)
        flat[element] = flat[element] ^ flat.dtype.type(1 << bit)
        return changed

    return alter


def long_run(folder: Path, steps: int) -> None:
    """Records a run of a small classifier on data of its own."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(BATCH * 100, 24))
    y = np.argmax(x @ rng.normal(size=(24, 5)), axis=1)
    model = mlp((24, 32, 5), calibration=x, max_batch=BATCH)
    epochs = -(-steps // 100)
    model.train(
        x,
        y,
        optimizer=gvm.SGD(0.01, momentum=0.9),
        epochs=epochs,
        batch_size=BATCH,
        seed=SEED,
        trace=folder,
        threads=1,
        progress=False,
    )


def disputes(steps: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Plays a dispute about every value of a step."""
    machine, rng = Machine(threads=1), np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        long_run(run, steps)
        rows, unmoved, stopped, framed, beyond = [], 0, 0, 0, 0
        with Replay(run, machine) as honest:
            listing, header, last = honest.listing, honest.header, honest.trace.last
            say(f"{last} steps, a record every {header.every}, {header.values} values in a step")
            for value, entry in enumerate(listing.entries):
                wrong = int(rng.integers(last))
                size = int(np.prod(entry.shape(header.batch(wrong)), dtype=np.int64))
                element = int(rng.integers(size))
                bit = 0 if entry.type.dtype == "bool" else 4
                with Liar(run, wrong, flip(value, element, bit), machine) as liar:
                    side = int(rng.integers(2))
                    runs = (liar, honest) if side == 0 else (honest, liar)
                    players = Player(runs[0], 0), Player(runs[1], 1)
                    try:
                        roots = players[0].root(last), players[1].root(last)
                        first = players[0].root(header.step)
                        if roots[0] != roots[1]:
                            game = Game.begin(header, first, last, roots)
                        else:
                            unmoved += 1
                            roots = players[0].root(wrong + 1), players[1].root(wrong + 1)
                            game = Game.of_step(header, wrong, players[0].root(wrong), roots)
                        done = play(game, players)
                    except GvmError:
                        stopped += 1
                        continue
                node = listing.nodes[entry.index] if entry.kind == "node" else None
                v = done.verdict
                framed += v.guilty != (side == 0, side == 1) or (v.step, v.value) != (wrong, value)
                terms = 0
                if node is not None:
                    at = Step(header.batch(wrong), header.seed, wrong)
                    terms = term_count(node, at, node.outputs.index(value), element)
                most = most_rounds(last, header.values, entry.size(header.batch(wrong)), terms)
                beyond += done.rounds > most
                rows.append([done.rounds, max(done.sent), done.opening, done.seconds])
                say(f"{done.text}: {done.rounds} of {most} rounds, {max(done.sent)} bytes sent")
    columns = list(zip(*rows, strict=True))
    return {
        "steps": last,
        "record_every": header.every,
        "disputes": len(rows),
        "lies_that_moved_no_state_of_the_end": unmoved,
        "lies_outside_of_a_bound": stopped,
        "wrong_verdicts": framed,
        "beyond_the_bound_on_rounds": beyond,
        "rounds": max(columns[0]),
        "bytes_sent": max(columns[1]),
        "opening_bytes": max(columns[2]),
        "referee_seconds": round(max(columns[3]), 4),
    }


def resnet_program(depth: int) -> Program:
    """A training program of ResNet on images of 224 x 224."""
    model = resnet(depth, (224, 224, 3), 1000, formats="<8,8>", max_batch=IMAGES)
    return with_optimizer(model.program, gvm.SGD(0.1, momentum=0.9))


def key_of(node: Node) -> tuple[Any, ...]:
    """Nodes that a referee sees alike."""
    types = tuple((t.dtype, t.shape) for t in (*node.input_types, *node.output_types))
    return node.opcode, node.function, node.attributes, types


def operands_of(node: Node, batch: int) -> dict[int, bytes]:
    """Random integers within their bounds."""
    rng, made = np.random.default_rng(SEED), {}
    for v, type_ in zip(node.inputs, node.input_types, strict=True):
        low, high = RANGE[type_.dtype]
        if type_.dtype == "i64":
            low, high = -type_.bound, type_.bound
        if type_.dtype == "i64" and not type_.shape and type_.fraction_bits == 0:
            low = high = batch  # the number of examples
        if node.operator.name in LABELLED and v == node.inputs[-1]:
            low, high = 0, 999
        shape = type_.concrete(batch)
        array = rng.integers(low, high, shape, dtype=np.int64, endpoint=True)
        made[v] = array.astype(LITTLE[type_.dtype]).tobytes()
    return made


def referee_of(listing: Listing, node: Node) -> dict[str, Any]:
    """What the referee reads of the last element of the last result, and how long it takes."""
    values = len(listing.entries)
    batch = IMAGES if node.function == "grad" else 1
    step, output = Step(batch, SEED, 7), len(node.outputs) - 1
    value = node.outputs[output]
    size = int(np.prod(node.output_types[output].concrete(batch), dtype=np.int64))
    operands = operands_of(node, batch)
    roots = bytearray(values * SIZE)
    for v, data in operands.items():
        roots[v * SIZE : (v + 1) * SIZE] = _core.blake3(data)
    known = Known(listing.hashes, {value: listing.descriptor(value)}, bytes(roots), operands)
    worst: dict[str, Any] = {"operator": node.operator.name, "bytes": 0} | dict.fromkeys(
        SECONDS, 0.0
    )
    for element in sorted({0, size // 2, size - 1}):
        count = term_count(node, step, output, element)
        terms = (max(0, count - LEAF), count) if count else None
        claim = make_claim(known, step, value, element, terms)
        data = claim.encode()
        began = time.perf_counter()
        found = decide(data)
        seconds = time.perf_counter() - began
        by_definition = find(claim)
        in_python = time.perf_counter() - began - seconds
        if found is None or found != by_definition:
            raise GvmError(f"{node.operator.name}: found {found}, by definition {by_definition}")
        wasm = in_module(data, found)
        worst["seconds_wasm"] = max(worst["seconds_wasm"], wasm)
        worst["seconds_python"] = max(worst["seconds_python"], in_python)
        worst["bytes"] = max(worst["bytes"], len(data))
        worst["seconds"] = max(worst["seconds"], seconds)
        worst["terms"] = max(worst.get("terms", 0), count)
    return worst


def in_module(claim: bytes, expected: int) -> float:
    """Seconds in which the module decides a claim in Node, the first that it is given."""
    with tempfile.NamedTemporaryFile(suffix=".claim") as file:
        file.write(claim)
        file.flush()
        script = str(ROOT / "benchmarks" / "referee.mjs")
        command = ["node", script, str(MODULE), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = json.loads(done.stdout)
    if row.get("found") != str(expected):
        raise GvmError(f"the module: {row}, expected {expected}")
    return float(row["seconds"])


def referees(depth: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The worst tile of each operator of ResNet."""
    listing = Listing.of(resnet_program(depth))
    kinds = {key_of(n): n for n in listing.nodes}
    worst: dict[str, dict[str, Any]] = {}
    for node in kinds.values():
        found = referee_of(listing, node)
        known = worst.setdefault(found["operator"], found)
        for name in ("bytes", *SECONDS, "terms"):
            known[name] = max(known[name], found[name])
    for row in worst.values():
        row |= {name: round(row[name], 6) for name in SECONDS}
        say(f"{row['operator']}: {row['bytes']} bytes, {row['seconds']} s, {row['terms']} terms")
    entry = max(listing.entries, key=lambda e: Entry.size(e, IMAGES))
    return {
        "model": f"resnet{depth}, 224 x 224, batch {IMAGES}, momentum",
        "values": len(listing.entries),
        "kinds_of_nodes": len(kinds),
        "largest_value_bytes": entry.size(IMAGES),
        "most_rounds": most_rounds(
            10_000,
            len(listing.entries),
            entry.size(IMAGES),
            max(row["terms"] for row in worst.values()),
        ),
        "opening_bytes": max(row["bytes"] for row in worst.values()),
        "referee_seconds": max(row["seconds"] for row in worst.values()),
        "referee_seconds_wasm": max(row["seconds_wasm"] for row in worst.values()),
        "referee_seconds_python": max(row["seconds_python"] for row in worst.values()),
        "operators": sorted(worst.values(), key=lambda row: -row["bytes"]),
    }


def main(
    steps: Annotated[int, typer.Option(min=100, help="Of the run.")] = 10_000,
    resnet: Annotated[int, typer.Option(help="Depth of the residual network.")] = 50,
    save: Annotated[bool, typer.Option(help="Write benchmarks/results/disputes.json.")] = False,
) -> None:
    """Plays the disputes, then measures the referee."""
    say = Console(stderr=True).print
    found = {"goals": GOALS, "run": disputes(steps, say), "network": referees(resnet, say)}
    found |= {"environment": environment()}
    if save:
        write_json("disputes", found)
    say(found["run"])
    say({k: v for k, v in found["network"].items() if k != "operators"})
    parts = (found["run"], found["network"])
    wrong = found["run"]["wrong_verdicts"] + found["run"]["beyond_the_bound_on_rounds"]
    missed = any(p.get(name, 0) > goal for p in parts for name, goal in GOALS.items())
    sys.exit(1 if wrong or missed else 0)


if __name__ == "__main__":
    typer.run(main)
