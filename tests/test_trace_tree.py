"""The tree inside of BLAKE3: nodes, proofs and what must not pass for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvm._core import blake3
from gvm.trace.tree import CHUNK, SIZE, Slice, Tree, chunk_value, descend, height, joined

SIZES = (0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 3072, 3073, 16 * 1024, 17 * 1024 + 5, 100_000)


def painted(size: int) -> bytes:
    return bytes((i * 7 + i // 251) % 256 for i in range(size))


@pytest.mark.parametrize("size", SIZES)
def test_root_is_the_hash(size: int) -> None:
    data = painted(size)
    tree = Tree(data)
    assert tree.root == blake3(data)
    assert tree.count == max(1, -(-size // CHUNK))


@pytest.mark.parametrize("size", SIZES)
def test_descending_reaches_every_chunk(size: int) -> None:
    tree = Tree(painted(size))
    top = height(tree.count)
    seen = []

    def visit(row: int, index: int) -> None:
        if row == 0:
            assert chunk_value(tree.chunk(index), index, tree.count) == tree.node(0, index)
            seen.append(index)
            return
        under, which = descend(tree.count, row, index)
        values = tree.below(row, index)
        assert len(values) == SIZE * len(which) <= SIZE * 16
        assert joined(values, row - under, row == top) == tree.node(row, index)
        for child in which:
            visit(under, child)

    visit(top, 0)
    assert seen == list(range(tree.count))


@given(st.integers(0, 40 * CHUNK), st.data())
def test_slices_prove_what_they_hold(size: int, draw: st.DataObject) -> None:
    data = painted(size)
    tree = Tree(data)
    wanted = draw.draw(st.sets(st.integers(0, tree.count - 1)))
    found = Slice.decoded(tree.prove(wanted).encoded())
    assert found.proves(tree.root, size)
    assert set(found.chunks) == wanted
    for i in wanted:
        assert found.chunks[i] == data[i * CHUNK : (i + 1) * CHUNK]


@given(st.integers(1, 20 * CHUNK), st.data())
def test_damaged_slices_prove_nothing(size: int, draw: st.DataObject) -> None:
    tree = Tree(painted(size))
    at = draw.draw(st.integers(0, tree.count - 1))
    good = tree.prove([at])
    bad = bytearray(good.chunks[at])
    bad[draw.draw(st.integers(0, len(bad) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    assert not replace(good, chunks={at: bytes(bad)}).proves(tree.root, size)
    if good.path:
        path = bytearray(good.path)
        path[draw.draw(st.integers(0, len(path) - 1))] ^= 1
        assert not replace(good, path=bytes(path)).proves(tree.root, size)
        assert not replace(good, path=good.path[SIZE:]).proves(tree.root, size)
        assert not replace(good, path=good.path[:-1]).proves(tree.root, size)
    assert not replace(good, path=good.path + bytes(SIZE)).proves(tree.root, size)
    assert not good.proves(bytes(SIZE), size)


def test_a_chunk_stands_where_it_stands() -> None:
    # Equal chunks have other values at other places: none can be shown as another.
    tree = Tree(bytes(8 * CHUNK))
    good = tree.prove([2])
    assert len({tree.rows[0][i : i + SIZE] for i in range(0, 8 * SIZE, SIZE)}) == 8
    for other in (0, 1, 3, 7, 8, -1):
        assert not Slice({other: good.chunks[2]}, good.path).proves(tree.root, 8 * CHUNK)


def test_lengths_are_bound() -> None:
    data = painted(5 * CHUNK)
    tree = Tree(data)
    last = tree.prove([4])
    for size in (5 * CHUNK - 1, 5 * CHUNK + 1, 4 * CHUNK, 6 * CHUNK, 8 * CHUNK, 3):
        assert not last.proves(tree.root, size)
    # Zeros behind the end are other data, and a node is not a chunk.
    assert not Slice({4: last.chunks[4] + b"\0"}, last.path).proves(tree.root, 5 * CHUNK + 1)
    pair = tree.rows[0][: 2 * SIZE]
    assert blake3(pair) != tree.rows[1][:SIZE]
    assert not Slice({0: pair}, b"").proves(tree.rows[1][:SIZE], 2 * SIZE)


def test_slices_are_read_within_a_chunk() -> None:
    data = painted(3000)
    found = Tree(data).prove([1])
    assert found.read(1024, 8) == data[1024:1032]
    assert found.read(2040, 8) == data[2040:2048]
    for at in (0, 2044, 2048):
        with pytest.raises(KeyError):
            found.read(at, 8)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        [[], b"", 1],
        [[[0, b""], [0, b""]], b""],
        [[[0]], b""],
        [[["0", b""]], b""],
        [b"", b""],
    ],
)
def test_only_slices_are_decoded(body: object) -> None:
    with pytest.raises(ValueError, match="slice"):
        Slice.decoded(body)
