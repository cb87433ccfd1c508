"""The ABCI application: grammar with crashes, validator sets, snapshots, sockets, hostile bytes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain import staking
from chain.adapters.abci.application import AbciError, address_of
from chain.adapters.abci.messages import Apply, CheckKind, Flag, Offer, Status
from chain.codec import decode, decode_value, encode
from chain.evidence import Misbehaviour
from chain.keys import Key
from chain.proofs import RecordProof, verify_record
from chain.records import ZERO, Account
from chain.refusal import Code
from chain.snapshot import dump, index_of
from chain.state import root
from chain.transfers import Transfer
from tests.abci_engine import Client, Crash, Engine, finalize, proposal
from tests.chain_world import ALL, OWNER, PARAMETERS, RICH, WITNESSES, World, genesis


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def run(client: Client, world: World, blocks: int, **changes: Any) -> None:
    """Blocks on both sides, which must agree."""
    for _ in range(blocks):
        world.send(RICH, Transfer(OWNER.account, 5))
        commit(client, world, **changes)


def commit(client: Client, world: World, **changes: Any) -> dict[str, Any]:
    """What waits, as a block on both sides."""
    before, block = world.state, world.block(**changes)
    answer = client.ask("finalize_block", **finalize(before, block))
    world.step(**changes)
    assert answer["app_hash"] == root(world.state)
    client.ask("commit")
    return answer


# --- beginning ---------------------------------------------------------------------------------


def test_init_chain_gives_the_witnesses_and_the_first_root(client: Client) -> None:
    answer = client.init_chain()
    assert answer["app_hash"] == root(World().state)
    assert {u["pub_key"]["ed25519"] for u in answer["validators"]} == {k.public for k in WITNESSES}
    assert answer["consensus_params"]["block"]["max_bytes"] == PARAMETERS.max_block_bytes
    assert client.ask("info")["last_block_height"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chain_id": "other"}, "chain_id 'other'"),
        ({"initial_height": 2}, "initial_height must be 1, received 2"),
        ({"app_state_bytes": b"{}"}, "the hash of the genesis"),
        ({"app_state_bytes": b"\xff"}, "the hash of the genesis"),
    ],
)
def test_another_genesis_is_refused(client: Client, change: Any, words: str) -> None:
    with pytest.raises(AbciError, match=words):
        client.init_chain(**change)
    with pytest.raises(AbciError, match="InitChain has not been called"):
        client.ask("finalize_block", **finalize(World().state, World().block()))


def test_requests_out_of_place_change_nothing(client: Client) -> None:
    client.init_chain()
    world = World()
    run(client, world, 2)
    state = client.application.state
    with pytest.raises(AbciError, match="height 2 is committed"):
        client.init_chain()
    with pytest.raises(AbciError, match="Commit without FinalizeBlock"):
        client.ask("commit")
    request = finalize(world.state, world.block())
    stranger = address_of(RICH.public)
    votes = request["decided_last_commit"]["votes"]
    bad = {
        "height must be 3, received 4": {"height": 4},
        "the proposer is no validator": {"proposer_address": stranger},
        "of no validator of the block below": {
            "decided_last_commit": {"votes": [{"validator": {"address": stranger}}]}
        },
        "signers must be witnesses": {"decided_last_commit": {"votes": [votes[0], votes[0]]}},
    }
    for words, change in bad.items():
        with pytest.raises(AbciError, match=words):
            client.ask("finalize_block", **{**request, **change})
        rejected = client.ask("process_proposal", **proposal({**request, **change}))
        assert rejected["status"] == Status.REJECT
    assert client.application.state is state
    run(client, world, 1)


# --- the grammar -------------------------------------------------------------------------------


def actions(world: World, draw: Any) -> None:
    """Transactions of any fate: payments, votes, candidates, replays, noise."""
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from([OWNER, RICH, WITNESSES[0]]))
        amount = draw(st.sampled_from([1, 5_000, 10**9]))
        to = draw(st.sampled_from([k.account for k in ALL[:5]] + [ZERO]))
        kinds = [Transfer(to, amount), staking.Delegate(to, amount, ZERO)]
        kinds.append(staking.Declare(100, 200_000))
        data = world.send(key, draw(st.sampled_from(kinds)))
        if draw(st.integers(0, 5)) == 0:
            world.waiting.append(draw(st.sampled_from([data, data[:-1], b""])))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_word_of_the_grammar_with_crashes_ends_where_the_state_machine_does(
    data: st.DataObject,
) -> None:
    """Rounds of every shape and a crash before or after any request: the app hashes are those of
    the state machine on the decided blocks, and the engine's validator sets are the witnesses."""
    draw = data.draw
    crashes = 0

    def before(kind: str) -> None:
        nonlocal crashes
        if crashes < 4 and draw(st.integers(0, 9), label=kind) == 0:
            crashes += 1
            raise Crash

    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder), interval=2)
        engine = Engine(client, before)
        world = World()
        for height in range(1, draw(st.integers(2, 6)) + 1):
            actions(world, draw)
            voters = [seat.account for seat in world.state.schedule.previous]
            signed = tuple(v for v in voters if draw(st.integers(0, 3)))
            seat = draw(st.sampled_from(world.state.schedule.current))
            block = world.block(proposer=seat.account, signed=signed)
            request = finalize(world.state, block)
            for _ in range(draw(st.integers(0, 2))):
                round_of(engine, request, draw)
            assert engine.decide(request) == root(apply_block_to(world, block))
            codes = [
                int(receipt.code) for receipt in world.receipts[-len(block.transactions) - 1 :]
            ]
            answered = [item["code"] for item in engine.responses[-1]["tx_results"]]
            assert answered == codes[:-1]
            sets = world.state.schedule
            for at, seats in ((height + 1, sets.current), (height + 2, sets.following)):
                assert engine.powers[at] == {s.public: s.power for s in seats}
        assert client.application.state.height == world.state.height


