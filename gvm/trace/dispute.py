"""A dispute between two recorded runs, played to its end."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from gvm.errors import GvmError
from gvm.trace.claim import Refused
from gvm.trace.diff import comparable
from gvm.trace.game import Game, Move, Verdict
from gvm.trace.listing import Listing
from gvm.trace.player import Player
from gvm.trace.replay import Machine, Replay


@dataclass(frozen=True)
class Dispute:
    """How a dispute went."""

    verdict: Verdict
    rounds: int
    sent: tuple[int, int]
    """Bytes of all moves of each party."""
    opening: int
    """Bytes of the move that decided."""
    seconds: float
    """What checking that move took: the referee's time on this machine."""
    text: str
    """Where the parties part, for people."""


def describe(verdict: Verdict, listing: Listing) -> str:
    """Where the parties part, for people."""
    text = f"step {verdict.step}"
    if verdict.value >= 0:
        entry = listing.entries[verdict.value]
        made = f"{entry.kind} {entry.index}"
        if entry.kind == "node":
            made += f" ({listing.nodes[entry.index].operator.name})"
        text += f", {made}, value {verdict.value}"
    if verdict.tile >= 0:
        text += f", tile {verdict.tile}"
    if verdict.element >= 0:
        what = "element" if verdict.value >= 0 else "tensor of the next state"
        text += f", {what} {verdict.element}"
    return text


def play(game: Game, players: tuple[Player, Player]) -> Dispute:
    """Plays a game to its end. A party that has no move that stands by what it claimed loses."""
    sent, last, seconds = [0, 0], 0, 0.0
    while not game.over:
        phase, failed = (game.phase, game.rounds), []
        for party, player in enumerate(players):
            if (game.phase, game.rounds) != phase:
                break
            data = player.move(game).encode()
            sent[party], last = sent[party] + len(data), len(data)
            began = time.perf_counter()
            try:
                game = game.play(party, Move.decode(data))
            except Refused:
                failed.append(party)
            seconds = time.perf_counter() - began
        if failed and (game.phase, game.rounds) == phase:
            game = game.forfeit(*failed)
    text = describe(game.verdict, players[0].replay.listing)
    return Dispute(game.verdict, game.rounds, (sent[0], sent[1]), last, seconds, text)


def begin(players: tuple[Player, Player]) -> Game | None:
    """The game between two runs about their first recorded difference; None where there is none."""
    left, right = (p.replay.trace for p in players)
    comparable(left.header, right.header)
    if left.header != right.header:
        raise GvmError("two different runs: records every so many steps, or programs, differ")
    both = sorted(set(left.records) & set(right.records))
    by = next((s for s in both if left.records[s] != right.records[s]), None)
    if by is None:
        return None
    if by == left.header.step:
        raise GvmError("two different runs: they begin with other parameters")
    root = players[0].root(left.header.step)
    return Game.begin(left.header, root, by, (players[0].root(by), players[1].root(by)))


def dispute(
    left: str | os.PathLike[str], right: str | os.PathLike[str], machine: Machine | None = None
) -> Dispute | None:
    """Plays the dispute between the runs of two folders, each executed again from its own
    checkpoints; None where they do not differ."""
    with Replay(left, machine, True) as a, Replay(right, machine, True) as b:
        players = Player(a, 0), Player(b, 1)
        game = begin(players)
        return None if game is None else play(game, players)
