"""Evidence: two signed statements that no honest party makes, brought by anyone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from chain import confirmation, envelope, slashing, verifiers
from chain.codec import Count, Digest, Size
from chain.context import Actions, Context
from chain.hashes import digest_of
from chain.keys import account_of
from chain.refusal import Code, Refused, require
from chain.staking import get_validator
from chain.state import State
from chain.votes import SignedVote, is_conflict

ONCE = {
    envelope.kind_of(kind): kind
    for kind in (verifiers.AttestCommit, verifiers.AttestReveal, confirmation.Confirm)
}
"""Statements of which a node signs at most one per job and round. L38."""


@dataclass(frozen=True)
class DoubleVote:
    """Two votes of one validator for the same kind, height and round."""

    first: SignedVote
    second: SignedVote


@dataclass(frozen=True)
class DoubleStatement:
    """Two signed transactions of one node that answer the same question of a round differently."""

    first: Annotated[bytes, Size(1, 1 << 14)]
    second: Annotated[bytes, Size(1, 1 << 14)]


@dataclass(frozen=True)
class Misbehaviour:
    """A double vote that the consensus engine itself has proved."""

    validator: Digest
    height: Count


def punish(state: State, name: bytes, since: int, height: int, reporter: bytes | None) -> State:
    """D31, D32, D36: slashed and expelled. Stake pays once: what is proved after that takes from
    the stake that left before the earliest fault which was punished, and from no other."""
    validator = get_validator(state, name)
    paid = validator.tombstoned and since >= validator.punished
    require(not paid, Code.DUPLICATE, "D31", "the validator is punished for this already")
    oldest = height - state.parameters.evidence_window
    require(
        oldest <= since <= height,
        Code.BAD_EVIDENCE,
        "D33",
        f"evidence must be of heights [{oldest}, {height}], received {since}",
    )
    share = state.parameters.equivocation_slash
    if validator.tombstoned:
        last = validator.punished - 1
        state = slashing.slash_left(state, name, since, last, share, reporter)
    else:
        state = slashing.slash_validator(state, name, since, share, reporter)
        state = slashing.expel(state, name, height)
    known = replace(get_validator(state, name), punished=since)
    return state.but(validators=state.validators.set(name, known))


def process_double_vote(state: State, context: Context, action: DoubleVote) -> State:
    """D30: both votes are valid, of one key, and in conflict."""
    first, second = action.first, action.second
    conflict = first.public == second.public and is_conflict(first.vote, second.vote)
    require(conflict, Code.BAD_EVIDENCE, "D30", "the votes are not in conflict")
    for signed in (first, second):
        valid = context.execution.verify(
            signed.public, "vote", state.identity, signed.vote.payload, signed.signature
        )
        require(valid, Code.BAD_EVIDENCE, "D30", "a vote's signature is not valid")
    name = account_of(first.public)
    return punish(state, name, first.vote.height, context.height, context.sender)


def process_double_statement(state: State, context: Context, action: DoubleStatement) -> State:
    """L38: both transactions are valid, of one node, and answer one question differently. Punished
    once per question."""
    limit = state.parameters.max_transaction_bytes
    read = []
    for data in (action.first, action.second):
        try:
            found = envelope.read(data, limit, ONCE)
            chain, verify = state.identity, context.execution.verify
            envelope.require_signature(found, chain, verify)
        except Refused as refused:
            raise Refused(Code.BAD_EVIDENCE, "L38", refused.message) from None
        read.append(found)
    first, second = read
    questions = [(f.sender, type(f.action), f.action.job, f.action.round) for f in read]
    require(
        questions[0] == questions[1] and first.action != second.action,
        Code.BAD_EVIDENCE,
        "L38",
        "the statements are not in conflict",
    )
    node, kind = first.sender, envelope.kind_of(type(first.action))
    job, number = first.action.job, first.action.round
    key = digest_of("fault", node, kind, job, number)
    require(key not in state.faults, Code.DUPLICATE, "L38", "this fault is punished already")
    known = state.nodes.get(node)
    if known is None:
        raise Refused(Code.UNKNOWN, "D60", "the signer is no node")
    state = slashing.slash_node(state, node, state.parameters.attestation_slash, context.sender)
    return state.but(faults=state.faults.set(key, node))


def process_misbehaviour(state: State, found: Misbehaviour, height: int) -> State:
    """D37: what an engine reports is punished like evidence; what was punished before, or is too
    old, changes nothing."""
    try:
        return punish(state, found.validator, found.height, height, None)
    except Refused:
        return state


ACTIONS: Actions = {DoubleVote: process_double_vote, DoubleStatement: process_double_statement}
