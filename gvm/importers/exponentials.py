"""Logarithms of sums of exponentials, which no format holds: exp(40) is 2^57."""

from __future__ import annotations

from collections.abc import Mapping

from gvm.functions import BY_NAME
from gvm.graph import Builder, Graph, Node, Value
from gvm.importers.rebuild import rebuilt

__all__ = ["settle_exponentials"]


def settle_exponentials(graph: Graph) -> Graph:
    """The same function, with max(x) + log(sum(exp(x - max(x)))) in place of log(sum(exp(x)))."""
    producer = graph.producer()
    found: dict[Value, tuple[Value, Node]] = {}
    for node in graph.nodes:
        total = producer.get(node.inputs[0]) if _is(node, "log") else None
        inner = producer.get(total.inputs[0]) if total and total.op == "reduce_sum" else None
        if total and inner and _is(inner, "exp"):
            axes = total.attributes["axes"]
            assert isinstance(axes, tuple)
            if graph.types[inner.inputs[0]].batch_axis not in axes:
                found[node.outputs[0]] = inner.inputs[0], total
    if not found:
        return graph

    def replacement(g: Builder, node: Node, made: Mapping[Value, Value]) -> Value | None:
        if node.outputs[0] not in found:
            return None
        x, total = found[node.outputs[0]]
        return _shifted(g, made[x], total, node.name)

    return rebuilt(graph, replacement)


def _is(node: Node, function: str) -> bool:
    return node.op == "unary" and node.attributes["function"] == BY_NAME[function].number


def _shifted(g: Builder, x: Value, total: Node, name: str) -> Value:
    axes = total.attributes["axes"]
    most = g.reduce_max(x, axes=axes, keepdims=1)
    parts = g.unary(g.sub(x, most), function=BY_NAME["exp"].number)
    whole = g.reduce_sum(parts, axes=axes, keepdims=1)
    made = g.add(g.unary(whole, function=BY_NAME["log"].number), most, name=name)
    if total.attributes["keepdims"]:
        return int(made)
    return int(g.reduce_max(made, axes=axes, keepdims=0))
