"""Merkle trees as RFC 6962 section 2.1 shapes them, with BLAKE3 in place of SHA-256.

A leaf hashes as H(0x00 || data), a node as H(0x01 || left || right); a tree of n > 1 leaves splits
at the largest power of two below n; no leaves hash as H(""). The root is H(0x02 || n || tree), n in
eight bytes, big-endian: a proof cannot state another number of leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from chain.codec import Count, Digest, Size
from chain.hashes import SIZE, plain

MAX_PATH = 63


@dataclass(frozen=True)
class Proof:
    """That a leaf is number ``index`` of ``count``: the siblings from the leaf up."""

    index: Count
    count: Count
    path: Annotated[tuple[Digest, ...], Size(0, MAX_PATH)]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return plain(b"\x00" + data)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return plain(b"\x01" + left + right)


def counted(count: int, tree: bytes) -> bytes:
    """The root over a number of leaves whose tree has a hash."""
    return plain(b"\x02" + count.to_bytes(8, "big") + tree)


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves of any bytes."""
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves that are hashed already."""
    if not hashes:
        return counted(0, plain(b""))
    row = list(hashes)
    # Pairing from the left and carrying an odd last node up is RFC 6962's split.
    while len(row) > 1:
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = paired + row[len(row) & ~1 :]
    return counted(len(hashes), row[0])


def prove(leaves: Sequence[bytes], index: int) -> Proof:
    """The proof of one leaf; raises IndexError where there is none."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf must be in [0, {len(leaves)}), received {index}")
    row = [leaf_hash(leaf) for leaf in leaves]
    path, at = [], index
    while len(row) > 1:
        sibling = at ^ 1
        if sibling < len(row):
            path.append(row[sibling])
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row, at = paired + row[len(row) & ~1 :], at >> 1
    return Proof(index, len(leaves), tuple(path))


def verify(expected: bytes, data: bytes, proof: Proof) -> bool:
    """Whether ``data`` is the leaf that the proof says, under the root ``expected``."""
    if not 0 <= proof.index < proof.count or any(len(h) != SIZE for h in proof.path):
        return False
    found, at, width, used = leaf_hash(data), proof.index, proof.count, 0
    while width > 1:
        if at ^ 1 < width:
            if used == len(proof.path):
                return False
            sibling = proof.path[used]
            found = node_hash(sibling, found) if at & 1 else node_hash(found, sibling)
            used += 1
        at, width = at >> 1, (width + 1) >> 1
    return used == len(proof.path) and counted(proof.count, found) == expected
