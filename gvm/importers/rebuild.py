"""What passes over a real-valued graph share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gvm.graph import Builder, Graph, Node, Value

__all__ = ["rebuilt"]

Replacement = Callable[[Builder, Node, Mapping[Value, Value]], Value | None]


def rebuilt(graph: Graph, replacement: Replacement) -> Graph:
    """The graph with some nodes made anew. ``replacement``: given the new graph, a node and where
    old values are, the value in place of its result, or None where the node stays."""
    g = Builder()
    made: dict[Value, Value] = {}
    for v in graph.inputs:
        t = graph.types[v]
        made[v] = g.input(graph.names.get(v, ""), t.shape, t.dtype, t.fraction_bits)
    for p in graph.parameters:
        t = graph.types[p.value]
        made[p.value] = g.parameter(p.name, p.data, t.dtype, t.fraction_bits, p.trainable)
    for node in graph.nodes:
        new = replacement(g, node, made)
        if new is not None:
            made[node.outputs[0]] = new
            continue
        inputs = [made[v] for v in node.inputs]
        results = g.node(node.op, inputs, node.attributes, node.name)
        made.update(zip(node.outputs, results, strict=True))
    return g.graph(**{n: [made[v] for v in values] for n, values in graph.outputs.items()})
