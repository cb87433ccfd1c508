"""A participant without a node: it follows the chain over HTTP, believes what is proved, and sends
what its agent says."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from chain.adapters.agents import Service, Trainer
from chain.adapters.execution import Evaluator
from chain.adapters.rpc import client
from chain.adapters.sending import Mark, answer, mark_of, sealed
from chain.adapters.store import Store
from chain.adapters.work import Workshop
from chain.blocks import Block, read_block
from chain.codec import CodecError, decode, from_value
from chain.context import Execution
from chain.genesis import Genesis, begin, genesis_hash
from chain.hashes import plain
from chain.keys import Key, verify_signed
from chain.ledger import account_of
from chain.machine_application import members
from chain.nodes import Join
from chain.orderer.messages import Certificate, Decided, is_certificate
from chain.proofs import HeaderProof, verify_header
from chain.quorum import has_quorum
from chain.records import Account, Job, Node, Round
from chain.refusal import Refused
from chain.state import State
from chain.table import Table
from chain.votes import VoteKind
from gvm.errors import GvmError

MAX_BLOB = 1 << 28
RESEND = 6
"""Blocks after which a transaction that is in no block is sent again."""


class Wire(Protocol):
    """The interface of a node."""

    def get(self, path: str) -> bytes:
        """The body of a path; raises :class:`gvm.GvmError`."""

    def post(self, path: str, body: bytes, kind: str) -> None:
        """Sends a body; raises :class:`gvm.GvmError` where it is not taken."""


class Http:
    """The interface at a URL such as ``http://127.0.0.1:8080``."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise GvmError(f"--rpc must be a URL of http, received {url!r}")
        self.url = url.rstrip("/")
        self.get = client.over_http(self.url)

    def post(self, path: str, body: bytes, kind: str) -> None:
        """See :class:`Wire`."""
        headers = {"Content-Type": kind}
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30):
                pass
        except urllib.error.HTTPError as found:
            raise GvmError(f"{path}: {found.read(1 << 16).decode(errors='replace')}") from None
        except OSError as found:
            raise GvmError(f"{self.url}: {found}") from None


def whole(get: client.Get, path: str, most: int = MAX_BLOB) -> bytes:
    """All pages of a file; raises :class:`gvm.GvmError` for more than ``most`` bytes."""
    found = b""
    while page := get(f"{path}?start={len(found)}"):
        found += page
        if len(found) > most:
            raise GvmError(f"{path}: has more than {most} bytes")
    return found


class Light:
    """Follows who validates, from the genesis on: a block counts when more than two thirds of those
    who are known, and of those of its own height, have signed it."""

    def __init__(self, get: client.Get, genesis: Genesis, execution: Execution) -> None:
        self.get, self.first = get, begin(genesis, execution)
        self.members = members(self.first.schedule.current)
        self.height, self.root = 1, b""

    def state(self, height: int) -> State:
        """The state below a block, without its tables, under the root that the block names. Raises
        :class:`gvm.GvmError` for what is not proved."""
        block, proof = self._decided(height)
        if not self._is_signed(proof):
            middle = (self.height + height) // 2
            if middle in (self.height, height):
                raise GvmError(f"block {height}: those who validated before have not signed it")
            self.state(middle)
            return self.state(height)
        shown = client.json_of(self.get(f"/v1/proofs/header?height={height - 1}"))
        found = verify_header(block.state, client.decoded(HeaderProof, shown))
        if found is None or (found.height, found.identity) != (height - 1, self.first.identity):
            raise GvmError(f"block {height}: the header of the state below is not proved")
        own = members(found.schedule.current)
        if not is_certificate(proof, height, own, found.identity, verify_signed):
            raise GvmError(f"block {height}: the signatures do not prove it")
        self.members, self.height = members(found.schedule.following), height
        self.root = block.state
        return found

    def _decided(self, height: int) -> tuple[Block, Certificate]:
        try:
            found = decode(Decided, self.get(f"/v1/values/{height}"))
            limit = self.first.parameters.max_block_bytes
            block = read_block(found.value.block, limit)
        except (CodecError, Refused) as error:
            raise GvmError(f"block {height}: {error}") from None
        proof = found.certificate
        if (proof.block, proof.height, block.height) != (found.value.id, height, height):
            raise GvmError(f"block {height}: the proof is of another block")
        return block, proof

    def _is_signed(self, proof: Certificate) -> bool:
        """By more than two thirds of the power that was known last."""
        power = {member.public: member.power for member in self.members}
        signed = 0
        for one in proof.votes:
            vote = one.vote
            slot = (vote.kind, vote.height, vote.round, vote.block, vote.valid)
            if slot != (VoteKind.PRECOMMIT, proof.height, proof.round, proof.block, 0):
                return False
            identity = self.first.identity
            if verify_signed(one.public, "vote", identity, vote.payload, one.signature):
                signed += power.pop(one.public, 0)
        return has_quorum(signed, sum(m.power for m in self.members))


