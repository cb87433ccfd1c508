"""What limits a row: what one run does, counted by the core, and where its time goes.

Multiply-adds and bytes moved are those of the program's cost, tiles are counted by the way they
took. A dot-product instruction of AVX-512 does 32 multiply-adds, one of AVX2 16. The rates that
they are held against are measured in the same benchmark: a large product, a long copy.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

RUNS = 5
PER_INSTRUCTION = {1: 16, 2: 32}
"""Multiply-adds of an instruction by CPU level; x86-64."""
COPIED = 1 << 27
"""Bytes of the array that is copied to measure memory."""
TILES = ("32-bit sums", "carried sums", "by bytes", "row by row")


def of(
    program: Any,
    session: Any,
    functions: Sequence[int],
    batch: int,
    run: Callable[[], object],
    level: int = 2,
) -> dict[str, Any]:
    """Counts of one run of these functions, and milliseconds by operators that run together."""
    costs = [program.cost(f, batch) for f in functions]
    names: dict[tuple[int, int], str] = {}
    for f in functions:
        for name, number in re.findall(r"(\w+)#(\d+)", session.plan(f, batch)):
            names[f, int(number)] = name
    run()
    taken: list[dict[str, float]] = []
    tiles = [0] * len(TILES)
    for _ in range(RUNS):
        session.set_profile(True)
        run()
        recorded = session.profile()
        session.set_profile(False)
        spent: dict[str, float] = {}
        tiles = [0] * len(TILES)
        for function, members, begin, end, routes in recorded:
            label = "+".join(names.get((function, m), "?") for m in members)
            spent[label] = spent.get(label, 0.0) + (end - begin) / 1e6
            tiles = [a + b for a, b in zip(tiles, routes, strict=True)]
        taken.append(spent)
    multiply_adds = sum(c["multiply_adds"] for c in costs)
    return {
        "multiply_adds": multiply_adds,
        "dot_products": -(-multiply_adds // PER_INSTRUCTION.get(level, 1)),
        "bytes_moved": sum(c["bytes_moved"] for c in costs),
        "tiles": {name: n for name, n in zip(TILES, tiles, strict=True) if n},
        "milliseconds": {
            label: round(statistics.median(t.get(label, 0.0) for t in taken), 4)
            for label in taken[0]
        },
    }


def bytes_per_second() -> float:
    """Of a long copy on one thread, reads and writes."""
    source = np.ones(COPIED, dtype=np.uint8)
    to = np.empty_like(source)
    np.copyto(to, source)
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        np.copyto(to, source)
        seconds.append(time.perf_counter() - began)
    return 2 * COPIED / min(seconds)


def sentence(result: Mapping[str, Any], contender: str, rates: Mapping[str, float]) -> str:
    """What one of ours in a result is made of, in words; empty where it was not counted."""
    found = result.get("limits", {}).get(contender)
    if found is None:
        return ""
    whole = result["milliseconds"][contender]
    parts = []
    if found["multiply_adds"] and "multiply_adds" in rates:
        least = 1e3 * found["multiply_adds"] / rates["multiply_adds"]
        parts.append(
            f"{found['multiply_adds'] / 1e6:.4g}e6 multiply-adds in "
            f"{found['dot_products'] / 1e6:.4g}e6 instructions, {least:.3g} of {whole:.3g} ms at "
            "the rate of the largest product"
        )
    moved = 1e3 * found["bytes_moved"] / rates["bytes"]
    parts.append(f"{found['bytes_moved'] / 1e6:.4g} MB moved, {moved:.3g} ms at the rate of a copy")
    if found["tiles"]:
        parts.append("tiles: " + ", ".join(f"{n} {name}" for name, n in found["tiles"].items()))
    spent = sorted(found["milliseconds"].items(), key=lambda item: -item[1])
    total = sum(ms for _, ms in spent) or 1.0
    parts.append("time: " + ", ".join(f"{name} {100 * ms / total:.0f} %" for name, ms in spent[:4]))
    return "; ".join(parts)
