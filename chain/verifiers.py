"""Verifiers: each recomputes every candidate, commits to what it found, and opens it when all
have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from chain import phases
from chain.codec import Count, Digest, Size, to_value
from chain.context import Actions, Context
from chain.hashes import digest_of
from chain.records import ZERO, Attestation, Entry, Phase, Round
from chain.refusal import Code, Refused, require
from chain.state import State


@dataclass(frozen=True)
class AttestCommit:
    """A verifier's commitment to its findings."""

    job: Digest
    round: Count
    commitment: Digest


@dataclass(frozen=True)
class AttestReveal:
    """The findings: on the parent, then on each revealed candidate by ascending trainer."""

    job: Digest
    round: Count
    entries: Annotated[tuple[Entry, ...], Size(1, 65)]
    salt: Digest


def commitment(
    chain: str, job: bytes, round_: int, verifier: bytes, entries: tuple[Entry, ...], salt: bytes
) -> bytes:
    """L22: what a verifier commits to. The verifier is part of it: a copy cannot be opened."""
    return digest_of("attestation", chain, job, round_, verifier, to_value(entries), salt)


def own_attestation(found: Round, verifier: bytes) -> Attestation:
    """The place of a verifier in its committee; refuses others. L22."""
    own = next((a for a in found.attestations if a.verifier == verifier), None)
    if own is None:
        raise Refused(Code.NOT_ALLOWED, "L22", "the sender is no verifier of this round")
    return own


def with_attestation(found: Round, changed: Attestation) -> Round:
    """A round with one verifier's place changed."""
    same = changed.verifier
    made = tuple(changed if a.verifier == same else a for a in found.attestations)
    return replace(found, attestations=made)


def process_commit(state: State, context: Context, action: AttestCommit) -> State:
    """L22: once."""
    found = phases.get_open(state, context, action.job, action.round, Phase.ATTEST_COMMIT)
    own = own_attestation(found, context.sender)
    require(own.commitment == ZERO, Code.DUPLICATE, "L22", "the verifier has committed")
    require(action.commitment != ZERO, Code.MALFORMED, "L22", "a commitment is not zero")
    changed = with_attestation(found, replace(own, commitment=action.commitment))
    return phases.put(state, action.job, changed)


def process_reveal(state: State, context: Context, action: AttestReveal) -> State:
    """L23: the opening of the verifier's own commitment, one entry per set of parameters."""
    found = phases.get_open(state, context, action.job, action.round, Phase.ATTEST_REVEAL)
    own = own_attestation(found, context.sender)
    require(own.commitment != ZERO, Code.UNKNOWN, "L23", "the verifier has not committed")
    require(not own.opened, Code.DUPLICATE, "L23", "the verifier has opened already")
    expected = 1 + len(found.candidates)
    require(
        len(action.entries) == expected,
        Code.MALFORMED,
        "L23",
        f"needs {expected} entries, received {len(action.entries)}",
    )
    require(
        all(e.available or (e.loss == 0 and e.trace == ZERO) for e in action.entries),
        Code.MALFORMED,
        "L23",
        "what is not available has no loss",
    )
    made = commitment(
        state.parameters.chain,
        action.job,
        action.round,
        context.sender,
        action.entries,
        action.salt,
    )
    require(own.commitment == made, Code.MISMATCH, "L23", "this does not open the commitment")
    changed = with_attestation(found, replace(own, opened=True, entries=action.entries))
    return phases.put(state, action.job, changed)


ACTIONS: Actions = {AttestCommit: process_commit, AttestReveal: process_reveal}
