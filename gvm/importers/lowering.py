"""What importers share: named constants, and forms that are built from several operators."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.functions import BY_NAME
from gvm.graph import Builder, Value
from gvm.types import DTYPES

__all__ = ["Constant", "Lowering", "Refusal", "same_padding"]


class Refusal(Exception):
    """A node has no translation, for the reason given."""


@dataclass(frozen=True, eq=False)
class Constant:
    """An array known at import; ``trainable`` when it is, or derives from, a trained variable."""

    data: NDArray[Any]
    name: str
    trainable: bool = False
    derived: dict[tuple[Any, ...], Constant] = field(default_factory=dict, repr=False)

    def scalar(self) -> float | None:
        """The value when there is one element, else None."""
        return float(self.data.reshape(-1)[0]) if self.data.size == 1 else None

    def derive(self, data: NDArray[Any], suffix: str = "") -> Constant:
        """A constant computed from this one; computed twice, the same one."""
        array = np.ascontiguousarray(data)
        key = (suffix, str(array.dtype), array.shape, hashlib.blake2b(array.tobytes()).digest())
        if key not in self.derived:
            self.derived[key] = Constant(data, self.name + suffix, self.trainable)
        return self.derived[key]


MOST_WHOLE = 2**31 - 1
"""The largest whole number of a tensor."""


def same_padding(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """Borders of one axis that give ceil(size / stride) positions; the odd one comes after."""
    positions = -(-size // stride)
    total = max(0, (positions - 1) * stride + (window - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


class Lowering:
    """A graph under construction and the composite forms over it."""

    def __init__(self) -> None:
        self.g = Builder()
        self.not_finite: dict[str, str] = {}
        """Constants that hold NaN or infinity: name to a description of the first of them."""
        self.whole_numbers = False
        """Whether constants of an integer type stay whole numbers (i32), and truth values bool."""
        self._parameters: dict[tuple[int | str, tuple[int, ...], bool, bytes], Value] = {}
        self._names: set[str] = set()
        self._keep: list[Constant] = []

    def parameter(self, constant: Constant, data: NDArray[Any] | None = None) -> Value:
        """The parameter of a constant, its data perhaps reshaped; asked twice, the same one."""
        if constant.data.dtype.kind not in "biufV":  # V: bfloat16 and its kin
            raise Refusal(
                f"the constant {constant.name!r} must hold real numbers, "
                f"received {constant.data.dtype}"
            )
        array = np.asarray(constant.data if data is None else data, dtype=np.float64)
        key = (
            # What training leaves alone is one where name and numbers are: in each step of a loop.
            id(constant) if constant.trainable else constant.name,
            array.shape,
            self.whole_numbers,
            hashlib.blake2b(np.ascontiguousarray(array).data).digest(),
        )
        if key not in self._parameters:
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                at = tuple(int(i) for i in wrong[0])
                self.not_finite[constant.name] = f"{array[at]} at {list(at)}, {len(wrong)} in all"
                array = np.zeros_like(array)
            dtype = {"b": "bool", "i": "i32", "u": "i32"}.get(constant.data.dtype.kind, "real")
            if not self.whole_numbers or dtype == "real":
                dtype = "real"
            elif dtype == "i32" and array.size and np.abs(array).max() > MOST_WHOLE:
                raise Refusal(f"the constant {constant.name!r} must fit in 32 bits")
            self._parameters[key] = self.g.parameter(
                self.unique(constant.name), array, dtype, 0, constant.trainable
            )
            self._keep.append(constant)  # its id stays taken
        return self._parameters[key]

    def number(self, value: float, name: str = "number") -> Value:
        """A scalar that training leaves alone."""
        return self.parameter(Constant(np.asarray([value], dtype=np.float64), name))

    def whole(self, value: int, name: str = "number") -> Value:
        """A whole number of 32 bits."""
        return int(self.g.parameter(self.unique(name), np.asarray(value), "i32", 0, False))

    def unique(self, name: str) -> str:
        """A name that no parameter has yet."""
        unique, count = name, 0
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique

    def shape(self, value: Value) -> tuple[int, ...]:
        return self.g.shape(value)

    def unary(self, function: str, x: Value) -> Value:
        return int(self.g.unary(x, function=BY_NAME[function].number))

    def exact(self, x: Value) -> Value:
        """A sum or product of whole numbers as one of 32 bits; others as they are."""
        if self.g.types[x].dtype != "i64":
            return x
        return int(self.g.convert(x, dtype=DTYPES["i32"], fraction_bits=0))

    def is_whole(self, x: Value) -> bool:
        """Whether a value is of whole numbers."""
        return self.g.types[x].dtype in ("i16", "i32")

    def alike(self, values: Sequence[Value]) -> list[Value]:
        """Whole numbers of one width; others as they are."""
        if len({self.g.types[v].dtype for v in values}) == 1:
            return list(values)
        return [self.wide(v) for v in values]

    def wide(self, x: Value) -> Value:
        """Whole numbers of 32 bits; others as they are."""
        if self.g.types[x].dtype != "i16":
            return x
        return int(self.g.convert(x, dtype=DTYPES["i32"], fraction_bits=0))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """A change of shape; one that follows another becomes one with it."""
        node = self.g.maker.get(x)
        if node is not None and node.op == "reshape":
            x = node.inputs[0]
        if tuple(shape) == self.shape(x):
            return x
        return int(self.g.reshape(x, shape=tuple(shape))) if shape else self.scalar(x)

    def scalar(self, x: Value) -> Value:
        """The one element of a tensor, without axes."""
        axes = tuple(range(len(self.shape(x))))
        if self.g.types[x].dtype != "bool":
            return int(self.g.reduce_max(x, axes=axes, keepdims=0))
        one, zero = self.whole(1), self.whole(0)
        held = self.g.reduce_max(self.g.select(x, one, zero), axes=axes, keepdims=0)
        return int(self.g.compare(zero, held, relation=1))

    def transpose(self, x: Value, permutation: Sequence[int]) -> Value:
        """A transposition; one that undoes or follows another becomes one with it."""
        permutation = tuple(permutation)
        node = self.g.maker.get(x)
        if node is not None and node.op == "transpose":
            before = node.attributes["permutation"]
            assert isinstance(before, tuple)
            x, permutation = node.inputs[0], tuple(before[i] for i in permutation)
        if permutation == tuple(range(len(permutation))):
            return x
        return int(self.g.transpose(x, permutation=permutation))

    def bias(self, x: Value, constant: Constant, name: str = "") -> Value:
        """x + constant, a bias of the last axis where it is one."""
        shape = self.shape(x)
        data = _trim(constant.data)
        per_channel = data.ndim <= 1 or all(d == 1 for d in data.shape[:-1])
        if (
            len(shape) > 1
            and data.ndim <= len(shape)
            and per_channel
            and (data.size == shape[-1] or (data.size == 1 and not constant.trainable))
        ):
            whole = np.broadcast_to(data.reshape(-1), (shape[-1],))
            return self.exact(self.g.bias_add(x, self.parameter(constant, whole), name=name))
        return self.exact(self.g.add(x, self.parameter(constant, data), name=name))

    def scale(self, x: Value, constant: Constant, name: str = "") -> Value:
        """x * constant."""
        if constant.scalar() == 1.0 and not constant.trainable:
            return x
        return self.exact(self.g.mul(x, self.parameter(constant, _trim(constant.data)), name=name))

    def scale_by(self, x: Value, factor: float, name: str) -> Value:
        """x * factor; by the reciprocal of an integer, an exact division."""
        if factor == 1.0:
            return x
        if (
            0 < abs(factor) < 1
            and abs(1 / factor) <= 2**31
            and (1 / factor).is_integer()
            and factor > 0
        ):
            return int(self.g.divide(x, divisor=int(1 / factor)))
        return self.scale(x, Constant(np.asarray([factor]), name))

    def shift_by(self, x: Value, amount: float, name: str) -> Value:
        """x + amount."""
        return self.bias(x, Constant(np.asarray([amount]), name))

    def negative(self, x: Value) -> Value:
        if self.is_whole(x):
            return self.exact(self.g.sub(self.whole(0), x))
        return int(self.g.mul(x, self.number(-1.0, "minus_one")))

    def subtract_from(self, constant: Constant, x: Value) -> Value:
        """constant - x."""
        return self.exact(self.g.sub(self.parameter(constant, _trim(constant.data)), x))

    def relu6(self, x: Value, name: str) -> Value:
        """min(6, max(x, 0)); at 6 no gradient passes."""
        limit = self.parameter(Constant(np.asarray([6.0]), f"{name}/limit"))
        return int(self.g.minimum(limit, self.g.relu(x), name=name))

    def minimum(self, x: Value, limit: Constant) -> Value:
        """min(x, c)."""
        return int(self.g.minimum(x, self.parameter(limit, _trim(limit.data))))

    def maximum(self, x: Value, limit: Constant) -> Value:
        """max(x, c)."""
        if limit.scalar() == 0.0 and not limit.trainable:
            return int(self.g.relu(x))
        return int(self.g.maximum(x, self.parameter(limit, _trim(limit.data))))

    def leaky_relu(self, x: Value, slope: float, name: str) -> Value:
        """max(x, 0) + slope * min(x, 0) = slope * x + (1 - slope) * max(x, 0)."""
        kept = self.scale(x, Constant(np.asarray([slope]), f"{name}/slope"))
        added = self.scale(
            int(self.g.relu(x)), Constant(np.asarray([1.0 - slope]), f"{name}/one_minus_slope")
        )
        return int(self.g.add(kept, added))

    def elu(self, x: Value, name: str, alpha: float = 1.0, factor: float = 1.0) -> Value:
        """factor * (max(x, 0) + alpha * (exp(min(x, 0)) - 1))."""
        below = self.negative(int(self.g.relu(self.negative(x))))
        tail = self.shift_by(self.unary("exp", below), -1.0, f"{name}/minus_one")
        tail = self.scale(tail, Constant(np.asarray([alpha * factor]), f"{name}/alpha"))
        return int(
            self.g.add(
                self.scale(int(self.g.relu(x)), Constant(np.asarray([factor]), f"{name}/factor")),
                tail,
            )
        )

    def mean(self, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
        """The mean over axes that are not the batch."""
        shape = self.shape(x)
        count = math.prod(shape[a] for a in axes)
        total = self.sum(x, axes, keepdims)
        return total if count == 1 else int(self.g.divide(total, divisor=count))

    def sum(self, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
        if not axes:
            return x
        return self.exact(self.g.reduce_sum(x, axes=tuple(axes), keepdims=int(keepdims)))

    def max(self, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
        return int(self.g.reduce_max(x, axes=tuple(axes), keepdims=int(keepdims))) if axes else x


def _trim(data: NDArray[Any]) -> NDArray[Any]:
    """Without leading dimensions of 1, which broadcasting does not need."""
    shape = list(data.shape)
    while shape and shape[0] == 1 and (len(shape) > 1):
        shape.pop(0)
    return data.reshape(shape) if shape else data.reshape(1)
