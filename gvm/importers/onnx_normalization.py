"""ONNX's normalisations over the axes of an example."""

from __future__ import annotations

import math

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import add, multiply
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.normalization import normalized
from gvm.importers.onnx_math import per_channel
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.shapes import Operand, Tensor, must_be_constant


@handles("LayerNormalization", "RMSNormalization")
def _layer_norm(
    t: Translator, node: Node, x: Operand, scale: Operand, shift: Operand | None = None
) -> Tensor | list[Tensor]:
    value = t.whole(x)
    rank = len(t.g.shape(value))
    first = node.integer("axis", -1) % rank
    axes, epsilon = range(first, rank), node.number("epsilon", 1e-5)
    centred = node.type == "LayerNormalization"
    made = multiply(t, node.name, Tensor(normalized(t.g, value, axes, epsilon, centred)), scale)
    made = made if shift is None else add(t, node.name, made, shift)
    if len(node.outputs) < 2:
        return made
    mean = t.low.mean(value, axes, True)
    spread = t.g.sub(value, mean)
    variance = t.low.mean(int(t.g.mul(spread, spread)), axes, True)
    inverse = t.low.unary("rsqrt", t.low.shift_by(variance, epsilon, f"{node.name}/epsilon"))
    return [made, Tensor(mean), Tensor(inverse)]


def _affine(t: Translator, node: Node, value: Value, scale: Operand, shift: Operand) -> Tensor:
    """A scale and a shift of each channel, the second axis."""
    if isinstance(scale, Constant) and isinstance(shift, Constant):
        return per_channel(
            t, Tensor(value), lambda v: t.low.bias(t.low.scale(v, scale, node.name), shift)
        )
    made = Tensor(value)
    column = [-1 if i == 1 else 1 for i in range(1, len(t.g.shape(value)))]
    for combine, given in ((multiply, scale), (add, shift)):
        if isinstance(given, Constant):
            made = combine(t, node.name, made, given.derive(given.data.reshape(column)))
        else:
            (channels,) = t.g.shape(t.whole(given))
            of_each = t.low.reshape(t.whole(given), [channels, *column[1:]])
            made = combine(t, node.name, made, Tensor(of_each))
    return made


@handles("InstanceNormalization")
def _instance_norm(t: Translator, node: Node, x: Operand, scale: Operand, shift: Operand) -> Tensor:
    value = t.whole(x)
    axes = range(2, len(t.g.shape(value)))
    made = normalized(t.g, value, axes, node.number("epsilon", 1e-5), True)
    return _affine(t, node, made, scale, shift)


@handles("GroupNormalization")
def _group_norm(t: Translator, node: Node, x: Operand, scale: Operand, shift: Operand) -> Tensor:
    value = t.whole(x)
    shape = t.g.shape(value)
    groups = node.integer("num_groups", 1)
    if groups < 1 or shape[1] % groups:
        raise Refusal(f"num_groups must divide the {shape[1]} channels, received {groups}")
    split = t.low.reshape(value, [shape[0], groups, math.prod(shape[1:]) // groups])
    made = normalized(t.g, split, (2,), node.number("epsilon", 1e-5), True)
    if node.version < 21:  # one scale for each group
        of_groups = [must_be_constant(c, "scale") for c in (scale, shift)]
        each = shape[1] // groups if of_groups[0].data.size == groups else 1
        scale, shift = (c.derive(np.repeat(c.data, each)) for c in of_groups)
    return _affine(t, node, t.low.reshape(made, shape), scale, shift)


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
