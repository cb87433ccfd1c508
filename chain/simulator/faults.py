"""The zoo: validators that break the rules, each in its own way. They run the honest code and twist
what it sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chain.codec import decode_value, encode_value
from chain.hashes import digest_of
from chain.keys import Key
from chain.orderer.messages import Ballot, Certificate, Decided, Message, Proposal, Status, Value
from chain.simulator.dice import Dice
from chain.votes import NIL, SignedVote, Vote, VoteKind, sign_vote
from gvm.cbor import CborError

Deliveries = list[tuple[int, Message]]
Fault = Callable[["Liar", Message, list[int]], Deliveries]
"""What goes to whom instead of one message to some peers."""


class Liar:
    """What a fault needs: its key, the chain, dice, which side of the network it favours, and who
    else lies; liars of a run act in concert."""

    def __init__(self, key: Key, chain: str, dice: Dice, side: int) -> None:
        self.key, self.chain, self.dice, self.side = key, chain, dice, side
        self.friends: frozenset[int] = frozenset()
        self.heard: list[Message] = []

    def half(self, peers: list[int]) -> set[int]:
        """About half of the peers, the same ones throughout."""
        return {peer for peer in peers if self.side >> (peer % 16) & 1}

    def vote(self, like: Vote, block: bytes) -> SignedVote:
        """A vote in the same place for another block."""
        return sign_vote(self.key, self.chain, replace(like, block=block))


def listed(block: bytes) -> list[Any] | None:
    """The items of a block of the short application; None for others."""
    try:
        value = decode_value(block)
    except CborError:
        return None
    return value if type(value) is list and len(value) == 4 else None


def with_signers(block: bytes, count: int) -> bytes:
    """A block that names only its first signers, to match a proof that was cut."""
    items = listed(block)
    return block if items is None else encode_value([*items[:2], items[2][:count], items[3]])


def another(value: Value) -> Value:
    """A second block for the same place, as acceptable as the first where it can be made so."""
    items = listed(value.block)
    if items is None:
        return Value(value.block + b"!", value.below)
    return Value(encode_value([*items[:3], items[3] + 1000]), value.below)


def equivocator(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Two proposals, two votes: one for each half of the network."""
    half = liar.half(peers)
    if isinstance(message, Proposal):
        other = another(message.value)
        second = replace(message, vote=liar.vote(message.vote.vote, other.id), value=other)
        liar.heard += [message, second]
        made: Deliveries = [(p, message) for p in peers if p in half or p in liar.friends]
        return made + [(p, second) for p in peers if p not in half or p in liar.friends]
    if isinstance(message, Ballot):
        vote = message.vote.vote
        known = sorted(
            {
                m.vote.vote.block
                for m in liar.heard
                if isinstance(m, Proposal)
                and (m.vote.vote.height, m.vote.vote.round) == (vote.height, vote.round)
            }
        )
        blocks = known if len(known) > 1 else [vote.block, NIL]
        votes = [Ballot(liar.vote(vote, block)) for block in (blocks[0], blocks[-1])]
        return [(p, votes[0 if p in half else 1]) for p in peers]
    return [(p, message) for p in peers]


def everything(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Votes for every block it has heard of, to everybody."""
    made = [(p, message) for p in peers]
    if isinstance(message, Ballot):
        for known in liar.heard[-20:]:
            if isinstance(known, Proposal):
                vote = known.vote.vote
                for kind in (VoteKind.PREVOTE, VoteKind.PRECOMMIT):
                    ballot = Vote(kind, vote.height, vote.round, vote.block)
                    made += [(p, Ballot(sign_vote(liar.key, liar.chain, ballot))) for p in peers]
    return made


def silent(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Sends nothing."""
    return []


def withholder(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Proposes and prevotes to half of the network, and never precommits."""
    if isinstance(message, Ballot) and message.vote.vote.kind == VoteKind.PRECOMMIT:
        return []
    half = liar.half(peers)
    return [(p, message) for p in peers if p in half]


def refuser(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Votes for nothing, whatever it sees."""
    if isinstance(message, Ballot):
        message = Ballot(liar.vote(message.vote.vote, NIL))
    return [(p, message) for p in peers]


def inventor(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Proposes blocks that follow nothing, and proofs that prove nothing."""
    if isinstance(message, Proposal):
        below = message.value.below
        if below is not None and liar.dice.chance(500):
            cut = replace(below, votes=below.votes[:1])
            value = Value(with_signers(message.value.block, 1), cut)
        else:
            value = Value(b"noise", below)
        message = replace(message, vote=liar.vote(message.vote.vote, value.id), value=value)
    return [(p, message) for p in peers]


def forger(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Changes and replays what others signed, and claims heights to be decided."""
    made = [(p, message) for p in peers]
    for known in liar.heard[-4:]:
        if isinstance(known, Ballot):
            signed = known.vote
            name = digest_of("forged", liar.dice.below(1 << 30))
            lie = replace(signed, vote=replace(signed.vote, block=name))
            made += [(p, Ballot(lie)) for p in peers] + [(p, known) for p in peers]
        if isinstance(known, Proposal):
            vote, value = known.vote.vote, known.value
            own = sign_vote(liar.key, liar.chain, replace(vote, kind=VoteKind.PRECOMMIT, valid=0))
            claim = Certificate(vote.height, vote.round, value.id, (own,) * 3)
            made += [(p, Decided(value, claim)) for p in peers]
            stolen = sign_vote(liar.key, liar.chain, vote)
            made += [(p, replace(known, vote=stolen)) for p in peers]
    return made


def rusher(liar: Liar, message: Message, peers: list[int]) -> Deliveries:
    """Pulls towards later rounds and heights."""
    made = [(p, message) for p in peers]
    if isinstance(message, Ballot):
        vote = message.vote.vote
        for height, ahead in ((vote.height, 3), (vote.height, 900), (vote.height + 1, 0)):
            far = Vote(vote.kind, height, vote.round + ahead, NIL)
            made += [(p, Ballot(sign_vote(liar.key, liar.chain, far))) for p in peers]
        made += [(p, Status(vote.height + 5, 0)) for p in peers]
    return made


ZOO: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        equivocator,
        everything,
        silent,
        withholder,
        refuser,
        inventor,
        forger,
        rusher,
    )
}
"""Faults by name. "twin", a validator that runs twice, is made by the network itself."""
