"""Quantisation: from a real-valued graph to integers with formats. The last file in which a float
exists.

Exact results are rounded once, where a consumer needs 16 or 32 bits; accumulators stay exact
between a product and its bias.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import batch_training
from gvm.errors import GvmError, ImportModelError
from gvm.formats import EXTRA_WEIGHT_BITS, MOST_FRACTION_BITS, Chooser, Formats, fraction_bits
from gvm.graph import TOTAL, Builder, Graph, Node, Parameter, Value
from gvm.operator import Operator
from gvm.ops import OPERATORS
from gvm.optimizers import HEADROOM
from gvm.types import DTYPES, RANGE, Type

Forms = tuple[Sequence[Type], Sequence[Type]]


@dataclass(frozen=True)
class Quantized:
    """An integer graph and what training needs to know of its parameters."""

    graph: Graph
    narrow_bits: dict[Value, int]
    """Fraction bits of each parameter of the integer graph in profile w16."""
    ranges: dict[str, float]
    """Largest magnitude seen, by value name."""
    moment_bits: dict[Value, int]
    """Fraction bits that suit an i32 moment of a trained parameter's mean gradients."""


def quantize(graph: Graph, ranges: Mapping[Value, float], formats: Formats) -> Quantized:
    """The integer graph of a real-valued one, its formats from the ranges seen."""
    return Quantizer(graph, ranges, formats).run()


