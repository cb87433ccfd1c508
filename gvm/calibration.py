"""Calibration: the magnitudes that the values of a real-valued graph take on typical inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.batch import cut_examples, examples_of
from gvm.errors import GvmError, ImportModelError
from gvm.formats import Formats
from gvm.functions import by_number
from gvm.graph import Graph, Value, real_values
from gvm.left_out import Histogram, Low, may_be_low
from gvm.operator import integer
from gvm.progress import progress_bar
from gvm.quantize import check_array
from gvm.types import RANGE

Arrays = Sequence[NDArray[Any]]
CALIBRATION_BATCH = 64
CALIBRATION_BYTES = 2**28
"""Calibration takes at most so many examples at a time, and as many as have their values in so much
memory."""


def calibration_data(
    graph: Graph,
    inputs: Arrays | NDArray[Any] | None,
    labels: NDArray[Any] | None,
    formats: Formats,
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Inputs and labels from which formats are chosen; none where a uniform format needs none.

    Classes are drawn where no labels are given. Raises GvmError for what does not fit the graph.
    """
    if inputs is None:
        if not formats.given:
            raise GvmError('calibration: inputs are needed, or a uniform format such as "<8,8>"')
        if labels is not None:
            raise GvmError("labels: the calibration inputs that they belong to are needed")
        return [], []
    given = [np.asarray(a) for a in (inputs if isinstance(inputs, list | tuple) else [inputs])]
    if len(given) != len(graph.inputs):
        raise GvmError(f"calibration: expected {len(graph.inputs)} arrays, received {len(given)}")
    types = [graph.types[v] for v in graph.inputs]
    for i, (array, type_) in enumerate(zip(given, types, strict=True)):
        check_array(array, type_, f"calibration {i}", GvmError)
        if type_.dtype == "i32" and array.dtype.kind == "f" and (array != np.rint(array)).any():
            raise GvmError(f"calibration {i}: expected whole numbers, received fractions")
        count = examples_of(given, types)
        if type_.batch_axis is not None and len(array) != count:
            raise GvmError(f"calibration {i}: expected {count} examples, received {len(array)}")
    if not graph.labels:
        if labels is not None:
            raise GvmError("labels: a model without a loss has none")
        return given, []
    (label,) = graph.labels
    if labels is None:
        return given, [_draw_labels(graph, label, len(given[0]), formats)]
    targets = np.asarray(labels)
    check_array(targets, graph.types[label], "labels", GvmError)
    if len(targets) != len(given[0]):
        raise GvmError(f"labels: expected {len(given[0])}, received {len(targets)}")
    if graph.types[label].dtype != "real":
        classes = _classes(graph, label)
        wrong = targets[(targets != np.rint(targets)) | (targets < 0) | (targets >= classes)]
        if wrong.size:
            raise GvmError(f"labels: must be whole and in [0, {classes}), received {wrong[0]}")
    return given, [targets]


def _draw_labels(graph: Graph, label: Value, count: int, formats: Formats) -> NDArray[Any]:
    """Classes from Philox. Targets, whose range nobody knows, only where formats are uniform: in
    [-1, 1)."""
    shape = graph.types[label].concrete(count)
    words = _core.random_words(0, 0, 0, 8, 0, math.prod(shape)).reshape(shape)
    if graph.types[label].dtype != "real":
        return np.asarray(words % _classes(graph, label), dtype=np.int64)
    if not formats.given:
        raise GvmError("labels: the targets of the calibration inputs are needed beside them")
    return np.asarray(words / 2.0**31 - 1.0)


def _classes(graph: Graph, label: Value) -> int:
    reader = next(n for n in graph.nodes if label in n.inputs)
    return 2 if reader.op == "sigmoid_cross_entropy" else graph.types[reader.inputs[0]].shape[-1]


class Ranges(dict[Value, float]):
    """The largest magnitude of each value; where data was seen, in ``rms`` the root of its mean
    square; in ``low`` the numbers far below the rest."""

    def __init__(
        self,
        largest: Mapping[Value, float],
        rms: Mapping[Value, float],
        low: Mapping[Value, Low] | None = None,
    ) -> None:
        super().__init__(largest)
        self.rms = dict(rms)
        self.low = dict(low or {})


def calibrate(graph: Graph, inputs: Arrays, labels: Arrays, progress: bool | None = None) -> Ranges:
    """The magnitudes of every value over the calibration data; of the parameters alone where there
    is no data. The model runs a few examples at a time, in float32, and where that is too small for
    a value, in float64."""
    known = {p.value: _largest(graph, p.value, p.data) for p in graph.parameters}
    if not inputs:
        return Ranges(known, {})
    seen = _calibrate_in(np.float32, graph, inputs, labels, progress)
    if not all(map(math.isfinite, seen.values())):
        seen = _calibrate_in(np.float64, graph, inputs, labels, progress)
    for value, most in seen.items():
        _check_finite(graph, value, most)
    _check_whole(graph, seen)
    return Ranges(seen | known, seen.rms, seen.low)


