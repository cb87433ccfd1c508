"""Normalisations: how importers build one, and how they find those that are spelled out.

Frameworks write a layer normalisation as a mean, differences, their squares, a second mean and a
root. ``fuse_normalizations`` finds such parts of a real-valued graph, in the spellings of Keras,
TensorFlow and PyTorch, and puts ``normalize`` in their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gvm.functions import BY_NAME
from gvm.gradients import kept_dims
from gvm.graph import Builder, Graph, Node, Value
from gvm.importers.lowering import Refusal
from gvm.normalization import epsilon_attributes

__all__ = ["fuse_normalizations", "normalized"]

SMALL_FLOOR, LARGE_CEILING = 1e-10, 1e10
"""A floor of a sum of squares and a ceiling of a reciprocal root that no format shows."""


def normalized(
    g: Builder, x: Value, axes: Sequence[int], epsilon: float, centred: bool, name: str = ""
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over any axes but the batch; not centred, x over the
    root of its mean square and epsilon."""
    rank = len(g.shape(x))
    axes = sorted(a % rank for a in axes)
    if g.types[x].batch_axis in axes:
        raise Refusal("normalises over the batch; nearest supported form: the axes behind it")
    try:
        of_epsilon = epsilon_attributes(epsilon)
    except ValueError as error:
        raise Refusal(str(error)) from error
    order = [*(i for i in range(rank) if i not in axes), *axes]
    turned = order != list(range(rank))
    if turned:
        x = int(g.transpose(x, permutation=tuple(order)))
    made = int(
        g.normalize(x, trailing_axes=len(axes), centred=int(centred), **of_epsilon, name=name)
    )
    if turned:
        back = tuple(order.index(i) for i in range(rank))
        made = int(g.transpose(made, permutation=back))
    return made


def fuse_normalizations(graph: Graph) -> Graph:
    """The same function, with ``normalize`` where a normalisation is spelled out; what it replaces
    is left behind unused."""
    return _Fuse(graph).run()


@dataclass(frozen=True)
class _Moment:
    """A mean of x, or of its squares, over axes that are kept; ``divisor`` 1 is a sum."""

    x: Value
    axes: tuple[int, ...]
    sign: int = 1


@dataclass(frozen=True)
class _Group:
    """What is normalised: x over these axes, with the epsilon; the result is times ``factor``."""

    x: Value
    axes: tuple[int, ...]
    centred: bool
    epsilon: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True)
class _Square:
    """The square of x, or of x less its mean over axes."""

    x: Value
    centred_over: tuple[int, ...] | None
    plain: Value
    """What was squared."""


@dataclass(frozen=True)
class _Root:
    """scale / sqrt(variance + epsilon), times a parameter where there is one."""

    of: _Group
    scale: Value | None = None


@dataclass(frozen=True)
class _Shift:
    """shift - mean * root: what Keras adds to x * root."""

    root: _Root
    shift: Value | None = None


@dataclass(frozen=True)
class _Product:
    """x * root, which is half of a normalisation that is centred."""

    root: _Root


@dataclass(frozen=True)
class _Variance:
    of: _Group


@dataclass(frozen=True)
class _Deviation:
    of: _Group


_Form = _Moment | _Square | _Variance | _Deviation | _Root | _Shift | _Product


