"""Presence: a window of signatures per witness, missed turns, pay and jail."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import slashing
from chain.context import Actions, Context
from chain.records import Schedule, Validator
from chain.refusal import Code, require
from chain.schedule import proposer
from chain.staking import get_validator
from chain.state import State


@dataclass(frozen=True)
class Unjail:
    """Asks to be elected again."""


def process_unjail(state: State, context: Context, action: Unjail) -> State:
    """D43: only after the time, never after an expulsion."""
    validator = get_validator(state, context.sender)
    require(validator.jailed, Code.NOT_ALLOWED, "D43", "the validator is not jailed")
    require(not validator.tombstoned, Code.NOT_ALLOWED, "D36", "the validator is expelled")
    require(
        context.height >= validator.jailed_until,
        Code.PHASE,
        "D43",
        f"jailed until height {validator.jailed_until}, this is {context.height}",
    )
    free = replace(validator, jailed=False, jailed_until=0)
    return state.but(validators=state.validators.set(context.sender, free))


def marked(validator: Validator, window: int, signed: bool) -> Validator:
    """A validator with one more block in its window. D40."""
    bits = bytearray(validator.window.ljust((window + 7) // 8, b"\0"))
    at = validator.blocks % window
    bit = 1 << (at & 7)
    missed = validator.missed - (1 if bits[at >> 3] & bit else 0) + (0 if signed else 1)
    bits[at >> 3] = bits[at >> 3] & ~bit | (0 if signed else bit)
    return replace(validator, window=bytes(bits), blocks=validator.blocks + 1, missed=missed)


def is_above(validator: Validator, window: int, threshold: int) -> bool:
    """Whether at least ``threshold`` thousandths of the window are signed; blocks before the
    window was full count as signed. D41, D42."""
    return 1000 * (window - validator.missed) >= threshold * window


def record_signatures(state: State, signers: frozenset[bytes], height: int) -> State:
    """D40, D42: marks who signed the block below, and jails who was away too long."""
    window, threshold = state.parameters.uptime_window, state.parameters.jail_threshold
    for seat in state.schedule.previous:
        name = seat.account
        validator = get_validator(state, name)
        if validator.jailed:
            continue
        validator = marked(validator, window, name in signers)
        state = state.but(validators=state.validators.set(name, validator))
        if not is_above(validator, window, threshold):
            share = state.parameters.downtime_slash
            state = slashing.slash_validator(state, name, height, share)
            state = slashing.jail(state, name, height)
    return state


def record_turns(state: State, schedule: Schedule, height: int, round_: int) -> State:
    """D44: every failed round below the block's is a missed turn; enough of them, and the witness
    is jailed, so that votes with a backup may switch."""
    count = len(schedule.order)
    for passed in range(min(round_, count)):
        name = schedule.current[proposer(schedule, height, passed)].account
        validator = get_validator(state, name)
        if validator.jailed:
            continue
        validator = replace(validator, missed_turns=validator.missed_turns + 1)
        state = state.but(validators=state.validators.set(name, validator))
        if validator.missed_turns >= state.parameters.missed_turns:
            state = slashing.jail(state, name, height)
    name = schedule.current[proposer(schedule, height, round_)].account
    validator = get_validator(state, name)
    if validator.missed_turns:
        back = replace(validator, missed_turns=0)
        state = state.but(validators=state.validators.set(name, back))
    return state


ACTIONS: Actions = {Unjail: process_unjail}
