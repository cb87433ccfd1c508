"""Adapters: a node's disk, gvm as execution, agents, the command line, real processes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import gvm
from chain.adapters import devnet
from chain.adapters.abci.setup import opened_application
from chain.adapters.execution import (
    MAX_FOLD,
    Evaluator,
    Fold,
    Opening,
    Remembering,
    inspect,
    read_fold,
)
from chain.adapters.explorer import Explorer
from chain.adapters.frames import STRANGER, Frame, pack
from chain.adapters.node import Node, key_of
from chain.adapters.setup import Plan, first_model, make
from chain.adapters.store import Store
from chain.codec import CodecError, decode, encode
from chain.confirmation import Confirm
from chain.context import Claim, Verdict
from chain.envelope import read, seal
from chain.hashes import digest_of, plain
from chain.keys import Key
from chain.machine import KINDS
from chain.nodes import Leave
from chain.orderer.messages import Certificate, Value
from chain.orderer.state import Safety, Step
from chain.orderer.wal import frame
from chain.records import UNAVAILABLE, ZERO, Outcome
from gvm.errors import HostError
from gvm.model import Model
from tests.abci_engine import ask, finalize, init_chain


def images(count: int = 400) -> tuple[Any, Any]:
    """Four easy classes: bright quarters."""
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 4, count).astype(np.uint8)
    found = draw.integers(0, 60, (count, 16)).astype(np.uint8)
    for i, label in enumerate(labels):
        found[i, 4 * label : 4 * label + 4] += 150
    return found, labels


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    path = tmp_path_factory.mktemp("model") / "model.dmodel"
    first_model(*images()).save(path)
    return Evaluator(path)


FOLD = Fold.of(*(a[:100] for a in images()))


# --- gvm as execution --------------------------------------------------------------------------


def test_inspect_gives_facts_of_a_program_and_refuses_others(evaluator: Evaluator) -> None:
    found = inspect(evaluator.program)
    model = evaluator.base
    assert found.graph.hex() == model.graph_id
    assert found.multiply_adds == MAX_FOLD * model.cost_of("loss", 1).multiply_adds
    assert found.parameter_bytes == len(model.parameters)
    for damaged in (b"", evaluator.program[:-1], evaluator.program + b"\0"):
        with pytest.raises(ValueError):
            inspect(damaged)


def test_evaluation_is_the_exact_loss_and_its_trace_knows_every_output(
    evaluator: Evaluator,
) -> None:
    parameters = evaluator.base.parameters
    entry = evaluator.evaluate(parameters, FOLD.encoded)
    x, y = FOLD.arrays
    assert entry.loss == evaluator.base.evaluate(x, y).total
    changed = bytearray(parameters)
    changed[2] ^= 64  # of the part that operators see
    other = evaluator.evaluate(bytes(changed), FOLD.encoded)
    assert other.trace != entry.trace


def test_referee_upholds_the_truth_and_refutes_lies(evaluator: Evaluator) -> None:
    parameters, fold = evaluator.base.parameters, FOLD.encoded
    entry = evaluator.evaluate(parameters, fold)
    graph = inspect(evaluator.program).graph
    claim = Claim(graph, plain(parameters), plain(fold), entry.loss, entry.trace)
    opening = evaluator.opening(parameters, fold)
    assert evaluator.referee(claim, opening) == Verdict.NOTHING
    for lie, verdict in (
        (replace(claim, loss=entry.loss - 1), Verdict.FALSE_LOSS),
        (replace(claim, trace=ZERO), Verdict.FALSE_TRACE),
    ):
        assert evaluator.referee(lie, opening) == verdict
        # Nothing but the very bytes that the claim names proves anything.
        other = Opening(evaluator.program, bytes(len(parameters)), fold)
        stray = Opening(evaluator.program + b"\0", parameters, fold)
        for bytes_ in (b"", opening[:-1], encode(other), encode(stray)):
            assert evaluator.referee(lie, bytes_) == Verdict.NOTHING


def odd_folds() -> list[bytes]:
    """Test data that no honest owner names."""
    whole = FOLD.encoded
    wide = Fold(1, 17, bytes(17), b"\0").encoded
    return [
        b"",
        whole[:-1],
        wide,
        Fold(1, 0, b"", b"\0").encoded,
        Fold(2, 8, bytes(16), b"\0" * 2).encoded,
    ]


def test_what_has_no_loss_refutes_whatever_is_claimed_of_it(evaluator: Evaluator) -> None:
    """Parameters of another size, test data of another shape: an honest verifier calls them
    unavailable, a committee that certifies a loss of them lies."""
    whole, fold = evaluator.base.parameters, FOLD.encoded
    odd = [(data, fold) for data in (b"", whole[:-1], whole + b"\0", b"noise")]
    for parameters, test in odd + [(whole, data) for data in odd_folds()]:
        assert evaluator.finding(parameters, test) == UNAVAILABLE
        claim = Claim(evaluator.graph, plain(parameters), plain(test), 5, ZERO)
        opening = evaluator.opening(parameters, test)
        assert evaluator.referee(claim, opening) == Verdict.FALSE_LOSS


def test_verdicts_do_not_depend_on_the_model_that_a_node_has(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    """A job may train any program: nodes that hold another one must judge its disputes alike."""
    path, (x, _) = tmp_path / "other.dmodel", images()
    other = first_model(x, np.arange(len(x)).astype(np.uint8) % 7)
    other.save(path)
    stranger, fold = Evaluator(path), FOLD.encoded
    assert stranger.graph != evaluator.graph
    for owner in (evaluator, stranger):
        parameters = owner.base.parameters
        entry, opening = owner.evaluate(parameters, fold), owner.opening(parameters, fold)
        claim = Claim(owner.graph, plain(parameters), plain(fold), entry.loss, entry.trace)
        lies = (replace(claim, loss=entry.loss + 1), replace(claim, trace=ZERO))
        for node in (evaluator, stranger):
            verdicts = [node.referee(said, opening) for said in (claim, *lies)]
            assert verdicts == [Verdict.NOTHING, Verdict.FALSE_LOSS, Verdict.FALSE_TRACE]


def test_a_machine_that_cannot_evaluate_gives_no_verdict(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory here, not there: a verdict either way would divide the chain."""
    parameters, fold = evaluator.base.parameters, Fold.of(*(a[:7] for a in images())).encoded
    claim = Claim(evaluator.graph, plain(parameters), plain(fold), 5, ZERO)

    def fails(*arguments: Any, **options: Any) -> Any:
        raise HostError("out of memory", -1, "memory")

    monkeypatch.setattr(Model, "run_integers", fails)
    with pytest.raises(HostError):
        evaluator.referee(claim, evaluator.opening(parameters, fold))
    monkeypatch.undo()
    assert evaluator.referee(claim, evaluator.opening(parameters, fold)) == Verdict.FALSE_LOSS


