"""Writes programs/refused.txt: every program that a test sees refused, and with which status.

Run as ``python -m tests.vectors.refusals``: it runs those tests, each of which asks for the answer
that was published, and adds what they lacked. What has been published is left alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

KNOWN = Path(__file__).parent / "programs" / "refused.txt"
LIMITS = ("program_bytes", "nodes", "parameter_bytes", "memory_bytes", "multiply_adds")
LARGEST = 4096
"""Bytes of a program that becomes a vector; a few tests refuse lists of a million numbers."""
HEADER = """\
# status limits program: bytes that gvm_program_new refuses with this status. Limits are those of
# gvm_limits in order, 0 for the default, at most 2^63 - 1; - stands for defaults and for no bytes.
"""

missing: dict[str, int] | None = None
"""What has been asked in vain, where it is collected."""


def question(data: bytes, limits: dict[str, int]) -> str | None:
    """Limits and bytes as a line has them; None where the program is too long for one."""
    if len(data) > LARGEST:
        return None
    numbers = (str(min(limits.get(name, 0), 2**63 - 1)) for name in LIMITS)
    return f"{','.join(numbers) if limits else '-'} {data.hex() or '-'}"


@cache
def published() -> dict[str, int]:
    """Statuses by question."""
    lines = KNOWN.read_text().splitlines() if KNOWN.exists() else []
    rows = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    return {asked: int(status) for status, asked in rows}


def ask(asked: str, status: int) -> bool:
    """Whether this is the published answer, or none is and they are collected."""
    if asked not in published() and missing is not None:
        missing[asked] = status
        return True
    return published().get(asked) == status


def main() -> None:
    """Adds what is not there yet."""
    import pytest

    from tests.vectors import refusals as shared  # the module that the tests know

    shared.missing = {}
    folder = Path(__file__).parent.parent
    files = [str(p) for p in sorted(folder.glob("test_*.py")) if "hand_written" in p.read_text()]
    if pytest.main(["-q", "-p", "no:xdist", *files]) != 0:
        raise SystemExit("the tests fail: nothing is written")
    if not KNOWN.exists():
        KNOWN.write_text(HEADER)
    with open(KNOWN, "a", encoding="ascii") as file:
        file.write("".join(f"{status} {asked}\n" for asked, status in shared.missing.items()))


if __name__ == "__main__":
    main()
