"""Selection: what more than two thirds of the verifiers found is certified; the smallest certified
loss wins."""

from __future__ import annotations

from dataclasses import replace

from chain import conclusion, phases, slashing
from chain.conclusion import Truths
from chain.hashes import digest_of
from chain.quorum import has_quorum
from chain.records import (
    UNAVAILABLE,
    ZERO,
    Attestation,
    Candidate,
    Entry,
    Outcome,
    Phase,
    Round,
)
from chain.state import State


def has_committed(attestation: Attestation) -> bool:
    """Whether a verifier has committed to its findings."""
    return attestation.commitment != ZERO


def certified(found: Round, index: int) -> Entry | None:
    """L24: the entry at an index on which more than two thirds of the committee agree, those who
    kept silent counted; :data:`UNAVAILABLE` is an entry like any other."""
    votes: dict[Entry, int] = {}
    for attestation in found.attestations:
        if attestation.opened:
            entry = attestation.entries[index]
            votes[entry] = votes.get(entry, 0) + 1
    # At most one has a quorum, whatever the order.
    seats = len(found.attestations)
    return next((entry for entry, yes in votes.items() if has_quorum(yes, seats)), None)


def order_key(found: Round, candidate: Candidate, loss: int) -> tuple[int, int, bytes]:
    """L28: smaller loss first, then the earlier commitment, then what the beacon draws."""
    tie = digest_of("tie", found.beacon, candidate.trainer)
    return loss, candidate.height, tie


def leave_reveal(state: State, job: bytes, found: Round, height: int) -> State:
    """L21: what was not revealed is out, and its bond is lost."""
    for candidate in found.candidates:
        if not candidate.revealed:
            state = conclusion.forfeit(state, job, candidate, "not revealed")
    found = replace(found, candidates=tuple(c for c in found.candidates if c.revealed))
    if not found.candidates:
        return conclusion.conclude(state, job, found, Outcome.NO_CANDIDATE)
    return phases.begin(state, job, found, Phase.ATTEST_COMMIT, height)


def leave_attest_commit(state: State, job: bytes, found: Round, height: int) -> State:
    """L22: findings are opened when no more can be committed."""
    return phases.begin(state, job, found, Phase.ATTEST_REVEAL, height)


def judge_verifiers(state: State, found: Round, truths: Truths) -> tuple[State, Round]:
    """L27: a verifier that opens nothing is slashed for withholding; those who found every
    certified entry are to be paid. Who found something else answers at the end of the round."""
    good = []
    for attestation in found.attestations:
        name = attestation.verifier
        if not attestation.opened:
            state = slashing.slash_silence(state, name)
        elif all(t in (None, e) for e, t in zip(attestation.entries, truths, strict=True)):
            good.append(name)
    return state, replace(found, certified=truths, verified=tuple(good))


def leave_attest_reveal(state: State, job: bytes, found: Round, height: int) -> State:
    """L24 to L29: certifies, judges, selects. What is certified can be disputed, whether it makes a
    winner or not: L33."""
    truths = tuple(certified(found, i) for i in range(1 + len(found.candidates)))
    state, found = judge_verifiers(state, found, truths)
    # L25, L26: what is unavailable, or not what its trainer said, does not contend.
    contenders = [
        (candidate, truth.loss, truth.trace)
        for candidate, truth in zip(found.candidates, truths[1:], strict=True)
        if truth is not None and truth.available and truth.loss == candidate.claim
    ]
    contenders.sort(key=lambda known: order_key(found, known[0], known[1]))
    parent = truths[0]
    is_measured = parent is not None and parent.available
    if parent is not None and is_measured:
        found = replace(found, parent_loss=parent.loss)
    if is_measured and contenders:
        # L29: the parent is measured on the same fold, and must be beaten by the margin.
        winner, loss, trace = contenders[0]
        if loss + phases.get_job(state, job).terms.margin <= found.parent_loss:
            found = replace(found, winner=winner.trainer, loss=loss, trace=trace)
            return phases.begin(state, job, found, Phase.CONFIRM, height)
    is_known = is_measured and any(truths[1:])
    outcome = Outcome.NO_IMPROVEMENT if is_known else Outcome.NOT_CERTIFIED
    if all(truth in (None, UNAVAILABLE) for truth in truths):
        return conclusion.conclude(state, job, found, outcome)
    return phases.begin(state, job, replace(found, pending=outcome), Phase.CHALLENGE, height)
