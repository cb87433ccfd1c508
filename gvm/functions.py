"""The unary functions (numerics section 6): numbers, derivatives, meaning in float64, exact value.

An entry is ``f(q * 2^-F_in)`` at ``F_out`` fraction bits: the real value rounded half to even, then
clamped to ``i16`` or ``i32``. Where the rounded value lies outside the type, the entry counts as a
clamp. Every input has a value:

- At a pole the value is the limit from the right, clamped, and counts as a clamp: log(0) is the
  minimum, rsqrt(0) and reciprocal(0) the maximum; of the derivatives, sqrt'(0) is the maximum,
  rsqrt'(0) and reciprocal'(0) the minimum.
- Left of its domain a function keeps its value at 0: log the minimum (a clamp), sqrt 0, rsqrt the
  maximum (a clamp). There sqrt' and rsqrt' are 0.

The derivative of log is reciprocal, also where log is not defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Function:
    """A unary function of a program."""

    number: int
    """Published; the value of the attribute ``function``."""
    name: str
    derivative: str | None
    """Name of its derivative, where there is one."""
    real: Callable[[Reals], Reals]
    """The function in float64, infinite at poles and where it keeps the value of one."""


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _logistic(x: Reals) -> Reals:
    u = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + u), u / (1 + u))


def _normal(x: Reals) -> Reals:
    return np.asarray(_erfc(-x / math.sqrt(2)) / 2)


def _bell(x: Reals) -> Reals:
    return np.asarray(np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def _logistic_derivative(x: Reals) -> Reals:
    u = np.exp(-np.abs(x))
    return np.asarray(u / (1 + u) ** 2)


def _positive(f: Callable[[Reals], Reals], at_zero: float, left: float) -> Callable[[Reals], Reals]:
    """``f`` for x > 0, and the values that continue it."""

    def total(x: Reals) -> Reals:
        inside = f(np.where(x > 0, x, 1.0))
        return np.where(x > 0, inside, np.where(x == 0, at_zero, left))

    return total


def _nonzero(f: Callable[[Reals], Reals], at_zero: float) -> Callable[[Reals], Reals]:
    return lambda x: np.where(x == 0, at_zero, f(np.where(x == 0, 1.0, x)))


def _exp(x: Reals) -> Reals:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


FUNCTIONS: tuple[Function, ...] = (
    Function(1, "exp", "exp", _exp),
    Function(2, "log", "reciprocal", _positive(np.log, -math.inf, -math.inf)),
    Function(3, "tanh", "tanh_derivative", np.tanh),
    Function(4, "logistic", "logistic_derivative", _logistic),
    Function(5, "erf", "erf_derivative", lambda x: np.asarray(_erf(x))),
    Function(6, "gelu", "gelu_derivative", lambda x: x * _normal(x)),
    Function(7, "silu", "silu_derivative", lambda x: x * _logistic(x)),
    Function(8, "softplus", "logistic", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
    Function(9, "sqrt", "sqrt_derivative", _positive(np.sqrt, 0.0, 0.0)),
    Function(
        10,
        "rsqrt",
        "rsqrt_derivative",
        _positive(lambda x: 1 / np.sqrt(x), math.inf, math.inf),
    ),
    Function(11, "reciprocal", "reciprocal_derivative", _nonzero(lambda x: 1 / x, math.inf)),
    Function(12, "sin", "cos", np.sin),
    Function(13, "cos", "negative_sin", np.cos),
    Function(14, "tanh_derivative", None, lambda x: 4 * _logistic_derivative(2 * x)),
    Function(15, "logistic_derivative", None, _logistic_derivative),
    Function(16, "erf_derivative", None, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    Function(17, "gelu_derivative", None, lambda x: _normal(x) + x * _bell(x)),
    Function(18, "silu_derivative", None, lambda x: _logistic(x) + x * _logistic_derivative(x)),
    Function(19, "sqrt_derivative", None, _positive(lambda x: 0.5 / np.sqrt(x), math.inf, 0.0)),
    Function(
        20,
        "rsqrt_derivative",
        None,
        _positive(lambda x: -0.5 / (x * np.sqrt(x)), -math.inf, 0.0),
    ),
    Function(21, "reciprocal_derivative", None, _nonzero(lambda x: -1 / (x * x), -math.inf)),
    Function(22, "negative_sin", None, lambda x: -np.sin(x)),
)
"""All functions, in the order of their published numbers from 1."""

BY_NAME: dict[str, Function] = {f.name: f for f in FUNCTIONS}


def by_number(number: int) -> Function:
    """The function with a published number; ValueError where there is none."""
    if not 1 <= number <= len(FUNCTIONS):
        raise ValueError(f"unary: function must be in [1, {len(FUNCTIONS)}], received {number}")
    return FUNCTIONS[number - 1]


# The squares of the algebraic functions, as a multiple of a power of x; their signs.
_ROOTS: dict[str, tuple[Fraction, int, int]] = {
    "sqrt": (Fraction(1), 1, 1),
    "rsqrt": (Fraction(1), -1, 1),
    "reciprocal": (Fraction(1), -2, 1),
    "sqrt_derivative": (Fraction(1, 4), -1, 1),
    "rsqrt_derivative": (Fraction(1, 4), -3, -1),
    "reciprocal_derivative": (Fraction(1), -4, -1),
}
# +1 or -1: clamped at the maximum or minimum; 0: zero.
_AT_ZERO = {
    "log": -1,
    "sqrt": 0,
    "rsqrt": 1,
    "reciprocal": 1,
    "sqrt_derivative": 1,
    "rsqrt_derivative": -1,
    "reciprocal_derivative": -1,
}
_LEFT_OF_ZERO = {"log": -1, "sqrt": 0, "rsqrt": 1, "sqrt_derivative": 0, "rsqrt_derivative": 0}
_RATIONAL_AT_ZERO = {
    "exp": Fraction(1),
    "tanh": Fraction(0),
    "logistic": Fraction(1, 2),
    "erf": Fraction(0),
    "gelu": Fraction(0),
    "silu": Fraction(0),
    "sin": Fraction(0),
    "cos": Fraction(1),
    "tanh_derivative": Fraction(1),
    "logistic_derivative": Fraction(1, 4),
    "gelu_derivative": Fraction(1, 2),
    "silu_derivative": Fraction(1, 2),
    "negative_sin": Fraction(0),
}
# Beyond |x| = 128 the function lies within 2^-170 of this, and on this side (+1: above).
_FAR_RIGHT: dict[str, tuple[Callable[[Fraction], Fraction], int]] = {
    "tanh": (lambda x: Fraction(1), -1),
    "logistic": (lambda x: Fraction(1), -1),
    "erf": (lambda x: Fraction(1), -1),
    "gelu": (lambda x: x, -1),
    "silu": (lambda x: x, -1),
    "softplus": (lambda x: x, 1),
    "tanh_derivative": (lambda x: Fraction(0), 1),
    "logistic_derivative": (lambda x: Fraction(0), 1),
    "erf_derivative": (lambda x: Fraction(0), 1),
    "gelu_derivative": (lambda x: Fraction(1), 1),
    "silu_derivative": (lambda x: Fraction(1), 1),
}
_FAR_LEFT: dict[str, tuple[int, int]] = {
    "exp": (0, 1),
    "tanh": (-1, 1),
    "logistic": (0, 1),
    "erf": (-1, 1),
    "gelu": (0, -1),
    "silu": (0, -1),
    "softplus": (0, 1),
    "tanh_derivative": (0, 1),
    "logistic_derivative": (0, 1),
    "erf_derivative": (0, 1),
    "gelu_derivative": (0, -1),
    "silu_derivative": (0, -1),
}


def _multiprecision(name: str, mp: Any, x: Any) -> Any:
    """A transcendental function in mpmath; ``mp`` is the context and x one of its numbers."""
    if name in ("gelu", "gelu_derivative"):
        cumulative = mp.erfc(-x / mp.sqrt(2)) / 2
        if name == "gelu":
            return x * cumulative
        return cumulative + x * mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)
    if name in ("logistic", "silu", "logistic_derivative", "silu_derivative"):
        logistic = 1 / (1 + mp.exp(-x))
        slope = logistic / (1 + mp.exp(x))
        return {
            "logistic": logistic,
            "silu": x * logistic,
            "logistic_derivative": slope,
            "silu_derivative": logistic + x * slope,
        }[name]
    return {
        "exp": mp.exp,
        "log": mp.log,
        "tanh": mp.tanh,
        "erf": mp.erf,
        "softplus": lambda x: mp.log1p(mp.exp(-abs(x))) + max(x, mp.mpf(0)),
        "sin": mp.sin,
        "cos": mp.cos,
        "tanh_derivative": lambda x: mp.sech(x) ** 2,
        "erf_derivative": lambda x: 2 * mp.exp(-x * x) / mp.sqrt(mp.pi),
        "negative_sin": lambda x: -mp.sin(x),
    }[name](x)


def _clamp(rounded: int, bits: int) -> tuple[int, bool]:
    limit = 1 << (bits - 1)
    value = min(max(rounded, -limit), limit - 1)
    return value, value != rounded


def _round_beside(exact: Fraction, side: int) -> int:
    """The integer nearest to ``exact`` plus an infinitesimal of sign ``side`` (0: half to even)."""
    doubled = exact * 2
    if side == 0 or doubled.denominator != 1 or doubled.numerator % 2 == 0:
        return round(exact)
    return (doubled.numerator + side) // 2


@cache
def exact_entry(name: str, q: int, in_bits: int, out_bits: int, bits: int) -> tuple[int, bool]:
    """The entry of ``q`` and whether it clamps: the definition, by integers and mpmath.

    Needs the package ``mpmath``, which only tests use: programs run from the core's tables.
    """
    limit = 1 << (bits - 1)
    poles = _AT_ZERO if q == 0 else _LEFT_OF_ZERO if q < 0 else {}
    if name in poles:
        return {1: (limit - 1, True), -1: (-limit, True), 0: (0, False)}[poles[name]]
    x = Fraction(q) / Fraction(2) ** in_bits
    unit = Fraction(2) ** out_bits
    if name in _ROOTS:
        factor, power, sign = _ROOTS[name]
        square = 4 * factor * abs(x) ** power * unit**2  # of twice the magnitude
        whole = math.isqrt(square.numerator // square.denominator)
        beside = 0 if whole * whole == square else 1
        magnitude = _round_beside(Fraction(whole, 2), beside)
        return _clamp(magnitude * sign * (-1 if q < 0 and name == "reciprocal" else 1), bits)
    if q == 0 and name in _RATIONAL_AT_ZERO:
        return _clamp(round(_RATIONAL_AT_ZERO[name] * unit), bits)
    if name == "log" and x == 1:
        return 0, False
    if x >= 128 and name == "exp":
        return limit - 1, True
    if x >= 128 and name in _FAR_RIGHT:
        asymptote, side = _FAR_RIGHT[name]
        return _clamp(_round_beside(asymptote(x) * unit, side), bits)
    if x <= -128 and name in _FAR_LEFT:
        base, side = _FAR_LEFT[name]
        return _clamp(_round_beside(base * unit, side), bits)
    return _by_multiprecision(name, q, in_bits, out_bits, bits)


def _by_multiprecision(
    name: str, q: int, in_bits: int, out_bits: int, bits: int
) -> tuple[int, bool]:
    """Raises the precision until the rounding is decided; the value is no tie."""
    import mpmath  # type: ignore[import-untyped]

    mp = mpmath.mp
    precision = 128
    while True:
        # exp takes up to 2^184 above the point; arguments of sin and cos up to 2^47.
        with mp.workprec(precision + 320):
            value = _multiprecision(name, mp, mp.ldexp(mp.mpf(q), -in_bits))
            centre = int(mp.floor(mp.ldexp(value, precision)))
        # The value lies strictly between centre - 1 and centre + 2: ties at these are decided.
        discarded = precision - out_bits
        half = 1 << (discarded - 1)
        low = _clamp((centre - 1 + half) >> discarded, bits)
        high = _clamp(-((half - centre - 2) >> discarded), bits)
        if low == high:
            return low
        precision *= 2
