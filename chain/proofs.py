"""What a client can check by itself, from a state root or a block hash that it trusts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from chain import merkle, table
from chain.blocks import Block
from chain.codec import (
    CodecError,
    Count,
    Digest,
    Size,
    Text,
    decode_value,
    encode,
    from_value,
)
from chain.hashes import SIZE, digest_of
from chain.state import HEADER, TABLES, State, header_leaf, leaves
from chain.table import Table
from gvm.cbor import CborError

BRANCH = Annotated[bytes, Size(16 * SIZE, 16 * SIZE)]


@dataclass(frozen=True)
class RecordProof:
    """What a table of the state holds at a key: ``record`` as canonical bytes, or nothing.

    ``path``: the branches from the table's root. ``other``: where the path ends at another key,
    that key and its record, joined. ``tree``: the table's root under the state's.
    """

    table: Text
    key: Digest
    record: bytes | None
    other: bytes | None
    path: Annotated[tuple[BRANCH, ...], Size(0, 2 * SIZE)]
    tree: merkle.Proof


@dataclass(frozen=True)
class TransactionProof:
    """That a transaction is in a block: the block's header with its lists as roots."""

    chain: Text
    height: Count
    parent: Digest
    state: Digest
    proposer: Digest
    round: Count
    signed: Digest
    misbehaviour: Digest
    transactions: Digest
    proof: merkle.Proof

    @property
    def block(self) -> bytes:
        """The hash of the block. D71."""
        return digest_of(
            "block",
            self.chain,
            self.height,
            self.parent,
            self.state,
            self.proposer,
            self.round,
            self.signed,
            self.misbehaviour,
            self.transactions,
        )


def prove_record(state: State, name: str, key: bytes) -> RecordProof:
    """The proof of a record, or that there is none; raises ValueError for no table."""
    if name not in TABLES:
        raise ValueError(f"table must be one of {', '.join(TABLES)}, received {name!r}")
    found: Table[Any] = getattr(state, name)
    record, other = found.get(key), found.at_end(key)
    tree = merkle.prove(leaves(state), 1 + TABLES.index(name))
    return RecordProof(
        table=name,
        key=key,
        record=None if record is None else encode(record),
        other=None if record is not None or other is None else other[0] + encode(other[1]),
        path=found.prove(key),
        tree=tree,
    )


def verify_record(root: bytes, proof: RecordProof) -> bool:
    """Whether the state named ``root`` holds what the proof says at its key."""
    if proof.table not in TABLES:
        return False
    if (proof.tree.index, proof.tree.count) != (1 + TABLES.index(proof.table), 1 + len(TABLES)):
        return False
    if proof.record is not None:
        found = table.root_with(proof.key, proof.key + proof.record, proof.path)
    else:
        found = table.root_with(proof.key, proof.other, proof.path)
        if proof.other is not None and proof.other[:SIZE] == proof.key:
            return False
    return found is not None and merkle.verify(root, found, proof.tree)


@dataclass(frozen=True)
class HeaderProof:
    """What is in no table of a state: ``leaf`` as canonical bytes."""

    leaf: bytes
    tree: merkle.Proof


def prove_header(state: State) -> HeaderProof:
    """The proof of a state's header: constants, height, supply, who validates."""
    return HeaderProof(header_leaf(state), merkle.prove(leaves(state), 0))


def verify_header(root: bytes, proof: HeaderProof) -> State | None:
    """The state named ``root`` without its tables; None where the proof does not hold."""
    place = (proof.tree.index, proof.tree.count)
    if place != (0, 1 + len(TABLES)) or not merkle.verify(root, proof.leaf, proof.tree):
        return None
    hints = get_type_hints(State, include_extras=True)
    try:
        _, *items = decode_value(proof.leaf)
        pairs = zip(HEADER, items, strict=True)
        return State(**{name: from_value(hints[name], item) for name, item in pairs})
    except (CborError, CodecError, ValueError, TypeError):
        return None


def prove_transaction(block: Block, index: int) -> TransactionProof:
    """The proof of one transaction of a block; raises IndexError where there is none."""
    return TransactionProof(
        block.chain,
        block.height,
        block.parent,
        block.state,
        block.proposer,
        block.round,
        merkle.root(block.signed),
        merkle.root([encode(item) for item in block.misbehaviour]),
        merkle.root(block.transactions),
        merkle.prove(block.transactions, index),
    )


def verify_transaction(block: bytes, transaction: bytes, proof: TransactionProof) -> bool:
    """Whether a transaction is in the block of a hash, at the place that the proof says."""
    inside = merkle.verify(proof.transactions, transaction, proof.proof)
    return inside and proof.block == block
