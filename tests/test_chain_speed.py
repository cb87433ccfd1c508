"""What makes the chain fast changes nothing, and its benchmark measures what it says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import chain as bench
from benchmarks.chain_rounds import time_round
from chain.adapters.abci.application import AbciApplication
from chain.adapters.abci.disk import Disk
from chain.adapters.checking import LEAST, Checkers
from chain.adapters.execution import Remembering
from chain.codec import decode_value, encode_value
from chain.envelope import PURPOSE, read, seal
from chain.jobs import StartJob
from chain.keys import Key
from chain.machine import KINDS
from chain.state import root
from chain.transfers import Transfer
from tests.chain_world import EXECUTION, OWNER, RICH, START, World

ROOT = Path(__file__).resolve().parent.parent
KEYS = [Key.derived("fast", i) for i in range(3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.sampled_from(KEYS), st.booleans())
def test_what_is_signed_is_cut_from_the_bytes(fee: int, nonce: int, key: Key, big: bool) -> None:
    """The payload is the canonical encoding of the first three items, for any sizes of them."""
    action = replace(START, program=b"p" * 70_000) if big else Transfer(key.account, fee)
    data = seal(key, "net", nonce, fee, action)
    found = read(data, 1 << 20, KINDS)
    assert found.payload == encode_value(decode_value(data)[:3])
    assert isinstance(found.action, StartJob if big else Transfer)


def test_a_state_with_other_fields_is_a_state_and_the_old_one_stays() -> None:
    state = World().state
    made = state.but(supply=7, height=3)
    assert (made.supply, made.height, made.parent) == (7, 3, state.parent)
    assert made == replace(state, supply=7, height=3) and state.supply != 7
    with pytest.raises(TypeError, match="no field 'suply'"):
        state.but(suply=7)


def test_workers_find_what_the_check_finds(tmp_path: Path) -> None:
    """Signatures of every kind of damage: remembered are the valid ones, and an application with
    workers comes to the same state."""
    world = World()
    good = [world.send(RICH, Transfer(OWNER.account, 1)) for _ in range(LEAST)]
    bad = [data[:-1] + bytes([data[-1] ^ 1]) for data in good[:9]] + [b"", b"\xff"]
    identity, remembering = world.state.identity, Remembering()
    checkers = Checkers(remembering, 2)
    try:
        assert checkers.warm(identity, 1 << 20, good[: LEAST - 1]) == 0  # not worth it
        assert checkers.warm(identity, 1 << 20, good + bad) == LEAST + 9
        assert checkers.warm(identity, 1 << 20, good) == 0  # known
        for data in good + bad[:9]:
            found = read(data, 1 << 20, KINDS)
            question = (found.header.public, PURPOSE, identity, found.payload, found.signature)
            assert remembering.knows(*question) == (data in good)
        from tests.abci_engine import ask, finalize, init_chain
        from tests.chain_world import genesis

        execution = replace(EXECUTION, verify=remembering)
        disk = Disk(tmp_path / "abci.sqlite")
        served = AbciApplication(genesis(), execution, disk, warm=checkers.warm)
        init_chain(served)
        world.waiting = [*bad, *good]
        block = world.block()
        answer = ask(served, "finalize_block", **finalize(world.state, block))
        world.step()
        assert answer["app_hash"] == root(world.state)
        assert [r["code"] == 0 for r in answer["tx_results"]] == [False] * 11 + [True] * LEAST
    finally:
        checkers.close()


def test_the_benchmark_runs_in_the_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ACCOUNTS", 200)
    monkeypatch.setattr(bench, "BLOCK", 20)
    served = bench.abci(0.0)
    assert served["blocks"] == 3 and 0 < served["with_check_tx"] < served["check_tx_per_second"]
    found = time_round(4, 0.0)
    # 3 commits, 4 beacon commits and reveals, 3 reveals, 4 attestations twice, 4 confirmations.
    assert (found["transactions"], found["blocks"]) == (26, 7)


def test_the_document_states_the_recorded_run() -> None:
    """Every row of docs/chain-speed.md is in the result."""
    recorded = json.loads((ROOT / "benchmarks" / "results" / "chain.json").read_text())
    text = (ROOT / "docs" / "chain-speed.md").read_text()
    tables = [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        for part in re.findall(r"\|---.*\n((?:\|.*\n)+)", text)
    ]
    machine, served = recorded["state_machine"], recorded["abci"]
    assert [int(row[1]) for row in tables[0]] == [
        *(machine[name] for name in ("cached", "checked", "checked_in_processes")),
        *(served[name] for name in ("check_tx_per_second", "blocks_only", "with_check_tx")),
    ]
    rounds = ("verifiers", "confirmers", "transactions", "bytes", "milliseconds")
    heights = ("validators", "faulty", "heights_per_second", "events_per_second")
    for table, rows, names in (
        (tables[1], recorded["simulator"], heights),
        (tables[2], recorded["rounds"], rounds),
        (tables[3], recorded["subchains"]["measured"], ("subchains", "per_second")),
    ):
        assert table == [[str(row[name]) for name in names] for row in rows]
    found = recorded["subchains"]
    assert f"That is {found['per_processor']} for each of the {found['processors']}" in text
    assert -(-found["goal"] // found["per_processor"]) == found["processors_for_the_goal"]
