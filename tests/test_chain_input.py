"""Every kind of transaction, damaged in every way: refused with a code, the state untouched."""

from __future__ import annotations

import dataclasses
import types
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chain import beacon, confirmation, ledger, trainers, verifiers
from chain.codec import Range, Size, encode_value, to_value
from chain.envelope import read, seal
from chain.keys import Key
from chain.machine import KINDS, apply_transaction, known_gas, least_fee
from chain.records import Phase
from chain.refusal import Code
from chain.state import State, leaves
from tests.chain_world import (
    ALL,
    BY_ACCOUNT,
    CHAIN,
    EXECUTION,
    FOLDS,
    OWNER,
    PARAMETERS,
    RICH,
    SALT,
    TRAINERS,
    WITNESSES,
    World,
    check_invariants,
    genesis,
    parameters_with,
    secret_of,
    truth,
)

GAS = PARAMETERS.max_block_gas
FEE = 5_000
KIND_NAMES = sorted(KINDS)


@cache
def stages() -> tuple[State, ...]:
    """A quiet chain, and one in each phase of a round."""
    found = [World(genesis(terms=None)).state]
    world = World()
    candidates = {key: parameters_with(500 + i) for i, key in enumerate(TRAINERS)}
    found.append(world.state)
    for key, parameters in candidates.items():
        world.commit(key, parameters)
    world.commit_beacon()
    world.to(Phase.BEACON)
    found.append(world.state)
    for go in (world.to_reveal, world.to_attest, world.to_confirm, world.to_challenge):
        world = World()
        getattr(world, go.__name__)(candidates)
        found.append(world.state)
    world = World()
    world.to_attest(candidates)
    for key in world.verifiers:
        world.attest(key)
    world.to(Phase.ATTEST_REVEAL)
    found.append(world.state)
    return tuple(found)


