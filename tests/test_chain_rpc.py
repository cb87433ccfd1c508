"""JSON over HTTP: what is answered, what is refused, and proofs that a client checks by itself."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.adapters.execution import Evaluator
from chain.adapters.frames import read_frame
from chain.adapters.node import key_of
from chain.adapters.rpc import client as light
from chain.adapters.rpc.api import MAX_PAGE, make_app
from chain.adapters.setup import Plan, make
from chain.adapters.store import Store
from chain.blocks import block_hash, read_block
from chain.codec import decode
from chain.envelope import seal, transaction_id
from chain.genesis import begin
from chain.machine_application import MachineApplication, members
from chain.orderer.messages import Certificate, Value, signers
from chain.proofs import RecordProof, TransactionProof, verify_record, verify_transaction
from chain.records import ZERO
from chain.state import TABLES, root
from chain.transfers import Transfer
from chain.votes import Vote, VoteKind, sign_vote
from gvm.errors import GvmError
from tests.test_chain_devnet import images

BLOCKS = 70


class Written:
    """A node's folder with a chain that was not run but signed."""

    def __init__(self, folder: Path) -> None:
        make(Plan(folder / "net", 4, 1, 1), images())
        self.folder = folder / "net" / "node-0"
        self.store = Store(self.folder)
        self.execution = Evaluator(self.folder / "model.dmodel").execution()
        first = begin(self.store.genesis(), self.execution)
        self.application = MachineApplication(first, self.execution)
        self.members, self.identity = members(first.schedule.current), first.identity
        self.keys = {k.public: k for k in (key_of(f"witness {i}") for i in range(4))}
        self.below: Certificate | None = None
        self.roots: list[bytes] = []
        for height in range(1, BLOCKS + 1):
            self.write(height)

    def transaction(self, amount: int, nonce: int | None = None) -> bytes:
        owner, to = key_of("owner"), key_of("trainer 0")
        account = self.application.state.accounts.get(owner.account)
        assert account is not None
        at = account.nonce if nonce is None else nonce
        return seal(owner, self.identity, at, 1000, Transfer(to.account, amount))

    def write(self, height: int) -> None:
        """Two payments, the second too large, signed by all."""
        nonce = 2 * (height - 1)
        self.application.submit(self.transaction(1, nonce))
        self.application.submit(self.transaction(1 << 60, nonce + 1))
        found = signers(self.below, self.members)
        block = self.application.propose(height, 0, found)
        assert self.application.validate(height, 0, block, found) == ""
        value = Value(block, self.below)
        vote = Vote(VoteKind.PRECOMMIT, height, 0, value.id)
        votes = tuple(sign_vote(self.keys[m.public], self.identity, vote) for m in self.members)
        self.below = Certificate(height, 0, value.id, votes)
        self.store.append(height, value, self.below)
        self.roots.append(self.application.apply(height, block))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("rpc"))


@pytest.fixture(scope="module")
def client(written: Written) -> Iterator[TestClient]:
    with TestClient(make_app(written.folder), raise_server_exceptions=False) as found:
        yield found


