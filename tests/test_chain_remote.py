"""Participants without a node: they follow by proofs over HTTP, train, verify, and are believed no
more than anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from rich.console import Console

from chain.adapters import devnet
from chain.adapters.agents import Service, Witness
from chain.adapters.execution import Evaluator
from chain.adapters.node import key_of
from chain.adapters.rpc import client
from chain.adapters.rpc.api import MAX_BLOB, MAX_PART, make_app
from chain.adapters.rpc.remote import Bench, Light, Remote, connected, job_of, read_key, whole
from chain.adapters.rpc.view import View
from chain.adapters.sending import mark_of, sealed
from chain.adapters.setup import SERVICES, Plan, make, write_key
from chain.adapters.store import Store
from chain.codec import decode, encode
from chain.genesis import genesis_hash
from chain.hashes import plain
from chain.keys import Key
from chain.ledger import account_of
from chain.orderer.messages import Decided
from chain.proofs import HeaderProof, prove_header, verify_header
from chain.records import Outcome, Phase
from chain.state import State, root
from gvm.errors import GvmError
from tests.chain_certified import Chain
from tests.test_chain_devnet import gvm_chain, images

TRAINER, GUEST = key_of("trainer 0"), key_of("service 0.0")


class Memory(dict[bytes, bytes]):
    """What was said, as long as a test lasts."""

    def said(self, question: bytes) -> bytes | None:
        return self.get(question)

    def say(self, question: bytes, data: bytes) -> bytes:
        return self.setdefault(question, data)


class Loopback:
    """A network in one thread: four witnesses and their nodes for hire, but for the guest; blocks
    are written to the store that the interface serves, with their certificates."""

    def __init__(self, folder: Path) -> None:
        make(Plan(folder, 4, 1, 1), images())
        self.folder = folder / "node-0"
        self.store = Store(self.folder)
        evaluator = Evaluator(self.folder / "model.dmodel")
        keys = [key_of(f"witness {i}") for i in range(4)]
        self.chain = Chain(self.store.genesis(), evaluator.execution(), keys)
        bench = Bench(evaluator, self.store.get)
        self.agents: list[Any] = [Witness(key) for key in keys]
        names = [f"service {i}.{j}" for i in range(4) for j in range(SERVICES)]
        hired = [key_of(name) for name in names if key_of(name) != GUEST]
        self.agents += [
            Service(k, bench.evaluate, Memory()) for k in hired if k.secret != GUEST.secret
        ]
        self.done: set[Any] = set()
        self.sent: list[bytes] = []
        self.blobs: list[bytes] = []

    @property
    def state(self) -> State:
        return self.chain.states[-1]

    def step(self) -> None:
        """One block of what agents want and what came over HTTP."""
        waiting, self.sent = tuple(self.sent), []
        while self.blobs:
            self.store.put(self.blobs.pop())
        for job, found in self.state.rounds.items():
            for agent in self.agents:
                for key, action in agent.plan(self.state, job, found):
                    mark = mark_of(self.state, key, action, job, found.number)
                    if mark not in self.done:
                        self.done.add(mark)
                        nonce = account_of(self.state, key.account).nonce
                        waiting += (sealed(self.state, key, nonce, action),)
        self.chain.step(waiting)
        decided = self.chain.decided[-1]
        self.store.append(len(self.chain.decided), decided.value, decided.certificate)

    def take(self, frame: Any) -> int:
        """What the interface hands to nodes."""
        (self.blobs if frame.kind == "blob" else self.sent).append(frame.body)
        return 1


class Wired:
    """The interface without a socket."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def get(self, path: str) -> bytes:
        answer = self.http.get(path)
        if answer.status_code != 200:
            raise GvmError(answer.text)
        return answer.content

    def post(self, path: str, body: bytes, kind: str) -> None:
        answer = self.http.post(path, content=body, headers={"Content-Type": kind})
        if answer.status_code != 202:
            raise GvmError(answer.text)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Loopback, Wired]]:
    made = Loopback(tmp_path / "net")
    monkeypatch.setattr(View, "_send", lambda view, frame: made.take(frame))
    with TestClient(make_app(made.folder), raise_server_exceptions=False) as http:
        yield made, Wired(http)


