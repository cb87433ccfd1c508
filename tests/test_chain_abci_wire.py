"""ABCI on the wire: the codec against protobuf's own, sockets, hostile bytes, the real engine."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import ledger
from chain.adapters.abci import wire
from chain.adapters.abci.application import AbciError, address_of
from chain.adapters.abci.messages import TABLE
from chain.adapters.abci.server import MAX_MESSAGE, Server, delimited, read_delimited
from chain.adapters.abci.setup import make_homes, opened_application
from chain.adapters.abci.wire import Field, Table, WireError, varint
from chain.adapters.node import key_of
from chain.adapters.setup import free_ports
from chain.envelope import seal
from chain.keys import Key
from chain.transfers import Transfer
from gvm.errors import GvmError
from tests.abci_engine import Client
from tests.chain_world import PARAMETERS, genesis
from tests.test_chain_devnet import images


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


# --- the codec ---------------------------------------------------------------------------------

NUMBERS = {
    "uint64": (0, 2**64 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "enum": (0, 3),
}


@cache
def of_kind(kind: str) -> st.SearchStrategy[Any]:
    if kind in NUMBERS:
        return st.integers(*NUMBERS[kind]) | st.sampled_from([0, *NUMBERS[kind]])
    if kind == "bool":
        return st.booleans()
    if kind in ("bytes", "string"):
        return st.binary(max_size=200) if kind == "bytes" else st.text("aé\0", max_size=9)
    return message(kind)


def of_field(field: Field) -> st.SearchStrategy[Any]:
    one = of_kind(field.kind)
    return st.lists(one, max_size=2) if field.repeated else one


@cache
def message(name: str) -> st.SearchStrategy[Any]:
    shape = TABLE.shapes[name]
    fields = {f.name: of_field(f) for f in shape.fields}
    if shape.choice:
        each = [st.fixed_dictionaries({title: inner}) for title, inner in fields.items()]
        return st.one_of(each)
    return st.fixed_dictionaries({}, optional=fields)


def oracle() -> dict[str, Any]:
    """Protobuf's own messages of the same table."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    made = descriptor_pb2.FileDescriptorProto(name="abci.proto", package="t", syntax="proto3")
    for name, shape in TABLE.shapes.items():
        found = made.message_type.add(name=name)
        if shape.choice:
            found.oneof_decl.add(name="value")
        for f in shape.fields:
            number = found.field.add(name=f.name, number=f.number)
            number.label = 3 if f.repeated else 1
            kind = "int32" if f.kind == "enum" else f.kind
            if kind in TABLE.shapes:
                number.type, number.type_name = 11, f".t.{kind}"
            else:
                number.type = getattr(number, f"TYPE_{kind.upper()}")
            if shape.choice:
                number.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(made)
    names = TABLE.shapes
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"t.{name}")) for name in names}


def filled(cls: Any, value: dict[str, Any]) -> Any:
    made = cls()
    fill(made, value)
    return made


def fill(made: Any, value: dict[str, Any]) -> None:
    for name, item in value.items():
        if isinstance(item, dict):
            getattr(made, name).SetInParent()
            fill(getattr(made, name), item)
        elif isinstance(item, list):
            for one in item:
                if isinstance(one, dict):
                    fill(getattr(made, name).add(), one)
                else:
                    getattr(made, name).append(one)
        else:
            setattr(made, name, item)


CLASSES = oracle()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["Request", "Response"]).flatmap(lambda n: st.tuples(st.just(n), message(n)))
)
def test_bytes_are_those_of_protobuf(case: tuple[str, dict[str, Any]]) -> None:
    name, value = case
    data = TABLE.encode(name, value)
    theirs = CLASSES[name]()
    assert theirs.ParseFromString(data) == len(data)
    assert theirs == filled(CLASSES[name], value)
    assert TABLE.decode(name, theirs.SerializeToString(deterministic=True)) == TABLE.decode(
        name, data
    )


@settings(max_examples=80, deadline=None)
@given(
    st.binary(max_size=60) | message("Request").map(lambda v: TABLE.encode("Request", v)), st.data()
)
def test_hostile_bytes_are_a_message_or_refused_as_protobuf_does(data: bytes, draw: Any) -> None:
    at = draw.draw(st.integers(0, len(data)))
    data = draw.draw(st.sampled_from([data, data[:at], data[:at] + b"\xff" + data[at + 1 :]]))
    try:
        found = TABLE.decode("Request", data)
    except WireError:
        return
    theirs = CLASSES["Request"]()
    theirs.ParseFromString(data)  # what is accepted here, protobuf accepts
    again = TABLE.decode("Request", theirs.SerializeToString())
    assert again == found


