"""Shapes in which the batch is a symbol: what importers know of a tensor, and how they reshape one.

Three kinds of value meet in an importer: tensors of the graph, constants, and integers worked out
of shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Lowering, Refusal


@dataclass(frozen=True)
class Batch:
    """A dimension that is a multiple of the batch size."""

    times: int

    def __mul__(self, other: int) -> Batch:
        if not isinstance(other, (int, np.integer)):
            raise Refusal("multiplies the batch size by itself")
        return Batch(self.times * int(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Batch) -> int | Batch:
        if isinstance(other, Batch) and self.times % other.times == 0:
            return self.times // other.times
        if not isinstance(other, (int, np.integer)) or self.times % int(other):
            raise Refusal("divides the batch size")
        return Batch(self.times // int(other))


@dataclass(frozen=True, eq=False)
class Dimensions:
    """Integers of which at least one is a :class:`Batch`: an object array."""

    data: NDArray[Any]


@dataclass(frozen=True)
class Merged:
    """Axes around the batch that are one axis of the source: so many in front of it, and so many
    with it."""

    front: int = 0
    count: int = 1


ALONE = Merged()
"""The batch is an axis of its own."""


@dataclass(frozen=True)
class Tensor:
    """A value of the graph, and which of its axes are one of the source's."""

    value: Value
    merged: Merged = ALONE
    kind: str = ""
    """The source's type of whole numbers, by NumPy's name, where it is known."""


@dataclass(frozen=True)
class Opaque:
    """A result that some operators read in a form of their own; for the others it is made on
    demand, or cannot be, for a reason."""

    readers: tuple[str, ...]
    reason: str
    make: Callable[[], Tensor] | None = None

    def tensor(self) -> Tensor:
        if self.make is None:
            raise Refusal(self.reason)
        return self.make()


@dataclass(frozen=True)
class Uniform:
    """A tensor that holds one number everywhere; one of its ``dims`` is a :class:`Batch`."""

    number: float
    dims: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class TensorList:
    """A list whose length is known; None is an element that was never set."""

    elements: tuple[Any, ...]


class Poison:
    """Stands for the outputs of a node that has no translation."""


POISON = Poison()
Operand = Tensor | Constant | Dimensions