def _calibrate_in(
    dtype: type[np.floating[Any]],
    graph: Graph,
    inputs: Arrays,
    labels: Arrays,
    progress: bool | None,
) -> Ranges:
    def cast(array: NDArray[Any]) -> NDArray[Any]:
        return array.astype(dtype) if array.dtype.kind == "f" else array

    def is_real(v: Value) -> bool:
        return graph.types[v].dtype == "real"

    cut = tuple(replace(p, data=cast(p.data)) if is_real(p.value) else p for p in graph.parameters)
    run = replace(graph, parameters=cut)
    read = {p.value for p in cut}
    wanted = [v for outputs in graph.outputs.values() for v in outputs]
    types = [graph.types[v] for v in graph.inputs]
    count, size = examples_of(inputs, types), _examples_at_a_time(graph)
    largest: dict[Value, float] = {}
    squares: dict[Value, float] = {}
    below = {v: Histogram() for v in may_be_low(graph, inputs)}
    for p in graph.parameters:
        if p.value in below:
            below[p.value].add(p.data)
    counts: dict[Value, int] = {}
    with progress_bar(-(-count // size), "calibration", progress) as advance:
        for start in range(0, count, size):
            part = slice(start, start + size)
            given = [
                np.asarray(x, dtype=dtype if is_real(v) else np.float64)
                for v, x in zip(graph.inputs, cut_examples(inputs, types, part), strict=True)
            ]
            with np.errstate(all="ignore"):  # what is not finite is refused
                targets = [y[part] for y in labels]
                for value, array in real_values(run, given, targets, wanted, dtype):
                    if value not in read:
                        most = largest_magnitude(array)
                        largest[value] = max(largest.get(value, 0.0), most, key=_or_nan)
                        squares[value] = squares.get(value, 0.0) + _square(array, most)
                        counts[value] = counts.get(value, 0) + array.size
                        if value in below:
                            below[value].add(array)
            advance(f"{min(part.stop, count)} of {count} examples")
    rms = {v: math.sqrt(s / max(counts[v], 1)) for v, s in squares.items()}
    low = {v: found for v, seen in below.items() if (found := seen.low()) is not None}
    return Ranges(largest, rms, low)


def largest_magnitude(array: NDArray[Any]) -> float:
    """max |x|, 0 of nothing; NaN where one is among them."""
    if not array.size:
        return 0.0
    if array.dtype.kind not in "fi":
        return float(np.max(array))
    return max(float(np.max(array)), -float(np.min(array)), key=_or_nan)


def _square(array: NDArray[Any], most: float) -> float:
    """The sum of squares; its blocks are summed in the type of the array, which ``most`` would not
    overflow."""
    if not 1e-15 < most < 1e15 or array.dtype.kind != "f":
        wide = np.asarray(array, dtype=np.float64).reshape(-1)
        return float(wide @ wide)
    flat = np.ascontiguousarray(array).reshape(-1)
    return float(flat @ flat)


def _or_nan(number: float) -> float:
    return math.inf if math.isnan(number) else number


def _examples_at_a_time(graph: Graph) -> int:
    """As many as have their values in CALIBRATION_BYTES, one at least."""
    nodes = graph.reaching(v for outputs in graph.outputs.values() for v in outputs)
    last = {v: i for i, node in enumerate(nodes) for v in node.inputs}
    sizes = {
        v: math.prod(t.concrete(1)) for v, t in enumerate(graph.types) if t.batch_axis is not None
    }
    held = most = sum(sizes.get(v, 0) for v in graph.inputs)
    for i, node in enumerate(nodes):
        held += sum(sizes.get(v, 0) for v in node.outputs)
        most = max(most, held)
        gone = {v for v in (*node.inputs, *node.outputs) if last.get(v, i) <= i}
        held -= sum(sizes.get(v, 0) for v in gone)
    return max(1, min(CALIBRATION_BATCH, CALIBRATION_BYTES // (4 * max(most, 1))))


def _largest(graph: Graph, value: Value, array: NDArray[Any]) -> float:
    most = largest_magnitude(array)
    _check_finite(graph, value, most)
    return most


def _check_whole(graph: Graph, seen: Mapping[Value, float]) -> None:
    """Refuses whole numbers beyond what their type holds."""
    producer = graph.producer()
    for value, most in seen.items():
        type_ = graph.types[value]
        if type_.dtype not in ("i16", "i32") or type_.fraction_bits or value in graph.labels:
            continue
        if most > -RANGE[type_.dtype][0]:
            node = producer.get(value)
            if node is not None and node.op == "convert":
                node = producer.get(node.inputs[0], node)  # the sum or product that is too large
            what = "input" if node is None else f"{node.op}, node"
            name = graph.names.get(value) or (node.name if node is not None else "")
            raise ImportModelError(
                f"calibration: {what} {name or value!r}: whole numbers must fit in {type_.bits} "
                f"bits, received {most:.17g}"
            )


def _check_finite(graph: Graph, value: Value, most: float) -> None:
    if not math.isfinite(most):
        raise ImportModelError(f"calibration: {_place(graph, value)}: values must be finite")


def _place(graph: Graph, value: Value) -> str:
    """The node that makes a value, and by which names it is to be found."""
    made = graph.producer()
    node = made.get(value)
    if node is None:
        return f"value {graph.names.get(value, value)!r}"
    number = next(i for i, other in enumerate(graph.nodes) if other is node)
    kind = node.op
    if kind == "unary":
        kind = by_number(integer(node.attributes, "function")).name
    if value in graph.names:
        return f"{kind}, node {graph.names[value]!r}"
    behind: Value | None = value
    while behind is not None and behind not in graph.names:
        before = made.get(behind)
        behind = before.inputs[0] if before and before.inputs else None
    near = f", which reads {graph.names[behind]!r}" if behind is not None else ""
    return f"{kind}, node {number}{near}"
