"""A node begins from a snapshot: of a peer or a file, under a certified root, and no other."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chain.adapters import joining
from chain.adapters.execution import Evaluator
from chain.adapters.explorer import Explorer
from chain.adapters.frames import Frame
from chain.adapters.joining import Joining
from chain.adapters.node import Node, key_of
from chain.adapters.setup import Plan, make
from chain.adapters.statesync import (
    Offer,
    Trust,
    check_offer,
    check_snapshot,
    offer_of,
    read_bundle,
    restored,
    write_bundle,
)
from chain.adapters.store import Store
from chain.blocks import block_hash, read_block
from chain.codec import encode
from chain.envelope import seal
from chain.keys import Key
from chain.orderer.messages import Decided, Value
from chain.snapshot import chunk_hash, dump
from chain.state import State, root
from chain.transfers import Transfer
from gvm.errors import GvmError
from tests.chain_certified import Chain
from tests.chain_world import EXECUTION, OWNER, PARAMETERS, RICH, WITNESSES, genesis
from tests.test_chain_devnet import gvm_chain, images

HEIGHT = 6
Snapshot = tuple[Offer, list[bytes]]


@cache
def chain() -> Chain:
    made = Chain(genesis(), EXECUTION, WITNESSES)
    made.step((seal(RICH, made.states[0].identity, 0, 100, Transfer(OWNER.account, 5)),))
    made.grow(HEIGHT + 3)
    return made


def snapshot_of(made: Chain, height: int = HEIGHT, chunk: int = 1500) -> Snapshot:
    chunks = dump(made.states[height], chunk)
    return offer_of(made.decided[height], chunks), chunks


def begun(snapshot: Snapshot, first: State | None = None, trust: Trust | None = None) -> State:
    """Where a node of the small world begins."""
    offer, chunks = snapshot
    start = chain().states[0] if first is None else first
    return check_snapshot(offer, chunks, start, check_offer(offer, start, trust)).state


def test_a_snapshot_is_the_state_that_its_block_names() -> None:
    state = begun(snapshot_of(chain()))
    assert root(state) == root(chain().states[HEIGHT])
    again = Chain(genesis(), EXECUTION, WITNESSES)
    again.states, again.decided = [state], [chain().decided[HEIGHT - 1]]
    again.grow(3)
    assert [root(s) for s in again.states[1:]] == [root(s) for s in chain().states[7:10]]


def damaged_block(offer: Offer) -> Offer:
    """Another state root in the header, properly signed by nobody."""
    block = read_block(offer.decided.value.block, 1 << 20)
    value = Value(encode(replace(block, state=bytes(32))), offer.decided.value.below)
    proof = replace(offer.decided.certificate, block=value.id)
    return replace(offer, decided=Decided(value, proof))


def few_signers(offer: Offer) -> Offer:
    proof = offer.decided.certificate
    short = replace(proof, votes=proof.votes[:2])
    return replace(offer, decided=replace(offer.decided, certificate=short))


def forged_vote(offer: Offer) -> Offer:
    proof = offer.decided.certificate
    first = replace(proof.votes[0], signature=bytes(64))
    forged = replace(proof, votes=(first, *proof.votes[1:]))
    return replace(offer, decided=replace(offer.decided, certificate=forged))


def other_height(offer: Offer) -> Offer:
    return replace(offer, decided=chain().decided[HEIGHT + 1])


def no_proof_below(offer: Offer) -> Offer:
    value = replace(offer.decided.value, below=None)
    proof = chain().certificate(chain().states[HEIGHT], value)
    return replace(offer, decided=Decided(value, proof))


def flipped(chunks: list[bytes]) -> list[bytes]:
    middle = bytearray(chunks[1])
    middle[700] ^= 1
    return [chunks[0], bytes(middle), *chunks[2:]]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda o, c: (o, flipped(c)), "not the one that was offered"),
        (lambda o, c: (o, c[:-1]), "not the one that was offered"),
        (lambda o, c: (o, [*c, b"more"]), "not the one that was offered"),
        (lambda o, c: (o, c[::-1]), "not the one that was offered"),
        (
            lambda o, c: (replace(o, chunks=tuple(map(chunk_hash, flipped(c)))), flipped(c)),
            "cbor|root|must",
        ),
        (lambda o, c: (replace(o, chunks=(chunk_hash(b"x"),)), [b"x"]), "cbor|must"),
        (lambda o, c: (other_height(o), c), "the root is another one"),
        (lambda o, c: (damaged_block(o), c), "have not signed"),
        (lambda o, c: (few_signers(o), c), "have not signed"),
        (lambda o, c: (forged_vote(o), c), "have not signed"),
        (lambda o, c: (no_proof_below(o), c), "proof is not that"),
    ],
)
def test_a_damaged_snapshot_is_refused(
    damage: Callable[[Offer, list[bytes]], Snapshot], words: str
) -> None:
    with pytest.raises(GvmError, match=words):
        begun(damage(*snapshot_of(chain())))


def test_a_snapshot_of_another_chain_is_refused() -> None:
    """Of another name, or of the same name and another genesis, whoever is trusted."""
    other = replace(PARAMETERS, chain="other")
    named = Chain(genesis(other), EXECUTION, WITNESSES)
    twin = Chain(genesis(replace(PARAMETERS, block_reward=7)), EXECUTION, WITNESSES)
    for foreign, words in ((named, "of the chain 'other'"), (twin, "have not signed")):
        foreign.grow(HEIGHT + 1)
        with pytest.raises(GvmError, match=words):
            begun(snapshot_of(foreign))
    block = read_block(twin.decided[HEIGHT].value.block, 1 << 20)
    with pytest.raises(GvmError, match="of another genesis"):
        begun(snapshot_of(twin), trust=Trust(HEIGHT + 1, block_hash(block)))


def test_a_past_signed_by_strangers_needs_a_trusted_block() -> None:
    """Who owns witnesses of its own can sign any state: only a block that one trusts tells. Where
    the witnesses have changed since the genesis the same holds for a true snapshot."""
    strangers = [Key.derived("stranger", i) for i in range(4)]
    made = Chain(genesis(), EXECUTION, [*WITNESSES, *strangers])
    made.grow(HEIGHT)
    state = made.states[-1]
    seats = tuple(
        replace(seat, public=key.public, account=key.account)
        for seat, key in zip(state.schedule.current, strangers, strict=True)
    )
    seats = tuple(sorted(seats, key=lambda seat: seat.account))
    validators = state.validators
    for seat, old in zip(seats, state.schedule.current, strict=True):
        known = state.validators.get(old.account)
        assert known is not None
        validators = validators.set(seat.account, replace(known, public=seat.public))
    schedule = replace(state.schedule, current=seats, following=seats)
    made.states[-1] = state.but(schedule=schedule, validators=validators)
    made.step()
    snapshot = snapshot_of(made)
    with pytest.raises(GvmError, match="name a block that you trust"):
        begun(snapshot)
    block = read_block(made.decided[HEIGHT].value.block, 1 << 20)
    assert begun(snapshot, trust=Trust(HEIGHT + 1, block_hash(block))).height == HEIGHT
    for wrong in (Trust(HEIGHT + 1, bytes(32)), Trust(HEIGHT, block_hash(block))):
        with pytest.raises(GvmError, match="not the trusted one"):
            begun(snapshot, trust=wrong)


@pytest.mark.parametrize("text", ["", "7", "7:", "x:" + "0" * 64, "1:" + "0" * 64, "7:00", "7:zz"])
def test_what_names_no_block_is_refused(text: str) -> None:
    with pytest.raises(GvmError, match="trust must be HEIGHT:HASH"):
        Trust.read(text)
    assert Trust.read("7:" + "ab" * 32) == Trust(7, b"\xab" * 32)


# --- from peers --------------------------------------------------------------------------------


class Peers:
    """Peers that answer as they please: what each offers, and which chunks it has."""

    def __init__(self, offers: list[tuple[Offer, list[bytes]] | None]) -> None:
        self.offers = offers
        self.joining: Joining | None = None

    def broadcast(self, frame: Frame) -> None:
        assert frame == Frame("offers", b"") and self.joining is not None
        self.joining.take(0, Frame("order", b"something else"))
        for peer, offered in enumerate(self.offers):
            data = b"noise" if offered is None else encode(offered[0])
            self.joining.take(peer, Frame("offer", data))

    def send(self, peer: int, frame: Frame) -> None:
        offered = self.offers[peer]
        assert frame.kind == "chunks" and offered is not None and self.joining is not None
        self.joining.take(7, Frame("chunk", b"of somebody else"))
        for data in offered[1]:
            if chunk_hash(data) == frame.body:
                self.joining.take(peer, Frame("chunk", data))


def joined(offers: list[tuple[Offer, list[bytes]] | None], seconds: float) -> State:
    peers = Peers(offers)
    peers.joining = Joining(peers, chain().states[0], None)
    return asyncio.run(peers.joining.run(seconds))[2].state


def test_a_node_finds_the_peer_whose_snapshot_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "WAIT", 0.1)
    offer, chunks = snapshot_of(chain(), chunk=4000)
    bad: list[Any] = [None, (few_signers(offer), chunks), (offer, chunks[:1])]
    assert root(joined([*bad, (offer, chunks)], 20)) == root(chain().states[HEIGHT])
    with pytest.raises(GvmError, match=r"no snapshot within 0\.5 s: .*(chunk|signed|cbor)"):
        joined(bad, 0.5)
    with pytest.raises(GvmError, match="no peer has one"):
        joined([], 0.1)


# --- on the disk -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Chain]:
    """A devnet's folders, node 0 of which holds a chain with snapshots."""
    plan = Plan(tmp_path_factory.mktemp("net") / "net", 4, 1, 1)
    make(plan, images())
    folder = plan.folder / "node-0"
    store = Store(folder)
    execution = Evaluator(folder / "model.dmodel").execution()
    made = Chain(store.genesis(), execution, [key_of(f"witness {i}") for i in range(4)])
    made.grow(HEIGHT + 3)
    for height, decided in enumerate(made.decided, 1):
        store.append(height, decided.value, decided.certificate)
        if height in (3, 5, HEIGHT + 1):
            store.keep_snapshot(*snapshot_of(made, height - 1, 4000))
    return folder, made


