"""Trainers: they commit to parameters before anyone knows the test, and open afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import ledger, phases
from chain.codec import Count, Digest
from chain.context import Actions, Context
from chain.hashes import digest_of
from chain.phases import get_job
from chain.records import ZERO, Candidate, Phase
from chain.refusal import Code, Refused, require
from chain.state import State


@dataclass(frozen=True)
class Commit:
    """A trainer's commitment to its parameters."""

    job: Digest
    round: Count
    commitment: Digest


@dataclass(frozen=True)
class Reveal:
    """Opens a commitment. ``claim``: the loss on the drawn fold, as the trainer says."""

    job: Digest
    round: Count
    parameters: Digest
    salt: Digest
    claim: Count


def commitment(
    chain: str, job: bytes, round_: int, trainer: bytes, parameters: bytes, salt: bytes
) -> bytes:
    """L14: what a trainer commits to. The trainer is part of it, so that nobody else can open a
    copy."""
    return digest_of("candidate", chain, job, round_, trainer, parameters, salt)


def process_commit(state: State, context: Context, action: Commit) -> State:
    """L14, L15: one commitment per trainer and round, with a bond."""
    found = phases.get_open(state, context, action.job, action.round, Phase.COMMIT)
    terms = get_job(state, action.job).terms
    require(action.commitment != ZERO, Code.MALFORMED, "L14", "a commitment is not zero")
    require(
        all(c.trainer != context.sender for c in found.candidates),
        Code.DUPLICATE,
        "L15",
        "the trainer has committed in this round",
    )
    require(
        len(found.candidates) < terms.max_candidates,
        Code.LIMIT,
        "L15",
        f"a round has at most {terms.max_candidates} candidates",
    )
    state = ledger.move(state, context.sender, ledger.BONDS, terms.trainer_bond)
    made = Candidate(context.sender, action.commitment, context.height)
    candidates = sorted((*found.candidates, made), key=lambda c: c.trainer)
    return phases.put(state, action.job, replace(found, candidates=tuple(candidates)))


def process_reveal(state: State, context: Context, action: Reveal) -> State:
    """L20: the opening of the trainer's own commitment."""
    found = phases.get_open(state, context, action.job, action.round, Phase.REVEAL)
    own = next((c for c in found.candidates if c.trainer == context.sender), None)
    if own is None:
        raise Refused(Code.UNKNOWN, "L20", "the sender has not committed in this round")
    require(not own.revealed, Code.DUPLICATE, "L20", "the candidate is revealed already")
    expected = commitment(
        state.parameters.chain,
        action.job,
        action.round,
        context.sender,
        action.parameters,
        action.salt,
    )
    require(own.commitment == expected, Code.MISMATCH, "L20", "this does not open the commitment")
    opened = replace(own, revealed=True, parameters=action.parameters, claim=action.claim)
    candidates = tuple(opened if c is own else c for c in found.candidates)
    return phases.put(state, action.job, replace(found, candidates=candidates))


ACTIONS: Actions = {Commit: process_commit, Reveal: process_reveal}
