"""The matrix product with stochastic rounding, beside ``torch.mm`` in float32 and bfloat16.

    python -m benchmarks.gemm [--sizes 512,1024,2048] [--threads 1,2] [--repeats 15]

A program of one matmul and one convert, fused by the planner, is first held to NumPy's exact
integers, then timed: its grad function (stochastic) and torch in turns, medians. `realistic` data
uses 13 of 16 bits, as calibrated formats leave them; `adverse` is uniform over all of i16.
Packing the weights is part of every call, as they change in training. Needs PyTorch.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.environment import environment, write_json, write_text
from gvm import _core
from gvm.errors import GvmError
from gvm.operator import AttributeValue
from gvm.ops import OPERATORS
from gvm.program import Function, Program, Segment, Step
from gvm.types import Type, i16

# Between its products torch's threads spin on the processors that the next turn is measured on.
# Asleep they cost torch nothing that shows; without this gvm has one processor of two.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("KMP_BLOCKTIME", "0")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

PARAMETERS = 2
SEED = 1
FORWARD = 1
FRACTION_BITS = 12
GOALS = {"realistic": 2.0, "adverse": 1.3}
"""How many times as fast as torch.mm in float32, for square products of at least 512."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """A product of m rows, n columns and k terms."""

    m: int
    n: int
    k: int


def step(name: str, inputs: tuple[int, ...], **attributes: AttributeValue) -> Step:
    """A node by operator name."""
    operator = OPERATORS[name]
    return Step(operator.opcode, inputs, tuple(operator.complete(attributes).values()))


def product(shape: Shape, fraction_bits: int) -> Program:
    """``predict``: the product, rounded to nearest. ``grad``: the same, stochastic. Both grad and
    the loss that it needs end in the sum of a column."""
    x: Type = i16(FRACTION_BITS, -1, shape.k)
    w: Type = i16(FRACTION_BITS, shape.k, shape.n)

    def rounded(given: int, rounding: int) -> tuple[Step, Step]:
        convert = step("convert", (given,), dtype=1, fraction_bits=fraction_bits, rounding=rounding)
        return step("matmul", (0, given - 1)), convert

    def total(value: int) -> tuple[Step, Step]:
        return (
            step("slice", (value,), begin=(0, 0), end=(-1, 1), strides=(1, 1)),
            step("reduce_sum", (value + 1,), axes=(0, 1)),
        )

    # predict is given x and w; loss and grad x, a label that nothing reads, and w.
    loss = (step("matmul", (0, 2)), *total(3), step("example_count", ()))
    return Program(
        max_batch=shape.m,
        inputs=(x,),
        labels=(Type("i32", 0, (-1,)),),
        parameters=(w,),
        predict=Function(2, (Segment(rounded(2, 0)),), (3,)),
        loss=Function(3, (Segment(loss),), (5, 6)),
        grad=Function(3, (Segment((*rounded(3, FORWARD), *total(4)), (6,)),)),
    )


def numbers(kind: str, shape: tuple[int, int], seed: int) -> Array:
    """The integers of an operand."""
    generator = np.random.default_rng(seed)
    if kind == "adverse":
        return generator.integers(-(2**15), 2**15, shape).astype(np.int16)
    return np.clip(np.rint(generator.normal(0, 1000, shape)), -4096, 4095).astype(np.int16)


def verify(session: Any, x: Array, w: Array, shift: int) -> None:
    """The first rows of predict against exact integers; GvmError where they differ."""
    exact = x[:8].astype(np.int64) @ w.astype(np.int64)
    down = exact >> shift
    rest, half = exact - (down << shift), 1 << (shift - 1)
    up = (rest > half) | ((rest == half) & (down % 2 == 1))
    expected = np.clip(down + up, -(2**15), 2**15 - 1)
    (found,) = session.predict([x])
    if not np.array_equal(found[:8], expected):
        raise GvmError("gemm: the core differs from NumPy's integers")


def peers(x: Array, w: Array, threads: int) -> dict[str, Callable[[], object]]:
    """torch.mm on the same values, into memory of its own."""
    import torch

    torch.set_num_threads(threads)

    def multiply(dtype: Any) -> Callable[[], object]:
        a, b = (torch.from_numpy(v.astype(np.float32)).to(dtype) for v in (x, w))
        out = torch.empty(a.shape[0], b.shape[1], dtype=dtype)
        return lambda: torch.mm(a, b, out=out)

    return {"torch float32": multiply(torch.float32), "torch bfloat16": multiply(torch.bfloat16)}


def measure(shape: Shape, kind: str, threads: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of the core and of its peers, one run of each in turn, and their ratio."""
    x, w = numbers(kind, (shape.m, shape.k), 1), numbers(kind, (shape.k, shape.n), 2)
    shift = 12 if kind == "realistic" else 20
    program = _core.Program(product(shape, 2 * FRACTION_BITS - shift).encode())
    session = _core.Session(program, threads)
    session.write(PARAMETERS, w.tobytes().ljust(program.info()["parameter_bytes"], b"\0"))
    verify(session, x, w, shift)
    totals = np.zeros(program.info()["totals"], dtype=np.int64)

    labels = np.zeros(shape.m, dtype=np.int32)

    def core(step_number: int) -> float:
        shard = _core.Shard(session, [x], [labels], 0, shape.m, SEED, step_number)
        began = time.perf_counter()
        shard.run(0, totals, np.zeros_like(totals))
        return time.perf_counter() - began

    runs = peers(x, w, threads)
    seconds: dict[str, list[float]] = {name: [] for name in ("gvm", *runs)}
    for i in range(repeats + 2):
        taken = {"gvm": core(i)}
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            taken[name] = time.perf_counter() - began
        for name, t in taken.items():
            seconds[name] += [t] * (i >= 2)  # the first two are warm-up
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "shape": [shape.m, shape.n, shape.k],
        "data": kind,
        "threads": threads,
        "milliseconds": {name: round(t * 1e3, 4) for name, t in medians.items()},
        "times_float32": round(medians["torch float32"] / medians["gvm"], 3),
        "times_bfloat16": round(medians["torch bfloat16"] / medians["gvm"], 3),
    }


