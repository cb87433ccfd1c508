"""What the application answers: one method per request, no sockets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from chain import ledger
from chain.adapters.abci import queries
from chain.adapters.abci.disk import Disk
from chain.adapters.abci.messages import Apply, CheckKind, Flag, Misdeed, Offer, Status
from chain.adapters.abci.wire import Value
from chain.blocks import Block, read_block, require_block
from chain.codec import CodecError, encode
from chain.context import Execution
from chain.evidence import Misbehaviour
from chain.genesis import Genesis, begin, genesis_hash
from chain.keys import account_of
from chain.machine import Receipt, admit, apply_block
from chain.machine_application import OVERHEAD
from chain.records import Seat
from chain.refusal import Refused
from chain.snapshot import Index, chunk_hash, dump, load, read_index
from chain.state import State, root

FORMAT = 1
"""Of snapshots; another format is another number."""
APP_VERSION = 1
FRAME = 9
"""Bytes that a transaction has around it, at most, in the chain's block or the engine's."""
MAX_POWER = ((1 << 63) - 1) // 8
"""CometBFT's limit on the voting power of all validators together."""


class AbciError(Exception):
    """A request that no correct engine makes; nothing has changed."""


@dataclass(frozen=True)
class Candidate:
    """A decided block and what it leads to, until it is committed."""

    block: Block
    state: State
    receipts: tuple[Receipt, ...]


@dataclass
class Restoring:
    """A snapshot on its way: what is trusted, and the chunks so far."""

    height: int
    root: bytes
    index: Index
    chunks: list[bytes]


def address_of(public: bytes) -> bytes:
    """CometBFT's name of a validator: 20 bytes of SHA-256 over its key."""
    return hashlib.sha256(public).digest()[:20]


Answer: TypeAlias = Callable[[Value], Value]


