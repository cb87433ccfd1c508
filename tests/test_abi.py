"""The ABI is the published one (tests/abi.txt): functions, constants, sizes and offsets."""

from __future__ import annotations

import re
import shutil

import pytest

from tests import abi

COMPILERS = [c for c in ("cc", "clang") if shutil.which(c)]


@pytest.mark.skipif(not COMPILERS, reason="needs a C compiler")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_abi_is_the_published_one(compiler: str) -> None:
    published = abi.PUBLISHED.read_text().splitlines()
    found = abi.described(compiler)
    gone = sorted(set(published) - set(found))
    assert not gone, "these need another GVM_ABI_VERSION, and python -m tests.abi"
    assert sorted(found) == sorted(published), "python -m tests.abi writes what was added"


def test_every_part_of_the_header_is_described() -> None:
    text = abi.bare((abi.INCLUDE / "gvm" / "gvm.h").read_text())
    lines = abi.PUBLISHED.read_text().splitlines()
    assert sum(line.startswith("function ") for line in lines) == text.count("GVM_API")
    named = {name for name, fields in abi.structs(text) if fields}
    assert {"gvm_error", "gvm_type", "gvm_limits", "gvm_batch", "gvm_file"} <= named
    # Handles have a name and no fields.
    assert {f"typedef struct {name} {{" for name in named} == set(
        re.findall(r"typedef struct \w+ \{", text)
    )


def test_a_change_is_seen() -> None:
    text = abi.bare((abi.INCLUDE / "gvm" / "gvm.h").read_text())
    moved = text.replace("uint64_t local, offset, global;", "uint64_t local, global, offset;")
    assert abi.program(moved) != abi.program(text)
    narrower = text.replace("uint64_t max_batch,", "uint32_t max_batch,")
    assert list(abi.functions(narrower)) != list(abi.functions(text))
