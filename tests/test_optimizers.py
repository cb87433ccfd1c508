"""Optimizers and learning rates: against their float expressions, step by step, and in runs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import _core, schedules
from gvm.errors import GvmError
from gvm.moments import corrected_rate, power
from gvm.operator import Attributes, AttributeValue, Case, Execution
from gvm.ops import BY_OPCODE, OPERATORS
from gvm.optimizers import Optimizer
from gvm.program import PROFILES, with_profile
from gvm.rates import decay_at, rate_at
from gvm.types import i16, i32, i64
from gvm.updates import with_optimizer
from tests import operator_suite as suite
from tests.random_networks import random_network
from tests.random_programs import packed, random_program, tensors
from tests.small_models import EXAMPLES, X, Y, classifier, ids, trained

STEPS = 300
PARAMETERS, STATE, TOTALS = 2, 3, 5
Float = dict[str, Any]

# --- Against float expressions -----------------------------------------------------------------


def _sgd(o: Any, state: Float, w: Any, g: Any, rate: float, t: int) -> Any:
    g = g + o.weight_decay * w
    state["v"] = o.momentum * state.get("v", 0.0) - rate * g
    return w + (o.momentum * state["v"] - rate * g if o.nesterov else state["v"])


def _adam(o: Any, state: Float, w: Any, g: Any, rate: float, t: int) -> Any:
    decay = getattr(o, "weight_decay", 0.0)
    state["m"] = o.beta_1 * state.get("m", 0.0) + (1 - o.beta_1) * g
    state["v"] = o.beta_2 * state.get("v", 0.0) + (1 - o.beta_2) * g * g
    correction = math.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t)
    step = correction * state["m"] / (np.sqrt(state["v"]) + state["epsilon"])
    return w - rate * (step + decay * w)


def _rmsprop(o: Any, state: Float, w: Any, g: Any, rate: float, t: int) -> Any:
    state["v"] = o.rho * state.get("v", 0.0) + (1 - o.rho) * g * g
    return w - rate * g / (np.sqrt(state["v"]) + state["epsilon"])


OPTIMIZERS: list[tuple[Optimizer, Callable[..., Any]]] = [
    (gvm.SGD(0.01), _sgd),
    (gvm.SGD(0.01, momentum=0.9), _sgd),
    (gvm.SGD(0.01, momentum=0.9, nesterov=True), _sgd),
    (gvm.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.05), _sgd),
    (gvm.SGD(schedules.Cosine(0.02), momentum=0.5, weight_decay=0.05), _sgd),
    (gvm.SGD(schedules.Step(0.05, [100, 200]), clip_value=0.01), _sgd),
    (gvm.SGD(0.02, clip_norm=0.05), _sgd),
    (gvm.Adam(0.003), _adam),
    (gvm.Adam(0.003, beta_1=0.5, beta_2=0.9, epsilon=1e-3, clip_norm=0.05), _adam),
    (gvm.AdamW(schedules.Warmup(schedules.Cosine(0.005), steps=50), weight_decay=0.1), _adam),
    (gvm.RMSprop(schedules.Exponential(0.003, 50, 0.7)), _rmsprop),
    (gvm.RMSprop(0.001, rho=0.99, clip_value=0.02), _rmsprop),
]


def _real_rate(rate: Any, step: int) -> float:
    """The rate by the definition of its schedule."""
    match rate:
        case schedules.Cosine(first, steps, final):
            done = min(1.0, step / (steps or STEPS))
            return first * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)
        case schedules.Step(first, boundaries, factor):
            return first * factor ** sum(step >= b for b in boundaries)
        case schedules.Exponential(first, steps, decay, staircase):
            return first * decay ** (step // steps if staircase else step / steps)
        case schedules.Warmup(inner, steps, start):
            if step >= steps:
                left = inner
                if isinstance(inner, schedules.Cosine) and inner.decay_steps is None:
                    left = schedules.Cosine(inner.learning_rate, STEPS - steps, inner.final)
                return _real_rate(left, step - steps)
            return (start + (1 - start) * step / steps) * _real_rate(inner, 0)
        case schedules.Constant(first):
            return first
    return float(rate)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("optimizer", "float_step"), OPTIMIZERS, ids=lambda o: "")
def test_updates_follow_the_float_expression(
    optimizer: Optimizer, float_step: Callable[..., Any], profile: str, rounding: str
) -> None:
    # The same gradients for both, a direction and noise: what differs is the update alone.
    if (profile, rounding) == ("w16", "nearest"):
        pytest.skip("16 bits rounded to nearest lose small steps: that is what w16 means")
    program = with_profile(classifier().program, profile)
    program = with_optimizer(program, optimizer, rounding, STEPS)
    native = _core.Program(program.encode())
    session = _core.Session(native, 1, -1)
    rng = np.random.default_rng(3)
    types = program.parameters
    reals = [rng.normal(0, 0.5, t.shape) for t in types]
    integers = [np.rint(r * 2.0**t.fraction_bits) for r, t in zip(reals, types, strict=True)]
    reals = [i * 2.0**-t.fraction_bits for i, t in zip(integers, types, strict=True)]
    session.write(PARAMETERS, packed(program, PARAMETERS, integers))
    session.write(STATE, bytes(native.info()["state_bytes"]))
    began = [r.copy() for r in reals]
    per = len(program.state) // len(types)
    # An epsilon is at least one unit of the root.
    units = [2.0 ** -program.state[per * i - 1].fraction_bits if per else 0 for i in (1, 2, 3, 4)]
    wished = getattr(optimizer, "epsilon", 0.0)
    states: list[Float] = [{"epsilon": max(1, round(wished / u)) * u} if per else {} for u in units]
    drift = [rng.normal(0, 0.02, t.shape) for t in types]
    count = 32
    for step in range(STEPS):
        totals, means = np.zeros(native.info()["totals"], dtype=np.int64), []
        totals[program.count_total] = count
        for i, p in enumerate(program.info):
            assert p.gradient is not None
            type_, at, _ = native.tensors(TOTALS)[p.gradient]
            noisy = drift[i] + rng.normal(0, 0.03, types[i].shape)
            total = np.rint(noisy * count * 2.0**type_.fraction_bits).astype(np.int64)
            totals[at : at + total.size] = total.reshape(-1)
            means.append(total * 2.0**-type_.fraction_bits / count)
        if optimizer.clip_value is not None:
            means = [np.clip(g, -optimizer.clip_value, optimizer.clip_value) for g in means]
        if optimizer.clip_norm is not None:
            norm = math.sqrt(sum(float((g * g).sum()) for g in means))
            means = [g * min(1.0, optimizer.clip_norm / norm) for g in means]
        rate = _real_rate(optimizer.learning_rate, step)  # type: ignore[attr-defined]
        for i, g in enumerate(means):
            reals[i] = float_step(optimizer, states[i], reals[i], g, rate, step + 1)
        session.apply(totals, 11, step)
    made = tensors(program, PARAMETERS, session.read(PARAMETERS))
    moved = max(float(np.abs(a - b).max()) for a, b in zip(reals, began, strict=True))
    assert moved > 0.02
    for q, type_, real in zip(made, types, reals, strict=True):
        error = np.abs(q * 2.0**-type_.fraction_bits - real)
        # The roundings of 16 bits, of roots above all, are noise that an update divides by.
        spread = float(np.sqrt((error * error).mean()))
        walk = 0.0 if profile == "w32" else math.sqrt(STEPS) * 2.0**-type_.fraction_bits
        assert float(error.max()) < (1e-3 if profile == "w32" else 0.25) * moved + 2 * walk
        assert spread < (1e-3 if profile == "w32" else 0.05) * moved + walk
    assert sum(session.clamps(3)) == 0


# --- The integers of a step --------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0, 1, 2**19, 943718, 1047527, 2**20 - 1])
def test_powers_are_near_the_real_ones(beta: int) -> None:
    for exponent in (1, 2, 3, 10, 1000, 10**6, 2**56):
        exact = (beta / 2**20) ** exponent
        # Each squaring doubles the relative error of what it squares.
        assert abs(power(beta, exponent) / 2**40 - exact) < 1e-12 * min(exponent, 2**12)
        assert power(beta, exponent) <= 2**40 - 2**20
    for step in (0, 1, 9, 999):
        t = step + 1
        first, second = (beta / 2**20) ** t, (1047527 / 2**20) ** t
        wanted = 2**23 * math.sqrt(1 - second) / (1 - first)
        assert corrected_rate(2**23, beta, 1047527, step) == pytest.approx(wanted, rel=1e-4, abs=1)


STEPPED: list[tuple[str, dict[str, AttributeValue]]] = [
    ("adam", {"beta1": 943718, "beta2": 1047527, "epsilon": 9, "epsilon_exponent": 24}),
    ("adam", {"beta1": 2**20 - 1, "beta2": 1, "epsilon": 1, "epsilon_exponent": 24, "decay": 9999}),
    ("rmsprop", {"rho": 943718, "epsilon": 3, "epsilon_exponent": 24}),
    ("gradient_descent", {"momentum": 29491, "nesterov": 1, "decay": 30000, "decay_exponent": 20}),
]


@pytest.mark.parametrize(("name", "more"), STEPPED)
def test_the_core_knows_the_step(name: str, more: dict[str, AttributeValue]) -> None:
    operator = OPERATORS[name]
    rate: dict[str, AttributeValue] = {
        "steps": (3, 4, 1000, 2**40),
        "rates": (100, 2**24 - 1, 5_000_001, 0),
        "exponent": 33,
    }
    w, moment = i32(27, 40), i32(24, 40)
    states = 2 if name == "adam" else 1
    kept = w if name == "gradient_descent" else moment
    types = (w, *(kept,) * states, i64(30, 40, bound=1 << 40), i64(0))
    case = Case("", types, low=1, high=100)
    for rounding in (0, 3):
        roundings: dict[str, AttributeValue] = {"rounding": rounding, "state_rounding": rounding}
        attributes = operator.complete({**rate, **more, **roundings})
        inputs = suite.paint(case, "random", 2**28)
        for step in (0, 1, 2, 3, 4, 5, 501, 999, 1000, 2**39, 2**40, 2**56 - 1):
            execution = Execution(types, types[: states + 1], seed=5, step=step, site=9)
            wanted = operator.reference(execution, attributes, *inputs)
            for level in _core.levels():
                made, _ = _core.run_operator(
                    operator.opcode,
                    suite.flat(attributes),
                    [
                        (t, a.astype(np.int64 if t.dtype == "i64" else np.int32))
                        for t, a in zip(types, inputs, strict=True)
                    ],
                    local=1,
                    offset=0,
                    batch=1,
                    seed=5,
                    step=step,
                    site=9,
                    level=level,
                    threads=1,
                )
                for a, b in zip(made, wanted, strict=True):
                    assert np.asarray(a).tolist() == np.asarray(b).tolist()


# --- Schedules ---------------------------------------------------------------------------------


def _attributes(schedule: Any, total: int | None) -> Attributes:
    return schedules.compiled(schedule, total)


@pytest.mark.parametrize(
    ("schedule", "total"),
    [
        (schedules.Constant(0.1), None),
        (schedules.Step(0.1, [10, 11, 250], 0.3), None),
        (schedules.Cosine(3e-4), STEPS),
        (schedules.Cosine(0.5, 200, final=0.1), None),
        (schedules.Exponential(0.2, 30, 0.5), None),
        (schedules.Exponential(0.2, 30, 0.5, staircase=True), STEPS),
        (schedules.Warmup(0.01, 50), None),
        (schedules.Warmup(schedules.Cosine(0.01), 50, start=0.1), STEPS),
        (schedules.Warmup(schedules.Step(0.01, [20]), 1), None),
    ],
    ids=str,
)
def test_knots_are_the_schedule(schedule: Any, total: int | None) -> None:
    attributes = _attributes(schedule, total)
    largest = max(_real_rate(schedule, s) for s in range(STEPS))
    exponent = attributes["exponent"]
    assert isinstance(exponent, int)
    for step in range(STEPS):
        made = rate_at(attributes, step) * 2.0**-exponent
        assert abs(made - _real_rate(schedule, step)) < largest / 2000, step
    assert max(attributes["rates"]) >= 1 << 22  # type: ignore[arg-type]


def test_rates_by_hand() -> None:
    attributes = {
        "steps": (10, 14),
        "rates": (8, 2),
        "exponent": 4,
        "decay": 3,
        "decay_exponent": 30,
    }
    # 8 - 1.5·k: 6.5 is a tie and goes to the even 6, 3.5 to 4.
    assert [rate_at(attributes, s) for s in (0, 10, 11, 12, 13, 14, 99)] == [8, 8, 6, 5, 4, 2, 2]
    # 8·3·2^(32 - 34) = 6; at rate 5, 15/4 is 4.
    assert [decay_at(attributes, s) for s in (0, 12)] == [6, 4]
    assert decay_at({**attributes, "decay_exponent": -16}, 0) == 2**32 - 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gvm.SGD(0.0), "learning_rate must be a positive number, received 0.0"),
        (lambda: gvm.Adam(-1.0), "learning_rate must be a positive number, received -1.0"),
        (lambda: gvm.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: gvm.SGD(0.1, weight_decay=-1), "weight_decay must be a positive number"),
        (lambda: gvm.Adam(beta_2=1.0), r"beta_2 must be in \[0, 1\), received 1.0"),
        (lambda: gvm.RMSprop(rho=-0.1), r"rho must be in \[0, 1\), received -0.1"),
        (lambda: gvm.AdamW(epsilon=0.0), "epsilon must be a positive number, received 0.0"),
        (lambda: gvm.Adam(clip_norm=0.0), "clip_norm must be a positive number, received 0.0"),
        (lambda: gvm.SGD(clip_norm=1.0, clip_value=1.0), "one of them, received both"),
        (lambda: gvm.SGD(schedules.Step(0.1, [5, 5])), "boundaries must ascend from 1"),
        (lambda: gvm.SGD(schedules.Warmup(0.1, 0)), "steps must be at least 1, received 0"),
        (lambda: gvm.SGD(schedules.Cosine(0.1, final=2)), r"final must be in \[0, 1\]"),
        (lambda: gvm.SGD(schedules.Exponential(0.1, 5, 1.5)), r"decay_rate must be in \(0, 1\)"),
    ],
)
def test_what_is_no_optimizer(make: Callable[[], Optimizer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_what_no_format_holds() -> None:
    program = classifier().program
    for optimizer, message in (
        (gvm.Adam(1e9), "learning rate: 1000000000.0 is too large for the format"),
        (gvm.Adam(1e-30), "learning rate: 1e-30 is too small for the format"),
        (gvm.Adam(epsilon=1e6), "epsilon: must be below"),
        (gvm.Adam(schedules.Cosine(0.1)), "a cosine outside a run needs decay_steps"),
        (gvm.SGD(schedules.Exponential(0.1, 1, 0.99, staircase=True)), "drops of the rate"),
    ):
        with pytest.raises(GvmError, match=message):
            with_optimizer(program, optimizer)


# --- Runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "optimizer",
    [
        gvm.SGD(0.1, momentum=0.9, nesterov=True, clip_norm=1.0),
        gvm.Adam(0.02),
        gvm.AdamW(
            schedules.Warmup(schedules.Cosine(0.03, 30), 6), weight_decay=0.01, clip_value=0.5
        ),
        gvm.RMSprop(0.01),
    ],
    ids=lambda o: type(o).__name__,
)
def test_runs_learn_resume_and_know_no_workers(optimizer: Optimizer, profile: str) -> None:
    before = classifier().evaluate(X, Y)
    model, history = trained(optimizer=optimizer, epochs=6, profile=profile)
    assert model.evaluate(X, Y) < before
    assert model.evaluate(X, Y).accuracy > 0.85
    _, again = trained(optimizer=optimizer, epochs=6, profile=profile, micro_batch=3, threads=2)
    assert ids(again) == ids(history)
    half, _ = trained(optimizer=optimizer, epochs=3, profile=profile)
    gone_on = half.train(X, Y, optimizer=optimizer, epochs=6, batch_size=16, resume=True)
    assert ids(gone_on) == ids(history)


def test_clipping_changes_the_program() -> None:
    _, free = trained(optimizer=gvm.SGD(0.1))
    _, loose = trained(optimizer=gvm.SGD(0.1, clip_norm=1000.0))
    _, tight = trained(optimizer=gvm.SGD(0.1, clip_norm=0.01))
    assert len({h.train_id for h in (free, loose, tight)}) == 3
    assert free.parameters_id == loose.parameters_id != tight.parameters_id


def test_random_programs_have_every_update() -> None:
    found = set()
    for seed in range(40):
        for made in (random_program, random_network):
            apply = made(random.Random(seed)).program.apply
            assert apply is not None
            found |= {BY_OPCODE[s.opcode].name for g in apply.segments for s in g.steps}
    assert {"sgd", "momentum", "gradient_descent", "adam", "rmsprop", "clip"} <= found


def test_formats_of_moments_come_from_calibration() -> None:
    model = classifier()
    bits = [p.moment_bits for p in model.program.info]
    assert all(b is not None and 20 <= b <= 31 for b in bits)
    wide = with_optimizer(model.program, gvm.Adam())
    assert list(wide.state)[::2] == [
        i32(b or 0, *t.shape) for b, t in zip(bits, model.program.parameters, strict=True)
    ]
    narrow = with_optimizer(with_profile(model.program, "w16"), gvm.RMSprop())
    assert list(narrow.state) == [
        i16((b or 0) - 12, *t.shape) for b, t in zip(bits, model.program.parameters, strict=True)
    ]
    assert EXAMPLES == len(X)
