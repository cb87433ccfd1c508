"""Reverse-mode differentiation of a real-valued graph. The rules live with their operators
(``Operator.gradient``)."""

from __future__ import annotations

import itertools
from dataclasses import replace

from gvm import batch_training
from gvm.errors import ImportModelError
from gvm.functions import BY_NAME
from gvm.graph import Builder, Graph, Node, Value
from gvm.operator import Operator
from gvm.ops import OPERATORS
from gvm.ops.concat import Concat
from gvm.smoothing import check_smoothing, smoothed
from gvm.window import integers

LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error")
OF_PARTIALS = ("broadcast_to", "concat", "pad", "reshape", "slice", "transpose")
"""Operators whose gradient is linear and exact: of a partial it is one."""


def with_loss(graph: Graph, loss: str, label_smoothing: float = 0.0) -> Graph:
    """The graph with labels, loss and gradients: outputs ``loss`` (partial total, count and, for
    classifiers, correct) and ``grad`` (the totals of the loss, then one gradient per trainable
    parameter, in order).

    A final softmax, or logistic for ``sigmoid_cross_entropy``, stays in ``predict``; the loss reads
    its logits. A parameter through which no gradient flows is a constant in the result; where none
    is left to train there is no ``grad``. ``label_smoothing`` changes the gradient alone.
    Raises ImportModelError for a graph that the loss does not fit.
    """
    if loss not in LOSSES:
        raise ImportModelError(f"loss must be one of {', '.join(LOSSES)}, received {loss!r}")
    check_smoothing(loss, label_smoothing)
    if len(graph.outputs["predict"]) != 1:
        raise ImportModelError(
            f"a loss needs a model with one output, received {len(graph.outputs['predict'])}"
        )
    graph = batch_training.with_batch_statistics(graph)
    g = Builder(graph)
    (output,) = graph.outputs["predict"]
    g.stage = "loss"
    if loss == "softmax_cross_entropy":
        final = graph.producer().get(output)
        read = final.inputs[0] if final is not None and final.op == "softmax" else output
        if len(g.shape(read)) != 2:
            raise ImportModelError(
                f"{loss}: logits must have shape (batch, classes), received {g.shape(read)}"
            )
        labels = g.label("labels", (-1,))
        each = g.softmax_cross_entropy(read, labels)
        hits = [g.reduce_sum(g.argmax_correct(read, labels), axes=(0,), keepdims=0)]
        g.stage = "backward"
        seed = g.softmax_cross_entropy_grad(read, labels)
    elif loss == "sigmoid_cross_entropy":
        final = graph.producer().get(output)
        read = final.inputs[0] if final is not None and _is_logistic(final) else output
        labels = g.label("labels", g.shape(read))
        each, right = g.sigmoid_cross_entropy(read, labels)
        hits = [g.reduce_sum(right, axes=(0,), keepdims=0)]
        g.stage = "backward"
        seed = g.sigmoid_cross_entropy_grad(read, labels)
    else:
        read = output
        labels = g.label("labels", g.shape(read), dtype="real")
        each, hits = g.mean_squared_error(read, labels), []
        g.stage = "backward"
        seed = g.mean_squared_error_grad(read, labels)
    g.stage = "loss"
    sums = (g.reduce_sum(each, axes=(0,), keepdims=0), batch_training.example_count(g), *hits)
    g.stage = "backward"
    seed = smoothed(g, loss, read, seed, label_smoothing)
    gradients = differentiate(g, graph, {read: seed})
    g.parameters = [replace(p, trainable=p.value in gradients) for p in g.parameters]
    if not gradients:
        return g.graph(loss=sums)
    totals = [g.total(v) if g.types[v].partial else v for v in (*sums, *gradients.values())]
    return g.graph(loss=sums, grad=totals)


def _is_logistic(node: Node) -> bool:
    return node.op == "unary" and node.attributes["function"] == BY_NAME["logistic"].number


