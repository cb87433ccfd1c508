"""What the loader refuses: every rule of docs/program.md, broken once."""

from __future__ import annotations

import pytest

from gvm import cbor
from tests.hand_written import Change, changed, code, drop, inference, put, refusal, refused

REFUSED: list[tuple[str, Change, str, str]] = [
    # the map
    ("no gradient without apply", drop("apply"), "bad_encoding", "7 or 10 keys, received 9"),
    ("a key too many", put("names", []), "bad_encoding", "7 or 10 keys, received 11"),
    (
        "an unknown key",
        lambda b: (b.pop("state"), b.update(names=[])),
        "bad_encoding",
        "unexpected map key",
    ),
    ("semantics 0", put("semantics", 0), "unknown_semantics", "must be 1, received 0"),
    ("semantics 2", put("semantics", 2), "unknown_semantics", "must be 1, received 2"),
    ("negative semantics", put("semantics", -1), "bad_graph", "semantics must be in [0, "),
    ("semantics in words", put("semantics", "1"), "bad_encoding", "expected an integer"),
    (
        "the future comes first",
        lambda b: b.update(semantics=2, max_batch=0, inputs=[]),
        "unknown_semantics",
        "",
    ),
    (
        "max_batch 0",
        put("max_batch", 0),
        "bad_graph",
        "max_batch must be in [1, 4194304], received 0",
    ),
    ("max_batch above 2^22", put("max_batch", 2**22 + 1), "bad_graph", "received 4194305"),
    ("max_batch of 65 bits", put("max_batch", 2**63), "bad_encoding", "outside 64 signed bits"),
    ("no inputs", put("inputs", []), "bad_graph", "no inputs"),
    ("inputs as a map", put("inputs", {}), "bad_encoding", "expected an array"),
    # types
    (
        "i64 input",
        put("inputs", 0, 0, 3),
        "bad_type",
        "inputs 0: element type must be i16, i32, u8 or bool, received 3",
    ),
    ("i64 parameter", put("parameters", 0, 0, 3), "bad_type", "parameters 0: element type"),
    ("i64 state", put("state", 0, 0, 3), "bad_type", "state 0: element type"),
    ("element type 0", put("labels", 0, 0, 0), "bad_type", "labels 0: element type"),
    ("element type 6", put("inputs", 0, 0, 6), "bad_type", "received 6"),
    ("negative element type", put("inputs", 0, 0, -1), "bad_type", "received -1"),
    (
        "too fine",
        put("inputs", 0, 1, 48),
        "bad_type",
        "fraction bits must be in [-32, 47], received 48",
    ),
    ("too coarse", put("parameters", 0, 1, -33), "bad_type", "received -33"),
    (
        "rank 9",
        put("inputs", 0, 2, [-1] + [1] * 8),
        "bad_shape",
        "rank must be at most 8, received 9",
    ),
    (
        "dimension 0",
        put("parameters", 1, 2, [0]),
        "bad_shape",
        "must be -1 or in [1, 2^42], received 0",
    ),
    ("dimension -2", put("inputs", 0, 2, [-1, -2]), "bad_shape", "received -2"),
    ("dimension above 2^42", put("parameters", 1, 2, [2**42 + 1]), "bad_shape", "2^42"),
    (
        "elements above 2^42",
        put("parameters", 0, 2, [2**21, 2**22]),
        "bad_shape",
        "elements must be at most 2^42",
    ),
    (
        "elements at max_batch",
        put("inputs", 0, 2, [-1, 2**40]),
        "bad_shape",
        "inputs 0: elements must be at most 2^42 at max_batch",
    ),
    (
        "a product of dimensions beyond 64 bits",
        put("parameters", 0, 2, [2**42] * 8),
        "bad_shape",
        "2^42",
    ),
    (
        "two batch axes",
        put("inputs", 0, 2, [-1, -1]),
        "bad_batch",
        "at most one batch axis, received 2",
    ),
    (
        "an input without batch",
        put("inputs", 0, 2, [4, 2]),
        "bad_batch",
        "inputs 0: must have a batch axis",
    ),
    (
        "a label without batch",
        put("labels", 0, 2, [4]),
        "bad_batch",
        "labels 0: must have a batch axis",
    ),
    (
        "a parameter with batch",
        put("parameters", 1, 2, [-1]),
        "bad_batch",
        "parameters 1: must not have a batch axis",
    ),
    (
        "state with batch",
        put("state", 0, 2, [-1, 3]),
        "bad_batch",
        "state 0: must not have a batch axis",
    ),
    ("a type of two items", put("inputs", 0, [1, 8]), "bad_encoding", "wrong number of items"),
    ("a type of text", put("inputs", 0, "i16"), "bad_encoding", "expected an array"),
    # functions
    ("no predict", put("predict", None), "bad_encoding", "expected a map"),
    ("no loss under grad", put("loss", None), "bad_graph", "labels and grad need a loss"),
    (
        "labels without loss",
        lambda b: [b.pop(k) for k in ("grad", "apply", "state")] and b.update(loss=None),
        "bad_graph",
        "labels and grad need a loss",
    ),
    ("no grad among ten keys", put("grad", None), "bad_encoding", "expected an array"),
    ("state without apply", put("apply", None), "bad_graph", "state needs apply"),
    ("nodes as a map", put("predict", "nodes", {}), "bad_encoding", "expected an array"),
    (
        "a function without outputs",
        drop("predict", "outputs"),
        "bad_encoding",
        "wrong number of keys",
    ),
    (
        "a function with a third key",
        put("predict", "name", "f"),
        "bad_encoding",
        "wrong number of keys",
    ),
    (
        "a function with another key",
        lambda b: b["predict"].update(result=b["predict"].pop("outputs")),
        "bad_encoding",
        "unexpected map key",
    ),
    ("no outputs", put("predict", "outputs", []), "bad_graph", "no result of it is used"),
    (
        "no outputs and no nodes",
        put("predict", {"nodes": [], "outputs": []}),
        "bad_graph",
        "predict: no outputs",
    ),
    # nodes
    (
        "a node of two items",
        put("predict", "nodes", 0, [1, [1]]),
        "bad_encoding",
        "wrong number of items",
    ),
    (
        "opcode 0",
        put("predict", "nodes", 0, 0, 0),
        "unknown_operator",
        "predict, node 0: unknown opcode 0",
    ),
    (
        "opcode 65535",
        put("loss", "nodes", 1, 0, 65535),
        "unknown_operator",
        "loss, node 1: unknown opcode 65535",
    ),
    (
        "opcode 65537, which is 1 in 16 bits",
        put("grad", 1, "nodes", 1, 0, 65537),
        "unknown_operator",
        "grad, node 7: unknown opcode 65537",
    ),
    (
        "negative opcode",
        put("apply", "nodes", 0, 0, -1),
        "unknown_operator",
        "apply, node 0: unknown opcode -1",
    ),
    (
        "a value that does not exist",
        put("predict", "nodes", 0, 1, [99]),
        "bad_graph",
        "convert, node 0: value must be in [0, 3), received 99",
    ),
    ("a negative value", put("predict", "nodes", 0, 1, [-1]), "bad_graph", "received -1"),
    (
        "a value of its own",
        put("predict", "nodes", 0, 1, [3]),
        "bad_graph",
        "must be in [0, 3), received 3",
    ),
    (
        "a value of a later node",
        put("predict", "nodes", 1, 1, [0, 5]),
        "bad_graph",
        "must be in [0, 4), received 5",
    ),
    (
        "an output that does not exist",
        put("predict", "outputs", [7]),
        "bad_graph",
        "predict: value must be in [0, 7), received 7",
    ),
    (
        "a total that does not exist yet",
        put("grad", 0, "reduce", [10]),
        "bad_graph",
        "grad: value must be in [0, 10), received 10",
    ),
    (
        "too many operands",
        put("predict", "nodes", 0, 1, [1, 1]),
        "bad_graph",
        "convert, node 0: at most 1 values, received 2",
    ),
    (
        "too few operands",
        put("predict", "nodes", 1, 1, [0]),
        "bad_graph",
        "matmul, node 1: inputs must be 2, received 1",
    ),
    (
        "an attribute too many",
        put("predict", "nodes", 0, 2, [1, 8, 0, 0]),
        "bad_attribute",
        "convert, node 0: attributes must be 3, received 4",
    ),
    ("an attribute too few", put("predict", "nodes", 0, 2, [1, 8]), "bad_attribute", "received 2"),
    (
        "an attribute out of range",
        put("predict", "nodes", 0, 2, [1, 48, 0]),
        "bad_attribute",
        "convert, node 0: fraction_bits must be in [-32, 47], received 48",
    ),
    (
        "a list for a number",
        put("predict", "nodes", 0, 2, [1, [8], 0]),
        "bad_encoding",
        "expected an integer",
    ),
    (
        "a number for a list",
        put("loss", "nodes", 5, 2, [0, 0]),
        "bad_encoding",
        "expected an array",
    ),
    (
        "a list too short",
        put("loss", "nodes", 5, 2, [[], 0]),
        "bad_attribute",
        "axes must have a length in [1, 8], received 0",
    ),
    (
        "a list too long",
        put("loss", "nodes", 5, 2, [[0] * 9, 0]),
        "bad_attribute",
        "axes must have a length in [1, 8], received 9",
    ),
    (
        "an attribute of 65 bits",
        put("predict", "nodes", 0, 2, [1, 2**64 - 1, 0]),
        "bad_encoding",
        "outside 64 signed bits",
    ),
    (
        "what an operator refuses",
        put("predict", "nodes", 1, 1, [3, 0]),
        "bad_batch",
        "matmul, node 1: ",
    ),
    (
        "a stochastic rounding in predict",
        put("predict", "nodes", 3, 2, [2, 12, 1]),
        "bad_attribute",
        "rounding in predict must be 0 (nearest), received 1",
    ),
    (
        "a stochastic rounding in loss",
        put("loss", "nodes", 0, 2, [1, 8, 4]),
        "bad_attribute",
        "rounding in loss must be 0 (nearest), received 4",
    ),
    (
        "a batch in apply",
        put("apply", "nodes", 0, [code("broadcast_to"), [1], [[-1, 3]]]),
        "bad_batch",
        "apply knows no batch",
    ),
    (
        "an example count in apply",
        put("apply", "nodes", 0, [code("example_count"), [], []]),
        "bad_batch",
        "apply knows no batch",
    ),
    # use
    (
        "a dead node",
        lambda b: b["predict"]["nodes"].append([code("relu"), [6], []]),
        "bad_graph",
        "predict, node 4 (relu): no result of it is used",
    ),
    (
        "a dead node in a segment",
        lambda b: b["grad"][1]["nodes"].append([code("example_count"), [], []]),
        "bad_graph",
        "grad, node 12 (example_count): no result",
    ),
    (
        "a node that only a dead one reads",
        lambda b: b["loss"]["nodes"].extend([[code("relu"), [7], []], [code("relu"), [13], []]]),
        "bad_graph",
        "loss, node 10 (relu)",
    ),
    # predict and loss
    (
        "a partial output",
        lambda b: (
            b["predict"]["nodes"].append([code("reduce_sum"), [6], [[0], 0]]),
            b["predict"].update(outputs=[7]),
        ),
        "bad_batch",
        "predict: an output must not be partial",
    ),
    (
        "one output of loss",
        lambda b: b["loss"].update(nodes=[[code("example_count"), [], []]], outputs=[4]),
        "bad_graph",
        "received 1",
    ),
    (
        "four outputs of loss",
        lambda b: b["loss"]["outputs"].append(b["loss"]["outputs"][2]),
        "bad_graph",
        "received 4",
    ),
    (
        "a loss for each example",
        lambda b: (b["loss"]["nodes"].pop(5), b["loss"].update(outputs=[8, 11])),
        "bad_graph",
        "",
    ),
    (
        "count for total",
        lambda b: b["loss"]["outputs"].reverse(),
        "bad_type",
        "loss: output 0 must be a partial scalar with 24 fraction bits",
    ),
    (
        "hits for count",
        lambda b: b["loss"].update(outputs=[b["loss"]["outputs"][i] for i in (0, 2, 1)]),
        "bad_graph",
        "loss: output 1 must be an example_count",
    ),
    (
        "a whole value in loss",
        lambda b: b["loss"]["outputs"].__setitem__(2, 3),
        "bad_graph",
        "no result of it is used",
    ),
    # grad
    ("no segments", put("grad", []), "bad_graph", "grad: at least one segment, received 0"),
    (
        "a segment without reduce",
        put("grad", 0, "reduce", []),
        "bad_graph",
        "grad, segment 0: reduces nothing",
    ),
    (
        "a segment with outputs",
        lambda b: b["grad"][0].update(outputs=b["grad"][0].pop("reduce")),
        "bad_encoding",
        "unexpected map key",
    ),
    (
        "a reduce of a batched value",
        put("grad", 0, "reduce", 0, 7),
        "bad_batch",
        "grad, segment 0: value 7 is not partial",
    ),
    (
        "a reduce of a parameter",
        put("grad", 1, "reduce", 1, 2),
        "bad_batch",
        "grad, segment 1: value 2 is not partial",
    ),
    (
        "a reduce of a total",
        put("grad", 1, "reduce", 1, 10),
        "bad_batch",
        "value 10 is not partial",
    ),
    (
        "a partial value in a node",
        put("grad", 1, "nodes", 0, 1, [8, 11]),
        "bad_batch",
        "divide_by_count, node 6: ",
    ),
    # apply
    (
        "an output too few",
        lambda b: b["apply"]["outputs"].pop(),
        "bad_graph",
        "apply: one output per parameter and state tensor (3), received 2",
    ),
    ("an output too many", lambda b: b["apply"]["outputs"].append(0), "bad_graph", "received 4"),
    (
        "outputs in another order",
        lambda b: b["apply"].update(outputs=[9, 7, 8]),
        "bad_type",
        "apply: output 0 must have the type of the tensor it replaces",
    ),
    (
        "an output of another format",
        lambda b: (put("state", 0, 1, 26)(b), b["apply"].update(outputs=[8, 9, 7])),
        "bad_type",
        "apply: output 0 must have the type",
    ),
    (
        "an output of another type",
        put("apply", "outputs", [5, 9, 8]),
        "bad_type",
        "apply: output 0 must have the type",
    ),
    (
        "a total for a parameter",
        lambda b: b["apply"]["outputs"].__setitem__(1, 6),
        "bad_graph",
        "node 1 (sgd): no result",
    ),
]