def get(client: TestClient, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


# --- answers -----------------------------------------------------------------------------------


def test_status_is_the_stores(client: TestClient, written: Written) -> None:
    found = get(client, "/v1/status")
    assert (found["height"], found["state"]) == (BLOCKS, written.roots[-1].hex())


def test_blocks_come_in_pages(client: TestClient) -> None:
    heights: list[int] = []
    at: int | None = 1
    while at is not None:
        page = get(client, f"/v1/blocks?start={at}&count=30")
        heights += [block["height"] for block in page["blocks"]]
        at = page["next"]
    assert heights == list(range(1, BLOCKS + 1))
    beyond = get(client, f"/v1/blocks?start={BLOCKS + 1}")
    assert beyond == {"blocks": [], "next": None}
    assert get(client, "/v1/blocks/2")["parent"] == get(client, "/v1/blocks/1")["hash"]


def test_transactions_have_their_receipts(client: TestClient) -> None:
    page = get(client, "/v1/blocks/5/transactions?count=1")
    assert page["next"] == 1
    rest = get(client, "/v1/blocks/5/transactions?start=1")
    assert rest["next"] is None and len(rest["transactions"]) == 1
    (good,), (bad,) = page["transactions"], rest["transactions"]
    assert (good["code"], good["kind"], good["nonce"]) == ("ok", "Transfer", 8)
    assert (bad["code"], bad["rule"]) == ("funds", "D2")
    assert get(client, f"/v1/transactions/{good['id']}") == good


def test_records_come_in_pages_and_one_by_one(client: TestClient, written: Written) -> None:
    keys: list[str] = []
    after: str | None = ""
    while after is not None:
        page = get(client, f"/v1/records/accounts?count=7&after={after}")
        keys += [row["key"] for row in page["records"]]
        after = page["next"]
    assert keys == [k.hex() for k, _ in written.application.state.accounts.items()]
    owner = key_of("owner").account.hex()
    found = get(client, f"/v1/records/accounts/{owner}")["value"]
    account = get(client, f"/v1/accounts/{owner}")
    assert (found["balance"], found["nonce"]) == (account["balance"], 2 * BLOCKS)
    job = get(client, "/v1/records/jobs")["records"][0]["key"]
    assert get(client, f"/v1/jobs/{job}")["status"] == "running"
    assert get(client, f"/v1/jobs/{job}/rounds") == {"rounds": [], "next": None}
    for table in TABLES:
        assert "records" in get(client, f"/v1/records/{table}?count={MAX_PAGE}")


# --- proofs ------------------------------------------------------------------------------------


def fetch(client: TestClient) -> light.Get:
    def ask(path: str) -> bytes:
        answer = client.get(path)
        if answer.status_code != 200:
            raise GvmError(answer.text)
        return answer.content

    return ask


def test_a_client_goes_from_validators_to_a_balance(client: TestClient, written: Written) -> None:
    """Signatures prove a block, the block names a state root, the root proves a record."""
    ask = fetch(client)
    block = light.block(ask, BLOCKS, written.members, written.identity)
    assert block.state == written.roots[-2]
    owner = key_of("owner").account
    balance, nonce = light.record(ask, block.state, "accounts", owner, BLOCKS - 1)
    assert nonce == 2 * (BLOCKS - 1) and balance < 10_000_000
    assert light.record(ask, block.state, "accounts", ZERO, BLOCKS - 1) is None
    name = transaction_id(block.transactions[1])
    assert light.transaction(ask, block_hash(block), name) == block.transactions[1]


def test_a_client_refuses_what_is_not_proved(client: TestClient, written: Written) -> None:
    ask = fetch(client)
    owner = key_of("owner").account
    with pytest.raises(GvmError, match="the proof is wrong"):
        light.record(ask, ZERO, "accounts", owner, BLOCKS)
    with pytest.raises(GvmError, match="the proof is wrong"):
        light.record(ask, written.roots[-1], "accounts", owner, BLOCKS - 1)
    name = transaction_id(written.transaction(1, 0))
    with pytest.raises(GvmError, match="the proof is wrong"):
        light.transaction(ask, ZERO, name)
    with pytest.raises(GvmError, match="do not prove it"):
        light.block(ask, 3, written.members, "another identity")
    strangers = tuple(replace(m, power=m.power * 10**i) for i, m in enumerate(written.members))
    assert light.block(ask, 3, strangers, written.identity).height == 3
    with pytest.raises(GvmError, match="do not prove it"):
        light.block(ask, 3, written.members[:3], written.identity)
    for body in (b"", b"[]", b"{}", b'{"proof": "zz"}', b'{"proof": 5}', b'{"proof": "80"}'):
        with pytest.raises(GvmError):
            light.record(lambda path, body=body: body, ZERO, "accounts", owner, 1)
        with pytest.raises(GvmError):
            light.block(lambda path, body=body: body, 1, written.members, written.identity)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_changed_proof_proves(client: TestClient, written: Written, data: st.DataObject) -> None:
    """One byte or one field of a proof changed: it does not decode, or proves nothing, or says the
    same."""
    owner = key_of("owner").account
    key = data.draw(st.sampled_from([owner, ZERO]))
    found = get(client, f"/v1/proofs/records/accounts/{key.hex()}")
    honest, state = bytes.fromhex(found["proof"]), written.roots[-1]
    first = decode(RecordProof, honest)
    assert verify_record(state, first)
    at = data.draw(st.integers(0, len(honest) - 1))
    damaged = bytearray(honest)
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        proof = decode(RecordProof, bytes(damaged))
    except ValueError:
        return
    if verify_record(state, proof):
        # An absent key's neighbours on the same path are absent too.
        assert proof.key != key and proof.record is None
    for lie in (
        replace(first, key=ZERO if key == owner else owner),
        replace(first, record=None, other=None),
        replace(first, record=b"\x82\x00\x00"),
        replace(first, table="jobs"),
        replace(first, path=first.path[:-1]),
    ):
        assert lie == first or not verify_record(state, lie)


def test_transaction_proofs_name_block_and_place(client: TestClient, written: Written) -> None:
    _, value, _ = next(written.store.blocks(7, 1))
    block = read_block(value.block, 1 << 25)
    for at, data in enumerate(block.transactions):
        found = get(client, f"/v1/proofs/transactions/{transaction_id(data).hex()}")
        proof = decode(TransactionProof, bytes.fromhex(found["proof"]))
        assert proof.proof.index == at and proof.block.hex() == found["block"]
        assert verify_transaction(block_hash(block), data, proof)
        other = block.transactions[1 - at]
        assert not verify_transaction(block_hash(block), other, proof)
        assert not verify_transaction(block_hash(block), data, replace(proof, height=8))


# --- sending -----------------------------------------------------------------------------------


@contextmanager
def listening(address: tuple[str, int]) -> Iterator[list[Any]]:
    """A node that takes frames of one connection."""
    frames: list[Any] = []
    ready = socket.create_server(address)

    def take() -> None:
        async def scene() -> None:
            done = asyncio.Event()

            async def accept(reader: Any, writer: Any) -> None:
                while (frame := await read_frame(reader)) is not None:
                    frames.append(frame)
                writer.close()
                done.set()

            server = await asyncio.start_server(accept, sock=ready)
            await asyncio.wait_for(done.wait(), 10)
            server.close()

        asyncio.run(scene())

    thread = Thread(target=take)
    thread.start()
    yield frames
    thread.join(15)


def test_a_transaction_goes_to_the_nodes_that_listen(client: TestClient, written: Written) -> None:
    data = written.transaction(5)
    body = {"transaction": data.hex()}
    answer = client.post("/v1/transactions", json=body)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    host, port = json.loads((written.folder / "node.json").read_text())["peers"][1]
    with listening((host, port)) as frames:
        answer = client.post("/v1/transactions", json=body)
        assert answer.status_code == 202
        assert answer.json() == {"id": transaction_id(data).hex(), "nodes": 1}
    assert [f.kind for f in frames] == ["hello", "transaction"] and frames[1].body == data


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b"{}", 400, "malformed"),
        (b'{"transaction": 5}', 400, "malformed"),
        (b'{"transaction": "00", "more": 1}', 400, "malformed"),
        (b'{"transaction": "0"}', 400, "malformed"),
        (b'{"transaction": "zz"}', 400, "malformed"),
        (b'{"transaction": " 00"}', 400, "malformed"),
        (b'{"transaction": "\xc2\xb2\xc2\xb2"}', 400, "malformed"),
        (b'{"transaction": "\xff"}', 400, "malformed"),
        (b'{"transaction": "00"}', 400, "malformed"),
        (b"[" * 100_000, 400, "malformed"),
        (b'{"transaction": "' + b"0" * 8_002_000 + b'"}', 413, "oversized"),
        (b'{"transaction": "' + b"0" * 8_000_002 + b'"}', 413, "oversized"),
    ],
    ids=range(15),
)
def test_hostile_bodies_have_a_code(
    client: TestClient, body: bytes, status: int, code: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/transactions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_refused_transactions_say_which_rule(client: TestClient, written: Written) -> None:
    whole = written.transaction(1)
    for data, code, rule in (
        (written.transaction(1, 0), "nonce", "D12"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "bad_signature", "D11"),
    ):
        answer = client.post("/v1/transactions", json={"transaction": data.hex()})
        found = answer.json()["error"]
        assert (answer.status_code, found["code"], found["rule"]) == (400, code, rule)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/blocks/0", 404, "unknown"),
        ("/v1/blocks/-1", 404, "unknown"),
        (f"/v1/blocks/{BLOCKS + 1}", 404, "unknown"),
        ("/v1/blocks/" + "9" * 400, 404, "unknown"),
        ("/v1/blocks/one", 400, "malformed"),
        ("/v1/blocks?count=0", 400, "malformed"),
        (f"/v1/blocks?count={MAX_PAGE + 1}", 400, "malformed"),
        ("/v1/blocks?start=-1", 400, "malformed"),
        ("/v1/blocks/999/transactions", 404, "unknown"),
        ("/v1/values/999", 404, "unknown"),
        ("/v1/transactions/00", 400, "malformed"),
        ("/v1/transactions/" + "00" * 32, 404, "unknown"),
        ("/v1/records/secrets", 404, "unknown"),
        ("/v1/records/accounts?after=zz", 400, "malformed"),
        ("/v1/records/accounts?after=" + "0" * 65, 400, "malformed"),
        ("/v1/records/accounts/" + "00" * 32, 404, "unknown"),
        ("/v1/records/__class__/" + "00" * 32, 404, "unknown"),
        ("/v1/accounts/short", 400, "malformed"),
        ("/v1/jobs/" + "00" * 32, 404, "unknown"),
        ("/v1/jobs/" + "00" * 32 + "/rounds", 404, "unknown"),
        ("/v1/proofs/records/accounts/" + "00" * 32 + "?height=1", 404, "unknown"),
        ("/v1/proofs/transactions/" + "00" * 32, 404, "unknown"),
        ("/v1/nothing", 404, "unknown"),
        ("/docs", 404, "unknown"),
    ],
)
def test_hostile_paths_have_a_code(client: TestClient, path: str, status: int, code: str) -> None:
    found = get(client, path, status)["error"]
    assert found["code"] == code and set(found) == {"code", "rule", "message"}
    assert len(found["message"]) < 1000


def test_methods_that_there_are_not(client: TestClient) -> None:
    answer = client.post("/v1/status")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "not_allowed")
    assert client.delete("/v1/transactions").status_code == 405


def test_what_is_new_in_the_store_is_seen(client: TestClient, written: Written) -> None:
    before = get(client, "/v1/status")["height"]
    written.write(before + 1)
    assert get(client, "/v1/status")["height"] == before + 1
    assert get(client, f"/v1/blocks/{before + 1}")["state_after"] == written.roots[-1].hex()
    assert root(written.application.state) == written.roots[-1]


def test_the_command_refuses_a_folder_without_chain(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gvm.cli", "chain", "serve", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no chain is here" in done.stderr and done.stderr.count("\n") == 1
