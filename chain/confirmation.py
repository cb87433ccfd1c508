"""Confirmation and challenge: a second committee recomputes the winner, then anyone may prove it
wrong."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import Annotated

from chain import conclusion, ledger, phases, slashing
from chain.codec import Count, Digest, Size
from chain.context import Actions, Claim, Context, Execution, Verdict
from chain.quorum import has_quorum
from chain.records import Challenge, Confirmation, Entry, Job, Outcome, Phase, Round
from chain.refusal import Code, Refused, require
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
    """A challenge of what is certified of a subject: 0 for the parent, k for the k-th candidate by
    ascending trainer. ``opening`` lets the referee see one wrong step of its evaluation."""

    job: Digest
    round: Count
    subject: Count
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
    """L32: without more than two thirds of the committee the round fails: skipped, never forked.
    Either way it can be disputed first."""
    confirmed = has_quorum(len(confirmers_of(found)), len(found.confirmations))
    outcome = Outcome.FINAL if confirmed else Outcome.NOT_CONFIRMED
    return phases.begin(state, job, replace(found, pending=outcome), Phase.CHALLENGE, height)


def process_dispute(state: State, context: Context, action: Dispute) -> State:
    """L33: each further challenge of a round costs twice the bond of the one before, so that
    filling the queue is dear and never impossible to join."""
    found = phases.get_open(state, context, action.job, action.round, Phase.CHALLENGE)
    terms = phases.get_job(state, action.job).terms
    require(
        disputable(found, action.subject) is not None,
        Code.UNKNOWN,
        "L33",
        f"nothing is certified of subject {action.subject}",
    )
    count = len(found.challenges)
    require(count < MAX_CHALLENGES, Code.LIMIT, "L33", f"at most {MAX_CHALLENGES} wait at once")
    bond = terms.challenge_bond << count
    state = ledger.move(state, context.sender, ledger.BONDS, bond)
    made = Challenge(context.sender, bond, action.subject, context.height, action.opening)
    changed = replace(found, challenges=(*found.challenges, made))
    return phases.put(state, action.job, changed)


def disputable(found: Round, subject: int) -> Entry | None:
    """The certified loss of a subject; None where there is none that a referee could judge."""
    entry = found.certified[subject] if subject < len(found.certified) else None
    return entry if entry is not None and entry.available else None


def claim_of(job: Job, found: Round, subject: int) -> Claim:
    """What the verifiers certified of a subject, as the referee is asked."""
    entry = disputable(found, subject)
    if entry is None:
        raise ValueError(f"nothing is certified of subject {subject}")
    parameters = found.candidates[subject - 1].parameters if subject else found.parent
    return Claim(job.graph, parameters, job.folds[found.fold], entry.loss, entry.trace)


def settle_challenges(state: State, execution: Execution) -> State:
    """L34: first come, first judged, over all jobs, within the work that a block allows; what does
    not fit waits for the next block. No job costs more than a block allows, so one always fits."""
    waiting = [(f.challenges[0].height, job) for job, f in state.rounds.items() if f.challenges]
    heapq.heapify(waiting)
    work = 0
    while waiting:
        _, job = heapq.heappop(waiting)
        cost = phases.get_job(state, job).cost
        if work + cost > state.parameters.max_referee_work:
            break
        work += cost
        state = judge(state, execution, job)
        left = state.rounds.get(job)
        if left is not None and left.challenges:
            heapq.heappush(waiting, (left.challenges[0].height, job))
    return state


def judge(state: State, execution: Execution, job: bytes) -> State:
    """L35, L36: the oldest challenge of a round."""
    found = state.rounds.get(job)
    if found is None:
        return state
    challenge, left = found.challenges[0], replace(found, challenges=found.challenges[1:])
    claim = claim_of(phases.get_job(state, job), found, challenge.subject)
    verdict = execution.referee(claim, challenge.opening)
    if verdict != Verdict.NOTHING:
        return refute(state, job, left, challenge, verdict)
    # L35: a challenge that proves nothing costs its bond.
    state = ledger.burn(state, ledger.BONDS, challenge.bond)
    state = state.note("challenge failed", challenge.challenger, challenge.bond)
    return phases.put(state, job, left)


def signers_of(found: Round, subject: int) -> list[bytes]:
    """L36: everyone who signed what is certified of a subject, whatever else they signed."""
    entry = found.certified[subject]
    made = [a.verifier for a in found.attestations if a.opened and a.entries[subject] == entry]
    is_winner = subject > 0 and found.candidates[subject - 1].trainer == found.winner
    return [*made, *(confirmers_of(found) if is_winner else ())]


def refute(state: State, job: bytes, found: Round, challenge: Challenge, verdict: Verdict) -> State:
    """L36: everyone who signed the refuted loss is slashed; the challenger has its bond back and
    its share of what they lose. Challenges that waited have their bonds back."""
    reporter, share = challenge.challenger, state.parameters.attestation_slash
    for waiting in (challenge, *found.challenges):
        state = ledger.move(state, ledger.BONDS, waiting.challenger, waiting.bond)
    entry, subject = found.certified[challenge.subject], challenge.subject
    for name in signers_of(found, subject):
        state = slashing.slash_node(state, name, share, reporter)
    candidates = list(found.candidates)
    stated = entry.loss if verdict == Verdict.FALSE_LOSS and entry is not None else None
    if subject and candidates[subject - 1].claim == stated:
        # The trainer said the same. It states no trace: a false one is not its fault.
        del candidates[subject - 1]
        bond = phases.get_job(state, job).terms.trainer_bond
        state = slashing.take(state, ledger.BONDS, bond, reporter)
    left = replace(found, challenges=(), candidates=tuple(candidates))
    return conclusion.conclude(state, job, left, Outcome.REFUTED)


def leave_challenge(state: State, job: bytes, found: Round, height: int) -> State:
    """L37: decided, once the window is over and nothing waits for the referee."""
    if found.challenges or found.pending is None:
        return state
    return conclusion.conclude(state, job, found, found.pending)


ACTIONS: Actions = {Confirm: process_confirm, Dispute: process_dispute}
