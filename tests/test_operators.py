"""Every operator of ``gvm.ops``: hand-worked cases, real meaning, gradient, the core on each CPU.

The reference is the definition. Nothing here names an operator but where it has no equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gvm import _core
from gvm.errors import ProgramError
from gvm.graph import Builder, evaluate_real
from gvm.operator import Case, Invalid, Operator
from gvm.ops import OPERATORS
from gvm.types import RANGE, Type
from tests import operator_suite as suite
from tests.operator_suite import Array
from tests.vectors import operators as vectors

LEVELS = list(_core.levels())
SMALL = 600
"""Elements of a tensor on which a slow reference, or a difference quotient, is still quick."""


def _cases(keep: Any = lambda operator, case: True) -> list[Any]:
    return [
        pytest.param(operator, case, id=f"{name}-{case.name}")
        for name, operator in OPERATORS.items()
        for case in operator.cases()
        if keep(operator, case)
    ]


def _elements(case: Case) -> int:
    return max((int(np.prod(t.concrete(case.local))) for t in case.inputs), default=1)


def _worked(operator: type[Operator], case: Case) -> bool:
    return case.data is not None and case.expected is not None


# --- The declaration ---------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_declaration_is_whole(operator: type[Operator]) -> None:
    cases = list(operator.cases())
    names = [c.name for c in cases]
    assert operator.__doc__
    assert len(names) == len(set(names))
    assert any(_worked(operator, case) for case in cases)
    attributes = [a.name for a in operator.attributes]
    assert len(attributes) == len(set(attributes))
    rounds = {"dtype", "fraction_bits", "rounding"}
    assert (operator.result == "rounds") == (rounds <= set(attributes))
    assert operator.differentiable == (operator.gradient is not Operator.gradient)
    for invalid in operator.invalid():
        assert invalid.message or invalid.status


@pytest.mark.parametrize(("operator", "case"), _cases(_worked))
def test_hand_worked(operator: type[Operator], case: Case) -> None:
    outputs, _ = suite.reference(
        operator, case, operator.complete(case.attributes), suite.paint(case, "given")
    )
    expected = [np.array(e, dtype=np.int64) for e in case.expected or ()]
    assert len(outputs) == len(expected)
    for output, value in zip(outputs, expected, strict=True):
        assert output.tolist() == value.tolist()


# --- The real meaning --------------------------------------------------------------------------


def _real(operator: type[Operator], position: int, type_: Type, integers: Array) -> Array:
    """What an input's integers stand for."""
    if suite.is_index(operator, position, type_):
        return integers
    return np.asarray(integers * 2.0**-type_.fraction_bits)


@pytest.mark.parametrize("kind", ["painted", "random", "zeros"])
@pytest.mark.parametrize(
    ("operator", "case"),
    _cases(lambda operator, case: operator.inputs and _elements(case) <= 200_000),
)
def test_reference_is_near_real(operator: type[Operator], case: Case, kind: str) -> None:
    attributes = operator.complete(case.attributes)
    for name in attributes:
        if name.endswith("rounding"):
            attributes[name] = 0
    inputs = suite.paint(case, kind, largest=2**20)
    for i, type_ in enumerate(case.inputs):
        if case.data is not None and suite.is_index(operator, i, type_):
            inputs[i] = suite.paint(case, "given")[i]
    outputs, _ = suite.reference(operator, case, attributes, inputs)
    reals = [_real(operator, i, case.inputs[i], a) for i, a in enumerate(inputs)]
    made = operator.real(operator.at_batch(attributes, case.local), *reals)
    types = suite.infer(operator, case.inputs, attributes)
    rounded = operator.result == "rounds" or operator.sites > 0
    wanted = [
        np.asarray(real) * 2.0**type_.fraction_bits
        for real, type_ in zip(made if isinstance(made, tuple) else (made,), types, strict=True)
    ]
    # Where one of several results was clamped, those that rest on it follow it, not real.
    follow = np.logical_or.reduce([_clipped(w, t) != w for w, t in zip(wanted, types, strict=True)])
    for output, exact, type_ in zip(outputs, wanted, types, strict=True):
        assert exact.shape == output.shape
        half = sum(2.0 ** (type_.fraction_bits - t.fraction_bits) for t in types) / 2
        slack = 2.0**-48 * max(1.0, float(np.abs(exact).max()))
        error = np.abs(_clipped(exact, type_) - output)
        if len(types) > 1:
            error = np.where(follow, 0, error)
        far = operator.relative * np.abs(_clipped(exact, type_))
        assert float((error - far).max()) <= rounded * half + operator.units + slack


