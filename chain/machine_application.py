"""The state machine behind the interface that orderers see, with a pool of transactions."""

from __future__ import annotations

from dataclasses import dataclass

from chain import ledger
from chain.application import Member
from chain.blocks import Block, is_turn, read_block, require_block
from chain.codec import encode
from chain.context import Execution
from chain.envelope import transaction_id
from chain.machine import Receipt, admit, apply_block
from chain.records import Seat
from chain.refusal import Code, Refused, require
from chain.schedule import proposer
from chain.state import State, root

OVERHEAD = 1 << 16
"""Bytes of a block that are kept for what is no transaction."""
MAX_POOL = 100_000
MAX_POOL_BYTES = 1 << 28
MAX_LATER = MAX_POOL // 4
"""Transactions of the pool that wait for one before them."""
MAX_AHEAD = 64
"""How far behind its sender's next nonce a transaction may wait."""
POOL_BLOCKS = 200
"""Blocks after which one that is in none leaves the pool."""


@dataclass(frozen=True)
class Waiting:
    """What the pool knows of a transaction that it keeps."""

    name: bytes
    fee: int
    gas: int
    size: int
    since: int


def members(seats: tuple[Seat, ...]) -> tuple[Member, ...]:
    """Seats as an orderer sees them."""
    return tuple(Member(seat.public, seat.power) for seat in seats)


class MachineApplication:
    """An :class:`chain.application.Application`: ``state`` is what was applied, ``pool`` what
    waits, in order of arrival."""

    def __init__(self, state: State, execution: Execution) -> None:
        self.state, self.execution = state, execution
        self.pool: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, dict[int, Waiting]] = {}  # by sender, then nonce
        self._senders: dict[bytes, bytes] = {}  # by transaction
        self._bytes = self._later = 0
        self.receipts: tuple[Receipt, ...] = ()

    # -- the pool

    def submit(self, data: bytes) -> bytes:
        """Keeps a transaction that may come into a block: of its sender's next nonce or a few
        later, signed, with the fees of all that wait. Returns its id; raises
        :class:`chain.refusal.Refused`. D17."""
        name = transaction_id(data)
        if name in self.pool:
            return name
        full = len(self.pool) >= MAX_POOL or self._bytes + len(data) > MAX_POOL_BYTES
        require(not full, Code.LIMIT, "D17", "the pool is full")
        found, gas = admit(self.state, self.execution, data, MAX_AHEAD)
        sender, nonce, fee = found.sender, found.header.nonce, found.header.fee
        account, mine = ledger.account_of(self.state, sender), self._waiting.get(sender, {})
        require(nonce not in mine, Code.DUPLICATE, "D17", "another one of this nonce waits")
        fees = fee + sum(waiting.fee for waiting in mine.values())
        require(
            fees <= account.balance,
            Code.FUNDS,
            "D14",
            f"the fees of all that waits are {fees}, the account has {account.balance}",
        )
        is_later = nonce > account.nonce
        require(
            not is_later or self._later < MAX_LATER,
            Code.LIMIT,
            "D17",
            f"at most {MAX_LATER} transactions wait for one before them",
        )
        self.pool[name], self._senders[name] = data, sender
        kept = Waiting(name, fee, gas, len(data), self.state.height)
        self._waiting.setdefault(sender, {})[nonce] = kept
        self._bytes += len(data)
        self._later += is_later
        return name

    def _drop(self, sender: bytes, nonce: int) -> None:
        mine = self._waiting[sender]
        found = mine.pop(nonce)
        self._bytes -= found.size
        del self.pool[found.name], self._senders[found.name]
        if not mine:
            del self._waiting[sender]

    def _drop_stale(self) -> None:
        """What is spent, what its account cannot pay any more, what has waited for too long."""
        oldest, self._later = self.state.height - POOL_BLOCKS, 0
        for sender, mine in list(self._waiting.items()):
            account, fees = ledger.account_of(self.state, sender), 0
            for nonce in sorted(mine):
                fees += mine[nonce].fee
                is_good = nonce >= account.nonce and mine[nonce].since >= oldest
                if is_good and fees <= account.balance:
                    self._later += nonce > account.nonce
                else:
                    fees -= mine[nonce].fee
                    self._drop(sender, nonce)

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
        """What fits into a block, oldest first, each after those of its sender before it."""
        parameters = self.state.parameters
        left, gas = parameters.max_block_bytes - OVERHEAD, parameters.max_block_gas
        nonces: dict[bytes, int] = {}
        chosen: list[bytes] = []
        for sender in self._senders.values():
            mine = self._waiting[sender]
            nonce = nonces.get(sender, ledger.account_of(self.state, sender).nonce)
            while (found := mine.get(nonce)) is not None:
                fits = found.size + 9 <= left and found.gas <= gas
                if not fits or len(chosen) >= parameters.max_block_transactions:
                    break
                left, gas, nonce = left - found.size - 9, gas - found.gas, nonce + 1
                chosen.append(self.pool[found.name])
            nonces[sender] = nonce
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
        self._drop_stale()
        return root(self.state)