def apply_block_to(world: World, block: Any) -> Any:
    changes = {"proposer": block.proposer, "signed": block.signed}
    world.step(**changes)
    return world.state


def round_of(engine: Engine, request: dict[str, Any], draw: Any) -> None:
    """A round that may stop anywhere: votes, a proposal, an extension, and what is asked beside
    it."""
    try:
        if draw(st.booleans()):
            engine.call("verify_vote_extension", height=request["height"])
        if draw(st.booleans()):
            fields = {k: request[k] for k in ("txs", "misbehavior", "height", "proposer_address")}
            made = engine.call("prepare_proposal", max_tx_bytes=1000, **fields)
            assert sum(len(tx) + 2 for tx in made["txs"]) <= 1000
        if draw(st.booleans()):
            answer = engine.call("process_proposal", **proposal(request))
            assert answer["status"] == Status.ACCEPT
        if draw(st.booleans()):
            answer = engine.call("extend_vote", height=request["height"])
            assert answer["vote_extension"] == b""
        beside = draw(st.sampled_from(["echo", "flush", "info", "list_snapshots", "query", ""]))
        if beside:
            engine.client.ask(beside)
        for tx in request["txs"]:
            engine.client.ask("check_tx", tx=tx)
    except Crash:
        engine.client.crash()
        engine.start()


def test_a_crash_between_finalize_and_commit_replays_to_the_same_answer(client: Client) -> None:
    client.init_chain()
    world = World()
    run(client, world, 3)
    world.send(RICH, Transfer(OWNER.account, 7))
    request = finalize(world.state, world.block())
    first = client.ask("finalize_block", **request)
    client.crash()
    assert client.ask("info")["last_block_height"] == 3
    assert client.ask("info")["last_block_app_hash"] == root(world.state)
    assert client.ask("finalize_block", **request) == first
    client.ask("commit")
    client.crash()
    assert client.ask("info")["last_block_app_hash"] == first["app_hash"]


