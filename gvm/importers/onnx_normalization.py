"""ONNX's normalisations over the axes of an example."""

from __future__ import annotations

import math

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.normalization import normalized
from gvm.importers.onnx_math import per_channel
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.shapes import Operand, Tensor, must_be_constant


@handles("LayerNormalization", "RMSNormalization")
def _layer_norm(
    t: Translator, node: Node, x: Operand, scale: Operand, shift: Operand | None = None
) -> Tensor:
    value = t.whole(x)
    rank = len(t.g.shape(value))
    first = node.integer("axis", -1) % rank
    made = normalized(
        t.g,
        value,
        range(first, rank),
        node.number("epsilon", 1e-5),
        node.type == "LayerNormalization",
        node.name,
    )
    made = t.low.scale(made, must_be_constant(scale, "scale"), node.name)
    return Tensor(made if shift is None else t.low.bias(made, must_be_constant(shift, "shift")))


def _affine(t: Translator, node: Node, value: Value, scale: Constant, shift: Constant) -> Tensor:
    """A scale and a shift of each channel, the second axis."""
    return per_channel(
        t, Tensor(value), lambda v: t.low.bias(t.low.scale(v, scale, node.name), shift)
    )


@handles("InstanceNormalization")
def _instance_norm(t: Translator, node: Node, x: Operand, scale: Operand, shift: Operand) -> Tensor:
    value = t.whole(x)
    axes = range(2, len(t.g.shape(value)))
    made = normalized(t.g, value, axes, node.number("epsilon", 1e-5), True)
    return _affine(
        t, node, made, must_be_constant(scale, "scale"), must_be_constant(shift, "shift")
    )


@handles("GroupNormalization")
def _group_norm(t: Translator, node: Node, x: Operand, scale: Operand, shift: Operand) -> Tensor:
    gamma, beta = must_be_constant(scale, "scale"), must_be_constant(shift, "shift")
    value = t.whole(x)
    shape = t.g.shape(value)
    groups = node.integer("num_groups", 1)
    if groups < 1 or shape[1] % groups:
        raise Refusal(f"num_groups must divide the {shape[1]} channels, received {groups}")
    split = t.low.reshape(value, [-1, groups, math.prod(shape[1:]) // groups])
    made = normalized(t.g, split, (2,), node.number("epsilon", 1e-5), True)
    # Up to operator set 20 there is one scale for each group.
    each = shape[1] // groups if gamma.data.size == groups else 1
    wide = [c.derive(np.repeat(c.data, each)) for c in (gamma, beta)]
    return _affine(t, node, t.low.reshape(made, shape), wide[0], wide[1])


@handles("MeanVarianceNormalization")
def _mean_variance(t: Translator, node: Node, x: Operand) -> Tensor:
    axes = node.integers("axes", (0, 2, 3))
    return Tensor(normalized(t.g, t.whole(x), axes, 0.0, True, node.name))


@handles("LpNormalization")
def _lp_norm(t: Translator, node: Node, x: Operand) -> Tensor:
    """x over the root of the sum of its squares, or over the sum of its sizes."""
    value = t.whole(x)
    shape = t.g.shape(value)
    axis = node.integer("axis", -1) % len(shape)
    if node.integer("p", 2) == 2:
        made = normalized(t.g, value, (axis,), 0.0, False)
        root = Constant(np.asarray([1 / math.sqrt(max(shape[axis], 1))]), f"{node.name}/root")
        return Tensor(t.low.scale(made, root, node.name))
    if shape[axis] == -1:
        raise Refusal("normalises over the batch; nearest supported form: the axes behind it")
    size = t.g.add(t.g.relu(value), t.g.relu(t.low.negative(value)))
    total = t.low.sum(int(size), (axis,), True)
    return Tensor(t.g.mul(value, t.low.unary("reciprocal", total), name=node.name))
