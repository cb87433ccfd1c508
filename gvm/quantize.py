"""Quantisation: from a real-valued graph to integers with formats. The last file in which a float
exists.

Formats are powers of two per tensor, chosen from calibration data (forward and backward together)
or uniform ``<IL,FL>``. Exact
results are rounded once, where a consumer needs 16 or 32 bits; accumulators stay exact between a
product and its bias.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.errors import ImportModelError
from gvm.graph import TOTAL, Builder, Graph, Node, Value, evaluate_real
from gvm.operator import Operator
from gvm.ops import OPERATORS
from gvm.types import DTYPES, RANGE

DTYPE_NAMES = {number: name for name, number in DTYPES.items()}
# Caps keep sums of two formats within the 47 fraction bits of numerics section 1.
MOST_ACTIVATION_BITS, MOST_WEIGHT_BITS, MOST_DELTA_BITS = 20, 20, 26
LOGIT_BITS = 19
EXTRA_WEIGHT_BITS = 16
"""Fraction bits that the i32 weights of profile w32 have beyond the i16 view."""


@dataclass(frozen=True)
class Formats:
    """How formats are chosen. Headroom: powers of two left free above the largest value seen."""

    uniform: int | None = None
    """Fraction bits of every i16 tensor, or None: chosen per tensor."""
    activation_headroom: int = 3
    delta_headroom: int = 2
    weight_headroom: int = 2
    overrides: Mapping[str, int] = field(default_factory=dict)
    """Fraction bits by value name."""

    @staticmethod
    def parse(text: str | None) -> Formats:
        """``None`` for calibrated formats, or the seeds' uniform ``"<IL,FL>"`` with IL + FL =
        16."""
        if text is None:
            return Formats()
        match = re.fullmatch(r"\s*<\s*(-?\d+)\s*,\s*(-?\d+)\s*>\s*", text)
        if match is None or int(match[1]) + int(match[2]) != 16:
            raise ImportModelError(
                f'formats must be "<IL,FL>" with IL + FL = 16, received {text!r}'
            )
        return Formats(uniform=int(match[2]))


@dataclass(frozen=True)
class Quantized:
    """An integer graph and what training needs to know of its parameters."""

    graph: Graph
    narrow_bits: dict[Value, int]
    """Fraction bits of each parameter of the integer graph in profile w16."""
    ranges: dict[str, float]
    """Largest magnitude seen, by value name."""


def calibrate(
    graph: Graph,
    inputs: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]],
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Value, float]:
    """The largest magnitude of every value over the calibration data, in float64, ``batch``
    examples at a time."""
    count = len(inputs[0])
    largest: dict[Value, float] = {}
    for start in range(0, count, batch):
        part = slice(start, min(start + batch, count))
        values = evaluate_real(graph, [x[part] for x in inputs], [y[part] for y in labels])
        for value, array in values.items():
            most = float(np.max(np.abs(array))) if array.size else 0.0
            if not math.isfinite(most):
                name = graph.names.get(value, f"%{value}")
                raise ImportModelError(f"calibration: value {name} is not finite")
            largest[value] = max(largest.get(value, 0.0), most)
        if progress is not None:
            progress(part.stop, count)
    return largest


def draw_labels(graph: Graph, count: int) -> list[NDArray[Any]]:
    """Labels for calibration where none are given: classes, or standard uniform targets in [-1, 1],
    from Philox."""
    drawn: list[NDArray[Any]] = []
    classes = next(
        (
            graph.types[n.inputs[0]].shape[-1]
            for n in graph.nodes
            if n.op == "softmax_cross_entropy"
        ),
        1,
    )
    for i, value in enumerate(graph.labels):
        shape = graph.types[value].concrete(count)
        words = _core.random_words(0, i, 0, 8, 0, int(np.prod(shape))).reshape(shape)
        drawn.append(
            (words % classes).astype(np.int64)
            if graph.types[value].dtype == "i32"
            else words / 2.0**31 - 1.0
        )
    return drawn


def quantize(graph: Graph, ranges: Mapping[Value, float], formats: Formats) -> Quantized:
    """The integer graph of a real-valued one, its formats from the ranges seen."""
    return _Quantizer(graph, ranges, formats).run()


def integers(array: NDArray[Any], dtype: str, fraction_bits: int) -> NDArray[Any]:
    """Real values at a format: scaled, rounded half to even, clamped to the element type."""
    scaled = np.rint(np.ldexp(np.asarray(array, dtype=np.float64), fraction_bits))
    low, high = RANGE[dtype]
    return np.clip(scaled, low, high).astype(np.int64)


class _Quantizer:
    def __init__(self, graph: Graph, ranges: Mapping[Value, float], formats: Formats) -> None:
        self.real = graph
        self.ranges = ranges
        self.formats = formats
        self.g = Builder()
        self.exact: dict[Value, Value] = {}
        self.rounded: dict[Value, dict[str, Value]] = {}
        self.stage = {v: n.stage for n in graph.nodes for v in n.outputs}
        self.parameters = {p.value: p for p in graph.parameters}
        self.trainable = {
            p.value for p in graph.parameters if p.trainable and "grad" in graph.outputs
        }
        self.demand = self._demands()
        self.narrow_bits: dict[Value, int] = {}

    def run(self) -> Quantized:
        for v in self.real.inputs:
            self._given(v, self.g.input, self._activation_bits(v))
        for v in self.real.labels:
            if self.real.types[v].dtype == "real":
                self._given(v, self.g.label, self._activation_bits(v))
            else:
                self.rounded[v] = {
                    "i32": self.g.label(self.real.names[v], self.real.types[v].shape)
                }
        nodes = self.real.reaching([v for outputs in self.real.outputs.values() for v in outputs])
        for p in self.real.parameters:
            self._parameter(p.value, nodes)
        for node in nodes:
            self.g.stage = node.stage
            if node.op == TOTAL:
                self.exact[node.outputs[0]] = self.g.total(self._exact(node.inputs[0]))
            else:
                self._node(node)
        outputs: dict[str, list[Value]] = {
            "predict": [self._result(v) for v in self.real.outputs["predict"]]
        }
        for name in ("loss", "grad"):
            if name in self.real.outputs:
                outputs[name] = [self._exact(v) for v in self.real.outputs[name]]
        named = {n: r for v, n in self.real.names.items() if (r := self.ranges.get(v)) is not None}
        return Quantized(self.g.graph(**outputs), self.narrow_bits, named)

    # -- what consumers want

    def _demands(self) -> dict[Value, list[str]]:
        """The rounded element types that consumers of each value want, preferred first."""
        demand: dict[Value, list[str]] = {}
        for node in reversed(self.real.nodes):
            if node.op == TOTAL:
                continue
            operator = OPERATORS[node.op]
            for i, v in enumerate(node.inputs):
                accepts = operator.input_spec(i).accepts
                wanted = [t for t in accepts if t in ("i16", "i32")][:1]
                if operator.result == "keeps" and (i == operator.keeps or operator.same_format):
                    wanted = [
                        t for out in node.outputs for t in demand.get(out, []) if t in accepts
                    ] or wanted
                for t in wanted:
                    if t not in demand.setdefault(v, []):
                        demand[v].append(t)
        return demand

    # -- formats

    def _format(self, v: Value, dtype: str, headroom: int, cap: int) -> int:
        name = self.real.names.get(v, "")
        if name in self.formats.overrides:
            return self.formats.overrides[name]
        if dtype == "i16" and self.formats.uniform is not None:
            return self.formats.uniform
        most = self.ranges.get(v, 0.0)
        if most == 0.0:
            return min(cap, 14 if dtype == "i16" else 24)
        limit = RANGE[dtype][1]
        bits = math.floor(math.log2(limit / most))
        while math.ldexp(most, bits) > limit:
            bits -= 1
        return max(-32, min(cap, bits - headroom))

    def _activation_bits(self, v: Value, dtype: str = "i16") -> int:
        if dtype == "i32":
            return self._format(v, dtype, 3, LOGIT_BITS)
        if self.stage.get(v) == "backward":
            return self._format(v, dtype, self.formats.delta_headroom, MOST_DELTA_BITS)
        given = v in self.real.inputs or v in self.real.labels
        return self._format(
            v, dtype, 0 if given else self.formats.activation_headroom, MOST_ACTIVATION_BITS
        )

    def _given(self, v: Value, add: Any, bits: int) -> None:
        self.rounded[v] = {
            "i16": add(self.real.names.get(v, f"value {v}"), self.real.types[v].shape, "i16", bits)
        }

    # -- parameters

    def _parameter(self, v: Value, nodes: Sequence[Node]) -> None:
        """A trainable weight is i32 with 16 more fraction bits and operators see its nearest i16;
        one that is added to an
        accumulator (a bias) is i32 at a format of its own; a constant is i16."""
        p = self.parameters[v]
        readers = [
            (n, i) for n in nodes if n.stage == "forward" for i, x in enumerate(n.inputs) if x == v
        ]
        if not readers and not any(v in n.inputs for n in nodes):
            return
        bias = bool(readers) and all(
            OPERATORS[n.op].input_spec(i).accepts[0] == "i32" for n, i in readers
        )
        trained = v in self.trainable
        headroom = self.formats.weight_headroom if trained else 0
        narrow = self._format(v, "i16", headroom, MOST_WEIGHT_BITS)
        if bias and self.formats.uniform is None:
            # Room for +-4 in either profile: biases start at zero and move.
            narrow = self._format_of(
                max(self.ranges.get(v, 0.0), 1.0), "i16", 2 if trained else 0, MOST_WEIGHT_BITS
            )
        if bias:
            bits = min(
                self._format_of(max(self.ranges.get(v, 0.0), 1.0), "i32", 4, 24),
                self._accumulator_bits(readers),
            )
            made = self._add_parameter(p.name, p.data, "i32", bits, trained)
            self.narrow_bits[made] = min(narrow, bits)
            self.rounded[v] = {"i32": made}
            return
        if not trained:
            self.rounded[v] = {"i16": self._add_parameter(p.name, p.data, "i16", narrow, False)}
            return
        wide = self._add_parameter(p.name, p.data, "i32", narrow + EXTRA_WEIGHT_BITS, True)
        self.narrow_bits[wide] = narrow
        self.g.stage = "view"
        self.rounded[v] = {
            "i32": wide,
            "i16": self.g.convert(wide, dtype=1, fraction_bits=narrow, rounding=0),
        }

    def _format_of(self, most: float, dtype: str, headroom: int, cap: int) -> int:
        return min(cap, math.floor(math.log2(RANGE[dtype][1] / most)) - headroom)

    def _accumulator_bits(self, readers: Sequence[tuple[Node, int]]) -> int:
        """A lower bound of the fraction bits of the accumulators that a bias is added to: it must
        not need a right shift."""
        least = 24
        for node, _ in readers:
            source = node.inputs[0]
            producer = next((n for n in self.real.nodes if source in n.outputs), None)
            if producer is None or OPERATORS[producer.op].result != "exact":
                least = min(least, self._activation_bits(source))
                continue
            bits = 0
            for x in producer.inputs:
                if x in self.parameters:
                    headroom = self.formats.weight_headroom if x in self.trainable else 0
                    bits += self._format(x, "i16", headroom, MOST_WEIGHT_BITS)
                else:
                    bits += self._storage_bits(x)
            least = min(least, bits)
        return least

    def _storage_bits(self, v: Value) -> int:
        """The i16 format in which a value will be stored: its own, or that of the value whose type
        it keeps."""
        producer = next((n for n in self.real.nodes if v in n.outputs), None)
        if producer is not None and OPERATORS[producer.op].result == "keeps":
            operator = OPERATORS[producer.op]
            if operator.same_format:
                return min(self._storage_bits(x) for x in producer.inputs)
            return self._storage_bits(producer.inputs[operator.keeps])
        return self._activation_bits(v)

    def _add_parameter(
        self, name: str, data: NDArray[Any], dtype: str, bits: int, trainable: bool
    ) -> Value:
        if not np.isfinite(data).all():
            raise ImportModelError(
                f"parameter {name!r}: weights must be finite, received NaN or infinity"
            )
        return self.g.parameter(name, integers(data, dtype, bits), dtype, bits, trainable)

    # -- values in the form that a consumer reads

    def _exact(self, v: Value) -> Value:
        if v in self.exact:
            return self.exact[v]
        raise ImportModelError(f"value {self.real.names.get(v, v)} is not an exact sum")

    def _read(self, v: Value, dtype: str) -> Value:
        """The value rounded to this element type, from the most exact form there is."""
        forms = self.rounded.setdefault(v, {})
        if dtype not in forms:
            source = self.exact.get(v, forms.get("i32", forms.get("i16")))
            if source is None:
                raise ImportModelError(f"value {self.real.names.get(v, v)} was never computed")
            stage, self.g.stage = self.g.stage, self._convert_stage(v)
            forms[dtype] = self.g.convert(
                source,
                dtype=DTYPES[dtype],
                fraction_bits=self._activation_bits(v, dtype),
                rounding=0,
                name=self.real.names.get(v, ""),
            )
            self.g.stage = stage
        return forms[dtype]

    def _convert_stage(self, v: Value) -> str:
        return "backward" if self.stage.get(v) == "backward" else "forward"

    def _operand(self, operator: type[Operator], position: int, v: Value, node: Node) -> Value:
        accepts = operator.input_spec(position).accepts
        if v in self.exact and "i64" in accepts and (accepts[0] == "i64" or node.stage == "loss"):
            return self.exact[v]
        forms = self.rounded.get(v, {})
        wanted = self.demand.get(v, [])
        for dtype in [t for t in accepts if t in wanted] or list(accepts):
            if dtype in ("i16", "i32") and (
                dtype in forms or v in self.exact or operator.result != "keeps"
            ):
                return self._read(v, dtype)
        for dtype in accepts:
            if dtype in forms:
                return forms[dtype]
        if v in self.exact and "i64" in accepts:
            return self.exact[v]
        raise ImportModelError(
            f"{operator.name}: no form of value {self.real.names.get(v, v)} fits input "
            f"{operator.input_spec(position).name}"
        )

    def _result(self, v: Value) -> Value:
        """What predict returns: the widest rounded form, or 32 bits of an exact one."""
        forms = self.rounded.get(v, {})
        return (
            forms["i32"]
            if "i32" in forms
            else forms["i16"]
            if "i16" in forms
            else self._read(v, "i32")
        )

    # -- nodes

    def _node(self, node: Node) -> None:
        operator = OPERATORS[node.op]
        attributes = dict(node.attributes)
        if node.op == "convert_grad":
            self._gate(node)
            return
        if operator.result == "keeps":
            self._keeping(node, operator, attributes)
            return
        if operator.result == "rounds":
            (v,) = node.outputs
            dtype = (
                "i32" if self.demand.get(v, ["i16"]) == ["i32"] and node.op != "unary" else "i16"
            )
            attributes |= {
                "dtype": DTYPES[dtype],
                "fraction_bits": self._activation_bits(v, dtype),
                "rounding": 0,
            }
        inputs = [self._operand(operator, i, v, node) for i, v in enumerate(node.inputs)]
        for v, made in zip(
            node.outputs, self.g.node(node.op, inputs, attributes, node.name), strict=True
        ):
            kind = self.g.types[made].dtype
            if kind == "i64":
                self.exact[v] = made
            else:
                self.rounded.setdefault(v, {})[kind] = made

    def _keeping(self, node: Node, operator: type[Operator], attributes: dict[str, Any]) -> None:
        """An operator that keeps a type runs once for every element type its consumers want."""
        kept = node.inputs[operator.keeps]
        accepts = operator.input_spec(operator.keeps).accepts
        wanted = (
            [t for t in self.demand.get(node.outputs[0], []) if t in accepts]
            or [t for t in self.rounded.get(kept, {}) if t in accepts]
            or ["i16"]
        )
        for dtype in wanted:
            if operator.same_format:
                inputs = self._same_format(node, dtype)
            else:
                inputs = [
                    self._read(v, dtype)
                    if i == operator.keeps
                    else self._operand(operator, i, v, node)
                    for i, v in enumerate(node.inputs)
                ]
            for v, made in zip(
                node.outputs, self.g.node(node.op, inputs, attributes, node.name), strict=True
            ):
                self.rounded.setdefault(v, {})[dtype] = made

    def _same_format(self, node: Node, dtype: str) -> list[Value]:
        """Operands of one type: those with more fraction bits are rounded to the least."""
        read = [self._read(v, dtype) for v in node.inputs]
        least = min(self.g.types[v].fraction_bits for v in read)
        return [
            v
            if self.g.types[v].fraction_bits == least
            else self.g.convert(v, dtype=DTYPES[dtype], fraction_bits=least, rounding=0)
            for v in read
        ]

    def _gate(self, node: Node) -> None:
        """convert_grad where its value was rounded; where it stayed exact there was no limit to
        meet."""
        q, delta = node.inputs
        forms = self.rounded.get(q, {})
        out = node.outputs[0]
        if not forms:
            if delta in self.exact:
                self.exact[out] = self.exact[delta]
            if delta in self.rounded:
                self.rounded[out] = self.rounded[delta]
            self.ranges = {**self.ranges, out: self.ranges.get(delta, 0.0)}
            return
        limits = forms["i16"] if "i16" in forms else forms["i32"]
        wanted = self.demand.get(out, ["i16"])
        for dtype in wanted:
            self.rounded.setdefault(out, {})[dtype] = self.g.convert_grad(
                limits, self._read(delta, dtype)
            )
