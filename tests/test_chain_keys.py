"""chain.keys: the strict rules for ed25519, against vectors that trap lenient verifiers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chain import keys
from chain.keys import Key, L, P, verify, verify_signed


def test_small_order_is_what_the_curve_says() -> None:
    d = -121665 * pow(121666, -1, P) % P
    i = pow(2, (P - 1) // 4, P)

    def point(y: int) -> tuple[int, int] | None:
        square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        x = x if (x * x - square) % P == 0 else x * i % P
        return (x, y) if (x * x - square) % P == 0 else None

    def double(p: tuple[int, int]) -> tuple[int, int]:
        x, y = p
        k = d * x * x * y * y % P
        return 2 * x * y * pow(1 + k, -1, P) % P, (y * y + x * x) * pow(1 - k, -1, P) % P

    points = 0
    for y in keys.SMALL_ORDER:
        p = point(y)
        assert p is not None
        assert double(double(double(p))) == (0, 1)
        points += 1 if p[0] == 0 else 2
    assert points == 8  # the whole torsion subgroup


def test_signatures_are_bound_to_purpose_and_chain() -> None:
    key = Key.derived("test", 1)
    signature = key.sign("vote", "net", b"payload")
    assert verify_signed(key.public, "vote", "net", b"payload", signature)
    assert not verify_signed(key.public, "other", "net", b"payload", signature)
    assert not verify_signed(key.public, "vote", "nett", b"payload", signature)
    assert not verify_signed(key.public, "vote", "net", b"payloaD", signature)
    assert not verify_signed(Key.derived("test", 2).public, "vote", "net", b"payload", signature)


def test_s_is_reduced() -> None:
    key = Key.derived("test", 1)
    message = keys.signing_bytes("vote", "net", b"payload")
    signature = key.sign("vote", "net", b"payload")
    more = int.from_bytes(signature[32:], "little") + L
    assert verify(key.public, message, signature)
    assert not verify(key.public, message, signature[:32] + more.to_bytes(32, "little"))


@pytest.mark.parametrize("y", [*sorted(keys.SMALL_ORDER), P, P + 1, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_points_that_no_signer_makes_are_refused(y: int, sign: int) -> None:
    encoded = (y | sign << 255).to_bytes(32, "little")
    key = Key.derived("test", 1)
    signature = key.sign("vote", "net", b"")
    message = keys.signing_bytes("vote", "net", b"")
    assert not keys.is_acceptable_point(encoded)
    assert not verify(encoded, message, signature)
    assert not verify(key.public, message, encoded + signature[32:])


@pytest.mark.parametrize("cut", [0, 31, 33, 63, 65])
def test_sizes_are_exact(cut: int) -> None:
    key = Key.derived("test", 1)
    assert not verify(key.public, b"", (key.sign("vote", "net", b"") + b"\0")[:cut])
    assert not verify((key.public + b"\0")[:cut], b"", key.sign("vote", "net", b""))
    with pytest.raises(ValueError, match="32 bytes"):
        Key(bytes(cut))


def test_wycheproof(shared: Callable[[str], Path]) -> None:
    cases = json.loads(shared("vectors/wycheproof/ed25519_test.json").read_text())
    count = 0
    for group in cases["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            found = verify(public, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert found == (case["result"] == "valid"), case
            count += 1
    assert count == 151


def test_speccheck(shared: Callable[[str], Path]) -> None:
    # Only a mixed-order key and R that satisfy the equation without the cofactor pass.
    cases = json.loads(shared("vectors/ed25519-speccheck/cases.json").read_text())
    found = [
        verify(*(bytes.fromhex(case[name]) for name in ("pub_key", "message", "signature")))
        for case in cases
    ]
    assert [i for i, valid in enumerate(found) if valid] == [6]
    assert len(found) == 15