class Bench(Workshop):
    """A workshop without a loop: work is done when it is asked for."""

    def __init__(self, evaluator: Evaluator, find: Callable[[bytes], bytes | None]) -> None:
        super().__init__(evaluator, find, lambda: None)

    def _ask(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        if key not in self._results:
            self._results[key] = work()
        return self._results[key]


class Remote:
    """An agent of one job. ``folder`` holds what must outlive it: what it has signed and made."""

    def __init__(self, wire: Wire, key: Key, folder: Path, genesis: bytes, job: bytes) -> None:
        self.wire, self.key, self.job = wire, key, job
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder)
        data = whole(wire.get, "/v1/genesis")
        try:
            made = decode(Genesis, data)
        except CodecError as error:
            raise GvmError(f"genesis: {error}") from None
        if genesis_hash(made) != genesis:
            raise GvmError("genesis: the node's is another one")
        model = folder / "model.dmodel"
        model.write_bytes(whole(wire.get, "/v1/model"))
        self.evaluator = Evaluator(model)
        self.bench = Bench(self.evaluator, self.find)
        self.light = Light(wire.get, made, self.evaluator.execution())
        self.agent: Trainer | Service | None = None
        self.tried: set[Mark] = set()
        self.flight: tuple[int, int, bytes] | None = None
        self.missing: set[bytes] = set()
        self.shown: set[bytes] = set()
        self.seen = 0

    def trainer(self, data: bytes) -> None:
        """Trains on labelled examples (:class:`chain.adapters.execution.Fold` as bytes)."""
        self.bench.train_data = data
        bench = self.bench
        self.agent = Trainer(self.key, bench.train, bench.evaluate, "honest", bench.show)

    def service(self) -> None:
        """Verifies and confirms."""
        show = self.bench.show
        self.agent = Service(self.key, self.bench.evaluate, self.store, "honest", show)

    # -- what is known

    def find(self, name: bytes) -> bytes | None:
        """Bytes of a hash, from the disk or the node; asked for once in a block."""
        found = self.bench.made.get(name) or self.store.get(name)
        if found is None and name not in self.missing:
            try:
                found = whole(self.wire.get, f"/v1/blobs/{name.hex()}")
            except GvmError:
                found = b""
            if plain(found) != name:
                self.missing.add(name)
                return None
            self.store.put(found)
        return found

    def state(self) -> State | None:
        """The newest state that is proved, with the records that the agent looks at; None where it
        is the last one."""
        status = client.json_of(self.wire.get("/v1/status"))
        height = status.get("height")
        if type(height) is not int or height < 2 or height <= self.seen:
            return None
        found = self.light.state(height)
        tables: dict[str, tuple[bytes, Any]] = {
            "accounts": (self.key.account, Account),
            "nodes": (self.key.account, Node),
            "jobs": (self.job, Job),
            "rounds": (self.job, Round),
        }
        filled: dict[str, Table[Any]] = {}
        for name, (key, kind) in tables.items():
            value = client.record(self.wire.get, self.light.root, name, key, height - 1)
            if value is not None:
                try:
                    filled[name] = Table[Any]().set(key, from_value(kind, value))
                except CodecError as error:
                    raise GvmError(f"{name}: {error}") from None
        self.seen = height
        self.missing.clear()
        return found.but(**filled)

    # -- what is done

    def step(self) -> State | None:
        """Looks at what is new and sends what the agent wants; the state that it saw."""
        state = self.state()
        if state is None or self.agent is None:
            return None
        job, found = state.jobs.get(self.job), state.rounds.get(self.job)
        if job is None:
            raise GvmError(f"job {self.job.hex()}: there is none of this name")
        if plain(self.evaluator.program) != job.program:
            raise GvmError("the node's model is not the program of the job")
        nonce = account_of(state, self.key.account).nonce
        if self.flight is not None and nonce > self.flight[0]:
            self.flight = None
        if found is not None:
            self.show_parameters(found)
            self.act(state, found, nonce)
        self.resend(state)
        return state

    def act(self, state: State, found: Round, nonce: int) -> None:
        """One statement at a time: the next nonce is known when the last one is in a block."""
        plans = [] if self.agent is None else self.agent.plan(state, self.job, found)
        if isinstance(self.agent, Service) and self.key.account not in state.nodes:
            plans = [(self.key, Join())]
        for data in self.bench.made.values():
            self.store.put(data)  # what is committed to must be there when it is revealed
        for key, action in plans:
            mark = mark_of(state, key, action, self.job, found.number)
            if mark in self.tried or self.flight is not None:
                continue
            self.tried.add(mark)
            data = sealed(state, key, nonce, answer(self.store, mark, action))
            self.flight = (nonce, state.height, data)
            self.send(data)

    def send(self, data: bytes) -> None:
        """Hands a transaction to the node; what it does not take is sent again later."""
        body = json.dumps({"transaction": data.hex()}).encode()
        try:
            self.wire.post("/v1/transactions", body, "application/json")
        except GvmError:
            return

    def resend(self, state: State) -> None:
        """Sends again what is in no block after some time."""
        if self.flight is not None and state.height >= self.flight[1] + RESEND:
            nonce, _, data = self.flight
            self.flight = (nonce, state.height, data)
            self.send(data)

    def show_parameters(self, found: Round) -> None:
        """Gives the nodes the parameters that a block holds the name of."""
        for candidate in found.candidates:
            data = self.bench.made.get(candidate.parameters) or self.store.get(candidate.parameters)
            own = candidate.trainer == self.key.account and candidate.revealed
            if not own or data is None or candidate.parameters in self.shown:
                continue
            try:
                self.wire.post("/v1/blobs", data, "application/octet-stream")
            except GvmError:
                continue
            self.shown.add(candidate.parameters)

    def run(self, pause: float, say: Callable[[str], None]) -> None:
        """Until the job is finished."""
        last = ""
        while True:
            state = self.step()
            if state is not None:
                job, found = state.jobs.get(self.job), state.rounds.get(self.job)
                if job is not None and found is None and job.status.name == "FINISHED":
                    return
                if found is not None:
                    now = f"round {found.number}, {found.phase.name.lower()}"
                    if now != last:
                        say(f"height {state.height}: {now}")
                    last = now
            time.sleep(pause)


def read_key(path: Path) -> Key:
    """The key of a file; raises :class:`gvm.GvmError`."""
    try:
        return Key(bytes.fromhex(path.read_text().strip()))
    except ValueError:
        raise GvmError(f"{path}: must hold a secret of 64 hex digits") from None


def connected(
    wire: Wire, key: Path, folder: Path, genesis: bytes, job: bytes | None, wait: float
) -> Remote:
    """A participant, once the node answers; raises :class:`gvm.GvmError` where it does not within
    some seconds, or is of another chain."""
    secret, end = read_key(key), time.monotonic() + wait
    while True:
        try:
            wire.get("/v1/status")
            break
        except GvmError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.2)
    name = job_of(wire, job)
    return Remote(wire, secret, folder, genesis, name)


def job_of(wire: Wire, name: bytes | None) -> bytes:
    """The job to take part in; the only one where none is named."""
    if name is not None:
        return name
    found = client.json_of(wire.get("/v1/status")).get("jobs")
    if not isinstance(found, dict) or len(found) != 1:
        raise GvmError("--job is needed: the chain has not exactly one")
    try:
        return bytes.fromhex(next(iter(found)))
    except ValueError:
        raise GvmError("the node's answer names no job") from None
