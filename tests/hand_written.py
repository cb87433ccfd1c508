"""Programs written by hand, node by node, as the maps of which the canonical bytes are made."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm import _core, cbor
from gvm.errors import ProgramError
from gvm.ops import OPERATORS
from gvm.types import DTYPES, NUMPY
from tests.vectors import refusals

Body = dict[str, Any]
Change = Callable[[Body], Any]
Array = NDArray[Any]
INPUTS, LABELS, PARAMETERS, STATE, OUTPUTS, TOTALS = range(6)
PREDICT, LOSS, GRAD, APPLY = range(4)


@dataclass
class Nodes:
    """Nodes of a function; ``given`` values come before theirs."""

    given: int
    nodes: list[list[Any]] = field(default_factory=list)
    made: int = 0

    def add(self, name: str, *inputs: int, **attributes: int | tuple[int, ...]) -> int:
        """Appends a node and returns the number of its first output."""
        operator = OPERATORS[name]
        values = [
            list(v) if isinstance(v, tuple) else v for v in operator.complete(attributes).values()
        ]
        self.nodes.append([operator.opcode, list(inputs), values])
        first = self.given + self.made
        self.made += operator.outputs
        return first

    def total(self) -> int:
        """The number of the next total: call once per value of the segment's reduce."""
        self.made += 1
        return self.given + self.made - 1

    def take(self) -> list[list[Any]]:
        """The nodes since the last take: those of a segment."""
        taken, self.nodes = self.nodes, []
        return taken


def tensor(dtype: str, fraction_bits: int, *shape: int) -> list[Any]:
    """A type in program bytes."""
    return [DTYPES[dtype], fraction_bits, list(shape)]


def inference(max_batch: int = 8) -> Body:
    """x [B, 2] times w [2, 1], rounded: the smallest program that is one."""
    f = Nodes(2)
    y = f.add("convert", f.add("matmul", 0, 1), dtype=1, fraction_bits=8, rounding=0)
    return {
        "semantics": 1,
        "max_batch": max_batch,
        "inputs": [tensor("i16", 8, -1, 2)],
        "labels": [],
        "parameters": [tensor("i16", 8, 2, 1)],
        "predict": {"nodes": f.take(), "outputs": [y]},
        "loss": None,
    }


def _dense(f: Nodes, x: int, w: int, b: int, rounding: int) -> tuple[int, int]:
    """The narrow view of the weights, and logits."""
    view = f.add("convert", w, dtype=1, fraction_bits=8, rounding=0)
    sums = f.add("bias_add", f.add("matmul", x, view), b)
    return view, f.add("convert", sums, dtype=2, fraction_bits=12, rounding=rounding)


def _losses(f: Nodes, z: int, t: int) -> tuple[int, int, int]:
    total = f.add("reduce_sum", f.add("softmax_cross_entropy", z, t), axes=(0,), keepdims=0)
    correct = f.add("reduce_sum", f.add("argmax_correct", z, t), axes=(0,), keepdims=0)
    return total, f.add("example_count"), correct


def trained(max_batch: int = 8) -> Body:
    """A dense layer [B, 2] to [B, 3] with its loss. The gradient has two segments, of which the
    second reads a mean of the first. Momentum moves the weights, plain descent the bias."""
    predict = Nodes(3)
    _, z = _dense(predict, 0, 1, 2, 0)
    body = inference(max_batch)
    body["labels"] = [tensor("i32", 0, -1)]
    body["parameters"] = [tensor("i32", 24, 2, 3), tensor("i32", 16, 3)]
    body["predict"] = {"nodes": predict.take(), "outputs": [z]}
    loss = Nodes(4)
    total, count, correct = _losses(loss, _dense(loss, 0, 2, 3, 0)[1], 1)
    body["loss"] = {"nodes": loss.take(), "outputs": [total, count, correct]}
    f = Nodes(4)
    _, z = _dense(f, 0, 2, 3, 1)
    centre = f.add("reduce_sum", z, axes=(0,), keepdims=0)
    count = f.add("example_count")
    first = {"nodes": f.take(), "reduce": [centre, count]}
    centre, count = f.total(), f.total()
    mean = f.add("divide_by_count", centre, count, dtype=2, fraction_bits=12, rounding=2)
    away = f.add("convert", f.add("sub", z, mean), dtype=2, fraction_bits=12, rounding=2)
    delta = f.add("softmax_cross_entropy_grad", away, 1, dtype=1, fraction_bits=14, rounding=2)
    of_w = f.add("matmul_grad_weight", 0, delta)
    of_b = f.add("reduce_sum", delta, axes=(0,), keepdims=0)
    body["grad"] = [first, {"nodes": f.take(), "reduce": [of_w, of_b]}]
    body["state"] = [tensor("i32", 24, 2, 3)]
    # Given to apply: w, b, velocity, centre, count, gradients of w and b.
    apply = Nodes(7)
    rate = {"multiplier": 26214, "exponent": 18}
    w = apply.add("momentum", 0, 2, 5, 4, **rate, momentum_multiplier=29491, momentum_exponent=15)
    b = apply.add("sgd", 1, 6, 4, **rate)
    body["apply"] = {"nodes": apply.take(), "outputs": [w, b, w + 1]}
    return body


