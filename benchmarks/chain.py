"""How fast the chain is: transactions, heights, rounds of training, and the way to 10 000 a second.

    python -m benchmarks.chain [--seconds 3] [--save]

Everything is checked before it is timed: receipts are all OK, app hashes equal the state machine's.
Figures are wall-clock medians on an otherwise idle machine; nothing of a network is in them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.chain_rounds import time_round
from benchmarks.environment import environment, write_json
from chain.adapters.abci.application import AbciApplication, address_of
from chain.adapters.abci.disk import Disk
from chain.adapters.abci.messages import TABLE, Flag
from chain.adapters.abci.server import Server
from chain.adapters.checking import Checkers
from chain.adapters.execution import Remembering
from chain.blocks import Block
from chain.context import Execution, Inspection, Verdict
from chain.envelope import seal
from chain.genesis import Founder, Genesis, Grant, begin, genesis_hash
from chain.hashes import digest_of
from chain.keys import Key
from chain.machine import apply_block
from chain.parameters import Parameters
from chain.refusal import Code
from chain.schedule import proposer
from chain.simulator.network import Network, Setting
from chain.state import State, root
from chain.transfers import Transfer

ACCOUNTS, BLOCK = 20_000, 1_000
GOAL = 10_000
WITNESSES = [Key.derived("witness", i) for i in range(4)]


def inspect(program: bytes) -> Inspection:
    """No job is started here."""
    raise ValueError(program)


class Ledger:
    """A chain with many accounts, and signed payments of a sample of them."""

    def __init__(self, number: int = 0) -> None:
        self.keys = [Key.derived("payer", number, i) for i in range(BLOCK)]
        named = [key.account for key in (*WITNESSES, *self.keys)]
        crowd = [digest_of("crowd", number, i) for i in range(ACCOUNTS - len(named))]
        self.genesis = Genesis(
            Parameters(f"bench {number}"),
            tuple(Grant(name, 10_000_000) for name in (*named, *crowd)),
            tuple(Founder(key.public, 0, 2_000_000) for key in WITNESSES),
        )
        self.remembering = Remembering()
        self.execution = Execution(
            inspect, lambda claim, opening: Verdict.NOTHING, self.remembering
        )
        self.state = begin(self.genesis, self.execution)
        root(self.state)
        self.targets = crowd

    def payments(self, nonce: int) -> tuple[bytes, ...]:
        """One payment of every payer to somebody of the crowd."""
        identity, crowd = self.state.identity, self.targets
        return tuple(
            seal(key, identity, nonce, 1000, Transfer(crowd[(7 * i + nonce) % len(crowd)], 5))
            for i, key in enumerate(self.keys)
        )

    def block(self, transactions: tuple[bytes, ...]) -> Block:
        """The next block."""
        state, height = self.state, self.state.height + 1
        seats = state.schedule
        return Block(
            state.parameters.chain,
            height,
            state.parent,
            root(state),
            seats.current[proposer(seats, height, 0)].account,
            0,
            tuple(seat.account for seat in seats.previous),
            (),
            transactions,
        )

    def apply(self, block: Block) -> State:
        """The state after a block, rooted; every transaction must succeed."""
        state, receipts = apply_block(self.state, block, self.execution)
        root(state)
        if any(receipt.code != Code.OK for receipt in receipts):
            raise RuntimeError("a payment was refused")
        return state

    def forget(self) -> None:
        """No signature is known."""
        self.remembering = Remembering()
        self.execution = replace(self.execution, verify=self.remembering)


def median(seconds: float, work: Callable[[], float]) -> float:
    """The median of what ``work`` measures, repeated for some time, three times at least."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        found.append(work())
    return statistics.median(found)


def state_machine(seconds: float) -> dict[str, Any]:
    """Payments through ``apply_block`` and the state's root."""
    ledger = Ledger()
    block = ledger.block(ledger.payments(0))
    ledger.apply(block)

    def once(prepare: Callable[[], Any]) -> float:
        prepare()
        begin_ = time.perf_counter()
        ledger.apply(block)
        return BLOCK / (time.perf_counter() - begin_)

    cached = median(seconds, lambda: once(lambda: None))
    checked = median(seconds, lambda: once(ledger.forget))
    processes = os.cpu_count() or 1
    ledger.forget()
    checkers = Checkers(ledger.remembering, processes)
    limit = ledger.state.parameters.max_transaction_bytes
    checkers.warm(ledger.state.identity, limit, block.transactions)  # starts the workers

    def warmed() -> float:
        ledger.forget()
        checkers.remembering = ledger.remembering
        begin_ = time.perf_counter()
        checkers.warm(ledger.state.identity, limit, block.transactions)
        ledger.apply(block)
        return BLOCK / (time.perf_counter() - begin_)

    in_processes = median(seconds, warmed)
    checkers.close()
    return {
        "accounts": ACCOUNTS,
        "transactions_in_a_block": BLOCK,
        "bytes_of_a_transaction": len(block.transactions[0]),
        "cached": round(cached),
        "checked": round(checked),
        "checked_in_processes": round(in_processes),
        "processes": processes,
    }