def test_another_block_may_be_finalized_before_commit(client: Client) -> None:
    """Only the last one counts: nothing of the first is left."""
    client.init_chain()
    world = World()
    other = World()
    other.send(RICH, Transfer(OWNER.account, 1))
    client.ask("finalize_block", **finalize(other.state, other.block()))
    run(client, world, 1)


# --- pool and proposals ------------------------------------------------------------------------


def test_check_tx_counts_nonces_and_fees_and_forgets_them_with_the_block(client: Client) -> None:
    client.init_chain()
    world = World()
    waiting = [world.send(RICH, Transfer(OWNER.account, 1)) for _ in range(3)]
    assert [client.ask("check_tx", tx=tx)["code"] for tx in waiting] == [0, 0, 0]
    again = client.ask("check_tx", tx=waiting[0])
    assert (again["code"], again["codespace"]) == (Code.NONCE, "gvm")
    poor = Key.derived("poor")
    refused = client.ask("check_tx", tx=world.send(poor, Transfer(OWNER.account, 1)))
    assert refused["code"] == Code.FUNDS
    assert client.ask("check_tx", tx=b"\xff" * 9)["code"] == Code.MALFORMED
    world.waiting = waiting[:1]
    commit(client, world)
    codes = [client.ask("check_tx", tx=t, type=CheckKind.RECHECK)["code"] for t in waiting]
    assert codes == [Code.NONCE, 0, 0]
    with pytest.raises(AbciError, match="type must be 0 or 1, received 2"):
        client.ask("check_tx", tx=waiting[2], type=2)


def test_prepared_proposals_fit_and_hold_what_will_be_admitted(client: Client) -> None:
    client.init_chain()
    world = World()
    good = [world.send(RICH, Transfer(OWNER.account, 1)) for _ in range(5)]
    mixed = [good[1], b"noise", *good, good[0]]
    fields = {"height": 1, "proposer_address": address_of(WITNESSES[0].public)}
    made = client.ask("prepare_proposal", txs=mixed, max_tx_bytes=1 << 20, **fields)
    assert made["txs"] == good
    least = 3 * (len(good[0]) + 9)
    made = client.ask("prepare_proposal", txs=mixed, max_tx_bytes=least, **fields)
    assert made["txs"] == good[:3]
    assert client.ask("prepare_proposal", txs=mixed, max_tx_bytes=0, **fields)["txs"] == []


def test_blocks_of_too_many_transactions_are_neither_made_nor_accepted(tmp_path: Path) -> None:
    made = genesis(replace(PARAMETERS, max_block_transactions=2))
    client, world = Client(tmp_path, made), World(made)
    client.init_chain()
    good = [world.send(RICH, Transfer(OWNER.account, 1)) for _ in range(3)]
    fields = {"height": 1, "proposer_address": address_of(WITNESSES[0].public)}
    answer = client.ask("prepare_proposal", txs=good, max_tx_bytes=1 << 20, **fields)
    assert answer["txs"] == good[:2]
    for count, status in ((2, Status.ACCEPT), (3, Status.REJECT)):
        found = client.ask("process_proposal", txs=good[:count], **fields)
        assert found["status"] == status


def test_what_is_prepared_is_accepted_up_to_the_last_byte(tmp_path: Path) -> None:
    """The room for transactions is counted alike on both sides."""
    made = genesis(replace(PARAMETERS, max_transaction_bytes=4_000, max_block_bytes=70_000))
    client, world = Client(tmp_path, made), World(made)
    client.init_chain()
    waiting = [world.send(RICH, Transfer(OWNER.account, 1)) for _ in range(30)]
    fields = {"height": 1, "proposer_address": address_of(WITNESSES[0].public)}
    chosen = client.ask("prepare_proposal", txs=waiting, max_tx_bytes=1 << 20, **fields)["txs"]
    assert 5 < len(chosen) < 30
    for count, status in ((len(chosen), Status.ACCEPT), (len(chosen) + 1, Status.REJECT)):
        answer = client.ask("process_proposal", txs=waiting[:count], **fields)
        assert answer["status"] == status