def remote(network: tuple[Loopback, Wired], key: Key, folder: Path) -> Remote:
    made, wire = network
    name = genesis_hash(made.store.genesis())
    return Remote(wire, key, folder, name, job_of(wire, None))


def test_a_trainer_and_a_verifier_take_part_over_http(
    network: tuple[Loopback, Wired], tmp_path: Path
) -> None:
    """The round cannot be decided without them: no other trainer is there, and the guest's seat
    counts. One is started anew in the middle, with what its folder holds."""
    made, _ = network
    made.step()
    made.step()
    trainer = remote(network, TRAINER, tmp_path / "trainer")
    data = (made.folder.parent / "node-4" / "train.cbor").read_bytes()
    trainer.trainer(data)
    guest = remote(network, GUEST, tmp_path / "guest")
    guest.service()
    restarted = False
    for _ in range(120):
        if not len(made.state.rounds):
            break
        trainer.step()
        guest.step()
        made.step()
        found = next(iter(made.state.rounds.values()), None)
        if found is not None and found.phase == Phase.REVEAL and not restarted:
            restarted = True
            trainer = remote(network, TRAINER, tmp_path / "trainer")
            trainer.trainer(data)
    (job,) = made.state.jobs.values()
    result = made.state.results.get(job.last)
    assert result is not None and restarted
    assert (result.outcome, result.trainer) == (Outcome.FINAL, TRAINER.account)
    assert result.loss < result.parent_loss
    assert account_of(made.state, TRAINER.account).balance > 10_000_000
    attested = GUEST.account in (*result.verifiers, *result.confirmers)
    assert attested == (account_of(made.state, GUEST.account).nonce > 0)


def test_what_a_node_says_without_proof_is_refused(
    network: tuple[Loopback, Wired], tmp_path: Path
) -> None:
    made, wire = network
    for _ in range(4):
        made.step()
    genesis = made.store.genesis()
    whole_state = made.chain.states[3]
    light = Light(wire.get, genesis, made.chain.execution)
    found = light.state(4)
    assert (light.root, found.height) == (root(whole_state), 3)
    assert (found.schedule, found.parameters) == (whole_state.schedule, whole_state.parameters)
    with pytest.raises(GvmError, match="another one"):
        Remote(wire, TRAINER, tmp_path / "a", bytes(32), job_of(wire, None))

    def lying(path: str, **changes: Any) -> Any:
        def get(asked: str) -> bytes:
            data = wire.get(asked)
            if not asked.startswith(path):
                return data
            if path == "/v1/values":
                decided = decode(Decided, data)
                proof = decided.certificate
                if "votes" in changes:
                    return encode(
                        replace(decided, certificate=replace(proof, votes=proof.votes[:2]))
                    )
                return encode(made.chain.decided[1])
            body = json.loads(data)
            proof = decode(HeaderProof, bytes.fromhex(body["proof"]))
            other = prove_header(made.chain.states[2])
            leaf = other.leaf if "leaf" in changes else proof.leaf
            tree = other.tree if "tree" in changes else proof.tree
            return json.dumps(body | {"proof": encode(HeaderProof(leaf, tree)).hex()}).encode()

        return get

    for path, changes, words in (
        ("/v1/values", {"votes": 2}, "have not signed it"),
        ("/v1/values", {"other": 1}, "of another block"),
        ("/v1/proofs/header", {"leaf": 1}, "not proved"),
        ("/v1/proofs/header", {"tree": 1}, "not proved"),
        ("/v1/proofs/header", {"leaf": 1, "tree": 1}, "not proved"),
    ):
        with pytest.raises(GvmError, match=words):
            Light(lying(path, **changes), genesis, made.chain.execution).state(4)


