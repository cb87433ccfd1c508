"""Data sets: the .gdata file, its Merkle root and its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvm import cbor, data
from gvm._core import blake3


def tree(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return bytes(blake3(b"\0" + leaves[0]))
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return bytes(blake3(b"\1" + tree(leaves[:k]) + tree(leaves[k:])))


@given(st.binary(max_size=70))
def test_root_is_that_of_the_recursive_definition(content: bytes) -> None:
    leaves = [content[i : i + 3] for i in range(0, len(content), 3)] or [b""]
    assert data.merkle_root(content, 3) == tree(leaves)


@pytest.mark.parametrize("dtype", ["u8", "i16", "i32"])
@pytest.mark.parametrize("shape", [(0, 4), (1,), (5,), (7, 3, 2), (40_000,)])
def test_a_file_gives_back_what_was_saved(
    dtype: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    integers = (np.arange(np.prod(shape)) % 251).reshape(shape)
    saved = data.from_array(integers, dtype)
    saved.save(tmp_path / "x.gdata")
    found = data.load(tmp_path / "x.gdata")
    assert (found.dtype, found.fraction_bits, found.id) == (dtype, 0, saved.id)
    assert found.integers.dtype == saved.integers.dtype
    assert np.array_equal(found.integers, integers)


def test_reals_are_rounded_half_to_even_and_kept_exactly() -> None:
    made = data.from_array(np.array([0.5, 1.5, -0.5, 3.0]) / 256, "i16", 8)
    assert made.integers.tolist() == [0, 2, 0, 3]
    assert made.reals().tolist() == [0.0, 2 / 256, 0.0, 3 / 256]


def test_the_name_covers_format_and_shape() -> None:
    array = np.arange(6)
    names = {
        data.from_array(array, "i16").id,
        data.from_array(array, "i32").id,
        data.from_array(array.reshape(2, 3), "i16").id,
        data.from_array(array / 2.0, "i16", 1).id,
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("array", "dtype", "bits", "message"),
    [
        (np.array([1.0, np.nan]), "i16", 0, "finite"),
        (np.array([200.0]), "i16", 8, r"received integers in \[51200, 51200\]"),
        (np.array([1.5]), None, 0, "need a format"),
        (np.array([1]), "i16", 3, "integers have 0 fraction bits, received 3"),
        (np.array([1]), "i64", 0, "received 'i64'"),
        (np.array([1.0]), "i16", 48, "received 48"),
        (np.array(["a"]), None, 0, "array of numbers"),
        (np.array(3), None, 0, "array of numbers"),
    ],
)
def test_invalid_arrays(array: np.ndarray, dtype: str | None, bits: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.from_array(array, dtype, bits)


def test_invalid_files_each_byte_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.gdata"
    data.from_array(np.arange(12, dtype=np.uint8).reshape(4, 3)).save(path)
    good = path.read_bytes()
    names = {data.load(path).id}
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            names.add(data.load(path).id)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert at < len(good) - 12, "an integer changed and the root did not notice"
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(ValueError, match="x.gdata"):
            data.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"count": -1},
        {"count": True},
        {"shape": 3},
        {"shape": [1 << 50]},
        {"shape": [1] * 9},
        {"dtype": "i64"},
        {"fraction_bits": 99},
        {"fraction_bits": None},
        {"root": b""},
        {"more": 1},
    ],
)
def test_invalid_headers(change: dict[str, cbor.Value], tmp_path: Path) -> None:
    made = data.from_array(np.arange(4))
    header = cbor.encode({**cbor.decode(made.header), **change})  # type: ignore[dict-item]
    path = tmp_path / "x.gdata"
    path.write_bytes(
        data.MAGIC + len(header).to_bytes(8, "little") + header + made.integers.tobytes()
    )
    with pytest.raises(ValueError, match="x.gdata"):
        data.load(path)
