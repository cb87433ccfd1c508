"""What a user asks of formats: one for all tensors, one for each kind, or some by name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gvm.errors import ImportModelError

LEAST_FRACTION_BITS, MOST_FRACTION_BITS = -32, 47
"""Of any value, exact products included (numerics section 1)."""
KINDS = ("weights", "activations", "gradients")
"""Kinds of tensors that may share one format: parameters; inputs and what the forward pass makes of
them; what the backward pass makes."""


@dataclass(frozen=True)
class Formats:
    """How formats are chosen. Headroom: powers of two left free above the largest value seen.

    None stands for 3 of activations and 2 of weights that training moves. Others do not grow: it is
    0 for weights, and for activations 1, or less where outliers are so far above the rest that the
    room would cost the rest (MARGINS).
    """

    uniform: int | None = None
    """Fraction bits of every i16 tensor, or None: chosen per tensor."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Fraction bits of every i16 tensor of a kind (KINDS), before ``uniform``."""
    activation_headroom: int | None = None
    delta_headroom: int = 2
    weight_headroom: int | None = None
    overrides: Mapping[str, int] = field(default_factory=dict)
    """Fraction bits by the name of an input, a parameter, or a node whose result is rounded; for a
    bias those of profile w16. Any other name is refused."""

    @property
    def given(self) -> bool:
        """Whether every i16 tensor has its format without calibration."""
        return self.uniform is not None or all(kind in self.kinds for kind in KINDS)

    @staticmethod
    def parse(text: str | None) -> Formats:
        """``None`` for calibrated formats, the seeds' uniform ``"<IL,FL>"`` with IL + FL = 16, or
        one of each kind: ``"weights=<2,14> activations=<6,10> gradients=<2,14>"``. A kind that is
        left out is calibrated."""
        if text is None:
            return Formats()
        if "=" not in text:
            return Formats(uniform=_fraction_length(text))
        kinds = {}
        for kind, given in re.findall(r"([^\s=]+)(?:\s*=\s*(<[^>]*>|\S+))?", text):
            if kind not in KINDS or kind in kinds:
                raise ImportModelError(
                    f"formats: each of {', '.join(KINDS)} at most once, received {kind!r}"
                )
            kinds[kind] = _fraction_length(given)
        return Formats(kinds=kinds)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Formats:
        """Overrides of a JSON file: an object of names and fraction bits. Raises ImportModelError
        with the file's name for any other, OSError where it cannot be read."""
        name = os.fspath(path)
        try:
            given = json.loads(Path(path).read_bytes())
        except ValueError as error:
            raise ImportModelError(f"{name}: not JSON: {error}") from None
        if not isinstance(given, dict):
            raise ImportModelError(f"{name}: must hold one object of names and fraction bits")
        for key, bits in given.items():
            whole = isinstance(bits, int) and not isinstance(bits, bool)
            if not whole or not LEAST_FRACTION_BITS <= bits <= MOST_FRACTION_BITS:
                raise ImportModelError(
                    f"{name}: fraction bits of {key!r} must be whole and in "
                    f"[{LEAST_FRACTION_BITS}, {MOST_FRACTION_BITS}], received {json.dumps(bits)}"
                )
        return Formats(overrides=given)


def _fraction_length(text: str) -> int:
    """FL of ``"<IL,FL>"``."""
    match = re.fullmatch(r"\s*<\s*(-?\d+)\s*,\s*(-?\d+)\s*>\s*", text)
    if match is None or int(match[1]) + int(match[2]) != 16:
        raise ImportModelError(f'formats must be "<IL,FL>" with IL + FL = 16, received {text!r}')
    bits = int(match[2])
    if not LEAST_FRACTION_BITS <= bits <= MOST_FRACTION_BITS:
        raise ImportModelError(
            f"formats: FL must be in [{LEAST_FRACTION_BITS}, {MOST_FRACTION_BITS}], received {bits}"
        )
    return bits
