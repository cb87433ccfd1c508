"""gvm._core.blake3 against stored vectors and, where installed, the blake3 package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvm._core import blake3

VECTORS = Path(__file__).parent / "vectors" / "blake3" / "painted.txt"
SHARED = Path(__file__).parents[2] / "shared" / "vectors" / "blake3" / "test_vectors.json"


def painted(size: int) -> bytes:
    """Bytes i mod 251, the input of every vector."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def _stored() -> list[tuple[int, str]]:
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return [(int(length), output[:64]) for length, output in rows]


@pytest.mark.parametrize(("length", "expected"), _stored())
def test_stored_vectors(length: int, expected: str) -> None:
    assert blake3(painted(length)).hex() == expected


def test_official_vectors() -> None:
    if not SHARED.exists():
        pytest.skip("35 official vectors are not on this machine")
    cases = json.loads(SHARED.read_text(encoding="utf-8"))["cases"]
    assert len(cases) >= 35
    for case in cases:
        assert blake3(painted(case["input_len"])).hex() == case["hash"][:64]


@given(st.binary(max_size=3000))
def test_against_package(data: bytes) -> None:
    oracle = pytest.importorskip("blake3")
    assert blake3(data) == oracle.blake3(data).digest()
