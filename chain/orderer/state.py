"""What a validator remembers of a height, what happens to it, and what it wants done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from chain.application import Application, Member
from chain.codec import Count, Digest
from chain.context import Verify
from chain.evidence import DoubleVote
from chain.keys import Key, verify_signed
from chain.orderer.messages import Certificate, Message, Value
from chain.quorum import has_quorum
from chain.votes import SignedVote, VoteKind

MAX_ROUNDS_AHEAD = 1000
"""Votes for later rounds than so many ahead are not kept."""
MAX_PROPOSALS_AHEAD = 10
"""Proposals of rounds that are further ahead are not kept: each holds a block."""
MAX_EARLY = 16
"""Votes and proposals of later heights that are kept of each validator."""
MAX_HEIGHTS_AHEAD = 4
"""Votes and proposals of heights that are further ahead are not kept."""
MAX_DECIDED = 32
"""Decided heights ahead that are kept until those before them are here."""


class Step(IntEnum):
    """The steps of a round."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


class Wait(IntEnum):
    """What a timeout ends; GOSSIP returns for ever."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    COMMIT = 4
    GOSSIP = 5


@dataclass(frozen=True)
class Config:
    """A validator's own: its key (None: an observer), the state machine, waiting times in ticks.
    ``quorum`` is another function in negative controls only."""

    chain: str
    key: Key | None
    application: Application
    verify: Verify = verify_signed
    base: int = 100
    per_round: int = 50
    gossip: int = 150
    quorum: Callable[[int, int], bool] = has_quorum


# --- events ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Received:
    """A message from a peer, known by a number that the transport gives it."""

    message: Message
    peer: int


@dataclass(frozen=True)
class Timeout:
    """A time asked for by :class:`Schedule` has come."""

    wait: Wait
    height: int
    round: int


@dataclass(frozen=True)
class Applied:
    """The block of :class:`Decide` is stored and applied."""

    height: int


Event = Received | Timeout | Applied


# --- actions, to be done in order ---------------------------------------------------------------


@dataclass(frozen=True)
class Persist:
    """Must be on the disk (fsync) before any later action is begun."""

    record: Safety


@dataclass(frozen=True)
class Broadcast:
    """To every peer."""

    message: Message


@dataclass(frozen=True)
class Send:
    """To one peer."""

    peer: int
    message: Message


@dataclass(frozen=True)
class Serve:
    """Send a peer the decided heights from one on: some of them, ascending."""

    peer: int
    height: int


@dataclass(frozen=True)
class Schedule:
    """Bring :class:`Timeout` after so many ticks."""

    wait: Wait
    height: int
    round: int
    ticks: int


@dataclass(frozen=True)
class Decide:
    """Store value and certificate, apply the block, then bring :class:`Applied`."""

    height: int
    value: Value
    certificate: Certificate


@dataclass(frozen=True)
class Report:
    """A validator was caught; the application may want to know."""

    evidence: DoubleVote


Action = Persist | Broadcast | Send | Serve | Schedule | Decide | Report


# --- memory ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Safety:
    """What must survive a crash: without it a validator could sign two things that differ. Rounds
    are one more than themselves, 0 for none."""

    height: Count
    round: Count
    step: Step
    locked_round: Count
    locked: Digest
    valid_round: Count
    valid: Digest
    values: tuple[Value, ...]
    proofs: tuple[Certificate, ...]
    signed: tuple[SignedVote, ...]


Votes = Mapping[tuple[int, VoteKind], Mapping[int, SignedVote]]
"""By round and kind, then by position of the validator."""


@dataclass(frozen=True)
class State:
    """A height in progress. A value: each step makes a new one. Rounds are -1 for none."""

    height: int
    members: tuple[Member, ...]
    me: int
    round: int = 0
    step: Step = Step.PROPOSE
    locked_round: int = -1
    locked: bytes = b""
    valid_round: int = -1
    valid: bytes = b""
    values: Mapping[bytes, Value] = field(default_factory=dict)
    verdicts: Mapping[bytes, bool] = field(default_factory=dict)
    proposals: Mapping[int, tuple[SignedVote, ...]] = field(default_factory=dict)
    votes: Votes = field(default_factory=dict)
    proofs: Mapping[tuple[int, bytes], Certificate] = field(default_factory=dict)
    fired: frozenset[tuple[int, int]] = frozenset()
    signed: tuple[SignedVote, ...] = ()
    below: Certificate | None = None
    below_members: tuple[Member, ...] = ()
    decided: Certificate | None = None
    applied: bool = False
    early: tuple[Received, ...] = ()

    @property
    def power(self) -> int:
        """All voting power of the height."""
        return sum(member.power for member in self.members)
