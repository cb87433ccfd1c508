"""More than two thirds."""

from __future__ import annotations


def has_quorum(yes: int, total: int) -> bool:
    """L8, D28: whether ``yes`` is more than two thirds of ``total``, without a division."""
    return 3 * yes > 2 * total
