"""What an orderer needs to know of what it orders: five questions, blocks as opaque bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chain.codec import Count, Digest


@dataclass(frozen=True)
class Member:
    """A validator at one height: its public key and voting power."""

    public: Digest
    power: Count


class Application(Protocol):
    """A state machine behind an orderer. Every method is a function of the blocks applied so far
    and its arguments; ``height`` is always the next one, the number of applied blocks plus one."""

    def validators(self, height: int) -> tuple[Member, ...]:
        """Who votes at a height: fixed once the block below it is applied."""

    def proposer(self, height: int, round_: int) -> int:
        """The index in :meth:`validators` of who proposes in a round of a height."""

    def propose(self, height: int, round_: int, signers: tuple[int, ...]) -> bytes:
        """A block for a round of a height. ``signers``: who precommitted the block below, as
        indices in ``validators(height - 1)``, ascending; the orderer carries the proof itself."""

    def validate(
        self,
        height: int,
        round_: int,
        block: bytes,
        signers: tuple[int, ...],
        fresh: bool = False,
    ) -> str:
        """Why a block that was proposed in this round or before is not acceptable; empty when it
        is. ``fresh``: it was made for this round, and not in one before. Changes nothing."""

    def apply(self, height: int, block: bytes) -> bytes:
        """Applies a decided block, once and in order of height; returns the state root."""
