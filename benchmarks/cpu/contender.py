"""A contender's process: ``python -m benchmarks.cpu.contender TASK``; ``turns`` talks to it.

Each line it reads is a request: verify (answers with the path of the result's .npy), time (answers
with seconds per run), limits (answers with what a run is made of, or null), bytes (answers with
bytes per second of a copy) or memory (answers with MiB).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu.limits import bytes_per_second
from benchmarks.cpu.rows import ROWS, Case, Runner


def build(kind: str, name: str, case: Case, threads: int, folder: Path) -> Runner:
    """The runner of a contender; imports nothing of the others'."""
    if name.startswith("gvm"):
        from benchmarks.cpu import ours

        return ours.build(kind, name, case, threads, folder)
    if name.startswith("torch"):
        from benchmarks.cpu import peer_torch

        return peer_torch.build(kind, name, case, threads, folder)
    if name.startswith("tensorflow"):
        from benchmarks.cpu import peer_tensorflow

        return peer_tensorflow.build(kind, name, case, threads, folder)
    from benchmarks.cpu import peer_onnxruntime

    return peer_onnxruntime.build(kind, name, case, threads, folder)


def timed(run: Callable[[], object], seconds: float, runs: int) -> list[float]:
    """Seconds of each run: of as many as are asked for, and until so much time is over."""
    run()
    taken: list[float] = []
    while len(taken) < runs or sum(taken) < seconds:
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return taken


def peak_mib() -> float:
    """The most memory that this process has had resident (not its parent's: no fork is counted)."""
    status = Path("/proc/self/status").read_text()
    line = next(s for s in status.splitlines() if s.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Answers requests until there are no more."""
    task = json.loads(sys.argv[1])
    row = next(r for r in ROWS if r.name == task["row"])
    folder = Path(task["folder"])
    # Pools have as many threads as are asked for, but some frameworks have more than one pool.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
    runners: dict[int, Runner] = {}
    for line in sys.stdin:
        request = json.loads(line)
        case = request.get("case", 0)
        if case not in runners and request["do"] not in ("memory", "bytes"):
            runners.clear()
            runners[case] = build(
                row.kind, task["contender"], row.cases[case], task["threads"], folder
            )
        answer: Any
        if request["do"] == "verify":
            path = folder / f"{row.name}.{task['contender'].replace(' ', '_')}.npy"
            np.save(path, np.asarray(runners[case].result(), dtype=np.float64))
            answer = str(path)
        elif request["do"] == "time":
            answer = timed(runners[case].run, request["seconds"], request["runs"])
        elif request["do"] == "limits":
            count = runners[case].limits
            answer = None if count is None else count()
        elif request["do"] == "bytes":
            answer = bytes_per_second()
        else:
            answer = peak_mib()
        print("answer " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
