"""Writes programs/runs.txt: training runs of small networks, step by step from the references.

Run as ``python -m tests.vectors.runs``. What has been published is left alone. Networks are drawn,
calibrated and quantised once; from then on the ``.dmodel`` beside the lines is what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core, cbor, random
from gvm.graph import Builder, Graph
from gvm.model import Model
from gvm.optimizers import SGD, AdamW, Optimizer, RMSprop
from gvm.program import decode, with_profile
from gvm.random import Purpose
from gvm.tensors import convert_parameters
from gvm.types import NUMPY
from gvm.updates import with_optimizer
from tests.interpreter import begin
from tests.random_programs import Run, tensors
from tests.small_networks import dense, normal

FOLDER = Path(__file__).parent / "programs"
KNOWN = FOLDER / "runs.txt"
STEPS = (1, 2, 3, 10, 30, 100, 300)
"""Where a run is written down, from the references."""
LONG = 10_000
"""Where the core alone wrote it down."""
HEADER = """\
# run file examples batch seed inputs labels: a training run of file.dmodel on painted examples.
# at file steps parameters_id state loss: BLAKE3 of the state; total,count,correct of all examples.
# Up to 300 steps the references say so; 10000 steps are what every path of the core came to.
"""
Array = NDArray[Any]


@dataclass(frozen=True)
class Plan:
    """What a run trains, and how."""

    graph: Callable[[], Graph]
    optimizer: Optimizer
    profile: str
    examples: int
    batch: int
    classes: int
    last: int
    long: bool = False


def mlp() -> Graph:
    """Two dense layers with a relu."""
    g = Builder()
    hidden = g.relu(dense(g, g.input("x", (-1, 6)), 12, "first"))
    return g.graph(predict=(dense(g, hidden, 3, "second"),))


def cnn() -> Graph:
    """Two convolutions with a maximum and an average pooling, and a residual sum."""
    g = Builder()
    x = g.input("x", (-1, 6, 6, 2))
    w = [
        g.parameter(f"w{i}", normal(3, 3, c, 4, scale=1 / math.sqrt(9 * c), seed=i))
        for i, c in enumerate((2, 4))
    ]
    y = g.relu(g.bias_add(g.conv2d(x, w[0], padding=(1, 1, 1, 1)), g.parameter("b0", normal(4))))
    y = g.max_pool2d(y, window=(2, 2), strides=(2, 2))
    z = g.bias_add(g.conv2d(y, w[1], padding=(1, 1, 1, 1)), g.parameter("b1", normal(4)))
    y = g.avg_pool2d(g.relu(g.add(y, z)), window=(2, 2), strides=(1, 1))
    return g.graph(predict=(dense(g, g.reshape(y, shape=(-1, 16)), 4, "head"),))


def transformer() -> Graph:
    """One block: attention over four places, layer normalisation, a dense layer, dropout."""
    g = Builder()
    x = g.input("x", (-1, 4, 6))
    q, k, v = (
        g.matmul(x, g.parameter(n, normal(6, 6, scale=0.4, seed=i))) for i, n in enumerate("qkv")
    )
    scores = g.softmax(g.divide(g.matmul(q, k, transpose_b=1), divisor=2))
    mixed = g.normalize(g.add(g.matmul(scores, v), x), trailing_axes=1)
    inner = g.unary(dense(g, mixed, 8, "inner"), function=6)
    y = g.normalize(g.add(dense(g, inner, 6, "outer"), mixed), trailing_axes=1)
    y = g.dropout(y, keep=58982, stream=0)
    return g.graph(predict=(dense(g, g.reshape(y, shape=(-1, 24)), 4, "head"),))


PLANS = {
    "mlp": Plan(mlp, SGD(0.05, momentum=0.9), "w32", 96, 48, 3, 300, long=True),
    "cnn": Plan(cnn, RMSprop(0.002), "w16", 24, 8, 4, 300),
    "transformer": Plan(transformer, AdamW(0.005, weight_decay=0.01), "w32", 24, 6, 4, 300),
}
SEED = 2026
SPREAD = 1.5
"""Inputs are uniform in [-SPREAD, SPREAD]."""


def make(plan: Plan) -> bytes:
    """The bytes of a .dmodel: a training program that has taken no step."""
    graph = plan.graph()
    rng = np.random.default_rng(SEED)
    shape = graph.types[graph.inputs[0]].shape[1:]
    x = rng.uniform(-SPREAD, SPREAD, (64, *shape))
    labels = rng.integers(0, plan.classes, 64)
    model = Model.from_graph(
        graph, x, "softmax_cross_entropy", labels, max_batch=64, progress=False
    )
    program = with_profile(model.program, plan.profile)
    parameters = convert_parameters(
        model.parameters, _core.Program(model.bytes).tensors(2), program.parameters
    )
    program = with_optimizer(program, plan.optimizer)
    made: bytes = _core.write_file(program.encode(), parameters, b"", cbor.encode({}))
    return made


def head(name: str, plan: Plan, program: Any) -> str:
    """The line that says what a run is."""
    (input_,) = (t for t, _, _ in program.tensors(0))
    (label,) = (t for t, _, _ in program.tensors(1))
    assert (label.dtype, label.fraction_bits) == ("i32", 0)
    most = int(SPREAD * 2**input_.fraction_bits)
    return f"run {name} {plan.examples} {plan.batch} {SEED} {-most}:{most} 0:{plan.classes - 1}"


def painted(program: Any, fields: list[str]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The examples of a run line: all inputs and all labels."""
    examples, seed = int(fields[2]), int(fields[4])
    sections = []
    for section, ranges in enumerate(fields[5:7]):
        arrays = []
        for p, ((type_, _, _), text) in enumerate(
            zip(program.tensors(section), ranges.split(";"), strict=True)
        ):
            least, greatest = map(int, text.split(":"))
            shape = type_.concrete(examples)
            words = random.words(seed, 2 * p + section, 0, Purpose.USER, 0, math.prod(shape))
            q = least + (words.astype(np.int64) * (greatest - least + 1) >> 32)
            arrays.append(q.astype(NUMPY[type_.dtype]).reshape(shape))
        sections.append(tuple(arrays))
    return sections[0], sections[1]


