"""The moves of a dispute: what may be said, what it costs to say nothing, and bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import cbor, cli
from gvm.graph import Builder
from gvm.model import Model
from gvm.trace.claim import LEAF, Refused
from gvm.trace.dispute import begin, play
from gvm.trace.game import Game, Move, most_rounds
from gvm.trace.listing import Listing
from gvm.trace.player import Player
from gvm.trace.replay import Replay
from tests.memory_run import MemoryRun, argue, run_of
from tests.random_programs import Run
from tests.small_networks import CROSS_ENTROPY, normal
from tests.trace_runs import at_step, flip, forge, record_run

STEPS, WRONG = 5, 3


def dense(rows: int = 24) -> Run:
    """A classifier of 700 inputs: sums of more terms than a referee adds up, values of many
    tiles."""
    g = Builder()
    x = g.input("x", (-1, 700))
    w = g.parameter("w", normal(700, 5, scale=0.04))
    graph = g.graph(predict=(g.bias_add(g.matmul(x, w), g.parameter("b", np.zeros(5))),))
    x_real = normal(rows, 700)
    model = Model.from_graph(graph, x_real, loss=CROSS_ENTROPY, progress=False)
    return run_of(model, x_real, np.arange(rows) % 5)


@pytest.fixture(scope="module")
def honest() -> MemoryRun:
    return MemoryRun(dense(), STEPS)


def lying(honest: MemoryRun, alter: Any) -> MemoryRun:
    liar = MemoryRun(honest.run, STEPS, alter=alter)
    liar.states = honest.states[: WRONG + 1]
    return liar


def value_of(listing: Listing, operator: str) -> int:
    return next(n.outputs[0] for n in listing.nodes if n.operator.name == operator)


def games(honest: MemoryRun, liar: MemoryRun) -> Iterator[tuple[Game, tuple[Move, Move]]]:
    """Every state of a dispute with the moves of both, party 1 being the liar."""
    players: Any = (Player(honest, 0), Player(liar, 1))  # type: ignore[arg-type]
    roots = players[0].root(STEPS), players[1].root(STEPS)
    game = Game.begin(honest.header, players[0].root(0), STEPS, roots)
    while not game.over:
        moves = players[0].move(game), players[1].move(game)
        yield game, moves
        game = game.play(0, moves[0])
        if game.owed[1] and game.pending[0] is not None:
            game = game.play(1, moves[1])
    yield game, (Move("over", None), Move("over", None))


@pytest.mark.parametrize("operator", ["matmul", "matmul_grad_weight", "momentum", "convert"])
def test_games_are_values(honest: MemoryRun, operator: str) -> None:
    value = value_of(honest.listing, operator)
    liar = lying(honest, at_step(WRONG, flip(value, 7, 24 if operator == "matmul" else 5)))
    phases = []
    for game, moves in games(honest, liar):
        assert Game.decode(game.encode()) == game
        assert [Move.decode(m.encode()) for m in moves] == list(moves)
        phases.append(game.phase)
    assert game.verdict.guilty == (False, True)
    assert (game.verdict.step, game.verdict.value, game.verdict.element) == (WRONG, value, 7)
    assert ("sums" in phases) == (operator == "matmul")
    assert set(phases) >= {"steps", "step", "chunk", "describe", "open", "over"}


def test_what_is_not_claimed_cannot_be_said(honest: MemoryRun) -> None:
    tried = set()
    for operator, bit in (("matmul", 24), ("matmul_grad_weight", 5)):
        value = value_of(honest.listing, operator)
        liar = lying(honest, at_step(WRONG, flip(value, 7, bit)))
        for game, moves in games(honest, liar):
            for bad in spoilt(game, moves):
                with pytest.raises(ValueError, match=r"."):
                    game.play(1, bad)
                tried.add(bad.phase)
            if not game.over:
                with pytest.raises(Refused, match="of phase"):
                    game.play(0, Move("else", None))
    assert tried == {"steps", "step", "below", "chunk", "describe", "sums", "open", "over"}


def spoilt(game: Game, moves: tuple[Move, Move]) -> Iterator[Move]:
    """Moves that a party must not get away with."""
    phase, body = game.phase, moves[1].body
    for other in (None, [], b"", 7, [[], []]):
        yield Move(phase, other)
    if phase == "step":
        yield moves[0]  # the state of the other
        yield Move(phase, [body[1], body[0], body[2]])
    elif phase in ("below", "chunk"):
        yield moves[0]
        yield Move(phase, body + bytes(32))
        yield Move(phase, bytes([body[0] ^ 1]) + body[1:])
    elif phase == "sums":
        yield moves[0]
        yield Move(phase, [body[0] + 1, *body[1:]])
        yield Move(phase, [body[0] + 2**63, body[1] - 2**63, *body[2:]])
    elif phase == "describe":
        yield Move(phase, [body[0] + b"\0", body[1]])
        other = bytes([body[0][0]]) + body[0][1:-1] + bytes([body[0][-1] ^ 1])
        yield Move(phase, [other, body[1]])
        yield Move(phase, [body[0], [[], body[1][1]]])
    elif phase == "open":
        claim: Any = cbor.decode(body)
        values, operands = claim["values"], claim["operands"]
        for name in ("root", "listing"):
            yield Move(phase, cbor.encode(claim | {name: bytes(32)}))
        for name in ("seed", "step", "batch", "value", "element", "last", "count"):
            yield Move(phase, cbor.encode(claim | {name: claim[name] + 1}))
        for other in (
            {"operands": operands[:-1]},
            {"operands": operands[::-1]},
            {"values": [[], values[1]]},
            {"described": [[], values[1]]},
        ):
            yield Move(phase, cbor.encode(claim | other))
        (chunks, path), *rest = operands
        yield Move(phase, cbor.encode(claim | {"operands": [[chunks[1:], path], *rest]}))
        changed = [[chunks[0][0], bytes([chunks[0][1][0] ^ 1]) + chunks[0][1][1:]], *chunks[1:]]
        yield Move(phase, cbor.encode(claim | {"operands": [[changed, path], *rest]}))


def test_nobody_wins_by_silence(honest: MemoryRun) -> None:
    liar = lying(honest, at_step(WRONG, flip(value_of(honest.listing, "matmul"), 1, 24)))
    for game, moves in games(honest, liar):
        if game.over:
            continue
        if game.phase in ("describe", "open"):
            with pytest.raises(Refused, match="either party"):
                game.forfeit(1)
            assert game.forfeit(0, 1).verdict.guilty == (True, True)
            continue
        assert game.forfeit(1).verdict.guilty == (False, True)
        assert game.play(0, moves[0]).forfeit(1).verdict.guilty == (False, True)
        with pytest.raises(Refused, match="owes no move"):
            game.play(0, moves[0]).forfeit(0)
        with pytest.raises(Refused, match="made already"):
            game.play(0, moves[0]).play(0, moves[0])


def test_a_state_that_is_not_the_step_s_result(honest: MemoryRun) -> None:
    # The values of the step are right, and something else is what goes on.
    liar = lying(honest, None)
    honest.roots(STEPS)
    changed = list(honest.states[WRONG + 1])
    changed[2] = bytes([changed[2][0] ^ 1]) + changed[2][1:]
    liar.states.append(changed)
    for side in (0, 1):
        done = argue(honest, liar, side, STEPS, WRONG)
        assert done is not None
        assert done.verdict.guilty == (side == 0, side == 1)
        assert (done.verdict.step, done.verdict.element) == (WRONG, 2)
        assert done.text == f"step {WRONG}, tensor of the next state 2"


def test_two_liars_are_both_convicted(honest: MemoryRun) -> None:
    value = value_of(honest.listing, "matmul")
    liars = [lying(honest, at_step(WRONG, flip(value, 4, bit))) for bit in (24, 25)]
    done = argue(liars[0], liars[1], 0, STEPS, WRONG)
    assert done is not None
    assert done.verdict.guilty == (True, True)
    assert (done.verdict.value, done.verdict.element) == (value, 4)


@pytest.mark.parametrize("part", range(6))
def test_partial_sums_hide_nothing(honest: MemoryRun, part: int) -> None:
    # Wherever the liar puts what its sums lack, that part is wrong.
    value = value_of(honest.listing, "matmul")
    liar = lying(honest, at_step(WRONG, flip(value, 2, 24)))
    players: Any = (Player(honest, 0), Player(liar, 1))  # type: ignore[arg-type]
    for game, moves in games(honest, liar):
        if game.phase != "sums":
            continue
        assert len(game.parts()) == 6  # 700 terms, at most 128 of them at once
        body = list(moves[0].body)
        body[part] += game.claims[1] - game.claims[0]
        told = game.play(0, moves[0]).play(1, Move("sums", body))
        assert told.terms == game.parts()[part]
        assert told.play(0, players[0].move(told)).verdict.guilty == (False, True)
        return
    raise AssertionError("there was no sum")


def test_bounds_on_rounds() -> None:
    assert most_rounds(1, 1, 8, 0) == 1 + 1 + 1 + 1 + 1
    assert most_rounds(16, 32, 1024, LEAF) == 6
    assert most_rounds(17, 33, 1025, LEAF + 1) == 5 + 2 + 1 + 1 + 1
    # 10 000 steps, 2 000 values, a value of 100 MB, 400 000 terms.
    assert most_rounds(10_000, 2_000, 100 << 20, 400_000) == 19


def test_games_begin_with_a_difference(honest: MemoryRun) -> None:
    root = bytes(32)
    with pytest.raises(ValueError, match="do not differ"):
        Game.begin(honest.header, root, 3, (root, root))
    with pytest.raises(ValueError, match="no step before"):
        Game.begin(honest.header, root, 0, (root, b"\1" * 32))
    game = Game.begin(honest.header, root, 3, (root, b"\1" * 32))
    with pytest.raises(ValueError, match="not over"):
        _ = game.verdict
    for data in (b"", b"\xa0", game.encode()[:-1]):
        with pytest.raises(ValueError, match=r"."):
            Game.decode(data)
        with pytest.raises(ValueError, match=r"."):
            Move.decode(data)


def test_recorded_runs_argue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    record_run(right)
    with Replay(right) as replay:
        listing = replay.listing
    value = value_of(listing, "matmul")
    forge(right, wrong, at_step(13, flip(value, 6, 24)))
    assert gvm.dispute(right, right) is None
    with Replay(wrong, alter=at_step(13, flip(value, 6, 24))) as liar, Replay(right) as other:
        players = Player(other, 0), Player(liar, 1)
        game = begin(players)
        assert game is not None
        done = play(game, players)
    assert (done.verdict.step, done.verdict.value, done.verdict.element) == (13, value, 6)
    assert done.verdict.guilty == (False, True)
    # A machine that cannot compute its own record again stands by it, and is convicted for it.
    found = gvm.dispute(wrong, right)
    assert found is not None
    assert found.verdict.guilty == (True, False)
    assert found.verdict.step == 15
    with pytest.raises(SystemExit) as left:
        cli.main(["dispute", str(right), str(wrong)])
    assert left.value.code == 1
    assert f"wrong            {wrong}\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        cli.main(["dispute", str(right), str(tmp_path)])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("phase", ["steps", "step", "chunk", "sums"])
def test_a_party_that_fails_loses(honest: MemoryRun, phase: str) -> None:
    # Its own execution ends in an error, of whatever kind: nobody waits for it.
    value = value_of(honest.listing, "matmul")
    liar = lying(honest, at_step(WRONG, flip(value, 2, 24)))

    class Failing(Player):
        def move(self, game: Game) -> Move:
            if game.phase == phase:
                raise OverflowError("no more memory")
            return super().move(game)

    for side in (0, 1):
        runs: Any = (liar, honest) if side == 0 else (honest, liar)
        players = [Player(runs[0], 0), Player(runs[1], 1)]
        players[side] = Failing(runs[side], side)
        roots = players[0].root(WRONG + 2), players[1].root(WRONG + 2)
        game = Game.begin(honest.header, players[1 - side].root(0), WRONG + 2, roots)
        done = play(game, (players[0], players[1]))
        assert done.verdict.guilty == (side == 0, side == 1)
        assert done.failures[side] == "OverflowError: no more memory"
        assert done.failures[1 - side] == ""


def test_one_party_is_enough_to_open(honest: MemoryRun) -> None:
    value = value_of(honest.listing, "matmul")
    liar = lying(honest, at_step(WRONG, flip(value, 2, 24)))

    class Silent(Player):
        def move(self, game: Game) -> Move:
            if game.phase in ("describe", "open"):
                raise OSError("gone")
            return super().move(game)

    runs: Any = (liar, honest)
    players = Silent(runs[0], 0), Player(runs[1], 1)
    roots = players[0].root(WRONG + 2), players[1].root(WRONG + 2)
    game = Game.begin(honest.header, players[1].root(0), WRONG + 2, roots)
    done = play(game, players)
    assert done.verdict.guilty == (True, False)
    assert done.verdict.element == 2
