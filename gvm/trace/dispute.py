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
    failures: tuple[str, str] = ("", "")
    """What kept a party from a move that it then lost by; empty: nothing did."""


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
    """Plays a game to its end. A party that has no move that stands by what it claimed loses, and
    so does one whose own execution ends in an error: nobody waits for it."""
    sent, last, seconds, failures = [0, 0], 0, 0.0, ["", ""]
    while not game.over:
        phase, failed = (game.phase, game.rounds), []
        for party, player in enumerate(players):
            if (game.phase, game.rounds) != phase:
                break
            try:
                data = player.move(game).encode()
            except Exception as error:
                failures[party] = f"{type(error).__name__}: {error}"
                failed.append(party)
                continue
            sent[party], last = sent[party] + len(data), len(data)
            began = time.perf_counter()
            try:
                game = game.play(party, Move.decode(data))
            except Refused as error:
                failures[party] = str(error)
                failed.append(party)
            seconds = time.perf_counter() - began
        if failed and (game.phase, game.rounds) == phase:
            game = game.forfeit(*failed)
    text = describe(game.verdict, players[0].replay.listing)
    return Dispute(
        game.verdict,
        game.rounds,
        (sent[0], sent[1]),
        last,
        seconds,
        text,
        (failures[0], failures[1]),
    )


def begin(players: tuple[Player, Player]) -> Game | None:
    """The game between two runs about their first recorded difference; None where there is none."""
    left, right = (p.replay.trace for p in players)
    comparable(left.header, right.header)
    if left.header.state != right.header.state:
        raise GvmError("two different runs: they begin with other parameters")
    if left.header.id != right.header.id:
        raise GvmError("two different runs: their programs differ")
    # Up to where both go, at whatever steps each has records; what is not recorded is executed.
    both = set(left.records) & set(right.records) | {min(left.last, right.last)}
    for by in sorted(both - {left.header.step}):
        roots = players[0].root(by), players[1].root(by)
        if roots[0] != roots[1]:
            return Game.begin(left.header, players[0].root(left.header.step), by, roots)
    return None


def dispute(
    left: str | os.PathLike[str], right: str | os.PathLike[str], machine: Machine | None = None
) -> Dispute | None:
    """Plays the dispute between the runs of two folders, each executed again from its own
    checkpoints; None where they do not differ."""
    with Replay(left, machine, True) as a, Replay(right, machine, True) as b:
        players = Player(a, 0), Player(b, 1)
        game = begin(players)
        return None if game is None else play(game, players)
