"""The dispute: two parties who claim different states find the one element where they part.

A pure state machine. Each party owes the moves that ``owed`` names; what a move says is checked
against what the party has claimed before, so a party that stays consistent is led to the first
thing in which the two differ: a step, in it a value, in it a tile, in it an element, in a long sum
some of its terms. Then one opening decides. Deadlines are the caller's: ``forfeit``.

The moves, in the order of the phases:

==========  ========================================================================
steps       the roots of at most 15 states between the last equal one and the first other one
step        the hashes of the tensors before and after the step, and the root of the step
below       at most 16 nodes below the one in which the parties differ
chunk       the 1024 bytes that they differ in
describe    (either party) what the value is and what makes it
sums        at most 16 partial sums
open        (either party) what the referee reads
==========  ========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from gvm import cbor
from gvm.trace.claim import LEAF, Refused
from gvm.trace.element import Step
from gvm.trace.file import Header
from gvm.trace.listing import Entry, Node, read_descriptor
from gvm.trace.phases import CHECKS, RESOLVE, Pair
from gvm.trace.tree import ARITY, SIZE, chunk_count, height

SINGLE = ("describe", "open")
"""Phases in which one move of either party is enough."""


@dataclass(frozen=True)
class Move:
    """What a party says in a phase; the body is canonical values."""

    phase: str
    body: Any

    def encode(self) -> bytes:
        """Canonical bytes."""
        return cbor.encode([self.phase, self.body])

    @staticmethod
    def decode(data: bytes) -> Move:
        """The inverse of ``encode``; raises ValueError."""
        match cbor.decode(data):
            case [str() as phase, body]:
                return Move(phase, body)
        raise ValueError("a move is a phase and a body")


@dataclass(frozen=True)
class Verdict:
    """How a dispute ended."""

    guilty: tuple[bool, bool]
    step: int
    value: int
    """Of the step, by number; -1: the dispute did not get so far."""
    tile: int
    element: int
    reason: str


@dataclass(frozen=True)
class Game:
    """A dispute between party 0 and party 1, as far as it has come."""

    header: Header
    phase: str
    low: int
    """The last step at which the parties are known to agree, and its root."""
    low_root: bytes
    high: int
    high_roots: Pair
    pending: Pair = (None, None)
    """Moves made in this phase."""
    rounds: int = 0
    before: bytes = b""
    """Hash of the tensors' hashes at ``low``, after ``high``, and the roots of the step."""
    after: Pair = (b"", b"")
    steps: Pair = (b"", b"")
    what: str = ""
    """What is descended: "values" of the step, "after", or the "tensor" that a value is."""
    size: int = 0
    """Its bytes."""
    row: int = 0
    index: int = 0
    nodes: Pair = (b"", b"")
    """The node in which the parties differ, as each has claimed it."""
    value: int = -1
    descriptor: bytes = b""
    roots: Pair = (b"", b"")
    """Of the value, or of the tensor of the state."""
    tile: int = -1
    element: int = -1
    first: int = 0
    last: int = 0
    """Terms of the element, where it is a sum."""
    claims: Pair = (0, 0)
    """The element, or the sum of these terms."""
    guilty: Pair = (False, False)
    reason: str = ""

    @staticmethod
    def begin(header: Header, first_root: bytes, last: int, roots: Pair) -> Game:
        """A dispute about the state at step ``last`` between parties that agree on the first."""
        if roots[0] == roots[1]:
            raise ValueError("the parties do not differ")
        if last <= header.step:
            raise ValueError(f"there is no step before {last}")
        game = Game(header, "steps", header.step, first_root, last, roots)
        return game if last - header.step > 1 else replace(game, phase="step")

    @staticmethod
    def of_step(header: Header, step: int, root: bytes, roots: Pair) -> Game:
        """A dispute about the values of one step, between parties that agree on the state before
        it; ``roots`` of the state behind it may be equal."""
        return Game(header, "step", step, root, step + 1, roots)

    @property
    def over(self) -> bool:
        """Whether there is a verdict."""
        return self.phase == "over"

    @property
    def verdict(self) -> Verdict:
        """The verdict of a game that is over."""
        if not self.over:
            raise ValueError("the dispute is not over")
        return Verdict(self.guilty, self.low, self.value, self.tile, self.element, self.reason)

    @property
    def owed(self) -> tuple[bool, bool]:
        """Who owes a move; where both do in "describe" and "open", one of them is enough."""
        if self.over:
            return (False, False)
        return self.pending[0] is None, self.pending[1] is None

    def play(self, party: int, move: Move) -> Game:
        """The game after a move; a ValueError, and nothing has happened, for one that is none."""
        if self.over:
            raise Refused("the dispute is over")
        if move.phase != self.phase:
            raise Refused(f"a move of phase {self.phase} is needed, received {move.phase}")
        if party not in (0, 1):
            raise Refused(f"the party must be 0 or 1, received {party}")
        if not self.owed[party]:
            raise Refused("the move was made already")
        checked = CHECKS[self.phase](self, party, move.body)
        if self.phase in SINGLE:
            return replace(RESOLVE[self.phase](self, (checked, checked)), rounds=self.rounds + 1)
        pending = (checked, self.pending[1]) if party == 0 else (self.pending[0], checked)
        if None in pending:
            return replace(self, pending=pending)
        following = replace(self, pending=(None, None), rounds=self.rounds + 1)
        return RESOLVE[self.phase](following, pending)

    def forfeit(self, *parties: int) -> Game:
        """The game that parties have lost because they did not make the move they owed: in
        "describe" and "open" both, since either could."""
        if not parties or not all(p in (0, 1) and self.owed[p] for p in parties):
            raise Refused("the party owes no move")
        if self.phase in SINGLE and len(set(parties)) < 2:
            raise Refused("either party may make this move")
        guilty = (0 in parties, 1 in parties)
        return replace(self, phase="over", guilty=guilty, reason="no move was made in time")

    # -- what the phases are about

    def points(self) -> list[int]:
        """Steps at which states are compared next; the last is ``high``."""
        count = min(ARITY, self.high - self.low)
        return [self.low + (self.high - self.low) * i // count for i in range(1, count + 1)]

    def parts(self) -> list[tuple[int, int]]:
        """Ranges of terms whose sums are compared next."""
        return cut(self.first, self.last)

    @property
    def at(self) -> Step:
        """The disputed step."""
        return Step(self.header.batch(self.low), self.header.seed, self.low)

    @property
    def described(self) -> tuple[Entry, Node | None]:
        """The disputed value."""
        return read_descriptor(self.descriptor)

    @property
    def terms(self) -> tuple[int, int] | None:
        """The disputed terms, where the element is a sum."""
        return (self.first, self.last) if self.last > self.first else None

    def disputed(self, party: int) -> dict[str, Any]:
        """What the claim that decides is about, as the party has to open it (``Claim.about``)."""
        first, last = self.terms or (0, 0)
        return {
            "root": self.steps[party],
            "listing": self.header.listing,
            "count": self.header.values,
            "batch": self.at.batch,
            "seed": self.header.seed,
            "step": self.low,
            "value": self.value,
            "element": self.element,
            "first": first,
            "last": last,
            "descriptor": self.descriptor,
        }

    # -- bytes

    def encode(self) -> bytes:
        """Canonical bytes of the whole game."""
        body = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return cbor.encode(body | {"header": self.header.encoded()})

    @staticmethod
    def decode(data: bytes) -> Game:
        """The inverse of ``encode``; raises ValueError."""
        body: Any = cbor.decode(data)
        if not isinstance(body, dict) or set(body) != {f.name for f in fields(Game)}:
            raise ValueError("not a dispute")
        known = {name: _tuples(value) for name, value in body.items()}
        return Game(**known | {"header": Header.decoded(body["header"])})


def cut(first: int, last: int) -> list[tuple[int, int]]:
    """At most 16 parts of a range of terms."""
    count = min(ARITY, -(-(last - first) // LEAF))
    bounds = [first + (last - first) * i // count for i in range(count + 1)]
    return list(zip(bounds, bounds[1:], strict=False))


def most_rounds(steps: int, values: int, size: int, terms: int) -> int:
    """The most rounds of a dispute about so many steps, values of a step, bytes of a value and
    terms of an element."""
    rounds = 1 + 1 + 1  # step, describe, open
    while steps > 1:
        steps, rounds = -(-steps // min(ARITY, steps)), rounds + 1
    for count in (chunk_count(values * SIZE), chunk_count(size)):
        rounds += -(-height(count) // 4) + 1
    while terms > LEAF:
        terms, rounds = -(-terms // min(ARITY, -(-terms // LEAF))), rounds + 1
    return rounds


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
