"""Optimizers: what a training program's ``apply`` does with the totals of a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass


def fixed_rate(value: float, what: str) -> tuple[int, int]:
    """A positive number as multiplier·2^-exponent, multiplier in [2^14, 2^15) (numerics section 5):
    relative error below 2^-15."""
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{what} must be a positive number, received {value}")
    mantissa, exponent = math.frexp(value)
    multiplier, shift = round(math.ldexp(mantissa, 15)), 15 - exponent
    if multiplier == 1 << 15:
        multiplier, shift = 1 << 14, shift - 1
    if not -16 <= shift <= 62:
        raise ValueError(f"{what} must be in [2^-48, 2^30], received {value}")
    return multiplier, shift


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with momentum as Keras writes it: v' = momentum·v -
    rate·gradient, w' = w + v'.

    ``learning_rate`` and ``momentum`` become multiplier·2^-exponent with 15 bits: 0.1 is
    26214·2^-18.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0

    def __post_init__(self) -> None:
        fixed_rate(self.learning_rate, "learning_rate")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), received {self.momentum}")

    @property
    def state_per_parameter(self) -> int:
        """State tensors that each trained parameter needs."""
        return 1 if self.momentum > 0 else 0

    def attributes(self, rounding: bool) -> tuple[str, dict[str, int]]:
        """The operator of ``apply`` and its attributes; rounding stochastic or nearest."""
        multiplier, exponent = fixed_rate(self.learning_rate, "learning_rate")
        rate = {"multiplier": multiplier, "exponent": exponent}
        if not self.state_per_parameter:
            return "sgd", {**rate, "rounding": 3 if rounding else 0}
        return "momentum", {
            **rate,
            "momentum_multiplier": min(round(self.momentum * 2**15), 2**15 - 1),
            "momentum_exponent": 15,
            "rounding": 3 if rounding else 0,
            "state_rounding": 4 if rounding else 0,
        }
