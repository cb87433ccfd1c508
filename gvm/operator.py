"""What an operator is: one name, and this declaration of it.

``gvm/ops/<name>.py`` holds one :class:`Operator` subclass: its schema (opcode, inputs, attributes),
what it approximates
(:meth:`Operator.real`), what it is (:meth:`Operator.reference`), its gradient and its test cases.
Everything that lists operators reads
these files: the C++ table ``_core/ops.inc``, the manual, the tests, the importers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gvm.fixed import Clamps, Rounding, convert, quotient
from gvm.random import random_for_convert, random_for_quotient
from gvm.reads import Peek, Reads, Shapes, elementwise
from gvm.types import DTYPES, RANGE, Type

if TYPE_CHECKING:
    from gvm.graph import Builder, Value

AttributeValue = int | tuple[int, ...]
Attributes = Mapping[str, AttributeValue]
Integers = NDArray[Any]
"""Exact integers: an int64 array, or an object array of Python ints."""
Reals = NDArray[np.float64]


def integer(attributes: Attributes, name: str) -> int:
    """The value of an attribute that is one integer."""
    value = attributes[name]
    assert isinstance(value, int)
    return value


@dataclass(frozen=True)
class Attribute:
    """An integer attribute, or a list of integers when ``length`` is given as (shortest,
    longest)."""

    name: str
    minimum: int
    maximum: int
    doc: str
    default: AttributeValue | None = None
    length: tuple[int, int] | None = None


@dataclass(frozen=True)
class Input:
    """An operand: the element types it accepts, the one that quantisation prefers first."""

    name: str
    accepts: tuple[str, ...]
    doc: str


def dtype_attribute() -> Attribute:
    """The element type of a rounded result: i16 or i32 by its published number."""
    return Attribute("dtype", 1, 2, "element type of the result: 1 = i16, 2 = i32", default=1)


def fraction_bits_attribute() -> Attribute:
    """The format of a rounded result."""
    return Attribute("fraction_bits", -32, 47, "fraction bits F of the result", default=0)


def rounding_attribute(default: int = 0) -> Attribute:
    """How a result is rounded: to nearest, or stochastically with the Philox purpose of this
    number."""
    return Attribute(
        "rounding",
        0,
        4,
        "0 = nearest, half to even; else stochastic with this Philox purpose",
        default=default,
    )


@dataclass(frozen=True)
class Execution:
    """Where a reference computes: the batch shard, the random key and the types the loader
    derived."""

    input_types: tuple[Type, ...] = ()
    output_types: tuple[Type, ...] = ()
    local: int = 1
    """Examples at hand."""
    offset: int = 0
    """Global index of the first of them."""
    batch: int = 1
    """Global batch size of the step."""
    seed: int = 0
    step: int = 0
    site: int = 0
    clamps: Clamps = field(default_factory=Clamps)
    """Counts the elements that rounding has clamped."""

    def logical_index(self, type_: Type) -> Integers:
        """Row-major index in the logical tensor, with the global batch index, of each local element
        (numerics section 3)."""
        axis = type_.batch_axis
        if axis is None:
            return np.arange(int(np.prod(type_.shape, dtype=np.int64)), dtype=np.int64).reshape(
                type_.shape
            )
        whole = tuple(self.batch if d == -1 else d for d in type_.shape)
        index = np.arange(int(np.prod(whole, dtype=np.int64)), dtype=np.int64).reshape(whole)
        return index.take(np.arange(self.offset, self.offset + self.local), axis=axis)

    def convert(
        self, exact: Integers, fraction_bits: int, to: Type, rounding: int, site_offset: int = 0
    ) -> Integers:
        """Convert (numerics section 2) of exact integers at ``fraction_bits`` to the type
        ``to``."""
        shift = fraction_bits - to.fraction_bits
        mode, site = Rounding(rounding), self.site + site_offset

        def rounded(value: int, index: int) -> int:
            r = random_for_convert(self.seed, site, self.step, mode, shift, index)
            return convert(value, shift, mode, r, to.bits, self.clamps)

        return self._each(exact, to, rounded)

    def quotient(
        self,
        numerator: Integers,
        denominator: Integers | int,
        to: Type,
        rounding: int,
        site_offset: int = 0,
    ) -> Integers:
        """The rounded quotient (numerics section 2), clamped to the type ``to``; denominators >
        0."""
        whole = np.broadcast_to(np.asarray(denominator, dtype=object), numerator.shape)
        denominators = iter(whole.reshape(-1))
        mode, site = Rounding(rounding), self.site + site_offset

        def rounded(value: int, index: int) -> int:
            r = random_for_quotient(self.seed, site, self.step, mode, index)
            return quotient(value, int(next(denominators)), mode, r, to.bits, self.clamps)

        return self._each(numerator, to, rounded)

    def _each(self, exact: Integers, to: Type, function: Callable[[int, int], int]) -> Integers:
        indices = self.logical_index(to).reshape(-1)
        values = (
            function(int(value), int(index))
            for value, index in zip(exact.reshape(-1), indices, strict=True)
        )
        return np.fromiter(values, np.int64, exact.size).reshape(exact.shape)


@dataclass(frozen=True)
class Case:
    """One node to be tested: types, attributes, and either hand-worked integers or painted data."""

    name: str
    inputs: tuple[Type, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    data: tuple[Any, ...] | None = None
    """Integers of each input (batch axis filled in); None: the suite paints them, extremes
    included."""
    expected: tuple[Any, ...] | None = None
    """Hand-worked outputs."""
    local: int = 3
    offset: int = 2
    batch: int = 7
    low: int | None = None
    """Painted values of the last input (labels, a count) lie in [low, high]."""
    high: int | None = None


@dataclass(frozen=True)
class Invalid:
    """A node that must be refused, with the status and a part of the message."""

    name: str
    inputs: tuple[Type, ...]
    attributes: Mapping[str, AttributeValue]
    status: str
    message: str


class Operator(ABC):
    """The declaration of a primitive. The class docstring is its entry in the manual: formula,
    shapes, totality."""

    name: ClassVar[str]
    opcode: ClassVar[int]
    inputs: ClassVar[tuple[Input, ...]]
    variadic: ClassVar[int] = 0
    """When > 0, the last input may be repeated up to this many times in all."""
    outputs: ClassVar[int] = 1
    attributes: ClassVar[tuple[Attribute, ...]] = ()
    sites: ClassVar[int] = 0
    """Rounding sites that a node reserves."""
    result: ClassVar[Literal["exact", "keeps", "rounds", "discrete"]]
    """exact: i64 results that quantisation converts; keeps: the type of input ``keeps``; rounds:
    has dtype, fraction_bits, rounding; discrete: truth values (bool) or positions (i32), which
    approximate nothing."""
    keeps: ClassVar[int] = 0
    same_format: ClassVar[bool] = False
    """All inputs must share one type (concat)."""
    saturates: ClassVar[bool] = False
    """The gradient is dropped at the limits of the result (the Convert rule): true where a result
    is rounded and clamped."""
    units: ClassVar[float] = 0.0
    """How far ``reference`` may be from ``real`` in units of the result, beyond the half of a
    rounding."""
    relative: ClassVar[float] = 0.0
    """How far it may be beyond that, as a part of the result."""
    differentiable: ClassVar[bool] = True
    """False for gradients, updates and counts."""

    @staticmethod
    @abstractmethod
    def real(attributes: Attributes, *inputs: Reals) -> Reals | tuple[Reals, ...]:
        """What the operator approximates, in float64. Batched inputs hold their examples; the
        attributes are those of ``at_batch``."""

    @staticmethod
    @abstractmethod
    def reference(
        execution: Execution, attributes: Attributes, *inputs: Integers
    ) -> Integers | tuple[Integers, ...]:
        """What the operator is: plain exact integers, no blocking."""

    @staticmethod
    def reads(node: Shapes, output: int, at: tuple[int, ...], peek: Peek) -> Reads:
        """What the element ``at`` of a result is computed from (gvm/reads.py); element by element
        with operands that broadcast, where it says nothing else. ``peek``: for what is found by an
        index."""
        return elementwise(node, at)

    @staticmethod
    def gradient(
        g: Builder,
        node_inputs: Sequence[Value],
        output: Value,
        attributes: Attributes,
        delta: Value,
    ) -> Sequence[Value | None]:
        """The real-valued gradient of each input, as nodes added to ``g``; None where there is
        none."""
        raise NotImplementedError

    @staticmethod
    @abstractmethod
    def cases() -> Iterator[Case]:
        """Cases worked by hand first, then shapes at the boundaries of the kernels."""

    @staticmethod
    def invalid() -> Iterator[Invalid]:
        """Nodes that the loader must refuse."""
        return iter(())

    @classmethod
    def input_spec(cls, position: int) -> Input:
        """The declaration of an operand, the last one repeated for variadic operators."""
        return cls.inputs[min(position, len(cls.inputs) - 1)]

    @classmethod
    def accepted(cls, position: int, attributes: Attributes) -> tuple[str, ...]:
        """The element types that an operand accepts beside these attributes."""
        return cls.input_spec(position).accepts

    @staticmethod
    def growth(attributes: Attributes) -> float:
        """By what factor a result may exceed that of ``real``, of an operator that draws."""
        return 1.0

    @staticmethod
    def at_batch(attributes: Attributes, batch: int) -> Attributes:
        """The attributes with the batch in place of -1 in a ``shape``: what ``real`` is given."""
        shape = attributes.get("shape")
        if not isinstance(shape, tuple):
            return attributes
        return {**attributes, "shape": tuple(batch if d == -1 else d for d in shape)}

    @classmethod
    def complete(cls, given: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        """The attributes in schema order with defaults filled in; a missing or unknown one is a
        ValueError."""
        unknown = set(given) - {a.name for a in cls.attributes}
        if unknown:
            raise ValueError(f"{cls.name}: no attribute {sorted(unknown)[0]!r}")
        done: dict[str, AttributeValue] = {}
        for attribute in cls.attributes:
            value = given.get(attribute.name, attribute.default)
            if value is None:
                raise ValueError(f"{cls.name}: attribute {attribute.name!r} must be given")
            done[attribute.name] = (
                tuple(int(v) for v in value) if isinstance(value, tuple | list) else int(value)
            )
        return done


__all__ = [
    "DTYPES",
    "RANGE",
    "Attribute",
    "AttributeValue",
    "Attributes",
    "Case",
    "Execution",
    "Input",
    "Integers",
    "Invalid",
    "Operator",
    "Reals",
    "Type",
    "dtype_attribute",
    "fraction_bits_attribute",
    "integer",
    "rounding_attribute",
]
