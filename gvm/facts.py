"""What a node of a chain may ask of program bytes: is it a program, what is it called, what does it
cost."""

from __future__ import annotations

from dataclasses import dataclass

from gvm import _core

LOSS = 1


@dataclass(frozen=True)
class ProgramFacts:
    """``graph_id``: BLAKE3 of inference and loss. ``loss_multiply_adds``: of the loss of one
    example, exact. ``parameter_bytes``: the size of the parameter buffer."""

    graph_id: bytes
    loss_multiply_adds: int
    parameter_bytes: int


def program_facts(program: bytes) -> ProgramFacts:
    """The facts of program bytes; raises :class:`gvm.ProgramError` for what is no program with a
    loss. The same on every machine."""
    native = _core.Program(program)
    info, cost = native.info(), native.cost(LOSS, 1)
    return ProgramFacts(info["graph_id"], cost["multiply_adds"], info["parameter_bytes"])
