"""The state machine behind the interface that orderers see, with a pool of transactions."""

from __future__ import annotations

from chain import ledger
from chain.application import Member
from chain.blocks import Block, is_turn, read_block, require_block
from chain.codec import encode
from chain.context import Execution
from chain.envelope import read, transaction_id
from chain.machine import KINDS, Receipt, admit, apply_block
from chain.records import Seat
from chain.refusal import Refused
from chain.schedule import proposer
from chain.state import State, root

OVERHEAD = 1 << 16
"""Bytes of a block that are kept for what is no transaction."""
MAX_POOL = 100_000


def members(seats: tuple[Seat, ...]) -> tuple[Member, ...]:
    """Seats as an orderer sees them."""
    return tuple(Member(seat.public, seat.power) for seat in seats)


class MachineApplication:
    """An :class:`chain.application.Application`: ``state`` is what was applied, ``pool`` what
    waits, in order of arrival."""

    def __init__(self, state: State, execution: Execution) -> None:
        self.state, self.execution = state, execution
        self.pool: dict[bytes, bytes] = {}
        self.receipts: tuple[Receipt, ...] = ()

    # -- the pool

    def submit(self, data: bytes) -> bytes:
        """Keeps a transaction that may come into a block: its own admission, or that of a later
        nonce of its sender. Returns its id; raises :class:`chain.refusal.Refused`."""
        name = transaction_id(data)
        if name in self.pool or len(self.pool) >= MAX_POOL:
            return name
        try:
            admit(self.state, self.execution, data)
        except Refused as refused:
            if refused.rule != "D12" or not self._is_later(data):
                raise
        self.pool[name] = data
        return name

    def _is_later(self, data: bytes) -> bool:
        found = read(data, self.state.parameters.max_transaction_bytes, KINDS)
        return found.header.nonce > ledger.account_of(self.state, found.sender).nonce

    # -- what an orderer asks

    def validators(self, height: int) -> tuple[Member, ...]:
        """The witnesses of the next height, or of the one below."""
        schedule = self.state.schedule
        known = {self.state.height + 1: schedule.current, self.state.height: schedule.previous}
        return members(known[height])

    def proposer(self, height: int, round_: int) -> int:
        """Whose turn it is. D25."""
        return proposer(self.state.schedule, height, round_)

    def propose(self, height: int, round_: int, signers: tuple[int, ...]) -> bytes:
        """A block of what waits, as much as fits."""
        return encode(self.block(height, round_, signers))

    def block(self, height: int, round_: int, signers: tuple[int, ...]) -> Block:
        """The next block, proposed in a round."""
        schedule = self.state.schedule
        return Block(
            chain=self.state.parameters.chain,
            height=height,
            parent=self.state.parent,
            state=root(self.state),
            proposer=schedule.current[proposer(schedule, height, round_)].account,
            round=round_,
            signed=tuple(sorted(schedule.previous[i].account for i in signers)),
            misbehaviour=(),
            transactions=self.selected(),
        )

    def selected(self) -> tuple[bytes, ...]:
        """What fits into a block, oldest first."""
        left = self.state.parameters.max_block_bytes - OVERHEAD
        chosen = []
        for data in self.pool.values():
            if len(data) + 9 > left:
                break
            left -= len(data) + 9
            chosen.append(data)
        return tuple(chosen)

    def validate(
        self,
        height: int,
        round_: int,
        block: bytes,
        signers: tuple[int, ...],
        fresh: bool = False,
    ) -> str:
        """The rules of blocks, and that signers and turn are those the orderer knows. A block that
        is made for a round counts every turn before it as passed: D44."""
        try:
            found = read_block(block, self.state.parameters.max_block_bytes)
            require_block(self.state, found)
        except Refused as refused:
            return str(refused)
        named = tuple(sorted(self.state.schedule.previous[i].account for i in signers))
        if found.signed != named:
            return "D75: the block names other signers than its proof"
        if found.misbehaviour:
            return "D37: only an engine that proves misbehaviour may list it"
        if found.round > round_ or not is_turn(self.state, found):
            return "D74: it is another witness's turn"
        if fresh and found.round != round_:
            return "D44: the block passes over no turn of this round"
        return ""

    def apply(self, height: int, block: bytes) -> bytes:
        """Applies a decided block; what it holds leaves the pool."""
        found = read_block(block, self.state.parameters.max_block_bytes)
        self.state, self.receipts = apply_block(self.state, found, self.execution)
        for data in found.transactions:
            self.pool.pop(transaction_id(data), None)
        self._drop_stale()
        return root(self.state)

    def _drop_stale(self) -> None:
        limit = self.state.parameters.max_transaction_bytes
        for name, data in list(self.pool.items()):
            found = read(data, limit, KINDS)
            if found.header.nonce < ledger.account_of(self.state, found.sender).nonce:
                del self.pool[name]