@pytest.mark.parametrize("change", [{"count": 0}, {"count": 99}, {"width": 17}, {"labels": b""}])
def test_folds_of_wrong_sizes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read_fold(encode(replace(FOLD, **change)))


def test_remembered_signatures_are_those_that_were_valid() -> None:
    key, check = Key.derived("x"), Remembering(2)
    for payload in (b"a", b"b", b"c", b"a"):
        signature = key.sign("vote", "net", payload)
        for _ in range(2):
            assert check(key.public, "vote", "net", payload, signature)
            assert not check(key.public, "vote", "other", payload, signature)
            assert not check(key.public, "vote", "net", payload + b"!", signature)


# --- the disk ----------------------------------------------------------------------------------


def record(height: int) -> Safety:
    return Safety(height, 0, Step.PREVOTE, 0, ZERO, 0, ZERO, (), (), ())


def test_store_keeps_blocks_blobs_and_the_last_whole_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    values = [Value(bytes([i]), None) for i in range(3)]
    for height, value in enumerate(values, 1):
        store.append(height, value, Certificate(height, 0, value.id, ()))
    name = store.put(b"blob")
    assert store.last_record() is None
    for height in (1, 2, 3):
        store.log(record(height))
    again = Store(tmp_path)
    assert again.height == 3
    assert [value for _, value, _ in again.blocks(2)] == values[1:]
    assert [height for height, _, _ in again.blocks(1, 2)] == [1, 2]
    assert again.get(name) == b"blob" and again.get(ZERO) is None
    log = tmp_path / "votes.wal"
    log.write_bytes(log.read_bytes()[:-3])
    assert again.last_record() == record(2)
    again.log(record(4))  # behind a whole record, not behind the torn one
    assert Store(tmp_path).last_record() == record(4)
    with pytest.raises(FileNotFoundError):
        Store(tmp_path / "nowhere", read_only=True)


