"""Quotients: whole numbers of a division, and ``div`` in place of products with a reciprocal."""

from __future__ import annotations

from dataclasses import replace

from gvm.functions import BY_NAME
from gvm.graph import Graph, Value
from gvm.importers.exponentials import settle_exponentials
from gvm.importers.shapes import Shapes
from gvm.importers.spelled import settle_spelled
from gvm.ops import OPERATORS
from gvm.ops.div import DOWN, NEAREST, TOWARDS_ZERO
from gvm.types import DTYPES

__all__ = [
    "DOWN",
    "NEAREST",
    "TOWARDS_ZERO",
    "floor_or_ceiling",
    "settle_quotients",
    "whole_quotient",
]


def whole_quotient(t: Shapes, a: Value, b: Value, direction: int, name: str = "") -> Value:
    """The whole number of 32 bits that a / b is rounded to."""
    given = {"direction": direction, "dtype": DTYPES["i32"], "fraction_bits": 0}
    return int(t.g.div(a, b, name=name, **given))


def floor_or_ceiling(t: Shapes, x: Value, direction: int, up: bool = False) -> Value:
    """x as a whole number: below it, beside it towards 0 or nearest; ``up``: above it."""
    one = t.low.whole(-1 if up else 1, "one")
    made = whole_quotient(t, x, one, direction)
    return t.low.negative(made) if up else made


def settle_quotients(graph: Graph) -> Graph:
    """The same function, with ``div`` where a number is multiplied by a reciprocal, and one table
    where the reciprocal is of a root: one rounding instead of two. What it replaces is left behind
    unused. Functions that are spelled out, logarithms of sums of exponentials among them, are
    settled first."""
    graph = settle_exponentials(settle_spelled(graph))
    producer = graph.producer()
    reciprocal, root, of_root = (BY_NAME[n].number for n in ("reciprocal", "sqrt", "rsqrt"))
    nodes = []
    for node in graph.nodes:
        if node.op == "unary" and node.attributes["function"] == reciprocal:
            inner = producer.get(node.inputs[0])
            if inner and inner.op == "unary" and inner.attributes["function"] == root:
                node = replace(
                    node, inputs=inner.inputs, attributes={**node.attributes, "function": of_root}
                )
        for x, r in (node.inputs[:2], node.inputs[1::-1]) if node.op == "mul" else ():
            inner = producer.get(r)
            if inner is None or inner.op != "unary" or inner.attributes["function"] != reciprocal:
                continue
            attributes = OPERATORS["div"].complete({"fraction_bits": 0})
            node = replace(node, op="div", inputs=(x, inner.inputs[0]), attributes=attributes)
            break
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))
