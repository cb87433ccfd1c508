"""A step in progress: the state so far and the actions so far."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chain.evidence import DoubleVote
from chain.orderer.messages import Proposal, Status
from chain.orderer.state import (
    Action,
    Config,
    Persist,
    Report,
    Safety,
    Schedule,
    State,
    Wait,
)
from chain.records import ZERO
from chain.votes import SignedVote, VoteKind, is_conflict


class Work:
    """Lives for one step; nothing of it is seen from outside before :meth:`done`."""

    def __init__(self, config: Config, state: State) -> None:
        self.config, self.state = config, state
        self.actions: list[Action] = []

    def put(self, **changes: Any) -> None:
        """Changes fields of the state."""
        self.state = replace(self.state, **changes)

    def act(self, action: Action) -> None:
        """Adds an action."""
        self.actions.append(action)

    def done(self) -> tuple[State, tuple[Action, ...]]:
        """What the step returns."""
        return self.state, tuple(self.actions)

    def fire(self, mark: int, round_: int) -> bool:
        """Marks that something has happened in a round; False where it had before."""
        key = (int(mark), round_)
        if key in self.state.fired:
            return False
        self.put(fired=self.state.fired | {key})
        return True

    def schedule(self, wait: Wait, round_: int) -> None:
        """A timeout that grows with the round."""
        ticks = self.config.base + self.config.per_round * round_
        self.act(Schedule(wait, self.state.height, round_, ticks))

    def status(self) -> Status:
        """Where this validator is."""
        over = self.state.decided is not None
        return Status(self.state.height + over, 0 if over else self.state.round)

    def persist(self) -> None:
        """Asks for what must survive a crash to be on the disk, before what follows."""
        state = self.state
        needed = {state.locked, state.valid} | {
            s.vote.block for s in state.signed if s.vote.kind == VoteKind.PROPOSAL
        }
        values = tuple(state.values[name] for name in sorted(needed) if name in state.values)
        backed = {(state.valid_round, state.valid)} | {
            (s.vote.valid - 1, s.vote.block) for s in state.signed if s.vote.valid
        }
        proofs = tuple(state.proofs[key] for key in sorted(backed) if key in state.proofs)
        self.act(
            Persist(
                Safety(
                    height=state.height,
                    round=state.round,
                    step=state.step,
                    locked_round=state.locked_round + 1,
                    locked=state.locked or ZERO,
                    valid_round=state.valid_round + 1,
                    valid=state.valid or ZERO,
                    values=values,
                    proofs=proofs,
                    signed=state.signed,
                )
            )
        )

    # -- votes

    def add_vote(self, at: int, signed: SignedVote) -> None:
        """Counts a checked vote of the validator at a position; the first of a kind and round
        counts, a second one that differs is evidence."""
        key = (signed.vote.round, signed.vote.kind)
        box = self.state.votes.get(key, {})
        if at in box:
            self.report(box[at], signed)
            return
        votes = {**self.state.votes, key: {**box, at: signed}}
        self.put(votes=votes)

    def add_proposal(self, signed: SignedVote) -> None:
        """Keeps a checked proposal, and one that differs beside it."""
        round_ = signed.vote.round
        known = self.state.proposals.get(round_, ())
        if any(other.vote == signed.vote for other in known):
            return
        for other in known:
            self.report(other, signed)
        if len(known) < 2:
            self.put(proposals={**self.state.proposals, round_: (*known, signed)})

    def add_own(self, signed: SignedVote) -> None:
        """Counts what this validator has signed itself."""
        if signed.vote.kind == VoteKind.PROPOSAL:
            self.add_proposal(signed)
        else:
            self.add_vote(self.state.me, signed)

    def proposal(self, signed: SignedVote) -> Proposal:
        """A known proposal as a message."""
        vote, state = signed.vote, self.state
        proof = state.proofs.get((vote.valid - 1, vote.block)) if vote.valid else None
        return Proposal(signed, state.values[vote.block], proof)

    def report(self, first: SignedVote, second: SignedVote) -> None:
        """Two votes that no honest validator signs are reported once per round and kind."""
        if not is_conflict(first.vote, second.vote):
            return
        at = next(i for i, m in enumerate(self.state.members) if m.public == first.public)
        mark = 100 + 10 * at + int(first.vote.kind)
        if self.fire(mark, first.vote.round):
            self.act(Report(DoubleVote(first, second)))

    # -- counting

    def power_for(self, round_: int, kind: VoteKind, block: bytes) -> int:
        """The voting power behind a block in a round."""
        box, members = self.state.votes.get((round_, kind), {}), self.state.members
        return sum(members[at].power for at, s in box.items() if s.vote.block == block)

    def power_of_any(self, round_: int, kind: VoteKind) -> int:
        """The voting power that has voted at all in a round."""
        members = self.state.members
        return sum(members[at].power for at in self.state.votes.get((round_, kind), {}))

    def has_polka(self, round_: int, block: bytes) -> bool:
        """Whether more than two thirds prevoted a block in a round, by the votes that came here or
        by a proof."""
        if (round_, block) in self.state.proofs:
            return True
        power = self.power_for(round_, VoteKind.PREVOTE, block)
        return self.config.quorum(power, self.state.power)
