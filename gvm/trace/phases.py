"""The phases of a dispute: which moves may be made, and what follows from a pair of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm.trace import datum as data
from gvm.trace.claim import LEAF, Claim, Refused, check_described, decide, term_count
from gvm.trace.listing import BYTES, LITTLE, Entry, read_ends
from gvm.trace.tree import CHUNK, SIZE, Slice, chunk_count, chunk_value, descend, height, joined

if TYPE_CHECKING:
    from gvm.trace.game import Game

Pair = tuple[Any, Any]


# -- steps


def _check_steps(game: Game, party: int, body: Any) -> tuple[bytes, ...]:
    return _hashes(body, len(game.points()) - 1)


def _resolve_steps(game: Game, said: Pair) -> Game:
    points = game.points()
    claimed = [*zip(*said, strict=True), game.high_roots]
    i = next(i for i, (a, b) in enumerate(claimed) if a != b)
    low, root = (points[i - 1], claimed[i - 1][0]) if i else (game.low, game.low_root)
    game = replace(game, low=low, low_root=root, high=points[i], high_roots=claimed[i])
    return replace(game, phase="step") if game.high - game.low == 1 else game


# -- step


def _check_step(game: Game, party: int, body: Any) -> tuple[bytes, ...]:
    before, after, step = _hashes(body, 3)
    if game.header.root_of(game.low, before) != game.low_root:
        raise Refused("not the tensors of the state before the step")
    if game.header.root_of(game.high, after) != game.high_roots[party]:
        raise Refused("not the tensors of the state that was claimed")
    return before, after, step


def _resolve_step(game: Game, said: Pair) -> Game:
    (before, *mine), (_, *theirs) = said
    after, steps = zip(mine, theirs, strict=True)
    game = replace(game, before=before, after=after, steps=steps)
    if steps[0] != steps[1]:
        return _descend(game, "values", game.header.values * SIZE, steps)
    if after[0] == after[1]:
        return _ended(game, (False, False), "the parties do not differ")
    return _descend(game, "after", game.header.tensors * SIZE, after)


# -- below and chunk


def _descend(game: Game, what: str, size: int, roots: Pair) -> Game:
    row = height(chunk_count(size))
    game = replace(game, what=what, size=size, row=row, index=0, nodes=roots)
    return replace(game, phase="below" if row else "chunk")


def _check_below(game: Game, party: int, body: Any) -> bytes:
    count = chunk_count(game.size)
    under, which = descend(count, game.row, game.index)
    if not isinstance(body, bytes) or len(body) != SIZE * len(which):
        raise Refused(f"{len(which)} nodes are needed")
    if joined(body, game.row - under, game.row == height(count)) != game.nodes[party]:
        raise Refused("not the nodes below the one that was claimed")
    return body


def _resolve_below(game: Game, said: Pair) -> Game:
    under, which = descend(chunk_count(game.size), game.row, game.index)
    i = next(i for i in range(len(which)) if _node(said[0], i) != _node(said[1], i))
    game = replace(
        game,
        row=under,
        index=which[i],
        nodes=(_node(said[0], i), _node(said[1], i)),
    )
    return game if under else replace(game, phase="chunk")


def _node(values: bytes, i: int) -> bytes:
    return values[i * SIZE : (i + 1) * SIZE]


def _check_chunk(game: Game, party: int, body: Any) -> bytes:
    size = min(CHUNK, game.size - game.index * CHUNK)
    if not isinstance(body, bytes) or len(body) != size:
        raise Refused(f"{size} bytes are needed")
    if chunk_value(body, game.index, chunk_count(game.size)) != game.nodes[party]:
        raise Refused("not the chunk that was claimed")
    return body


def _resolve_chunk(game: Game, said: Pair) -> Game:
    if game.what == "tensor":
        return _element(game, said)
    i = next(i for i in range(len(said[0]) // SIZE) if _node(said[0], i) != _node(said[1], i))
    number = game.index * (CHUNK // SIZE) + i
    roots = _node(said[0], i), _node(said[1], i)
    if game.what == "values":
        return replace(game, phase="describe", value=number, roots=roots)
    # The step is agreed on, and a tensor of the next state is not its result.
    return replace(game, phase="open", element=number, roots=roots)


def _element(game: Game, said: Pair) -> Game:
    entry, node = game.described
    little = LITTLE[entry.type.dtype]
    a, b = (np.frombuffer(data, little) for data in said)
    i = int(np.flatnonzero(a != b)[0])
    element = game.index * (CHUNK // BYTES[entry.type.dtype]) + i
    game = replace(
        game, tile=game.index, element=element, claims=(int(a[i]), int(b[i])), phase="open"
    )
    if node is None:
        return game
    count = term_count(node, game.at, node.outputs.index(game.value), element)
    game = replace(game, first=0, last=count)
    return replace(game, phase="sums") if count > LEAF else game


# -- describe


def _check_describe(game: Game, party: int, body: Any) -> bytes:
    match body:
        case [bytes() as descriptor, shown]:
            _check_described(game, game.value, descriptor, Slice.decoded(shown))
            return descriptor
    raise Refused("a descriptor and its proof are needed")


def _check_described(game: Game, number: int, descriptor: bytes, shown: Slice) -> None:
    check_described(game.header.listing, game.header.values, number, descriptor, shown)


def _resolve_describe(game: Game, said: Pair) -> Game:
    game = replace(game, descriptor=said[0])
    entry, _ = game.described
    if entry.kind in ("parameter", "state"):
        return replace(game, phase="open")
    return _descend(game, "tensor", entry.size(game.at.batch), game.roots)


# -- sums


def _check_sums(game: Game, party: int, body: Any) -> tuple[int, ...]:
    parts = game.parts()
    if not isinstance(body, list) or len(body) != len(parts):
        raise Refused(f"{len(parts)} sums are needed")
    if not all(type(v) is int and -(2**63) <= v < 2**63 for v in body):
        raise Refused("sums are integers of 64 bits")
    if sum(body) != game.claims[party]:
        raise Refused("the sums do not add up to what was claimed")
    return tuple(body)


def _resolve_sums(game: Game, said: Pair) -> Game:
    i = next(i for i, (a, b) in enumerate(zip(*said, strict=True)) if a != b)
    first, last = game.parts()[i]
    game = replace(game, first=first, last=last, claims=(said[0][i], said[1][i]))
    return game if last - first > LEAF else replace(game, phase="open")


# -- open


def _check_open(game: Game, party: int, body: Any) -> tuple[Any, ...]:
    """What the referee finds, in a tuple."""
    if game.what == "after":
        return (_find_result(game, body),)
    entry, node = game.described
    if entry.kind in ("parameter", "state"):
        return (_find_given(game, entry, body),)
    if node is None:
        where = data.datum(game.header, entry, game.low, game.element)
        return (data.read_datum(game.header, where, entry.type.dtype, Slice.decoded(body)),)
    if not isinstance(body, bytes):
        raise Refused("a claim is needed")
    claim = Claim.decode(body)
    # What stands before the first value in which the steps differ is the same in both.
    if claim.about != game.disputed(party):
        raise Refused("a claim about something else")
    return (decide(body),)


def _find_result(game: Game, body: Any) -> bytes:
    """The hash of the value that is a tensor of the next state."""
    match body:
        case [bytes() as ends, shown, values]:
            _check_described(game, game.header.values, ends, Slice.decoded(shown))
            return _read_hash(
                Slice.decoded(values),
                game.steps[0],
                game.header.values,
                read_ends(ends)[game.element],
            )
    raise Refused("the results of the step and a hash are needed")


def _find_given(game: Game, entry: Entry, body: Any) -> bytes:
    """The hash of a tensor of the state before the step."""
    match body:
        case [int() as tensor, shown]:
            states = entry.kind == "state"
            if tensor != entry.index + (game.header.parameters if states else 0):
                raise Refused("not the tensor of the value")
            return _read_hash(Slice.decoded(shown), game.before, game.header.tensors, tensor)
    raise Refused("a tensor and its hash are needed")


def _read_hash(shown: Slice, root: bytes, count: int, number: int) -> bytes:
    found = shown.alone(root, count * SIZE, number * SIZE, SIZE)
    if found is None:
        raise Refused(f"not the hash of value {number} under its root")
    return found


def _resolve_open(game: Game, said: Pair) -> Game:
    ((found,), _) = said
    claims = game.claims if isinstance(found, int) or found is None else game.roots
    if found is None:
        return _ended(game, (True, True), "the operator refuses its operands")
    text = found.hex() if isinstance(found, bytes) else str(found)
    return _ended(game, (claims[0] != found, claims[1] != found), f"found {text}")


def _ended(game: Game, guilty: Pair, reason: str) -> Game:
    return replace(game, phase="over", guilty=guilty, reason=reason)


CHECKS: dict[str, Callable[[Game, int, Any], Any]] = {
    "steps": _check_steps,
    "step": _check_step,
    "below": _check_below,
    "chunk": _check_chunk,
    "describe": _check_describe,
    "sums": _check_sums,
    "open": _check_open,
}
RESOLVE: dict[str, Callable[[Game, Pair], Game]] = {
    "steps": _resolve_steps,
    "step": _resolve_step,
    "below": _resolve_below,
    "chunk": _resolve_chunk,
    "describe": _resolve_describe,
    "sums": _resolve_sums,
    "open": _resolve_open,
}


def _hashes(body: Any, count: int) -> tuple[bytes, ...]:
    right = isinstance(body, list) and len(body) == count
    if not right or not all(isinstance(h, bytes) and len(h) == SIZE for h in body):
        raise Refused(f"{count} hashes are needed")
    return tuple(body)
