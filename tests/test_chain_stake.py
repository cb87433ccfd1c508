"""Stake under attack: what is behind a seat answers for it, and no price of shares robs anyone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import ledger, slashing, staking
from chain.envelope import seal
from chain.evidence import DoubleVote
from chain.genesis import Grant, identity
from chain.keys import Key
from chain.records import ZERO, Validator
from chain.refusal import Code, Refused
from chain.state import root
from chain.transfers import Transfer
from chain.votes import Vote, VoteKind, sign_vote
from tests.chain_world import (
    OWNER,
    PARAMETERS,
    RICH,
    TRAINERS,
    WITNESSES,
    World,
    check_invariants,
    genesis,
)

QUIET = genesis(terms=None)
LIAR = WITNESSES[0]


def validator(world: World, key: Key) -> Validator:
    found = world.state.validators.get(key.account)
    assert found is not None
    return found


def double_vote(world: World, key: Key, height: int) -> DoubleVote:
    first, second = (
        sign_vote(key, world.chain, Vote(VoteKind.PREVOTE, height, 0, block * 32))
        for block in (b"a", b"b")
    )
    return DoubleVote(first, second)


def leave(world: World, key: Key, name: bytes) -> int:
    """Takes all of a vote back; returns the tokens that leave."""
    held = world.state.delegations.get(staking.delegation_key(key.account, name))
    assert held is not None
    receipt = world.do(key, staking.Undelegate(name, held.shares))
    assert receipt.code == Code.OK, receipt
    return receipt.notices[0].amount


# --- the price of shares -----------------------------------------------------------------------


def test_shares_have_a_bound_and_the_state_a_root_after_any_number_of_slashes() -> None:
    world = World(QUIET)
    name = LIAR.account
    refused = 0
    for _ in range(250):
        world.state = slashing.slash_validator(world.state, name, world.state.height, 500)
        amount = min(100_000, world.balance(RICH) - 1_000)
        receipt = world.do(RICH, staking.Delegate(name, max(amount, 1), ZERO))
        if receipt.code == Code.OK:
            world.state = ledger.mint(world.state, RICH.account, amount)
        else:
            refused += 1
            assert receipt.rule == "D22"
        assert validator(world, LIAR).shares <= staking.MAX_SHARES
    assert refused > 0
    assert len(root(world.state)) == 32


@pytest.mark.parametrize("others", [1, 19, 10**6])
def test_a_raised_price_takes_nothing_from_who_joins(others: int) -> None:
    """The holder of the last share pays itself fees until a share is dear; who joins pays for
    whole shares only."""
    world = World(QUIET)
    name = LIAR.account
    held = world.state.delegations.get(staking.delegation_key(name, name))
    assert held is not None
    world.must(LIAR, staking.Undelegate(name, held.shares - 1))
    raised = replace(validator(world, LIAR), tokens=300_000)
    more = 300_000 - validator(world, LIAR).tokens
    state = ledger.move(world.state, RICH.account, ledger.BONDED, more)
    world.state = state.but(validators=state.validators.set(name, raised))
    before = world.balance(OWNER)
    receipt = world.do(OWNER, staking.Delegate(name, 299_999, ZERO))
    assert (receipt.code, receipt.rule) == (Code.FUNDS, "D22")
    world.must(OWNER, staking.Delegate(name, 599_999, ZERO))
    mine = world.state.delegations.get(staking.delegation_key(OWNER.account, name))
    assert mine is not None
    worth = staking.tokens_of(validator(world, LIAR), mine.shares)
    assert before - 200 - world.balance(OWNER) <= worth + 1


def test_a_vote_costs_what_its_shares_are_worth() -> None:
    assert staking.priced(0, 0, 7) == (7, 7)
    assert staking.priced(10, 10, 7) == (7, 7)
    assert staking.priced(3, 2, 4) == (2, 3)  # 2 shares for 3 tokens, one stays
    assert staking.priced(100, 99, 50) == (49, 50)
    for tokens, shares, amount, rule in ((5, 1, 4, "D22"), (0, 9, 4, "D22")):
        with pytest.raises(Refused, match=rule):
            staking.priced(tokens, shares, amount)
    with pytest.raises(Refused, match="D22"):
        staking.priced(1, staking.MAX_SHARES - 1, 1)


def test_supply_has_a_bound() -> None:
    huge = ledger.MAX_SUPPLY
    with pytest.raises(Refused, match="D4"):
        World(replace(QUIET, grants=(*QUIET.grants, Grant(OWNER.account, huge))))
    world = World(QUIET)
    world.state = ledger.mint(world.state, OWNER.account, ledger.room(world.state) - 150)
    world.step()
    world.step()  # the reward of a block is 100, then what is left of it, then nothing
    world.step()
    assert world.state.supply == huge
    assert len(root(world.state)) == 32


# --- stake that leaves -------------------------------------------------------------------------


@pytest.mark.parametrize("leaving", range(1, 10))
def test_stake_answers_exactly_as_long_as_a_seat_counts_it(leaving: int) -> None:
    """For every block in which stake may leave: the last height at which the seat still has it."""
    world = World(QUIET)
    if leaving > 1:
        world.must(RICH, staking.Delegate(LIAR.account, 400_000, ZERO))
    world.until(leaving - 1)
    leave(world, LIAR if leaving == 1 else RICH, LIAR.account)
    assert world.state.height == leaving
    power_without = validator(world, LIAR).tokens // PARAMETERS.power_unit
    claim = next(iter(world.state.unbondings.values()))
    answers = claim.matures - PARAMETERS.unbonding
    counted = []
    for _ in range(12):
        seats = world.state.schedule.current
        power = next((s.power for s in seats if s.account == LIAR.account), 0)
        # Seats of the next height; rewards move the power by a few.
        if power > power_without + 100:
            counted.append(world.state.height + 1)
        world.step()
    assert not counted or max(counted) <= answers
    if leaving == 1 or leaving > 4:
        assert max(counted, default=leaving) == answers


def test_a_fault_after_the_stake_left_but_before_the_seat_did_is_paid() -> None:
    world = World(QUIET)
    world.until(4)
    gone = leave(world, LIAR, LIAR.account)
    fault = world.state.height + 1
    seat = next(s for s in world.state.schedule.current if s.account == LIAR.account)
    assert seat.power >= gone // PARAMETERS.power_unit  # it still votes with all of it
    world.step()
    world.must(RICH, double_vote(world, LIAR, fault))
    assert ledger.balance(world.state, ledger.UNBONDING) == gone - gone * 50 // 1000


def test_stake_that_no_seat_counted_pays_for_nothing() -> None:
    world = World(QUIET)
    world.must(RICH, staking.Delegate(LIAR.account, 50_000, ZERO))
    gone = leave(world, RICH, LIAR.account)
    claim = next(iter(world.state.unbondings.values()))
    fault = claim.matures - PARAMETERS.unbonding + 1
    world.until(fault)
    world.must(OWNER, double_vote(world, LIAR, fault))
    assert ledger.balance(world.state, ledger.UNBONDING) == gone
    assert validator(world, LIAR).tokens < 200_000


def test_no_claim_is_free_before_the_last_evidence_against_it() -> None:
    world = World(QUIET)
    world.until(4)
    leave(world, LIAR, LIAR.account)
    name, claim = next(world.state.unbondings.items())
    fault = claim.matures - PARAMETERS.unbonding
    world.until(fault + PARAMETERS.evidence_window - 1)
    assert world.do(LIAR, staking.Withdraw(name)).rule == "D23"
    before = ledger.balance(world.state, ledger.UNBONDING)
    world.state = world.state.but(height=fault + PARAMETERS.evidence_window - 1)
    world.must(RICH, double_vote(world, LIAR, fault))
    assert ledger.balance(world.state, ledger.UNBONDING) < before


def test_an_invented_fault_shields_from_no_real_one() -> None:
    """Stake leaves after a fault; its owner then reports a harmless double vote of itself."""
    world = World(QUIET)
    world.must(RICH, staking.Delegate(LIAR.account, 500_000, ZERO))
    world.until(9)
    fault = world.state.height
    gone = leave(world, RICH, LIAR.account)
    world.until(25)
    world.must(LIAR, double_vote(world, LIAR, 24))
    assert ledger.balance(world.state, ledger.UNBONDING) == gone
    tokens = validator(world, LIAR).tokens
    world.must(OWNER, double_vote(world, LIAR, fault))
    assert ledger.balance(world.state, ledger.UNBONDING) == gone - gone * 50 // 1000
    # What stayed has paid already: it only grows by the pay of blocks.
    assert tokens <= validator(world, LIAR).tokens < tokens + 100
    for height in (fault, fault + 1, 24):
        receipt = world.do(OWNER, double_vote(world, LIAR, height))
        assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "D31")
    check_invariants(world.state)


# --- votes that switch -------------------------------------------------------------------------


def jailed(world: World) -> None:
    world.state = slashing.jail(world.state, LIAR.account, world.state.height)


def test_a_switch_keeps_the_backup_of_the_vote_it_joins() -> None:
    world = World(QUIET)
    one, two, three = (key.account for key in WITNESSES[:3])
    world.must(RICH, staking.Delegate(one, 50_000, two))
    world.must(RICH, staking.Delegate(two, 10_000, three))
    jailed(world)
    world.must(OWNER, staking.Switch(RICH.account, one))
    held = world.state.delegations.get(staking.delegation_key(RICH.account, two))
    assert held is not None and held.backup == three


def test_what_buys_no_whole_share_leaves_instead_of_being_lost_or_free() -> None:
    world = World(QUIET)
    one, two = (key.account for key in WITNESSES[:2])
    world.must(RICH, staking.Delegate(one, 50_000, two))
    target = validator(world, WITNESSES[1])
    dear = replace(target, shares=10)
    state, key = world.state, staking.delegation_key(two, two)
    own = state.delegations.get(key)
    assert own is not None
    state = state.but(
        validators=state.validators.set(two, dear),
        delegations=state.delegations.set(key, replace(own, shares=10)),
    )
    world.state = state
    jailed(world)
    before = world.balance(RICH)
    bonded = validator(world, WITNESSES[1]).tokens
    world.must(OWNER, staking.Switch(RICH.account, one))
    moved = validator(world, WITNESSES[1]).tokens - bonded
    left = ledger.balance(world.state, ledger.UNBONDING)
    assert 0 < left and 40_000 <= moved <= 50_000
    assert 49_999 <= moved + left <= 50_100  # with this block's pay
    assert world.balance(RICH) == before


def test_a_validator_cannot_switch_its_own_deposit_away_from_its_faults() -> None:
    world = World(QUIET)
    name = LIAR.account
    world.must(LIAR, staking.Delegate(name, 1_000, WITNESSES[1].account))
    jailed(world)
    receipt = world.do(RICH, staking.Switch(name, name))
    assert (receipt.code, receipt.rule) == (Code.NOT_ALLOWED, "D26")


# --- other chains ------------------------------------------------------------------------------


def test_nothing_signed_counts_on_another_chain_of_the_same_name() -> None:
    twin = replace(QUIET, grants=(*QUIET.grants, Grant(TRAINERS[0].account, 1)))
    here, there = World(QUIET), World(twin)
    assert here.state.parameters.chain == there.state.parameters.chain
    assert identity(QUIET) != identity(twin)
    there.waiting.append(seal(RICH, identity(QUIET), 0, 100, Transfer(OWNER.account, 5)))
    (receipt,) = there.step()
    assert (receipt.code, receipt.rule) == (Code.BAD_SIGNATURE, "D11")
    here.step()
    receipt = there.do(RICH, double_vote(here, LIAR, 1))
    assert (receipt.code, receipt.rule) == (Code.BAD_EVIDENCE, "D30")
