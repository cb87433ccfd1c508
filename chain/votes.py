"""What validators sign, as evidence needs it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Annotated

from chain.codec import Count, Digest, Size, encode
from chain.keys import Key
from chain.records import ZERO

NIL = ZERO
"""The vote for no block."""


class VoteKind(IntEnum):
    """The three things that a validator signs at a round."""

    PROPOSAL = 0
    PREVOTE = 1
    PRECOMMIT = 2


@dataclass(frozen=True)
class Vote:
    """A block's hash at a round of a height. ``valid``: of proposals, one more than the round whose
    prevotes back a block proposed again; 0 else."""

    kind: VoteKind
    height: Count
    round: Count
    block: Digest
    valid: Count = 0

    @cached_property
    def payload(self) -> bytes:
        """The bytes that are signed, for one purpose on one chain."""
        return encode(self)


@dataclass(frozen=True)
class SignedVote:
    """A vote and who signed it."""

    public: Digest
    vote: Vote
    signature: Annotated[bytes, Size(64, 64)]


def sign_vote(key: Key, chain: str, vote: Vote) -> SignedVote:
    """Signs a vote for one chain."""
    return SignedVote(key.public, vote, key.sign("vote", chain, vote.payload))


def is_conflict(first: Vote, second: Vote) -> bool:
    """Whether no honest validator signs both: same kind, height and round, and not the same."""
    slots = [(vote.kind, vote.height, vote.round) for vote in (first, second)]
    return slots[0] == slots[1] and first != second
