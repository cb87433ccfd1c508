"""Claims: what a referee is shown, for every operator, and what it must not believe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from gvm import _core, cbor
from gvm.ops import OPERATORS
from gvm.trace.claim import LEAF, Claim, Known, Refused, find, make_claim, referee
from gvm.trace.element import terms_of
from gvm.trace.listing import Entry, read_descriptor
from gvm.trace.tree import CHUNK, SIZE, Slice, Tree
from tests.operator_suite import paint, reference
from tests.test_trace_referee import Seen, nodes, some
from tests.trace_claims import BEFORE, known_of, last_terms, node_of, step_of


def claims_of(name: str) -> Iterator[tuple[Claim, int]]:
    """Claims about elements of an operator's results, and what they are."""
    operator = OPERATORS[name]
    for case, attributes in nodes(operator):
        inputs = paint(case, "painted" if case.data is None else "given")
        outputs, _ = reference(operator, case, attributes, inputs)
        node, step = node_of(operator, case, attributes, BEFORE), step_of(case)
        known = known_of(node, inputs)
        for o, output in enumerate(outputs):
            for i in some(output.size):
                terms = last_terms(node, step, o, i)
                value = int(output.reshape(-1)[i])
                if terms is not None and terms[0] > 0:
                    value = terms_of(node, step, o, i, *terms, Seen(inputs))
                yield make_claim(known, step, node.outputs[o], i, terms), value


@pytest.mark.parametrize("name", OPERATORS)
def test_the_referee_finds_what_is(name: str) -> None:
    tried = 0
    for claim, value in claims_of(name):
        data = claim.encode()
        assert referee(data) == cbor.encode({"found": value})
        if tried % 8 == 0:  # the definitions themselves: test_trace_referee.py
            assert Claim.decode(data) == claim
            assert find(claim) == value
        tried += 1
    assert tried > 0


def claim_of(name: str, **arrays: Any) -> Claim:
    """A claim about the last element of the first case."""
    operator = OPERATORS[name]
    case, attributes = next(nodes(operator))
    node, step = node_of(operator, case, attributes, BEFORE), step_of(case)
    inputs = list(paint(case, "given"))
    for place, array in arrays.items():
        inputs[int(place[1:])] = array(inputs[int(place[1:])])
    known = known_of(node, inputs)
    terms = last_terms(node, step, 0, 0)
    return make_claim(known, step, node.outputs[0], 0, terms)


def both(claim: Claim) -> bytes:
    """What the referee finds, where the definitions of the operators find the same."""
    found: bytes | None = None
    try:
        found = cbor.encode({"found": find(Claim.decode(claim.encode()))})
    except Refused as refusal:
        with pytest.raises(Refused):
            referee(claim.encode())
        raise refusal
    assert referee(claim.encode()) == found
    return found


REFUSED = cbor.encode({"found": None})


def test_refused_operands_are_no_value() -> None:
    # A label outside of the classes: no execution goes on from it, so every claim is wrong.
    assert both(claim_of("argmax_correct")) != REFUSED
    assert both(claim_of("argmax_correct", _1=lambda y: y + 10_000)) == REFUSED
    # An index is looked at before what it finds.
    assert both(claim_of("gather", _1=lambda i: i + 10_000)) == REFUSED
    # A truth value that is neither; a count beyond its bound.
    assert both(claim_of("select", _0=lambda c: c + 2)) == REFUSED
    assert both(claim_of("sgd", _2=lambda n: n - 2 * n - 2**62 - 5)) == REFUSED


def spoilt(claim: Claim) -> Iterator[tuple[str, Claim]]:
    """Claims that prove less than they say."""
    node = 3
    yield "not a chunk of the desc", replace(claim, listing=bytes(32))
    yield "not those of the step", replace(claim, root=bytes(32))
    yield "not a chunk of the desc", replace(claim, count=claim.count + 1)
    yield "not a chunk of the desc", replace(claim, value=claim.value - 20)
    yield "not the descriptor", replace(claim, descriptor=claim.descriptor + b"\0")
    yield "not a chunk of the desc", replace(claim, described=Slice({}, claim.listing))
    yield "no others", replace(claim, values=Slice({}, claim.root))
    yield "operands are needed", replace(claim, operands=claim.operands[:-1])
    yield "operands are needed", replace(claim, operands=(*claim.operands, claim.operands[0]))
    yield "no such element", replace(claim, element=10**6)
    yield "terms", replace(claim, first=node, last=10**6)
    yield "terms", replace(claim, first=node, last=node - 1)
    first, *rest = claim.operands
    (index, chunk), *_ = first.chunks.items()
    changed = Slice({**first.chunks, index: bytes([chunk[0] ^ 1]) + chunk[1:]}, first.path)
    yield "not under its hash", replace(claim, operands=(changed, *rest))
    moved = Slice({index + 1: chunk}, first.path)
    yield "not under its hash", replace(claim, operands=(moved, *rest))
    yield "not under its hash", replace(claim, operands=(Slice(first.chunks, b"\0" * 32), *rest))


def test_what_is_not_proved_is_refused() -> None:
    claim = claim_of("matmul")
    for message, bad in spoilt(claim):
        with pytest.raises(Refused, match=message):
            both(bad)
    bodies = cbor.decode(claim.encode())
    assert isinstance(bodies, dict)
    for name in bodies:
        for wrong in (None, -1, [], b"", 2**56 if name == "step" else -2, True, {}):
            with pytest.raises(Refused, match=r"."):
                referee(cbor.encode(bodies | {name: wrong}))
            with pytest.raises(Refused, match=r"."):
                find(Claim.decode(cbor.encode(bodies | {name: wrong})))
        with pytest.raises(Refused, match="number of keys"):
            referee(cbor.encode({k: v for k, v in bodies.items() if k != name}))


