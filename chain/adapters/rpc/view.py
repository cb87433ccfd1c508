"""What the interface knows: a node's store, followed, with an index of transactions."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from chain.adapters.explorer import Explorer, row
from chain.adapters.frames import STRANGER, Frame, pack
from chain.blocks import block_hash
from chain.codec import encode, to_value
from chain.envelope import read
from chain.hashes import plain
from chain.machine import KINDS
from chain.machine_application import MachineApplication
from chain.orderer.messages import Decided
from chain.proofs import prove_header, prove_record, prove_transaction
from chain.refusal import Code, Refused
from chain.state import TABLES, State, root
from gvm.errors import GvmError

KEPT = 64
"""Heights of which proofs of records are given, the newest ones."""


class View:
    """Answers of one node. Not safe for several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.explorer = folder, Explorer(folder)
        self.places: dict[bytes, tuple[int, int]] = {}
        self.states: dict[int, State] = {self.explorer.base: self.explorer.state}
        self.peers: list[tuple[str, int]] = []
        settings = folder / "node.json"
        if settings.exists():
            self.peers = [(str(h), int(p)) for h, p in json.loads(settings.read_text())["peers"]]

    def follow(self) -> State:
        """Applies what is new; the newest state."""
        for shown in self.explorer.steps():
            height = shown.block.height
            for at, receipt in enumerate(shown.receipts[:-1]):
                # Bytes that were refused may come again: what counts is where they did something.
                if receipt.gas or receipt.transaction not in self.places:
                    self.places[receipt.transaction] = (height, at)
            self.states[height] = self.explorer.state
            self.states.pop(height - KEPT, None)
        return self.explorer.state

    # -- blocks and transactions

    def block(self, height: int) -> dict[str, Any]:
        """One block, without its transactions."""
        shown = self._shown(height)
        block = shown.block
        return {
            "height": block.height,
            "hash": block_hash(block).hex(),
            "parent": block.parent.hex(),
            "state_before": block.state.hex(),
            "state_after": shown.root.hex(),
            "proposer": block.proposer.hex(),
            "round": block.round,
            "signed": [name.hex() for name in block.signed],
            "signatures": len(shown.certificate.votes),
            "misbehaviour": [
                {"validator": m.validator.hex(), "height": m.height} for m in block.misbehaviour
            ],
            "transactions": len(block.transactions),
        }

    def transactions(self, height: int, start: int, count: int) -> list[dict[str, Any]]:
        """Transactions of a block from a place on."""
        last = len(self._shown(height).block.transactions)
        return [self.transaction_at(height, at) for at in range(start, min(last, start + count))]

    def transaction(self, name: bytes) -> dict[str, Any]:
        """A transaction by its id."""
        return self.transaction_at(*self._place(name))

    def transaction_at(self, height: int, at: int) -> dict[str, Any]:
        """What became of a transaction."""
        shown = self._shown(height)
        receipt, data = shown.receipts[at], shown.block.transactions[at]
        found: dict[str, Any] = {
            "id": receipt.transaction.hex(),
            "height": height,
            "index": at,
            "size": len(data),
            "code": receipt.code.name.lower(),
            "rule": receipt.rule,
            "gas": receipt.gas,
            "notices": [
                {"kind": n.kind, "subject": n.subject.hex(), "amount": n.amount}
                for n in receipt.notices
            ],
        }
        try:
            envelope = read(data, self.explorer.state.parameters.max_transaction_bytes, KINDS)
        except Refused:
            return found | {"sender": None, "kind": None, "nonce": None, "fee": None}
        header = envelope.header
        kind = type(envelope.action).__name__
        return found | {
            "sender": envelope.sender.hex(),
            "kind": kind,
            "nonce": header.nonce,
            "fee": header.fee,
        }

    def value(self, height: int) -> bytes:
        """What was agreed on at a height and the signatures that prove it: canonical CBOR of
        :class:`chain.orderer.messages.Decided`."""
        self._shown(height)
        _, value, certificate = next(self.explorer.store.blocks(height, 1))
        return encode(Decided(value, certificate))

    def _shown(self, height: int) -> Any:
        try:
            return self.explorer.at(height)
        except GvmError as error:
            raise missing(str(error)) from None

    def _place(self, name: bytes) -> tuple[int, int]:
        place = self.places.get(name)
        if place is None:
            raise missing("no block holds this transaction")
        return place

    # -- records

    def record(self, table: str, key: bytes) -> dict[str, Any]:
        """One record of the newest state: readable, and as the canonical bytes that are proved."""
        found = self._table(table).get(key)
        if found is None:
            raise missing(f"{table} has no such key")
        return {"key": key.hex(), "value": readable(found), "bytes": encode(found).hex()}

    def records(self, table: str, after: bytes, count: int) -> list[dict[str, Any]]:
        """Records above a key, ascending."""
        rows: Iterator[tuple[bytes, Any]] = self._table(table).items_after(after)
        return [{"key": k.hex(), "value": readable(v)} for k, v in islice(rows, count)]

    def _table(self, name: str) -> Any:
        if name not in TABLES:
            raise missing(f"table must be one of {', '.join(TABLES)}")
        return getattr(self.explorer.state, name)

    def rounds(self, job: bytes, start: int, count: int) -> list[dict[str, Any]]:
        """Decided rounds of a job, oldest first."""
        try:
            return [row(result) for result in self.explorer.results(job)[start : start + count]]
        except GvmError:
            raise missing("there is no such job") from None

    # -- proofs

    def record_proof(self, table: str, key: bytes, height: int) -> dict[str, Any]:
        """The proof of a record, or that there is none, under the state after a height."""
        self._table(table)
        state = self.states.get(height)
        if state is None:
            raise missing(f"proofs are given of the {KEPT} newest heights, received {height}")
        proof = encode(prove_record(state, table, key))
        return {"height": height, "state": root(state).hex(), "proof": proof.hex()}

    def header_proof(self, height: int) -> dict[str, Any]:
        """The proof of what is in no table of the state after a height."""
        state = self.states.get(height)
        if state is None:
            raise missing(f"proofs are given of the {KEPT} newest heights, received {height}")
        proof = encode(prove_header(state))
        return {"height": height, "state": root(state).hex(), "proof": proof.hex()}

    def transaction_proof(self, name: bytes) -> dict[str, Any]:
        """The proof that a block holds a transaction."""
        height, at = self._place(name)
        block = self._shown(height).block
        proof = encode(prove_transaction(block, at))
        return {
            "height": height,
            "block": block_hash(block).hex(),
            "transaction": block.transactions[at].hex(),
            "proof": proof.hex(),
        }

    # -- files

    def file(self, name: str) -> bytes:
        """A file that participants need: ``genesis`` or ``model``."""
        path = self.folder / {"genesis": "genesis.cbor", "model": "model.dmodel"}[name]
        return path.read_bytes()

    def blob(self, name: bytes) -> bytes:
        """Parameters or test data by hash."""
        found = self.explorer.store.get(name)
        if found is None:
            raise missing("no bytes of this hash are here")
        return found

    def take_blob(self, data: bytes) -> dict[str, Any]:
        """Hands parameters to the nodes of the network: only those that a trainer has revealed in
        an open round, so that nobody stores what nobody pays for."""
        name = plain(data)
        rounds = self.explorer.state.rounds.values()
        known = {c.parameters for found in rounds for c in found.candidates if c.revealed}
        if name not in known:
            raise Refused(Code.NOT_ALLOWED, "L20", "no trainer has revealed these parameters")
        return {"name": name.hex(), "nodes": self._send(Frame("blob", data))}

    # -- sending

    def submit(self, data: bytes) -> dict[str, Any]:
        """Checks a transaction as a pool does and hands it to the nodes of the network; raises
        :class:`chain.refusal.Refused`, or OSError where no node listens."""
        explorer = self.explorer
        name = MachineApplication(explorer.state, explorer.execution).submit(data)
        return {"id": name.hex(), "nodes": self._send(Frame("transaction", data))}

    def _send(self, frame: Frame) -> int:
        """To every node that listens; how many there were, or OSError."""
        sent, packed = 0, pack(STRANGER) + pack(frame)
        for address in self.peers:
            try:
                with socket.create_connection(address, timeout=1) as peer:
                    peer.sendall(packed)
                    sent += 1
            except OSError:
                continue
        if not sent:
            raise ConnectionError("no node of the network listens")
        return sent


def readable(record: Any) -> Any:
    """A record as JSON: fields by name, bytes as hex."""
    if isinstance(record, bytes):
        return record.hex()
    if isinstance(record, tuple):
        return [readable(item) for item in record]
    fields = getattr(record, "__dataclass_fields__", None)
    if fields is None:
        return to_value(record)
    return {name: readable(getattr(record, name)) for name in fields}


def missing(words: str) -> Refused:
    """What is asked for is not here."""
    return Refused(Code.UNKNOWN, "", words)
