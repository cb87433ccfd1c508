"""Contenders in processes of their own that run in turns.

Whoever does not run is stopped (SIGSTOP): threads that spin between jobs, as OpenMP's and ONNX
Runtime's do unless told otherwise, take nothing from the others, and peers keep their defaults.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cpu.rows import INFORMATION, ROWS, Row
from benchmarks.environment import ROOT
from gvm.errors import GvmError

SECONDS = 0.15
"""That a turn takes at least."""
PATIENCE = 300.0
"""Seconds after which a contender that has not answered is given up."""
RUNS = 3
"""In a turn at least, after one that is not counted."""
TOLERANCE = {False: 0.02, True: 0.3}
"""Of the largest result, by which a peer's may differ; for those of fewer bits."""


class Contender:
    """A process that waits for its turn."""

    def __init__(self, row: Row, name: str, threads: int, folder: Path) -> None:
        self.name = name
        peer = not name.startswith("gvm")
        task = {"row": row.name, "contender": name, "threads": threads, "folder": str(folder)}
        given = dict(os.environ) | {
            "OMP_NUM_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cpu.contender", json.dumps(task)],
            cwd=ROOT,
            env=given | (row.environment if peer else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        """The answer to one request; the process sleeps before and after."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while True:
            # Nothing but whole lines is written, and each is read before the next is waited for.
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise GvmError(f"{self.name}: no answer to {request} in {PATIENCE:.0f} s")
            line = self.process.stdout.readline()
            if not line:
                raise GvmError(f"{self.name}: ended with status {self.process.wait()}")
            if line.startswith("answer "):
                break
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line.removeprefix("answer "))

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


def verify(row: Row, contenders: Sequence[Contender], case: int) -> None:
    """Holds every contender's result to ours; GvmError where one computes something else."""
    # A generator of ours checks itself against exact integers or another instruction set first.
    results: dict[str, NDArray[Any]] = {}
    for c in contenders:
        results[c.name] = np.load(c.ask(do="verify", case=case))
    expected = results[row.ours[0]]
    most = float(np.abs(expected).max())
    for name, found in results.items():
        off = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
        if not off <= TOLERANCE[name in INFORMATION] * most:
            label = row.cases[case]["label"]
            raise GvmError(f"{row.name}, {label}: {name} is off by {off:g} of {most:g}")


@dataclass(frozen=True)
class Measured:
    """One case."""

    seconds: dict[str, list[float]]
    """Of every run, by contender."""
    limits: dict[str, dict[str, Any]]
    """What a run of ours is made of (``limits.of``), by contender."""


def measure(row: Row, threads: int, folder: Path) -> list[Measured]:
    """Each case, its contenders in turns."""
    contenders = [Contender(row, name, threads, folder) for name in row.contenders]
    try:
        measured = []
        for case in range(len(row.cases)):
            verify(row, contenders, case)
            seconds: dict[str, list[float]] = {c.name: [] for c in contenders}
            for _ in range(row.turns):
                for c in contenders:
                    seconds[c.name] += c.ask(do="time", case=case, seconds=SECONDS, runs=RUNS)
            counted = {
                c.name: c.ask(do="limits", case=case) for c in contenders if c.name in row.goals
            }
            measured.append(Measured(seconds, {n: found for n, found in counted.items() if found}))
        return measured
    finally:
        for c in contenders:
            c.close()


def copy_rate(folder: Path) -> float:
    """Bytes per second of a copy, by a process that does nothing else."""
    contender = Contender(ROWS[0], ROWS[0].ours[0], 1, folder)
    try:
        return float(contender.ask(do="bytes"))
    finally:
        contender.close()


def peak_memory(row: Row, name: str, threads: int, folder: Path) -> float:
    """MiB that a process needed at most which ran the first case of a row ten times."""
    contender = Contender(row, name, threads, folder)
    try:
        contender.ask(do="time", case=0, seconds=0.0, runs=10)
        return float(contender.ask(do="memory"))
    finally:
        contender.close()
