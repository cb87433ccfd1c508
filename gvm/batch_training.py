"""Batch normalisation in a graph that trains: by running statistics until a loss is added, then by
the totals of a batch, with a gradient that is a function of totals (numerics sections 5 and 7)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gvm.batch_normalization import KEEP_BITS
from gvm.errors import ImportModelError
from gvm.graph import Builder, Graph, Node, Parameter, Value
from gvm.normalization import epsilon_attributes
from gvm.operator import AttributeValue
from gvm.ops.batch_normalize import MEAN, TRAIN, USE, VARIANCE
from gvm.ops.batch_normalize_grad import OF_SCALE, OF_X
from gvm.types import DTYPES

if TYPE_CHECKING:
    from gvm.quantize import Quantizer

NAME, GRADIENT = "batch_normalize", "batch_normalize_grad"
SCALE_BITS = 8
"""Fraction bits of a scale's gradient beyond those of the deltas."""


def is_kind(node: Node, kind: int) -> bool:
    """Whether a node is a batch normalisation of this kind."""
    return node.op == NAME and node.attributes["kind"] == kind


def batch_normalized(
    g: Builder,
    x: Value,
    *,
    mean: Value,
    variance: Value,
    scale: Value,
    shift: Value,
    epsilon: float,
    keep: float,
    unbiased: bool = False,
    name: str = "",
) -> Value:
    """x [..., C] normalised for each channel: by the batch where its scale or shift trains, else by
    mean and variance, of which a step keeps the share ``keep``.

    Raises ImportModelError for an epsilon or a share that is none.
    """
    if not 0 <= keep < 1:
        raise ImportModelError(f"{name}: momentum must be in [0, 1), received {keep}")
    try:
        of_epsilon = epsilon_attributes(epsilon)
    except ValueError as error:
        raise ImportModelError(f"{name}: {error}") from error
    return int(
        g.batch_normalize(
            x,
            mean,
            variance,
            scale,
            shift,
            kind=USE,
            positions=math.prod(d for d in g.shape(x)[:-1] if d != -1),
            keep=min(round(keep * 2**KEEP_BITS), 2**KEEP_BITS - 1),
            unbiased=int(unbiased),
            **of_epsilon,
            name=name,
        )
    )


def example_count(g: Builder) -> Value:
    """The partial count of examples, the same for everyone who asks."""
    found = next((n.outputs[0] for n in g.nodes if n.op == "example_count"), None)
    return int(g.example_count()) if found is None else found


def with_batch_statistics(graph: Graph) -> Graph:
    """The graph whose batch normalisations with a trained scale or shift go by the totals of a
    batch; ``Graph.running`` says what they are in use."""
    trained = {p.value for p in graph.parameters if p.trainable}
    if not any(is_kind(n, USE) and trained.intersection(n.inputs[3:]) for n in graph.nodes):
        return graph
    g = Builder(replace(graph, nodes=()))
    owners: dict[Value, Value] = {}
    for node in graph.nodes:
        if not is_kind(node, USE) or not trained.intersection(node.inputs[3:]):
            g.append(node)
            continue
        x, mean, variance, scale, shift = node.inputs
        for v in (mean, variance, scale):
            if owners.setdefault(v, node.outputs[0]) != node.outputs[0]:
                name = graph.names.get(v, f"value {v}")
                raise ImportModelError(f"{name}: a batch normalisation trains in one place only")
        over = tuple(range(len(g.shape(x)) - 1))
        sums = [g.total(g.reduce_sum(y, axes=over, keepdims=0)) for y in (x, int(g.mul(x, x)))]
        inputs = (x, *sums, g.total(example_count(g)), scale, shift)
        attributes = {**node.attributes, "kind": TRAIN}
        g.append(replace(node, inputs=inputs, attributes=attributes))
        g.running[node.outputs[0]] = node
    return g.graph()


