"""Random programs: integer graphs of any operators that the core accepts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core, schedules
from gvm.errors import GvmError, ProgramError
from gvm.graph import Builder, Value
from gvm.operator import AttributeValue
from gvm.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from gvm.program import Program, compile_graph
from gvm.types import NUMPY, RANGE, Type
from gvm.updates import with_optimizer
from tests import random_makers

Array = NDArray[Any]
MAX_BATCH = 64
CLASSES = 5


@dataclass(frozen=True)
class Run:
    """A program with its data: what a step computes from."""

    program: Program
    inputs: tuple[Array, ...]
    labels: tuple[Array, ...]
    parameters: tuple[Array, ...]

    @property
    def batch(self) -> int:
        """Examples of the step."""
        return len(self.inputs[0])

    def head(self, most: int) -> Run:
        """The same on the first examples."""
        cut = (tuple(a[:most] for a in arrays) for arrays in (self.inputs, self.labels))
        inputs, labels = cut
        return replace(self, inputs=inputs, labels=labels)


def painted(rng: random.Random, type_: Type, shape: Sequence[int]) -> Array:
    """Integers of a type: its whole range, small ones, or its limits."""
    low, high = RANGE[type_.dtype]
    generator = np.random.default_rng(rng.getrandbits(32))
    kind = rng.randrange(4)
    if kind == 0:
        return np.where(generator.integers(0, 2, tuple(shape)) == 0, low, high)
    spread = (2**4, 2**9, high)[kind - 1]
    return generator.integers(max(low, -spread), min(high, spread) + 1, tuple(shape))


@dataclass
class Graphs:
    """Grows an integer graph by random nodes; whatever the core refuses is left out."""

    rng: random.Random
    g: Builder = field(default_factory=lambda: Builder(max_batch=MAX_BATCH))
    local: set[Value] = field(default_factory=set)
    """Values that rest on inputs and parameters alone: what predict may return."""
    labels: set[Value] = field(default_factory=set)
    """Values that no operator is given by chance."""

    # -- choosing

    def type(self, v: Value) -> Type:
        """The type of a value."""
        return self.g.types[v]

    def values(self, keep: Callable[[Type], bool]) -> list[Value]:
        """The values of such a type."""
        every = range(len(self.g.types))
        return [v for v in every if v not in self.labels and keep(self.g.types[v])]

    def pick(self, *dtypes: str, rank: int | None = None) -> Value:
        """A batched value with the batch in front; of the later ones more often."""
        found = self.values(
            lambda t: (
                t.dtype in dtypes and t.batch_axis == 0 and (rank is None or len(t.shape) == rank)
            )
        )
        if not found:
            raise LookupError
        return max(self.rng.choice(found) for _ in range(2))

    def like(self, shape: Sequence[int], *dtypes: str) -> Value:
        """A value of this shape."""
        found = self.values(
            lambda t: t.dtype in dtypes and t.shape == tuple(shape) and not t.partial
        )
        if not found:
            raise LookupError
        return self.rng.choice(found)

    def constant(self, shape: Sequence[int], dtype: str, bits: int | None = None) -> Value:
        """A parameter that training leaves alone."""
        bits = self.rng.randrange(2, 12) if bits is None else bits
        data = painted(self.rng, Type(dtype, bits, ()), shape)
        return self.g.parameter(f"constant {len(self.g.types)}", data, dtype, bits, False)

    def rounded(self, near: int) -> dict[str, int]:
        """Attributes of a rounding to a format near this one; the stage decides how it rounds."""
        bits = max(-32, min(47, near + self.rng.randrange(-18, 4)))
        return {"dtype": self.rng.choice((1, 1, 2)), "fraction_bits": bits, "rounding": 0}

    # -- nodes

    def add(self, op: str, inputs: Sequence[Value], **attributes: Any) -> Value | None:
        """A node, where the core accepts it."""
        try:
            outputs = self.g.node(op, inputs, attributes)
        except ProgramError:
            return None
        if all(v in self.local for v in inputs) and not self.type(outputs[0]).partial:
            self.local.update(outputs)
        return outputs[0]

    def grow(self) -> None:
        """Tries one random node."""
        self.g.stage = self.rng.choice(("forward", "backward", "loss"))
        try:
            self.rng.choice(MAKERS)(self)
        except LookupError:
            return

    def convert(self) -> None:
        """A rounding of an exact value, so that others may read it."""
        x = self.pick("i64", "i32", "i16")
        self.add("convert", (x,), **self.rounded(self.type(x).fraction_bits))

    def dense(self) -> None:
        """x @ w, with w of either orientation."""
        x = self.pick("i16")
        if len(self.type(x).shape) < 2:
            raise LookupError
        k, n, turned = self.type(x).shape[-1], self.rng.randrange(1, 9), self.rng.randrange(2)
        w = self.constant((n, k) if turned else (k, n), "i16")
        self.add("matmul", (x, w), transpose_b=turned)

    def weights(self) -> None:
        """Gradients of a dense layer, and through it."""
        a = self.pick("i16")
        d = self.like((*self.type(a).shape[:-1], self.type(a).shape[-1]), "i16")
        self.partial(self.add("matmul_grad_weight", (a, d)))

    def image(self) -> None:
        """A convolution or a pooling, and its gradients."""
        x = self.pick("i16", rank=4)
        _, height, width, channels = self.type(x).shape
        rng = self.rng
        window = (rng.randrange(1, min(3, height) + 1), rng.randrange(1, min(3, width) + 1))
        geometry: dict[str, AttributeValue] = {
            "strides": (rng.randrange(1, 3), rng.randrange(1, 3)),
            "padding": tuple(rng.randrange(2) for _ in range(4)),
            "dilation": (rng.randrange(1, 3), 1),
        }
        kind = rng.randrange(3)
        count = {"count_include_pad": rng.randrange(2)}
        bits = self.type(x).fraction_bits
        if kind == 0:
            groups = rng.choice([n for n in range(1, channels + 1) if channels % n == 0])
            filters = groups * rng.randrange(1, 3)
            w = self.constant((*window, channels // groups, filters), "i16")
            geometry["groups"] = groups
            y = self.add("conv2d", (x, w), **geometry)
        elif kind == 1:
            y = self.add("max_pool2d", (x,), window=window, **geometry)
        else:
            y = self.add(
                "avg_pool2d", (x,), window=window, **geometry, **count, **self.rounded(bits)
            )
        if y is None:
            return
        delta = self.add("convert", (y,), **{**self.rounded(6), "dtype": 1})
        if delta is None:
            return
        if kind == 0:
            self.add("conv2d_grad_input", (delta, w), **geometry, size=(height, width))
            self.partial(self.add("conv2d_grad_weight", (x, delta), **geometry, kernel=window))
        elif kind == 1:
            self.add("max_pool2d_grad", (x, delta), window=window, **geometry)
        else:
            size = {"size": (height, width), "window": window}
            self.add("avg_pool2d_grad", (delta,), **size, **geometry, **count, **self.rounded(6))

    def bias(self) -> None:
        """A bias on the last axis."""
        x = self.pick("i64", "i32", "i16")
        if len(self.type(x).shape) < 2:
            raise LookupError
        least = max(-32, self.type(x).fraction_bits - 4)
        self.add("bias_add", (x, self.constant(self.type(x).shape[-1:], "i32", least)))

    def binary(self) -> None:
        """A sum, difference, product or quotient with broadcasting."""
        op = self.rng.choice(("add", "sub", "mul", "div"))
        dtypes = ("i16", "i32") if op in ("mul", "div") else ("i16", "i32", "i64")
        given: dict[str, int] = {}
        if op == "div":
            given = {"direction": self.rng.randrange(4), **self.rounded(8)}
        a = self.pick(*dtypes)
        shape = self.type(a).shape
        if self.rng.randrange(2):
            b = self.like(shape, *dtypes)
        else:
            tail = shape[self.rng.randrange(1, len(shape) + 1) :]
            b = self.constant([self.rng.choice((1, d)) for d in tail], "i16")
        self.add(op, (a, b) if self.rng.randrange(2) else (b, a), **given)

    def dropped(self) -> None:
        """A dropout, and one of the same stream."""
        keep, stream = self.rng.choice((1, 30000, 52429, 65535)), self.rng.randrange(3)
        for _ in range(2):
            self.add("dropout", (self.pick("i16", "i32"),), keep=keep, stream=stream)

    def masked(self) -> None:
        """relu, its gradient, and the gradient through a clamp."""
        x = self.pick("i16", "i32")
        if self.rng.randrange(2):
            self.add("relu", (x,))
        delta = self.like(self.type(x).shape, "i16", "i32", "i64")
        self.add(self.rng.choice(("relu_grad", "convert_grad")), (x, delta))

    def shaped(self) -> None:
        """A view, a permutation, or a movement of elements."""
        x = self.pick("i16", "i32", "i64")
        shape, rng = self.type(x).shape, self.rng
        rank, rest = len(shape), shape[1:]
        kind = rng.randrange(5)
        if kind == 0:
            self.add("reshape", (x,), shape=(-1, int(np.prod(rest, dtype=np.int64))))
        elif kind == 1 and rank > 2:
            self.add("transpose", (x,), permutation=(0, *rng.sample(range(1, rank), rank - 1)))
        elif kind == 2 and rest:
            other = self.like(shape, self.type(x).dtype)
            self.add("concat", (x, other, x), axis=rng.randrange(1, rank))
        elif kind == 3:
            begin = [rng.randrange(d) for d in rest]
            end = [rng.randrange(b + 1, d + 1) for b, d in zip(begin, rest, strict=True)]
            steps = [rng.randrange(1, 3) for _ in rest]
            self.add("slice", (x,), begin=(0, *begin), end=(-1, *end), strides=(1, *steps))
        elif rest:
            ends = {n: (0, *(rng.randrange(2) for _ in rest)) for n in ("before", "after")}
            self.add("pad", (x,), **ends)

    def reduced(self) -> None:
        """A maximum or a sum over axes of each example, and quotients."""
        x = self.pick("i16", "i32")
        rank = len(self.type(x).shape)
        if rank < 2:
            raise LookupError
        axes = tuple(sorted(self.rng.sample(range(1, rank), self.rng.randrange(1, rank))))
        op = self.rng.choice(("reduce_sum", "reduce_max"))
        y = self.add(op, (x,), axes=axes, keepdims=1)
        if y is None:
            return
        if op == "reduce_max":
            self.add("reduce_max_grad", (x, y), axes=axes)
        divisor = self.rng.choice((1, 3, 4, 49))
        self.add("divide", (y,), divisor=divisor, **self.rounded(self.type(y).fraction_bits))

    def nonlinear(self) -> None:
        """A table, or a softmax."""
        if self.rng.randrange(2):
            x = self.pick("i16")
            made = {**self.rounded(12), "dtype": 1}
            self.add("unary", (x,), function=self.rng.randrange(1, 23), **made)
        else:
            self.add("softmax", (self.pick("i16", "i32"),), **self.rounded(14))

    def losses(self) -> None:
        """A loss with its gradient, and hits."""
        x = self.pick("i16", "i32")
        shape = self.type(x).shape
        if len(shape) == 2 and shape[1] >= CLASSES and self.rng.randrange(2):
            t = self.g.labels[0]
            self.add("argmax_correct", (x, t))
            op = "softmax_cross_entropy"
        else:
            t, op = self.like(shape, "i16", "i32"), "mean_squared_error"
        self.add(op, (x, t))
        self.add(f"{op}_grad", (x, t), **self.rounded(12))

    def spread(self) -> None:
        """A shared value for each example."""
        found = self.values(lambda t: t.batch_axis is None and not t.partial)
        if not found:
            raise LookupError
        x = self.rng.choice(found)
        self.add("broadcast_to", (x,), shape=(-1, *self.type(x).shape))

    def over_batch(self) -> None:
        """A sum over examples."""
        x = self.pick("i16", "i32", "i64")
        self.partial(self.add("reduce_sum", (x,), axes=(0,), keepdims=0))

    def partial(self, v: Value | None) -> None:
        """Perhaps a total in the middle: its mean is a shared value for later segments."""
        if v is None or not self.rng.randrange(2):
            return
        total, count = self.g.total(v), self.g.total(self.g.example_count())
        made = self.rounded(self.type(total).fraction_bits)
        mean = self.add("divide_by_count", (total, count), **made)
        if mean is not None and len(self.type(mean).shape) < 4:
            self.add("broadcast_to", (mean,), shape=(-1, *self.type(mean).shape))

    # -- the whole

    def totals(self) -> list[Value]:
        """A total of every value that nothing else reads."""
        read = {v for node in self.g.nodes for v in node.inputs}
        made = []
        for v in range(len(self.g.types)):
            type_ = self.type(v)
            if v in read or v in self.labels or v in self.g.inputs:
                continue
            if type_.partial:
                made.append(self.g.total(v))
            elif type_.batch_axis is not None:
                summed = self.add("reduce_sum", (v,), axes=(type_.batch_axis,), keepdims=0)
                made += [] if summed is None else [self.g.total(summed)]
        return made


MAKERS: tuple[Callable[[Graphs], None], ...] = (
    *(Graphs.convert,) * 3,
    Graphs.dense,
    Graphs.weights,
    *(Graphs.image,) * 3,
    Graphs.bias,
    *(Graphs.binary,) * 2,
    Graphs.dropped,
    Graphs.masked,
    *(Graphs.shaped,) * 2,
    Graphs.reduced,
    Graphs.nonlinear,
    *random_makers.MAKERS,
    Graphs.losses,
    Graphs.spread,
    *(Graphs.over_batch,) * 2,
)


def random_program(rng: random.Random) -> Run:
    """An integer program of random nodes, with reduces in the middle of its gradient."""
    made = Graphs(rng)
    g = made.g
    shape: tuple[int, ...] = (-1, rng.randrange(2, 6), rng.randrange(2, 6), rng.randrange(1, 5))
    shape = shape if rng.randrange(3) else (-1, rng.randrange(1, 20))
    x = g.input("x", shape, "i16", rng.randrange(4, 12))
    classes = g.label("classes", (-1,), "i32", 0)
    target = g.label("target", shape, "i16", rng.randrange(4, 12))
    made.labels |= {classes, target}
    dtype = rng.choice(("i16", "i32"))
    weights = [
        g.parameter(
            f"w{i}",
            painted(rng, Type(dtype, 0, ()), tail),
            dtype,
            rng.randrange(4, 20),
            True,
        )
        for i, tail in enumerate((shape[1:], shape[-1:]))
    ]
    made.local |= {x, *weights}
    # Training moves what follows.
    for w in weights:
        view = g.convert(w, dtype=1, fraction_bits=rng.randrange(2, 10), rounding=0)
        made.local.add(view)
        made.local.add(g.mul(x, view))
    for _ in range(rng.randrange(4, 24)):
        made.grow()
    g.stage = "loss"
    each = g.mean_squared_error(x, target)
    loss = (g.reduce_sum(each, axes=(0,)), g.example_count())
    g.stage = "backward"
    gradients = []
    for w in weights:
        tail = made.type(w).shape
        found = [
            v
            for v in made.values(lambda t: t.batch_axis == 0 and t.dtype in ("i16", "i32"))
            if made.type(v).shape[1:][-len(tail) :] == tail and made.type(v).fraction_bits >= -8
        ]
        v = rng.choice(found)
        axes = tuple(range(len(made.type(v).shape) - len(tail)))
        gradients.append(g.total(g.reduce_sum(v, axes=axes)))
    rest = made.totals()
    totals = [*(g.total(v) for v in loss), *gradients, *rest]
    local = sorted(v for v in made.local if made.type(v).batch_axis is not None)
    graph = g.graph(predict=(rng.choice(local),), loss=loss, grad=totals)
    program = optimized(
        rng,
        compile_graph(graph, {}, MAX_BATCH),
        2.0 ** rng.randrange(-20, 2),
        rng.choice(("stochastic", "nearest")),
    )
    batch = rng.randrange(1, 9)
    types = [made.type(v) for v in (x, target)]
    data = [painted(rng, t, t.concrete(batch)).astype(NUMPY[t.dtype]) for t in types]
    generator = np.random.default_rng(rng.getrandbits(32))
    return Run(
        program,
        (data[0],),
        (generator.integers(0, CLASSES, batch).astype(np.int32), data[1]),
        tuple(p.data for p in graph.parameters),
    )


def optimized(rng: random.Random, program: Program, rate: float, rounding: str) -> Program:
    """The program with some optimizer; a plain one where formats are too far apart for it."""
    momentum = rng.choice((0.0, 0.9))
    limit = rng.choice(({}, {}, {"clip_value": 0.01}, {"clip_norm": 0.1}))
    slow = schedules.Warmup(rate, steps=3, start=0.25)
    chosen: Optimizer = rng.choice(
        (
            SGD(rate, momentum),
            SGD(rate, 0.9, nesterov=True, weight_decay=0.01, **limit),
            SGD(slow, momentum, **limit),
            Adam(rate, **limit),
            AdamW(slow, weight_decay=0.1, **limit),
            RMSprop(slow, **limit),
        )
    )
    try:
        made = with_optimizer(program, chosen, rounding)
        _core.Program(made.encode())
    except GvmError:
        return with_optimizer(program, SGD(rate, momentum), rounding)
    return made


def tensors(program: Program, section: int, data: bytes) -> tuple[Array, ...]:
    """The arrays of a buffer of parameters or state."""
    return tuple(
        np.frombuffer(data, NUMPY[t.dtype], int(np.prod(t.shape, dtype=np.int64)), offset).reshape(
            t.shape
        )
        for t, offset, _ in _core.Program(program.encode()).tensors(section)
    )


def packed(program: Program, section: int, arrays: Sequence[Array]) -> bytes:
    """The buffer of parameters or state that holds these arrays."""
    native = _core.Program(program.encode())
    data = bytearray(native.info()["parameter_bytes" if section == 2 else "state_bytes"])
    for (t, offset, _), array in zip(native.tensors(section), arrays, strict=True):
        raw = array.astype(NUMPY[t.dtype]).tobytes()
        data[offset : offset + len(raw)] = raw
    return bytes(data)
