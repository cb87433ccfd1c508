"""Rounds of training from seeds, with liars in every place, and slips in the rules that they must
notice; ``benchmarks/simulation.py`` plays hundreds and looks for every mutant."""

from __future__ import annotations

from collections import Counter

import pytest

from chain.quorum import has_quorum
from chain.records import Outcome
from chain.simulator.market import Market
from chain.simulator.mutants import MUTANTS, Mutant, find, injected


def test_every_round_becomes_what_the_oracle_counts() -> None:
    outcomes: Counter[Outcome] = Counter()
    for seed in range(12):
        outcomes.update(Market(seed).run())
    assert outcomes[Outcome.FINAL] > 5 and len(outcomes) > 4


def test_a_seed_is_a_market() -> None:
    first, second = Market(3), Market(3)
    assert first.run() == second.run()
    assert first.state.parent == second.state.parent
    other = Market(4)
    other.run()
    assert other.state.parent != first.state.parent


@pytest.mark.parametrize("mutant", MUTANTS[::9], ids=lambda mutant: mutant.name)
def test_a_slip_is_noticed(mutant: Mutant) -> None:
    assert find(mutant, range(60)) is not None


def test_a_mutant_is_taken_out_again() -> None:
    slip = Mutant("off by one", has_quorum, "3 * yes > 2", "3 * yes >= 2")
    with injected(slip):
        assert has_quorum(2, 3)
    assert not has_quorum(2, 3)
    with pytest.raises(ValueError, match="must stand once"):
        with injected(Mutant("nothing", has_quorum, "yes &", "no")):
            pass