def batch_of(arrays: tuple[Array, ...], step: int, batch: int) -> tuple[Array, ...]:
    """The examples of a step: windows in order."""
    first = step * batch % len(arrays[0])
    return tuple(a[first : first + batch] for a in arrays)


def ids(program: Any, parameters: bytes, state: bytes) -> str:
    return f"{program.parameters_id(parameters).hex()} {_core.blake3(state).hex()}"


def line_of(name: str, steps: int, state: str, losses: Sequence[Sequence[int]]) -> str:
    loss = ",".join(str(sum(parts)) for parts in zip(*losses, strict=True))
    return f"at {name} {steps} {state} {loss}"


def by_references(data: bytes, fields: list[str], last: int) -> Iterator[str]:
    """The lines of a run as the references compute them."""
    encoded, parameters, _, _ = _core.parse_file(data)
    native, program = _core.Program(encoded), decode(encoded, (), 1)
    inputs, labels = painted(native, fields)
    batch = int(fields[3])
    training = begin(Run(program, inputs, labels, tensors(program, 2, parameters)), int(fields[4]))
    for step in range(last):
        training.advance(step, batch_of(inputs, step, batch), batch_of(labels, step, batch))
        if step + 1 in STEPS:
            losses = [
                training.loss(batch_of(inputs, i, batch), batch_of(labels, i, batch))
                for i in range(len(inputs[0]) // batch)
            ]
            yield line_of(fields[1], step + 1, ids(native, *training.buffers()), losses)


def by_the_core(data: bytes, fields: list[str], steps: int, level: int = 0) -> str:
    """The line of a run after some steps, in one shard each."""
    encoded, parameters, _, _ = _core.parse_file(data)
    program = _core.Program(encoded)
    session = _core.Session(program, 1, level)
    session.write(2, parameters)
    inputs, labels = painted(program, fields)
    batch, seed = int(fields[3]), int(fields[4])
    info = program.info()
    totals, sums = np.zeros((2, info["totals"]), dtype=np.int64)
    for step in range(steps):
        totals[:] = 0
        given = (list(batch_of(a, step, batch)) for a in (inputs, labels))
        shard = _core.Shard(session, *given, 0, batch, seed, step)
        for segment in range(info["segments"]):
            sums[:] = 0
            shard.run(segment, totals, sums)
            totals += sums
        session.apply(totals, seed, step)
    losses = [
        session.loss(*(list(batch_of(a, i, batch)) for a in (inputs, labels)))
        for i in range(len(inputs[0]) // batch)
    ]
    return line_of(fields[1], steps, ids(program, session.read(2), session.read(3)), losses)


def published() -> dict[str, list[str]]:
    """The lines that there are, by file; the first of each says what the run is."""
    runs: dict[str, list[str]] = {}
    for line in KNOWN.read_text().splitlines() if KNOWN.exists() else ():
        if not line.startswith("#"):
            runs.setdefault(line.split()[1], []).append(line)
    return runs


def main() -> None:
    """Adds what is not there yet."""
    if not KNOWN.exists():
        KNOWN.write_text(HEADER)
    for name, plan in PLANS.items():
        if name in published():
            continue
        path = FOLDER / f"{name}.dmodel"
        if not path.exists():
            path.write_bytes(make(plan))
        data = path.read_bytes()
        first = head(name, plan, _core.Program(_core.parse_file(data)[0]))
        fields = first.split()
        lines = [first, *by_references(data, fields, plan.last)]
        if plan.long:
            lines.append(by_the_core(data, fields, LONG))
        with open(KNOWN, "a", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