def test_a_record_that_cannot_be_written_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after a few bytes, or its cache is lost: the log ends as before."""
    store = Store(tmp_path)
    store.log(record(1))
    log, whole = tmp_path / "votes.wal", frame(record(1))
    sync, calls = os.fsync, 0

    def lost(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, "lost")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", lost)
    with pytest.raises(OSError, match="lost"):
        store.log(record(2))
    monkeypatch.undo()
    assert log.read_bytes() == whole
    with log.open("rb") as file:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, before[1]))
        try:
            with pytest.raises(OSError, match="large"):
                store.log(record(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert file.read() == whole
    store.log(record(3))
    assert Store(tmp_path).last_record() == record(3)


def test_the_first_answer_to_a_question_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.said(b"q") is None
    assert store.say(b"q", b"first") == b"first"
    assert Store(tmp_path).say(b"q", b"second") == b"first"
    assert Store(tmp_path).said(b"q") == b"first" and store.said(b"p") is None


def devnet_node(tmp_path: Path) -> Node:
    make(Plan(tmp_path / "net", 4, 1, 1), images())
    return Node(tmp_path / "net" / "node-0")


def test_a_restarted_node_says_the_same_again(tmp_path: Path) -> None:
    """Its evaluation comes to something else the second time: it signs what it signed."""
    node = devnet_node(tmp_path)
    name, key = digest_of("job"), key_of("service 0.0")
    sent = []
    for attempt in range(2):
        again = Node(tmp_path / "net" / "node-0") if attempt else node
        action = Confirm(name, 0, 7 + attempt, ZERO)
        again.submit(key, action, (key.account, "confirm", name, 0))
        (data,) = again.application.pool.values()
        sent.append(read(data, len(data), KINDS).action)
    assert sent == [Confirm(name, 0, 7, ZERO)] * 2


def test_a_node_stops_when_its_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = devnet_node(tmp_path)
    left: list[Frame] = []
    monkeypatch.setattr(node, "broadcast", left.append)
    monkeypatch.setattr(node.store, "log", failing)

    async def live() -> None:
        async with asyncio.timeout(20):
            await node.run()

    try:
        asyncio.run(live())
    except TimeoutError:
        raise AssertionError("the node goes on") from None
    except OSError as error:
        assert "disk" in str(error)  # at once, where the node's turn is the first
    else:
        assert "disk" in node.failed
    said = [one.body for one in left if one.kind == "order"]
    assert not any(b"ballot" in body or b"proposal" in body for body in said)


def test_a_node_hears_strangers_and_tells_them_nothing(tmp_path: Path) -> None:
    """The interface of another process hands on transactions and blobs: no node's number is its."""
    node = devnet_node(tmp_path)
    data = seal(key_of("owner"), node.application.state.identity, 0, 1000, Leave())
    blob = b"parameters"

    async def scene() -> bytes:
        server = await asyncio.start_server(node.accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        order = Frame("order", b"not for strangers")
        for one in (STRANGER, Frame("transaction", data), order, Frame("blob", blob)):
            writer.write(pack(one))
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 20)
        server.close()
        return answer

    assert asyncio.run(scene()) == b""
    assert list(node.application.pool.values()) == [data]
    assert list(node.offered.values()) == [blob] and not node.peers


def failing(found: Safety) -> None:
    raise OSError(errno.EIO, "no disk")


def test_frames_are_records() -> None:
    frame = Frame("order", b"x")
    assert decode(Frame, encode(frame)) == frame
    with pytest.raises(CodecError):
        decode(Frame, b"\x80")


# --- the command line --------------------------------------------------------------------------


def gvm_chain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gvm.cli", "chain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_bad_input_is_one_line_and_status_2(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4)))
    np.save(tmp_path / "y.npy", np.zeros(4))
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    data = ("--data", str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    for arguments, words in (
        (("show", str(tmp_path)), "no chain is here"),
        (("devnet", *data), "must be u8 images"),
        (("devnet", "--plot", "x.txt"), "must end in .png or .svg"),
    ):
        done = gvm_chain(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(gvm.GvmError, match="is not empty"):
        make(Plan(full, 4, 1, 1), images())
    with pytest.raises(gvm.GvmError, match="at least 4 validators"):
        make(Plan(tmp_path / "few", 3, 1, 1), images())


@pytest.mark.slow
def test_processes_train_a_model_and_end_equal(tmp_path: Path) -> None:
    """Four validators and a trainer as processes; `gvm chain devnet` has liars and a crash too."""
    plan = Plan(tmp_path / "net", 4, 1, 1, block_time=0.02)
    make(plan, images())
    explorer = devnet.run(plan, Console(width=120, quiet=True), kill=False)
    name, job = next(explorer.state.jobs.items())
    (result,) = explorer.results(name)
    honest = key_of("trainer 0").account
    assert (result.outcome, result.trainer) == (Outcome.FINAL, honest)
    assert result.loss < result.parent_loss and job.parameters == result.parameters
    # What the chain decided is the model's own loss, recomputed here.
    folders = [plan.folder / f"node-{i}" for i in range(4)]
    found = [Store(folder).get(result.parameters) for folder in folders]
    best = next((data for data in found if data is not None), None)
    fold = Store(folders[0]).get(job.folds[result.fold])
    assert best is not None and fold is not None
    assert Evaluator(folders[0] / "model.dmodel").evaluate(best, fold).loss == result.loss
    node = str(folders[1])
    shown = json.loads(gvm_chain("show", node).stdout)
    assert shown["height"] >= explorer.state.height
    rounds = json.loads(gvm_chain("job", node).stdout)["rounds"]
    assert [(r["round"], r["loss"]) for r in rounds] == [(0, result.loss)]
    explorer = Explorer(folders[1])
    explorer.follow()
    assert explorer.account(honest)["balance"] > 10_000_000
    assert explorer.block(1)["height"] == 1
    with pytest.raises(gvm.GvmError, match="block must be in"):
        explorer.block(99_999)
    # The engine's application comes to the same states; it knows no failed rounds.
    served = opened_application(folders[1], 0)
    init_chain(served)
    for shown in explorer.blocks:
        if shown.block.round:
            break
        answer = ask(served, "finalize_block", **finalize(served.state, shown.block))
        ask(served, "commit")
        assert answer["app_hash"] == shown.root
    assert served.state.height > 0 or explorer.blocks[0].block.round