SMALL = Table(
    """
    A: 1 int32 n; 2 B* many; 3 B one; 4 uint32* packed; 5 string s
    B | 1 bytes x; 2 C y
    C: 1 bool z
    """
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x08", "end inside a varint"),
        (b"\x08" + b"\xff" * 10, "exceeds ten bytes"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "exceeds 64 bits"),
        (b"\x0a\x00", "wire type 2 does not fit int32"),
        (b"\x28\x00", "wire type 0 does not fit string"),
        (b"\x12\x05\x00", "a length of 5 exceeds the 1 bytes left"),
        (b"\x2a\x01\xff", "s: is not UTF-8"),
        (b"\x00\x00", "field numbers are in"),
        (b"\x33", "wire type 3 is not in use"),
        (b"\x31\x00", "ends inside a field"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        SMALL.decode("A", data)


def test_unknown_fields_are_skipped_and_later_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = b"\x30\x05" + b"\x39" + bytes(8) + b"\x3d" + bytes(4) + b"\x4a\x01x"
    assert SMALL.decode("A", strange + b"\x08\x01\x08\x02")["n"] == 2
    both = SMALL.decode("A", bytes.fromhex("1a03 0a0161 1a02 1200"))
    assert both["one"] == {"x": b"", "y": {"z": False}}
    both = SMALL.decode("A", bytes.fromhex("1a04 12020801 1a02 1200"))
    assert both["one"] == {"x": b"", "y": {"z": True}}  # merged
    assert SMALL.decode("A", bytes.fromhex("20 07 22 03 01 ac02"))["packed"] == [7, 1, 300]
    monkeypatch.setattr(wire, "MAX_ITEMS", 2)
    with pytest.raises(WireError, match="more than 2 items"):
        SMALL.decode("A", bytes.fromhex("1200") * 3)


def test_what_cannot_be_said_is_an_error_of_the_program() -> None:
    assert TABLE.encode("Request", {"echo": {"message": "hi"}}) == bytes.fromhex("0a040a026869")
    with pytest.raises(KeyError, match="no field massage"):
        TABLE.encode("RequestEcho", {"massage": ""})
    with pytest.raises(OverflowError, match="int32 must be in"):
        SMALL.encode("A", {"n": 1 << 31})


# --- sockets -----------------------------------------------------------------------------------


def request(kind: str, **fields: Any) -> bytes:
    return delimited(TABLE.encode("Request", {kind: fields}))


async def answer_on(reader: asyncio.StreamReader) -> dict[str, Any]:
    data = await asyncio.wait_for(read_delimited(reader), 10)
    assert data is not None
    return {k: v for k, v in TABLE.decode("Response", data).items() if v is not None}


def test_four_connections_and_hostile_ones(client: Client, tmp_path: Path) -> None:
    async def scene() -> None:
        server = Server(client.application)
        path = f"unix://{tmp_path / 'socket'}"
        listening = await server.listen(path)
        four = [await asyncio.open_unix_connection(str(tmp_path / "socket")) for _ in range(4)]
        for i, (reader, writer) in enumerate(four):
            writer.write(request("echo", message=f"hello {i}") + request("flush"))
            assert await answer_on(reader) == {"echo": {"message": f"hello {i}"}}
            assert await answer_on(reader) == {"flush": {}}
        for data, is_answered in (
            (varint(MAX_MESSAGE + 1), False),
            (b"\xff" * 12, False),
            (delimited(b"\xff\xff\xff"), True),
            (delimited(b""), True),
            (request("commit"), True),
            (request("echo", message="cut")[:-1], False),
        ):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
            writer.write(data)
            writer.write_eof()
            if is_answered:
                assert "exception" in await answer_on(reader)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        reader, writer = four[0]
        writer.write(request("info"))
        assert (await answer_on(reader))["info"]["last_block_height"] == 0
        for _, writer in four:
            writer.close()
        listening.close()

    asyncio.run(scene())


def test_a_disk_that_fails_ends_the_connection(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: Any) -> Any:
        raise OSError(28, "No space left on device")

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = Server(client.application)
        monkeypatch.setitem(client.application.answers, "commit", fail)
        listening = await server.listen(f"unix://{tmp_path / 'socket'}")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
        writer.write(request("commit"))
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        listening.close()

    asyncio.run(scene())


@pytest.mark.parametrize("address", ["", "tcp://", "tcp://x:99999", "http://x:1", "unix://"])
def test_addresses_are_checked(client: Client, address: str) -> None:
    with pytest.raises(ValueError, match="address must be"):
        asyncio.run(Server(client.application).listen(address))


def test_a_supply_beyond_the_engines_power_is_refused(tmp_path: Path) -> None:
    made = genesis(replace(PARAMETERS, power_unit=1))
    grants = tuple(replace(g, amount=1 << 58) for g in made.grants)
    with pytest.raises(AbciError, match="the supply must be at most"):
        Client(tmp_path, replace(made, grants=grants))


# --- the command, and the real engine ----------------------------------------------------------


def test_the_command_has_help_and_one_line_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gvm.cli", "chain", "abci"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "CometBFT" in shown.stdout
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "genesis.cbor" in done.stderr and done.stderr.count("\n") == 1


def test_folders_for_an_engine_agree_with_the_application(tmp_path: Path) -> None:
    """What `gvm chain abci-setup` writes begins a chain: the engine's files name the same chain,
    witnesses and genesis."""
    make_homes(tmp_path / "net", 2, images())
    served = opened_application(tmp_path / "net" / "node-1", 0)
    home = tmp_path / "net" / "node-1" / "comet" / "config"
    engine = json.loads((home / "genesis.json").read_text())
    answer = served.handle(
        TABLE.decode(
            "Request",
            TABLE.encode(
                "Request",
                {
                    "init_chain": {
                        "chain_id": engine["chain_id"],
                        "initial_height": int(engine["initial_height"]),
                        "app_state_bytes": json.dumps(engine["app_state"]).encode(),
                    }
                },
            ),
        )
    )["init_chain"]
    keys = [base64.b64decode(v["pub_key"]["value"]) for v in engine["validators"]]
    assert sorted(keys) == sorted(u["pub_key"]["ed25519"] for u in answer["validators"])
    private = json.loads((home / "priv_validator_key.json").read_text())
    secret = base64.b64decode(private["priv_key"]["value"])
    assert Key(secret[:32]).public == secret[32:] == keys[1]
    assert private["address"] == address_of(keys[1]).hex().upper()
    with pytest.raises(GvmError, match="is not empty"):
        make_homes(tmp_path / "net", 1, images())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cometbft") is None, reason="no cometbft on PATH")
def test_a_real_engine_commits_blocks_through_a_restart(tmp_path: Path) -> None:
    """One validator under CometBFT: a transaction is committed, the application is killed and
    started again, and the engine's app hash is ours."""
    make_homes(tmp_path / "net", 1, images())
    node = tmp_path / "net" / "node-0"
    home = ["--home", str(node / "comet")]
    identity = opened_application(node, 0).state.identity
    subprocess.run(["cometbft", "init", *home], check=True, capture_output=True)
    abci, rpc, p2p = free_ports(3)
    address = f"tcp://127.0.0.1:{abci}"
    serve = [sys.executable, "-m", "gvm.cli", "chain", "abci", str(node), "--address", address]
    ports = ["--rpc.laddr", f"tcp://127.0.0.1:{rpc}", "--p2p.laddr", f"tcp://127.0.0.1:{p2p}"]
    start = ["cometbft", "start", *home, "--proxy_app", address, *ports]

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{rpc}/{path}", timeout=5) as answer:
            return json.loads(answer.read())["result"]

    def height() -> int:
        try:
            return int(ask("status")["sync_info"]["latest_block_height"])
        except OSError:
            return 0

    def wait(least: int) -> None:
        end = time.monotonic() + 60
        while height() < least:
            assert time.monotonic() < end, "the engine does not advance"
            time.sleep(0.2)

    for turn in range(2):
        below = 3 * turn
        with (
            subprocess.Popen(serve) as application,
            subprocess.Popen(start, stdout=subprocess.DEVNULL) as engine,
        ):
            try:
                wait(below + 2)
                pay = Transfer(key_of("trainer 0").account, 1)
                tx = seal(key_of("owner"), identity, turn, 1000, pay)
                done = ask(f"broadcast_tx_commit?tx=0x{tx.hex()}")
                assert (done["check_tx"]["code"], done["tx_result"]["code"]) == (0, 0)
                wait(int(done["height"]) + 1)
            finally:
                application.kill()
                engine.terminate()
    served = opened_application(node, 0)
    assert ledger.account_of(served.state, key_of("owner").account).nonce == 2
