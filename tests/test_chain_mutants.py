"""Rules of the state machine broken on purpose: the scenarios must notice each."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chain import beacon, conclusion, confirmation, ledger, phases, selection, trainers, verifiers
from chain.hashes import digest_of
from tests import test_chain_disputes as disputes
from tests import test_chain_dpos as dpos
from tests import test_chain_lbft as lbft

LENGTH = phases.length


def half(yes: int, total: int) -> bool:
    return 2 * yes >= total


def seven_tenths(yes: int, total: int) -> bool:
    return yes / total >= 0.76  # a float that was meant to be stricter


def anonymous(*parts: Any) -> bytes:
    """A commitment without its maker, the fourth part."""
    return digest_of("anonymous", repr(parts[:3]), repr(parts[4:]))


def largest_first(found: Any, candidate: Any, loss: int) -> tuple[int, int, bytes]:
    return -loss, candidate.height, candidate.trainer


def merciful(state: Any, job: bytes, candidate: Any, why: str) -> Any:
    return conclusion.give_back(state, job, candidate)


def rounded_up(amount: int, weights: list[int]) -> list[int]:
    return [-(-amount * weight // sum(weights)) for weight in weights]


MUTANTS: tuple[tuple[str, ModuleType, str, Any, Callable[[], None]], ...] = (
    (
        "beacon of half the power",
        beacon,
        "has_quorum",
        half,
        lambda: lbft.test_beacon_needs_more_than_two_thirds(2, False),
    ),
    (
        "certificate of half the seats",
        selection,
        "has_quorum",
        half,
        lbft.test_two_lazy_verifiers_of_four_stop_the_round_and_frame_nobody,
    ),
    (
        "unavailable by half the seats",
        selection,
        "has_quorum",
        half,
        lambda: lbft.test_unavailable_only_by_more_than_two_thirds(2),
    ),
    (
        "quorum as a float",
        selection,
        "has_quorum",
        seven_tenths,
        lbft.test_lazy_verifier_is_slashed_and_changes_nothing,
    ),
    (
        "confirmed by nobody",
        confirmation,
        "has_quorum",
        lambda yes, total: True,
        disputes.test_confirmers_that_disagree_fail_the_round,
    ),
    (
        "phases that last one block longer",
        phases,
        "length",
        lambda terms, phase: LENGTH(terms, phase) + 1,
        lbft.test_everything_may_end_early_but_the_challenge_window,
    ),
    (
        "commitments that name no trainer",
        trainers,
        "commitment",
        anonymous,
        lbft.test_copied_commitment_cannot_be_opened,
    ),
    (
        "commitments that name no verifier",
        verifiers,
        "commitment",
        anonymous,
        lbft.test_copying_verifier_cannot_open_what_it_copied,
    ),
    (
        "largest loss wins",
        selection,
        "order_key",
        largest_first,
        lbft.test_honest_majority_decides_for_the_smallest_loss,
    ),
    (
        "no bond is lost",
        conclusion,
        "forfeit",
        merciful,
        lbft.test_lying_trainer_is_found_out_and_the_honest_minimum_wins,
    ),
    (
        "parts rounded up",
        ledger,
        "split",
        rounded_up,
        dpos.test_block_pay_is_split_and_conserved,
    ),
    (
        "accounts of the chain may be paid",
        ledger,
        "require_user",
        lambda name, rule="D3": None,
        dpos.test_genesis_keeps_the_rules_of_transactions,
    ),
)


@pytest.mark.parametrize(
    ("module", "name", "mutant", "scenario"),
    [row[1:] for row in MUTANTS],
    ids=[row[0] for row in MUTANTS],
)
def test_a_broken_rule_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    mutant: Any,
    scenario: Callable[[], None],
) -> None:
    scenario()  # holds as it is
    monkeypatch.setattr(module, name, mutant)
    with pytest.raises((Exception, pytest.fail.Exception)):
        scenario()