class _Fuse:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parameters = {p.value: p for p in graph.parameters}
        self.producer = graph.producer()
        self.forms: dict[Value, _Form] = {}
        self.centred: dict[Value, _Moment] = {}
        """x - mean(x), by its value."""
        self.g = Builder()
        self.made: dict[Value, Value] = {}
        self.done: dict[_Group, Value] = {}

    def run(self) -> Graph:
        graph = self.graph
        for v in graph.inputs:
            given = graph.types[v]
            self.made[v] = self.g.input(graph.names.get(v, ""), given.shape, given.dtype)
        for p in graph.parameters:
            stated = graph.types[p.value]
            self.made[p.value] = self.g.parameter(
                p.name, p.data, stated.dtype, stated.fraction_bits, p.trainable
            )
        for node in graph.nodes:
            self._node(node)
        outputs = {n: tuple(self.made[v] for v in values) for n, values in graph.outputs.items()}
        return self.g.graph(**outputs)

    def _node(self, node: Node) -> None:
        found = self._normalization(node)
        if found is not None:
            (output,) = node.outputs
            self.made[output] = self._emit(found, node.name)
            return
        form = self._form(node)
        if form is not None:
            self.forms[node.outputs[0]] = form
        outputs = self.g.node(
            node.op, [self.made[v] for v in node.inputs], node.attributes, node.name
        )
        self.made.update(zip(node.outputs, outputs, strict=True))

    # Forms of values

    def _form(self, node: Node) -> _Form | None:
        match node.op:
            case "reduce_sum" | "divide" | "reshape":
                return self._reduced(node)
            case "sub":
                return self._limited(node) or self._difference(node)
            case "add" | "bias_add":
                return self._limited(node) or self._sum(node)
            case "mul":
                return self._product(node)
            case "unary":
                return self._rooted(node)
            case "maximum" | "minimum":
                return self._limited(node)
        return None

    def _number(self, v: Value) -> float | None:
        """The value of a parameter that is one number, and stays it."""
        p = self.parameters.get(v)
        if p is None or p.trainable or not (p.data == p.data.reshape(-1)[0]).all():
            return None
        return float(p.data.reshape(-1)[0])

    def _reduced(self, node: Node) -> _Form | None:
        """A mean, or the variance that a mean of squares is; a sum of squares is n variances."""
        total, count = node, 1
        if total.op == "reshape":  # of a reduction that dropped its axes
            total = self.producer.get(total.inputs[0], total)
        if total.op == "divide":
            divisor = total.attributes["divisor"]
            assert isinstance(divisor, int)
            count, total = divisor, self.producer.get(total.inputs[0], total)
        if total.op != "reduce_sum":
            return None
        axes = total.attributes["axes"]
        assert isinstance(axes, tuple)
        shape = self.graph.types[total.inputs[0]].shape
        n = math.prod(shape[a] for a in axes)
        if self.graph.types[node.outputs[0]].shape != kept_dims(shape, axes) or n < 1:
            return None
        x = total.inputs[0]
        square = self.forms.get(x)
        if not isinstance(square, _Square) or count not in (1, n):
            return _Moment(x, axes) if count == n else None
        factor = 1.0 if count == n else 1 / math.sqrt(n)
        if square.centred_over == axes:
            return _Variance(_Group(square.x, axes, True, 0.0, factor))
        return _Variance(_Group(square.plain, axes, False, 0.0, factor))

    def _difference(self, node: Node) -> _Form | None:
        """x - mean(x), or shift - mean * root."""
        a, b = node.inputs
        right = self.forms.get(b)
        if isinstance(right, _Moment) and right.x == a and right.sign == 1:
            self.centred[node.outputs[0]] = right
        if isinstance(right, _Shift) and right.shift is None and a in self.parameters:
            # The shift of mean * root was noted with the sign of a product: turned around here.
            return replace(right, shift=a) if self._is_positive(b) else None
        return None

    def _is_positive(self, v: Value) -> bool:
        """Whether a product of a mean and a root has the sign of the mean."""
        node = self.producer[v]
        return any(
            isinstance(form := self.forms.get(x), _Moment) and form.sign == 1 for x in node.inputs
        )

    def _sum(self, node: Node) -> _Form | None:
        for x, p in (node.inputs, node.inputs[::-1]):
            form = self.forms.get(x)
            number = self._number(p)
            if isinstance(form, _Variance) and number is not None and form.of.epsilon == 0:
                # n variances and an epsilon are n times the variance and epsilon / n.
                return _Variance(replace(form.of, epsilon=number * form.of.factor**2))
            if (
                isinstance(form, _Shift)
                and form.shift is None
                and p in self.parameters
                and not self._is_positive(x)
            ):
                return replace(form, shift=p)
            if isinstance(form, _Moment) and form.sign == -1 and form.x == p:
                self.centred[node.outputs[0]] = replace(form, sign=1)
        return None

    def _product(self, node: Node) -> _Form | None:
        a, b = node.inputs
        if a == b or (a in self.centred and self.centred[a] == self.centred.get(b)):
            mean = self.centred.get(a)
            return _Square(mean.x if mean else a, mean.axes if mean else None, a)
        for x, other in ((a, b), (b, a)):
            left, right = self.forms.get(x), self.forms.get(other)
            if isinstance(left, _Moment) and self._number(other) == -1:
                return replace(left, sign=-left.sign)
            if isinstance(left, _Root) and left.scale is None and other in self.parameters:
                return replace(left, scale=other)
            if isinstance(right, _Root) and right.of.centred:
                if isinstance(left, _Moment) and (left.x, left.axes) == (right.of.x, right.of.axes):
                    return _Shift(right)
                if x == right.of.x:
                    return _Product(right)
        return None

    def _rooted(self, node: Node) -> _Form | None:
        of = self.forms.get(node.inputs[0])
        function = node.attributes["function"]
        if isinstance(of, _Variance) and function == BY_NAME["rsqrt"].number:
            return _Root(of.of)
        if isinstance(of, _Variance) and function == BY_NAME["sqrt"].number:
            return _Deviation(of.of)
        if isinstance(of, _Deviation) and function == BY_NAME["reciprocal"].number:
            return _Root(of.of)
        return None

    def _limited(self, node: Node) -> _Form | None:
        """A floor of what a root is taken of, or a ceiling of its reciprocal, that never shows."""
        is_floor = node.op in ("maximum", "add", "bias_add")
        for x, p in (node.inputs, node.inputs[::-1]):
            number = self._number(p)
            if number is None:
                continue
            form = self.forms.get(x if node.op in ("maximum", "minimum") else self._above(x, p))
            if is_floor and 0 <= number <= SMALL_FLOOR and isinstance(form, _Variance | _Deviation):
                return form
            if not is_floor and number >= LARGE_CEILING and isinstance(form, _Root):
                return form
        return None

    def _above(self, v: Value, limit: Value) -> Value:
        """x of relu(x - limit) or relu(limit - x), of which importers make limits."""
        relu = self.producer.get(v)
        inner = self.producer.get(relu.inputs[0]) if relu and relu.op == "relu" else None
        if inner is None or inner.op not in ("sub", "add", "bias_add") or limit not in inner.inputs:
            return v
        return inner.inputs[0] if inner.inputs[1] == limit else inner.inputs[1]

    # Whole normalisations

    def _normalization(self, node: Node) -> _Shift | None:
        """What a node is the end of: a root and perhaps a shift."""
        if node.op not in ("mul", "add", "sub"):
            return None
        for x, y in (node.inputs, node.inputs[::-1]):
            left, right = self.forms.get(x), self.forms.get(y)
            if node.op == "mul" and isinstance(right, _Root):
                mean = self.centred.get(x)
                group = right.of
                if not group.centred and x == group.x:
                    return _Shift(right)
                if group.centred and mean and (mean.x, mean.axes) == (group.x, group.axes):
                    return _Shift(right)
            if not isinstance(left, _Product) or not isinstance(right, _Shift):
                continue
            negative = right.shift is not None or not self._is_positive(y)
            if (
                left.root == right.root
                and negative == (node.op == "add")
                and (node.op == "add" or x == node.inputs[0])
            ):
                return right
        return None

    def _emit(self, found: _Shift, name: str) -> Value:
        group, scale, shift = found.root.of, found.root.scale, found.shift
        if group not in self.done:
            made = normalized(self.g, self.made[group.x], group.axes, group.epsilon, group.centred)
            if group.factor != 1.0:
                factor = self.g.parameter(
                    f"{name}/factor", np.asarray([group.factor]), trainable=False
                )
                made = int(self.g.mul(made, factor))
            self.done[group] = made
        made = self.done[group]
        if scale is not None:
            made = int(self.g.mul(made, self.made[scale], name="" if shift else name))
        if shift is not None:
            shape = self.graph.types[shift].shape
            per_channel = shape == self.g.shape(made)[-1:]
            add = self.g.bias_add if per_channel else self.g.add
            made = int(add(made, self.made[shift], name=name))
        return made