def gradients(g: Builder, node: Node, delta: Value) -> list[Value | None]:
    """The gradients of the operands of a batch normalisation in training. That of the scale is a
    function of totals."""
    if not is_kind(node, TRAIN):
        raise ImportModelError(
            f"{NAME}, node {node.name!r}: by running statistics it has no gradient; train its "
            "scale or shift, or only what comes behind it"
        )
    x, total, squares, count, scale, _ = node.inputs
    over = tuple(range(len(g.shape(x)) - 1))
    sums = [g.reduce_sum(y, axes=over, keepdims=0) for y in (delta, int(g.mul(delta, x)))]
    totals = (total, squares, *(g.total(v) for v in sums), count)
    given = {k: node.attributes[k] for k in _SHARED}
    of_x, of_scale = (
        g.node(GRADIENT, inputs, given | {"kind": kind})[0]
        for kind, inputs in ((OF_X, (*totals, scale, x, delta)), (OF_SCALE, totals))
    )
    return [of_x, None, None, None, of_scale, sums[0]]


_SHARED = ("positions", "epsilon_multiplier", "epsilon_exponent")


def summed(graph: Graph) -> dict[Value, str]:
    """What the totals of batch normalisations are sums of, and how it is read: x and its gradient
    as ``i16``, products of them as the ``i64`` that they are."""
    made, found = graph.producer(), {}
    for node in graph.nodes:
        if is_kind(node, TRAIN):
            totals = node.inputs[1:3]
        elif node.op == GRADIENT:
            totals = node.inputs[2:4]
        else:
            continue
        for v, dtype in zip(totals, ("i16", "i64"), strict=True):
            found[made[made[v].inputs[0]].inputs[0]] = dtype
    return found


def quantized(q: Quantizer, node: Node) -> None:
    """Adds the integer node of one in training, or of a gradient, to what ``q`` builds."""
    if node.op == NAME:
        _normalize(q, node)
        return
    (v,) = node.outputs
    sums = [q.exact_form(u) for u in node.inputs[:5]]
    if node.attributes["kind"] == OF_SCALE:
        bits = min(47, q.g.types[sums[2]].fraction_bits + SCALE_BITS)
        formats: dict[str, AttributeValue] = {"fraction_bits": bits}
        q.exact[v] = q.g.node(node.op, sums, {**node.attributes, **formats}, node.name)[0]
        return
    scale, x, delta = node.inputs[5:]
    inputs = [*sums, q.widest(scale), q.read(x, "i16"), q.read(delta, "i16")]
    _rounded(q, node, inputs)


def _rounded(q: Quantizer, node: Node, inputs: list[Value]) -> Value:
    (v,) = node.outputs
    dtype = "i32" if q.demand.get(v) == ["i32"] else "i16"
    formats: dict[str, AttributeValue] = {
        "dtype": DTYPES[dtype],
        "fraction_bits": q.bits(v, dtype),
        "rounding": 0,
    }
    (made,) = q.g.node(node.op, inputs, {**node.attributes, **formats}, node.name)
    q.rounded.setdefault(v, {})[dtype] = made
    return made


def _normalize(q: Quantizer, node: Node) -> None:
    """In training; what it is in use goes beside it, with running statistics in 32 bits: the mean
    with 16 bits more than x, of which it is one, the variance with room for that of any x."""
    x, total, squares, count, scale, shift = node.inputs
    of_x, of_scale, of_shift = q.read(x, "i16"), q.widest(scale), q.widest(shift)
    sums = [q.exact_form(v) for v in (total, squares, count)]
    made = _rounded(q, node, [of_x, *sums, of_scale, of_shift])
    used = q.real.running[node.outputs[0]]
    fx = q.g.types[of_x].fraction_bits
    statistics = [
        q.statistic(q.parameter_of(v), max(-32, min(47, bits)))
        for v, bits in zip(used.inputs[1:3], (fx + 16, 2 * fx + 1), strict=True)
    ]
    q.g.running[made] = replace(
        used,
        inputs=(of_x, *statistics, of_scale, of_shift),
        outputs=(made,),
        attributes={**q.g.maker[made].attributes, "kind": USE},
    )


def running_attributes(node: Node, parameter: Parameter, bits: int) -> dict[str, AttributeValue]:
    """The attributes of the step of a running statistic of ``node``, which is in use."""
    kind = MEAN if parameter.value == node.inputs[1] else VARIANCE
    of_result = {"dtype": DTYPES["i32"], "fraction_bits": bits, "rounding": 0}
    return {**node.attributes, "kind": kind, **of_result}
