"""The state machine as a whole: what is refused, that tokens are conserved, that the same blocks
make the same state everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chain import confirmation, inference, jobs, ledger, staking
from chain.blocks import Block, block_hash, read_block
from chain.codec import decode, decode_value, encode, encode_value
from chain.context import Context
from chain.envelope import kind_of, seal
from chain.evidence import Misbehaviour
from chain.genesis import identity
from chain.keys import Key
from chain.machine import HANDLERS, KINDS, apply_block
from chain.records import ZERO
from chain.refusal import Code, Refused
from chain.state import State, leaves, root, subchain_root
from chain.transfers import Transfer
from tests import chain_world
from tests.chain_world import (
    EXECUTION,
    FOLDS,
    OWNER,
    PARAMETERS,
    RICH,
    START,
    TERMS,
    TRAINERS,
    WITNESSES,
    World,
    genesis,
    parameters_with,
)

QUIET = genesis(terms=None)
SIGNED = identity(QUIET)
PAY = Transfer(OWNER.account, 5)


def refused(data: bytes, made: Any = QUIET) -> tuple[Code, str]:
    """The code and rule of a transaction, after a check that it changed nothing at all."""
    with_it, without = World(made), World(made)
    with_it.waiting.append(data)
    (receipt,) = with_it.step()
    without.step()
    tables = [leaves(w.state)[1:] for w in (with_it, without)]
    assert tables[0] == tables[1]
    return receipt.code, receipt.rule


def parts(**changes: Any) -> list[Any]:
    """A transaction as a list that can be damaged and signed again."""
    header = [RICH.public, changes.get("nonce", 0), changes.get("fee", 100)]
    return [changes.get("header", header), "transfer", changes.get("body", [OWNER.account, 5])]


def signed(body: list[Any], chain: str = SIGNED) -> bytes:
    return encode_value([*body, RICH.sign("transaction", chain, encode_value(body))])


def test_undamaged_it_is_accepted() -> None:
    assert signed(parts()) == seal(RICH, SIGNED, 0, 100, PAY)
    assert refused_code(signed(parts())) == Code.OK


def refused_code(data: bytes) -> Code:
    world = World(QUIET)
    world.waiting.append(data)
    return world.step()[0].code


GOOD = signed(parts())
MAP = encode_value({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("data", "code", "rule"),
    [
        (b"", Code.MALFORMED, "D10"),
        (GOOD[:-1], Code.MALFORMED, "D10"),
        (GOOD + b"\0", Code.MALFORMED, "D10"),
        (b"\x98\x04" + GOOD[1:], Code.MALFORMED, "D10"),  # a longer head for the same array
        (b"\x9f" + GOOD[1:] + b"\xff", Code.MALFORMED, "D10"),
        (MAP[:1] + MAP[4:7] + MAP[1:4], Code.MALFORMED, "D10"),  # unsorted keys
        (b"\xa2" + MAP[1:4] * 2, Code.MALFORMED, "D10"),
        (encode_value(1), Code.MALFORMED, "D10"),
        (signed([*parts(), 1]), Code.MALFORMED, "D10"),
        (signed(["x", *parts()[1:]]), Code.MALFORMED, "D10"),
        (signed([parts()[0], "no-such", []]), Code.MALFORMED, "D10"),
        (signed([parts()[0], ["transfer"], []]), Code.MALFORMED, "D10"),
        (signed(parts(body=[OWNER.account, -1])), Code.MALFORMED, "D10"),
        (signed(parts(body=[OWNER.account, 1 << 63])), Code.MALFORMED, "D10"),
        (signed(parts(body=[OWNER.account[:-1], 1])), Code.MALFORMED, "D10"),
        (signed(parts(body=[OWNER.account, True])), Code.MALFORMED, "D10"),
        (signed(parts(body=[OWNER.account, 1, 1])), Code.MALFORMED, "D10"),
        (encode_value([*parts(), b"short"]), Code.MALFORMED, "D10"),
        (b"\0" * (PARAMETERS.max_transaction_bytes + 1), Code.OVERSIZED, "D10"),
        (encode_value([*parts(), bytes(64)]), Code.BAD_SIGNATURE, "D11"),
        (signed(parts(), "other"), Code.BAD_SIGNATURE, "D11"),
        (signed(parts(nonce=1)), Code.NONCE, "D12"),
        (signed(parts(fee=1)), Code.FEE, "D13"),
        (signed(parts(fee=1_000_001)), Code.FUNDS, "D14"),
    ],
)
def test_what_is_not_admitted_changes_nothing(data: bytes, code: Code, rule: str) -> None:
    assert refused(data) == (code, rule)


def test_replay_is_refused() -> None:
    world = World(QUIET)
    data = world.send(RICH, PAY)
    world.waiting.append(data)
    assert [r.code for r in world.step()] == [Code.OK, Code.NONCE]
    world.waiting.append(data)
    assert [r.code for r in world.step()] == [Code.NONCE]
    assert world.balance(OWNER) == 1_000_005


def test_signature_of_another_payload_is_refused() -> None:
    value = decode_value(GOOD)
    value[2][1] = 6
    assert refused(encode_value(value)) == (Code.BAD_SIGNATURE, "D11")


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    world = World(QUIET)
    world.waiting.append(data)
    assert world.step()[0].code == Code.MALFORMED


@settings(max_examples=200)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_damage_is_refused(at: int, flip: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= flip
    unsigned = (Code.BAD_SIGNATURE, Code.NONCE, Code.FEE, Code.FUNDS)
    assert refused_code(bytes(data)) in (Code.MALFORMED, *unsigned)


def test_every_kind_survives_the_wire() -> None:
    assert len(KINDS) == len(HANDLERS) >= 24
    assert kind_of(confirmation.Dispute) == "dispute"
    assert kind_of(inference.RequestInference) == "request-inference"
    assert decode(jobs.StartJob, encode(START)) == START


def test_gas_is_bytes_and_exact_work_and_a_block_has_so_much() -> None:
    few = replace(PARAMETERS, max_block_gas=2_400)
    world = World(replace(QUIET, parameters=few))
    for _ in range(3):
        world.send(RICH, PAY)
    found = world.step()
    assert [r.code for r in found] == [Code.OK, Code.OK, Code.GAS]
    assert found[0].gas == 1_000 + len(seal(RICH, SIGNED, 0, 100, PAY))
    assert ledger.account_of(world.state, RICH.account).nonce == 2
    world = World(QUIET)
    world.send(RICH, START)
    (receipt,) = world.step()
    blocks = TERMS.rounds * TERMS.timing.total * PARAMETERS.gas_per_job_block
    assert receipt.gas == 1_000 + len(seal(RICH, SIGNED, 0, 100, START)) + blocks + 5


@pytest.mark.parametrize(
    ("action", "code", "rule"),
    [
        (replace(START, program=b"noise"), Code.MALFORMED, "L4"),
        (replace(START, deposit=0), Code.LIMIT, "L5"),
        (replace(START, terms=replace(TERMS, margin=0)), Code.LIMIT, "L5"),
        (replace(START, terms=replace(TERMS, verifiers=129)), Code.LIMIT, "L5"),
        (
            replace(START, terms=replace(TERMS, timing=replace(TERMS.timing, confirm=60))),
            Code.LIMIT,
            "D61",
        ),
        *(
            (
                replace(START, terms=replace(TERMS, timing=replace(TERMS.timing, **{phase: 2}))),
                Code.LIMIT,
                "L5",
            )
            for phase in TERMS.timing.__dataclass_fields__
        ),
        (replace(START, deposit=2_000_000), Code.FUNDS, "D2"),
        (jobs.StopJob(b"j" * 32), Code.UNKNOWN, "L3"),
        (inference.RequestInference(ZERO, ZERO, 1), Code.UNKNOWN, "D80"),
        (staking.Withdraw(ZERO), Code.UNKNOWN, "D23"),
        (staking.Switch(ZERO, ZERO), Code.UNKNOWN, "D21"),
    ],
)
def test_refused_actions_cost_their_fee_and_nothing_else(
    action: Any, code: Code, rule: str
) -> None:
    world = World(QUIET)
    receipt = world.do(RICH, action)
    assert (receipt.code, receipt.rule) == (code, rule)
    assert world.balance(RICH) == 1_000_000 - 100
    assert world.state.supply == World(QUIET).state.supply + 100


def test_owner_alone_stops_its_job_after_the_open_round() -> None:
    world = World()
    assert world.do(RICH, jobs.StopJob(world.job_name)).rule == "L7"
    world.must(OWNER, jobs.StopJob(world.job_name))
    world.finish_round()
    assert world.job_name not in world.state.rounds
    assert world.balance(OWNER) == 1_000_000 - 100
    assert world.do(OWNER, jobs.StopJob(world.job_name)).rule == "L3"


# --- blocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "rule"),
    [
        ({"chain": "other"}, Code.WRONG_CHAIN, "D72"),
        ({"height": 4}, Code.BAD_BLOCK, "D72"),
        ({"parent": ZERO}, Code.BAD_BLOCK, "D72"),
        ({"state": ZERO}, Code.BAD_BLOCK, "D73"),
        ({"proposer": RICH.account}, Code.BAD_BLOCK, "D74"),
        ({"signed": (RICH.account,)}, Code.BAD_BLOCK, "D75"),
        ({"signed": tuple(sorted((k.account for k in WITNESSES), reverse=True))}, None, "D75"),
        ({"signed": (WITNESSES[0].account,) * 2}, Code.BAD_BLOCK, "D75"),
    ],
)
def test_block_that_does_not_follow_is_refused(
    changes: dict[str, Any], code: Code | None, rule: str
) -> None:
    world = World(QUIET)
    world.until(2)
    before = root(world.state)
    with pytest.raises(Refused) as caught:
        apply_block(world.state, world.block(**changes), EXECUTION)
    assert (caught.value.code, caught.value.rule) == (code or Code.BAD_BLOCK, rule)
    assert root(world.state) == before


def test_blocks_survive_the_wire_and_every_field_is_in_the_hash() -> None:
    world = World(QUIET)
    world.send(RICH, PAY)
    world.until(2)
    block = world.block(transactions=(GOOD,), misbehaviour=(Misbehaviour(ZERO, 1),))
    assert read_block(encode(block), 10_000) == block
    others = [
        replace(block, **{name: value})
        for name, value in {
            "chain": "x",
            "height": 9,
            "parent": ZERO,
            "state": ZERO,
            "proposer": ZERO,
            "round": 1,
            "signed": (),
            "misbehaviour": (),
            "transactions": (),
        }.items()
    ]
    assert len({block_hash(b) for b in (block, *others)}) == 1 + len(Block.__dataclass_fields__)
    for data, code in ((encode(block)[:-1], Code.MALFORMED), (b"\0" * 10_001, Code.OVERSIZED)):
        with pytest.raises(Refused) as caught:
            read_block(data, 10_000)
        assert (caught.value.code, caught.value.rule) == (code, "D70")


def test_old_states_stay_as_they_were() -> None:
    world = World()
    first, name = world.state, root(world.state)
    world.to_challenge({TRAINERS[0]: parameters_with(500)})
    assert root(first) == name
    replayed = first
    for block in world.blocks:
        replayed, _ = apply_block(replayed, block, EXECUTION)
    assert root(replayed) == root(world.state)


def test_subchain_has_its_own_root() -> None:
    world = World()
    before = subchain_root(world.state, world.job_name)
    world.must(RICH, PAY)
    assert subchain_root(world.state, world.job_name) == before
    world.commit(TRAINERS[0], parameters_with(1))
    world.step()
    assert subchain_root(world.state, world.job_name) != before


def scenario() -> str:
    """A round, payments, an equivocation; the final root."""
    world = World()
    world.send(RICH, staking.Delegate(WITNESSES[0].account, 5_000, WITNESSES[1].account))
    world.send(RICH, inference.RequestInference(world.job_name, FOLDS[0], 100))
    world.to_challenge({k: parameters_with(600 - i) for i, k in enumerate(TRAINERS)})
    world.finish_round()
    world.step(misbehaviour=(Misbehaviour(WITNESSES[2].account, 3),), round=2)
    return root(world.state).hex()


ROOT = "93772a51c30eb47d6499cd92feb5b0b98ba83b553b63d0c55ef5640cd42af203"
"""The root of :func:`scenario`: a change of it is a change of the chain's meaning."""


