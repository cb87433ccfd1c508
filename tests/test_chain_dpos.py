"""Accounts, staking, witnesses, faults, nodes and inference, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import inference, ledger, nodes, rewards, schedule, slashing, staking, uptime
from chain.draw import drawn, shuffled, uniform
from chain.evidence import DoubleVote, Misbehaviour
from chain.genesis import Founder, Grant
from chain.hashes import digest_of
from chain.keys import Key
from chain.quorum import has_quorum
from chain.records import ZERO, Seat, Task, Validator
from chain.refusal import Code, Refused
from chain.transfers import Transfer
from chain.votes import Vote, VoteKind, sign_vote
from tests.chain_world import (
    ALL,
    NODES,
    OWNER,
    PARAMETERS,
    RICH,
    WITNESSES,
    World,
    genesis,
)

QUIET = genesis(terms=None)


def validator(world: World, key: Key) -> Validator:
    found = world.state.validators.get(key.account)
    assert found is not None
    return found


def test_transfer_moves_exactly_its_amount() -> None:
    world = World(QUIET)
    world.must(RICH, Transfer(OWNER.account, 7))
    assert world.balance(RICH) == 1_000_000 - 100 - 7
    assert world.balance(OWNER) == 1_000_007


@pytest.mark.parametrize(
    ("to", "amount", "code", "rule"),
    [
        (ledger.DUST, 1, Code.NOT_ALLOWED, "D3"),
        (ledger.module("anything"), 1, Code.NOT_ALLOWED, "D3"),
        (OWNER.account, 0, Code.FUNDS, "D2"),
        (OWNER.account, 1_000_000, Code.FUNDS, "D2"),
    ],
)
def test_refused_transfers_cost_their_fee(to: bytes, amount: int, code: Code, rule: str) -> None:
    world = World(QUIET)
    receipt = world.do(RICH, Transfer(to, amount))
    assert (receipt.code, receipt.rule) == (code, rule)
    assert world.balance(RICH) == 1_000_000 - 100
    assert ledger.account_of(world.state, RICH.account).nonce == 1


@pytest.mark.parametrize(
    ("yes", "total", "holds"), [(2, 3, False), (3, 4, True), (67, 100, True), (66, 99, False)]
)
def test_quorum_is_more_than_two_thirds(yes: int, total: int, holds: bool) -> None:
    assert has_quorum(yes, total) == holds


# --- votes -------------------------------------------------------------------------------------


def test_shares_are_bought_and_sold_at_the_present_price() -> None:
    world = World(QUIET)
    name = WITNESSES[0].account
    # 300 tokens for 200 shares: 1.5 tokens each.
    made = Validator(WITNESSES[0].public, 0, tokens=300, shares=200)
    assert staking.tokens_of(made, 1) == 1
    assert staking.tokens_of(made, 199) == 298
    state = world.state.but(validators=world.state.validators.set(name, made))
    state = staking.add_stake(state, RICH.account, name, 100, ZERO)
    held = state.delegations.get(staking.delegation_key(RICH.account, name))
    assert held is not None and held.shares == 66  # 66.67 rounded down
    with pytest.raises(Refused, match="D22"):
        staking.add_stake(state, RICH.account, name, 1, ZERO)


def test_stake_is_free_after_unbonding_and_slashed_until_then() -> None:
    world = World(QUIET)
    name = WITNESSES[0].account
    world.must(RICH, staking.Delegate(name, 10_000, ZERO))
    held = world.state.delegations.get(staking.delegation_key(RICH.account, name))
    assert held is not None
    receipt = world.do(RICH, staking.Undelegate(name, held.shares + 1))
    assert (receipt.code, receipt.rule) == (Code.FUNDS, "D23")
    height = world.state.height + 1
    world.must(RICH, staking.Undelegate(name, held.shares))
    claim = staking.unbonding_key(RICH.account, name, height)
    receipt = world.do(OWNER, staking.Withdraw(claim))
    assert (receipt.code, receipt.rule) == (Code.UNKNOWN, "D23")
    receipt = world.do(RICH, staking.Withdraw(claim))
    assert receipt.code == Code.PHASE
    pool = next(iter(world.state.pools.values()))
    votes = [sign_vote(WITNESSES[0], world.chain, vote(height, 0, block)) for block in (b"a", b"b")]
    world.must(OWNER, DoubleVote(*votes))
    slashed = next(iter(world.state.pools.values()))
    assert slashed.tokens == pool.tokens - pool.tokens * 50 // 1000
    matures = next(iter(world.state.unbondings.values())).matures
    assert matures > height + PARAMETERS.unbonding
    world.until(matures - 1)
    before = world.balance(RICH)
    world.must(RICH, staking.Withdraw(claim))
    assert world.balance(RICH) == before - 100 + slashed.tokens
    assert len(world.state.pools) == len(world.state.unbondings) == 0


def vote(height: int, round_: int, block: bytes, kind: VoteKind = VoteKind.PREVOTE) -> Vote:
    return Vote(kind, height, round_, block.ljust(32, b"\0"))


def test_election_takes_the_top_above_the_floor() -> None:
    world = World(QUIET)
    keys = [Key.derived("candidate", i) for i in range(5)]
    state = world.state
    stakes = (200_000, 1_000_000, 150_000, 99_999, 100_000)
    for key, stake in zip(keys, stakes, strict=True):
        state = ledger.mint(state, key.account, stake)
    world.state = state
    receipts = []
    for key, stake in zip(keys, stakes, strict=True):
        world.send(key, staking.Declare(0, stake - 1_000))
        world.must(RICH, Transfer(key.account, 1))
        receipts = [r for r in world.receipts if r.rule == "D20"]
    # 98 999 and 99 000 are below 1000 block rewards.
    assert len(receipts) == 2
    few = replace(world.state.parameters, max_witnesses=3)
    seats = schedule.elect(world.state.but(parameters=few))
    assert len(seats) == 3
    assert keys[1].account in [s.account for s in seats]
    assert [s.account for s in seats] == sorted(s.account for s in seats)
    high = replace(world.state.parameters, vote_floor=300)
    assert [s.account for s in schedule.elect(world.state.but(parameters=high))] == [
        keys[1].account
    ]
    nobody = replace(world.state.parameters, vote_floor=1000)
    assert len(schedule.elect(world.state.but(parameters=nobody))) == 7


def test_new_witness_votes_two_blocks_after_its_election() -> None:
    world = World(QUIET)
    world.must(RICH, staking.Declare(0, 500_000))
    seen = []
    while world.state.height < 12:
        world.step()
        seats = [s.account for s in world.state.schedule.current]
        seen.append((world.state.height + 1, RICH.account in seats))
    first = next(height for height, there in seen if there)
    # The round of four turns ends with block 4; in force at 6.
    assert first == 6
    assert all(there for height, there in seen if height >= first)


def test_every_witness_has_one_turn_in_a_round_of_turns() -> None:
    world = World(QUIET)
    turns = []
    for _ in range(12):
        turns.append(world.block().proposer)
        world.step()
    for start in (0, 4, 8):
        assert sorted(turns[start : start + 4]) == sorted(k.account for k in WITNESSES)
    orders = {tuple(turns[start : start + 4]) for start in (0, 4, 8)}
    assert len(orders) > 1


def test_missed_turns_jail_and_votes_switch_to_their_backup() -> None:
    world = World(QUIET)
    world.must(RICH, staking.Delegate(WITNESSES[0].account, 50_000, WITNESSES[1].account))
    absent = WITNESSES[0]
    switch = staking.Switch(RICH.account, absent.account)
    receipt = world.do(OWNER, switch)
    assert (receipt.code, receipt.rule) == (Code.NOT_ALLOWED, "D26")
    for _ in range(40):
        is_its_turn = world.block().proposer == absent.account
        world.step(round=1 if is_its_turn else 0)
        if validator(world, absent).jailed:
            break
    assert validator(world, absent).jailed
    assert world.state.parameters.missed_turns == 3
    before = validator(world, WITNESSES[1]).tokens
    world.must(OWNER, switch)  # anyone may
    assert validator(world, WITNESSES[1]).tokens >= before + 50_000
    held = world.state.delegations.get(staking.delegation_key(RICH.account, absent.account))
    assert held is None
    until = validator(world, absent).jailed_until
    receipt = world.do(absent, uptime.Unjail())
    assert (receipt.code, receipt.rule) == (Code.PHASE, "D43")
    world.until(until - 1)
    world.must(absent, uptime.Unjail())
    assert not validator(world, absent).jailed
    for _ in range(10):
        world.step()
    assert absent.account in [s.account for s in world.state.schedule.current]


# --- presence and pay --------------------------------------------------------------------------


def test_window_counts_the_last_blocks_only() -> None:
    made = Validator(b"k" * 32, 0)
    for signed in (False, True, False, True):
        made = uptime.marked(made, 4, signed)
    assert made.missed == 2
    made = uptime.marked(made, 4, True)  # forgets the first
    assert (made.missed, made.blocks) == (1, 5)
    assert uptime.is_above(made, 4, 750)
    assert not uptime.is_above(made, 4, 751)


def test_absent_witness_is_not_paid_then_jailed() -> None:
    world = World(QUIET)
    absent = WITNESSES[0].account

    def present() -> tuple[bytes, ...]:
        return tuple(s.account for s in world.state.schedule.previous if s.account != absent)

    world.step()
    heights = 0
    while not validator(world, WITNESSES[0]).jailed:
        world.step(signed=present())
        heights += 1
    assert heights == 6  # of a window of ten, fewer than half are signed
    world.until(20)
    assert absent not in [s.account for s in world.state.schedule.current]


def test_block_pay_is_split_and_conserved() -> None:
    world = World(QUIET)
    world.step()
    supply = world.state.supply
    seats = tuple(
        Seat(k.account, k.public, p) for k, p in zip(WITNESSES, (1, 2, 3, 4), strict=True)
    )
    state = world.state.but(schedule=replace(world.state.schedule, previous=seats))
    state = ledger.move(state, RICH.account, ledger.FEES, 40)
    signers = frozenset(k.account for k in WITNESSES[:3])
    paid = rewards.pay_block(state, WITNESSES[3].account, signers)
    assert paid.supply == supply + 100
    grown = []
    for key in WITNESSES:
        before, after = (s.validators.get(key.account) for s in (state, paid))
        assert before is not None and after is not None
        own = ledger.balance(paid, key.account) - ledger.balance(state, key.account)
        grown.append((after.tokens - before.tokens, own))
    # 80 for 1 : 2 : 3, a tenth as commission; the proposer has 20 and the fees.
    assert grown == [(12, 1), (24, 2), (36, 4), (54, 6)]
    assert ledger.balance(paid, ledger.DUST) - ledger.balance(state, ledger.DUST) == 1


@pytest.mark.parametrize(("burn", "burned"), [(0, 0), (500, 20), (1000, 41)])
def test_fees_are_burned_so_that_a_proposer_pays_too(burn: int, burned: int) -> None:
    made = replace(QUIET, parameters=replace(PARAMETERS, fee_burn=burn))
    world = World(made)
    world.send(RICH, Transfer(OWNER.account, 1), fee=41)
    before = world.state.supply
    world.step()
    assert world.state.supply == before + 100 - burned


# --- faults ------------------------------------------------------------------------------------


def test_double_vote_is_slashed_and_expelled_once() -> None:
    world = World(QUIET)
    world.until(5)
    liar = WITNESSES[0]
    pair = [sign_vote(liar, world.chain, vote(3, 0, block)) for block in (b"a", b"b")]
    tokens = validator(world, liar).tokens
    before = world.balance(RICH)
    world.must(RICH, DoubleVote(*pair))
    found = validator(world, liar)
    assert found.tombstoned and found.jailed
    lost = tokens * 50 // 1000
    assert tokens - lost <= found.tokens < tokens
    assert world.balance(RICH) == before - 100 + lost // 10
    receipt = world.do(RICH, DoubleVote(*reversed(pair)))
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "D31")
    world.until(20)
    receipt = world.do(liar, uptime.Unjail())
    assert (receipt.code, receipt.rule) == (Code.NOT_ALLOWED, "D36")
    receipt = world.do(RICH, staking.Delegate(liar.account, 100, ZERO))
    assert (receipt.code, receipt.rule) == (Code.NOT_ALLOWED, "D21")


def test_evidence_that_proves_nothing_is_refused() -> None:
    world = World(QUIET)
    world.until(45)
    key, other = WITNESSES[:2]

    def signed(
        height: int, round_: int, block: bytes, who: Key = key, chain: str = world.chain
    ) -> object:
        return sign_vote(who, chain, vote(height, round_, block))

    a = signed(44, 0, b"a")
    forged = replace(signed(44, 0, b"b"), signature=bytes(64))
    nil = sign_vote(key, world.chain, vote(44, 0, b"b", VoteKind.PRECOMMIT))
    for second in (a, signed(44, 1, b"b"), signed(43, 0, b"b"), signed(44, 0, b"b", other), nil):
        receipt = world.do(RICH, DoubleVote(a, second))
        assert (receipt.code, receipt.rule) == (Code.BAD_EVIDENCE, "D30")
    for second in (forged, signed(44, 0, b"b", key, "elsewhere")):
        receipt = world.do(RICH, DoubleVote(a, second))
        assert (receipt.code, receipt.rule) == (Code.BAD_EVIDENCE, "D30")
    for height in (1, 500):
        pair = [signed(height, 0, b"a"), signed(height, 0, b"b")]
        receipt = world.do(RICH, DoubleVote(*pair))
        assert (receipt.code, receipt.rule) == (Code.BAD_EVIDENCE, "D33")
    stranger = [sign_vote(OWNER, world.chain, vote(44, 0, block)) for block in (b"a", b"b")]
    receipt = world.do(RICH, DoubleVote(*stranger))
    assert (receipt.code, receipt.rule) == (Code.UNKNOWN, "D21")
    assert not any(v.jailed for v in world.state.validators.values())


def test_misbehaviour_of_an_engine_is_punished_once_and_never_stops_a_block() -> None:
    world = World(QUIET)
    name = WITNESSES[0].account
    found = (Misbehaviour(name, 1), Misbehaviour(name, 1), Misbehaviour(ZERO, 1))
    world.step(misbehaviour=found)
    assert validator(world, WITNESSES[0]).tombstoned
    assert 190_000 <= validator(world, WITNESSES[0]).tokens < 190_100


# --- nodes -------------------------------------------------------------------------------------


def test_node_bond_is_locked_until_evidence_is_out_of_time() -> None:
    world = World(QUIET)
    node = NODES[0]
    receipt = world.do(node, nodes.Join())
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "D60")
    world.must(node, nodes.Leave())
    assert node.account not in nodes.serving(world.state, 10**6)
    assert [world.do(node, a).rule for a in (nodes.Leave(), nodes.Join())] == ["D61", "D61"]
    assert world.do(node, nodes.Collect()).code == Code.PHASE
    world.until(2 + PARAMETERS.unbonding)
    before = world.balance(node)
    world.must(node, nodes.Collect())
    assert world.balance(node) == before - 100 + 1_000
    assert world.do(node, nodes.Collect()).rule == "D60"


@pytest.mark.parametrize("count", [1, 2, 5, 33])
def test_a_committee_is_the_end_of_a_whole_shuffle(count: int) -> None:
    for seed in (b"a", b"b"):
        order, counter = list(range(count)), 0
        for last in range(count - 1, 0, -1):
            other, counter = uniform(seed, counter, last + 1)
            order[last], order[other] = order[other], order[last]
        assert shuffled(seed, count) == order
        for most in range(count + 3):
            assert drawn(seed, count, most) == order[::-1][:most]


def test_a_slash_makes_no_node() -> None:
    world = World(QUIET)
    nobody = digest_of("nobody")
    assert slashing.slash_node(world.state, nobody, 500).nodes.get(nobody) is None


# --- inference ---------------------------------------------------------------------------------


def started(rewards_of: tuple[int, ...] = (1_000,)) -> World:
    world = World()
    for reward in rewards_of:
        world.send(RICH, inference.RequestInference(world.job_name, b"i" * 32, reward))
    assert all(r.code == Code.OK for r in world.step())
    return world


def only(world: World) -> tuple[bytes, Task]:
    ((name, task),) = world.state.tasks.items()
    return name, task


def key_of(account: bytes) -> Key:
    return next(key for key in ALL if key.account == account)


def test_confirmed_inference_is_paid() -> None:
    world = started()
    name, task = only(world)
    confirmers = [key_of(a.confirmer) for a in task.answers]
    assert key_of(task.node) not in confirmers and len(confirmers) == 3
    out = b"o" * 32
    assert world.do(confirmers[0], inference.ConfirmOutput(name, out)).rule == "D83"
    assert world.do(RICH, inference.SubmitOutput(name, out)).rule == "D82"
    node = key_of(task.node)
    before = [world.balance(k) for k in (node, *confirmers)]
    world.must(node, inference.SubmitOutput(name, out))
    for key in confirmers:
        world.send(key, inference.ConfirmOutput(name, out))
    world.step()
    assert len(world.state.tasks) == 0
    after = [world.balance(k) for k in (node, *confirmers)]
    assert [a - b for a, b in zip(after, before, strict=True)] == [600, 0, 0, 0]
    assert world.balance(RICH) == 1_000_000 - 1_000 - 200


def test_refuted_and_silent_nodes_are_slashed_and_requesters_refunded() -> None:
    for refuted in (True, False):
        world = started()
        name, task = only(world)
        node = key_of(task.node)
        if refuted:
            world.must(node, inference.SubmitOutput(name, b"x" * 32))
            for answer in task.answers:
                key = key_of(answer.confirmer)
                world.send(key, inference.ConfirmOutput(name, b"o" * 32))
            world.step()
        else:
            world.until(task.deadline - 2)
            assert len(world.state.tasks) == 1
            world.step()
        assert len(world.state.tasks) == 0
        assert world.balance(RICH) == 1_000_000 - 100
        found = world.state.nodes.get(node.account)
        assert found is not None and found.bond == (500 if refuted else 950)


def test_highest_rewards_are_assigned_first() -> None:
    made = replace(QUIET, parameters=replace(PARAMETERS, tasks_per_block=1))
    world = World(replace(genesis(), parameters=made.parameters))
    for reward in (10, 30, 20):
        world.send(RICH, inference.RequestInference(world.job_name, b"i" * 32, reward))
    taken = []
    for _ in range(3):
        world.step()
        known = {t.reward for t in world.state.tasks.values() if t.node != ZERO}
        taken.append(sorted(known))
    assert taken == [[30], [20, 30], [10, 20, 30]]


def test_a_task_that_nobody_takes_is_refunded() -> None:
    world = World(genesis(nodes=3))  # one node and three confirmers are needed
    world.must(RICH, inference.RequestInference(world.job_name, b"i" * 32, 1_000))
    created = world.state.height
    world.until(created + PARAMETERS.task_wait - 1)
    assert len(world.state.tasks) == 1 and world.balance(RICH) == 998_900
    world.step()
    assert len(world.state.tasks) == 0 and world.balance(RICH) == 999_900


# --- genesis -----------------------------------------------------------------------------------


def test_genesis_is_signed_by_every_founder() -> None:
    from chain.genesis import require_signatures, sign_genesis

    signatures = {key.public: sign_genesis(key, QUIET) for key in WITNESSES}
    require_signatures(QUIET, signatures)
    for wrong in (
        {k: v for k, v in signatures.items() if k != WITNESSES[0].public},
        signatures | {WITNESSES[0].public: signatures[WITNESSES[1].public]},
    ):
        with pytest.raises(Refused, match="D78"):
            require_signatures(QUIET, wrong)
    with pytest.raises(Refused, match="D78"):
        require_signatures(replace(QUIET, nodes=()), signatures)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"unbonding": 40}, "D33"),
        ({"task_blocks": 50}, "D61"),
        ({"gas_per_transaction": 0}, "D13"),
        ({"max_transaction_bytes": 33_000_000}, "D70"),
        ({"trainer_share": 900}, "L42"),
        ({"jail_threshold": 960}, "D42"),
    ],
)
def test_unsafe_constants_are_refused(changes: dict[str, int], rule: str) -> None:
    with pytest.raises(Refused, match=rule):
        World(replace(QUIET, parameters=replace(PARAMETERS, **changes)))  # type: ignore[arg-type]


def test_genesis_keeps_the_rules_of_transactions() -> None:
    for changes, rule in (
        ({"grants": (Grant(ledger.DUST, 1),)}, "D3"),
        ({"founders": (Founder(WITNESSES[0].public, 0, 99_999),)}, "D20"),
        ({"nodes": (digest_of("nobody"),)}, "D2"),
    ):
        with pytest.raises(Refused, match=rule):
            World(replace(QUIET, **changes))  # type: ignore[arg-type]