class AbciApplication:
    """``state`` is committed, ``check`` is that with the fees of what waits in the engine's pool,
    ``candidate`` what the next Commit makes permanent. A snapshot is kept every ``interval``
    blocks, none for 0. ``warm`` may check the signatures of a block's transactions ahead."""

    def __init__(
        self,
        genesis: Genesis,
        execution: Execution,
        disk: Disk,
        interval: int = 0,
        warm: Callable[[str, int, list[bytes]], Any] | None = None,
    ) -> None:
        self.genesis, self.execution, self.disk = genesis, execution, disk
        self.warm = warm
        self.interval = interval
        self.first = begin(genesis, execution)
        limit = MAX_POWER * genesis.parameters.power_unit // 2
        if self.first.supply > limit:  # half is left for what will be minted
            raise AbciError(f"the supply must be at most {limit}, received {self.first.supply}")
        self.state = self.check = self.resumed()
        self.is_begun = self.state.height > 0
        self.candidate: Candidate | None = None
        self.restoring: Restoring | None = None
        self.answers: dict[str, Answer] = {
            "echo": lambda request: {"message": request["message"]},
            "flush": lambda request: {},
            "info": self.info,
            "init_chain": self.init_chain,
            "query": lambda request: queries.answer(self.state, request),
            "check_tx": self.check_tx,
            "commit": self.commit,
            "list_snapshots": self.list_snapshots,
            "offer_snapshot": self.offer_snapshot,
            "load_snapshot_chunk": self.load_snapshot_chunk,
            "apply_snapshot_chunk": self.apply_snapshot_chunk,
            "prepare_proposal": self.prepare_proposal,
            "process_proposal": self.process_proposal,
            "extend_vote": lambda request: {},
            "verify_vote_extension": self.verify_vote_extension,
            "finalize_block": self.finalize_block,
        }

    def handle(self, request: Value) -> Value:
        """The response to a request; raises :class:`AbciError`."""
        kind = next((name for name, value in request.items() if value is not None), None)
        if kind is None:
            raise AbciError("a request of no known kind")
        return {kind: self.answers[kind](request[kind])}

    # -- beginning

    def resumed(self) -> State:
        """The committed state: the newest snapshot, and the blocks above it applied again."""
        state = self.first
        for height in self.disk.heights():
            state = load(self.disk.chunks(height), self.disk.root(height))
            break
        if state.identity != self.first.identity:
            raise AbciError("the folder holds the state of another chain")
        limit = state.parameters.max_block_bytes
        for _, data in self.disk.blocks(state.height + 1):
            state, _ = apply_block(state, read_block(data, limit), self.execution)
        return state

    def info(self, request: Value) -> Value:
        """Where the application is: what it has committed."""
        height = self.state.height
        return {
            "data": "gvm",
            "version": request["abci_version"],
            "app_version": APP_VERSION,
            "last_block_height": height,
            "last_block_app_hash": root(self.state) if height else b"",
        }

    def init_chain(self, request: Value) -> Value:
        """The first state. The engine's genesis names ours: ``app_state`` is the JSON string of
        its hash in hex."""
        if self.state.height:
            raise AbciError(f"the chain has begun: height {self.state.height} is committed")
        parameters = self.genesis.parameters
        if request["chain_id"] != parameters.chain:
            raise AbciError(
                f"the chain is {parameters.chain!r}, received chain_id {request['chain_id']!r}"
            )
        if request["initial_height"] != 1:
            raise AbciError(f"initial_height must be 1, received {request['initial_height']}")
        name = genesis_hash(self.genesis).hex()
        if _text(request["app_state_bytes"]) != name:
            raise AbciError(f'app_state must be "{name}", the hash of the genesis')
        self.state = self.check = self.first
        self.is_begun, self.candidate = True, None
        return {
            "consensus_params": {
                "block": {
                    "max_bytes": parameters.max_block_bytes,
                    "max_gas": parameters.max_block_gas,
                },
                "validator": {"pub_key_types": ["ed25519"]},
                "version": {"app": APP_VERSION},
            },
            "validators": [update(seat, seat.power) for seat in self.state.schedule.current],
            "app_hash": root(self.state),
        }

    # -- the pool

    def check_tx(self, request: Value) -> Value:
        """Whether a transaction may wait: admitted after those that wait already."""
        if request["type"] not in tuple(CheckKind):
            raise AbciError(f"type must be 0 or 1, received {request['type']}")
        try:
            self.check, gas = reserve(self.check, self.execution, request["tx"])
        except Refused as refused:
            return refusal(refused)
        return {"gas_wanted": gas}

    # -- proposals

    def prepare_proposal(self, request: Value) -> Value:
        """Of what the engine has collected, what will be admitted in this order and fits."""
        state, parameters = self.state, self.state.parameters
        chosen: list[bytes] = []
        bytes_left = min(request["max_tx_bytes"], parameters.max_block_bytes - OVERHEAD)
        gas_left = parameters.max_block_gas
        for data in request["txs"]:
            if len(chosen) == parameters.max_block_transactions:
                break
            size = FRAME + len(data)
            try:
                after, gas = reserve(state, self.execution, data)
            except Refused:
                continue
            if size <= bytes_left and gas <= gas_left:
                bytes_left, gas_left, state = bytes_left - size, gas_left - gas, after
                chosen.append(data)
        return {"txs": chosen}

    def process_proposal(self, request: Value) -> Value:
        """Accepts every block that can be applied; a function of the request and the committed
        state."""
        try:
            block = self.block_of(request, request["proposed_last_commit"])
            require_block(self.state, block)
        except (AbciError, Refused):
            return {"status": Status.REJECT}
        size = sum(FRAME + len(data) for data in block.transactions)
        fits = size + OVERHEAD <= self.state.parameters.max_block_bytes
        return {"status": Status.ACCEPT if fits else Status.REJECT}

    def verify_vote_extension(self, request: Value) -> Value:
        """Votes carry no extension."""
        return {"status": Status.REJECT if request["vote_extension"] else Status.ACCEPT}

    # -- blocks

    def block_of(self, request: Value, commit: Value) -> Block:
        """The chain's block of an engine's block: everything in it follows from the request and
        the committed state. Turns are the engine's, so ``round`` is 0. D25."""
        state = self.state
        if not self.is_begun:
            raise AbciError("InitChain has not been called")
        if request["height"] != state.height + 1:
            raise AbciError(f"height must be {state.height + 1}, received {request['height']}")
        schedule = state.schedule
        proposer = seats_by_address(schedule.current).get(request["proposer_address"])
        if proposer is None:
            raise AbciError("the proposer is no validator of this height")
        voters, signed = seats_by_address(schedule.previous), []
        for vote in commit["votes"]:
            seat = voters.get(vote["validator"]["address"])
            if seat is None:
                raise AbciError("a vote of the last commit is of no validator of the block below")
            if vote["block_id_flag"] == Flag.COMMIT:
                signed.append(seat.account)
        return Block(
            chain=state.parameters.chain,
            height=request["height"],
            parent=state.parent,
            state=root(state),
            proposer=proposer.account,
            round=0,
            signed=tuple(sorted(signed)),
            misbehaviour=misbehaviour_of(state, request["misbehavior"]),
            transactions=tuple(request["txs"]),
        )

    def finalize_block(self, request: Value) -> Value:
        """Applies a decided block to the committed state; nothing is permanent before Commit."""
        block = self.block_of(request, request["decided_last_commit"])
        if self.warm is not None:
            limit = self.state.parameters.max_transaction_bytes
            self.warm(self.state.identity, limit, request["txs"])
        try:
            state, receipts = apply_block(self.state, block, self.execution)
        except Refused as refused:
            raise AbciError(f"the decided block cannot be applied: {refused}") from None
        self.candidate = Candidate(block, state, receipts)
        return {
            "events": events(receipts[-1]),
            "tx_results": [result(receipt) for receipt in receipts[:-1]],
            "validator_updates": updates(self.state.schedule.following, state.schedule.following),
            "app_hash": root(state),
        }

    def commit(self, request: Value) -> Value:
        """Makes the decided block permanent."""
        if self.candidate is None:
            raise AbciError("Commit without FinalizeBlock")
        state = self.candidate.state
        self.disk.append(state.height, encode(self.candidate.block))
        if self.interval and state.height % self.interval == 0:
            self.disk.save(state.height, root(state), dump(state))
        self.state = self.check = state
        self.candidate = None
        return {"retain_height": 0}

    # -- snapshots

    def list_snapshots(self, request: Value) -> Value:
        """What is kept here."""
        return {"snapshots": [self.snapshot(height) for height in self.disk.heights()]}

    def snapshot(self, height: int) -> Value:
        """One of them, as peers see it."""
        index = self.disk.index(height)
        return {
            "height": height,
            "format": FORMAT,
            "chunks": len(index.chunks),
            "hash": index.hash,
            "metadata": encode(index),
        }

    def load_snapshot_chunk(self, request: Value) -> Value:
        """A part of one of them; empty for what is not here."""
        known = request["format"] == FORMAT and request["height"] < 1 << 63
        return {
            "chunk": self.disk.chunk(request["height"], request["chunk"]) if known else b"",
        }

    def offer_snapshot(self, request: Value) -> Value:
        """Whether to begin with a snapshot of a height whose root is proved."""
        offered, self.restoring = request["snapshot"], None
        if self.state.height:
            return {"result": Offer.ABORT}
        if offered["format"] != FORMAT:
            return {"result": Offer.REJECT_FORMAT}
        try:
            index = read_index(offered["metadata"])
        except CodecError:
            return {"result": Offer.REJECT_SENDER}
        told = (len(index.chunks), index.hash)
        if (offered["chunks"], offered["hash"]) != told or not 0 < offered["height"] < 1 << 63:
            return {"result": Offer.REJECT_SENDER}
        self.restoring = Restoring(offered["height"], request["app_hash"], index, [])
        return {"result": Offer.ACCEPT}

    def apply_snapshot_chunk(self, request: Value) -> Value:
        """The next chunk; after the last one the state is the snapshot's, if its root is the one
        that is proved."""
        found = self.restoring
        if found is None:
            raise AbciError("ApplySnapshotChunk without an accepted snapshot")
        at, chunk = request["index"], request["chunk"]
        if at != len(found.chunks):
            raise AbciError(f"the next chunk is {len(found.chunks)}, received {at}")
        if chunk_hash(chunk) != found.index.chunks[at]:
            bad = [request["sender"]] if request["sender"] else []
            return {"result": Apply.RETRY, "refetch_chunks": [at], "reject_senders": bad}
        found.chunks.append(chunk)
        if len(found.chunks) < len(found.index.chunks):
            return {"result": Apply.ACCEPT}
        self.restoring = None
        try:
            state = load(found.chunks, found.root)
        except CodecError:
            return {"result": Apply.REJECT_SNAPSHOT}
        if state.height != found.height or state.identity != self.first.identity:
            return {"result": Apply.REJECT_SNAPSHOT}
        self.disk.save(state.height, found.root, found.chunks, alone=True)
        self.state = self.check = state
        self.is_begun, self.candidate = True, None
        return {"result": Apply.ACCEPT}


