"""CometBFT as an application sees it: decides blocks, remembers them, replays after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain.adapters.abci.application import AbciApplication, address_of
from chain.adapters.abci.disk import Disk
from chain.adapters.abci.messages import TABLE, Flag
from chain.blocks import Block
from chain.genesis import Genesis, genesis_hash
from chain.state import State
from tests.chain_world import EXECUTION, genesis


def votes_of(state: State, block: Block) -> dict[str, Any]:
    """The commit below a block: every validator of the block below, signed or absent."""
    votes = [
        {
            "validator": {"address": address_of(seat.public), "power": seat.power},
            "block_id_flag": Flag.COMMIT if seat.account in block.signed else Flag.ABSENT,
        }
        for seat in state.schedule.previous
    ]
    return {"votes": votes}


def finalize(state: State, block: Block) -> dict[str, Any]:
    """The request that brings a block, on the state before it."""
    keys = {v: found.public for v, found in state.validators.items()}
    proposer = next(s for s in state.schedule.current if s.account == block.proposer)
    return {
        "txs": list(block.transactions),
        "decided_last_commit": votes_of(state, block),
        "misbehavior": [
            {"type": 1, "validator": {"address": address_of(keys[m.validator])}, "height": m.height}
            for m in block.misbehaviour
        ],
        "height": block.height,
        "proposer_address": address_of(proposer.public),
    }


def proposal(request: dict[str, Any]) -> dict[str, Any]:
    """The ProcessProposal of a block."""
    made = dict(request)
    made["proposed_last_commit"] = made.pop("decided_last_commit")
    return made


class Client:
    """Asks an application as bytes, the way that a socket would."""

    def __init__(self, folder: Path, made: Genesis | None = None, interval: int = 0) -> None:
        self.folder, self.interval = folder, interval
        self.genesis = made or genesis()
        self.open()

    def open(self) -> None:
        """A new process over the same folder."""
        disk = Disk(self.folder / "abci.sqlite")
        self.application = AbciApplication(self.genesis, EXECUTION, disk, self.interval)

    def crash(self) -> None:
        """All that is in memory is lost."""
        self.application.disk.close()
        self.open()

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """One request through both codecs."""
        return ask(self.application, kind, **fields)

    def init_chain(self, **changes: Any) -> dict[str, Any]:
        """InitChain as the engine's genesis has it."""
        return init_chain(self.application, **changes)


def ask(application: AbciApplication, kind: str, **fields: Any) -> dict[str, Any]:
    """One request through both codecs."""
    data = TABLE.encode("Request", {kind: fields})
    made = application.handle(TABLE.decode("Request", data))
    answer = TABLE.decode("Response", TABLE.encode("Response", made))
    found: dict[str, Any] = answer[kind]
    return found


def init_chain(application: AbciApplication, **changes: Any) -> dict[str, Any]:
    """InitChain as the engine's genesis has it."""
    name = genesis_hash(application.genesis).hex()
    fields: dict[str, Any] = {
        "chain_id": application.genesis.parameters.chain,
        "initial_height": 1,
        "app_state_bytes": f'"{name}"'.encode(),
    }
    return ask(application, "init_chain", **{**fields, **changes})


class Engine:
    """The blocks that are decided, and the validator sets that the application has asked for.

    ``before`` is called before every request of the grammar; it may crash the application by
    raising :class:`Crash`."""

    def __init__(self, client: Client, before: Callable[[str], None]) -> None:
        self.client, self.before = client, before
        self.decided: list[dict[str, Any]] = []
        self.hashes: list[bytes] = []
        self.responses: list[dict[str, Any]] = []
        self.powers: dict[int, dict[bytes, int]] = {}
        self.start()

    def call(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A request of the grammar."""
        self.before(kind)
        answer = self.client.ask(kind, **fields)
        self.before(f"after {kind}")
        return answer

    def start(self) -> None:
        """Clean start or recovery, whatever the application says of itself."""
        while True:
            try:
                return self.handshake()
            except Crash:
                self.client.crash()

    def handshake(self) -> None:
        """Info; InitChain where nothing is committed; then what the application has not seen."""
        height = self.client.ask("info")["last_block_height"]
        assert height <= len(self.decided)
        if height == 0:
            self.before("init_chain")
            answer = self.client.init_chain()
            found = {u["pub_key"]["ed25519"]: u["power"] for u in answer["validators"]}
            self.powers |= {1: found, 2: found}
        for block in self.decided[height:]:
            self.execute(block)

    def execute(self, block: dict[str, Any]) -> None:
        """FinalizeBlock and Commit; a replay must answer as the first time did."""
        answer = self.call("finalize_block", **block)
        at = block["height"] - 1
        if at < len(self.responses):
            assert self.responses[at] == answer
        else:
            self.responses.append(answer)
            self.update(block["height"] + 2, answer["validator_updates"])
        self.call("commit")

    def update(self, height: int, changes: list[dict[str, Any]]) -> None:
        """The set of a height from the one below, by the rules that CometBFT holds updates to."""
        powers = dict(self.powers[height - 1])
        keys = [item["pub_key"]["ed25519"] for item in changes]
        assert len(set(keys)) == len(keys)
        for key, item in zip(keys, changes, strict=True):
            assert item["power"] >= 0
            if item["power"]:
                powers[key] = item["power"]
            else:
                del powers[key]
        assert powers
        self.powers[height] = powers

    def decide(self, block: dict[str, Any]) -> bytes:
        """A decided block, executed through any number of crashes; the app hash."""
        self.decided.append(block)
        try:
            self.execute(block)
        except Crash:
            self.client.crash()
            self.start()
        hash_: bytes = self.responses[-1]["app_hash"]
        return hash_


class Crash(Exception):
    """The application's process ends here."""
