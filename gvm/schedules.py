"""Learning rates that change with the step.

A schedule is real numbers here and knots in a program: ascending steps, a rate at each, linear in
between (docs/arithmetic.md, section 8). Constant, stepwise and warm-up rates are exactly that; a
cosine or an exponential has enough knots to be within 1/2000 of its largest rate.

    gvm.Adam(gvm.schedules.Warmup(gvm.schedules.Cosine(1e-3), steps=500))
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from gvm.errors import GvmError
from gvm.operator import AttributeValue
from gvm.rates import MAX_KNOTS, RATE_BITS

Knots = list[tuple[int, float]]
SEGMENTS = 128
"""Pieces of a cosine."""
PER_HALVING = 12
"""Pieces of an exponential until it has fallen to a half."""


class Schedule(ABC):
    """A learning rate for each step, counted from 0 through the whole run."""

    @abstractmethod
    def knots(self, total_steps: int | None) -> Knots:
        """Ascending steps with their rates. ``total_steps``: those of the whole run, where they are
        known."""

    @abstractmethod
    def check(self) -> None:
        """Raises ValueError for what is no schedule."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate in every step."""

    learning_rate: float

    def check(self) -> None:
        """Raises ValueError for a rate that is not positive."""
        positive(self.learning_rate, "learning_rate")

    def knots(self, total_steps: int | None) -> Knots:
        """One knot."""
        return [(0, self.learning_rate)]


@dataclass(frozen=True)
class Step(Schedule):
    """A rate that is multiplied by ``factor`` at each boundary: from that step on."""

    learning_rate: float
    boundaries: Sequence[int]
    factor: float = 0.1

    def check(self) -> None:
        """Raises ValueError for boundaries that do not ascend from 1."""
        positive(self.learning_rate, "learning_rate")
        positive(self.factor, "factor")
        whole = [0, *self.boundaries]
        if any(b <= a for a, b in zip(whole, whole[1:], strict=False)):
            raise ValueError(f"boundaries must ascend from 1, received {list(self.boundaries)}")

    def knots(self, total_steps: int | None) -> Knots:
        """Two knots at each boundary: the last step before it, and itself."""
        rate, made = self.learning_rate, [(0, self.learning_rate)]
        for boundary in self.boundaries:
            made.append((boundary - 1, rate))
            rate *= self.factor
            made.append((boundary, rate))
        return made


@dataclass(frozen=True)
class Exponential(Schedule):
    """learning_rate·decay_rate^(step / decay_steps), as Keras's ExponentialDecay; with
    ``staircase`` the exponent is its floor."""

    learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def check(self) -> None:
        """Raises ValueError for a decay outside (0, 1)."""
        positive(self.learning_rate, "learning_rate")
        at_least_one(self.decay_steps, "decay_steps")
        if not 0 < self.decay_rate < 1:
            raise ValueError(f"decay_rate must be in (0, 1), received {self.decay_rate}")

    def knots(self, total_steps: int | None) -> Knots:
        """Until the rate has no bits left, or the run ends."""
        halving = self.decay_steps * math.log(0.5) / math.log(self.decay_rate)
        end = math.ceil(halving * (RATE_BITS + 1))
        end = min(end, total_steps) if total_steps is not None else end
        if self.staircase:
            drops = range(self.decay_steps, end + 1, self.decay_steps)
            if len(drops) > MAX_KNOTS // 2 - 1:
                raise GvmError(
                    f"schedule: {len(drops)} drops of the rate; there may be at most "
                    f"{MAX_KNOTS // 2 - 1}: take staircase=False"
                )
            return Step(self.learning_rate, drops, self.decay_rate).knots(total_steps)
        pieces = min(end, max(1, math.ceil(PER_HALVING * end / halving)))
        steps = sorted({round(end * i / pieces) for i in range(pieces + 1)})
        rates = (self.learning_rate * self.decay_rate ** (s / self.decay_steps) for s in steps)
        return list(zip(steps, rates, strict=True))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from ``learning_rate`` down to ``final``·learning_rate in ``decay_steps`` (the
    whole run where none are given), constant afterwards; as Keras's CosineDecay."""

    learning_rate: float
    decay_steps: int | None = None
    final: float = 0.0

    def check(self) -> None:
        """Raises ValueError for a final share outside [0, 1]."""
        positive(self.learning_rate, "learning_rate")
        if self.decay_steps is not None:
            at_least_one(self.decay_steps, "decay_steps")
        if not 0 <= self.final <= 1:
            raise ValueError(f"final must be in [0, 1], received {self.final}")

    def knots(self, total_steps: int | None) -> Knots:
        """Equal pieces of the half wave."""
        end = total_steps if self.decay_steps is None else self.decay_steps
        if end is None:
            raise GvmError("schedule: a cosine outside a run needs decay_steps")
        steps = sorted({round(end * i / SEGMENTS) for i in range(SEGMENTS + 1)})
        waves = ((1 + math.cos(math.pi * s / end)) / 2 for s in steps)
        low = self.final
        return [
            (s, self.learning_rate * (low + (1 - low) * wave))
            for s, wave in zip(steps, waves, strict=True)
        ]


