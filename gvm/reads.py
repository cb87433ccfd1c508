"""What one element of a result is computed from: the part of an operator that a referee needs.

Beside its operator stands ``Operator.reads``: for one element of a result either a :class:`Sum`, an
exact sum of products whose terms may be taken in any parts, or a :class:`Part`, a small node of the
same operator whose operands are boxes cut out of the whole ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
Shape = tuple[int, ...]
Peek = Callable[[int, int], int]
"""The value of one element: input, row-major index."""
Box = tuple[range, ...]
"""Indices along each axis of a tensor."""


@dataclass(frozen=True)
class Shapes:
    """A node with the shapes that its operands and results have in one step."""

    attributes: Mapping[str, int | tuple[int, ...]]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    def integer(self, name: str) -> int:
        """The value of an attribute that is one integer."""
        value = self.attributes[name]
        if not isinstance(value, int):
            raise TypeError(f"{name}: one integer is needed, received {value}")
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """The value of an attribute that is a list."""
        value = self.attributes[name]
        if isinstance(value, int):
            raise TypeError(f"{name}: a list is needed, received {value}")
        return value


@dataclass(frozen=True)
class Factor:
    """Which element of an input a term takes: ``base`` plus the sum of ``steps`` times the term's
    coordinates."""

    input: int
    base: int
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sum:
    """The exact sum over all terms of the products of the factors; of no terms it is 0."""

    terms: tuple[int, ...]
    """Extents: a term has a coordinate along each; their order is row-major."""
    factors: tuple[Factor, ...]
    where: Factor | None = None
    """Only terms whose element here is ``equals``."""
    equals: int = 0

    @property
    def count(self) -> int:
        """Terms."""
        return math.prod(self.terms)

    @property
    def all_factors(self) -> tuple[Factor, ...]:
        """The factors, and what chooses the terms."""
        return self.factors if self.where is None else (*self.factors, self.where)

    def indices(self, factor: Factor, first: int, last: int) -> Index:
        """The elements that terms [first, last) take by a factor."""
        terms = np.arange(first, last, dtype=np.int64)
        index = np.full(len(terms), factor.base, np.int64)
        for extent, step in zip(reversed(self.terms), reversed(factor.steps), strict=True):
            index += terms % extent * step
            terms //= extent
        return index

    def value(self, read: Callable[[int, Index], Sequence[int]], first: int, last: int) -> int:
        """The sum of terms [first, last); ``read`` gives elements of an input."""
        if first == last:
            return 0
        columns = [read(f.input, self.indices(f, first, last)) for f in self.factors]
        chosen: Sequence[bool] = [True] * (last - first)
        if self.where is not None:
            index = read(self.where.input, self.indices(self.where, first, last))
            chosen = [int(i) == self.equals for i in index]
        terms = zip(chosen, *columns, strict=True)
        return sum(math.prod(int(v) for v in factors) for use, *factors in terms if use)


@dataclass(frozen=True)
class Part:
    """A node on boxes of the operands, of which one result is a box of the results."""

    inputs: tuple[Box, ...]
    output: Box
    needed: tuple[Box, ...] | None = None
    """What of the boxes is read; the rest may be anything, and is 0. None: all."""
    attributes: Mapping[str, int | tuple[int, ...]] | None = None
    """Those of the small node; None: those of the whole."""

    def indices(self, position: int, shape: Shape) -> Index:
        """The elements of an input that are read, row-major."""
        boxes = self.inputs if self.needed is None else self.needed
        return box_indices(boxes[position], shape)


Reads = Sum | Part


def box_indices(box: Box, shape: Shape) -> Index:
    """Row-major indices of a box of a tensor, in row-major order."""
    index = np.zeros((1,) * len(shape), np.int64)
    for axis, (along, stride) in enumerate(zip(box, strides(shape), strict=True)):
        place = [1] * len(shape)
        place[axis] = len(along)
        index = index + np.array(along, np.int64).reshape(place) * stride
    return index.reshape(-1)


def box_shape(box: Box) -> Shape:
    """Elements along each axis."""
    return tuple(len(along) for along in box)


def strides(shape: Shape) -> Shape:
    """Elements from one index to the next along each axis."""
    made, stride = [], 1
    for extent in reversed(shape):
        made.append(stride)
        stride *= extent
    return tuple(reversed(made))


def flat(at: Shape, shape: Shape) -> int:
    """The row-major index of a place."""
    return sum(i * s for i, s in zip(at, strides(shape), strict=True))


def unflat(index: int, shape: Shape) -> Shape:
    """The place of a row-major index."""
    return tuple(int(i) for i in np.unravel_index(index, shape)) if shape else ()


def point(at: Shape) -> Box:
    """The box of one element."""
    return tuple(range(i, i + 1) for i in at)


def along(at: Shape, axes: Sequence[int], shape: Shape) -> Box:
    """The box through a place that is whole along some axes."""
    return tuple(
        range(n) if a in axes else range(i, i + 1)
        for a, (i, n) in enumerate(zip(at, shape, strict=True))
    )


def elementwise(node: Shapes, at: Shape) -> Part:
    """One element of each operand, which broadcast."""
    boxes = []
    for shape in node.inputs:
        tail = at[len(at) - len(shape) :]
        boxes.append(point(tuple(0 if n == 1 else i for i, n in zip(tail, shape, strict=True))))
    return Part(tuple(boxes), point(at))


def copied(position: int, index: int) -> Sum:
    """An element that is that of an input."""
    return Sum((), (Factor(position, index),))


NOTHING = Sum((0,), ())
"""An element that is 0 whatever the operands."""


def reduced(at: Shape, axes: Sequence[int], keepdims: bool, shape: Shape) -> Shape:
    """The first of the places of an operand that a reduction over axes joins in a result."""
    if keepdims:
        return at
    rest = iter(at)
    return tuple(0 if a in axes else next(rest) for a in range(len(shape)))


def through(node: Shapes, at: Shape, axes: Sequence[int], needed: bool = True) -> Part:
    """Operands and results of one shape, whole along some axes; ``needed``: all of them is read,
    else the element alone."""
    shape = node.outputs[0]
    boxes = tuple(along(at, axes, shape) for _ in node.inputs)
    return Part(boxes, along(at, axes, shape), None if needed else (point(at),) * len(boxes))


def example(node: Shapes, at: Shape) -> Part:
    """All that the operands have of one example, for results of an element or more for each."""
    boxes = tuple(along((at[0], *(0,) * (len(s) - 1)), range(1, len(s)), s) for s in node.inputs)
    shape = node.outputs[0]
    return Part(boxes, along(at, range(1, len(shape)), shape))


def plane(at: Shape, shape: Shape) -> Box:
    """Height and width of one channel of one image of [B, H, W, C]."""
    return along((at[0], 0, 0, at[3]), (1, 2), shape)
