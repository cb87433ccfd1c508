"""Fuzzing of hostile programs for a stated time, with what it came to.

    python -m benchmarks.fuzzing [--seconds 1800] [--only loader]
    python -m benchmarks.fuzzing --plain build/core --programs 1000000

Builds the targets of tests/fuzz under AddressSanitizer and UndefinedBehaviorSanitizer and runs each
from the seeds of the repository and an own corpus (build/fuzz/corpus). After them hostile_test of
the same build puts a million damaged programs through. Writes benchmarks/results/fuzzing.json; a
target's entry stands until it is run again. Status 1 where an input crashes, leaks, hangs, trips a
sanitizer or makes two CPU levels disagree; what failed is left in build/fuzz.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.environment import RESULTS, ROOT, environment, write_json

BUILD = ROOT / "build" / "fuzz"
TARGETS = ("loader", "execution")
DAMAGE = "hostile_test"
FILES, KINDS = 4, 2
"""hostile_test damages so many files, each in so many ways a round."""
LIMITS = ("-max_len=4096", "-timeout=300", "-rss_limit_mb=2048", "-print_final_stats=1")


def compile_targets() -> None:
    """Builds with clang; raises where that fails."""
    subprocess.run(["cmake", "--preset", "fuzz"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    targets = [f"{name}_fuzz" for name in TARGETS]
    subprocess.run(
        ["cmake", "--build", str(BUILD), "--target", *targets, DAMAGE], cwd=ROOT, check=True
    )


def run(command: list[str], log: Path) -> tuple[int, str, float]:
    """Status, output and seconds of a command; the output goes to a file meanwhile."""
    began = time.monotonic()
    with log.open("wb") as stream:
        done = subprocess.run(
            command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    return done.returncode, log.read_text(errors="replace"), time.monotonic() - began


def statistic(text: str, name: str) -> int:
    """One of libFuzzer's final statistics; 0 where it did not come that far."""
    found = re.search(rf"stat::{name}:\s+(\d+)", text)
    return int(found[1]) if found else 0


def fuzz(target: str, seconds: int) -> dict[str, Any]:
    """Runs one target of libFuzzer."""
    corpus = BUILD / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    command = [str(BUILD / f"{target}_fuzz"), *LIMITS, f"-max_total_time={seconds}"]
    command += [f"-artifact_prefix={BUILD}/{target}-", str(corpus)]
    status, text, took = run(
        [*command, str(ROOT / "tests/fuzz/corpus" / target)], BUILD / f"{target}.log"
    )
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
    edges, features, inputs = map(int, covered[-1]) if covered else (0, 0, 0)
    return {
        "seconds": round(took),
        "inputs": statistic(text, "number_of_executed_units"),
        "slowest_input_seconds": statistic(text, "slowest_unit_time_sec"),
        "peak_mib": statistic(text, "peak_rss_mb"),
        "edges_covered": edges,
        "features": features,
        "corpus": inputs,
        "status": status,
        "findings": 0 if status == 0 else text[-2000:],
    }


def damage(programs: int, build: Path) -> dict[str, Any]:
    """Puts at least so many damaged programs through the library."""
    rounds = -(-programs // (FILES * KINDS))
    status, text, took = run(
        [str(build / DAMAGE), str(ROOT / "tests/vectors"), str(rounds)], build / f"{DAMAGE}.log"
    )
    counts = re.search(r"(\d+) refused, (\d+) loaded, (\d+) batches executed", text)
    refused, loaded, batches = map(int, counts.groups()) if counts else (0, 0, 0)
    return {
        "seconds": round(took),
        "programs": refused + loaded,
        "refused": refused,
        "loaded": loaded,
        "batches_executed": batches,
        "status": status,
        "findings": 0 if status == 0 else text[-2000:],
    }


def record(target: str, came_to: dict[str, Any], where: dict[str, Any]) -> bool:
    """Writes an entry beside the others, as they are by now; whether it has findings."""
    path = RESULTS / "fuzzing.json"
    known: dict[str, Any] = json.loads(path.read_text())["targets"] if path.exists() else {}
    known[target] = {**came_to, "commit": where["commit"], "date": where["date"]}
    write_json("fuzzing", {"environment": where, "targets": known})
    print(target, came_to, flush=True)
    return bool(came_to["status"] != 0)


def main(
    seconds: Annotated[int, typer.Option(min=1, help="For each target.")] = 1800,
    programs: Annotated[int, typer.Option(min=1, help="Damaged programs.")] = 1_000_000,
    only: Annotated[str, typer.Option(help="Targets whose name contains this.")] = "",
    plain: Annotated[
        Path | None, typer.Option(help="A build without sanitizers: its hostile_test alone runs.")
    ] = None,
) -> None:
    """Builds, runs and records; status 1 where there is a finding."""
    where = environment()
    if plain is not None:
        raise typer.Exit(record(f"{DAMAGE} without sanitizers", damage(programs, plain), where))
    compile_targets()
    failed = False
    for target in (t for t in (*TARGETS, DAMAGE) if only in t):
        came_to = damage(programs, BUILD) if target == DAMAGE else fuzz(target, seconds)
        failed = record(target, came_to, where) or failed
    raise typer.Exit(failed)


if __name__ == "__main__":
    typer.run(main)
