"""The state machine behind an orderer: what its pool keeps and which blocks it accepts."""

from __future__ import annotations

from chain.blocks import read_block
from chain.codec import encode
from chain.machine_application import MachineApplication
from tests.chain_world import EXECUTION, World, genesis

QUIET = genesis(terms=None)


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
