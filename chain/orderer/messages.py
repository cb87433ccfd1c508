"""What validators send each other, and what a decided height leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chain.application import Member
from chain.codec import (
    CodecError,
    Count,
    Digest,
    decode_value,
    encode,
    encode_value,
    from_value,
    to_value,
)
from chain.context import Verify
from chain.hashes import digest_of
from chain.quorum import has_quorum
from chain.votes import SignedVote, VoteKind
from gvm.cbor import CborError


@dataclass(frozen=True)
class Certificate:
    """More than two thirds of the voting power voted alike for one block in one round of a height:
    the votes by ascending position of their validators. Precommits decide, prevotes unlock."""

    height: Count
    round: Count
    block: Digest
    votes: tuple[SignedVote, ...]


@dataclass(frozen=True)
class Value:
    """What is agreed on: an application's block, and the proof that the one below was decided."""

    block: bytes
    below: Certificate | None

    @cached_property
    def id(self) -> bytes:
        """The hash that votes name."""
        return digest_of("ordered", self.block, b"" if self.below is None else encode(self.below))


@dataclass(frozen=True)
class Proposal:
    """A value and the proposer's vote for it; of a value proposed again also the prevotes that
    back it, for two honest validators may have seen different votes of an equivocator."""

    vote: SignedVote
    value: Value
    proof: Certificate | None


@dataclass(frozen=True)
class Ballot:
    """A prevote or a precommit."""

    vote: SignedVote


@dataclass(frozen=True)
class Status:
    """Where a validator is: peers answer with what it lacks."""

    height: Count
    round: Count


@dataclass(frozen=True)
class Decided:
    """A decided height, for who is behind."""

    value: Value
    certificate: Certificate


Message = Proposal | Ballot | Status | Decided
KINDS: dict[str, Any] = {
    "proposal": Proposal,
    "ballot": Ballot,
    "status": Status,
    "decided": Decided,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def write_message(message: Message) -> bytes:
    """The bytes of a message."""
    return encode_value([_NAMES[type(message)], to_value(message)])


def read_message(data: bytes) -> Message:
    """The message of bytes; raises :class:`chain.codec.CodecError`."""
    try:
        value = decode_value(data)
    except CborError as error:
        raise CodecError(str(error)) from None
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str:
        raise CodecError("a message is an array of kind and fields")
    if value[0] not in KINDS:
        raise CodecError(f"no such message: {value[0]}")
    made: Message = from_value(KINDS[value[0]], value[1])
    return made


def signers(certificate: Certificate | None, members: tuple[Member, ...]) -> tuple[int, ...]:
    """The positions of those who signed a certificate."""
    if certificate is None:
        return ()
    position = {member.public: i for i, member in enumerate(members)}
    return tuple(position[vote.public] for vote in certificate.votes)


def is_certificate(
    found: Certificate,
    height: int,
    members: tuple[Member, ...],
    chain: str,
    verify: Verify,
    quorum: Callable[[int, int], bool] = has_quorum,
    kind: VoteKind = VoteKind.PRECOMMIT,
) -> bool:
    """Whether a certificate proves what it says, to one who knows the validators of its height."""
    position = {member.public: i for i, member in enumerate(members)}
    last, power = -1, 0
    for signed in found.votes:
        vote, at = signed.vote, position.get(signed.public, -1)
        slot = (vote.kind, vote.height, vote.round, vote.block, vote.valid)
        if at <= last or slot != (kind, height, found.round, found.block, 0):
            return False
        if not verify(signed.public, "vote", chain, vote.payload, signed.signature):
            return False
        last, power = at, power + members[at].power
    return found.height == height and quorum(power, sum(m.power for m in members))