@dataclass(frozen=True)
class Warmup(Schedule):
    """A rate that rises from ``start`` times the first rate of ``schedule`` in ``steps`` steps,
    then follows ``schedule``, a number for a constant, from its beginning."""

    schedule: Schedule | float
    steps: int
    start: float = 0.0

    def check(self) -> None:
        """Raises ValueError for a start outside [0, 1]."""
        as_schedule(self.schedule).check()
        at_least_one(self.steps, "steps")
        if not 0 <= self.start <= 1:
            raise ValueError(f"start must be in [0, 1], received {self.start}")

    def knots(self, total_steps: int | None) -> Knots:
        """A knot at 0, then those of the schedule."""
        rest = None if total_steps is None else max(1, total_steps - self.steps)
        later = as_schedule(self.schedule).knots(rest)
        return [(0, self.start * later[0][1]), *((self.steps + s, rate) for s, rate in later)]


def as_schedule(rate: float | Schedule) -> Schedule:
    """A number is a constant rate."""
    return rate if isinstance(rate, Schedule) else Constant(rate)


def positive(value: float, what: str) -> None:
    """Raises ValueError for a number that is not finite and positive."""
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{what} must be a positive number, received {value}")


def at_least_one(value: int, what: str) -> None:
    """Raises ValueError for a number below 1."""
    if value < 1:
        raise ValueError(f"{what} must be at least 1, received {value}")


def compiled(
    schedule: Schedule, total_steps: int | None, least: int = -16, most: int = 80
) -> dict[str, AttributeValue]:
    """The attributes of an update: steps, rates and exponent, the largest rate with 24 bits or as
    many as an exponent in [least, most] leaves it."""
    schedule.check()
    merged: dict[int, float] = {}
    for step, rate in schedule.knots(total_steps):
        merged[step] = rate  # of two knots at one step, the later
    steps = sorted(merged)
    largest = max(merged.values())
    exponent = min(RATE_BITS - math.frexp(largest)[1], most)
    rates = [round(math.ldexp(merged[s], exponent)) for s in steps]
    if max(rates) >= 1 << RATE_BITS:
        exponent -= 1
        rates = [round(math.ldexp(merged[s], exponent)) for s in steps]
    if exponent < least:
        raise GvmError(
            f"learning rate: {largest} is too large for the format of the weights; the largest "
            f"is about {math.ldexp(1.0, RATE_BITS - least):.3g}"
        )
    if max(rates) == 0:
        raise GvmError(f"learning rate: {largest} is too small for the format of the weights")
    kept = [i for i in range(len(steps)) if i == 0 or _needed(i, rates)]
    if len(kept) > MAX_KNOTS:
        raise GvmError(f"schedule: {len(kept)} knots; there may be at most {MAX_KNOTS}")
    return {
        "steps": tuple(steps[i] for i in kept),
        "rates": tuple(rates[i] for i in kept),
        "exponent": exponent,
    }


def _needed(i: int, rates: Sequence[int]) -> bool:
    """A knot among equal ones is not."""
    same_after = i + 1 == len(rates) or rates[i + 1] == rates[i]
    return not (rates[i - 1] == rates[i] and same_after)