def test_root_is_the_same_under_every_hash_seed() -> None:
    assert scenario() == ROOT
    top = Path(chain_world.__file__).parents[1]
    script = "from tests.test_chain_machine import scenario; print(scenario())"
    for seed in ("1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(top)}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=top,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == ROOT


# --- a naive ledger beside it ------------------------------------------------------------------


class NaiveLedger(RuleBasedStateMachine):
    """Random payments, votes and withdrawals against a dictionary of balances."""

    KEYS = [Key.derived("naive", i) for i in range(3)]

    @initialize()
    def begin(self) -> None:
        self.world = World(QUIET)
        for key in self.KEYS:
            state = ledger.mint(self.world.state, key.account, 10_000)
            self.world.state = state
        self.balances: Counter[bytes] = Counter({k.account: 10_000 for k in self.KEYS})
        self.claims: list[tuple[Key, bytes, int]] = []

    @rule(a=st.integers(0, 2), b=st.integers(0, 2), amount=st.integers(0, 12_000))
    def pay(self, a: int, b: int, amount: int) -> None:
        source, target = self.KEYS[a], self.KEYS[b]
        if self.balances[source.account] < 100:
            return
        receipt = self.world.do(source, Transfer(target.account, amount))
        self.balances[source.account] -= 100
        accepted = 0 < amount <= self.balances[source.account]
        assert (receipt.code == Code.OK) == accepted
        if accepted:
            self.balances[source.account] -= amount
            self.balances[target.account] += amount

    @rule(a=st.integers(0, 2), to=st.integers(0, 3), amount=st.integers(0, 5_000))
    def vote(self, a: int, to: int, amount: int) -> None:
        key = self.KEYS[a]
        if self.balances[key.account] < 100:
            return
        receipt = self.world.do(key, staking.Delegate(WITNESSES[to].account, amount, ZERO))
        self.balances[key.account] -= 100
        if receipt.code == Code.OK:
            # Whole shares only: less than the price of one stays.
            paid = self.balances[key.account] - self.world.balance(key)
            assert amount - 1 <= paid <= amount
            self.balances[key.account] -= paid
        else:
            assert amount > self.balances[key.account] or amount <= 1

    @rule(a=st.integers(0, 2), to=st.integers(0, 3), part=st.integers(1, 4))
    def take_back(self, a: int, to: int, part: int) -> None:
        key, name = self.KEYS[a], WITNESSES[to].account
        held = self.world.state.delegations.get(staking.delegation_key(key.account, name))
        if held is None or self.balances[key.account] < 100 or held.shares < part:
            return
        height = self.world.state.height + 1
        receipt = self.world.do(key, staking.Undelegate(name, held.shares // part))
        self.balances[key.account] -= 100
        if receipt.code == Code.OK:
            claim = staking.unbonding_key(key.account, name, height)
            self.claims.append((key, claim, receipt.notices[0].amount))

    @rule(wait=st.integers(0, 60))
    def collect(self, wait: int) -> None:
        if not self.claims or self.balances[self.claims[0][0].account] < 100:
            return
        self.world.until(self.world.state.height + wait)
        key, claim, amount = self.claims[0]
        found = self.world.state.unbondings.get(claim)
        assert found is not None
        receipt = self.world.do(key, staking.Withdraw(claim))
        self.balances[key.account] -= 100
        assert (receipt.code == Code.OK) == (self.world.state.height >= found.matures)
        if receipt.code == Code.OK:
            self.claims.pop(0)
            # Pools round down: at most one token of each claim becomes dust.
            got = self.world.balance(key) - self.balances[key.account]
            assert amount - 1 <= got <= amount
            self.balances[key.account] += got

    @invariant()
    def balances_are_equal(self) -> None:
        if hasattr(self, "world"):
            for key in self.KEYS:
                assert self.world.balance(key) == self.balances[key.account]


NaiveLedger.TestCase.settings = settings(max_examples=25, stateful_step_count=25)
TestNaiveLedger = NaiveLedger.TestCase


def test_handlers_raise_nothing_but_refusals() -> None:
    """Every action with every field at its smallest is applied or refused by a rule."""
    world = World()
    for kind in HANDLERS:
        if kind in (jobs.StartJob,):
            continue
        action = smallest(kind)
        context = Context(EXECUTION, 1, ZERO, RICH.account, RICH.public)
        try:
            made = HANDLERS[kind](world.state, context, action)
        except Refused as error:
            assert error.rule
        else:
            assert isinstance(made, State)


def smallest(kind: type) -> Any:
    """A record of zeros."""
    from chain.evidence import DoubleStatement, DoubleVote
    from chain.votes import SignedVote, Vote, VoteKind

    if kind is DoubleVote:
        vote = SignedVote(ZERO, Vote(VoteKind.PREVOTE, 0, 0, ZERO), bytes(64))
        return DoubleVote(vote, vote)
    if kind is DoubleStatement:
        return DoubleStatement(b"\0", b"\0")
    values: dict[str, Any] = {
        "int": 0,
        "bytes": ZERO,
        "Digest": ZERO,
        "Amount": 0,
        "Count": 0,
        "PerMille": 0,
    }
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    made = {
        n: values.get(str(f.type), (chain_world.truth(bytes(32), b"f"),)) for n, f in fields.items()
    }
    if "opening" in made:
        made["opening"] = b"o"
    return kind(**made)
