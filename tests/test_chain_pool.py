"""The state machine behind an orderer: what its pool keeps and which blocks it accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import ledger
from chain.blocks import read_block
from chain.codec import decode_value, encode, encode_value
from chain.confirmation import Dispute
from chain.context import Execution, Inspection
from chain.envelope import read, seal
from chain.genesis import begin, identity
from chain.inference import RequestInference
from chain.jobs import StartJob
from chain.keys import Key
from chain.machine import KINDS, apply_block, known_gas
from chain.machine_application import MAX_AHEAD, POOL_BLOCKS, MachineApplication
from chain.refusal import Code, Refused
from chain.trainers import Commit
from chain.transfers import Transfer
from tests.chain_world import (
    EXECUTION,
    OWNER,
    PARAMETERS,
    RICH,
    START,
    TRAINERS,
    World,
    genesis,
    referee,
)
from tests.chain_world import inspect as inspect_program

QUIET = genesis(terms=None)
CHAIN = identity(QUIET)
PAY = Transfer(OWNER.account, 5)


def pool() -> MachineApplication:
    return MachineApplication(begin(QUIET, EXECUTION), EXECUTION)


def pay(nonce: int, fee: int = 100, key: Key = RICH) -> bytes:
    return seal(key, CHAIN, nonce, fee, PAY)


def damaged(data: bytes) -> bytes:
    value = decode_value(data)
    return encode_value([*value[:3], bytes(64)])


def grow(application: MachineApplication, blocks: int = 1, empty: bool = False) -> None:
    for _ in range(blocks):
        height = application.state.height + 1
        block = application.block(height, 0, tuple(range(len(application.state.schedule.previous))))
        made = replace(block, transactions=()) if empty else block
        application.apply(height, encode(made))


# --- the pool ----------------------------------------------------------------------------------


@pytest.mark.parametrize("nonce", [0, 1, MAX_AHEAD])
def test_a_later_nonce_is_checked_like_the_next(nonce: int) -> None:
    application = pool()
    for data, rule in (
        (damaged(pay(nonce)), "D11"),
        (pay(nonce, fee=1), "D13"),
        (pay(nonce, fee=1_000_001), "D14"),
        (seal(RICH, "test", nonce, 100, PAY), "D11"),
        (pay(nonce, key=Key.derived("pauper")), "D14"),
    ):
        with pytest.raises(Refused, match=rule):
            application.submit(data)
    assert not application.pool
    name = application.submit(pay(nonce))
    assert application.submit(pay(nonce)) == name
    assert list(application.pool.values()) == [pay(nonce)]


def test_a_sender_has_so_many_places_one_per_nonce_and_pays_for_all() -> None:
    application = pool()
    with pytest.raises(Refused, match="D12"):
        application.submit(pay(MAX_AHEAD + 1))
    application.submit(pay(1, fee=600_000))
    with pytest.raises(Refused, match="D17"):
        application.submit(pay(1, fee=600_001))
    with pytest.raises(Refused, match="D14"):
        application.submit(pay(0, fee=400_001))
    application.submit(pay(0, fee=400_000))


def test_a_full_pool_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from chain import machine_application

    application = pool()
    monkeypatch.setattr(machine_application, "MAX_LATER", 1)
    application.submit(pay(3))
    with pytest.raises(Refused, match="D17"):
        application.submit(pay(2))
    application.submit(pay(0))
    monkeypatch.setattr(machine_application, "MAX_POOL", 2)
    with pytest.raises(Refused, match="D17"):
        application.submit(pay(0, key=OWNER))
    monkeypatch.setattr(machine_application, "MAX_POOL", 9)
    monkeypatch.setattr(machine_application, "MAX_POOL_BYTES", 3 * len(pay(0)) - 1)
    with pytest.raises(Refused, match="D17"):
        application.submit(pay(0, key=OWNER))


def test_what_waits_comes_in_the_order_of_nonces_and_leaves_with_its_block() -> None:
    application = pool()
    sent = [application.submit(pay(nonce)) for nonce in (2, 0, 4, 1)]
    application.submit(pay(0, key=OWNER))
    chosen = application.selected()
    assert chosen == (pay(0), pay(1), pay(2), pay(0, key=OWNER))
    grow(application)
    assert all(r.code == Code.OK for r in application.receipts)
    assert list(application.pool) == [sent[2]]
    application.submit(pay(3))
    assert application.selected() == (pay(3), pay(4))


def test_what_nobody_takes_or_can_pay_leaves_the_pool() -> None:
    application = pool()
    application.submit(pay(1))
    grow(application, POOL_BLOCKS)
    assert application.pool
    grow(application)
    assert not application.pool and application._bytes == 0
    application.submit(pay(0, fee=300_000))
    application.submit(pay(1, fee=700_000))
    spent = ledger.move(application.state, RICH.account, OWNER.account, 1)
    application.state = spent
    grow(application, empty=True)
    assert list(application.pool.values()) == [pay(0, fee=300_000)]


def test_a_selection_keeps_the_limits_of_a_block() -> None:
    size = len(pay(0))
    gas = PARAMETERS.gas_per_transaction + size
    for changes, most in (
        ({"max_block_gas": 3 * gas}, 3),
        ({"max_block_transactions": 2}, 2),
        ({"max_block_bytes": (1 << 16) + 4 * (size + 9), "max_transaction_bytes": 65_000}, 4),
    ):
        made = replace(QUIET, parameters=replace(PARAMETERS, **changes))  # type: ignore[arg-type]
        application = MachineApplication(begin(made, EXECUTION), EXECUTION)
        for nonce in range(6):
            application.submit(seal(RICH, identity(made), nonce, 100, PAY))
        assert len(application.selected()) == most
        assert application.validate(1, 0, application.propose(1, 0, ()), (), fresh=True) == ""


# --- blocks ------------------------------------------------------------------------------------


def test_a_block_has_so_many_transactions() -> None:
    made = replace(QUIET, parameters=replace(PARAMETERS, max_block_transactions=2))
    world = World(made)
    with pytest.raises(Refused, match="D70"):
        apply_block(world.state, world.block(transactions=(b"",) * 3), EXECUTION)
    world.step(transactions=(b"",) * 2)


def test_what_is_not_admitted_uses_gas_too_and_what_is_beyond_it_is_not_read() -> None:
    made = replace(QUIET, parameters=replace(PARAMETERS, max_block_gas=3_500))
    world = World(made)
    junk = b"\0" * 400
    world.waiting = [junk, junk]
    world.send(RICH, PAY)
    receipts = world.step()
    assert [r.code for r in receipts] == [Code.MALFORMED, Code.MALFORMED, Code.GAS]
    assert [r.gas for r in receipts] == [1_400, 1_400, 0]
    assert world.receipts[-1].gas == 2_800
    assert world.balance(RICH) == 1_000_000


class Counting:
    """A core that counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, program: bytes) -> Inspection:
        self.calls += 1
        return replace(inspect_program(program), multiply_adds=500_000_000)