@cache
def names() -> tuple[bytes, ...]:
    """Names that mean something: accounts, jobs, parameters, folds, purses of the chain."""
    jobs = [name for state in stages() for name, _ in state.jobs.items()]
    known = [key.account for key in ALL] + [key.public for key in ALL[:2]]
    return (*jobs, *known, *FOLDS, *ledger.MODULES, parameters_with(500), bytes(32))


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values that an annotation allows, the interesting ones among them."""
    origin = get_origin(kind)
    if origin is Annotated:
        base, limit = get_args(kind)
        if isinstance(limit, Range):
            low, high = limit.low, limit.high
            edges = [low, low + 1, min(low + 100, high), high - 1, high]
            return st.sampled_from(edges) | st.integers(low, min(high, low + 2_000))
        if isinstance(limit, Size):
            if base is bytes and limit.low == limit.high == 32:
                return st.sampled_from(names())
            if base is bytes:
                return st.binary(min_size=limit.low, max_size=min(limit.high, 80))
            if base is str:
                return st.text(max_size=8)
            (inner, _) = get_args(base)
            most = min(limit.high, 4)
            return st.lists(of(inner), min_size=limit.low, max_size=most).map(tuple)
    if origin is tuple:
        return st.lists(of(get_args(kind)[0]), max_size=3).map(tuple)
    if origin in (Union, types.UnionType):
        (inner,) = (part for part in get_args(kind) if part is not type(None))
        return st.none() | of(inner)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        fields = {f.name: of(hints[f.name]) for f in dataclasses.fields(kind)}
        return st.builds(kind, **fields)  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, int) and kind not in (int, bool):
        return st.sampled_from(list(kind))  # type: ignore[call-overload]
    return {bool: st.booleans(), int: st.integers(0, 9), bytes: st.binary(max_size=40)}[kind]


def apply(state: State, data: bytes) -> tuple[State, Any]:
    return apply_transaction(state, EXECUTION, data, state.height + 1, GAS)


def is_paid(state: State, data: bytes, fee: int = FEE) -> bool:
    """Whether the fee is what the known part of the work costs: jobs may ask for any number of
    rounds."""
    gas = known_gas(state, read(data, len(data), KINDS), len(data))
    return least_fee(state.parameters, gas) <= fee


def signed(state: State, body: list[Any]) -> bytes:
    """A body signed by RICH, whatever is in it."""
    return encode_value([*body, RICH.sign("transaction", state.identity, encode_value(body))])


def body_of(state: State, action: Any, kind: str) -> list[Any]:
    nonce = ledger.account_of(state, RICH.account).nonce
    return [[RICH.public, nonce, FEE], kind, to_value(action)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_whatever_it_says_it_is_done_or_costs_its_fee_and_nothing_else(
    kind: str, data: st.DataObject
) -> None:
    state = data.draw(st.sampled_from(stages()))
    sender = data.draw(st.sampled_from([RICH, OWNER, *TRAINERS]))
    action = data.draw(of(KINDS[kind]))
    nonce = ledger.account_of(state, sender.account).nonce
    sent = seal(sender, state.identity, nonce, FEE, action)
    after, receipt = apply(state, sent)
    if not is_paid(state, sent):
        assert (receipt.code, receipt.rule) == (Code.FEE, "D13")
        assert leaves(after) == leaves(state)
        return
    paid = ledger.move(state, sender.account, ledger.FEES, FEE)
    spent = replace(ledger.account_of(paid, sender.account), nonce=nonce + 1)
    paid = paid.but(accounts=paid.accounts.set(sender.account, spent))
    if receipt.code != Code.OK:
        assert receipt.rule
        assert leaves(after) == leaves(paid)
    purse = ledger.balance(after, ledger.FEES)
    assert purse == FEE
    check_invariants(ledger.move(after, ledger.FEES, ledger.DUST, purse))
    # Once more, and on another chain.
    again, second = apply(after, sent)
    assert (second.code, second.rule) == (Code.NONCE, "D12")
    assert leaves(again) == leaves(after)
    stray, third = apply(state, seal(sender, "another/chain", nonce, FEE, action))
    assert (third.code, third.rule) == (Code.BAD_SIGNATURE, "D11")
    assert leaves(stray) == leaves(state)


def wrong(kind: Any) -> st.SearchStrategy[Any]:
    """Values of the codec that an annotation does not allow."""
    origin = get_origin(kind)
    junk: list[Any] = [None, True, -1, 1 << 63, "text", [], {}, b"", b"x" * 33, [[[]]]]
    if origin is Annotated:
        base, limit = get_args(kind)
        if isinstance(limit, Range):
            junk = [None, True, limit.low - 1, limit.high + 1, "1", b"\1", [1]]
        elif base is bytes:
            junk = [None, 7, "text", [b""], bytes(limit.high + 1)]
            junk += [bytes(limit.low - 1)] if limit.low else []
        else:
            junk = [None, 7, b"", {}, "x"]
    elif dataclasses.is_dataclass(kind) or origin is tuple:
        junk = [None, 7, b"", {}, "x"]
    else:
        junk = [item for item in junk if type(item) is not kind]
    return st.sampled_from(junk)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_field_out_of_its_type_is_malformed(kind: str, data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(stages()))
    record = KINDS[kind]
    body = body_of(state, data.draw(of(record)), kind)
    hints = get_type_hints(record, include_extras=True)
    fields = [field.name for field in dataclasses.fields(record)]
    how = data.draw(st.sampled_from(["more", "map", "name", *(["less", "type"] if fields else [])]))
    if how == "more":
        body[2].append(data.draw(st.sampled_from([0, None, b"", []])))
    elif how == "less":
        del body[2][data.draw(st.integers(0, len(fields) - 1))]
    elif how == "map":
        body[2] = {str(i): item for i, item in enumerate(body[2])}
    elif how == "name":
        body[1] = data.draw(st.sampled_from([kind.upper(), kind + " ", "", 7, None]))
    else:
        at = data.draw(st.integers(0, len(fields) - 1))
        body[2][at] = data.draw(wrong(hints[fields[at]]))
    after, receipt = apply(state, signed(state, body))
    assert (receipt.code, receipt.rule) == (Code.MALFORMED, "D10")
    assert leaves(after) == leaves(state)


def long_head(data: bytes) -> bytes:
    """The outer array with its length in a byte more than it needs."""
    return bytes([0x98, data[0] & 31]) + data[1:]


def unsorted_map(data: bytes) -> bytes:
    """A map with its keys in the wrong order where the header was."""
    return data[:1] + b"\xa2\x61b\x01\x61a\x01" + data[1:]


DAMAGE = {
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "long head": long_head,
    "without end": lambda data: b"\x9f" + data[1:] + b"\xff",
    "tagged": lambda data: b"\xc1" + data,
    "unsorted": unsorted_map,
    "oversized": lambda data: data + bytes(PARAMETERS.max_transaction_bytes),
    "unsigned": lambda data: data[:-64] + bytes(64),
    "another's": lambda data: data.replace(RICH.public, OWNER.public),
}
EXPECTED = {
    "oversized": (Code.OVERSIZED, "D10"),
    "unsigned": (Code.BAD_SIGNATURE, "D11"),
    "another's": (Code.BAD_SIGNATURE, "D11"),
}


@settings(max_examples=8, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_bytes_that_are_not_canonical_or_not_signed_change_nothing(
    kind: str, data: st.DataObject
) -> None:
    state = data.draw(st.sampled_from(stages()))
    action = data.draw(of(KINDS[kind]))
    nonce = ledger.account_of(state, RICH.account).nonce
    fee = 100 * FEE  # a job of many rounds too
    whole = seal(RICH, state.identity, nonce, fee, action)
    assume(is_paid(state, whole, fee))
    for name, damage in DAMAGE.items():
        if name == "another's" and whole.count(RICH.public) > 1:
            continue
        after, receipt = apply(state, damage(whole))
        expected = EXPECTED.get(name, (Code.MALFORMED, "D10"))
        if name == "another's" and ledger.account_of(state, OWNER.account).nonce != nonce:
            expected = (Code.NONCE, "D12")
        assert (receipt.code, receipt.rule) == expected, name
        assert leaves(after) == leaves(state)


def test_the_stages_hold_every_phase() -> None:
    phases = {found.phase for state in stages() for found in state.rounds.values()}
    assert phases == set(Phase)


def messages_of(phase: Phase, state: State) -> list[tuple[Key, Any]]:
    """What honest parties say in a phase of the stages' round, each once."""
    ((job, found),) = state.rounds.items()
    secret = secret_of(WITNESSES[0], 0)
    entries = tuple(
        truth(p, FOLDS[found.fold])
        for p in (found.parent, *(c.parameters for c in found.candidates))
    )
    own = trainers.commitment(CHAIN, job, 0, RICH.account, parameters_with(1), SALT)
    made = beacon.commitment(CHAIN, job, 0, WITNESSES[0].account, secret)
    shown = trainers.Reveal(job, 0, parameters_with(500), SALT, 500 + FOLDS[found.fold][0])
    checkers = [BY_ACCOUNT[a.verifier] for a in found.attestations]
    attested = [
        verifiers.commitment(CHAIN, job, 0, key.account, entries, SALT) for key in checkers[:1]
    ]
    match phase:
        case Phase.COMMIT:
            said = [(RICH, trainers.Commit(job, 0, own))]
            return [*said, (WITNESSES[0], beacon.BeaconCommit(job, 0, made))]
        case Phase.BEACON:
            return [(WITNESSES[0], beacon.BeaconReveal(job, 0, secret))]
        case Phase.REVEAL:
            return [(TRAINERS[0], shown)]
        case Phase.ATTEST_COMMIT:
            return [(checkers[0], verifiers.AttestCommit(job, 0, attested[0]))]
        case Phase.ATTEST_REVEAL:
            return [(checkers[0], verifiers.AttestReveal(job, 0, entries, SALT))]
        case Phase.CONFIRM:
            confirmer = BY_ACCOUNT[found.confirmations[0].confirmer]
            return [(confirmer, confirmation.Confirm(job, 0, found.loss, found.trace))]
        case Phase.CHALLENGE:
            return [(RICH, confirmation.Dispute(job, 0, 1, b"look"))]