def load(body: Body, **limits: int) -> Any:
    """The program that the core makes of a map."""
    return _core.Program(cbor.encode(body), limits)


def integers(types: Sequence[Any], batch: int, seed: int, spread: int = 400) -> list[Array]:
    """Small integers for tensors of these types; labels (i32 without a fraction) in [0, 3)."""
    generator = np.random.default_rng(seed)
    made = []
    for t, _, _ in types:
        low, high = (0, 3) if t.dtype == "i32" and t.fraction_bits == 0 else (-spread, spread)
        if t.dtype in ("u8", "bool"):
            low, high = 0, 2
        made.append(generator.integers(low, high, t.concrete(batch)).astype(NUMPY[t.dtype]))
    return made


def buffer(program: Any, section: int, seed: int, spread: int = 1 << 22) -> bytes:
    """A buffer of parameters or state with small integers."""
    info = program.info()
    data = bytearray(info["parameter_bytes" if section == PARAMETERS else "state_bytes"])
    types = program.tensors(section)
    for (_, offset, _), array in zip(types, integers(types, 1, seed, spread), strict=True):
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        data[offset : offset + len(raw)] = raw
    return bytes(data)


def session(program: Any, seed: int = 1, threads: int = 1, level: int = -1) -> Any:
    """A session with small parameters and state."""
    made = _core.Session(program, threads, level)
    made.write(PARAMETERS, buffer(program, PARAMETERS, seed))
    made.write(STATE, buffer(program, STATE, seed + 1, 1 << 10))
    return made


def train(program: Any, made: Any, batch: int, seed: int, step: int, shards: int = 1) -> Array:
    """One step on painted data in equal shards; returns the totals."""
    inputs = integers(program.tensors(INPUTS), batch, seed)
    labels = integers(program.tensors(LABELS), batch, seed + 1)
    totals = np.zeros(program.info()["totals"], dtype=np.int64)
    each = batch // shards
    running = [
        _core.Shard(
            made,
            [a[at : at + each] for a in inputs],
            [a[at : at + each] for a in labels],
            at,
            batch,
            seed,
            step,
        )
        for at in range(0, batch, each)
    ]
    for segment in range(program.info()["segments"]):
        sums = np.zeros_like(totals)
        for shard in running:
            shard.run(segment, totals, sums)
        totals += sums
    made.apply(totals, seed, step)
    return totals


def code(name: str) -> int:
    return OPERATORS[name].opcode


def changed(change: Change, start: Body | None = None) -> Body:
    """The trained program after a change."""
    body = copy.deepcopy(trained() if start is None else start)
    change(body)
    return body


def put(*path: Any) -> Change:
    """Sets what stands at a path of keys; the last item is the value."""
    *steps, last, value = path

    def change(body: Body) -> None:
        at: Any = body
        for step in steps:
            at = at[step]
        at[last] = value

    return change


def drop(*path: Any) -> Change:
    """Removes what stands at a path of keys."""
    *steps, last = path

    def change(body: Body) -> None:
        at: Any = body
        for step in steps:
            at = at[step]
        del at[last]

    return change


def refusal(data: bytes, **limits: int) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        _core.Program(data, limits)
    assert caught.value.status > 0
    asked = refusals.question(data, limits)
    if asked is not None:
        assert refusals.ask(asked, caught.value.status), (
            "no vector: python -m tests.vectors.refusals writes it"
        )
    return caught.value


def refused(body: Body, name: str, message: str, **limits: int) -> None:
    error = refusal(cbor.encode(body), **limits)
    assert (error.name, message in str(error)) == (name, True), str(error)


def predicting(build: Callable[[Nodes], int], *types: list[Any], max_batch: int = 8) -> Body:
    """A program whose predict gives one value of x [B, 2] and parameters of these types."""
    f = Nodes(1 + len(types))
    output = build(f)
    return inference(max_batch) | {
        "parameters": list(types),
        "predict": {"nodes": f.take(), "outputs": [output]},
    }