def abci(seconds: float) -> dict[str, Any]:
    """The same payments as an engine brings them, as bytes of the socket: CheckTx of each, then
    PrepareProposal, ProcessProposal, FinalizeBlock and Commit on a disk."""
    ledger = Ledger()
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder) / "abci.sqlite")
        application = AbciApplication(ledger.genesis, ledger.execution, disk)
        server = Server(application)

        def ask(kind: str, **fields: Any) -> dict[str, Any]:
            data, _ = server.respond(TABLE.encode("Request", {kind: fields}))
            answer = TABLE.decode("Response", data)[kind]
            if answer is None:
                raise RuntimeError(f"{kind} failed")
            found: dict[str, Any] = answer
            return found

        name = genesis_hash(ledger.genesis).hex()
        ask(
            "init_chain",
            chain_id=ledger.genesis.parameters.chain,
            initial_height=1,
            app_state_bytes=f'"{name}"'.encode(),
        )
        times: dict[str, list[float]] = {}

        def timed(kind: str, **fields: Any) -> dict[str, Any]:
            begin_ = time.perf_counter()
            found = ask(kind, **fields)
            times.setdefault(kind, []).append(time.perf_counter() - begin_)
            return found

        end, blocks = time.perf_counter() + 3 * seconds, 0
        while blocks < 3 or time.perf_counter() < end:
            transactions = ledger.payments(blocks)
            block = ledger.block(transactions)
            for data in transactions:
                if timed("check_tx", tx=data)["code"]:
                    raise RuntimeError("a payment was refused")
            seat = next(s for s in ledger.state.schedule.current if s.account == block.proposer)
            common = {"height": blocks + 1, "proposer_address": address_of(seat.public)}
            made = timed("prepare_proposal", txs=list(transactions), max_tx_bytes=1 << 24, **common)
            votes = [
                {
                    "validator": {"address": address_of(s.public), "power": s.power},
                    "block_id_flag": Flag.COMMIT,
                }
                for s in ledger.state.schedule.previous
            ]
            fields = {"txs": made["txs"], **common}
            timed("process_proposal", proposed_last_commit={"votes": votes}, **fields)
            answer = timed("finalize_block", decided_last_commit={"votes": votes}, **fields)
            timed("commit")
            ledger.state = ledger.apply(block)
            if answer["app_hash"] != root(ledger.state):
                raise RuntimeError("the app hash differs")
            blocks += 1
        disk.close()
    whole = {kind: statistics.median(found) for kind, found in times.items()}
    check = BLOCK * whole.pop("check_tx")
    per_block = sum(whole.values())
    return {
        "blocks": blocks,
        "milliseconds": {kind: round(1000 * t, 2) for kind, t in sorted(whole.items())},
        "check_tx_per_second": round(BLOCK / check),
        "blocks_only": round(BLOCK / per_block),
        "with_check_tx": round(BLOCK / (per_block + check)),
    }


def simulator(seconds: float) -> list[dict[str, Any]]:
    """Heights per second of whole simulated networks, all validators in one thread."""
    rows = []
    for validators, faulty in ((4, 1), (7, 2)):
        setting = Setting(validators=validators, faulty=faulty, heights=20)
        begin_, seeds, events = time.perf_counter(), 0, 0
        while seeds < 3 or time.perf_counter() - begin_ < seconds:
            network = Network(seeds, setting)
            network.run()
            events += network.count
            seeds += 1
        spent = time.perf_counter() - begin_
        rows.append(
            {
                "validators": validators,
                "faulty": faulty,
                "seeds": seeds,
                "heights_per_second": round(20 * seeds / spent, 1),
                "events_per_second": round(events / spent),
            }
        )
    return rows


def run_subchain(task: tuple[int, int, Any]) -> tuple[float, float]:
    """One subchain as its own state machine: blocks of payments that it has not seen, every
    signature checked. Begin and end, when all have begun together."""
    number, blocks, barrier = task
    ledger = Ledger(number)
    lists = [ledger.payments(nonce) for nonce in range(blocks)]
    barrier.wait()
    begin_ = time.time()
    for transactions in lists:
        ledger.state = ledger.apply(ledger.block(transactions))
    return begin_, time.time()


def subchains(blocks: int) -> dict[str, Any]:
    """Subchains side by side on this machine, then how many reach the goal, computed."""
    rows, most = [], os.cpu_count() or 1
    for count in sorted({1, most, 2 * most}):
        with multiprocessing.Manager() as manager, multiprocessing.Pool(count) as pool:
            barrier = manager.Barrier(count)
            tasks = [(number, blocks, barrier) for number in range(count)]
            spans = pool.map(run_subchain, tasks, chunksize=1)
        spent = max(end for _, end in spans) - min(begin_ for begin_, _ in spans)
        rows.append({"subchains": count, "per_second": round(count * blocks * BLOCK / spent)})
    best = max(rows, key=lambda row: row["per_second"])
    per_processor = best["per_second"] / min(most, best["subchains"])
    return {
        "measured": rows,
        "processors": most,
        "per_processor": round(per_processor),
        "goal": GOAL,
        "processors_for_the_goal": -(-GOAL // int(per_processor)),
    }


def main(
    seconds: Annotated[float, typer.Option(min=0.1, help="For each figure.")] = 3.0,
    save: Annotated[bool, typer.Option("--save", help="Write results/chain.json.")] = False,
) -> None:
    """See the module."""
    result = {
        "environment": environment("cryptography", "blake3"),
        "state_machine": state_machine(seconds),
        "abci": abci(seconds),
        "simulator": simulator(seconds),
        "rounds": [time_round(verifiers, seconds / 3) for verifiers in (4, 8, 16, 32, 64)],
        "subchains": subchains(max(2, int(2 * seconds))),
    }
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=1))
    if save:
        write_json("chain", result)


if __name__ == "__main__":
    typer.run(main)
