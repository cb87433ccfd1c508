"""gvm's contenders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cpu import limits
from benchmarks.cpu.data import (
    FRACTION_BITS,
    operands,
    result_shift,
    tanh_input,
    training_batches,
)
from benchmarks.cpu.rows import Case, Runner
from gvm import _core
from gvm.errors import GvmError
from gvm.functions import BY_NAME
from gvm.operator import AttributeValue
from gvm.ops import OPERATORS
from gvm.program import Function, Program, Segment, Step
from gvm.types import Type, i16

PARAMETERS, STATE = 2, 3
PREDICT, GRAD, APPLY = 0, 2, 3
FORWARD = 1
SEED = 1
BEST, AVX2, AVX512 = -1, 1, 2
Array = NDArray[Any]


def build(kind: str, name: str, case: Case, threads: int, folder: Path) -> Runner:
    """The runner of a row."""
    if kind == "product":
        return product(case, threads)
    if kind == "tanh":
        return tanh(case, threads)
    if kind == "training":
        return training(name.removeprefix("gvm "), case, threads, folder)
    return resnet50(name, case, threads, folder)


def step(name: str, inputs: tuple[int, ...], **attributes: AttributeValue) -> Step:
    """A node by operator name."""
    operator = OPERATORS[name]
    return Step(operator.opcode, inputs, tuple(operator.complete(attributes).values()))


def program_of(
    batch: int, x: Type, parameters: tuple[Type, ...], steps: tuple[Step, ...], width: int
) -> Program:
    """``predict``: these steps, whose last result has shape (batch, width). ``grad``: the same with
    stochastic rounding, and the sum of a column, as it must end in one."""
    given = 1 + len(parameters)

    def later(value: int) -> int:
        return value if value == 0 else value + 1

    def drawn(s: Step) -> Step:
        names = [a.name for a in OPERATORS[s.name].attributes]
        values = zip(names, s.attributes, strict=True)
        return Step(
            s.opcode,
            tuple(later(v) for v in s.inputs),
            tuple(FORWARD if n == "rounding" else v for n, v in values),
        )

    outputs = [OPERATORS[s.name].outputs for s in steps]
    last = given + sum(outputs)
    total = (
        step("slice", (last,), begin=(0, 0), end=(-1, 1), strides=(1, 1)),
        step("reduce_sum", (last + 1,), axes=(0, 1)),
    )
    grad = Function(given + 1, (Segment((*map(drawn, steps), *total), (last + 2,)),))
    # A loss there must be: the sum of the first column of the input.
    axes = len(x.shape)
    first = step("slice", (0,), begin=(0,) * axes, end=(-1, *[1] * (axes - 1)), strides=(1,) * axes)
    loss = (
        first,
        step("convert", (given + 1,), dtype=2, fraction_bits=24, rounding=0),
        step("reduce_sum", (given + 2,), axes=tuple(range(axes))),
        step("example_count", ()),
    )
    return Program(
        max_batch=batch,
        inputs=(x,),
        labels=(Type("i32", 0, (-1,)),),
        parameters=parameters,
        predict=Function(given, (Segment(steps),), (last - 1,)),
        loss=Function(given + 1, (Segment(loss),), (given + 3, given + 4)),
        grad=grad,
    )


class Stochastic:
    """Runs the grad function of ``program_of``."""

    def __init__(self, program: Any, session: Any, x: Array) -> None:
        self.session, self.x = session, x
        self.labels = np.zeros(len(x), dtype=np.int32)
        self.totals = np.zeros(program.info()["totals"], dtype=np.int64)
        self.step = 0

    def run(self) -> None:
        """With fresh random numbers each time."""
        shard = _core.Shard(self.session, [self.x], [self.labels], 0, len(self.x), SEED, self.step)
        shard.run(0, self.totals, np.zeros_like(self.totals))
        self.step += 1


def product(case: Case, threads: int) -> Runner:
    """Matrix product and Convert: stochastic, or with kept weights (`packed`) to nearest."""
    x, w = operands(case)
    m, n, k = case["shape"]
    shift = result_shift(case["data"])
    convert = {"dtype": 1, "fraction_bits": 2 * FRACTION_BITS - shift, "rounding": 0}
    steps = (step("matmul", (0, 1)), step("convert", (2,), **convert))
    types = i16(FRACTION_BITS, -1, k), (i16(FRACTION_BITS, k, n),)
    program = _core.Program(program_of(m, *types, steps, n).encode())
    session = _core.Session(program, threads, case.get("level", BEST))
    session.write(PARAMETERS, w.tobytes().ljust(program.info()["parameter_bytes"], b"\0"))

    def result() -> Array:
        (found,) = session.predict([x])
        exact = x[:8].astype(np.int64) @ w.astype(np.int64)
        down = exact >> shift
        rest, half = exact - (down << shift), 1 << (shift - 1)
        up = (rest > half) | ((rest == half) & (down % 2 == 1))
        if not np.array_equal(found[:8], np.clip(down + up, -(2**15), 2**15 - 1)):
            raise GvmError("product: the core differs from NumPy's integers")
        return np.asarray(found)

    level = case.get("level", AVX512)
    if case.get("packed"):
        run: Callable[[], object] = lambda: session.predict([x])  # noqa: E731
    else:
        run = Stochastic(program, session, x).run
    function = PREDICT if case.get("packed") else GRAD
    return Runner(run, result, lambda: limits.of(program, session, [function], m, run, level))


def tanh(case: Case, threads: int) -> Runner:
    """A table of all 65 536 inputs."""
    x = tanh_input(case["shape"])
    number = BY_NAME["tanh"].number
    steps = (step("unary", (0,), function=number, dtype=1, fraction_bits=15, rounding=0),)
    width = case["shape"][1]
    program = _core.Program(
        program_of(len(x), i16(FRACTION_BITS, -1, width), (), steps, width).encode()
    )
    session = _core.Session(program, threads, BEST)

    def result() -> Array:
        (found,) = session.predict([x])
        units = np.tanh(x / 2.0**FRACTION_BITS) * 2**15
        if np.abs(found - np.clip(units, -(2**15), 2**15 - 1)).max() > 0.5 + 1e-9:
            raise GvmError("tanh: an entry is not the nearest integer")
        return found / 2.0**15

    def run() -> object:
        return session.predict([x])

    return Runner(run, result, lambda: limits.of(program, session, [PREDICT], len(x), run))


def resnet50(name: str, case: Case, threads: int, folder: Path) -> Runner:
    """The imported network on integers; with floats in and out; or with stochastic rounding."""
    import gvm

    model = gvm.load(folder / "resnet50.dmodel")
    x = np.load(folder / f"images.{case['batch']}.npy")
    if name == "gvm float in and out":
        return Runner(
            lambda: model.run(x, threads=threads),
            lambda: np.asarray(model.run(x, threads=threads)),
        )
    inputs = model.quantized_inputs(x)
    if name == "gvm stochastic":
        (segment,) = model.program.predict.segments
        whole = program_of(
            case["batch"], model.program.inputs[0], model.program.parameters, segment.steps, 1000
        )
        program = _core.Program(whole.encode())
        session = _core.Session(program, threads, BEST)
        session.write(PARAMETERS, model.parameters)
        drawn = Stochastic(program, session, inputs[0]).run
        return Runner(
            drawn,
            lambda: model.run_integers(x, threads=threads).real(),
            lambda: limits.of(program, session, [GRAD], len(x), drawn),
        )
    session = model.session(None, threads)

    def result() -> Array:
        found = model.run_integers(x, threads=threads)
        other = model.run_integers(x[:1], threads=threads, backend="cpu-avx2")
        if not np.array_equal(found.integers[:1], other.integers):
            raise GvmError("resnet50: instruction sets differ")
        return np.asarray(found.real())

    def run() -> object:
        return session.predict(inputs)

    encoded = _core.Program(model.program.encode())
    return Runner(run, result, lambda: limits.of(encoded, session, [PREDICT], len(x), run))


def training(profile: str, case: Case, threads: int, folder: Path) -> Runner:
    """A step of SGD with momentum, everything rounded stochastically."""
    base = folder / f"{case['network']}.{profile}"

    def part(name: str) -> bytes:
        return base.with_name(f"{base.name}.{name}").read_bytes()

    program = _core.Program(part("program"))

    def started(level: int) -> Any:
        made = _core.Session(program, threads, level)
        made.write(PARAMETERS, part("parameters"))
        made.write(STATE, part("state"))
        return made

    bits = int(part("bits"))
    batches = [
        (np.clip(np.rint(x * 2.0**bits), -(2**15), 2**15 - 1).astype(np.int16), y)
        for x, y in training_batches(case["batch"])
    ]
    losses = int(program.info()["loss_outputs"])
    session = started(BEST)
    number = 0

    def run() -> Array:
        nonlocal number
        x, y = batches[number % len(batches)]
        totals: Array = session.step([x], [y], SEED, number, losses)
        number += 1
        return totals

    def result() -> Array:
        other = started(AVX2)
        for i, (x, y) in enumerate(batches):
            expected = other.step([x], [y], SEED, i, losses)
            if not np.array_equal(run(), expected):
                raise GvmError("training: instruction sets differ")
            if i == 0:
                first = expected
        if session.read(PARAMETERS) != other.read(PARAMETERS):
            raise GvmError("training: instruction sets differ")
        return np.array([first[0] / 2.0**24 / first[1]])

    return Runner(
        run, result, lambda: limits.of(program, session, [GRAD, APPLY], case["batch"], run)
    )
