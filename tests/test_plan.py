"""Plans: what is fused, shared and hoisted, as text; and that none of it moves a bit, against an
executor that runs node by node and keeps every value."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest

from gvm import _core
from gvm.errors import HostError
from gvm.ops import BY_OPCODE, OPERATORS
from gvm.program import Function, Program, Step
from gvm.types import NUMPY, Type
from tests import hand_written
from tests.hand_written import (
    APPLY,
    GRAD,
    INPUTS,
    LABELS,
    LOSS,
    PARAMETERS,
    PREDICT,
    STATE,
    TOTALS,
    Array,
    Body,
    Nodes,
    inference,
    load,
    predicting,
    tensor,
)
from tests.random_networks import random_network
from tests.random_programs import Run, packed, random_program

SEED, STEP = 99, 5


# -- as text

DENSE = """\
constant convert#0 -> %3 @0
step matmul#1 + bias_add#2 + convert#3 -> %6 @0
arena 128 bytes, constants 64 bytes
"""
DENSE_GRAD = """\
constant convert#0 -> %4 @0
step matmul#1 + bias_add#2 + convert#3 -> %7 @0
step reduce_sum#4 -> %8 @128
step example_count#5 -> %9 @192
step divide_by_count#0 -> %12 @256
step sub#1 + convert#2 -> %14 @320
step softmax_cross_entropy_grad#3 -> %15 @0
step matmul_grad_weight#4 -> %16 @64
step reduce_sum#5 -> %17 @256
arena 448 bytes, constants 64 bytes
"""
IMAGES = """\
constant convert#0 -> %6 @0
step conv2d#1 + bias_add#2 + convert#3 + relu#4 -> %10 @0
step max_pool2d#5 -> %11 @512
step avg_pool2d#6 -> %12 @0
step transpose#7 -> %13 @192
step slice#8 -> %14 @0
step pad#9 -> %15 @64
step concat#10 -> %16 @192
step reduce_max#11 -> %17 @0
step sub#12 + convert#13 -> %19 @384
step reduce_sum#14 -> %20 @0
step reshape#15 -> %21 (shared) @0
step divide#16 -> %22 @320
step slice#17 -> %23 @0
step matmul#18 + convert#19 -> %25 @64
step softmax#20 -> %26 @0
step broadcast_to#21 -> %27 @128
step mul#22 -> %28 @192
arena 832 bytes, constants 192 bytes
"""


def plan(body: Body, function: int, batch: int) -> str:
    return str(_core.Session(load(body), 1, 0).plan(function, batch))


def test_plan_of_a_dense_layer() -> None:
    assert plan(hand_written.trained(), PREDICT, 8) == DENSE
    assert plan(hand_written.trained(), GRAD, 8) == DENSE_GRAD


def test_plan_of_a_convolutional_network() -> None:
    assert plan(hand_written.images(), PREDICT, 2) == IMAGES


def test_plans_do_not_depend_on_threads_or_level() -> None:
    program = load(hand_written.images())
    texts = {
        tuple(_core.Session(program, threads, level).plan(f, 3) for f in range(4))
        for threads in (1, 3)
        for level in _core.levels()
    }
    assert len(texts) == 1


def test_plans_know_no_absent_function() -> None:
    made = _core.Session(load(inference()))
    for function, batch in ((LOSS, 1), (GRAD, 1), (APPLY, 1), (4, 1), (PREDICT, 0), (PREDICT, 9)):
        with pytest.raises(HostError):
            made.plan(function, batch)


# -- against an executor that keeps every value


@dataclass
class NodeByNode:
    """Runs functions of a program with single operators: no plan, no fusion, no shared memory."""

    program: Program
    parameters: tuple[Array, ...]
    level: int
    sites: int = 0
    values: list[tuple[Type, Array]] = field(default_factory=list)

    def begin(self, types: Sequence[Type], arrays: Sequence[Array]) -> None:
        """Given values."""
        self.values = [(t, a.astype(NUMPY[t.dtype])) for t, a in zip(types, arrays, strict=True)]

    def run(self, step: Step, local: int, offset: int, batch: int, rounds: bool) -> None:
        """One node; ``rounds``: it reserves sites."""
        operands = [self.values[v] for v in step.inputs]
        attributes = list(step.attributes)
        types = _core.infer(
            step.opcode, [t for t, _ in operands], attributes, self.program.max_batch
        )
        arrays, _ = _core.run_operator(
            step.opcode,
            attributes,
            operands,
            local=local,
            offset=offset,
            batch=batch,
            seed=SEED if rounds else 0,
            step=STEP if rounds else 0,
            site=self.sites,
            level=self.level,
            threads=1,
        )
        self.sites += BY_OPCODE[step.opcode].sites if rounds else 0
        self.values += zip(types, arrays, strict=True)

    def call(self, function: Function, arrays: Sequence[Array], batch: int) -> list[Array]:
        """The outputs of predict or loss."""
        types = [*self.program.inputs, *self.program.parameters]
        if function is self.program.loss:
            types = [*self.program.inputs, *self.program.labels, *self.program.parameters]
        self.begin(types, [*arrays, *self.parameters])
        for step in function.segments[0].steps:
            self.run(step, batch, 0, batch, False)
        return [self.values[v][1] for v in function.outputs]

    def train(self, arrays: Sequence[Array], state: Sequence[Array]) -> list[Array]:
        """Totals of grad in one shard, then the outputs of apply."""
        p, batch, totals = self.program, len(arrays[0]), []
        assert p.grad is not None and p.apply is not None
        self.begin([*p.inputs, *p.labels, *p.parameters], [*arrays, *self.parameters])
        for segment in p.grad.segments:
            for step in segment.steps:
                self.run(step, batch, 0, batch, True)
            for v in segment.reduce:
                t, array = self.values[v]
                totals.append((Type(t.dtype, t.fraction_bits, t.shape, bound=t.bound), array))
            self.values += totals[-len(segment.reduce) :]
        self.begin([*p.parameters, *p.state], [*self.parameters, *state])
        self.values += totals
        for step in p.apply.segments[0].steps:
            self.run(step, 1, 0, 1, True)
        return [a for _, a in totals] + [self.values[v][1] for v in p.apply.outputs]


def limited(run: Run, **limits: int) -> Any:
    return _core.Program(run.program.encode(), limits)


def tightest(run: Run) -> dict[str, int]:
    """The least memory with which the program loads."""
    program = limited(run)
    peaks = [program.cost(f, run.program.max_batch)["peak_bytes"] for f in range(4)]
    totals = 8 * int(program.info()["totals"])
    return {"memory_bytes": max(*peaks, totals)}


def some_runs(count: int) -> list[Run]:
    return [
        (random_program if seed % 3 else random_network)(random.Random(seed))
        for seed in range(count)
    ]


def equal(a: Sequence[Array], b: Sequence[Array]) -> bool:
    return [x.tolist() for x in a] == [y.tolist() for y in b]


@pytest.mark.parametrize("seed", range(24))
def test_a_session_equals_single_operators(seed: int) -> None:
    """predict and loss for changing batches and parameters on one session, grad and apply."""
    rng = random.Random(seed)
    run = (random_program if seed % 3 else random_network)(rng)
    level = rng.choice(_core.levels())
    program = limited(run, **(tightest(run) if seed % 2 else {}))
    session = _core.Session(program, rng.randrange(1, 3), level)
    walker = NodeByNode(run.program, run.parameters, level)
    session.write(PARAMETERS, packed(run.program, PARAMETERS, run.parameters))
    assert run.program.loss is not None
    for _ in range(4):
        n = rng.randrange(1, run.batch + 1)
        inputs, labels = ([a[:n] for a in arrays] for arrays in (run.inputs, run.labels))
        expected = walker.call(run.program.predict, inputs, n)
        assert equal(session.predict(inputs), expected)
        sums = walker.call(run.program.loss, [*inputs, *labels], n)
        assert list(session.loss(inputs, labels))[: len(sums)] == [int(s) for s in sums]
        # Other parameters: what was hoisted must follow.
        moved = tuple(np.roll(a, rng.randrange(3)) for a in walker.parameters)
        walker.parameters = moved
        session.write(PARAMETERS, packed(run.program, PARAMETERS, moved))
    state = [np.zeros(t.shape, f"int{t.bits}") for t in run.program.state]
    made = walker.train([*run.inputs, *run.labels], state)
    totals = np.zeros(program.info()["totals"], np.int64)
    shard = _core.Shard(session, run.inputs, run.labels, 0, run.batch, SEED, STEP)
    for segment in range(program.info()["segments"]):
        shard.run(segment, totals, totals)
    session.apply(totals, SEED, STEP)
    count = len(program.tensors(TOTALS))
    assert totals.tolist() == [int(v) for a in made[:count] for v in np.asarray(a).ravel()]
    kept = len(run.program.parameters)
    after = made[count : count + kept], made[count + kept :]
    assert session.read(PARAMETERS) == packed(run.program, PARAMETERS, after[0])
    assert session.read(STATE) == packed(run.program, STATE, after[1])
    # The same in one call, on a session that has run shards and on a new one.
    for stepped in (session, _core.Session(program, 1, level)):
        stepped.write(PARAMETERS, packed(run.program, PARAMETERS, walker.parameters))
        stepped.write(STATE, packed(run.program, STATE, state))
        first = stepped.step(run.inputs, run.labels, SEED, STEP, len(totals))
        assert first.tolist() == totals.tolist()
        assert stepped.read(PARAMETERS) == packed(run.program, PARAMETERS, after[0])
        assert stepped.read(STATE) == packed(run.program, STATE, after[1])


ENDS = (0, 1, -1, 2**14, -(2**14), 2**15 - 1, -(2**15))


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@pytest.mark.parametrize("level", _core.levels())
def test_sums_and_products_are_converted_where_they_are_made(op: str, level: int) -> None:
    """Rows longer and shorter than what is held between the two, and the ends of the range."""
    rng = np.random.default_rng(7)
    cases = [
        (Type("i32", 12, (-1, 9, 300)), Type("i32", 12, (-1, 1, 300))),
        (Type("i16", 8, (-1, 9, 300)), Type("i16", 3, (-1, 9, 1))),
        (Type("i16", 28, (-1, 9, 300)), Type("i16", 1, (-1, 1, 300))),
        (Type("i16", 8, (-1, 1)), Type("i16", 8, (-1, 1700))),
        (Type("i16", 8, (-1, 700, 3)), Type("i32", 8, (-1, 1, 3))),
    ]
    for types in cases:
        for dtype, f, relu in product((1, 2), (6, 20), (False, True)):
            nodes = Nodes(3)
            exact = nodes.add(op, 0, 1)
            y = nodes.add("convert", exact, dtype=dtype, fraction_bits=f, rounding=0)
            y = nodes.add("relu", y) if relu else y
            body = inference(4) | {
                "inputs": [tensor(t.dtype, t.fraction_bits, *t.shape) for t in types],
                "predict": {"nodes": nodes.take(), "outputs": [y]},
            }
            session = _core.Session(load(body), 2, level)
            assert f"{op}#0 + convert#1" in session.plan(PREDICT, 3)
            given = [rng.choice(ENDS, t.concrete(3)).astype(NUMPY[t.dtype]) for t in types]
            sites = {"local": 3, "offset": 0, "batch": 3, "seed": 0, "step": 0, "site": 0}
            sites |= {"level": 0, "threads": 1}
            steps = [(op, []), ("convert", [dtype, f, 0]), ("relu", [])][: 3 if relu else 2]
            operands = list(zip(types, given, strict=True))
            for name, attributes in steps:
                opcode = OPERATORS[name].opcode
                made = _core.infer(opcode, [t for t, _ in operands], attributes, 4)
                arrays, clamps = _core.run_operator(opcode, attributes, operands, **sites)
                operands = list(zip(made, arrays, strict=True))
                if name == "convert":
                    expected_clamps = clamps
            assert session.predict(given)[0].tolist() == operands[0][1].tolist()
            assert session.clamps(PREDICT)[1] == expected_clamps


@pytest.mark.parametrize("level", _core.levels())
def test_gradients_of_maxima_are_converted_where_they_are_made(level: int) -> None:
    """Windows that tile an image, overlap, leave gaps and reach into padding; few and many
    channels."""
    rng = np.random.default_rng(8)
    windows = [
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 3), (2, 2), (0, 0, 0, 0)),
        ((2, 1), (3, 2), (0, 0, 0, 0)),
        ((3, 2), (3, 2), (1, 1, 0, 0)),
    ]
    for (window, strides, padding), channels in product(windows, (3, 20, 150)):
        opcode = OPERATORS["max_pool2d"].opcode
        x_type = Type("i16", 3, (-1, 8, 6, channels))
        named = {"window": window, "strides": strides, "padding": padding}
        attributes = list(OPERATORS["max_pool2d"].complete(named).values())
        (y_type,) = _core.infer(opcode, [x_type], attributes, 4)
        types = [x_type, Type("i16", 9, y_type.shape)]
        given = [rng.choice(ENDS, t.concrete(3)).astype(np.int16) for t in types]
        for dtype, f in ((1, 6), (1, 11), (2, 8)):
            nodes = Nodes(2)
            exact = nodes.add("max_pool2d_grad", 0, 1, **named)
            y = nodes.add("convert", exact, dtype=dtype, fraction_bits=f, rounding=0)
            body = inference(4) | {
                "inputs": [tensor(t.dtype, t.fraction_bits, *t.shape) for t in types],
                "parameters": [],
                "predict": {"nodes": nodes.take(), "outputs": [y]},
            }
            session = _core.Session(load(body), 2, level)
            assert "max_pool2d_grad#0 + convert#1" in session.plan(PREDICT, 3)
            sites = {"local": 3, "offset": 0, "batch": 3, "seed": 0, "step": 0, "site": 0}
            sites |= {"level": 0, "threads": 1}
            operands = list(zip(types, given, strict=True))
            for name, values in (("max_pool2d_grad", attributes), ("convert", [dtype, f, 0])):
                code = OPERATORS[name].opcode
                made = _core.infer(code, [t for t, _ in operands], values, 4)
                arrays, clamps = _core.run_operator(code, values, operands, **sites)
                operands = list(zip(made, arrays, strict=True))
            assert session.predict(given)[0].tolist() == operands[0][1].tolist()
            assert session.clamps(PREDICT)[1] == clamps


def test_tight_memory_changes_nothing() -> None:
    for run in some_runs(12):
        free, tight = (_core.Session(limited(run, **m), 1) for m in ({}, tightest(run)))
        data = packed(run.program, PARAMETERS, run.parameters)
        for session in (free, tight):
            session.write(PARAMETERS, data)
        assert equal(free.predict(run.inputs), tight.predict(run.inputs))
        assert free.loss(run.inputs, run.labels) == tight.loss(run.inputs, run.labels)
        for text in [tight.plan(f, run.program.max_batch) for f in (PREDICT, LOSS, GRAD)]:
            arena, constants = (int(w) for w in text.split("\n")[-2].split() if w.isdigit())
            assert arena + constants <= tightest(run)["memory_bytes"]


def test_tight_memory_keeps_no_constants() -> None:
    """Sixteen weights that one after the other need little, and all at once more than there is."""

    def build(f: Nodes) -> int:
        i16 = {"dtype": 1, "fraction_bits": 8, "rounding": 0}
        y = [
            f.add("convert", f.add("matmul", 0, f.add("convert", w, **i16)), **i16)
            for w in range(1, 17)
        ]
        for other in y[1:]:
            y[0] = f.add("convert", f.add("add", y[0], other), **i16)
        return y[0]

    body = predicting(build, *[tensor("i32", 16, 2, 64)] * 16, max_batch=1)
    peak = load(body).cost(PREDICT, 1)["peak_bytes"]
    sessions = [hand_written.session(load(body, **m)) for m in ({}, {"memory_bytes": peak})]
    plans = [session.plan(PREDICT, 1) for session in sessions]
    assert "constant" in plans[0].split() and "constant" not in plans[1].split()
    x = [np.array([[32767, -32768]], np.int16)]
    assert equal(*(session.predict(x) for session in sessions))


# -- particular plans


def test_a_hoisted_value_follows_the_parameters() -> None:
    program = load(hand_written.trained())
    session = hand_written.session(program)
    inputs = hand_written.integers(program.tensors(INPUTS), 4, 1)
    labels = hand_written.integers(program.tensors(LABELS), 4, 2)
    first = session.predict(inputs)[0]
    for change in (
        lambda: session.write(PARAMETERS, hand_written.buffer(program, PARAMETERS, 9)),
        lambda: hand_written.train(program, session, 4, 1, 0),
    ):
        before = session.predict(inputs)[0].tolist(), session.loss(inputs, labels)
        change()
        after = session.predict(inputs)[0].tolist(), session.loss(inputs, labels)
        assert before[0] != after[0] and before[1] != after[1]
        fresh = _core.Session(program)
        fresh.write(PARAMETERS, session.read(PARAMETERS))
        assert fresh.predict(inputs)[0].tolist() == after[0]
    assert first.shape == (4, 3)


def test_nothing_with_a_batch_is_hoisted() -> None:
    """A parameter spread over the examples has another size for every batch."""
    f = Nodes(2)
    spread = f.add("broadcast_to", f.add("relu", 1), shape=(-1, 2))
    y = f.add("convert", f.add("add", 0, spread), dtype=1, fraction_bits=8, rounding=0)
    body = inference() | {
        "parameters": [tensor("i16", 8, 2)],
        "predict": {"nodes": f.take(), "outputs": [y, spread]},
    }
    session = hand_written.session(load(body))
    w = np.maximum(np.frombuffer(session.read(PARAMETERS)[:4], "<i2"), 0)
    for n in (8, 1, 5, 8, 2):
        x = np.arange(2 * n, dtype=np.int16).reshape(n, 2)
        got, copies = session.predict([x])
        assert got.tolist() == (x + w).tolist()
        assert copies.tolist() == [w.tolist()] * n


def test_views_of_everything() -> None:
    """Views of inputs, parameters, constants, results and of views, read after their last use."""
    f = Nodes(3)
    of_x = f.add("reshape", 0, shape=(-1, 2, 1))
    again = f.add("reshape", of_x, shape=(-1, 1, 2))
    of_w = f.add("reshape", 1, shape=(1, 2))
    narrow = f.add("convert", 2, dtype=1, fraction_bits=8, rounding=0)
    of_constant = f.add("reshape", narrow, shape=(1, 1, 2))
    bent = f.add("relu", again)
    of_bent = f.add("reshape", bent, shape=(-1, 2))
    more = f.add("relu", of_bent)
    sums = f.add("add", more, of_w)
    body = inference() | {
        "parameters": [tensor("i16", 8, 2), tensor("i32", 8, 2)],
        "predict": {
            "nodes": f.take(),
            "outputs": [of_x, again, of_w, of_constant, of_bent, more, sums],
        },
    }
    session = _core.Session(load(body))
    session.write(
        PARAMETERS,
        np.array([3, -4], "<i2").tobytes()
        + bytes(60)
        + np.array([5, 6], "<i4").tobytes()
        + bytes(56),
    )
    x = np.array([[1, -2], [-3, 4], [5, 6]], np.int16)
    bent_x = np.maximum(x, 0)
    got = [a.tolist() for a in session.predict([x])]
    assert got == [
        x[..., None].tolist(),
        x[:, None].tolist(),
        [[3, -4]],
        [[[5, 6]]],
        bent_x.tolist(),
        bent_x.tolist(),
        (bent_x + [3, -4]).tolist(),
    ]


def test_a_value_read_twice_is_not_overwritten() -> None:
    """relu and add may write over their operand, but not while another node still reads it."""
    f = Nodes(2)
    x = f.add("convert", 0, dtype=1, fraction_bits=8, rounding=0)
    bent = f.add("relu", x)
    both = f.add("sub", f.add("add", bent, x), x)
    twice = f.add("add", both, both)
    y = f.add("convert", twice, dtype=1, fraction_bits=8, rounding=0)
    z = f.add("relu", y)
    body = inference() | {"predict": {"nodes": f.take(), "outputs": [y, z, x]}}
    session = hand_written.session(load(body))
    data = np.array([[1, -2], [-3, 4]], np.int16)
    bent_data = np.maximum(data, 0)
    assert [a.tolist() for a in session.predict([data])] == [
        (2 * bent_data).tolist(),
        (2 * bent_data).tolist(),
        data.tolist(),
    ]