def reserve(state: State, execution: Execution, data: bytes) -> tuple[State, int]:
    """The state after a transaction's fee and nonce, and its gas; raises
    :class:`chain.refusal.Refused` for one that is not admitted."""
    found, gas = admit(state, execution, data)
    paid = ledger.move(state, found.sender, ledger.FEES, found.header.fee)
    account = ledger.account_of(paid, found.sender)
    spent = replace(account, nonce=account.nonce + 1)
    return paid.but(accounts=paid.accounts.set(found.sender, spent), notices=()), gas


def refusal(refused: Refused) -> Value:
    """A refused transaction."""
    return {"code": int(refused.code), "log": str(refused), "codespace": "gvm"}


def result(receipt: Receipt) -> Value:
    """What became of a transaction: a function of the block and the state, byte for byte."""
    return {
        "code": int(receipt.code),
        "log": receipt.rule,
        "gas_wanted": receipt.gas,
        "gas_used": receipt.gas,
        "codespace": "gvm" if receipt.code else "",
        "events": events(receipt),
    }


def events(receipt: Receipt) -> list[Value]:
    """What a receipt has to say, for the engine's index."""
    return [
        {
            "type": notice.kind,
            "attributes": [
                {"key": "subject", "value": notice.subject.hex(), "index": True},
                {"key": "amount", "value": str(notice.amount)},
            ],
        }
        for notice in receipt.notices
    ]


