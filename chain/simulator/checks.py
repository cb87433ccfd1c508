"""What must hold after every block, whatever the faults."""

from __future__ import annotations

from chain.application import Application, Member
from chain.context import Verify
from chain.evidence import DoubleVote
from chain.orderer.messages import Ballot, Certificate, Message, Proposal, Value, is_certificate
from chain.orderer.messages import signers as positions
from chain.votes import Vote, VoteKind, is_conflict


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


class Checks:
    """Watches honest validators from outside; knows who is faulty."""

    def __init__(
        self, members: tuple[Member, ...], faulty: frozenset[bytes], chain: str, verify: Verify
    ) -> None:
        self.members, self.faulty, self.chain, self.verify = members, faulty, chain, verify
        self.blocks: dict[int, bytes] = {}
        self.roots: dict[int, bytes] = {}
        self.heights: dict[int, int] = {}
        self.votes: dict[tuple[int, VoteKind, int, int], Vote] = {}
        self.certificates: dict[bytes, tuple[Member, ...]] = {}
        self.rounds = 0
        self.evidence = 0

    def decided(
        self, host: int, height: int, value: Value, found: Certificate, application: Application
    ) -> None:
        """Agreement, order, certificates, validity."""
        known = self.blocks.setdefault(height, value.id)
        if known != value.id:
            raise Violation("agreement", f"two blocks are decided at height {height}")
        members = application.validators(height)
        if found.block != value.id or not is_certificate(
            found, height, members, self.chain, self.verify
        ):
            raise Violation("certificate", f"height {height} was decided without a quorum")
        below: tuple[int, ...] = ()
        if value.below is not None:
            before = self.certificates[self.blocks[height - 1]]
            if not is_certificate(value.below, height - 1, before, self.chain, self.verify):
                raise Violation("certificate", f"height {height} carries no proof of the last")
            below = positions(value.below, before)
        self.certificates[value.id] = members
        reason = application.validate(height, found.round, value.block, below)
        if reason:
            raise Violation("validity", f"height {height}: {reason}")
        self.rounds += found.round

    def applied(self, height: int, root: bytes) -> None:
        """The same blocks make the same state."""
        if self.roots.setdefault(height, root) != root:
            raise Violation("state", f"two states after height {height}")

    def sent(self, message: Message, position: int) -> None:
        """An honest validator signs one thing per kind, height and round, over all its lives."""
        if not isinstance(message, Proposal | Ballot):
            return
        signed = message.vote
        if signed.public != self.members[position].public:
            return
        vote = signed.vote
        known = self.votes.setdefault((position, vote.kind, vote.height, vote.round), vote)
        if is_conflict(known, vote):
            raise Violation("double vote", f"validator {position} signed {known} and {vote}")

    def reported(self, evidence: DoubleVote) -> None:
        """Nobody is framed, and evidence is evidence."""
        first, second = evidence.first, evidence.second
        if first.public != second.public or not is_conflict(first.vote, second.vote):
            raise Violation("evidence", "the votes are not in conflict")
        for signed in (first, second):
            payload = signed.vote.payload
            if not self.verify(signed.public, "vote", self.chain, payload, signed.signature):
                raise Violation("evidence", "a signature is not valid")
        if first.public not in self.faulty:
            raise Violation("framing", "an honest validator is accused")
        self.evidence += 1

    def finish(self) -> None:
        """Every height has one block."""
        if sorted(self.blocks) != list(range(1, len(self.blocks) + 1)):
            raise Violation("order", "a height is missing")