def _clipped(real: Array, type_: Type) -> Array:
    """Reals within the range of a type."""
    return np.clip(real, *RANGE[type_.dtype])


# --- The gradient ------------------------------------------------------------------------------


def _differentiable(operator: type[Operator], case: Case) -> bool:
    return operator.differentiable and bool(operator.inputs) and _elements(case) <= SMALL


def _smooth(case: Case, position: int, index: bool) -> Array:
    """Distinct reals away from kinks, or the integers of an index."""
    if index:
        return suite.paint(case, "random" if case.data is None else "given")[position]
    generator = np.random.default_rng(position + 7)
    shape = case.inputs[position].concrete(case.local)
    count = int(np.prod(shape, dtype=np.int64))
    spread = (np.arange(count) - count / 2 + 0.25) / (count + 1) * 1.8
    return np.asarray(generator.permutation(spread + position * 1.37e-4).reshape(shape))


@pytest.mark.parametrize(("operator", "case"), _cases(_differentiable))
def test_gradient_is_that_of_real(operator: type[Operator], case: Case) -> None:
    attributes = operator.complete(case.attributes)
    g = Builder()
    values, arrays, indices = [], [], []
    for i, type_ in enumerate(case.inputs):
        index = suite.is_index(operator, i, type_)
        arrays.append(_smooth(case, i, index))
        values.append(_declare(g, f"input{i}", type_, arrays[i], index))
        indices.append(index)
    output, *_ = g.node(operator.name, values, attributes)  # others are positions
    shape = g.types[output].concrete(case.local)
    slopes = np.cos(np.arange(int(np.prod(shape, dtype=np.int64)))).reshape(shape)
    delta = _declare(g, "delta", g.types[output], slopes, False)
    gradients = operator.gradient(g, values, output, attributes, delta)
    assert len(gradients) == len(values)
    given = dict(zip([*values, delta], [*arrays, slopes], strict=True))
    made = evaluate_real(g.graph(), [given[v] for v in g.inputs], [given[v] for v in g.labels])

    def objective(position: int, moved: Array) -> float:
        inputs = [moved if i == position else a for i, a in enumerate(arrays)]
        result = operator.real(operator.at_batch(attributes, case.local), *inputs)
        first = result[0] if isinstance(result, tuple) else result
        return float(np.sum(np.asarray(first) * slopes))

    for i, gradient in enumerate(gradients):
        assert (gradient is None) == indices[i]
        if gradient is None:
            continue
        assert g.shape(gradient) == case.inputs[i].shape
        assert made[gradient].shape == arrays[i].shape
        for place in _some(arrays[i].shape):
            step = np.zeros_like(arrays[i])
            step[place] = 1e-6
            rise = objective(i, arrays[i] + step) - objective(i, arrays[i] - step)
            assert made[gradient][place] == pytest.approx(rise / 2e-6, rel=1e-5, abs=1e-6)


def _declare(g: Builder, name: str, type_: Type, data: Array, index: bool) -> int:
    """A value of a real-valued graph: a label, an input when batched, else a parameter."""
    if index:
        return g.label(name, type_.shape, type_.dtype)
    if type_.batch_axis is not None:
        return g.input(name, type_.shape, "real")
    return g.parameter(name, data)