def differentiate(g: Builder, forward: Graph, seeds: dict[Value, Value]) -> dict[Value, Value]:
    """Adds to ``g``, which continues ``forward``, the gradients of what ``seeds`` (value -> its
    gradient) stand for.

    Returns the gradient of every trainable parameter that has one, in order: a partial sum over
    examples. At the limits of a rounded result the gradient is dropped where the step would push
    further out (numerics section 2): ``convert_grad`` nodes, the identity in real numbers.

    Raises ImportModelError where a parameter passes through an operator before it meets the
    examples: its gradient would be a function of a sum that no shard has.
    """
    deltas: dict[Value, list[Value]] = {v: [d] for v, d in seeds.items()}
    varies = _depends_on_parameters(forward)
    consumers = forward.consumers()
    for node in reversed(forward.nodes):
        # Of several results only the first has a gradient: the others are positions.
        output = node.outputs[0]
        if output not in deltas:
            continue
        delta = _sum(g, deltas.pop(output))
        operator = OPERATORS[node.op]
        over_batch = node.op == batch_training.NAME
        if operator.gradient is Operator.gradient and not over_batch:
            raise ImportModelError(f"{node.op}: has no gradient, but training needs it")
        if g.types[delta].partial and node.op not in OF_PARTIALS:
            raise ImportModelError(_not_a_sum(forward, node))
        if operator.result in ("exact", "rounds") and output not in seeds:
            delta = g.convert_grad(_limits(output, consumers), delta)
        made = (
            batch_training.gradients(g, node, delta)
            if over_batch
            else operator.gradient(g, node.inputs, output, node.attributes, delta)
        )
        for value, gradient in zip(node.inputs, made, strict=True):
            if gradient is not None and value in varies:
                deltas.setdefault(value, []).append(gradient)
    return {
        p.value: _sum(g, deltas[p.value])
        for p in forward.parameters
        if p.trainable and p.value in deltas
    }


def _not_a_sum(forward: Graph, node: Node) -> str:
    """What to say of a parameter that ``node`` changes before it meets the examples."""
    before = {v for n in forward.reaching(node.outputs) for v in n.inputs}
    name = next(p.name for p in forward.parameters if p.trainable and p.value in before)
    where = f", node {node.name!r}" if node.name else ""
    return (
        f"parameter {name!r}: {node.op}{where} stands between it and the examples; "
        "make its result the parameter"
    )


def _limits(output: Value, consumers: dict[Value, list[Node]]) -> Value:
    """The value whose limits gate the gradient of ``output``. Behind a relu that alone reads it,
    the relu's result says the same:
    it is at the maximum together with its input, and where it is 0 the gradient is 0 already."""
    readers = consumers.get(output, [])
    return readers[0].outputs[0] if len(readers) == 1 and readers[0].op == "relu" else output


def _sum(g: Builder, deltas: list[Value]) -> Value:
    total, *others = _joined(g, deltas)
    for delta in others:
        total = g.add(total, delta)
    return total


def _joined(g: Builder, deltas: list[Value]) -> list[Value]:
    """Gradients of a tensor, those of slices of it that lie side by side joined: a tensor that is
    taken apart along an axis costs one concat, not a sum of as many tensors of its size."""
    pieces: dict[int, dict[tuple[int, int], list[Value]]] = {}
    kept = []
    for delta in deltas:
        found = _piece(g, delta)
        if found is None:
            kept.append(delta)
        else:
            axis, begin, inner = found
            span = (begin, begin + g.shape(inner)[axis])
            pieces.setdefault(axis, {}).setdefault(span, []).append(inner)
    for axis, spans in pieces.items():
        order = sorted(spans)
        size = g.shape(deltas[0])[axis]
        if any(a[1] > b[0] for a, b in itertools.pairwise(order)):
            kept += [d for d in deltas if (_piece(g, d) or (None,))[0] == axis]
            continue
        runs: list[list[tuple[int, int]]] = []
        for span in order:
            if runs and runs[-1][-1][1] == span[0]:
                runs[-1].append(span)
            else:
                runs.append([span])
        for run in runs:
            whole = _concatenated(g, [_sum(g, spans[span]) for span in run], axis)
            kept.append(_padded(g, whole, axis, run[0][0], size - run[-1][1]))
    return kept


def _piece(g: Builder, delta: Value) -> tuple[int, int, Value] | None:
    """The axis, the place and the gradient of a slice along one axis, which zeros surround."""
    node = g.maker.get(delta)
    if node is None or node.op != "pad" or g.types[delta].partial:
        return None
    before, after = integers(node.attributes, "before"), integers(node.attributes, "after")
    axes = [i for i, around in enumerate(zip(before, after, strict=True)) if any(around)]
    return (axes[0], before[axes[0]], node.inputs[0]) if len(axes) == 1 else None


def _concatenated(g: Builder, parts: list[Value], axis: int) -> Value:
    most = Concat.variadic
    while len(parts) > 1:
        groups = [parts[i : i + most] for i in range(0, len(parts), most)]
        parts = [p[0] if len(p) == 1 else g.concat(*p, axis=axis) for p in groups]
    return parts[0]


def _padded(g: Builder, x: Value, axis: int, before: int, after: int) -> Value:
    if not before and not after:
        return x
    rank = len(g.shape(x))
    around = [tuple(n if i == axis else 0 for i in range(rank)) for n in (before, after)]
    out: Value = g.pad(x, before=around[0], after=around[1])
    return out


def _depends_on_parameters(graph: Graph) -> set[Value]:
    found = {p.value for p in graph.parameters if p.trainable}
    for node in graph.nodes:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return found
