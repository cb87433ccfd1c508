"""Formats: how many fraction bits each value gets, a power of two per tensor.

They are chosen from the largest magnitude that calibration saw, forward and backward together, or
are uniform ``<IL,FL>``. A value that an operator hands on unchanged has the format of the value it
came from, its root.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.errors import ImportModelError
from gvm.given_formats import KINDS, LEAST_FRACTION_BITS, MOST_FRACTION_BITS, Formats
from gvm.graph import TOTAL, Graph, Node, Value
from gvm.left_out import OUT_OF_REACH, LeftOut
from gvm.ops import OPERATORS
from gvm.types import BITS

__all__ = [
    "EXTRA_WEIGHT_BITS",
    "LEAST_FRACTION_BITS",
    "MOST_FRACTION_BITS",
    "Chooser",
    "Formats",
    "fraction_bits",
]
EXTRA_WEIGHT_BITS = 16
"""Fraction bits that the i32 weights of profile w32 have beyond the i16 view."""
MOST_I16_BITS = MOST_FRACTION_BITS - EXTRA_WEIGHT_BITS
MOST_ACTIVATION_BITS, MOST_SCALE_BITS, MOST_DELTA_BITS = 12, 18, 16
"""Caps in a model that trains: what is tiny when training starts has room to grow."""
MOST_LOGIT_BITS = 19
"""Of what softmax reads (numerics section 7)."""
MOST_I32_BITS = 40
ACCUMULATOR_SHIFT = 30
"""A bias of 32 bits is shifted left by at most this much: it stays within 2^61."""
MARGINS = ((2.0, 5e-4), (1.25, 6e-4), (1.0, 0.0))
"""How far above the largest value seen an activation may reach that training does not move: the
first factor with which rounding stays within this part of its root mean square, or the last."""
MOST_NOISE = 1e-3
"""Where rounding to the format of the largest of several values that share one is a larger part of
the root mean square of another, that one has no say in how far above the largest they reach."""
FEWEST_INPUT_BITS = 6
"""An input whose largest magnitude has fewer bits is refused."""


def fraction_bits(most: float, dtype: str, headroom: int, cap: int) -> int:
    """The most fraction bits with which ``most``·2^headroom still fits the type, at most ``cap``.

    Where nothing but zeros was seen, there is room for ±2 (i16) or ±128 (i32).
    """
    width = BITS[dtype]
    if most == 0.0:
        return min(cap, width - 2 if width == 16 else width - 8)
    mantissa, exponent = math.frexp(most)
    fits = math.ldexp(mantissa, width - 1) <= 2 ** (width - 1) - 1
    bits = width - 1 - exponent - (0 if fits else 1)
    return max(LEAST_FRACTION_BITS, min(cap, bits - headroom))


class Chooser:
    """The formats of a real-valued graph, given the largest magnitude seen of each value."""

    def __init__(self, graph: Graph, ranges: Mapping[Value, float], formats: Formats) -> None:
        self.graph = graph
        self.ranges = ranges
        self.formats = formats
        self.trains = "grad" in graph.outputs
        self.rms: Mapping[Value, float] = getattr(ranges, "rms", {})
        self._moved = _moved(graph) if self.trains else set()
        self.parameters = {p.value: p for p in graph.parameters}
        self._given = {*graph.inputs, *graph.labels}
        self._results = {v for outputs in graph.outputs.values() for v in outputs}
        self._producers = graph.producer()
        self._consumers = graph.consumers()
        self._caps: dict[Value, int] = {}
        self._found: dict[Value, tuple[Value, ...]] = {}
        self._used: set[str] = set()
        self._asked: set[str] = set()
        """Names whose format was asked for: those that an override may have."""
        self._growth: dict[Value, float] = {}
        self._limits: dict[Value, Value] = {}
        self.left_out = LeftOut(graph, ranges, getattr(ranges, "low", {}))
        self._find_limits()
        self._find_growth()
        self._logits = self._roots_read_by("softmax", "sigmoid_cross_entropy")
        errors = self._roots_read_by("mean_squared_error")
        self._errors = dict.fromkeys(errors, max((self._range(v) for v in errors), default=0.0))
        self._quietest = self._find_quietest()
        for node in graph.nodes:
            if _is_product(node):
                self._keep_within_bounds(node)
        for v in graph.inputs:
            if graph.types[v].dtype == "real" and self._fixed(v, "i16") is None:
                self._check_input(v)

    # -- what quantisation asks

    def i16(self, v: Value) -> int:
        """Fraction bits of a value as i16; of a whole number or a truth value those it has."""
        if self.graph.types[v].dtype != "real":
            return self.graph.types[v].fraction_bits
        if v in self._limits:
            return self.i16(self._limits[v])
        return min(self._of_root(r, "i16") for r in self._roots(v))

    def i32(self, v: Value) -> int:
        """Fraction bits of a value as i32; of a whole number or a truth value those it has."""
        if self.graph.types[v].dtype != "real":
            return self.graph.types[v].fraction_bits
        if v in self._limits:
            return self.i32(self._limits[v])
        return min(self._of_root(r, "i32") for r in self._roots(v))

    def is_limit(self, v: Value) -> bool:
        """Whether a parameter only limits values, in whose format it is, clamped where it is out of
        their reach."""
        return v in self._limits

    def is_trained(self, v: Value) -> bool:
        """Whether training changes a parameter."""
        return self.trains and self.parameters[v].trainable

    def is_bias(self, v: Value) -> bool:
        """Whether a parameter is only added to accumulators."""
        readers = [
            (n, i)
            for n in self._consumers.get(v, [])
            if n.op != TOTAL and n.stage == "forward"
            for i, x in enumerate(n.inputs)
            if x == v
        ]
        return bool(readers) and all(
            OPERATORS[n.op].input_spec(i).accepts[0] == "i32" and n.op != "div" for n, i in readers
        )

    def is_divided(self, v: Value) -> bool:
        """Whether a parameter, which training leaves alone, is only divided or divided by: then it
        has 32 bits."""
        readers = self._consumers.get(v, [])
        return bool(readers) and all(n.op == "div" for n in readers) and not self.is_trained(v)

    def bias(self, v: Value) -> tuple[int, int]:
        """Fraction bits of a bias, which is i32, and of its i16 in profile w16.

        They are at most those of the accumulators that it is added to.
        """
        added_to = (n.inputs[0] for n in self._consumers[v])
        bits = min(self._bias_wish(v), *(self._accumulator(x) for x in added_to))
        narrow = self._fixed(v, "i16")
        if narrow is None:
            headroom = 2 if self.is_trained(v) else 0
            narrow = fraction_bits(self._bias_range(v), "i16", headroom, MOST_I16_BITS)
        return bits, min(narrow, bits)

    def is_exact_sum(self, node: Node) -> bool:
        """Whether a node adds two matrix products that nothing else reads, as a cell adds what its
        input and its state give: such sums stay exact, if their bound can be proved."""
        if node.op != "add" or node.stage != "forward":
            return False
        terms = [self._product_behind(x, node) for x in node.inputs]
        products = [product for product in terms if product is not None]
        if len(products) < len(terms):
            return False
        bits = [self._accumulator(x) for x in node.inputs]
        for product, own in zip(products, bits, strict=True):
            depth = self.graph.types[product.inputs[0]].shape[
                -2 if product.attributes["transpose_a"] else -1
            ]
            if depth < 1 or depth.bit_length() + ACCUMULATOR_SHIFT + max(bits) - own > 60:
                return False
        biases = [
            x
            for reader in self._consumers.get(node.outputs[0], [])
            for x in reader.inputs
            if x in self.parameters and self.is_bias(x)
        ]
        return all(max(bits) <= self._bias_wish(b) + ACCUMULATOR_SHIFT for b in biases)

    def _product_behind(self, v: Value, reader: Node) -> Node | None:
        """The matmul that makes a value, perhaps with a bias, if that reader alone reads it."""
        for _ in range(2):
            node = self._producers.get(v)
            readers = [n for n in self._consumers.get(v, []) if n.op != "convert_grad"]
            if node is None or v in self._results or readers != [reader]:
                return None
            if node.op != "bias_add":
                break
            v, reader = node.inputs[0], node
        return node if node is not None and node.op == "matmul" else None

    def check_overrides(self) -> None:
        """Refuses overrides that no value took."""
        unknown = sorted(set(self.formats.overrides) - self._used)
        if not unknown:
            return
        wrong = []
        for name in unknown:
            near = difflib.get_close_matches(name, sorted(self._asked - {name}), 3, 0.4)
            nearest = f" (nearest: {', '.join(map(repr, near))})" if near else ""
            wrong.append(f"{name!r} names no input, parameter or rounded result{nearest}")
        raise ImportModelError(f"formats: {'; '.join(wrong)}")

    # -- roots

    def _roots(self, v: Value) -> tuple[Value, ...]:
        if v not in self._found:
            node = self._producers.get(v)
            if node is None or node.op == TOTAL or OPERATORS[node.op].result != "keeps":
                return (v,)
            operator = OPERATORS[node.op]
            kept = node.inputs if operator.same_format else (node.inputs[operator.keeps],)
            kept = tuple(x for x in kept if self.graph.types[x].dtype != "bool")
            kept = tuple(x for x in kept if x not in self._limits)
            if not kept:
                return (v,)
            self._found[v] = tuple(dict.fromkeys(r for x in kept for r in self._roots(x)))
        return self._found[v]

    def _find_limits(self) -> None:
        """Constants that are one operand of a minimum, maximum or select and nothing else, with the
        other one: 6 of a relu6 whose values stay below 1 has no say in their format, nor has what a
        mask puts in the place of a score.

        A limit on the far side of every value decides the result, and keeps its own.
        """
        for node in self.graph.nodes:
            if node.op not in ("minimum", "maximum", "select") or node.stage != "forward":
                continue
            a, b = node.inputs[-2:]
            for v, other in ((a, b), (b, a)):
                if v not in self.parameters or other in self.parameters or self.is_trained(v):
                    continue
                forward = [n for n in self._consumers[v] if n.stage == "forward"]
                if v in self.left_out.needed:
                    continue
                if forward == [node] and self._is_beyond(node, self.parameters[v].data, other):
                    self._limits[v] = other

    def _is_beyond(self, node: Node, data: NDArray[Any], other: Value) -> bool:
        """Whether a limit is out of reach of the other operand; in the place of scores, so far
        below them that softmax makes 0 of it, and of the lowest number of their format."""
        if node.op == "select":
            if bool((np.abs(data) > self._range(node.outputs[0])).all()):
                return True  # calibration never saw it chosen
            reach = max(self._range(r) for r in self._roots(other))
            low = bool((data <= -2 * reach - OUT_OF_REACH).all())
            return low and self._is_scores(node.outputs[0])
        reach = self._range(other)
        return bool((data >= -reach if node.op == "minimum" else data <= reach).all())

    def _is_scores(self, v: Value) -> bool:
        """Whether only softmax reads a value."""
        readers = [n for n in self._consumers.get(v, []) if n.stage == "forward"]
        return (
            bool(readers)
            and v not in self._results
            and all(
                n.op == "softmax"
                or (n.op in ("reshape", "transpose", "select") and self._is_scores(n.outputs[0]))
                for n in readers
            )
        )

    def _roots_read_by(self, *families: str) -> set[Value]:
        nodes = [n for n in self.graph.nodes if n.op.startswith(families)]
        read = [v for n in nodes for v in n.inputs if self.graph.types[v].dtype == "real"]
        return {r for v in read for r in self._roots(v)}

    def _find_growth(self) -> None:
        """By how much values that share the format of a root may exceed what was seen of it."""
        along: dict[Value, float] = {}
        for node in self.graph.nodes:
            if node.op == TOTAL or OPERATORS[node.op].result != "keeps":
                continue
            before = max((along.get(v, 1.0) for v in node.inputs), default=1.0)
            grown = before * OPERATORS[node.op].growth(node.attributes)
            if grown == 1.0:
                continue
            for v in node.outputs:
                along[v] = grown
                for root in self._roots(v):
                    self._growth[root] = max(self._growth.get(root, 1.0), grown)

    def _range(self, v: Value) -> float:
        most = self.left_out.kept(v) if v in self.left_out.needed else self.ranges.get(v, 0.0)
        return most * self._growth.get(v, 1.0)

    # -- the format of a root

    def _fixed(self, v: Value, dtype: str) -> int | None:
        """The format that the user has asked for."""
        name = self.graph.names.get(v, "")
        self._asked.add(name)
        if name in self.formats.overrides:
            self._used.add(name)
            return self.formats.overrides[name]
        if dtype != "i16":
            return None
        kind = 0 if v in self.parameters else 2 if self._is_delta(v) else 1
        return self.formats.kinds.get(KINDS[kind], self.formats.uniform)

    def _of_root(self, v: Value, dtype: str) -> int:
        fixed = self._fixed(v, dtype)
        if fixed is not None:
            return fixed
        if v in self.left_out.needed:
            return self._beside_left_out(v, dtype)
        if v in self._logits:
            headroom = 3 if dtype == "i32" else self._headroom(v)
            cap = MOST_LOGIT_BITS if dtype == "i32" else min(MOST_LOGIT_BITS, self._cap(v))
            return max(0, fraction_bits(self._range(v), dtype, headroom, cap))
        if dtype == "i32":
            # Targets and what they are compared with share one format, outputs included.
            if v in self._errors:
                return fraction_bits(self._errors[v], dtype, 8, MOST_I32_BITS)
            return fraction_bits(self._range(v), dtype, 6, MOST_I32_BITS)
        if self._is_steady(v):
            return self._steady(v, min(self.rms[v], self._quietest.get(v, math.inf)))
        return fraction_bits(self._scale(v), dtype, self._headroom(v), self._cap(v))

    def _beside_left_out(self, v: Value, dtype: str) -> int:
        """Fraction bits of a value whose very low numbers are clamped."""
        cap = MOST_LOGIT_BITS if v in self._logits else MOST_I32_BITS
        cap = cap if dtype == "i32" else min(cap, self._cap(v))
        wide = math.ldexp(self._range(v), 6 if dtype == "i32" else self._headroom(v))
        bits = fraction_bits(max(wide, self.left_out.needed[v]), dtype, 0, cap)
        return max(0, bits) if v in self._logits else bits

    def _scale(self, v: Value) -> float:
        return self._weight_scale(v) if v in self.parameters else self._range(v)

    def _headroom(self, v: Value) -> int:
        if v in self.parameters:
            asked = self.formats.weight_headroom
            return (2 if asked is None else asked) if self.is_trained(v) else 0
        if self._is_delta(v):
            return self.formats.delta_headroom
        return 0 if v in self._given else self._activation_headroom(v)

    def _activation_headroom(self, v: Value) -> int:
        asked = self.formats.activation_headroom
        return (3 if v in self._moved else 1) if asked is None else asked

    def _is_steady(self, v: Value) -> bool:
        """Whether a value is an activation whose spread was seen and that training leaves alone."""
        kept = v in self.parameters or v in self._given or v in self._moved or self._is_delta(v)
        kept = kept or v in self.left_out.needed
        return not kept and v in self.rms and self.formats.activation_headroom is None

    def _find_quietest(self) -> dict[Value, float]:
        """Of a value whose format others must take, as branches that are concatenated: the least
        root mean square among them that all 16 bits suffice for."""
        found: dict[Value, float] = {}
        for node in self.graph.nodes:
            if node.op == TOTAL or not OPERATORS[node.op].same_format:
                continue
            steady = [r for r in self._roots(node.outputs[0]) if self._is_steady(r)]
            bits = {r: self._steady(r, self.rms[r]) for r in steady}
            for r in (r for r in steady if bits[r] == min(bits.values())):
                noise = _noise(fraction_bits(self._range(r), "i16", 0, self._cap(r)))
                heard = [self.rms[x] for x in steady if noise <= MOST_NOISE * self.rms[x]]
                found[r] = min([found.get(r, math.inf), *heard])
        return found

    def _steady(self, v: Value, rms: float) -> int:
        """Fraction bits of such a value as i16, given the root mean square to keep."""
        most = self._range(v)
        for margin, part in MARGINS:
            bits = fraction_bits(margin * most, "i16", 0, self._cap(v))
            if _noise(bits) <= part * rms:
                break
        return bits

    def _cap(self, v: Value) -> int:
        cap = MOST_I16_BITS
        if v in self.parameters:
            if self.is_trained(v) and len(self.graph.types[v].shape) < 2:
                cap = MOST_SCALE_BITS
        elif self._is_delta(v):
            cap = MOST_DELTA_BITS
        elif v in self._moved:
            cap = MOST_ACTIVATION_BITS
        return min(cap, self._caps.get(v, cap))

    def _is_delta(self, v: Value) -> bool:
        node = self._producers.get(v)
        return node is not None and node.stage == "backward"

    # -- parameters

    def _weight_scale(self, v: Value) -> float:
        """The largest weight; where it trains, at least what weights between so many units grow to
        for inputs of the magnitude seen."""
        shape, most = self.graph.types[v].shape, self._range(v)
        if any(n.op == "batch_normalize" for n in self._consumers.get(v, [])):
            return max(most, 1.0)
        if not self.is_trained(v) or len(shape) < 2:
            return most
        others = [
            self._range(x)
            for n in self._consumers.get(v, [])
            if n.stage == "forward" and _is_product(n)
            for x in n.inputs
            if x != v
        ]
        units = max(math.prod(shape[:-1]), shape[-1])
        return max(most, 1 / (math.sqrt(units) * max([1.0, *others])))

    def _bias_range(self, v: Value) -> float:
        """The largest bias; where it trains, at least 1: biases start at zero and move."""
        most = max(self._range(v), self.left_out.needed.get(v, 0.0))
        return max(most, 1.0) if self.is_trained(v) else most

    def _bias_wish(self, v: Value) -> int:
        trained = self.is_trained(v)
        return fraction_bits(
            self._bias_range(v), "i32", 4 if trained else 0, 24 if trained else MOST_FRACTION_BITS
        )

    def _accumulator(self, v: Value) -> int:
        """Fraction bits of what a bias is added to."""
        node = self._producers.get(v)
        if node is None or OPERATORS[node.op].result != "exact":
            return self.i16(v)
        if _is_product(node):
            return sum(self.i16(x) for x in node.inputs)
        if OPERATORS[node.op].input_spec(0).accepts[0] == "i64":
            return self._accumulator(node.inputs[0])
        if self.is_exact_sum(node):
            return max(self._accumulator(x) for x in node.inputs)
        return max(self.i16(x) for x in node.inputs)

    # -- bounds

    def _keep_within_bounds(self, node: Node) -> None:
        """Caps the operands of a product so that its format exists, and so that the biases added to
        it can be shifted there."""
        a, b = node.inputs
        limit = MOST_FRACTION_BITS
        for reader in self._consumers.get(node.outputs[0], []):
            for x in reader.inputs:
                if x in self.parameters and self.is_bias(x):
                    limit = min(limit, self._bias_wish(x) + ACCUMULATOR_SHIFT)
        while (excess := self.i16(a) + self.i16(b) - limit) > 0:
            wider, other = (a, b) if self.i16(a) >= self.i16(b) else (b, a)
            before = self.i16(wider)
            least = self.i16(other) if self.i16(other) < before else before - (excess + 1) // 2
            for root in self._roots(wider):
                self._caps[root] = min(self._cap(root), max(least, before - excess))
            if self.i16(wider) == before:
                return  # a format that was asked for: the core says what is wrong with it

    def _check_input(self, v: Value) -> None:
        most = self._range(v)
        if 0 < math.ldexp(most, self.i16(v)) < 2**FEWEST_INPUT_BITS:
            name = self.graph.names.get(v, str(v))
            raise ImportModelError(
                f"input {name!r}: its largest value must be at least "
                f"{math.ldexp(1.0, FEWEST_INPUT_BITS - self.i16(v)):.1e}, received {most:.1e}: "
                "scale the inputs"
            )


def _noise(bits: int) -> float:
    """The root mean square of rounding to so many fraction bits."""
    return math.ldexp(1.0, -bits) / math.sqrt(12)


def _moved(graph: Graph) -> set[Value]:
    """The values that change when training moves parameters."""
    found = {p.value for p in graph.parameters if p.trainable}
    for node in graph.nodes:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return found


def _is_product(node: Node) -> bool:
    """Whether a node multiplies two i16 operands exactly."""
    if node.op == TOTAL or OPERATORS[node.op].result != "exact" or len(node.inputs) != 2:
        return False
    specs: Sequence[tuple[str, ...]] = [OPERATORS[node.op].input_spec(i).accepts for i in (0, 1)]
    return all(accepts[0] == "i16" and "i64" not in accepts for accepts in specs)
