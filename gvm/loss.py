"""A loss: an exact sum that anyone can recompute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gvm import _core
from gvm.errors import ProgramError

FRACTION_BITS = 24
MAX_EXAMPLES = 1 << 22


@dataclass(frozen=True)
class Loss:
    """``total``: the sum over ``count`` examples, an integer with 24 fraction bits; ``correct``:
    examples classified correctly.

    Losses merge by addition and compare exactly, as total_a·count_b against total_b·count_a
    (numerics section 7). Equal are only losses of the same integers.
    """

    total: int
    count: int
    correct: int = 0

    @property
    def integers(self) -> tuple[int, int, int]:
        """Total, count and correct."""
        return self.total, self.count, self.correct

    def __add__(self, other: Loss) -> Loss:
        if self.count + other.count > MAX_EXAMPLES:
            raise ProgramError(
                f"a loss sums at most 2^22 examples, received {self.count + other.count}"
            )
        return Loss(
            self.total + other.total, self.count + other.count, self.correct + other.correct
        )

    def __lt__(self, other: Loss) -> bool:
        return self.total * other.count < other.total * self.count

    def __le__(self, other: Loss) -> bool:
        return self.total * other.count <= other.total * self.count

    def __gt__(self, other: Loss) -> bool:
        return other < self

    def __ge__(self, other: Loss) -> bool:
        return other <= self

    def __float__(self) -> float:
        return self.total / 2**FRACTION_BITS / self.count if self.count else 0.0

    @property
    def accuracy(self) -> float:
        """Share of examples classified correctly."""
        return self.correct / self.count if self.count else 0.0

    def digest(self, graph_id: str, parameters_id: str) -> str:
        """One name of the loss of a model: BLAKE3 of ``gvm.loss.v1``, a line end, the ids and the
        three integers, separated by spaces, and a line end."""
        words = (graph_id, parameters_id, *map(str, self.integers))
        return str(_core.blake3(f"gvm.loss.v1\n{' '.join(words)}\n".encode()).hex())

    @staticmethod
    def sum(losses: Iterable[Loss]) -> Loss:
        """The loss of all examples together."""
        total = Loss(0, 0, 0)
        for loss in losses:
            total = total + loss
        return total

    def __str__(self) -> str:
        return (
            f"{float(self):.6f} (total {self.total}, {self.count} examples, {self.correct} correct)"
        )
