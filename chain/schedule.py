"""Witnesses: who is elected, who votes at a height, whose turn it is."""

from __future__ import annotations

from dataclasses import replace

from chain.draw import shuffled
from chain.hashes import digest_of
from chain.records import Schedule, Seat, Validator
from chain.staking import own_stake
from chain.state import State


def is_eligible(state: State, name: bytes, validator: Validator) -> bool:
    """Whether a validator may be elected: in good standing, with its own deposit. D24."""
    standing = not validator.jailed and not validator.tombstoned
    return standing and own_stake(state, name) >= state.parameters.deposit


def elect(state: State) -> tuple[Seat, ...]:
    """D24: the validators with at least the floor of all votes, most votes first, at most the top
    ``max_witnesses``. Where no one reaches the floor it is waived; where no one is eligible, the
    sitting witnesses stay, for a chain without witnesses is dead."""
    found = [(v.tokens, name, v) for name, v in state.validators.items()]
    found = [item for item in found if is_eligible(state, item[1], item[2])]
    votes = sum(tokens for tokens, _, _ in found)
    floor = state.parameters.vote_floor
    chosen = [item for item in found if 1000 * item[0] >= floor * votes] or found
    chosen.sort(key=lambda item: (-item[0], item[1]))
    unit = state.parameters.power_unit
    seats = [
        Seat(name, v.public, max(1, tokens // unit))
        for tokens, name, v in chosen[: state.parameters.max_witnesses]
    ]
    return tuple(sorted(seats, key=lambda seat: seat.account)) or state.schedule.following


def draw_order(entropy: bytes, start: int, count: int) -> tuple[int, ...]:
    """D25: a random order, new for every round of turns."""
    return tuple(shuffled(digest_of("order", entropy, start), count))


def first_schedule(seats: tuple[Seat, ...], entropy: bytes) -> Schedule:
    """The schedule of a genesis: its witnesses hold all three sets."""
    return Schedule((), seats, seats, draw_order(entropy, 1, len(seats)), 1)


def advance_schedule(state: State, height: int) -> State:
    """The schedule for the block after ``height``. D25, D27."""
    old = state.schedule
    is_round_over = height + 1 >= old.start + len(old.order)
    # D27: an election at the end of a round is in force two blocks later.
    following = elect(state) if is_round_over else old.following
    made = replace(old, previous=old.current, current=old.following, following=following)
    if is_round_over or made.current != old.current:
        order = draw_order(state.entropy, height + 1, len(made.current))
        made = replace(made, order=order, start=height + 1)
    return state.but(schedule=made)


def proposer(schedule: Schedule, height: int, round_: int) -> int:
    """D25: the index of the witness whose turn it is; each failed round passes the turn on."""
    return schedule.order[(height - schedule.start + round_) % len(schedule.order)]


def find_seat(seats: tuple[Seat, ...], name: bytes) -> Seat | None:
    """The seat of an account in a set."""
    return next((seat for seat in seats if seat.account == name), None)
