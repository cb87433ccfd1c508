"""The compiled core. All of it is in the extension ``gvm._core._gvm``, a guest of the C ABI
``gvm.h``."""

import platform

try:
    from gvm._core import _gvm
except ImportError as error:
    error.add_note(
        "The extension gvm._core._gvm did not load. Was it compiled? In a source tree run "
        "`make setup`, or `pip install --no-build-isolation --editable .`"
    )
    raise

from gvm._core._gvm import (
    ABI_VERSION,
    SEMANTICS_VERSION,
    Program,
    Session,
    Shard,
    blake3,
    blake3_chunks,
    blake3_parents,
    cpu_level,
    device_count,
    infer,
    parse_file,
    random_words,
    referee,
    run_operator,
    unary_table,
    version,
    write_file,
)

_ARM = platform.machine().lower() in ("aarch64", "arm64")
CPU_LEVELS = ("scalar", "neon") if _ARM else ("scalar", "avx2", "avx512")
"""Names of the CPU levels by number, on this architecture."""


DEVICE_LEVEL = 64
"""The level of device 0; device i has the level 64 + i."""


def cpu_levels() -> tuple[int, ...]:
    """The CPU levels this machine has, from scalar up."""
    return tuple(range(cpu_level() + 1))


def levels() -> tuple[int, ...]:
    """All that this machine can execute on: its CPU levels, then its devices."""
    return cpu_levels() + tuple(DEVICE_LEVEL + index for index in range(device_count()[0]))


def level_name(level: int) -> str:
    """scalar, avx2, avx512, cuda, cuda:1 ..."""
    if level < DEVICE_LEVEL:
        return CPU_LEVELS[level]
    return "cuda" if level == DEVICE_LEVEL else f"cuda:{level - DEVICE_LEVEL}"


__all__ = [
    "ABI_VERSION",
    "CPU_LEVELS",
    "DEVICE_LEVEL",
    "SEMANTICS_VERSION",
    "Program",
    "Session",
    "Shard",
    "_gvm",
    "blake3",
    "blake3_chunks",
    "blake3_parents",
    "cpu_level",
    "cpu_levels",
    "device_count",
    "infer",
    "level_name",
    "levels",
    "parse_file",
    "random_words",
    "referee",
    "run_operator",
    "unary_table",
    "version",
    "write_file",
]
