"""Masks by very low numbers: what attention adds to scores, or chooses in their place, so that
``softmax`` makes 0 of them.

Chosen, such a number has no say in the format of the scores (``formats.py``). Added, it becomes
chosen here: a sum with it is as good as the number itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Builder, Graph, Node, Value
from gvm.importers.composites import LESS_OR_EQUAL
from gvm.importers.rebuild import rebuilt

__all__ = ["settle_masks"]

LOW = -(2.0**16)
"""A number from here down leaves out what it is added to: float32 keeps no more than two digits of
the score behind its point."""
_SHAPING = ("reshape", "transpose", "broadcast_to")


def settle_masks(graph: Graph) -> Graph:
    """The same function, with ``select`` where a softmax reads scores to which very low numbers are
    added: constants, or (1 - x) times such a number, which leaves out where x < 1."""
    return _Masks(graph).run()


class _Masks:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parameters = {p.value: p for p in graph.parameters}
        self.producer = graph.producer()
        self.readers: dict[Value, int] = {}
        for node in graph.nodes:
            for v in node.inputs:
                self.readers[v] = self.readers.get(v, 0) + 1
        for values in graph.outputs.values():
            for v in values:
                self.readers[v] = self.readers.get(v, 0) + 1
        self.chosen: dict[Value, tuple[Value, Value]] = {}
        """Sums that become choices, by their value: the scores and the mask."""
        self.choices: set[Value] = set()
        """Choices of a number that others read too: each has its own."""
        for node in graph.nodes:
            if node.op == "softmax":
                self._walk(node.inputs[0])
            elif node.op == "select" and any(map(self._is_shared, node.inputs[1:])):
                self.choices.add(node.outputs[0])

    def run(self) -> Graph:
        if not self.chosen and not self.choices:
            return self.graph
        return rebuilt(self.graph, self._replacement)

    def _replacement(self, g: Builder, node: Node, made: Mapping[Value, Value]) -> Value | None:
        (v, *_) = node.outputs
        if v in self.chosen:
            return self._choice(g, node, made)
        if v not in self.choices:
            return None
        condition, *others = node.inputs
        a, b = (self._own(g, x, made) for x in others)
        return int(g.select(made[condition], a, b, name=node.name))

    # -- what is found

    def _walk(self, v: Value) -> None:
        """From what a softmax reads back to sums of scores and masks."""
        node = self.producer.get(v)
        if node is None or self.readers[v] != 1:
            return
        if node.op in _SHAPING:
            self._walk(node.inputs[0])
        elif node.op == "select":
            for x in node.inputs[1:]:
                if self._is_low(x):
                    self.choices.add(v)
                self._walk(x)
        elif node.op in ("add", "bias_add"):
            a, b = node.inputs
            for scores, mask in ((a, b), (b, a)):
                if self._is_mask(mask):
                    self.chosen[v] = scores, mask
                    self._walk(scores)
                    return
            for x in node.inputs:
                self._walk(x)

    def _is_shared(self, v: Value) -> bool:
        """Whether a value is a constant far from zero that others read too."""
        p = self.parameters.get(v)
        return (
            p is not None
            and self.readers[v] > 1
            and not (p.trainable and p.data.size > 1)
            and bool((np.abs(p.data) >= -LOW).all())
        )

    def _is_low(self, v: Value) -> bool:
        """Whether a value is a constant of very low numbers alone."""
        p = self.parameters.get(v)
        return p is not None and bool((p.data <= LOW).all())

    def _is_mask(self, v: Value) -> bool:
        p = self.parameters.get(v)
        if p is not None:
            return self.graph.types[v].dtype == "real" and bool((p.data <= LOW).any())
        return self._product(v) is not None

    def _product(self, v: Value) -> tuple[list[Node], Value] | None:
        """(1 - x) times a very low number, and the changes of shape behind it."""
        shaping: list[Node] = []
        node = self.producer.get(v)
        while node is not None and node.op in _SHAPING:
            shaping.append(node)
            node = self.producer.get(node.inputs[0])
        if node is None or node.op != "mul":
            return None
        for x, low in (node.inputs, node.inputs[::-1]):
            p, inner = self.parameters.get(low), self.producer.get(x)
            if p is None or p.trainable or p.data.size != 1 or p.data.reshape(-1)[0] > LOW:
                continue
            if inner is not None and inner.op == "sub":
                one = self.parameters.get(inner.inputs[0])
                if one is not None and not one.trainable and (one.data == 1).all():
                    return shaping[::-1], x
        return None

    # -- what is made of it

    def _own(self, g: Builder, v: Value, made: Mapping[Value, Value]) -> Value:
        if not self._is_low(v) and not self._is_shared(v):
            return made[v]
        p = self.parameters[v]
        return self._parameter(g, p.name, p.data)

    def _parameter(self, g: Builder, name: str, data: NDArray[Any], dtype: str = "real") -> Value:
        """A constant under a name that nothing has yet."""
        taken = {p.name for p in (*g.parameters, *self.graph.parameters)}
        unique, count = name, 0
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        return g.parameter(unique, data, dtype, 0, False)

    def _choice(self, g: Builder, node: Node, made: Mapping[Value, Value]) -> Value:
        scores, mask = self.chosen[node.outputs[0]]
        left = made[scores]
        p = self.parameters.get(mask)
        if p is not None:
            out = p.data <= LOW
            rest = np.where(out, 0.0, p.data)
            if rest.any():
                left = int(g.add(left, self._parameter(g, f"{p.name}/rest", rest)))
            kept = self._parameter(g, f"{p.name}/kept", ~out, "bool")
            low = float(p.data.max(where=out, initial=-np.inf))
        else:
            found = self._product(mask)
            assert found is not None
            shaping, x = found
            below = made[x]
            for step in shaping:
                (below,) = g.node(step.op, [below], step.attributes, step.name)
            zero = self._parameter(g, f"{node.name}/zero", np.zeros(1))
            kept = int(g.compare(below, zero, relation=LESS_OR_EQUAL))
            low = LOW
        lowest = self._parameter(g, f"{node.name}/lowest", np.asarray(low))
        return int(g.select(kept, left, lowest, name=node.name))