@pytest.mark.parametrize(
    ("change", "name", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_invalid_program(change: Change, name: str, message: str) -> None:
    refused(changed(change), name, message)


def test_invalid_encoding() -> None:
    data = cbor.encode(inference())
    assert refusal(b"").name == "bad_encoding"
    assert refusal(data + b"\x00").name == "bad_encoding"
    for end in range(len(data)):
        assert refusal(data[:end]).name == "bad_encoding"
    # 16 in one byte more than it needs, a list of unknown length, a float, a tag.
    for good, bad in (
        (b"\x68semantic", b"\x78\x08semantic"),
        (b"\x08isemantics\x01", b"\x18\x08isemantics\x01"),
        (b"\x81\x03imax_batch", b"\x9f\x03\xffimax_batch"),
        (b"isemantics\x01", b"isemantics\xf9\x3c\x00"),
        (b"isemantics\x01", b"isemantics\xc1\x01"),
    ):
        if good in data:
            assert refusal(data.replace(good, bad)).name == "bad_encoding"
    swapped = data.replace(b"inputs", b"labelz").replace(b"labels", b"inputs")
    assert refusal(swapped.replace(b"labelz", b"labels")).name == "bad_encoding"


def test_invalid_map_is_not_canonical() -> None:
    def head(key: str) -> bytes:
        return bytes([0x60 + len(key)]) + key.encode()

    body = inference()
    keys = sorted(body, key=lambda k: (len(k), k))
    parts = {k: head(k) + cbor.encode(body[k]) for k in keys}
    canonical = b"\xa7" + b"".join(parts[k] for k in keys)
    assert canonical == cbor.encode(body)
    for other in (keys[::-1], [*keys[:-2], keys[-1], keys[-2]], [*keys[:-2], keys[-3], keys[-1]]):
        assert refusal(b"\xa7" + b"".join(parts[k] for k in other)).name == "bad_encoding"