def with_field(action: Any, name: str, value: Any) -> Any:
    return replace(action, **{name: value})


@pytest.mark.parametrize("phase", list(Phase), ids=lambda phase: phase.name.lower())
def test_each_phase_takes_its_message_and_refuses_every_other_one(phase: Phase) -> None:
    """The honest message is done; of another round, another job, by a stranger, a second time or
    in any other phase it is refused with its code, and costs its fee alone."""
    state = next(s for s in stages() for r in s.rounds.values() if r.phase == phase)
    for key, action in messages_of(phase, state):
        nonce = ledger.account_of(state, key.account).nonce
        after, receipt = apply(state, seal(key, state.identity, nonce, FEE, action))
        assert (receipt.code, receipt.rule) == (Code.OK, "")
        tries = [
            (after, key, nonce + 1, action, None),
            (state, key, nonce, with_field(action, "round", 1), (Code.PHASE, "L11")),
            (state, key, nonce, with_field(action, "job", bytes(32)), (Code.UNKNOWN, "L3")),
        ]
        if phase not in (Phase.COMMIT, Phase.CHALLENGE) or isinstance(action, beacon.BeaconCommit):
            tries.append((state, OWNER, 0, action, None))  # owns the job, and has no seat
        for other in stages():
            for found in other.rounds.values():
                if found.phase != phase:
                    spent = ledger.account_of(other, key.account).nonce
                    tries.append((other, key, spent, action, (Code.PHASE, "L1")))
        if phase == Phase.CHALLENGE:
            tries.pop(0)  # who disputes twice pays two bonds
        for before, sender, spent, said, expected in tries:
            sent = seal(sender, before.identity, spent, FEE, said)
            left, refused = apply(before, sent)
            assert refused.code not in (Code.OK, Code.NONCE, Code.BAD_SIGNATURE, Code.FEE)
            assert refused.rule and (expected is None or (refused.code, refused.rule) == expected)
            paid = ledger.move(before, sender.account, ledger.FEES, FEE)
            account = ledger.account_of(paid, sender.account)
            paid = paid.but(
                accounts=paid.accounts.set(sender.account, replace(account, nonce=spent + 1))
            )
            assert leaves(left) == leaves(paid)
