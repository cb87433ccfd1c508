"""gvm.cbor: stored vectors, the inverse, uniqueness of the encoding, and damaged bytes."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvm import cbor

VECTORS = Path(__file__).parent / "vectors" / "cbor"
SHARED = Path(__file__).parents[2] / "shared" / "vectors" / "cbor" / "appendix_a.json"

BOUNDARIES = [n + d for k in (0, 8, 16, 32, 63) for n in (1 << k, -1 << k) for d in (-1, 0)]


def _lines(name: str) -> list[str]:
    lines = (VECTORS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from True and b"" from ""."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.sampled_from(
        [n + d for k in (0, 8, 16, 32, 63) for n in (1 << k, -1 << k) for d in (-1, 0)]
    )
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("line", _lines("accept.txt"))
def test_accept_vectors(line: str) -> None:
    text, literal = line.split(" ", 1)
    value = ast.literal_eval(literal)
    assert same(cbor.decode(bytes.fromhex(text)), value)
    assert cbor.encode(value).hex() == text


@pytest.mark.parametrize("line", _lines("refuse.txt"))
def test_refuse_vectors(line: str) -> None:
    text, offset, rule = line.split(" ", 2)
    data = b"" if text == "-" else bytes.fromhex(text)
    with pytest.raises(cbor.CborError) as caught:
        cbor.decode(data)
    assert (caught.value.offset, caught.value.rule) == (int(offset), rule)


def test_appendix_a() -> None:
    """RFC 8949 Appendix A: the subset decodes to the stated values, the rest is refused."""
    if not SHARED.exists():
        pytest.skip("82 cases of RFC 8949 Appendix A are not on this machine")
    outside = {
        "floats and simple values are not allowed",
        "indefinite lengths are not allowed",
        "map key is not text",
        "tags are not allowed",
    }
    accepted = refused = 0
    for case in json.loads(SHARED.read_text(encoding="utf-8")):
        data = bytes.fromhex(case["hex"])
        try:
            value = cbor.decode(data)
        except cbor.CborError as error:
            refused += 1
            assert error.rule in outside, case
        else:
            accepted += 1
            assert same(value, cbor2.loads(data)), case
            assert "decoded" not in case or same(value, case["decoded"]), case
            assert case["roundtrip"] and cbor.encode(value) == data
    assert accepted >= 35 and refused >= 30


@given(values)
def test_inverse_and_oracle(value: Any) -> None:
    data = cbor.encode(value)
    assert same(cbor.decode(data), value)
    assert same(cbor2.loads(data), value)


@given(st.dictionaries(st.text(), st.none()))
def test_map_order_is_of_encoded_keys(value: dict[str, None]) -> None:
    keys = list(cbor.decode(cbor.encode(value)))
    assert keys == sorted(value, key=cbor.encode)
    assert cbor.encode(dict(reversed(value.items()))) == cbor.encode(value)


@given(values, st.data())
def test_damaged_bytes(value: Any, data: st.DataObject) -> None:
    """Damage is refused with CborError, or the bytes are the encoding of what they decode to."""
    raw = bytearray(cbor.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        kind = data.draw(st.sampled_from(["change", "insert", "delete"]))
        byte = data.draw(st.integers(0, 255))
        if kind == "insert":
            raw.insert(at, byte)
        elif at < len(raw):
            raw[at : at + 1] = [byte] if kind == "change" else []
    _check_total(bytes(raw))


@given(st.binary(max_size=40))
def test_arbitrary_bytes(data: bytes) -> None:
    _check_total(data)


def _check_total(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except cbor.CborError as error:
        assert 0 <= error.offset <= len(data)
    else:
        assert cbor.encode(value) == data
        assert same(cbor2.loads(data), value)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (1.0, "type cannot be encoded, received float"),
        ([set()], "type cannot be encoded, received set"),
        (1 << 64, f"integer is outside [-2^64, 2^64 - 1], received {1 << 64}"),
        (-(1 << 64) - 1, f"integer is outside [-2^64, 2^64 - 1], received {-(1 << 64) - 1}"),
        ({1: 2}, "map key is not text"),
        ("\ud800", "text is not valid UTF-8"),
        ({"\udfff": 0}, "text is not valid UTF-8"),
    ],
)
def test_encode_refuses(value: Any, rule: str) -> None:
    with pytest.raises(cbor.CborError) as caught:
        cbor.encode(value)
    assert caught.value.rule == rule


def test_depth() -> None:
    value: Any = 0
    for _ in range(cbor.MAX_DEPTH):
        value = [value]
    assert cbor.decode(cbor.encode(value)) == value
    for deeper in ([value], {"a": value}):
        with pytest.raises(cbor.CborError, match="deeper than 64"):
            cbor.encode(deeper)
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(cbor.CborError, match="deeper than 64"):
        cbor.encode(cycle)
