"""A persistent map from 32-byte keys to records, with a root: old versions stay as they were.

A 16-ary radix tree: a leaf sits at the shortest prefix that only its key has, so the tree's shape
and root depend on the content alone, never on its history. A leaf hashes as H(leaf, key, record), a
branch as H(branch, its sixteen children), an empty table as H(empty).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from chain.codec import encode
from chain.hashes import SIZE, digest

V = TypeVar("V")
_EMPTY = digest("table empty", b"")
_NONE = bytes(SIZE)


class _Leaf:
    __slots__ = ("_hash", "key", "value")

    def __init__(self, key: bytes, value: Any) -> None:
        self.key, self.value = key, value
        self._hash: bytes | None = None

    @property
    def hash(self) -> bytes:
        if self._hash is None:
            self._hash = digest("table leaf", self.key + encode(self.value))
        return self._hash


class _Branch:
    __slots__ = ("_hash", "children")

    def __init__(self, children: tuple[_Node | None, ...]) -> None:
        self.children = children
        self._hash: bytes | None = None

    @property
    def hash(self) -> bytes:
        if self._hash is None:
            parts = [_NONE if c is None else c.hash for c in self.children]
            self._hash = digest("table branch", b"".join(parts))
        return self._hash


_Node = _Leaf | _Branch


def _nibble(key: bytes, depth: int) -> int:
    byte = key[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


class Table(Generic[V]):
    """A value: :meth:`set` and :meth:`remove` give new tables. Iterates by ascending key."""

    __slots__ = ("_node", "_size")

    def __init__(self, node: _Node | None = None, size: int = 0) -> None:
        self._node, self._size = node, size

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def get(self, key: bytes) -> V | None:
        """The record of a key, or None."""
        node, depth = self._node, 0
        while type(node) is _Branch:
            byte = key[depth >> 1]
            node = node.children[byte & 15 if depth & 1 else byte >> 4]
            depth += 1
        return node.value if type(node) is _Leaf and node.key == key else None

    def set(self, key: bytes, value: V) -> Table[V]:
        """The table with a record put at a key."""
        if len(key) != SIZE:
            raise ValueError(f"table: key must have {SIZE} bytes, received {len(key)}")
        return Table(_set(self._node, key, value, 0), self._size + (key not in self))

    def remove(self, key: bytes) -> Table[V]:
        """The table without a key."""
        if key not in self:
            return self
        return Table(_remove(self._node, key, 0), self._size - 1)

    def items(self) -> Iterator[tuple[bytes, V]]:
        """Keys and records by ascending key."""
        stack = [self._node]
        while stack:
            node = stack.pop()
            if isinstance(node, _Leaf):
                yield node.key, node.value
            elif node is not None:
                stack.extend(reversed(node.children))

    def items_after(self, after: bytes) -> Iterator[tuple[bytes, V]]:
        """Keys and records above a key, ascending; of all for the empty key. What lies below is not
        walked."""
        stack: list[tuple[_Node | None, int, bool]] = [(self._node, 0, len(after) == SIZE)]
        while stack:
            node, depth, is_edge = stack.pop()
            if isinstance(node, _Leaf):
                if node.key > after:
                    yield node.key, node.value
            elif node is not None:
                low = _nibble(after, depth) if is_edge else 0
                for at in reversed(range(low, 16)):
                    stack.append((node.children[at], depth + 1, is_edge and at == low))

    def values(self) -> Iterator[V]:
        """Records by ascending key."""
        return (value for _, value in self.items())

    @property
    def root(self) -> bytes:
        """The hash that names the content."""
        return _EMPTY if self._node is None else self._node.hash

    def at_end(self, key: bytes) -> tuple[bytes, V] | None:
        """The record at the end of a key's path: its own, that of a key with the same beginning,
        or none."""
        node, depth = self._node, 0
        while isinstance(node, _Branch):
            node, depth = node.children[_nibble(key, depth)], depth + 1
        return None if node is None else (node.key, node.value)

    def prove(self, key: bytes) -> tuple[bytes, ...]:
        """The branches on the way to a key, each as its sixteen hashes joined, from the root."""
        found, node, depth = [], self._node, 0
        while isinstance(node, _Branch):
            found.append(b"".join(_NONE if c is None else c.hash for c in node.children))
            node, depth = node.children[_nibble(key, depth)], depth + 1
        return tuple(found)


def root_with(key: bytes, leaf: bytes | None, path: tuple[bytes, ...]) -> bytes | None:
    """The root of the table in which ``path`` is the way to ``key`` and ends at a leaf (a key and
    its record, joined) or at nothing; None where there is no such table."""
    if len(key) != SIZE or len(path) > 2 * SIZE or any(len(b) != 16 * SIZE for b in path):
        return None
    if leaf is None:
        found = _NONE
    else:
        # A leaf lies under the beginning of its own key.
        if len(leaf) < SIZE or any(
            _nibble(key, at) != _nibble(leaf, at) for at in range(len(path))
        ):
            return None
        found = digest("table leaf", leaf)
    if not path:
        return _EMPTY if leaf is None else found
    for depth in reversed(range(len(path))):
        at = _nibble(key, depth) * SIZE
        if path[depth][at : at + SIZE] != found:
            return None
        found = digest("table branch", path[depth])
    return found


def verify(root: bytes, key: bytes, record: bytes, path: tuple[bytes, ...]) -> bool:
    """Whether the canonical bytes of a record are at ``key`` in the table named ``root``."""
    return root_with(key, key + record, path) == root


def _set(node: _Node | None, key: bytes, value: Any, depth: int) -> _Node:
    if node is None or (isinstance(node, _Leaf) and node.key == key):
        return _Leaf(key, value)
    if isinstance(node, _Leaf):
        split: list[_Node | None] = [None] * 16
        split[_nibble(node.key, depth)] = node
        node = _Branch(tuple(split))
    children = list(node.children)
    at = _nibble(key, depth)
    children[at] = _set(children[at], key, value, depth + 1)
    return _Branch(tuple(children))


def _remove(node: _Node | None, key: bytes, depth: int) -> _Node | None:
    if not isinstance(node, _Branch):
        return None
    children = list(node.children)
    at = _nibble(key, depth)
    children[at] = _remove(children[at], key, depth + 1)
    left = [child for child in children if child is not None]
    # A branch over one leaf is that leaf: the shape stays a function of the content.
    if len(left) == 1 and isinstance(left[0], _Leaf):
        return left[0]
    return _Branch(tuple(children)) if left else None
