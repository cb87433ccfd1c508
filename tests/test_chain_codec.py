"""chain.codec, hashes, merkle and table: hand-worked cases, proofs, and what must be refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import merkle, table
from chain.codec import CodecError, Count, Digest, Size, Text, decode, decode_value, encode
from chain.codec import encode_value as packed
from chain.hashes import digest, digest_of, plain, stream
from chain.table import Table
from gvm.cbor import CborError


class Colour(IntEnum):
    RED = 1
    BLUE = 4


@dataclass(frozen=True)
class Inner:
    name: Text
    flag: bool


@dataclass(frozen=True)
class Outer:
    number: Count
    key: Digest
    inner: tuple[Inner, ...]
    maybe: Count | None
    colour: Colour
    few: Annotated[tuple[Count, ...], Size(0, 2)]


RECORD = Outer(7, b"k" * 32, (Inner("a", True), Inner("é", False)), None, Colour.BLUE, (1, 2))


def test_records_are_arrays_of_their_fields() -> None:
    data = encode(RECORD)
    assert decode_value(data) == [
        7,
        b"k" * 32,
        [["a", True], ["é", False]],
        None,
        4,
        [1, 2],
    ]
    assert decode(Outer, data) == RECORD


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        (0, -1, "Outer.number"),
        (0, 1 << 63, "Outer.number"),
        (0, True, "Outer.number"),
        (0, "7", "Outer.number"),
        (1, b"k" * 31, "Outer.key"),
        (2, [["a", 1]], r"Outer.inner\[0\].flag"),
        (2, [["a"]], r"Outer.inner\[0\]"),
        (2, [["a" * 129, True]], r"Outer.inner\[0\].name"),
        (2, b"", "Outer.inner"),
        (3, "x", "Outer.maybe"),
        (4, 2, "Outer.colour"),
        (4, True, "Outer.colour"),
        (5, [1, 2, 3], "Outer.few"),
    ],
)
def test_a_field_outside_its_annotation_is_named(field: int, value: object, path: str) -> None:
    whole = decode_value(encode(RECORD))
    whole[field] = value
    with pytest.raises(CodecError, match=f"^{path}: "):
        decode(Outer, packed(whole))


@given(st.binary(max_size=64))
def test_bytes_decode_to_what_encodes_to_them(data: bytes) -> None:
    try:
        record = decode(Inner, data)
    except CodecError:
        return
    assert encode(record) == data


@given(st.integers(0, 400), st.integers(1, 255))
def test_damaged_bytes_are_another_record_or_none(at: int, flip: int) -> None:
    data = bytearray(encode(RECORD))
    data[at % len(data)] ^= flip
    try:
        assert decode(Outer, bytes(data)) != RECORD
    except CodecError:
        pass


def test_appendix_a_is_the_subset(shared: Callable[[str], Path]) -> None:
    cases = json.loads(shared("vectors/cbor/appendix_a.json").read_text())
    accepted = 0
    for case in cases:
        data = bytes.fromhex(case["hex"])
        try:
            value = decode_value(data)
        except CborError:
            continue
        assert value == case.get("decoded", value)
        assert packed(value) == data
        accepted += 1
    assert (accepted, len(cases)) == (36, 82)


def test_blake3_is_that_of_its_vectors(shared: Callable[[str], Path]) -> None:
    cases = json.loads(shared("vectors/blake3/test_vectors.json").read_text())["cases"]
    for case in cases:
        data = bytes(i % 251 for i in range(case["input_len"]))
        assert plain(data).hex() == case["hash"][:64]
    assert len(cases) == 35


def test_domains_and_parts_are_kept_apart() -> None:
    assert digest("a", b"x") != digest("b", b"x") != plain(b"x")
    assert digest_of("a", b"x", b"y") != digest_of("a", b"xy", b"")
    assert stream("a", b"s", 8, 4) == stream("a", b"s", 12)[4:]


# --- Merkle trees ------------------------------------------------------------------------------


def split_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not leaves:
        return plain(b"")
    if len(leaves) == 1:
        return plain(b"\0" + leaves[0])
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return plain(b"\1" + split_root(leaves[:k]) + split_root(leaves[k:]))


@pytest.mark.parametrize("count", range(20))
def test_merkle_root_is_the_recursive_one_and_every_leaf_is_proved(count: int) -> None:
    leaves = [bytes([i]) * (i % 3) for i in range(count)]
    root = merkle.root(leaves)
    assert root == plain(b"\2" + count.to_bytes(8, "big") + split_root(leaves))
    for i, leaf in enumerate(leaves):
        proof = merkle.prove(leaves, i)
        assert merkle.verify(root, leaf, proof)
        assert not merkle.verify(root, leaf + b"!", proof)
        assert not merkle.verify(plain(root), leaf, proof)
        for other in range(i + 1, 2 * count + 2):
            said = merkle.Proof(i, other, proof.path)
            assert merkle.verify(root, leaf, said) == (other == count)
        longer = merkle.Proof(i, count, (*proof.path, root))
        assert not merkle.verify(root, leaf, longer)
        if proof.path:
            assert not merkle.verify(root, leaf, merkle.Proof(i, count, proof.path[:-1]))
    with pytest.raises(IndexError):
        merkle.prove(leaves, count)


def test_a_node_is_no_leaf() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.root([b"a", b"b"]) != merkle.root([left + right])


# --- the state's tables ------------------------------------------------------------------------

keys = st.binary(min_size=2, max_size=2).map(lambda b: b + bytes(30))


@given(st.lists(st.tuples(keys, st.none() | st.integers(0, 99))))
def test_table_is_a_map_whose_root_forgets_history(steps: list[tuple[bytes, int | None]]) -> None:
    made: Table[int] = Table()
    plainly: dict[bytes, int] = {}
    versions = []
    for key, value in steps:
        versions.append((made, dict(plainly)))
        if value is None:
            made = made.remove(key)
            plainly.pop(key, None)
        else:
            made = made.set(key, value)
            plainly[key] = value
    for version, content in [*versions, (made, plainly)]:
        assert list(version.items()) == sorted(content.items())
        assert len(version) == len(content)
    fresh: Table[int] = Table()
    order = list(plainly)
    random.Random(0).shuffle(order)
    for key in order:
        fresh = fresh.set(key, plainly[key])
    assert fresh.root == made.root
    for key, value in plainly.items():
        path = made.prove(key)
        assert table.verify(made.root, key, encode(value), path)
        assert not table.verify(made.root, key, encode(value + 1), path)


def test_table_takes_32_byte_keys() -> None:
    with pytest.raises(ValueError, match="32 bytes, received 1"):
        Table[int]().set(b"k", 1)