def fresh(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in ("genesis.cbor", "model.dmodel", "node.json"):
        shutil.copy(source / name, folder / name)
    return folder


def test_the_two_newest_snapshots_are_kept(network: tuple[Path, Chain]) -> None:
    store = Store(network[0], read_only=True)
    assert store.snapshots() == [HEIGHT, 4]
    offer, chunks = store.snapshot(HEIGHT)
    assert offer.chunks == tuple(chunk_hash(data) for data in chunks)
    assert store.chunk(offer.chunks[0]) == chunks[0] and store.chunk(bytes(32)) is None
    assert store.height == HEIGHT + 3 and store.has_first_block


def test_a_new_node_goes_on_from_a_file(network: tuple[Path, Chain], tmp_path: Path) -> None:
    source, made = network
    file, folder = tmp_path / "snapshot", fresh(source, tmp_path / "new")
    done = gvm_chain("snapshot", str(source), "-o", str(file))
    assert done.returncode == 0 and f'"height": {HEIGHT}' in done.stdout
    done = gvm_chain("restore", str(folder), str(file))
    assert done.returncode == 0 and f'"height": {HEIGHT}' in done.stdout
    node = Node(folder)
    node.config = replace(node.config, key=None)  # its key would answer from the past
    asyncio.run(resume(node))
    assert node.application.state.height == HEIGHT and node.state.height == HEIGHT + 1
    assert root(node.application.state) == root(made.states[HEIGHT])
    asyncio.run(catch_up(node, made))
    assert root(node.application.state) == root(made.states[HEIGHT + 3])
    # Looked at from outside and started again it is the same.
    explorer = Explorer(folder)
    explorer.follow()
    assert (explorer.base, explorer.height) == (HEIGHT, HEIGHT + 3)
    assert explorer.at(HEIGHT + 1).root == root(made.states[HEIGHT + 1])
    with pytest.raises(GvmError, match=rf"in \[{HEIGHT + 1}, {HEIGHT + 3}\]"):
        explorer.at(HEIGHT)
    again = Node(folder)
    asyncio.run(resume(again))
    assert root(again.application.state) == root(made.states[HEIGHT + 3])
    with pytest.raises(GvmError, match="holds a chain up to height"):
        restored(folder, file, None)


async def resume(node: Node) -> None:
    node.resume()


async def catch_up(node: Node, made: Chain) -> None:
    from chain.orderer.state import Received

    for decided in made.decided[HEIGHT:]:
        node.handle(Received(decided, 1))
    for _ in range(200):
        if node.application.state.height == HEIGHT + 3:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"stays at height {node.application.state.height}: {node.failed}")


def test_a_file_that_does_not_hold_leaves_the_store_empty(
    network: tuple[Path, Chain], tmp_path: Path
) -> None:
    folder = fresh(network[0], tmp_path / "new")
    offer, chunks = Store(network[0]).snapshot(HEIGHT)
    whole = write_bundle(offer, chunks)
    assert read_bundle(whole) == (offer, chunks)
    foreign = write_bundle(*snapshot_of(chain()))
    for number, data in enumerate((b"", whole[:-1], whole + b"\0", foreign)):
        file = tmp_path / str(number)
        file.write_bytes(data)
        done = gvm_chain("restore", str(folder), str(file))
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert Store(folder).height == 0
    with pytest.raises(GvmError, match="not the trusted one"):
        restored(folder, saved(tmp_path / "whole", whole), Trust(HEIGHT + 1, bytes(32)))


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
