"""Selection: what more than two thirds of the verifiers found is certified; the smallest certified
loss wins."""

from __future__ import annotations

from dataclasses import replace

from chain import conclusion, ledger, phases, slashing
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
    entries = [a.entries[index] for a in found.attestations if a.opened]
    for entry in entries:
        if has_quorum(sum(other == entry for other in entries), len(found.attestations)):
            return entry
    return None


def order_key(found: Round, candidate: Candidate, loss: int) -> tuple[int, int, bytes]:
    """L28: smaller loss first, then the earlier commitment, then what the beacon draws."""
    tie = digest_of("tie", found.beacon, candidate.trainer)
    return loss, candidate.height, tie


def forfeit(state: State, job: bytes, candidate: Candidate, why: str) -> State:
    """L21, L25, L26: a trainer's bond is burned."""
    bond = phases.get_job(state, job).terms.trainer_bond
    return ledger.burn(state, ledger.BONDS, bond).note(why, candidate.trainer, bond)


def give_back(state: State, job: bytes, candidate: Candidate) -> State:
    """L30: a trainer that did no wrong has its bond back."""
    bond = phases.get_job(state, job).terms.trainer_bond
    return ledger.move(state, ledger.BONDS, candidate.trainer, bond)


def leave_reveal(state: State, job: bytes, found: Round, height: int) -> State:
    """L21: what was not revealed is out, and its bond is lost."""
    for candidate in found.candidates:
        if not candidate.revealed:
            state = forfeit(state, job, candidate, "not revealed")
    found = replace(found, candidates=tuple(c for c in found.candidates if c.revealed))
    if not found.candidates:
        return conclusion.conclude(state, job, found, Outcome.NO_CANDIDATE)
    return phases.begin(state, job, found, Phase.ATTEST_COMMIT, height)


def leave_attest_commit(state: State, job: bytes, found: Round, height: int) -> State:
    """L22: findings are opened when no more can be committed."""
    return phases.begin(state, job, found, Phase.ATTEST_REVEAL, height)


def judge_verifiers(state: State, found: Round, truths: list[Entry | None]) -> tuple[State, Round]:
    """L27: a verifier that attests another loss than the certified one is slashed for it, one that
    opens nothing for withholding; those who found every certified entry are to be paid."""
    good = []
    for attestation in found.attestations:
        name = attestation.verifier
        if not attestation.opened:
            state = slashing.slash_node(state, name, state.parameters.withholding_slash)
            continue
        pairs = list(zip(attestation.entries, truths, strict=True))
        if any(t not in (None, UNAVAILABLE, e) and e.available for e, t in pairs):
            state = slashing.slash_node(state, name, state.parameters.attestation_slash)
        elif all(t in (None, e) for e, t in pairs):
            good.append(name)
    return state, replace(found, verified=tuple(good))


def leave_attest_reveal(state: State, job: bytes, found: Round, height: int) -> State:
    """L24 to L30: certifies, judges, selects."""
    truths = [certified(found, i) for i in range(1 + len(found.candidates))]
    state, found = judge_verifiers(state, found, truths)
    contenders: list[tuple[Candidate, Entry]] = []
    for candidate, truth in zip(found.candidates, truths[1:], strict=True):
        if truth == UNAVAILABLE:
            # L25: only more than two thirds can say so: fewer cannot frame a trainer.
            state = forfeit(state, job, candidate, "unavailable")
        elif truth is not None and truth.loss != candidate.claim:
            # L26: the claim was a lie.
            state = forfeit(state, job, candidate, "false claim")
        elif truth is None:
            state = give_back(state, job, candidate)
        else:
            contenders.append((candidate, truth))
    parent = truths[0]
    contenders.sort(key=lambda pair: order_key(found, pair[0], pair[1].loss))
    margin = phases.get_job(state, job).terms.margin
    wins = parent is not None and parent.available and bool(contenders)
    if wins and parent is not None:
        # L29: the parent is measured on the same fold, and must be beaten by the margin.
        found = replace(found, parent_loss=parent.loss)
        wins = contenders[0][1].loss + margin <= parent.loss
    for candidate, _ in contenders[1 if wins else 0 :]:
        state = give_back(state, job, candidate)
    if not wins:
        is_known = parent is not None and parent.available and any(truths[1:])
        outcome = Outcome.NO_IMPROVEMENT if is_known else Outcome.NOT_CERTIFIED
        return conclusion.conclude(state, job, found, outcome)
    winner, truth = contenders[0]
    found = replace(
        found,
        candidates=(winner,),
        winner=winner.trainer,
        loss=truth.loss,
        trace=truth.trace,
    )
    return phases.begin(state, job, found, Phase.CONFIRM, height)
