"""Delayed power-of-two scaling: what is asked for, and what a program that has it knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

DIVISOR_BITS = 15
"""Fraction bits of a divisor, and the most that two formats of one kind may lie apart."""
MOST_HISTORY = 4096


@dataclass(frozen=True)
class DelayedScaling:
    """Formats of gradients that follow their magnitude by powers of two.

    The format of a step is that which suits the largest magnitude of the ``history`` steps before,
    with ``margin`` bits of room above it: at most ``fewer_bits`` fraction bits below the format
    that the model was imported with, and at most ``more_bits`` above.
    """

    history: int = 16
    margin: int = 1
    fewer_bits: int = 5
    more_bits: int = 10

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("history", self.history, 1, MOST_HISTORY),
            ("margin", self.margin, 0, 8),
            ("fewer_bits", self.fewer_bits, 0, DIVISOR_BITS),
            ("more_bits", self.more_bits, 0, DIVISOR_BITS),
        ):
            if not low <= value <= high:
                raise ValueError(f"scaling: {name} must be in [{low}, {high}], received {value}")
        if self.fewer_bits + self.more_bits > DIVISOR_BITS:
            raise ValueError(
                f"scaling: fewer_bits + more_bits must be at most {DIVISOR_BITS}, "
                f"received {self.fewer_bits + self.more_bits}"
            )


def as_scaling(given: DelayedScaling | str | None) -> DelayedScaling | None:
    """ "delayed" is ``DelayedScaling()``; other text is a ValueError."""
    if isinstance(given, str):
        if given != "delayed":
            raise ValueError(f"scaling must be None or 'delayed', received {given!r}")
        return DelayedScaling()
    return given


@dataclass(frozen=True)
class Adaptive:
    """Where a program keeps its scales. Gradients of one group always have one scale."""

    options: DelayedScaling
    first: int
    """The number of the first of its parameters."""
    sites: int
    """Roundings between two scales: their divisors come before those of the groups."""
    counts: tuple[int, ...]
    """For each group the total that counts examples by the magnitude of their gradients."""
    gradients: tuple[tuple[int, int], ...]
    """Trained parameters whose gradient has the scale of a group, and that group."""

    def encoded(self) -> list[Any]:
        """As the info of a .dmodel has it."""
        return [
            list(astuple(self.options)),
            self.first,
            self.sites,
            list(self.counts),
            [list(pair) for pair in self.gradients],
        ]

    @staticmethod
    def decoded(body: Sequence[Any]) -> Adaptive:
        """The inverse of ``encoded``; a ValueError or TypeError for what is not one."""
        options, first, sites, counts, gradients = body
        flat = [*options, first, sites, *counts, *(v for pair in gradients for v in pair)]
        if not all(type(v) is int and v >= 0 for v in flat) or not counts or not sites:
            raise ValueError("scaling")
        if any(len(pair) != 2 for pair in gradients):
            raise ValueError("scaling")
        return Adaptive(
            DelayedScaling(*options), first, sites, tuple(counts), tuple(map(tuple, gradients))
        )