def test_header_proofs_show_the_header_and_no_table(network: tuple[Loopback, Wired]) -> None:
    state = network[0].state
    proof = prove_header(state)
    shown = verify_header(root(state), proof)
    assert shown is not None and shown.identity == state.identity and not len(shown.accounts)
    assert verify_header(bytes(32), proof) is None
    for at in range(0, len(proof.leaf), 37):
        leaf = bytearray(proof.leaf)
        leaf[at] ^= 1
        assert verify_header(root(state), replace(proof, leaf=bytes(leaf))) is None
    table = replace(proof, tree=replace(proof.tree, index=1))
    assert verify_header(root(state), table) is None


def test_files_and_blobs_come_in_parts_with_limits(network: tuple[Loopback, Wired]) -> None:
    made, wire = network
    big = bytes(range(256)) * ((MAX_PART >> 8) + 9)
    made.store.put(big)
    path = f"/v1/blobs/{plain(big).hex()}"
    answer = wire.http.get(path)
    assert len(answer.content) == MAX_PART and answer.headers["X-Size"] == str(len(big))
    assert whole(wire.get, path) == big
    with pytest.raises(GvmError, match="more than"):
        whole(wire.get, path, MAX_PART)
    assert whole(wire.get, "/v1/genesis") == (made.folder / "genesis.cbor").read_bytes()
    assert whole(wire.get, "/v1/model") == (made.folder / "model.dmodel").read_bytes()
    assert wire.http.get(path + f"?start={len(big)}").content == b""
    for asked, status in (
        (f"/v1/blobs/{bytes(32).hex()}", 404),
        ("/v1/blobs/xx", 400),
        (path + "?start=-1", 400),
        ("/v1/proofs/header?height=999", 404),
    ):
        found = wire.http.get(asked)
        assert found.status_code == status and found.json()["error"]["code"]
    # Nobody pays for bytes that no trainer has revealed.
    for data, status, code in (
        (b"anything", 400, "not_allowed"),
        (b"", 400, "not_allowed"),
        (bytes(MAX_BLOB + 1), 413, "oversized"),
    ):
        posted = wire.http.post("/v1/blobs", content=data)
        assert (posted.status_code, posted.json()["error"]["code"]) == (status, code)
    assert made.store.get(plain(b"anything")) is None


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    key = tmp_path / "key"
    write_key(key, TRAINER)
    assert read_key(key).account == TRAINER.account and key.stat().st_mode & 0o77 == 0
    bad = tmp_path / "bad"
    bad.write_text("00")
    name, here = "00" * 32, "http://127.0.0.1:9"
    for arguments, words in (
        (("--rpc", "ftp://x", "--key", str(key), "--genesis", name), "must be a URL"),
        (("--rpc", here, "--key", str(bad), "--genesis", name), "64 hex digits"),
        (("--rpc", here, "--key", str(key), "--genesis", "1"), "64 hex digits"),
        (("--rpc", here, "--key", str(key), "--genesis", name), "127.0.0.1:9"),
    ):
        folder = ("--folder", str(tmp_path / "agent"), "--wait", "0")
        done = gvm_chain("agent", *arguments, *folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(GvmError):
        connected(Silent(), key, tmp_path / "agent", bytes(32), None, 0)


class Silent:
    """A node that does not answer."""

    def get(self, path: str) -> bytes:
        raise GvmError("silent")

    def post(self, path: str, body: bytes, kind: str) -> None:
        raise GvmError("silent")


@pytest.mark.slow
def test_a_trainer_without_a_node_wins_in_a_real_network(tmp_path: Path) -> None:
    """Real processes: nodes, the interface of one of them, and the trainer that asks it."""
    plan = Plan(tmp_path / "net", 4, 1, 1, block_time=0.02, remote=True)
    make(plan, images())
    explorer = devnet.run(plan, Console(width=120, quiet=True), kill=False)
    name, _ = next(explorer.state.jobs.items())
    (result,) = explorer.results(name)
    assert (result.outcome, result.trainer) == (Outcome.FINAL, TRAINER.account)
    assert client.json_of((plan.folder / "node-4" / "node.json").read_bytes())["agents"] == []
