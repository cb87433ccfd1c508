"""Optimizers: what a training program's ``apply`` does with the totals of a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from gvm.errors import GvmError
from gvm.moments import BETA_BITS, FINER
from gvm.operator import AttributeValue
from gvm.schedules import Schedule, as_schedule, compiled, positive
from gvm.types import Type

MORE_VELOCITY_BITS = 4
"""Fraction bits of an i16 velocity beyond those of its weights (numerics section 8)."""
MOMENT_BITS = 30
"""Fraction bits of i32 moments where calibration said nothing of the gradients."""
HEADROOM = {"i32": 8, "i16": 4}
"""Bits of a moment above the largest mean gradient that calibration saw."""


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
class Update:
    """One parameter that is to be trained, and what ``apply`` has of it."""

    name: str
    parameter: Type
    state: tuple[Type, ...]
    gradient: Type
    stochastic: bool
    total_steps: int | None

    @property
    def roundings(self) -> dict[str, AttributeValue]:
        """The roundings of the parameter and of its state."""
        return {
            "rounding": 3 if self.stochastic else 0,
            "state_rounding": 4 if self.stochastic else 0,
        }


@dataclass(frozen=True)
class Clipping:
    """What gradients are held to before an update: each element of the mean gradient, or the norm
    of all of them together. Not both."""

    value: float | None = None
    norm: float | None = None

    def check(self) -> None:
        """Raises ValueError for limits that are none."""
        for limit, what in ((self.value, "clip_value"), (self.norm, "clip_norm")):
            if limit is not None:
                fixed_rate(limit, what)
        if self.value is not None and self.norm is not None:
            raise ValueError("clip_value and clip_norm: one of them, received both")


class Optimizer(ABC):
    """How gradients move parameters. ``learning_rate`` is a number or a
    :class:`gvm.schedules.Schedule`."""

    clip_value: float | None
    clip_norm: float | None

    @property
    def clipping(self) -> Clipping:
        """What gradients are held to."""
        return Clipping(self.clip_value, self.clip_norm)

    @abstractmethod
    def state(self, parameter: Type, moment_bits: int | None) -> tuple[Type, ...]:
        """The state tensors of a parameter. ``moment_bits``: fraction bits that suit an i32 moment
        of its gradients, where calibration saw any."""

    @abstractmethod
    def node(self, update: Update) -> tuple[str, dict[str, AttributeValue]]:
        """The operator of ``apply`` and its attributes. Its results are the parameter and the
        state."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as Keras writes it: v' = momentum·v -
    rate·gradient, w' = w + v'; with ``nesterov`` w' = w + momentum·v' - rate·gradient.

    ``weight_decay`` is the L2 term of torch: gradient + weight_decay·w. ``clip_value`` holds each
    element of the mean gradient to an interval, ``clip_norm`` the norm of all gradients together.
    ``momentum`` has 15 bits: 0.9 is 29491·2^-15.
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.learning_rate, Schedule):
            self.learning_rate.check()
        else:
            fixed_rate(self.learning_rate, "learning_rate")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), received {self.momentum}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum, received 0")
        _check_decay(self.weight_decay)
        self.clipping.check()

    @property
    def _plain(self) -> bool:
        """Whether the first two operators of descent suffice."""
        constant = not isinstance(self.learning_rate, Schedule)
        return constant and not self.nesterov and self.weight_decay == 0

    def state(self, parameter: Type, moment_bits: int | None) -> tuple[Type, ...]:
        """A velocity where one is needed."""
        if self._plain and self.momentum == 0:
            return ()
        more = MORE_VELOCITY_BITS if parameter.dtype == "i16" else 0
        return (Type(parameter.dtype, min(47, parameter.fraction_bits + more), parameter.shape),)

    def node(self, update: Update) -> tuple[str, dict[str, AttributeValue]]:
        """sgd, momentum, or gradient_descent where these do not suffice."""
        momentum = min(round(self.momentum * 2**15), 2**15 - 1)
        if self._plain:
            assert not isinstance(self.learning_rate, Schedule)
            multiplier, exponent = fixed_rate(self.learning_rate, "learning_rate")
            rate: dict[str, AttributeValue] = {"multiplier": multiplier, "exponent": exponent}
            if not self.momentum:
                return "sgd", {**rate, "rounding": update.roundings["rounding"]}
            moved: dict[str, AttributeValue] = {
                "momentum_multiplier": momentum,
                "momentum_exponent": 15,
            }
            return "momentum", {**rate, **moved, **update.roundings}
        apart = update.gradient.fraction_bits - update.state[0].fraction_bits
        least = (32 if self.weight_decay else 15) - 38
        return "gradient_descent", {
            **compiled(
                as_schedule(self.learning_rate),
                update.total_steps,
                max(-16, least - apart),
                min(80, 55 - apart),
            ),
            **_decay(self.weight_decay),
            "momentum": momentum,
            "nesterov": int(self.nesterov),
            **update.roundings,
        }


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam as Keras writes it: m' = beta_1·m + (1 - beta_1)·g, v' = beta_2·v + (1 - beta_2)·g²,
    w' = w - rate·sqrt(1 - beta_2^t)/(1 - beta_1^t)·m'/(sqrt(v') + epsilon).

    The state holds m and sqrt(v). ``epsilon`` is at least one unit of them; the betas have 20 bits.
    """

    learning_rate: float | Schedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate).check()
        for beta, what in ((self.beta_1, "beta_1"), (self.beta_2, "beta_2")):
            _check_beta(beta, what)
        positive(self.epsilon, "epsilon")
        self.clipping.check()

    @property
    def _decay(self) -> float:
        """What AdamW takes from weights."""
        return 0.0

    def state(self, parameter: Type, moment_bits: int | None) -> tuple[Type, ...]:
        """The mean of gradients and the root of their mean square."""
        return (_moment(parameter, moment_bits),) * 2

    def node(self, update: Update) -> tuple[str, dict[str, AttributeValue]]:
        """adam."""
        f = update.parameter.fraction_bits
        return "adam", {
            **compiled(
                as_schedule(self.learning_rate), update.total_steps, max(-16, f - 16), f + 30
            ),
            **_decay(self._decay),
            "beta1": _beta(self.beta_1),
            "beta2": _beta(self.beta_2),
            **_epsilon(self.epsilon, update.state[1]),
            **update.roundings,
        }


@dataclass(frozen=True)
class AdamW(Adam):
    """:class:`Adam` with decoupled weight decay: besides, w' takes rate·weight_decay·w from w."""

    weight_decay: float = 0.004

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decay(self.weight_decay)

    @property
    def _decay(self) -> float:
        return self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop as torch writes it, epsilon outside the root: v' = rho·v + (1 - rho)·g², w' = w -
    rate·g/(sqrt(v') + epsilon). The state holds sqrt(v)."""

    learning_rate: float | Schedule = 0.001
    rho: float = 0.9
    epsilon: float = 1e-7
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        as_schedule(self.learning_rate).check()
        _check_beta(self.rho, "rho")
        positive(self.epsilon, "epsilon")
        self.clipping.check()

    def state(self, parameter: Type, moment_bits: int | None) -> tuple[Type, ...]:
        """The root of the mean square of gradients."""
        return (_moment(parameter, moment_bits),)

    def node(self, update: Update) -> tuple[str, dict[str, AttributeValue]]:
        """rmsprop."""
        f = update.parameter.fraction_bits - FINER
        return "rmsprop", {
            **compiled(
                as_schedule(self.learning_rate),
                update.total_steps,
                max(-16, f - 40),
                min(80, f + 60),
            ),
            "rho": _beta(self.rho),
            **_epsilon(self.epsilon, update.state[0]),
            **update.roundings,
        }


def _moment(parameter: Type, moment_bits: int | None) -> Type:
    """The type of a moment: as wide as its parameter."""
    bits = MOMENT_BITS if moment_bits is None else moment_bits
    if parameter.dtype == "i16":
        bits -= 16 - (HEADROOM["i32"] - HEADROOM["i16"])
    return Type(parameter.dtype, max(-32, min(47, bits)), parameter.shape)


def _check_beta(value: float, what: str) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{what} must be in [0, 1), received {value}")


def _check_decay(value: float) -> None:
    if value:
        fixed_rate(value, "weight_decay")


def _beta(value: float) -> int:
    return min(round(math.ldexp(value, BETA_BITS)), (1 << BETA_BITS) - 1)


def _decay(value: float) -> dict[str, AttributeValue]:
    multiplier, exponent = fixed_rate(value, "weight_decay") if value else (0, 0)
    return {"decay": multiplier, "decay_exponent": exponent}


def _epsilon(value: float, root: Type) -> dict[str, AttributeValue]:
    """At least one unit of the root."""
    units = max(1, round(math.ldexp(value, root.fraction_bits)))
    if units >= 1 << 31:
        raise GvmError(f"epsilon: must be below 2^{31 - root.fraction_bits}, received {value}")
    return {"epsilon": units, "epsilon_exponent": root.fraction_bits}