def test_vote_extensions_are_empty(client: Client) -> None:
    assert client.ask("verify_vote_extension")["status"] == Status.ACCEPT
    extended = client.ask("verify_vote_extension", vote_extension=b"x")
    assert extended["status"] == Status.REJECT


# --- misbehaviour and validator sets -----------------------------------------------------------


def test_misbehaviour_is_mapped_in_one_order_and_punished(client: Client) -> None:
    client.init_chain()
    world = World()
    run(client, world, 3)
    guilty = WITNESSES[1].account
    block = world.block(misbehaviour=(Misbehaviour(guilty, 2),))
    request = finalize(world.state, block)
    (said,) = request["misbehavior"]
    stranger = {**said, "validator": {"address": bytes(20)}}
    request["misbehavior"] = [said, stranger, {**said, "type": 2}, {**said, "type": 0}, said]
    answer = client.ask("finalize_block", **request)
    world.step(misbehaviour=block.misbehaviour)
    assert answer["app_hash"] == root(world.state)
    found = world.state.validators.get(guilty)
    assert found is not None and found.tombstoned
    client.ask("commit")
    changes = list(answer["validator_updates"])
    for _ in range(6):
        changes += commit(client, world)["validator_updates"]
    assert {"ed25519": WITNESSES[1].public, "secp256k1": b""} in [
        item["pub_key"] for item in changes if item["power"] == 0
    ]


def test_votes_for_nil_are_no_signatures(client: Client) -> None:
    client.init_chain()
    world = World()
    run(client, world, 2)
    seats = world.state.schedule.previous
    block = world.block(signed=tuple(s.account for s in seats[1:]))
    request = finalize(world.state, block)
    request["decided_last_commit"]["votes"][0]["block_id_flag"] = Flag.NIL
    answer = client.ask("finalize_block", **request)
    world.step(signed=block.signed)
    assert answer["app_hash"] == root(world.state)


# --- queries -----------------------------------------------------------------------------------


def test_queries_give_records_with_proofs_under_the_app_hash(client: Client) -> None:
    client.init_chain()
    world = World()
    run(client, world, 2)
    hash_ = client.ask("info")["last_block_app_hash"]
    for key in (RICH.account, ZERO):
        found = client.ask("query", path="/store/accounts", data=key, prove=True)
        (op,) = found["proof_ops"]["ops"]
        proof = decode(RecordProof, op["data"])
        assert verify_record(hash_, proof) and not verify_record(ZERO, proof)
        assert (found["code"], proof.key, proof.record or b"") == (0, key, found["value"])
    balance = decode(
        Account, client.ask("query", path="/store/accounts", data=RICH.account)["value"]
    )
    assert balance.balance == world.balance(RICH)
    height, _, state_root = decode_value(client.ask("query", path="/status")["value"])
    assert (height, state_root) == (2, hash_)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"path": "/store/secrets", "data": ZERO}, Code.UNKNOWN),
        ({"path": "/store/accounts", "data": b"short"}, Code.MALFORMED),
        ({"path": "", "data": ZERO}, Code.UNKNOWN),
        ({"path": "/status", "height": 99}, Code.UNKNOWN),
        ({"path": "/status", "height": -1}, Code.UNKNOWN),
    ],
)
def test_queries_without_answer_have_a_code(client: Client, fields: Any, code: Code) -> None:
    found = client.ask("query", **fields)
    assert (found["code"], found["codespace"]) == (code, "gvm")


# --- snapshots ---------------------------------------------------------------------------------


@pytest.fixture
def offered(tmp_path: Path) -> tuple[World, Client, dict[str, Any]]:
    (tmp_path / "source").mkdir()
    source, world = Client(tmp_path / "source", interval=3), World()
    source.init_chain()
    run(source, world, 10)
    listed = source.ask("list_snapshots")["snapshots"]
    assert [s["height"] for s in listed] == [9, 6]
    return world, source, listed[0]


