"""The CPU backend beside float32 frameworks: every row of the table of goals.

    python -m benchmarks.cpu [--row NAME]... [--threads 1,2] [--resume] [--no-save]

Peers that are not installed cannot be measured: it needs PyTorch, TensorFlow, Keras, ONNX Runtime
and matplotlib. Each contender is a process of its own; one runs while the others are stopped. Rows
are written to benchmarks/results as they are measured; ``--resume`` keeps those of this commit.
Status 1 when a goal is missed or a row could not be measured; the others are measured all the same.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cpu import report
from benchmarks.cpu.rows import MEMORY, ROWS, START_UP_SECONDS, Row
from benchmarks.cpu.turns import copy_rate, measure, peak_memory
from benchmarks.environment import RESULTS, ROOT, environment, write_json, write_text
from gvm.errors import GvmError

STARTS = 7
PACKAGES = ("torch", "tensorflow-cpu", "keras", "onnxruntime")
EXTRA = ("memory", "start-up")


def start_up(folder: Path) -> dict[str, Any]:
    """Seconds from nothing to the first result of ResNet-50, of a Python process."""
    what = "import gvm, load a .dmodel of 25 million parameters, first result"
    code = (
        "import sys, numpy, gvm\n"
        "gvm.load(sys.argv[1]).run(numpy.load(sys.argv[2]))"
    )  # fmt: skip
    files = [str(folder / name) for name in ("resnet50.dmodel", "images.1.npy")]
    seconds = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *files], cwd=ROOT, check=True)
        seconds.append(time.perf_counter() - began)
    return {"what": what, "goal": START_UP_SECONDS, "seconds": round(statistics.median(seconds), 3)}


def earlier() -> dict[str, Any]:
    """What benchmarks/results/cpu.json holds."""
    path = RESULTS / "cpu.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def merged(old: list[Any], new: list[Any], row: str) -> list[Any]:
    """Results with those of a row replaced."""
    threads = {r["threads"] for r in new}
    return [r for r in old if r["row"] != row or r["threads"] not in threads] + new


def main(
    row: Annotated[list[str] | None, typer.Option(help="Measure only this; may repeat.")] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads.")] = "1,2",
    resume: Annotated[bool, typer.Option(help="Skip what this commit has measured.")] = False,
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
    work: Annotated[Path, typer.Option(help="Models that were made before.")] = ROOT
    / "build/bench",
) -> None:
    """Measures rows beside their peers."""
    known = [r.name for r in ROWS] + list(EXTRA)
    wanted = row or known
    if unknown := set(wanted) - set(known):
        raise typer.BadParameter(f"no row {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    folder = work.resolve()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.cpu.prepare", str(folder)], cwd=ROOT, check=True
    )
    about = environment(*PACKAGES)
    body = earlier()
    body["environment"] = about
    counts = [int(t) for t in threads.split(",")]
    console = Console()
    failed: list[str] = []
    body["bytes_per_second"] = round(copy_rate(folder))

    def is_done(kind: str, name: str, count: int) -> bool:
        found = [r for r in body.get(kind, []) if (r["row"], r["threads"]) == (name, count)]
        return resume and any(r["commit"] == about["commit"] for r in found)

    def keep() -> None:
        if not save:
            return
        write_json("cpu", body)
        if body.get("results"):
            write_text("cpu.md", report.markdown(body))
            report.chart(body["results"])

    for r in (r for r in ROWS if r.name in wanted):
        for count in counts:
            if is_done("results", r.name, count):
                continue
            began = time.perf_counter()
            try:
                measured = measure(r, count, folder)
            except GvmError as error:
                failed.append(f"{r.name}, {count} threads: {error}")
                console.print(failed[-1])
                continue
            results = [
                {
                    **report.result_of(r, count, case, of_case.seconds),
                    "limits": of_case.limits,
                    "commit": about["commit"],
                }
                for case, of_case in enumerate(measured)
            ]
            console.print(f"{r.name}, {count} threads: {time.perf_counter() - began:.0f} s")
            body["results"] = merged(body.get("results", []), results, r.name)
            keep()
            shown = Table(*report.BRIEF)
            for result in results:
                for line in report.brief(result):
                    shown.add_row(*line)
            console.print(shown)
    if "memory" in wanted:
        measure_memory(body, counts[-1], folder, about["commit"], console)
        keep()
    if "start-up" in wanted:
        body["start_up"] = start_up(folder) | {"commit": about["commit"]}
        console.print(body["start_up"])
        keep()
    missed = [g for r in body.get("results", []) for g in r["goals"] if g["times"] < g["goal"]]
    for what in failed:
        console.print(f"not measured: {what}")
    raise typer.Exit(1 if missed or failed else 0)


def measure_memory(
    body: dict[str, Any], threads: int, folder: Path, commit: str, console: Console
) -> None:
    """Adds the peak memory of each row that is measured for it."""
    rows: dict[str, Row] = {r.name: r for r in ROWS}
    body["memory"] = [
        {
            "row": name,
            "threads": threads,
            "mib": {c: round(peak_memory(rows[name], c, threads, folder), 1) for c in contenders},
            "commit": commit,
        }
        for name, contenders in MEMORY
    ]
    console.print(body["memory"])


if __name__ == "__main__":
    typer.run(main)
