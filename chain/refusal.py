"""Why an input is refused: a code for programs, a numbered rule for people."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Codes of receipts; append-only, 0 is success."""

    OK = 0
    MALFORMED = 1
    OVERSIZED = 2
    WRONG_CHAIN = 3
    BAD_SIGNATURE = 4
    NONCE = 5
    FEE = 6
    GAS = 7
    UNKNOWN = 8
    NOT_ALLOWED = 9
    PHASE = 10
    DUPLICATE = 11
    FUNDS = 12
    LIMIT = 13
    MISMATCH = 14
    BAD_EVIDENCE = 15
    BAD_BLOCK = 16


class Refused(Exception):
    """An input broke ``rule`` (a number in docs/dpos.md or docs/lbft.md)."""

    def __init__(self, code: Code, rule: str, message: str) -> None:
        super().__init__(f"{rule}, {code.name.lower()}: {message}")
        self.code = code
        self.rule = rule
        self.message = message


def require(holds: bool, code: Code, rule: str, message: str) -> None:
    """Raises :class:`Refused` unless the rule holds."""
    if not holds:
        raise Refused(code, rule, message)
