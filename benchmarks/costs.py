"""What a program's cost says beforehand beside the time that its nodes take.

    python -m benchmarks.costs [--runs 30]

Each operator of inference runs as a program of one node at several sizes, with one thread. Cost is
what gvm_program_get_cost says of it: multiply-adds and bytes moved. Time is the least of the runs.
Three constants for all operators (nanoseconds per node, multiply-add and byte) are fitted to the
logarithms of the times; the table says how far each operator is from them. Writes
benchmarks/results/costs.json and costs.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.environment import environment, write_json, write_text
from gvm import _core, cbor
from gvm.ops import OPERATORS
from gvm.types import DTYPES, NUMPY

Given = tuple[str, int, tuple[int, ...]]
"""Element type, fraction bits, shape with -1 for the batch."""
Attributes = dict[str, Any]
Job = tuple[str, tuple[Given, ...], Attributes]

BATCH = 8
WIDTHS = (64, 512, 4096)
ROUNDED = {"dtype": 1, "fraction_bits": 8, "rounding": 0}
EXP, TANH = 1, 3


@dataclass(frozen=True)
class Measured:
    """One node: its cost and its time."""

    operator: str
    shapes: str
    multiply_adds: int
    bytes_moved: int
    nanoseconds: float


def jobs() -> Iterator[Job]:
    """Every operator that inference has, at sizes of small and of large layers."""
    for n in WIDTHS:
        x: Given = ("i16", 8, (-1, n))
        wide: Given = ("i32", 16, (-1, n))
        yield "relu", (x,), {}
        for name in ("add", "sub", "mul", "maximum", "minimum"):
            yield name, (x, x), {}
        yield "bias_add", (("i16", 8, (-1, n)), ("i16", 8, (n,))), {}
        yield "convert", (wide,), ROUNDED
        yield "unary", (x,), {"function": TANH, **ROUNDED}
        yield "div", (x, x), {"direction": 0, **ROUNDED}
        yield "divide", (wide,), {"divisor": 49, **ROUNDED}
        yield "softmax", (x,), {"dtype": 1, "fraction_bits": 15, "rounding": 0}
        yield "normalize", (x,), {"trailing_axes": 1, "centred": 1, **ROUNDED}
        yield "compare", (x, x), {"relation": 0}
        yield "mask", (("bool", 0, (-1, n)), x), {"value": 1}
        yield "select", (("bool", 0, (-1, n)), x, x), {}
        yield "logical", (("bool", 0, (-1, n)), ("bool", 0, (-1, n))), {"function": 0}
        yield "reduce_sum", (x,), {"axes": (1,), "keepdims": 0}
        yield "reduce_max", (x,), {"axes": (1,), "keepdims": 0}
        yield "argmax", (x,), {"axis": 1}
        yield "cumsum", (x,), {"axis": 1}
        yield "top_k", (x,), {"k": 8, "axis": 1}
        yield "transpose", (("i16", 8, (-1, n // 8, 8)),), {"permutation": (0, 2, 1)}
        yield "concat", (x, x), {"axis": 1}
        yield "slice", (x,), {"begin": (0, 1), "end": (-1, n), "strides": (1, 1)}
        yield "pad", (x,), {"before": (0, 3), "after": (0, 3)}
        yield "broadcast_to", (("i16", 8, (-1, 1)),), {"shape": (-1, n)}
        yield "gather", (("i16", 8, (512, 64)), ("i32", 0, (-1, n // 64))), {}
        yield "matmul", (x, ("i16", 8, (n, 256))), {}
    for size, channels in ((8, 16), (16, 32), (28, 64)):
        image: Given = ("i16", 8, (-1, size, size, channels))
        yield "conv2d", (image, ("i16", 8, (3, 3, channels, channels))), {"padding": (1, 1, 1, 1)}
        yield (
            "conv2d",
            (image, ("i16", 8, (3, 3, 1, channels))),
            {"padding": (1, 1, 1, 1), "groups": channels},
        )
        window = {"window": (2, 2), "strides": (2, 2)}
        yield "max_pool2d", (image,), window
        yield "avg_pool2d", (image,), {**window, **ROUNDED}


def numbers(given: Given, rng: np.random.Generator) -> Any:
    """Values of a type, as of a layer: rows of gathers and truth values within their ranges."""
    dtype, _, shape = given
    size = [BATCH if d == -1 else d for d in shape]
    low, high = {"bool": (0, 2), "i32": (0, 512)}.get(dtype, (-900, 900))
    return rng.integers(low, high, size).astype(NUMPY[dtype])


def program(job: Job) -> Any:
    """The program of one node; what has no batch axis is a parameter."""
    name, given, attributes = job
    operator = OPERATORS[name]
    inputs = [g for g in given if g[2][0] == -1]
    parameters = [g for g in given if g[2][0] != -1]
    places = {id(g): i for i, g in enumerate([*inputs, *parameters])}
    order, used = [], 0
    for g in given:
        if g[2][0] == -1:  # one tensor may be given twice: each its own input
            order.append(used)
            used += 1
        else:
            order.append(places[id(g)])
    values = [
        list(v) if isinstance(v, tuple) else v for v in operator.complete(attributes).values()
    ]
    count = len(given)
    body = {
        "semantics": 1,
        "max_batch": BATCH,
        "inputs": [[DTYPES[d], f, list(s)] for d, f, s in inputs],
        "labels": [],
        "parameters": [[DTYPES[d], f, list(s)] for d, f, s in parameters],
        "predict": {
            "nodes": [[operator.opcode, order, values]],
            "outputs": list(range(count, count + operator.outputs)),
        },
        "loss": None,
    }
    return _core.Program(cbor.encode(body), {})


def measure(job: Job, runs: int) -> Measured:
    """The least time of a node, after one run that fills tables and packs weights."""
    name, given, _ = job
    rng = np.random.default_rng(1)
    made = program(job)
    session = _core.Session(made, 1, -1)
    data = bytearray(made.info()["parameter_bytes"])
    for g, (_, offset, _) in zip((g for g in given if g[2][0] != -1), made.tensors(2), strict=True):
        raw = numbers(g, rng).tobytes()
        data[offset : offset + len(raw)] = raw
    session.write(2, bytes(data))
    inputs = [numbers(g, rng) for g in given if g[2][0] == -1]
    session.predict(inputs)
    session.set_profile(True)
    for _ in range(runs):
        session.predict(inputs)
    least = min(end - begin for _, _, begin, end, _ in session.profile())
    cost = made.cost(0, BATCH)
    shapes = " ".join(str(list(s)) for _, _, s in given)
    return Measured(name, shapes, cost["multiply_adds"], cost["bytes_moved"], float(least))


def fit(rows: list[Measured]) -> tuple[float, float, float]:
    """Nanoseconds per node, multiply-add and byte, all positive, with the least mean square of
    log(measured / predicted); by Gauss-Newton on the constants' logarithms."""
    cost = np.array([[1.0, r.multiply_adds, r.bytes_moved] for r in rows])
    logs = np.log([max(r.nanoseconds, 1.0) for r in rows])
    constants = np.log([200.0, 0.02, 0.1])
    for _ in range(200):
        parts = cost * np.exp(constants)
        predicted = parts.sum(axis=1)
        slope = parts / predicted[:, None]
        step = np.linalg.lstsq(
            np.vstack([slope, 0.03 * np.eye(3)]),
            np.concatenate([logs - np.log(predicted), np.zeros(3)]),
            rcond=None,
        )[0]
        constants = constants + np.clip(step, -0.5, 0.5)
    first, second, third = np.exp(constants)
    return float(first), float(second), float(third)


