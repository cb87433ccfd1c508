"""A party of a dispute that has the run: it executes again what it is asked about."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from gvm import _core
from gvm.reads import Index
from gvm.trace.claim import Known, make_claim
from gvm.trace.datum import datum
from gvm.trace.element import Read, terms_of
from gvm.trace.evaluate import canonical
from gvm.trace.game import Game, Move
from gvm.trace.listing import BYTES, LITTLE, Node
from gvm.trace.replay import Replay
from gvm.trace.tree import CHUNK, SIZE, Slice, Tree


class Player:
    """Makes the moves of one party from its run. A state that the run has recorded is what it
    stands by, whether it can be computed again or not."""

    def __init__(self, replay: Replay, party: int) -> None:
        self.replay = replay
        self.party = party
        self.header = replay.header
        self._roots = lru_cache(maxsize=64)(self._compute_roots)
        self._step = lru_cache(maxsize=1)(replay.value_roots)
        self._held: tuple[int, int, dict[int, bytes]] = (-1, -1, {})

    def root(self, step: int) -> bytes:
        """The root of the state before a step."""
        return self.header.state_root(step, self._roots(step))

    def move(self, game: Game) -> Move:
        """The move that the game asks for."""
        return Move(game.phase, _MOVES[game.phase](self, game))

    def _compute_roots(self, step: int) -> bytes:
        recorded = self.replay.trace.records.get(step)
        return self.replay.roots(step) if recorded is None else recorded

    def _tree(self, game: Game) -> Tree:
        """What is descended."""
        if game.what == "values":
            return Tree(self._step(game.low))
        if game.what == "after":
            return Tree(self._roots(game.high))
        return Tree(self._values(game)[game.value])

    def _values(self, game: Game) -> dict[int, bytes]:
        """The disputed value and what it is made of."""
        if self._held[:2] != (game.low, game.value):
            _, node = game.described
            wanted = {game.value, *(() if node is None else node.inputs)}
            self._held = (game.low, game.value, self.replay.values(game.low, wanted))
        return self._held[2]

    def _steps(self, game: Game) -> Any:
        return [self.root(step) for step in game.points()[:-1]]

    def _open_step(self, game: Game) -> Any:
        tensors = [_core.blake3(self._roots(step)) for step in (game.low, game.high)]
        return [*tensors, _core.blake3(self._step(game.low))]

    def _below(self, game: Game) -> Any:
        return self._tree(game).below(game.row, game.index)

    def _chunk(self, game: Game) -> Any:
        return self._tree(game).chunk(game.index)

    def _describe(self, game: Game) -> Any:
        listing = self.replay.listing
        return [listing.descriptor(game.value), self._listed(game.value).encoded()]

    def _listed(self, number: int) -> Slice:
        return Tree(self.replay.listing.hashes).prove([number * SIZE // CHUNK])

    def _sums(self, game: Game) -> Any:
        _, node = game.described
        assert node is not None
        output, values = node.outputs.index(game.value), self._values(game)
        read = _whole(node, values)
        sums = [
            terms_of(node, game.at, output, game.element, first, last, read)
            for first, last in game.parts()
        ]
        # Who stands by another value has to put the rest somewhere.
        sums[0] += game.claims[self.party] - sum(sums)
        return sums

    def _open(self, game: Game) -> Any:
        if game.what == "after":
            listing = self.replay.listing
            value = listing.results[game.element]
            shown = Tree(self._step(game.low)).prove([value * SIZE // CHUNK])
            return [listing.ends, self._listed(game.header.values).encoded(), shown.encoded()]
        entry, node = game.described
        if entry.kind in ("parameter", "state"):
            tensor = entry.index + (self.header.parameters if entry.kind == "state" else 0)
            roots = Tree(self._roots(game.low))
            return [tensor, roots.prove([tensor * SIZE // CHUNK]).encoded()]
        if node is None:
            where = datum(self.header, entry, game.low, game.element)
            arrays = [*self.replay.inputs, *self.replay.labels]
            data = canonical(arrays[where.tensor], entry.type.dtype)
            chunk = where.index * BYTES[entry.type.dtype] // CHUNK
            return Tree(data).prove([chunk]).encoded()
        known = Known(
            self.replay.listing.hashes,
            {game.value: game.descriptor},
            self._step(game.low),
            self._values(game),
        )
        return make_claim(known, game.at, game.value, game.element, game.terms).encode()


def _whole(node: Node, values: dict[int, bytes]) -> Read:
    """Reads elements of whole operands."""
    arrays = [
        np.frombuffer(values[v], LITTLE[t.dtype])
        for v, t in zip(node.inputs, node.input_types, strict=True)
    ]

    def read(position: int, index: Index) -> list[int]:
        return [int(v) for v in arrays[position][index]]

    return read


_MOVES: dict[str, Callable[[Player, Game], Any]] = {
    "steps": Player._steps,
    "step": Player._open_step,
    "below": Player._below,
    "chunk": Player._chunk,
    "describe": Player._describe,
    "sums": Player._sums,
    "open": Player._open,
}
