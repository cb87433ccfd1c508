"""Resizing along axes: each a constant matrix product, or elements picked, for every importer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.parts import pick, repeat
from gvm.importers.shapes import Shapes

Reals = NDArray[np.float64]
MOST_RUNS = 64
"""Slices that picking elements of an axis may take; beyond, it is a matrix product."""
MOST_WEIGHTS = 2**20
"""Elements of such a matrix; beyond, it is slices again."""
MOST_SLICES = 4096


@dataclass(frozen=True)
class Sampling:
    """How the elements of one axis are made: ``size`` of them from ``length``.

    ``position`` gives the place in the input of element i of the result.
    """

    length: int
    size: int
    scale: float
    position: Callable[[Reals], Reals]

    def places(self) -> Reals:
        """Those of all elements; what is a half of a whole number but for an error of arithmetic
        is one, so that ties are ties."""
        exact = np.asarray(self.position(np.arange(self.size, dtype=np.float64)))
        halves = np.rint(2 * exact) / 2
        return np.where(np.abs(exact - halves) < 1e-9, halves, exact)

    def nearest(self, rounding: Callable[[Reals], Reals]) -> list[int]:
        at = np.clip(rounding(self.places()), 0, self.length - 1)
        return [int(i) for i in at]

    def weighted(
        self,
        kernel: Callable[[Reals], Reals],
        radius: float,
        antialias: bool = False,
        only_inside: bool = False,
    ) -> Reals:
        """Weights [size, length] of an interpolation: ``kernel`` of the distance, 0 from
        ``radius`` on. Elements outside are those at the edge, or left out."""
        stretch = min(1.0, self.scale) if antialias else 1.0
        reach = math.ceil(radius / stretch)
        places = self.places()
        first = np.floor(places) - reach + 1
        at = first[:, None] + np.arange(2 * reach)
        weights = kernel((at - places[:, None]) * stretch)
        inside = (at >= 0) & (at <= self.length - 1)
        if only_inside:
            weights = np.where(inside, weights, 0.0)
        if only_inside or antialias:
            weights = weights / weights.sum(axis=1, keepdims=True)
        made = np.zeros((self.size, self.length))
        rows = np.repeat(np.arange(self.size), 2 * reach)
        columns = np.clip(at, 0, self.length - 1).astype(np.int64).reshape(-1)
        np.add.at(made, (rows, columns), weights.reshape(-1))
        return made


def triangle(distance: Reals) -> Reals:
    """Linear interpolation."""
    return np.maximum(0.0, 1.0 - np.abs(distance))


def cubic(a: float) -> Callable[[Reals], Reals]:
    """Cubic convolution with this coefficient."""

    def kernel(distance: Reals) -> Reals:
        x = np.abs(distance)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((x - 5) * x + 8) * x * a - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel


def resample(t: Shapes, value: Value, matrices: dict[int, Reals], name: str) -> Value:
    """Along each axis the product with a matrix [size, length]; rounded once for each."""
    order = list(range(len(t.g.shape(value))))
    left = dict(matrices)
    while left:
        axis = next((a for a in (order[-2], order[-1]) if a in left), next(iter(left)))
        weights = Constant(np.ascontiguousarray(left.pop(axis).T), f"{name}/weights_{axis}")
        if order[-2] == axis:
            made = t.g.matmul(value, t.low.parameter(weights), transpose_a=1, name=name)
            order[-2:] = [order[-1], axis]
        else:
            to_last = [i for i in range(len(order)) if order[i] != axis] + [order.index(axis)]
            turned = t.low.transpose(value, to_last)
            order = [order[i] for i in to_last]
            made = t.g.matmul(turned, t.low.parameter(weights), name=name)
        value = int(made)
    return t.low.transpose(value, [order.index(i) for i in range(len(order))])


def take_elements(t: Shapes, value: Value, axis: int, wanted: Sequence[int], name: str) -> Value:
    """Elements of an axis by number; all of them repeated in place where it comes to that."""
    length = t.g.shape(value)[axis]
    times = len(wanted) // length if length > 0 else 0
    if times and list(wanted) == [i // times for i in range(length * times)]:
        each = [times if i == axis else 1 for i in range(len(t.g.shape(value)))]
        return repeat(t, value, each, outer=False)
    slices = runs(wanted)
    whole = t.g.types[value].dtype != "real"
    if slices <= MOST_RUNS or whole or len(wanted) * length > MOST_WEIGHTS:
        if slices > MOST_SLICES:
            raise Refusal(f"takes {len(wanted)} elements of {length} in {slices} slices; too many")
        return pick(t, value, axis, wanted)
    return resample(t, value, {axis: selection(wanted, length)}, name)


def selection(wanted: Sequence[int], length: int) -> Reals:
    """The matrix [len(wanted), length] that picks elements."""
    made = np.zeros((len(wanted), length))
    made[np.arange(len(wanted)), list(wanted)] = 1.0
    return made


def runs(wanted: Sequence[int]) -> int:
    """Slices that these elements are."""
    count, at = 0, 0
    while at < len(wanted):
        step = wanted[at + 1] - wanted[at] if at + 1 < len(wanted) else 1
        end = at + 1
        while step >= 1 and end < len(wanted) and wanted[end] - wanted[end - 1] == step:
            end += 1
        count, at = count + 1, end
    return count