def update(seat: Seat, power: int) -> Value:
    """A validator as the engine sees it."""
    return {"pub_key": {"ed25519": seat.public}, "power": power}


def updates(before: tuple[Seat, ...], after: tuple[Seat, ...]) -> list[Value]:
    """What changes from one set of witnesses to the next: power 0 for those who leave, by key."""
    old = {seat.public: seat.power for seat in before}
    new = {seat.public: seat.power for seat in after}
    left = [replace(seat, power=0) for seat in before if seat.public not in new]
    moved = [seat for seat in after if old.get(seat.public) != seat.power]
    return [update(s, s.power) for s in sorted((*left, *moved), key=lambda s: s.public)]


def seats_by_address(seats: tuple[Seat, ...]) -> dict[bytes, Seat]:
    """Seats by the engine's names."""
    return {address_of(seat.public): seat for seat in seats}


def misbehaviour_of(state: State, reported: list[Value]) -> tuple[Misbehaviour, ...]:
    """What the engine has proved, once each, in order of height and account. A name that is no
    validator's is left out: it has nothing to lose here."""
    if not reported:
        return ()
    names = {address_of(v.public): account_of(v.public) for v in state.validators.values()}
    found = set()
    for item in reported:
        name = names.get(item["validator"]["address"])
        known = item["type"] in tuple(Misdeed) and item["height"] >= 0
        if name is not None and known:
            found.add((item["height"], name))
    return tuple(Misbehaviour(name, height) for height, name in sorted(found))


def _text(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