def check_array(given: NDArray[Any], type_: Type, what: str, error: type[GvmError]) -> None:
    """Refuses an array of another shape, without examples, or of anything but finite numbers."""
    if given.dtype.kind not in "biuf":
        raise error(f"{what}: expected numbers, received {given.dtype}")
    fits = given.ndim == len(type_.shape) and all(
        d in (-1, n) for d, n in zip(type_.shape, given.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("batch" if d == -1 else str(d) for d in type_.shape)
        raise error(f"{what}: expected shape ({wanted}), received {given.shape}")
    if type_.batch_axis is not None and given.shape[type_.batch_axis] == 0:
        raise error(f"{what}: expected at least one example, received none")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise error(f"{what}: values must be finite, received NaN or infinity")


def integers(array: NDArray[Any], dtype: str, fraction_bits: int) -> NDArray[Any]:
    """Real values at a format: scaled, rounded half to even, clamped to the element type."""
    scaled = np.asarray(np.ldexp(np.asarray(array, dtype=np.float64), fraction_bits))
    np.rint(scaled, out=scaled)
    low, high = RANGE[dtype]
    np.clip(scaled, low, high, out=scaled)
    return scaled.astype(np.int64)


class Quantizer:
    """A quantisation under way."""

    def __init__(self, graph: Graph, ranges: Mapping[Value, float], formats: Formats) -> None:
        needed = graph.reaching([v for outputs in graph.outputs.values() for v in outputs])
        self.real = replace(graph, nodes=needed)
        self.ranges = ranges
        self.chosen = Chooser(self.real, ranges, formats)
        self.g = Builder()
        self.exact: dict[Value, Value] = {}
        self.rounded: dict[Value, dict[str, Value]] = {}
        self.backward = {v for n in needed if n.stage == "backward" for v in n.outputs}
        self.makers = self.real.producer()
        self.demand = self._demands()
        self.narrow_bits: dict[Value, int] = {}
        self.forms: dict[Value, list[Forms]] = {}
        """What the nodes that a node becomes read and make, by its first result."""
        self.summed = batch_training.summed(self.real)
        self.readers = Counter(v for node in needed for v in node.inputs)
        self.readers.update(v for outputs in graph.outputs.values() for v in outputs)

    def run(self) -> Quantized:
        for v in self.real.inputs:
            if self.real.types[v].dtype == "real":
                dtype, bits = "i16", self.chosen.i16(v)
            else:
                dtype, bits = self.real.types[v].dtype, 0
            self.rounded[v] = {dtype: self.g.input(self._name(v), self._shape(v), dtype, bits)}
        for v in self.real.labels:
            bits = self.chosen.i32(v) if self.real.types[v].dtype == "real" else 0
            self.rounded[v] = {"i32": self.g.label(self._name(v), self._shape(v), "i32", bits)}
        read = {v for node in self.real.nodes for v in node.inputs}
        for p in self.real.parameters:
            if p.value in read:
                self._parameter(p)
        for node in self.real.nodes:
            self.g.stage = node.stage
            if node.op == TOTAL:
                self.exact[node.outputs[0]] = self.g.total(self.exact_form(node.inputs[0]))
            else:
                self._node(node)
        outputs: dict[str, list[Value]] = {
            "predict": [self._result(v) for v in self.real.outputs["predict"]]
        }
        for name in ("loss", "grad"):
            if name in self.real.outputs:
                outputs[name] = [self.exact_form(v) for v in self.real.outputs[name]]
        self.chosen.check_overrides()
        named = {n: r for v, n in self.real.names.items() if (r := self.ranges.get(v)) is not None}
        return Quantized(self.g.graph(**outputs), self.narrow_bits, named, self._moment_bits())

    def _moment_bits(self) -> dict[Value, int]:
        """The largest mean gradient that calibration saw, or what rounding alone makes of one that
        is zero but for that, with room above it."""
        totals = self.real.outputs.get("grad", ())[len(self.real.outputs.get("loss", ())) :]
        trained = [p.value for p in self.g.parameters if p.trainable]
        if not totals or not self.ranges.get(totals[0]):
            return {}
        examples = self.ranges[self.real.outputs["grad"][1]]
        made = {}
        for value, total in zip(trained, totals, strict=True):
            _, size = math.frexp(max(self.ranges[total] / examples, self._noise(total)))
            made[value] = max(-32, min(47, 31 - HEADROOM["i32"] - size))
        return made

    def _noise(self, v: Value) -> float:
        """A unit of the deltas of which a gradient is a sum, times what they are multiplied by."""
        node = self.makers.get(v)
        if node is not None and (node.op == TOTAL or node.op in ("reduce_sum", "reshape")):
            return self._noise(node.inputs[0])
        if node is not None and OPERATORS[node.op].result == "exact" and len(node.inputs) == 2:
            a, b = (x in self.backward for x in node.inputs)
            if a != b:
                delta, other = node.inputs if a else node.inputs[::-1]
                return self._noise(delta) * self.ranges.get(other, 0.0)
        if v not in self.backward or self.real.types[v].dtype != "real":
            return 0.0
        return math.ldexp(1.0, -self.chosen.i16(v))

    # -- what consumers want

    def _demands(self) -> dict[Value, list[str]]:
        """The rounded element types that consumers of each value want, preferred first."""
        demand: dict[Value, list[str]] = {}
        wide = self.chosen.left_out.needed
        for node in reversed(self.real.nodes):
            if node.op == TOTAL:
                continue
            operator = OPERATORS[node.op]
            for i, v in enumerate(node.inputs):
                accepts = operator.accepted(i, node.attributes)
                first = ("i32", "i16") if v in wide else accepts
                wanted = [t for t in first if t in accepts and t in ("i16", "i32")][:1]
                if operator.result == "keeps" and (i == operator.keeps or operator.same_format):
                    wanted = [t for t in demand.get(node.outputs[0], []) if t in accepts] or wanted
                for t in wanted:
                    if t not in demand.setdefault(v, []):
                        demand[v].append(t)
        return demand

    # -- parameters

    def _name(self, v: Value) -> str:
        return self.real.names.get(v, f"value {v}")

    def _shape(self, v: Value) -> tuple[int, ...]:
        return self.real.types[v].shape

    def _parameter(self, p: Parameter) -> None:
        """A trainable weight is i32 with 16 more fraction bits and operators see its nearest i16;
        one that is added to an accumulator (a bias) is i32 at a format of its own; a constant is
        i16."""
        stated = self.real.types[p.value]
        if stated.dtype != "real":
            made = self.g.parameter(p.name, p.data, stated.dtype, stated.fraction_bits, False)
            self.rounded[p.value] = {stated.dtype: made}
            return
        trained = self.chosen.is_trained(p.value)
        if self.chosen.is_bias(p.value):
            bits, narrow = self.chosen.bias(p.value)
            made = self._add_parameter(p.name, p.data, "i32", bits, trained)
            self.narrow_bits[made] = narrow
            self.rounded[p.value] = {"i32": made}
            return
        if self.chosen.is_limit(p.value) and "i32" in self.demand.get(p.value, []):
            bits = self.chosen.i32(p.value)
            self.rounded[p.value] = {"i32": self._add_parameter(p.name, p.data, "i32", bits, False)}
            return
        if self.chosen.is_divided(p.value):
            bits = fraction_bits(self.ranges.get(p.value, 0.0), "i32", 0, MOST_FRACTION_BITS)
            self.rounded[p.value] = {"i32": self._add_parameter(p.name, p.data, "i32", bits, False)}
            return
        narrow = self.chosen.i16(p.value)
        if not trained:
            made = self._add_parameter(p.name, p.data, "i16", narrow, False)
            self.rounded[p.value] = {"i16": made}
            return
        bits = min(narrow + EXTRA_WEIGHT_BITS, MOST_FRACTION_BITS)
        wide = self._add_parameter(p.name, p.data, "i32", bits, True)
        self.narrow_bits[wide] = narrow
        self.g.stage = "view"
        view = self.g.convert(wide, dtype=DTYPES["i16"], fraction_bits=narrow, rounding=0)
        self.rounded[p.value] = {"i32": wide, "i16": view}

    def _add_parameter(
        self, name: str, data: NDArray[Any], dtype: str, bits: int, trainable: bool
    ) -> Value:
        if not np.isfinite(data).all():
            raise ImportModelError(
                f"parameter {name!r}: weights must be finite, received NaN or infinity"
            )
        return self.g.parameter(name, integers(data, dtype, bits), dtype, bits, trainable)

    # -- values in the form that a consumer reads

    def exact_form(self, v: Value) -> Value:
        """The exact sum that a value is."""
        if v in self.exact:
            return self.exact[v]
        raise ImportModelError(f"value {self.real.names.get(v, v)} is not an exact sum")

    def widest(self, v: Value) -> Value:
        """A parameter as it is stored."""
        forms = self.rounded[v]
        return forms["i32"] if "i32" in forms else forms["i16"]

    def parameter_of(self, v: Value) -> Parameter:
        """The parameter that a value of the real graph is."""
        return self.chosen.parameters[v]

    def statistic(self, p: Parameter, bits: int) -> Value:
        """A parameter of 32 bits that no gradient trains."""
        return self._add_parameter(p.name, p.data, "i32", bits, False)

    def read(self, v: Value, dtype: str) -> Value:
        """The value rounded to this element type, from the most exact form there is."""
        forms = self.rounded.setdefault(v, {})
        if dtype not in forms:
            self._round(v, dtype, self.bits(v, dtype))
        return forms[dtype]

    def _round(self, v: Value, dtype: str, bits: int) -> None:
        """Adds a rounded form of a value."""
        forms = self.rounded.setdefault(v, {})
        source = self.exact.get(v, forms.get("i32", forms.get("i16")))
        if source is None:
            raise ImportModelError(f"value {self.real.names.get(v, v)} was never computed")
        stage, self.g.stage = self.g.stage, self._convert_stage(v)
        forms[dtype] = self.g.convert(
            source,
            dtype=DTYPES[dtype],
            fraction_bits=bits,
            rounding=0,
            name=self.real.names.get(v, ""),
        )
        self.g.stage = stage

    def _convert_stage(self, v: Value) -> str:
        return "backward" if v in self.backward else "forward"

    def bits(self, v: Value, dtype: str) -> int:
        """Fraction bits of a value as i16 or i32."""
        return self.chosen.i16(v) if dtype == "i16" else self.chosen.i32(v)

    def _operand(self, operator: type[Operator], position: int, v: Value, node: Node) -> Value:
        accepts = operator.input_spec(position).accepts
        stated = self.real.types[v].dtype
        if operator.name == "reduce_sum" and v in self.summed:
            return self.read(v, "i16") if self.summed[v] == "i16" else self.exact[v]
        if stated != "real" and stated in self.rounded.get(v, {}):
            return self.rounded[v][stated]
        exact = self.exact.get(v)
        if exact is not None and stated == "i64" and "i64" in accepts:
            return exact
        if exact is not None and "i64" in accepts:
            # A partial sum can be read in no other form.
            partial = self.g.types[exact].partial
            if partial or accepts[0] == "i64" or node.stage == "loss":
                return exact
            if self.chosen.is_exact_sum(node):
                return exact
        forms = self.rounded.get(v, {})
        wanted = self.demand.get(v, [])
        for dtype in [t for t in accepts if t in wanted] or list(accepts):
            if dtype in ("i16", "i32") and (
                dtype in forms or v in self.exact or operator.result != "keeps"
            ):
                return self.read(v, dtype)
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
        if "bool" in forms:
            return forms["bool"]
        return (
            forms["i32"]
            if "i32" in forms
            else forms["i16"]
            if "i16" in forms
            else self.read(v, "i32")
        )

    # -- nodes

    def _node(self, node: Node) -> None:
        operator = OPERATORS[node.op]
        attributes = dict(node.attributes)
        if node.op == "convert_grad":
            self._gate(node)
            return
        if node.op == batch_training.GRADIENT or batch_training.is_kind(node, 0):
            batch_training.quantized(self, node)
            return
        if operator.result == "keeps":
            self._keeping(node, operator, attributes)
            return
        (v, *_) = node.outputs
        if operator.result == "rounds" and self.real.types[v].dtype == "real":
            dtype = (
                "i32" if self.demand.get(v, ["i16"]) == ["i32"] and node.op != "unary" else "i16"
            )
            attributes |= {
                "dtype": DTYPES[dtype],
                "fraction_bits": self.bits(v, dtype),
                "rounding": 0,
            }
        inputs = [self._operand(operator, i, v, node) for i, v in enumerate(node.inputs)]
        results = self._made(node, inputs, attributes)
        for v, made in zip(node.outputs, results, strict=True):
            kind = self.g.types[made].dtype
            if kind == "i64":
                self.exact[v] = made
            else:
                self.rounded.setdefault(v, {})[kind] = made

    def _made(
        self, node: Node, inputs: Sequence[Value], attributes: dict[str, Any]
    ) -> tuple[Value, ...]:
        made = self.g.node(node.op, inputs, attributes, node.name)
        types = ([self.g.types[v] for v in inputs], [self.g.types[v] for v in made])
        self.forms.setdefault(node.outputs[0], []).append(types)
        return made

    def _keeping(self, node: Node, operator: type[Operator], attributes: dict[str, Any]) -> None:
        """An operator that keeps a type runs once for every element type its consumers want."""
        kept = node.inputs[operator.keeps]
        exact = self.exact.get(kept)
        whole = self.real.types[kept].dtype == "i64" and len(node.inputs) == 1
        if exact is not None and (whole or self.g.types[exact].partial):
            (self.exact[node.outputs[0]],) = self.g.node(node.op, [exact], attributes, node.name)
            return
        accepts = operator.input_spec(operator.keeps).accepts
        wanted = (
            [t for t in (self.real.types[kept].dtype,) if t in accepts]
            or [t for t in self.demand.get(node.outputs[0], []) if t in accepts]
            or [t for t in self.rounded.get(kept, {}) if t in accepts]
            or ["i16"]
        )
        for dtype in wanted:
            if operator.same_format:
                inputs = self._same_format(node, dtype)
            else:
                inputs = [
                    (self.exact[v] if dtype == "i64" else self.read(v, dtype))
                    if i == operator.keeps
                    else self._operand(operator, i, v, node)
                    for i, v in enumerate(node.inputs)
                ]
            results = self._made(node, inputs, attributes)
            for v, made in zip(node.outputs, results, strict=True):
                kind = self.g.types[made].dtype
                if kind == "i64":
                    self.exact[v] = made
                    continue
                # Positions beside what is kept are i32, whatever that is.
                self.rounded.setdefault(v, {})[kind if kind == "i32" else dtype] = made

    def _same_format(self, node: Node, dtype: str) -> list[Value]:
        """Operands of one type: those with more fraction bits are rounded to the least. A condition
        among them is what it is."""
        types = [self.real.types[v].dtype for v in node.inputs]
        bits = [
            self.g.types[self.rounded[v][dtype]].fraction_bits
            if dtype in self.rounded.get(v, {})
            else self.bits(v, dtype)
            for v, t in zip(node.inputs, types, strict=True)
            if t != "bool"
        ]
        for v in node.inputs:
            if v in self.exact and v not in self.rounded and self.readers[v] == 1:
                self._round(v, dtype, min(bits))  # once, to the format it is needed in
        read = [
            self.read(v, "bool" if t == "bool" else dtype)
            for v, t in zip(node.inputs, types, strict=True)
        ]
        least = min(self.g.types[v].fraction_bits for v in read if self.g.types[v].dtype == dtype)
        return [
            v
            if self.g.types[v].fraction_bits == least or self.g.types[v].dtype != dtype
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
            return
        limits = forms["i16"] if "i16" in forms else forms["i32"]
        wanted = self.demand.get(out, ["i16"])
        for dtype in wanted:
            self.rounded.setdefault(out, {})[dtype] = self.g.convert_grad(
                limits, self.read(delta, dtype)
            )
