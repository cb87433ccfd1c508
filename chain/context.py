"""What a step knows besides the state: the height, the transaction, what the core can judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from chain.keys import verify_signed
from chain.state import State


@dataclass(frozen=True)
class Inspection:
    """What is known of a program before it runs: its name, the most multiply-adds of one loss over
    a test fold, the size of its parameters."""

    graph: bytes
    multiply_adds: int
    parameter_bytes: int


@dataclass(frozen=True)
class Claim:
    """What a round says of its winner: the referee decides whether it is true."""

    graph: bytes
    parameters: bytes
    fold: bytes
    loss: int
    trace: bytes


class Verdict(IntEnum):
    """What an opening proves of a claim: nothing; that the trace is not that of the run; that the
    loss is not the right one either, or that there is none."""

    NOTHING = 0
    FALSE_TRACE = 1
    FALSE_LOSS = 2


Inspect: TypeAlias = Callable[[bytes], Inspection]
"""Program bytes to what is known of them; raises ValueError for what is no program."""
Referee: TypeAlias = Callable[[Claim, bytes], Verdict]
"""What an opening proves against a claim: a pure function of its arguments, NOTHING for any bytes
that prove nothing. Raises only where this machine failed: who does not know the verdict must not
go on."""
Verify: TypeAlias = Callable[[bytes, str, str, bytes, bytes], bool]
"""(public key, purpose, chain, payload, signature) to whether it is valid; may remember."""


@dataclass(frozen=True)
class Execution:
    """The callables through which the core is reached; ``gvm`` provides them, tests may invent
    them. Each gives the same answer on every machine."""

    inspect: Inspect
    referee: Referee
    verify: Verify = verify_signed


@dataclass(frozen=True)
class Context:
    """Where a transaction stands: the height of its block, its id, who sent it."""

    execution: Execution
    height: int
    transaction: bytes
    sender: bytes
    public: bytes


Handler: TypeAlias = Callable[[State, Context, Any], State]
"""What an action does; raises :class:`chain.refusal.Refused` and then changes nothing."""
Actions: TypeAlias = dict[type, Handler]
"""The handlers of a subject, by record."""