def images(max_batch: int = 4) -> Body:
    """Images [B, 6, 5, 2] through most operators, their loss, and a gradient through them."""
    body = inference(max_batch)
    body["inputs"] = [tensor("i16", 8, -1, 6, 5, 2), tensor("u8", 0, -1, 3)]
    body["labels"] = [tensor("i32", 0, -1), tensor("i16", 10, -1, 3)]
    body["parameters"] = [
        tensor("i32", 24, 3, 3, 2, 4),
        tensor("i32", 16, 4),
        tensor("i16", 8, 12, 3),
        tensor("bool", 0, 5),
    ]
    pool = {"window": (2, 2), "strides": (1, 2), "padding": (0, 1, 0, 1), "dilation": (1, 1)}
    convolution = {"strides": (1, 1), "padding": (1, 1, 0, 2), "dilation": (1, 1), "groups": 1}
    i16 = {"dtype": 1, "fraction_bits": 8}

    def forward(f: Nodes, first: int, rounding: int) -> dict[str, int]:
        """Logits [B, 3] from the input 0 and parameters from value `first` on."""
        v = {"x": 0, "w": f.add("convert", first, **i16, rounding=0)}
        v["y"] = f.add("bias_add", f.add("conv2d", 0, v["w"], **convolution), first + 1)
        v["narrow"] = f.add("convert", v["y"], **i16, rounding=rounding)
        v["relu"] = f.add("relu", v["narrow"])
        v["most"] = f.add("max_pool2d", v["relu"], **pool)
        v["mean"] = f.add("avg_pool2d", v["most"], **pool, **i16, rounding=rounding)
        turned = f.add("transpose", v["mean"], permutation=(0, 3, 1, 2))
        cut = f.add("slice", turned, begin=(0, 0, 1, 0), end=(-1, 4, 6, 2), strides=(1, 2, 2, 1))
        padded = f.add("pad", cut, before=(0, 0, 0, 1), after=(0, 0, 0, 0))
        joined = f.add("concat", padded, padded, axis=2)
        v["tall"] = f.add("reduce_max", joined, axes=(2,), keepdims=1)
        away = f.add("convert", f.add("sub", joined, v["tall"]), **i16, rounding=rounding)
        v["joined"] = joined
        flat = f.add("reshape", f.add("reduce_sum", away, axes=(1,)), shape=(-1, 18))
        v["flat"] = f.add("divide", flat, divisor=3, **i16, rounding=rounding)
        some = f.add("slice", v["flat"], begin=(0, 0), end=(-1, 12), strides=(1, 1))
        v["some"] = some
        sums = f.add("matmul", some, first + 2)
        v["z"] = f.add("convert", sums, dtype=2, fraction_bits=12, rounding=rounding)
        return v

    predict = Nodes(6)
    v = forward(predict, 2, 0)
    p = predict.add("softmax", v["z"], dtype=1, fraction_bits=14, rounding=0)
    spread = predict.add("broadcast_to", 5, shape=(-1, 5))
    scaled = predict.add("mul", v["z"], p)
    body["predict"] = {"nodes": predict.take(), "outputs": [p, spread, scaled, 1]}

    loss = Nodes(8)
    z = forward(loss, 4, 0)["z"]
    each = loss.add("softmax_cross_entropy", z, 2)
    squares = loss.add("mean_squared_error", z, 3)
    total = loss.add("reduce_sum", loss.add("add", each, squares), axes=(0,))
    hits = loss.add("reduce_sum", loss.add("argmax_correct", z, 2), axes=(0,))
    outputs = [total, loss.add("example_count"), hits]
    body["loss"] = {"nodes": loss.take(), "outputs": outputs}

    f = Nodes(8)
    v = forward(f, 4, 1)
    count = f.add("example_count")
    tall = f.add("reduce_sum", v["tall"], axes=(0,))
    first = {"nodes": f.take(), "reduce": [tall, count]}
    tall, count = f.total(), f.total()
    mean = f.add("divide_by_count", tall, count, **i16, rounding=2)
    d = f.add("softmax_cross_entropy_grad", v["z"], 2, dtype=1, fraction_bits=14, rounding=2)
    e = f.add("mean_squared_error_grad", v["z"], 3, dtype=1, fraction_bits=14, rounding=2)
    d = f.add("convert", f.add("add", d, e), dtype=1, fraction_bits=14, rounding=2)
    of_dense = f.add("matmul_grad_weight", v["some"], d)
    of_flat = f.add("convert", f.add("matmul", d, 6, transpose_b=1), **i16, rounding=2)
    gated = f.add("convert_grad", v["some"], of_flat)
    wide = f.add("concat", gated, gated, axis=1)
    spread = f.add(
        "reshape",
        f.add("slice", wide, begin=(0, 0), end=(-1, 3), strides=(1, 1)),
        shape=(-1, 1, 1, 3),
    )
    of_most = f.add(
        "reduce_max_grad",
        v["joined"],
        f.add("pad", spread, before=(0, 0, 0, 0), after=(0, 1, 0, 0)),
        axes=(2,),
    )
    delta = f.add("convert", f.add("add", of_most, mean), **i16, rounding=2)
    back = f.add("slice", delta, begin=(0, 0, 0, 0), end=(-1, 2, 6, 2), strides=(1, 1, 1, 1))
    back = f.add("transpose", f.add("concat", back, back, axis=1), permutation=(0, 2, 3, 1))
    of_mean = f.add("avg_pool2d_grad", back, size=(6, 3), **pool, **i16, rounding=2)
    of_pool = f.add("max_pool2d_grad", v["relu"], of_mean, **pool)
    of_relu = f.add("relu_grad", v["relu"], f.add("convert", of_pool, **i16, rounding=2))
    of_w = f.add("conv2d_grad_weight", 0, of_relu, **convolution, kernel=(3, 3))
    of_x = f.add("conv2d_grad_input", of_relu, v["w"], **convolution, size=(6, 5))
    of_b = f.add("reduce_sum", of_relu, axes=(0, 1, 2))
    moved = f.add("reduce_sum", f.add("convert", of_x, **i16, rounding=2), axes=(0, 1, 2))
    body["grad"] = [first, {"nodes": f.take(), "reduce": [of_w, of_b, of_dense, moved]}]
    body["state"] = [tensor("i32", 24, 3, 3, 2, 4)]
    # Given: four parameters, velocity, then totals: tall, count, of_w, of_b, of_dense, moved.
    apply = Nodes(11)
    rate = {"multiplier": 26214, "exponent": 18}
    w = apply.add("momentum", 0, 4, 7, 6, **rate, momentum_multiplier=29491, momentum_exponent=15)
    b = apply.add("sgd", 1, 8, 6, **rate)
    dense = apply.add("sgd", 2, 9, 6, **rate)
    body["apply"] = {"nodes": apply.take(), "outputs": [w, b, dense, 3, w + 1]}
    return body