def fetch(source: Client, snapshot: dict[str, Any]) -> list[bytes]:
    place = {"height": snapshot["height"], "format": snapshot["format"]}
    return [
        source.ask("load_snapshot_chunk", **place, chunk=i)["chunk"]
        for i in range(snapshot["chunks"])
    ]


def test_a_snapshot_takes_a_new_node_to_the_chain(offered: Any, tmp_path: Path) -> None:
    world, source, snapshot = offered
    chunks = fetch(source, snapshot)
    hash_ = world.blocks[9].state  # the root after block 9, as block 10 has it
    (tmp_path / "new").mkdir()
    client = Client(tmp_path / "new", interval=4)
    client.init_chain()
    assert client.ask("offer_snapshot", snapshot=snapshot, app_hash=hash_)["result"] == Offer.ACCEPT
    for i, chunk in enumerate(chunks):
        bad = client.ask("apply_snapshot_chunk", index=i, chunk=chunk + b"!", sender="liar")
        assert (bad["result"], bad["refetch_chunks"]) == (Apply.RETRY, [i])
        assert bad["reject_senders"] == ["liar"]
        done = client.ask("apply_snapshot_chunk", index=i, chunk=chunk, sender="peer")
        assert done["result"] == Apply.ACCEPT
    for _ in range(2):
        info = client.ask("info")
        assert (info["last_block_height"], info["last_block_app_hash"]) == (9, hash_)
        client.crash()
    other = World()
    other.state, other.blocks = client.application.state, []
    assert root(other.state) == hash_
    block = world.blocks[9]
    answer = client.ask("finalize_block", **finalize(other.state, block))
    assert answer["app_hash"] == root(world.state)
    client.ask("commit")
    client.crash()
    assert client.ask("info")["last_block_app_hash"] == root(world.state)
    assert client.ask("offer_snapshot", snapshot=snapshot)["result"] == Offer.ABORT


def test_wrong_snapshots_are_refused_for_the_right_reason(offered: Any, tmp_path: Path) -> None:
    world, source, snapshot = offered
    chunks, hash_ = fetch(source, snapshot), world.blocks[9].state
    (tmp_path / "new").mkdir()
    client = Client(tmp_path / "new")
    client.init_chain()
    for change, expected in (
        ({"format": 2}, Offer.REJECT_FORMAT),
        ({"metadata": b"\xff"}, Offer.REJECT_SENDER),
        ({"hash": ZERO}, Offer.REJECT_SENDER),
        ({"chunks": 99}, Offer.REJECT_SENDER),
        ({"height": 0}, Offer.REJECT_SENDER),
    ):
        told = client.ask("offer_snapshot", snapshot={**snapshot, **change}, app_hash=hash_)
        assert told["result"] == expected
    with pytest.raises(AbciError, match="without an accepted snapshot"):
        client.ask("apply_snapshot_chunk", index=0, chunk=chunks[0])
    # A state that is whole but not the one that is proved, or of another height.
    forged = dump(world.state.but(supply=1))
    index = index_of(forged)
    for one, data, said in (
        ({**snapshot, "metadata": encode(index), "hash": index.hash}, forged, hash_),
        ({**snapshot, "height": 8}, chunks, hash_),
        (snapshot, chunks, ZERO),
    ):
        assert client.ask("offer_snapshot", snapshot=one, app_hash=said)["result"] == Offer.ACCEPT
        last = [client.ask("apply_snapshot_chunk", index=i, chunk=c) for i, c in enumerate(data)]
        assert last[-1]["result"] == Apply.REJECT_SNAPSHOT
    assert client.application.state.height == 0
    place = {"height": 9, "format": 1}
    assert source.ask("load_snapshot_chunk", **place, chunk=99)["chunk"] == b""
    assert source.ask("load_snapshot_chunk", height=(1 << 64) - 1, format=1)["chunk"] == b""