HEADER = [
    "rows, columns, terms",
    "data",
    "threads",
    "gvm ms",
    "f32 ms",
    "bf16 ms",
    "f32/gvm",
    "bf16/gvm",
]


def rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """Lines of the table."""
    return [
        [
            "x".join(str(d) for d in r["shape"]),
            r["data"],
            str(r["threads"]),
            *(f"{t:.3f}" for t in r["milliseconds"].values()),
            f"{r['times_float32']:.2f}",
            f"{r['times_bfloat16']:.2f}",
        ]
        for r in results
    ]


def markdown(results: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table for the documentation."""
    lines = [HEADER, ["---"] * len(HEADER), *rows(results)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    machine = about["machine"]
    return (
        f"{table}\n\nint16 with exact sums and stochastic rounding to int16 beside torch.mm, in "
        f"turns, medians. Where a processor has bfloat16 dot products their peak is that of int16 "
        f"ones; int8's is twice as high. {machine['processor']}, {machine['processors']} "
        f"processors, {about['compiler']}, {about['versions'].get('torch', '')} (torch), commit "
        f"{about['commit']}, {about['date']}.\n"
    )


def main(
    sizes: Annotated[str, typer.Option(help="Sizes of square products.")] = "512,1024,2048",
    threads: Annotated[str, typer.Option(help="Numbers of threads.")] = "1,2",
    repeats: int = 15,
    save: Annotated[bool, typer.Option(help="Write benchmarks/results.")] = True,
) -> None:
    """Times products; status 1 when a square one of at least 512 misses its goal."""
    about = environment("torch")
    shapes = [Shape(n, n, n) for n in map(int, sizes.split(","))]
    shapes += [Shape(m, 4096, 4096) for m in (1, 8, 64)]
    results = [
        measure(shape, kind, count, repeats)
        for shape in shapes
        for kind in GOALS
        for count in map(int, threads.split(","))
    ]
    table = Table(*HEADER)
    for row in rows(results):
        table.add_row(*row)
    Console().print(table)
    if save:
        write_json("gemm", {"environment": about, "results": results})
        write_text("gemm.md", markdown(results, about))
    missed = [
        r
        for r in results
        if len(set(r["shape"])) == 1
        and r["shape"][0] >= 512
        and r["times_float32"] < GOALS[r["data"]]
    ]
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