BYTES = PARAMETERS.gas_per_transaction + len(seal(RICH, CHAIN, 0, 9, START))
BLOCKS = START.terms.rounds * START.terms.timing.total * PARAMETERS.gas_per_job_block
KNOWN = -(-(BYTES + BLOCKS) // 1_000)
WHOLE = -(-(BYTES + BLOCKS + 500) // 1_000)
assert WHOLE > KNOWN


@pytest.mark.parametrize(
    ("fee", "code", "paid", "inspected"),
    [
        (KNOWN - 1, Code.FEE, 0, False),
        (KNOWN, Code.FEE, KNOWN, True),
        (WHOLE - 1, Code.FEE, WHOLE - 1, True),
        (WHOLE, Code.OK, WHOLE, True),
    ],
)
def test_a_program_is_inspected_for_who_pays_for_its_bytes_and_blocks(
    fee: int, code: Code, paid: int, inspected: bool
) -> None:
    counting = Counting()
    state = begin(QUIET, EXECUTION)
    block = World(QUIET).block(transactions=(seal(RICH, CHAIN, 0, fee, START),))
    after, receipts = apply_block(state, block, Execution(counting, referee))
    assert receipts[0].code == code
    assert (counting.calls > 0) == inspected
    left = 1_000_000 - paid - (START.deposit if code == Code.OK else 0)
    assert ledger.balance(after, RICH.account) == left
    assert ledger.account_of(after, RICH.account).nonce == (1 if paid else 0)


def test_a_place_among_the_jobs_is_paid_for_every_block() -> None:
    """Two hundred and fifty-six jobs of a million rounds would keep everyone else out."""
    endless = replace(START.terms, rounds=1 << 20)
    application = pool()
    with pytest.raises(Refused, match="D13"):
        application.submit(seal(RICH, CHAIN, 0, 100_000, replace(START, terms=endless)))
    world = World(QUIET)
    receipt = world.do(RICH, replace(START, terms=replace(START.terms, rounds=30)))
    assert receipt.gas > 30 * START.terms.timing.total * PARAMETERS.gas_per_job_block


@pytest.mark.parametrize("seats", [2, 4])
def test_gas_counts_the_work_of_every_seat(seats: int) -> None:
    terms = replace(START.terms, verifiers=seats, confirmers=3)
    dear = replace(PARAMETERS, multiply_adds_per_gas=1, gas_per_token=1_000_000)
    world = World(genesis(dear, terms=terms))
    sent = {
        seats + 3: Commit(world.job_name, 0, b"c" * 32),
        1 + PARAMETERS.task_confirmers: RequestInference(world.job_name, b"i" * 32, 5),
        1: Dispute(world.job_name, 0, 0, b"look"),
    }
    for times, action in sent.items():
        data = seal(RICH, world.chain, 0, 1 << 40, action)
        found = read(data, len(data), KINDS)
        gas = known_gas(world.state, found, len(data))
        assert gas == 1_000 + len(data) + times * 5_000_000


def test_the_pool_inspects_nothing() -> None:
    counting = Counting()
    application = MachineApplication(begin(QUIET, EXECUTION), Execution(counting, referee))
    application.submit(seal(RICH, CHAIN, 0, 100, START))
    noise = StartJob(b"noise", START.parameters, START.folds, 1, START.terms)
    application.submit(seal(TRAINERS[0], CHAIN, 0, 100, noise))
    assert counting.calls == 0


# --- rounds ------------------------------------------------------------------------------------


def test_a_block_of_an_earlier_round_is_accepted_only_with_its_proof() -> None:
    """Else a proposer could propose the block that a failed round left, and hide whose turn was
    missed."""
    application = MachineApplication(World(QUIET).state, EXECUTION)
    old = application.propose(1, 0, ())
    assert application.validate(1, 0, old, (), fresh=True) == ""
    assert application.validate(1, 2, old, ()) == ""  # proposed again, prevotes back it
    assert "D44" in application.validate(1, 2, old, (), fresh=True)
    new = application.propose(1, 2, ())
    assert read_block(new, 1 << 20).round == 2
    assert application.validate(1, 2, new, (), fresh=True) == ""
    assert "D74" in application.validate(1, 1, new, ())
    assert encode(application.block(1, 2, ())) == new
