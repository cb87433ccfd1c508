"""Two lists of blocks through every way that a block can take; prints the state roots as JSON.

    python -m tests.same_root

Needs ``blake3`` and ``cryptography`` only, so that any Python can run it. Status 1 where two ways
differ.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from chain import staking
from chain.adapters.store import Store
from chain.blocks import Block, read_block
from chain.codec import encode
from chain.envelope import seal
from chain.evidence import DoubleVote, Misbehaviour
from chain.genesis import Founder, Genesis, Grant, begin
from chain.keys import Key
from chain.machine import apply_block
from chain.machine_application import MachineApplication
from chain.orderer.messages import Certificate, Value
from chain.parameters import Parameters
from chain.records import ZERO
from chain.simulator.applications import machine
from chain.simulator.network import Network, Setting
from chain.state import root
from chain.transfers import Transfer
from chain.votes import Vote, VoteKind, sign_vote
from tests.abci_engine import Client, finalize
from tests.chain_world import (
    EXECUTION,
    OWNER,
    RICH,
    TRAINERS,
    WITNESSES,
    World,
    genesis,
    parameters_with,
)


def story() -> tuple[Genesis, list[Block]]:
    """Payments, votes, evidence, an absent witness, and a round of training to its end."""
    world = World()
    world.send(RICH, Transfer(OWNER.account, 5))
    world.send(RICH, staking.Delegate(WITNESSES[2].account, 50_000, WITNESSES[3].account))
    world.waiting.append(b"noise")
    world.step()
    pair = [Vote(VoteKind.PREVOTE, 1, 0, name) for name in (ZERO, b"b" * 32)]
    signed = [sign_vote(WITNESSES[0], world.state.identity, vote) for vote in pair]
    world.send(OWNER, DoubleVote(*signed))
    world.step()
    world.to_challenge({TRAINERS[0]: parameters_with(700), TRAINERS[1]: parameters_with(800)})
    world.finish_round()
    voters = [seat.account for seat in world.state.schedule.previous]
    for _ in range(6):
        world.step(signed=tuple(v for v in voters if v != WITNESSES[1].account)[:2])
        voters = [seat.account for seat in world.state.schedule.previous]
    world.step(misbehaviour=(Misbehaviour(WITNESSES[2].account, world.state.height),))
    return genesis(), world.blocks


def simulated() -> tuple[Genesis, list[Block]]:
    """What validators of the simulator decide, with transactions in their pools."""
    keys = [Key.derived("simulated", i) for i in range(4)]
    made = Genesis(
        Parameters("simulated", uptime_window=30, jail_blocks=5),
        tuple(Grant(key.account, 3_000_000) for key in keys),
        tuple(Founder(key.public, 0, 2_000_000) for key in keys),
    )
    network = Network(
        3,
        Setting(
            faulty=0, heights=10, chaos=0, crashes=0, application=lambda _: machine(made, EXECUTION)
        ),
    )
    identity = begin(made, EXECUTION).identity
    for at, key in enumerate(keys):
        for nonce in range(5):
            data = seal(key, identity, nonce, 1000, Transfer(keys[at - 1].account, 10 + nonce))
            for host in network.hosts:
                application = host.config.application
                if isinstance(application, MachineApplication):
                    application.submit(data)
    network.run()
    limit = made.parameters.max_block_bytes
    return made, [read_block(value.block, limit) for value, _ in network.hosts[0].store[:10]]


def by_function(made: Genesis, blocks: list[Block]) -> list[str]:
    """The function itself."""
    state, roots = begin(made, EXECUTION), []
    for block in blocks:
        state, _ = apply_block(state, block, EXECUTION)
        roots.append(root(state).hex())
    return roots


def by_store(made: Genesis, blocks: list[Block], folder: Path) -> list[str]:
    """Through a devnet node's store and the application that it replays into."""
    store = Store(folder)
    for block in blocks:
        value = Value(encode(block), None)
        store.append(block.height, value, Certificate(block.height, 0, value.id, ()))
    application = MachineApplication(begin(made, EXECUTION), EXECUTION)
    again = Store(folder, read_only=True).blocks(1)
    return [application.apply(height, value.block).hex() for height, value, _ in again]


def by_engine(made: Genesis, blocks: list[Block], folder: Path) -> list[str]:
    """Through ABCI, as bytes, with a crash between any two blocks."""
    client, roots = Client(folder, made, interval=4), []
    client.init_chain()
    for block in blocks:
        before = client.application.state
        answer = client.ask("finalize_block", **finalize(before, block))
        client.ask("commit")
        client.crash()
        roots.append(answer["app_hash"].hex())
    return roots


def main() -> None:
    """See the module."""
    found = {}
    for make in (story, simulated):
        made, blocks = make()
        first = by_function(made, blocks)
        with tempfile.TemporaryDirectory() as folder:
            for way in (by_store, by_engine):
                if way(made, blocks, Path(folder)) != first:
                    sys.exit(f"{make.__name__}: {way.__name__} differs")
        found[make.__name__] = {
            "blocks": len(blocks),
            "transactions": sum(len(block.transactions) for block in blocks),
            "roots": first,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
