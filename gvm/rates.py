"""Learning rates that change with the step, as exact integers: what the attributes of an update
say (docs/arithmetic.md, section 8)."""

from __future__ import annotations

from bisect import bisect_right

from gvm.fixed import quotient_nearest, round_nearest
from gvm.operator import Attribute, Attributes, integer

RATE_BITS = 24
"""A rate is an integer below 2^24, times a power of two."""
MAX_KNOTS = 1024
MAX_STEP = 1 << 56


def schedule_attributes() -> tuple[Attribute, Attribute, Attribute]:
    """A learning rate by step: knots, between which it is linear."""
    return (
        Attribute("steps", 0, MAX_STEP - 1, "steps of the knots, ascending", length=(1, MAX_KNOTS)),
        Attribute(
            "rates",
            0,
            (1 << RATE_BITS) - 1,
            "learning rate at each knot, times 2^exponent",
            length=(1, MAX_KNOTS),
        ),
        Attribute("exponent", -16, 80, "learning rate = rate·2^-exponent"),
    )


def integers(attributes: Attributes, name: str) -> tuple[int, ...]:
    """The value of an attribute that is a list."""
    value = attributes[name]
    assert isinstance(value, tuple)
    return value


def rate_at(attributes: Attributes, step: int) -> int:
    """The rate of a step: that of the first knot before it, of the last after it, and in between
    the point on the line, rounded half to even."""
    steps, rates = integers(attributes, "steps"), integers(attributes, "rates")
    i = bisect_right(steps, step)
    if i == 0 or i == len(steps):
        return rates[max(0, i - 1)]
    before, after = step - steps[i - 1], steps[i] - step
    return quotient_nearest(rates[i - 1] * after + rates[i] * before, before + after, RATE_BITS + 1)


def decay_at(attributes: Attributes, step: int) -> int:
    """What a step takes from a weight for its decay: rate·decay at 32 fraction bits, rounded half
    to even, below 1."""
    exact = rate_at(attributes, step) * integer(attributes, "decay")
    shift = integer(attributes, "exponent") + integer(attributes, "decay_exponent") - 32
    rounded = exact << -shift if shift <= 0 else round_nearest(exact, shift)
    return min(rounded, 2**32 - 1)


def decay_attributes() -> tuple[Attribute, Attribute]:
    """A weight decay decay·2^-decay_exponent."""
    return (
        Attribute(
            "decay", 0, (1 << 15) - 1, "weight decay = decay·2^-decay_exponent; 0: none", default=0
        ),
        Attribute("decay_exponent", -16, 62, "weight decay = decay·2^-decay_exponent", default=0),
    )


def last_rate(attributes: Attributes) -> float:
    """The rate at the end of a schedule, as a real number."""
    return integers(attributes, "rates")[-1] * 2.0 ** -integer(attributes, "exponent")


def real_decay(attributes: Attributes) -> float:
    """The weight decay as a real number."""
    return integer(attributes, "decay") * 2.0 ** -integer(attributes, "decay_exponent")
