"""A chain of empty blocks with the certificates that its witnesses would have made."""

from __future__ import annotations

from typing import Any

from chain.blocks import Block
from chain.codec import encode
from chain.context import Execution
from chain.genesis import Genesis, begin
from chain.keys import Key
from chain.machine import apply_block
from chain.orderer.messages import Certificate, Decided, Value
from chain.schedule import proposer
from chain.state import State, root
from chain.votes import Vote, VoteKind, sign_vote


class Chain:
    """Decided blocks by height and the state after each."""

    def __init__(self, genesis: Genesis, execution: Execution, keys: list[Key]) -> None:
        self.execution, self.keys = execution, {key.account: key for key in keys}
        self.states: list[State] = [begin(genesis, execution)]
        self.decided: list[Decided] = []

    def grow(self, count: int) -> None:
        """More blocks."""
        for _ in range(count):
            self.step()

    def step(self, transactions: tuple[bytes, ...] = ()) -> None:
        """One more."""
        state = self.states[-1]
        seat = state.schedule.current[proposer(state.schedule, state.height + 1, 0)]
        block = Block(
            chain=state.parameters.chain,
            height=state.height + 1,
            parent=state.parent,
            state=root(state),
            proposer=seat.account,
            round=0,
            signed=tuple(s.account for s in state.schedule.previous),
            misbehaviour=(),
            transactions=transactions,
        )
        below = self.decided[-1].certificate if self.decided else None
        value = Value(encode(block), below)
        self.decided.append(Decided(value, self.certificate(state, value)))
        self.states.append(apply_block(state, block, self.execution)[0])

    def certificate(self, state: State, value: Value, most: int = 64) -> Certificate:
        """The precommits of the witnesses that follow a state, of the first ones of them only."""
        vote = Vote(VoteKind.PRECOMMIT, state.height + 1, 0, value.id)
        signed: list[Any] = [
            sign_vote(self.keys[seat.account], state.identity, vote)
            for seat in state.schedule.current[:most]
        ]
        return Certificate(state.height + 1, 0, value.id, tuple(signed))