def markdown(rows: list[Measured], constants: tuple[float, float, float]) -> str:
    """The error table: per operator how much longer (or shorter) than predicted."""
    ratios: dict[str, list[float]] = {}
    for r in rows:
        predicted = np.dot(constants, (1, r.multiply_adds, r.bytes_moved))
        ratios.setdefault(r.operator, []).append(r.nanoseconds / float(predicted))
    lines = [
        f"predicted nanoseconds = {constants[0]:.0f} per node + {constants[1]:.4f} per "
        f"multiply-add + {constants[2]:.4f} per byte moved",
        "",
        "| operator | nodes | measured / predicted: least | geometric mean | most |",
        "|---|---:|---:|---:|---:|",
    ]
    means = {name: math.exp(np.mean(np.log(of))) for name, of in ratios.items()}
    for name in sorted(ratios, key=lambda n: -means[n]):
        of = ratios[name]
        lines.append(
            f"| `{name}` | {len(of)} | {min(of):.2f} | {means[name]:.2f} | {max(of):.2f} |"
        )
    everything = [v for of in ratios.values() for v in of]
    within = sum(0.25 <= v <= 4 for v in everything)
    lines += ["", f"{within} of {len(everything)} nodes are within a factor of 4."]
    return "\n".join(lines) + "\n"


def main(runs: Annotated[int, typer.Option(min=1)] = 30) -> None:
    """Measures, fits, writes and prints."""
    where = environment()
    rows = [measure(job, runs) for job in jobs()]
    constants = fit(rows)
    text = markdown(rows, constants)
    print(text)
    write_json(
        "costs",
        {
            "environment": where,
            "batch": BATCH,
            "threads": 1,
            "runs": runs,
            "nanoseconds_per": dict(zip(("node", "multiply_add", "byte"), constants, strict=True)),
            "nodes": [asdict(r) for r in rows],
        },
    )
    write_text("costs.md", text)


if __name__ == "__main__":
    typer.run(main)