class Shapes:
    """A graph under construction, and the shapes of its values as the source sees them."""

    def __init__(self) -> None:
        self.low = Lowering()
        self.g = self.low.g
        self.stored_batch: int | None = None
        """The batch size that the source's inputs state, where they do."""
        self.hyperbolic: dict[Value, tuple[str, Value]] = {}
        """Sines and cosines, and what they are of: their quotient is a tangent."""

    def batch_axis(self, value: Value) -> int | None:
        """Where the batch is; None in a model without one."""
        shape = self.g.shape(value)
        return shape.index(-1) if -1 in shape else None

    def dims(self, x: Tensor) -> list[Any]:
        """The source's shape of a tensor."""
        shape: list[Any] = list(self.g.shape(x.value))
        if -1 not in shape:
            return shape
        start, end = self.span(x)
        batch = Batch(-math.prod(shape[start:end]))
        return [*shape[:start], batch, *shape[end:]]

    def span(self, x: Tensor) -> tuple[int, int]:
        """First and last axis, and one more, of those that are the source's batch axis."""
        start = self.g.shape(x.value).index(-1) - x.merged.front
        return start, start + x.merged.count

    def permute(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """The source's transposition; axes that are merged move together."""
        rank = len(self.g.shape(x.value))
        if -1 not in self.g.shape(x.value):
            return Tensor(self.low.transpose(x.value, order))
        start, end = self.span(x)
        groups = [[i] for i in range(start)] + [list(range(start, end))]
        groups += [[i] for i in range(end, rank)]
        whole = [i for axis in order for i in groups[axis]]
        return Tensor(self.low.transpose(x.value, whole), x.merged)

    def shape_of(self, kind: str, x: Operand | Uniform) -> Operand:
        if isinstance(x, Tensor):
            dims = self.dims(x)
        else:
            dims = list(x.dims if isinstance(x, Uniform) else x.data.shape)
        if kind == "Rank":
            return Constant(np.asarray(len(dims)), "rank")
        if kind == "Size":
            size: Any = 1
            for d in dims:
                size = size * d
            dims = [size]
        array = np.empty(len(dims), dtype=object)
        array[:] = dims
        return integers(array if kind == "Shape" else array.reshape(()))

    def spread(self, x: Uniform) -> Tensor:
        """The tensor itself."""
        shape: list[int] = []
        merged = ALONE
        for d in x.dims:
            if isinstance(d, Batch):
                shape += [-1] if d.times == 1 else [-1, d.times]
                merged = ALONE if d.times == 1 else Merged(0, 2)
            else:
                shape.append(int(d))
        number = self.low.number(x.number, f"constant/{x.number:g}")
        return Tensor(self.g.broadcast_to(number, shape=tuple(shape)), merged)

    def reshape(self, x: Tensor, target: Sequence[Any]) -> Tensor:
        """The source's reshape; -1 is worked out, a stored batch size becomes the batch."""
        source = self.g.shape(x.value)
        if -1 not in source:
            return Tensor(self.low.reshape(x.value, _definite(target, math.prod(source))))
        axis = source.index(-1)
        total = math.prod(source[:axis]) * math.prod(source[axis + 1 :])
        wanted = self._with_batch(list(target), total)
        at = next(i for i, d in enumerate(wanted) if isinstance(d, Batch))
        before, rest = [int(d) for d in wanted[:at]], [int(d) for d in wanted[at + 1 :]]
        times = wanted[at].times
        if math.prod(before) * times * math.prod(rest) != total:
            raise Refusal(
                f"reshapes {text_of(self.dims(x))} to {text_of(target)}: the sizes differ"
            )
        if math.prod(before) != math.prod(source[:axis]):
            made = self._with_front(x.value, before, times, rest)
            if made is None:
                raise Refusal(
                    f"reshapes {text_of(self.dims(x))} to {text_of(target)}: "
                    "the batch must stay an axis of its own or merge with those beside it"
                )
            return made
        if times == 1:
            return Tensor(self.low.reshape(x.value, [*before, -1, *rest]))
        kept = source[axis : len(source) - len(rest)]
        same = source[:axis] == tuple(before) and source[axis + len(kept) :] == tuple(rest)
        if same and math.prod(kept[1:]) == times:
            return Tensor(x.value, Merged(0, len(kept)))
        return Tensor(self.low.reshape(x.value, [*before, -1, times, *rest]), Merged(0, 2))

    def _with_front(
        self, value: Value, before: list[int], times: int, rest: list[int]
    ) -> Tensor | None:
        """A reshape that merges the batch with axes in front of it, and perhaps behind."""
        source = self.g.shape(value)
        axis = source.index(-1)
        front, odd = divmod(math.prod(source[:axis]), math.prod(before))
        behind, more = divmod(times, front or 1)
        if front == 0 or odd or more or math.prod(source[axis + 1 :]) != behind * math.prod(rest):
            return None
        inner = [] if behind == 1 else [behind]
        made = self.low.reshape(value, [*before, front, -1, *inner, *rest])
        return Tensor(made, Merged(1, 2 + len(inner)))

    def _with_batch(self, wanted: list[Any], total: int) -> list[Any]:
        free = [i for i, d in enumerate(wanted) if not isinstance(d, Batch) and d == -1]
        batches = [d for d in wanted if isinstance(d, Batch)]
        known = math.prod(
            int(d) for i, d in enumerate(wanted) if not isinstance(d, Batch) and i not in free
        )
        if len(batches) > 1 or len(free) > 1 or known == 0:
            raise Refusal(f"reshapes to {text_of(wanted)}, which is not definite")
        if batches:
            rest = batches[0].times * known
        elif free and total % known == 0 and (total == known or wanted[0] != self.stored_batch):
            wanted[free[0]] = Batch(total // known)
            return wanted
        elif self.stored_batch is not None and wanted and wanted[0] == self.stored_batch:
            wanted[0], rest = Batch(1), known // self.stored_batch
        else:
            raise Refusal(
                f"reshapes to {text_of(wanted)}: no axis is the batch; nearest supported form: -1"
            )
        if free:
            if total % rest:
                raise Refusal(f"reshapes to {text_of(wanted)}: {total} elements do not divide")
            wanted[free[0]] = total // rest
        return wanted

    def whole(self, x: Operand) -> Value:
        """The value of a tensor whose axes are the source's."""
        if not isinstance(x, Tensor):
            raise Refusal(
                "supported with a constant in this place only when the other operand is one too"
            )
        if x.merged != ALONE:
            raise Refusal(
                "the batch is merged with another axis; nearest supported form: the same before"
            )
        return x.value

    def axes(self, x: Tensor, given: Operand) -> tuple[int, ...]:
        """Axes to reduce over, none of them the batch, as axes of the value."""
        rank = len(self.dims(x))
        wrong = [a for a in integers_of(given) if not -rank <= a < max(rank, 1)]
        if wrong:
            raise Refusal(f"axes must be in [{-rank}, {rank - 1}], received {wrong[0]}")
        found = sorted({int(a) % max(rank, 1) for a in integers_of(given)} if rank else ())
        if self.batch_axis(x.value) is None:
            return tuple(found)
        batch, end = self.span(x)
        if batch in found:
            raise Refusal(
                "reduces over the batch; nearest supported form: the same over the other axes"
            )
        return tuple(a if a < batch else a + end - batch - 1 for a in found)


def _definite(target: Sequence[Any], total: int) -> list[int]:
    """A shape with its -1 worked out."""
    wanted = [int(d) for d in target]
    free = [i for i, d in enumerate(wanted) if d == -1]
    known = math.prod(d for d in wanted if d != -1)
    if len(free) > 1 or known == 0 or total % known or (not free and known != total):
        raise Refusal(f"reshapes {total} elements to {text_of(target)}")
    for i in free:
        wanted[i] = total // known
    return wanted


def text_of(dims: Sequence[Any]) -> str:
    return (
        "["
        + ", ".join(
            "batch" + (f"*{d.times}" if d.times != 1 else "") if isinstance(d, Batch) else str(d)
            for d in dims
        )
        + "]"
    )


def objects_of(x: Operand) -> NDArray[Any]:
    if isinstance(x, Tensor):
        raise Refusal("works out a shape from values")
    return x.data.astype(object)


def integers(array: NDArray[Any]) -> Operand:
    """Integers as a constant once none of them is the batch."""
    if any(isinstance(d, Batch) for d in array.reshape(-1)):
        return Dimensions(array)
    return Constant(array.astype(np.int64), "shape")


def integers_of(x: Operand) -> list[int]:
    if not isinstance(x, Constant):
        raise Refusal("needs constant integers, received values that depend on the input")
    return [int(v) for v in x.data.reshape(-1)]


def must_be_constant(x: Operand, what: str) -> Constant:
    if not isinstance(x, Constant):
        raise Refusal(f"the {what} must be constant, it depends on the input")
    return x
