"""Confirmation and challenge: a second committee recomputes the winner, then anyone may prove it
wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from chain import conclusion, ledger, phases, slashing
from chain.codec import Count, Digest, Size
from chain.context import Actions, Claim, Context, Execution
from chain.quorum import has_quorum
from chain.records import Challenge, Confirmation, Outcome, Phase, Round
from chain.refusal import Code, Refused, require
from chain.selection import give_back
from chain.state import State

MAX_CHALLENGES = 16


@dataclass(frozen=True)
class Confirm:
    """What a confirmer found for the winner."""

    job: Digest
    round: Count
    loss: Count
    trace: Digest


@dataclass(frozen=True)
class Dispute:
    """A challenge: ``opening`` lets the referee see one wrong step of the winner's evaluation."""

    job: Digest
    round: Count
    opening: Annotated[bytes, Size(1, 1 << 21)]


def agrees(found: Round, confirmation: Confirmation) -> bool:
    """Whether a confirmer found what was certified."""
    same = (confirmation.loss, confirmation.trace) == (found.loss, found.trace)
    return confirmation.sent and same


def confirmers_of(found: Round) -> tuple[bytes, ...]:
    """Those who confirmed the winner."""
    return tuple(c.confirmer for c in found.confirmations if agrees(found, c))


def process_confirm(state: State, context: Context, action: Confirm) -> State:
    """L31: once per confirmer of the round."""
    found = phases.get_open(state, context, action.job, action.round, Phase.CONFIRM)
    own = next((c for c in found.confirmations if c.confirmer == context.sender), None)
    if own is None:
        raise Refused(Code.NOT_ALLOWED, "L31", "the sender is no confirmer of this round")
    require(not own.sent, Code.DUPLICATE, "L31", "the confirmer has answered")
    sent = replace(own, sent=True, loss=action.loss, trace=action.trace)
    made = tuple(sent if c is own else c for c in found.confirmations)
    return phases.put(state, action.job, replace(found, confirmations=made))


def leave_confirm(state: State, job: bytes, found: Round, height: int) -> State:
    """L32: without more than two thirds of the committee the round fails: skipped, never forked."""
    if has_quorum(len(confirmers_of(found)), len(found.confirmations)):
        return phases.begin(state, job, found, Phase.CHALLENGE, height)
    state = give_back(state, job, found.candidates[0])
    return conclusion.conclude(state, job, found, Outcome.NOT_CONFIRMED)


def process_dispute(state: State, context: Context, action: Dispute) -> State:
    """L33: each further challenge of a round costs twice the bond of the one before, so that
    filling the queue is dear and never impossible to join."""
    found = phases.get_open(state, context, action.job, action.round, Phase.CHALLENGE)
    terms = phases.get_job(state, action.job).terms
    count = len(found.challenges)
    require(count < MAX_CHALLENGES, Code.LIMIT, "L33", f"at most {MAX_CHALLENGES} wait at once")
    bond = terms.challenge_bond << count
    state = ledger.move(state, context.sender, ledger.BONDS, bond)
    made = Challenge(context.sender, bond, action.opening)
    changed = replace(found, challenges=(*found.challenges, made))
    return phases.put(state, action.job, changed)


def settle_challenges(state: State, execution: Execution, job: bytes) -> State:
    """L34: first come, first judged, within the work that a block allows; what does not fit waits
    for the next block."""
    found = state.rounds.get(job)
    if found is None or not found.challenges:
        return state
    owner = phases.get_job(state, job)
    claim = Claim(
        owner.graph,
        found.candidates[0].parameters,
        owner.folds[found.fold],
        found.loss,
        found.trace,
    )
    waiting = list(found.challenges)
    while waiting:
        first = state.referee_work == 0
        if not first and state.referee_work + owner.cost > state.parameters.max_referee_work:
            break
        challenge = waiting.pop(0)
        state = state.but(referee_work=state.referee_work + owner.cost)
        if execution.referee(claim, challenge.opening):
            left = replace(found, challenges=tuple(waiting))
            return refute(state, job, left, challenge)
        # L35: a challenge that proves nothing costs its bond.
        state = ledger.burn(state, ledger.BONDS, challenge.bond)
        state = state.note("challenge failed", challenge.challenger, challenge.bond)
    return phases.put(state, job, replace(found, challenges=tuple(waiting)))


def refute(state: State, job: bytes, found: Round, challenge: Challenge) -> State:
    """L36: everyone who signed the refuted loss is slashed; the challenger has its bond back and
    its share of what they lose. Challenges that waited have their bonds back."""
    reporter, share = challenge.challenger, state.parameters.attestation_slash
    for waiting in (challenge, *found.challenges):
        state = ledger.move(state, ledger.BONDS, waiting.challenger, waiting.bond)
    bond = phases.get_job(state, job).terms.trainer_bond
    state = slashing.take(state, ledger.BONDS, bond, reporter)
    for name in (*found.verified, *confirmers_of(found)):
        state = slashing.slash_node(state, name, share, reporter)
    return conclusion.conclude(state, job, replace(found, challenges=()), Outcome.REFUTED)


def leave_challenge(state: State, job: bytes, found: Round, height: int) -> State:
    """L37: final, once the window is over and nothing waits for the referee."""
    if found.challenges:
        return state
    state = give_back(state, job, found.candidates[0])
    return conclusion.conclude(state, job, found, Outcome.FINAL)


ACTIONS: Actions = {Confirm: process_confirm, Dispute: process_dispute}