def choices(max_batch: int = 4) -> Body:
    """Rows of a table by given and found numbers, comparisons, selections, their gradient."""
    body = inference(max_batch)
    body["inputs"] = [tensor("i16", 8, -1, 4, 3), tensor("i32", 0, -1, 2)]
    body["labels"] = [tensor("i16", 8, -1, 4, 3)]
    body["parameters"] = [tensor("i16", 8, 5, 3)]

    def forward(f: Nodes, table: int) -> dict[str, int]:
        v = {"best": f.add("argmax", 0, axis=2)}
        v["found"] = f.add("gather", table, v["best"])
        v["less"] = f.add("compare", 0, v["found"], relation=1)
        most = f.add("maximum", f.add("select", v["less"], 0, v["found"]), 0)
        least = f.add("minimum", most, v["found"])
        v["both"] = f.add(
            "logical", v["less"], f.add("compare", most, least, relation=2), function=1
        )
        v["y"] = f.add("mask", v["both"], least, value=1)
        return v

    predict = Nodes(3)
    v = forward(predict, 2)
    rows = predict.add("gather", 2, 1)
    other = predict.add("logical", v["both"], function=3)
    body["predict"] = {"nodes": predict.take(), "outputs": [rows, v["best"], v["y"], other]}
    loss = Nodes(4)
    each = loss.add("mean_squared_error", forward(loss, 3)["y"], 2)
    total = loss.add("reduce_sum", each, axes=(0,))
    outputs = [total, loss.add("example_count")]
    body["loss"] = {"nodes": loss.take(), "outputs": outputs}
    f = Nodes(4)
    v = forward(f, 3)
    delta = f.add("mean_squared_error_grad", v["y"], 2, dtype=1, fraction_bits=12, rounding=2)
    of_table = f.add("gather_grad", f.add("mask", v["both"], delta, value=1), v["best"], size=5)
    reduce = [of_table, f.add("example_count")]
    body["grad"] = [{"nodes": f.take(), "reduce": reduce}]
    body["state"] = []
    apply = Nodes(3)
    w = apply.add("sgd", 0, 1, 2, multiplier=26214, exponent=10)
    body["apply"] = {"nodes": apply.take(), "outputs": [w]}
    return body
