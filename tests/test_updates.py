"""Optimizers at the ends of their domain: how many examples a batch may have."""

from __future__ import annotations

import pytest

from gvm import _core
from gvm.errors import ProgramError
from gvm.operator import AttributeValue, Case
from gvm.ops import OPERATORS
from gvm.types import i32, i64
from tests import operator_suite as suite

NAMES = ["sgd", "momentum", "gradient_descent", "adam", "rmsprop"]
MOST = 1 << 22
W = [2**31 - 1, -(2**31), 5, -7]
GRADIENT = [2**62, -(2**62), 2**62, -(2**62)]


def widest(name: str, count: int, rounding: int) -> Case:
    """Formats and constants with which the numerator has as many bits as the loader lets pass."""
    end = i64(0, 4), i64(0)
    if name in ("adam", "rmsprop", "gradient_descent"):
        return widest_scheduled(name, count, rounding)
    rate = {"multiplier": 32767, "rounding": rounding}
    if name == "sgd":
        return Case("", (i32(-20, 4), *end), rate | {"exponent": 40}, (W, GRADIENT, count))
    more = {"momentum_multiplier": 32767, "momentum_exponent": 0, "state_rounding": rounding}
    return Case(
        "",
        (i32(0, 4), i32(0, 4), *end),
        rate | more | {"exponent": 55},
        (W, list(reversed(W)), GRADIENT, count),
    )


def widest_scheduled(name: str, count: int, rounding: int) -> Case:
    """The same for updates with knots."""
    most: dict[str, AttributeValue] = {"rounding": rounding, "state_rounding": rounding}
    most |= {"steps": (0,), "rates": (2**24 - 1,)}
    decay: dict[str, AttributeValue] = {"decay": 32767, "decay_exponent": -16}
    root: dict[str, AttributeValue] = {"epsilon": 2**31 - 1, "epsilon_exponent": 47}
    others = list(reversed(W))
    if name == "gradient_descent":
        most |= decay | {"exponent": 45, "momentum": 32767, "nesterov": 1}
        types = (i32(-32, 4), i32(-16, 4), i64(-6, 4), i64(0))
        return Case("", types, most, (W, others, GRADIENT, count))
    # A divisor with all its bits, and moments that are finer than the gradient by all that may be.
    moment, end = i32(47, 4), (i64(-7, 4), i64(0))
    if name == "rmsprop":
        most |= root | {"exponent": 80, "rho": 2**20 - 1}
        return Case("", (i32(28, 4), moment, *end), most, (W, others, GRADIENT, count))
    most |= root | decay | {"exponent": 58, "beta1": 2**20 - 1, "beta2": 2**20 - 1}
    types = (i32(28, 4), moment, moment, *end)
    return Case("", types, most, (W, others, W, GRADIENT, count))


@pytest.mark.parametrize("rounding", [0, 3])
@pytest.mark.parametrize("count", [1, 3, MOST - 1, MOST])
@pytest.mark.parametrize("name", NAMES)
def test_the_largest_batch_is_exact(name: str, count: int, rounding: int) -> None:
    operator, case = OPERATORS[name], widest(name, count, rounding)
    attributes, inputs = operator.complete(case.attributes), suite.paint(case, "given")
    wanted, clamps = suite.reference(operator, case, attributes, inputs)
    for level in _core.levels():
        outputs, clamped = suite.core(operator, case, attributes, inputs, level)
        assert [a.tolist() for a in outputs] == [a.tolist() for a in wanted]
        assert clamped == clamps


@pytest.mark.parametrize("count", [MOST + 1, 2**40, 2**61])
@pytest.mark.parametrize("name", NAMES)
def test_invalid_count_is_refused(name: str, count: int) -> None:
    operator, case = OPERATORS[name], widest(name, count, 0)
    attributes, inputs = operator.complete(case.attributes), suite.paint(case, "given")
    for compute in (
        lambda: suite.reference(operator, case, attributes, inputs),
        lambda: suite.core(operator, case, attributes, inputs, 0),
    ):
        with pytest.raises(ProgramError) as caught:
            compute()
        assert caught.value.name == "bad_input"
        assert str(caught.value) == f"{name}: count must be at most 2^22, received {count}"