def test_nothing_is_shown_that_is_not_read() -> None:
    # Rows of many chunks, of which an element reads one of each operand.
    operator = OPERATORS["add"]
    case, attributes = next((c, a) for c, a in nodes(operator) if -1 in c.inputs[0].shape)
    case = replace(case, local=2000, batch=2000, data=None)
    node, step = node_of(operator, case, attributes, BEFORE), step_of(case)
    known = known_of(node, paint(case, "painted"))
    claim = make_claim(known, step, node.outputs[0], 0)
    assert cbor.decode(both(claim))
    more = Tree(known.operands[node.inputs[0]])
    assert more.count > 1
    shown = replace(claim, operands=(more.prove([0, 1]), *claim.operands[1:]))
    with pytest.raises(Refused, match="not read"):
        both(shown)
    with pytest.raises(Refused, match="missing"):
        both(replace(claim, operands=(more.prove([1]), *claim.operands[1:])))
    tree = Tree(known.roots)
    with pytest.raises(Refused, match="no others"):
        both(replace(claim, values=tree.prove(range(tree.count))))


def test_a_leaf_has_few_terms() -> None:
    operator = OPERATORS["reduce_sum"]
    for case, attributes in nodes(operator):
        node, step = node_of(operator, case, attributes, BEFORE), step_of(case)
        terms = last_terms(node, step, 0, 0)
        if terms is None or terms[0] == 0:
            continue
        known = known_of(node, paint(case, "painted"))
        with pytest.raises(Refused, match=f"at most {LEAF}"):
            both(make_claim(known, step, node.outputs[0], 0))
        return
    raise AssertionError("there was no long sum")


def test_decoding_is_total() -> None:
    data = claim_of("relu").encode()
    rng = np.random.default_rng(3)
    for _ in range(400):
        bad = bytearray(data)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        verdicts = []
        for judge in (lambda d: cbor.encode({"found": find(Claim.decode(d))}), referee):
            try:
                verdicts.append(judge(bytes(bad)))
            except Refused:
                verdicts.append(b"")
        assert verdicts[0] == verdicts[1]
    for size in range(0, len(data), 97):
        with pytest.raises(Refused):
            referee(data[:size])


def damaged(body: Any, rng: np.random.Generator) -> Any:
    """The same canonical values with an integer changed, a list cut or an item repeated."""
    if isinstance(body, list) and body:
        i = int(rng.integers(len(body)))
        kind = int(rng.integers(12))
        if kind == 0:
            return body[:i] + body[i + 1 :]
        if kind == 1:
            return [*body[: i + 1], *body[i:]]
        return [*body[:i], damaged(body[i], rng), *body[i + 1 :]]
    if isinstance(body, bool):
        return not body
    if isinstance(body, int):
        near = (body + 1, body - 1, -body, 0, 1, 2, 3, 7, 2 * body, -1)
        return near[int(rng.integers(len(near)))]
    return body


def about_node(claim: Claim, descriptor: bytes, data: bytes) -> Claim | None:
    """A claim with the right hashes about any descriptor, all small operands being shown."""
    try:
        _, node = read_descriptor(descriptor)
    except ValueError:
        node = None
    inputs = () if node is None else node.inputs
    types = () if node is None else node.input_types
    count = claim.count
    sizes = [Entry("", 0, t).size(claim.batch) for t in types]
    if any(not 0 <= s <= 4 * CHUNK for s in sizes) or any(v >= count for v in inputs):
        return None
    operands = [(data * (s // len(data) + 1))[:s] for s in sizes]
    roots = bytearray(count * SIZE)
    for v, operand in zip(inputs, operands, strict=True):
        roots[v * SIZE : (v + 1) * SIZE] = _core.blake3(operand)
    listing = bytearray((count + 1) * SIZE)
    listing[claim.value * SIZE : (claim.value + 1) * SIZE] = _core.blake3(descriptor)
    known = Known(bytes(listing), {claim.value: descriptor}, bytes(roots), {})
    trees = [Tree(operand) for operand in operands]
    return replace(
        claim,
        root=_core.blake3(known.roots),
        listing=_core.blake3(known.listing),
        descriptor=descriptor,
        described=Tree(known.listing).prove([claim.value * SIZE // CHUNK]),
        values=Tree(known.roots).prove({v * SIZE // CHUNK for v in inputs}),
        operands=tuple(t.prove(range(t.count)) for t in trees),
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_hostile_nodes(name: str) -> None:
    # What a listing may say of a node is anything: library and definitions must agree on it.
    rng, judged = np.random.default_rng(OPERATORS[name].opcode), 0
    for claim, _ in islice(claims_of(name), 0, 20, 4):
        body: Any = cbor.decode(claim.descriptor)
        for tried in range(12):
            node = body if tried == 0 else damaged(body, rng)
            data = rng.integers(0, 3, 64, dtype=np.uint8).tobytes() if tried % 2 else bytes(8)
            made = about_node(claim, cbor.encode(node), data)
            if made is None:
                continue
            element = int(rng.integers(0, 3))
            for first, last in ((0, 0), (0, 1), (claim.first, claim.last)):
                judged += 1
                with suppress(Refused):
                    both(replace(made, element=element, first=first, last=last))
    assert judged > 0
