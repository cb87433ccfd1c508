"""A short kill drill, and that its watcher sees what it looks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kill_drill import Drill, Watcher, Witnessed, drill
from chain.adapters.frames import Frame
from chain.confirmation import Confirm
from chain.envelope import seal
from chain.keys import Key
from chain.orderer.messages import Ballot, write_message
from chain.records import ZERO
from chain.votes import Vote, VoteKind, sign_vote

ROOT = Path(__file__).resolve().parent.parent
KEY = Key.derived("drilled")


def test_a_double_vote_a_second_answer_and_another_block_are_seen() -> None:
    seen = Witnessed()
    watcher = Watcher([], seen)
    vote = Vote(VoteKind.PREVOTE, 3, 0, b"a" * 32)
    others = [replace(vote, round=1), replace(vote, kind=VoteKind.PRECOMMIT), vote]
    for one in (vote, *others):
        message = write_message(Ballot(sign_vote(KEY, "net", one)))
        watcher.take("node", Frame("order", message))
    said = Confirm(ZERO, 1, 5, ZERO)
    for nonce, action in enumerate((said, said, replace(said, round=2))):
        watcher.take("node", Frame("transaction", seal(KEY, "net", nonce, 1, action)))
    seen.block("node", 1, b"x")
    assert seen.violations == []
    watcher.take(
        "node",
        Frame("order", write_message(Ballot(sign_vote(KEY, "net", replace(vote, block=ZERO))))),
    )
    watcher.take("node", Frame("transaction", seal(KEY, "net", 9, 1, replace(said, loss=6))))
    seen.block("node", 1, b"y")
    words = ("signed two prevotes at height 3, round 0", "answered twice (confirm", "another block")
    assert all(word in found for word, found in zip(words, seen.violations, strict=True))
    watcher.loop.run_until_complete(watcher.all)
    watcher.loop.close()


def test_draws_are_of_the_seed(tmp_path: Path) -> None:
    first, second = (Drill(tmp_path / name, 1) for name in ("a", "b"))
    drawn = [first.draw(number) for number in range(200)]
    assert drawn == [second.draw(number) for number in range(200)]
    assert {len(victims) for victims, _, _ in drawn} == {1, 2, 6}
    assert {at for victims, _, _ in drawn for at in victims} == set(range(6))


def test_the_document_states_the_recorded_drill() -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "kill_drill.json").read_text())
    found = recorded["drill"]
    assert found["kills"] >= 100 and found["violations"] == []
    text = " ".join((ROOT / "docs" / "devnet.md").read_text().split())
    for words in (
        f"{found['kills']} kills, {found['of_validators']} of them of validators",
        f"up to {found['at_once']} at once, over {found['equal_heights']} heights",
        f"{found['votes_seen']} votes and {found['statements_seen']} statements were seen",
        f"back within {found['median_seconds_to_catch_up']} s",
    ):
        assert words in text


@pytest.mark.slow
def test_three_kills_lose_nothing(tmp_path: Path) -> None:
    """The third one in a drill that goes on where it was interrupted."""
    found = drill(tmp_path / "net", 2, 0)
    assert found["violations"] == [] and found["kills"] >= 2
    assert found["votes_seen"] > 50 and found["messages_seen"] > 50
    again = drill(tmp_path / "net", 3, 0)
    assert again["violations"] == [] and again["kills"] >= 3
    assert again["equal_heights"] > found["equal_heights"] >= 5
