"""Programs as bytes (docs/program.md): what the loader refuses and with which status, ids, buffers
and the container."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import blake3
import numpy as np
import pytest

from gvm import _core, cbor
from gvm.errors import ProgramError
from gvm.ops import OPERATORS

Body = dict[str, Any]
OP = {name: operator.opcode for name, operator in OPERATORS.items()}
PARAMETERS, STATE = 2, 3

# x[B, 3] times the view of w[3, 4]; values 0 and 1 of predict, 0 to 2 of loss and grad are given.
FORWARD = [
    [OP["convert"], [2], [1, 8, 0]],
    [OP["matmul"], [0, 3], [0, 0]],
    [OP["convert"], [4], [2, 16, 0]],
    [OP["softmax_cross_entropy"], [5, 1], []],
    [OP["reduce_sum"], [6], [[0], 0]],
    [OP["example_count"], [], []],
    [OP["argmax_correct"], [5, 1], []],
    [OP["reduce_sum"], [9], [[0], 0]],
]
BACKWARD = [
    [OP["softmax_cross_entropy_grad"], [5, 1], [1, 14, 2]],
    [OP["matmul_grad_weight"], [0, 11], []],
]


def body() -> Body:
    """A program of logistic regression with momentum."""
    forward = copy.deepcopy(FORWARD)
    forward[2][2][2] = 1
    return {
        "semantics": 1,
        "max_batch": 8,
        "inputs": [[1, 8, [-1, 3]]],
        "labels": [[2, 0, [-1]]],
        "parameters": [[2, 24, [3, 4]]],
        "state": [[2, 24, [3, 4]]],
        "predict": {
            "nodes": [
                [OP["convert"], [1], [1, 8, 0]],
                [OP["matmul"], [0, 2], [0, 0]],
                [OP["convert"], [3], [2, 16, 0]],
            ],
            "outputs": [4],
        },
        "loss": {"nodes": copy.deepcopy(FORWARD), "outputs": [7, 8, 10]},
        "grad": [{"nodes": forward + copy.deepcopy(BACKWARD), "reduce": [7, 8, 10, 12]}],
        "apply": {
            "nodes": [[OP["momentum"], [0, 1, 5, 3], [26214, 18, 29491, 15, 3, 4]]],
            "outputs": [6, 7],
        },
    }


def without_training(program: Body) -> Body:
    """The seven keys that graph_id covers."""
    return {k: v for k, v in program.items() if k not in ("grad", "apply", "state")}


def load(program: Body) -> Any:
    """The program that the core makes of a body."""
    return _core.Program(cbor.encode(program))


def refused(data: bytes) -> str:
    """The status with which bytes are refused."""
    with pytest.raises(ProgramError) as caught:
        _core.Program(data)
    return caught.value.name


def test_accepts() -> None:
    info = load(body()).info()
    assert (info["segments"], info["loss_outputs"], info["has_apply"]) == (1, 3, True)
    assert info["totals"] == 1 + 1 + 1 + 12
    # convert 1, convert 1, gradient 1, view 1; then momentum's two.
    assert info["sites"] == 5
    small = without_training(body())
    assert load(small).info()["segments"] == 0
    assert load(small | {"labels": [], "loss": None}).info()["loss_outputs"] == 0
    load(body() | _tables(256))


def test_ids_are_hashes_of_what_is_stated() -> None:
    program = body()
    native, data = load(program), cbor.encode(program)
    graph = b"gvm.graph.v1\n" + cbor.encode(without_training(program))
    assert native.info()["graph_id"] == blake3.blake3(graph).digest()
    assert load(without_training(program)).info()["graph_id"] == native.info()["graph_id"]
    assert native.info()["train_id"] == blake3.blake3(b"gvm.train.v1\n" + data).digest()
    assert load(without_training(program)).info()["train_id"] == bytes(32)
    buffer = np.arange(12, dtype="<i4").tobytes() + bytes(16)
    types = cbor.encode(program["parameters"])
    wanted = blake3.blake3(b"gvm.parameters.v1\n" + types + buffer).digest()
    assert native.parameters_id(buffer) == wanted


Change = Callable[[Body], Any]


def _set(*path: Any) -> Change:
    """Puts the last item at the place that the others lead to."""
    *way, key, value = path

    def change(program: Body) -> None:
        at: Any = program
        for step in way:
            at = at[step]
        at[key] = value

    return change


def _append(*path: Any) -> Change:
    *way, value = path

    def change(program: Body) -> None:
        at: Any = program
        for step in way:
            at = at[step]
        at.append(value)

    return change


def _drop(*keys: str) -> Change:
    def change(program: Body) -> None:
        for key in keys:
            del program[key]

    return change


def _squares(program: Body) -> None:
    """w * w reaches 2^62; twice that is too much."""
    nodes = [[OP["mul"], [1, 1], []], [OP["add"], [2, 2], []], [OP["convert"], [3], [2, 0, 0]]]
    program.update(parameters=[[2, 8, [3, 4]]], predict={"nodes": nodes, "outputs": [4]})


def _tables(count: int) -> Body:
    """A predict that reads this many tables of unary functions."""
    formats = [(f, bits) for f in range(1, 14) for bits in range(-10, 10)][:count]
    view = [OP["convert"], [1], [1, 8, 0]]
    nodes = [view, *([OP["unary"], [2], [f, 1, bits, 0]] for f, bits in formats)]
    return {"predict": {"nodes": nodes, "outputs": list(range(3, 3 + count))}}


INVALID: list[tuple[str, Change, str]] = [
    ("a key too many", _set("extra", 1), "bad_encoding"),
    ("a key missing", _drop("labels"), "bad_encoding"),
    ("half of training", _drop("grad"), "bad_encoding"),
    ("another key", lambda p: p.update(labelz=p.pop("labels")), "bad_encoding"),
    ("predict is null", _set("predict", None), "bad_encoding"),
    ("a node of two items", _set("predict", "nodes", 0, [1, [1]]), "bad_encoding"),
    ("a type of two items", _set("inputs", 0, [1, 8]), "bad_encoding"),
    ("a list for an integer", _set("predict", "nodes", 0, 2, 0, [1]), "bad_encoding"),
    ("an integer for a list", _set("loss", "nodes", 4, 2, 0, 0), "bad_encoding"),
    ("beyond 64 bits", _set("max_batch", 2**63), "bad_encoding"),
    ("text for an integer", _set("max_batch", "8"), "bad_encoding"),
    ("a later meaning", _set("semantics", 2), "unknown_semantics"),
    ("no meaning", _set("semantics", 0), "unknown_semantics"),
    ("a negative meaning", _set("semantics", -1), "bad_graph"),
    ("opcode", _set("predict", "nodes", 0, 0, 999), "unknown_operator"),
    ("negative opcode", _set("predict", "nodes", 0, 0, -1), "unknown_operator"),
    ("opcode modulo 2^16", _set("predict", "nodes", 0, 0, 65537), "unknown_operator"),
    ("too few attributes", _set("predict", "nodes", 0, 2, [1, 8]), "bad_attribute"),
    ("attribute out of range", _set("predict", "nodes", 0, 2, [3, 8, 0]), "bad_attribute"),
    ("drawn prediction", _set("predict", "nodes", 2, 2, [2, 16, 1]), "bad_attribute"),
    ("drawn loss", _set("loss", "nodes", 2, 2, [2, 16, 1]), "bad_attribute"),
    ("an accumulator from outside", _set("inputs", 0, [3, 8, [-1, 3]]), "bad_type"),
    ("element type", _set("inputs", 0, [6, 8, [-1, 3]]), "bad_type"),
    ("fraction bits", _set("parameters", 0, [2, 48, [3, 4]]), "bad_type"),
    ("outputs of loss in another order", _set("loss", "outputs", [8, 7, 10]), "bad_type"),
    ("velocity with fewer fraction bits", _set("state", 0, [2, 23, [3, 4]]), "bad_type"),
    ("new parameter is a total", _set("apply", "outputs", [5, 7]), "bad_type"),
    ("rank 9", _set("parameters", 0, [2, 24, [1] * 9]), "bad_shape"),
    ("dimension 0", _set("parameters", 0, [2, 24, [0, 4]]), "bad_shape"),
    ("dimension -2", _set("parameters", 0, [2, 24, [-2, 4]]), "bad_shape"),
    ("2^43 elements", _set("parameters", 0, [2, 24, [2**22, 2**21]]), "bad_shape"),
    ("operands that do not fit", _set("parameters", 0, [2, 24, [2, 4]]), "bad_shape"),
    ("input without batch", _set("inputs", 0, [1, 8, [5, 3]]), "bad_batch"),
    ("label without batch", _set("labels", 0, [2, 0, [5]]), "bad_batch"),
    ("parameter with batch", _set("parameters", 0, [2, 24, [-1, 4]]), "bad_batch"),
    ("two batch axes", _set("inputs", 0, [1, 8, [-1, -1]]), "bad_batch"),
    ("reduce of what is not partial", _set("grad", 0, "reduce", [5, 8, 10, 12]), "bad_batch"),
    ("a partial value is rounded", _append("grad", 0, "nodes", [1, [12], [1, 8, 0]]), "bad_batch"),
    ("no inputs", _set("inputs", []), "bad_graph"),
    ("the count is no example_count", _set("loss", "outputs", [7, 10, 8]), "bad_graph"),
    ("257 tables", lambda p: p.update(_tables(257)), "bad_graph"),
    ("max_batch 0", _set("max_batch", 0), "bad_graph"),
    ("max_batch above 2^22", _set("max_batch", 2**22 + 1), "bad_graph"),
    ("a value of later", _set("predict", "nodes", 0, 1, [2]), "bad_graph"),
    ("a negative value", _set("predict", "nodes", 0, 1, [-1]), "bad_graph"),
    ("an output that does not exist", _set("predict", "outputs", [5]), "bad_graph"),
    ("operands", _set("predict", "nodes", 0, 1, [1, 1]), "bad_graph"),
    ("a node without use", _append("predict", "nodes", [1, [1], [1, 8, 0]]), "bad_graph"),
    ("no outputs", _set("predict", {"nodes": [], "outputs": []}), "bad_graph"),
    ("no segments", _set("grad", []), "bad_graph"),
    ("no reduce", _set("grad", 0, "reduce", []), "bad_graph"),
    ("labels without loss", _set("loss", None), "bad_graph"),
    ("one output of loss", _set("loss", {"nodes": FORWARD[:5], "outputs": [7]}), "bad_graph"),
    ("too few outputs of apply", _set("apply", {"nodes": [], "outputs": [0]}), "bad_graph"),
    ("state without apply", _set("apply", None), "bad_graph"),
    ("an unproved sum", _squares, "unproved_bound"),
]


@pytest.mark.parametrize(("change", "status"), [pytest.param(c, s, id=n) for n, c, s in INVALID])
def test_invalid_programs(change: Change, status: str) -> None:
    program = body()
    change(program)
    assert refused(cbor.encode(program)) == status


# A program with all of these faults is refused for the first that stands here.
ORDER: list[tuple[Change, str]] = [
    (_set("semantics", 2), "unknown_semantics"),
    (_set("max_batch", 0), "bad_graph"),
    (_set("inputs", 0, [1, 8, [5, 3]]), "bad_batch"),
    (_set("labels", 0, [3, 0, [-1]]), "bad_type"),
    (_set("parameters", 0, [2, 24, [-1, 4]]), "bad_batch"),
    (_set("state", 0, [2, 24, [0]]), "bad_shape"),
    (_set("predict", "nodes", 0, 0, 999), "unknown_operator"),
    (_set("loss", "nodes", 0, 2, [1, 8]), "bad_attribute"),
    (_set("grad", []), "bad_graph"),
    (_set("apply", "outputs", [5, 7]), "bad_type"),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_invalid_programs_the_first_fault_decides(first: int) -> None:
    program = body()
    for change, _ in ORDER[first:]:
        change(program)
    assert refused(cbor.encode(program)) == ORDER[first][1]


@pytest.mark.parametrize(
    ("limit", "least"),
    [
        ("program_bytes", len(cbor.encode(body()))),
        ("nodes", 3 + 8 + 10 + 1),
        ("parameter_bytes", 128),
        ("multiply_adds", 8 * 3 * 4 * 2),
    ],
)
def test_invalid_beyond_a_limit(limit: str, least: int) -> None:
    data = cbor.encode(body())
    _core.Program(data, {limit: least})
    with pytest.raises(ProgramError) as caught:
        _core.Program(data, {limit: least - 1})
    assert caught.value.name == "over_limit"


def test_invalid_bytes() -> None:
    data = cbor.encode(body())
    assert refused(b"") == refused(data[:-1]) == refused(data + b"\0") == "bad_encoding"
    # Every single byte counts: what is accepted after a change has other ids.
    ids = {_core.Program(data).info()["train_id"]}
    for at in range(len(data)):
        for flip in (1, 0x20, 0x80):
            changed = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
            try:
                found = _core.Program(changed).info()["train_id"]
            except ProgramError as error:
                assert 0 < error.status <= 9
            else:
                assert found not in ids
                ids.add(found)


def test_buffers_are_padded_with_zeros() -> None:
    native = load(body())
    session = _core.Session(native, 1, 0)
    weights = np.arange(-6, 6, dtype="<i4").tobytes()
    for section in (PARAMETERS, STATE):
        assert session.read(section) == bytes(64)
        session.write(section, weights + bytes(16))
        assert session.read(section) == weights + bytes(16)
        for wrong in (weights, weights + bytes(17), weights + bytes(15) + b"\1"):
            with pytest.raises(ProgramError) as caught:
                session.write(section, wrong)
            assert caught.value.name == "bad_parameters"
        assert session.read(section) == weights + bytes(16)
    with pytest.raises(ProgramError) as caught:
        native.parameters_id(weights + bytes(15) + b"\1")
    assert caught.value.name == "bad_parameters"


def test_container_is_what_is_stated() -> None:
    parts = (cbor.encode(body()), bytes(range(64)), b"", b"\xa0")
    data = _core.write_file(*parts)
    header = b"DMODEL\r\n" + (1).to_bytes(8, "little")
    header += b"".join(len(p).to_bytes(8, "little") for p in parts) + bytes(16)
    inside = header + b"".join(p + bytes(-len(p) % 64) for p in parts)
    assert data == inside + blake3.blake3(inside).digest()
    assert _core.parse_file(data) == parts


def test_invalid_containers() -> None:
    parts = (b"program", b"", b"state", b"")
    data = _core.write_file(*parts)

    def hashed(inside: bytes) -> bytes:
        return inside + blake3.blake3(inside).digest()

    wrong = [
        b"",
        data[:95],
        data[:-1],
        data + b"\0",
        hashed(b"X" + data[1:-32]),
        hashed(data[:8] + b"\2" + data[9:-32]),
        hashed(data[:60] + b"\1" + data[61:-32]),
        hashed(data[:127] + b"\1" + data[128:-32]),
        hashed(data[:16] + (65).to_bytes(8, "little") + data[24:-32]),
        hashed(data[:16] + (2**48 + 1).to_bytes(8, "little") + data[24:-32]),
        *(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in range(len(data))),
    ]
    for damaged in wrong:
        with pytest.raises(ProgramError) as caught:
            _core.parse_file(damaged)
        assert caught.value.name == "bad_file"
    assert _core.parse_file(data) == parts