def _some(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """About a dozen places of an array, its corners too."""
    count = int(np.prod(shape, dtype=np.int64))
    for i in sorted({0, count - 1, *range(0, count, max(1, count // 11))}):
        yield tuple(int(k) for k in np.unravel_index(i, shape))


# --- The core ----------------------------------------------------------------------------------


def _painted() -> list[Any]:
    """Each case with its own data, or painted in every way."""
    return [
        pytest.param(operator, case, kind, id=f"{name}-{case.name}-{kind}")
        for name, operator in OPERATORS.items()
        for case in operator.cases()
        for kind in (suite.KINDS if case.data is None else ("given",))
    ]


@pytest.mark.parametrize(("operator", "case", "kind"), _painted())
def test_core_is_the_reference(operator: type[Operator], case: Case, kind: str) -> None:
    inputs = suite.paint(case, kind)
    for attributes in suite.roundings(operator, case):
        wanted, clamps = suite.reference(operator, case, attributes, inputs)
        for level in LEVELS:
            for threads in (1, 2):
                outputs, clamped = suite.core(operator, case, attributes, inputs, level, threads)
                where = f"{_core.level_name(level)}, {threads} threads, {attributes}"
                for output, value in zip(outputs, wanted, strict=True):
                    np.testing.assert_array_equal(output, value, where)
                assert clamped == clamps, where


@pytest.mark.parametrize(
    ("operator", "case"),
    _cases(lambda op, case: any(t.batch_axis is not None for t in case.inputs) and case.local > 1),
)
def test_shards_make_the_whole(operator: type[Operator], case: Case) -> None:
    inputs = suite.paint(case, "given" if case.data is not None else "random")
    first = (case.local + 1) // 2
    for attributes in suite.roundings(operator, case):
        whole, clamps = suite.core(operator, case, attributes, inputs, LEVELS[-1])
        parts = [
            suite.core(
                operator,
                suite.shard(case, offset, local),
                attributes,
                suite.cut(case, inputs, offset, local),
                LEVELS[-1],
            )
            for offset, local in ((0, first), (first, case.local - first))
        ]
        for i, type_ in enumerate(suite.infer(operator, case.inputs, attributes)):
            (a, b), axis = (part[0][i] for part in parts), type_.batch_axis
            if type_.partial:
                np.testing.assert_array_equal(a + b, whole[i])
            elif axis is not None:
                np.testing.assert_array_equal(np.concatenate([a, b], axis), whole[i])
                assert parts[0][1] + parts[1][1] == clamps


def _invalid() -> list[Any]:
    return [
        pytest.param(operator, invalid, id=f"{name}-{invalid.name}")
        for name, operator in OPERATORS.items()
        for invalid in operator.invalid()
    ]


@pytest.mark.parametrize(("operator", "invalid"), _invalid())
def test_invalid_is_refused(operator: type[Operator], invalid: Invalid) -> None:
    attributes = operator.complete(invalid.attributes)
    with pytest.raises(ProgramError) as caught:
        suite.infer(operator, invalid.inputs, attributes)
    assert caught.value.name == invalid.status
    assert invalid.message in str(caught.value)
    assert str(caught.value).startswith(f"{operator.name}: ")


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_attributes_out_of_range_are_refused(operator: type[Operator]) -> None:
    case = next(iter(operator.cases()))
    complete = operator.complete(case.attributes)
    for attribute in operator.attributes:
        for value in (attribute.minimum - 1, attribute.maximum + 1):
            wrong: Any = value
            if attribute.length:
                wrong = (value,) * attribute.length[0]
            with pytest.raises(ProgramError) as caught:
                suite.infer(operator, case.inputs, complete | {attribute.name: wrong})
            assert caught.value.name == "bad_attribute"
            assert f"{attribute.name} must be in" in str(caught.value)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_number_of_inputs_is_checked(operator: type[Operator]) -> None:
    case = next(iter(operator.cases()))
    most = max(len(operator.inputs), operator.variadic)
    for inputs in ((Type("i16", 0, (1,)),) * (most + 1), case.inputs[: len(operator.inputs) - 1]):
        if len(operator.inputs) <= len(inputs) <= most:
            continue
        with pytest.raises(ProgramError) as caught:
            suite.infer(operator, inputs, operator.complete(case.attributes))
        assert caught.value.name == "bad_graph"


# --- Vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_vectors_are_whole(operator: type[Operator]) -> None:
    lines = (vectors.FOLDER / f"{operator.name}.txt").read_text().splitlines()
    assert lines[0] == f"# {operator.name}, opcode {operator.opcode}"
    values = {line.rsplit(" ", 3)[0] for line in lines if line.startswith("value ")}
    missing = {question for question, _, _ in vectors.questions(operator)} - values
    missing |= set(vectors.refusals(operator)) - set(lines)
    assert not missing, "python -m tests.vectors.operators writes them"


def test_vectors_are_listed() -> None:
    missing = set(vectors.listed().splitlines()) - set(vectors.LIST.read_text().splitlines())
    assert not missing, "python -m tests.vectors.operators writes them"


@pytest.mark.parametrize("level", LEVELS, ids=[_core.level_name(v) for v in LEVELS])
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_vectors_hold(operator: type[Operator], level: int) -> None:
    for line in (vectors.FOLDER / f"{operator.name}.txt").read_text().splitlines()[1:]:
        fields = line.split(" ")
        attributes = vectors.parse_attributes(operator, fields[1])
        if fields[0] == "refuse":
            with pytest.raises(ProgramError) as caught:
                suite.infer(operator, vectors.parse_types(fields[2]), attributes)
            assert caught.value.status == int(fields[3]), line
            continue
        case = vectors.parse_case(fields)
        inputs = suite.paint(case, "painted" if case.data is None else "given")
        outputs, clamps = suite.core(operator, case, attributes, inputs, level)
        types = suite.infer(operator, case.inputs, attributes)
        assert vectors.answer(types, outputs, clamps).split(" ") == fields[7:], line
