"""Every node that the core accepts is executed as it is defined: random formats, bounds, shapes and
attributes far from those of the cases, at the limits of their types, on every CPU level."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gvm import _core
from gvm.errors import ProgramError
from gvm.fixed import Clamps, Rounding, convert, quotient
from gvm.operator import Attribute, AttributeValue, Case, Operator
from gvm.ops import OPERATORS
from gvm.random import random_for_convert, random_for_quotient
from gvm.types import Type, i16, i32, i64
from tests import operator_suite as suite
from tests.operator_suite import Array, Attributes

FRACTION_BITS = (-32, -31, -8, -1, 0, 1, 8, 12, 19, 20, 24, 31, 32, 40, 46, 47)
SIZES = (1, 2, 3, 5, 8, 9, 17, 33, -1)
LARGE = (-1, 1, 3, 2**16, 2**21, 2**22, 2**31 - 1, 2**31, 2**41, 2**42 - 1, 2**42)
MOST = 4000
"""Elements of a case: references are slow."""


def some(rng: random.Random, a: Attribute) -> int:
    """A value of an attribute, often at the ends of its range."""
    near = rng.randint(a.minimum, min(a.maximum, a.minimum + 64))
    return rng.choice((a.minimum, a.maximum, near, rng.randint(a.minimum, a.maximum)))


def elsewhere(rng: random.Random, operator: type[Operator], case: Case) -> tuple[Case, Attributes]:
    """The case after some changes; most are still accepted."""
    inputs = list(case.inputs)
    attributes: Attributes = operator.complete(case.attributes)
    batch = rng.randrange(1, 9)
    local = rng.randrange(1, batch + 1)
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(5)
        if kind == 0 and operator.attributes:
            a = rng.choice(operator.attributes)
            attributes[a.name] = replaced(rng, attributes[a.name], a)
        if not inputs:
            continue
        i = rng.randrange(len(inputs))
        t = inputs[i]
        if kind == 1:
            inputs[i] = replace(t, fraction_bits=rng.choice(FRACTION_BITS))
        elif kind == 2:
            inputs[i] = replace(t, dtype=rng.choice(operator.input_spec(i).accepts), bound=0)
        elif kind == 3 and t.dtype == "i64" and t.shape:
            inputs[i] = replace(t, bound=rng.choice((1, 255, 2**31, rng.getrandbits(62) | 1)))
        elif kind == 4 and t.shape:
            inputs = resized(rng, inputs, rng.choice(t.shape), rng.choice(SIZES))
    made = replace(case, inputs=tuple(inputs), local=local, batch=batch, data=None, expected=None)
    return replace(made, offset=rng.randrange(batch - local + 1)), attributes


def replaced(rng: random.Random, value: AttributeValue, a: Attribute) -> AttributeValue:
    if not isinstance(value, tuple):
        return some(rng, a)
    items = list(value)
    if items:
        items[rng.randrange(len(items))] = some(rng, a)
    return tuple(items)


def resized(rng: random.Random, inputs: Sequence[Type], old: int, new: int) -> list[Type]:
    """Another size for a dimension, nearly everywhere."""
    return [
        replace(t, shape=tuple(new if d == old and rng.randrange(6) else d for d in t.shape))
        for t in inputs
    ]


def size(types: Sequence[Type], batch: int) -> int:
    return sum(int(np.prod([float(d) for d in t.concrete(batch)])) for t in types)


def outcome(call: Callable[..., tuple[list[Array], int]], *arguments: Any) -> Any:
    """Outputs and clamps, or the name of the refusal."""
    try:
        outputs, clamps = call(*arguments)
    except (ProgramError, ValueError) as error:
        # A reference may refuse an index with a ValueError.
        return getattr(error, "name", "bad_input")
    return [a.tolist() for a in outputs], clamps


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_what_is_accepted_is_executed(name: str) -> None:
    operator = OPERATORS[name]
    rng = random.Random(name)
    cases = [c for c in operator.cases() if size(c.inputs, 8) <= MOST]
    executed = 0
    for _ in range(400):
        case, attributes = elsewhere(rng, operator, rng.choice(cases))
        try:
            outputs = suite.infer(operator, case.inputs, attributes)
        except ProgramError:
            continue
        if size([*case.inputs, *outputs], case.local) > MOST:
            continue
        data = suite.paint(case, rng.choice(suite.KINDS))
        wanted = outcome(suite.reference, operator, case, attributes, data)
        for level in _core.levels():
            threads = rng.randrange(1, 3)
            got = outcome(suite.core, operator, case, attributes, data, level, threads)
            assert got == wanted, (case, attributes, level)
        executed += 1
        if executed == 60:
            return
    assert executed >= 20


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_large_dimensions_are_judged(name: str) -> None:
    """Nothing wraps: a result has at most 2^42 elements at the largest batch, a bound of 2^62."""
    operator = OPERATORS[name]
    rng = random.Random(name)
    cases = list(operator.cases())
    for _ in range(1500):
        case = rng.choice(cases)
        dims = sorted({d for t in case.inputs for d in t.shape})
        new = {d: rng.choice(LARGE) for d in dims if rng.randrange(2)}
        inputs = [replace(t, shape=tuple(new.get(d, d) for d in t.shape)) for t in case.inputs]
        attributes = operator.complete(case.attributes)
        for a in operator.attributes:
            value = attributes[a.name]
            if isinstance(value, tuple):
                moved = (new.get(v, v) for v in value)
                attributes[a.name] = tuple(min(max(v, a.minimum), a.maximum) for v in moved)
        batch = rng.choice((1, 4096, 2**22))
        try:
            outputs = _core.infer(operator.opcode, inputs, list(attributes.values()), batch)
        except ProgramError:
            continue
        for t in outputs:
            elements = 1
            for d in t.concrete(batch):
                elements *= d
            assert 1 <= elements <= 2**42
            assert t.dtype != "i64" or 1 <= t.bound <= 2**62


def drawn(opcode: int, attributes: list[int], type_: Type, where: tuple[int, int]) -> list[int]:
    """One node on two examples of 2^20 integers each, the first 8 and the last 8 of each."""
    offset, batch = where
    data = np.arange(2 << 20).reshape(2, 1 << 20) % 2**15
    (out,), _ = _core.run_operator(
        opcode,
        attributes,
        [(type_, data.astype(f"int{type_.bits}"))],
        local=2,
        offset=offset,
        batch=batch,
        seed=suite.SEED,
        step=suite.STEP,
        site=suite.SITE,
        level=max(_core.cpu_levels()),
        threads=2,
    )
    return [int(out[e][i]) for e in (0, 1) for i in (*range(8), *range(2**20 - 8, 2**20))]


@pytest.mark.parametrize("offset", [0, 2**12 - 1, 2**13 - 1, 2**22 - 2])
def test_draws_of_far_elements(offset: int) -> None:
    """The logical index passes 2^32 and reaches the last element there can be, 2^42 - 1."""
    elements = [(e, i) for e in (0, 1) for i in (*range(8), *range(2**20 - 8, 2**20))]
    for shift in (7, 20):
        got = drawn(1, [1, 8, 3], i16(8 + shift, -1, 2**20), (offset, 2**22))
        wanted = []
        for e, i in elements:
            index = (offset + e << 20) + i
            mode = Rounding(3)
            r = random_for_convert(suite.SEED, suite.SITE, suite.STEP, mode, shift, index)
            wanted.append(convert((e * 2**20 + i) % 2**15, shift, mode, r, 16, Clamps()))
        assert got == wanted
    got = drawn(23, [7, 2, 10, 3], i32(8, -1, 2**20), (offset, 2**22))
    wanted = []
    for e, i in elements:
        index = (offset + e << 20) + i
        r = random_for_quotient(suite.SEED, suite.SITE, suite.STEP, Rounding(3), index)
        numerator = (e * 2**20 + i) % 2**15 * 4
        wanted.append(quotient(numerator, 7, Rounding(3), r, 32, Clamps()))
    assert got == wanted


def test_the_largest_exact_values() -> None:
    """Convert of |A| = 2^62 by every shift, on every level."""
    values = [2**62, -(2**62), 2**62 - 1, 1 - 2**62, 2**61 + 1, 0, 1, -1]
    for of_input in (-32, 0, 8, 30, 47):
        for to in (-32, -1, 0, 15, 47):
            for dtype, bits in ((1, 16), (2, 32)):
                for rounding in (0, 2):
                    clamps = Clamps()
                    wanted = []
                    for index, a in enumerate(values):
                        mode, shift = Rounding(rounding), of_input - to
                        r = random_for_convert(1, 2, 3, mode, shift, index)
                        wanted.append(convert(a, shift, mode, r, bits, clamps))
                    for level in _core.levels():
                        (out,), count = _core.run_operator(
                            1,
                            [dtype, to, rounding],
                            [(i64(of_input, 8), np.array(values))],
                            local=1,
                            offset=0,
                            batch=1,
                            seed=1,
                            step=3,
                            site=2,
                            level=level,
                            threads=1,
                        )
                        assert (out.tolist(), count) == (wanted, clamps.count)
