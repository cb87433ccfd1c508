"""A devnet: real processes on loopback train a model by LBFT, with liars among them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from chain import ledger
from chain.adapters.explorer import Explorer, row
from chain.adapters.node import key_of
from chain.adapters.setup import GRANT, Plan, free_ports, is_late, parties
from chain.codec import decode
from chain.confirmation import Dispute
from chain.envelope import read
from chain.genesis import Genesis, genesis_hash
from chain.machine import KINDS
from chain.records import JobStatus
from chain.refusal import Code, Refused
from gvm.errors import GvmError

TIMEOUT = 600
"""Seconds after which a devnet that has not finished is given up."""


class Process:
    """A node's process, which may be killed and started again, or another one beside it."""

    def __init__(
        self, folder: Path, command: list[str] | None = None, log: str = "log.txt"
    ) -> None:
        node = ["-m", "chain.adapters.node", str(folder)]
        self.folder, self.command, self.log = folder, command or node, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; what it says goes to ``log.txt``."""
        with open(self.folder / self.log, "ab") as log:
            command = [sys.executable, *self.command]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Asks it to end."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended by itself."""
        return self.process is not None and self.process.poll() is not None


@contextmanager
def running(plan: Plan) -> Iterator[list[Process]]:
    """All processes of a plan, stopped at the end whatever happens."""
    found = [Process(plan.folder / f"node-{i}") for i in range(plan.processes)]
    beside = remote_trainer(plan) if plan.remote else []
    try:
        for number, process in enumerate(found):
            if not is_late(plan, number):
                process.start()
        for process in beside:
            process.start()
        yield found
    finally:
        for process in (*beside, *found):
            process.stop()


def remote_trainer(plan: Plan) -> list[Process]:
    """The HTTP interface of the node that the first trainer asks, and the trainer."""
    folder, (port,) = plan.folder / f"node-{plan.validators}", free_ports(1)
    name = genesis_hash(decode(Genesis, (folder / "genesis.cbor").read_bytes())).hex()
    chain = ["-m", "gvm.cli", "chain"]
    served = [*chain, "serve", str(folder), "--port", str(port)]
    agent = [*chain, "agent", "--rpc", f"http://127.0.0.1:{port}", "--genesis", name]
    agent += ["--key", str(plan.folder / "trainer-0.key"), "--folder", str(plan.folder / "agent")]
    agent += ["--role", "trainer", "--data", str(folder / "train.cbor"), "--wait", "60"]
    found = Process(folder, served, "serve.txt"), Process(folder, agent, "agent.txt")
    return list(found)


def run(plan: Plan, console: Console, kill: bool = True) -> Explorer:
    """Runs until the job is finished; kills one validator after the first round and starts it
    again. Returns what node 0 holds; raises :class:`gvm.GvmError` where the nodes do not end
    equal."""
    explorer = Explorer(plan.folder / "node-0")
    victim, events, killed = plan.validators - 2, list[str](), False
    with running(plan) as processes, live(console) as show:
        begin, restart_at = time.monotonic(), 0.0
        while not is_finished(explorer):
            if time.monotonic() - begin > TIMEOUT:
                raise GvmError(f"the devnet did not finish in {TIMEOUT} s; see node-*/log.txt")
            dead = [p.folder.name for p in processes if p.has_failed and not restart_at]
            if dead:
                raise GvmError(f"{dead[0]} ended by itself; see {plan.folder / dead[0]}/log.txt")
            explorer.follow()
            rounds = decided(explorer)
            if kill and len(rounds) >= 1 and not restart_at and not killed:
                killed = True
                processes[victim].kill()
                events.append(f"node {victim} killed at height {explorer.state.height}")
                restart_at = time.monotonic() + 2
            late = processes[-1] if plan.late else None
            if late is not None and late.process is None and explorer.store.snapshots():
                late.start()
                events.append(f"node {plan.processes - 1} joins at height {explorer.state.height}")
            if restart_at and time.monotonic() > restart_at:
                processes[victim].start()
                events.append(f"node {victim} restarted at height {explorer.state.height}")
                restart_at = 0.0
            show(progress(explorer, events))
            time.sleep(0.2)
        wait_for_all(plan, explorer.state.height)
        explorer.follow()
        show(progress(explorer, events))
    compare(plan)
    return explorer


def is_finished(explorer: Explorer) -> bool:
    """Whether the job is over."""
    return all(job.status == JobStatus.FINISHED for job in explorer.state.jobs.values())


def decided(explorer: Explorer) -> list[dict[str, Any]]:
    """The rounds of the one job as rows."""
    name, _ = next(explorer.state.jobs.items())
    return [row(result) for result in explorer.results(name)]


def wait_for_all(plan: Plan, height: int) -> None:
    """Waits until every node has stored a height."""
    from chain.adapters.store import Store

    folders = [plan.folder / f"node-{i}" for i in range(plan.processes)]
    stores = [Store(folder, read_only=True) for folder in folders]
    end = time.monotonic() + 30
    while min(store.height for store in stores) < height and time.monotonic() < end:
        time.sleep(0.1)


def compare(plan: Plan) -> int:
    """The height that all stores have, up to which they are equal, block by block and state by
    state."""
    explorers = []
    for i in range(plan.processes):
        explorer = Explorer(plan.folder / f"node-{i}")
        explorer.follow()
        explorers.append(explorer)
    height = min(explorer.height for explorer in explorers)
    for i, explorer in enumerate(explorers):
        for at in range(explorer.base + 1, height + 1):
            mine, first = explorer.at(at), explorers[0].at(at)
            if (mine.block, mine.root) != (first.block, first.root):
                raise GvmError(f"node {i} differs from node 0 at height {at}")
    return height


@contextmanager
def live(console: Console) -> Iterator[Any]:
    """A table that is drawn again and again on a terminal, and once at the end elsewhere."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as shown:
            yield shown.update
        return
    last: list[Any] = []
    yield lambda table: last.__setitem__(slice(None), [table])
    for table in last:
        console.print(table)


def progress(explorer: Explorer, events: list[str]) -> Table:
    """Rounds so far, with the open one."""
    state = explorer.state
    open_rounds = [found for _, found in state.rounds.items()]
    phase = open_rounds[0].phase.name.lower() if open_rounds else "finished"
    table = Table(title=f"height {state.height}, {phase}", caption="; ".join(events) or None)
    names = {key_of(n).account.hex()[:12]: n for n in (f"trainer {i}" for i in range(64))}
    heads = ("round", "outcome", "winner", "parent's loss", "loss", "fold", "verified", "confirmed")
    for head in heads:
        table.add_column(head, justify="left" if head in ("outcome", "winner") else "right")
    for line in decided(explorer):
        table.add_row(
            str(line["round"]),
            line["outcome"],
            names.get(line["trainer"], line["trainer"]),
            *("" if line[k] is None else str(line[k]) for k in ("parent_loss", "loss")),
            str(line["fold"]),
            str(line["verifiers"]),
            str(line["confirmers"]),
        )
    return table


TOLD = ("round refuted", "challenge failed", "node slashed", "job finished")
"""Notices that the table of verdicts shows, with disputes."""


def verdicts(plan: Plan, explorer: Explorer) -> Table:
    """Every dispute that a block holds, what the referee said, who was slashed for it, and what the
    rounds paid."""
    names = {key_of(party.name).account: party.name for party in parties(plan)}
    names[key_of("owner").account] = "owner"
    table = Table(title="disputes and verdicts")
    for head in ("height", "what", "who", "amount"):
        table.add_column(head, justify="right" if head in ("height", "amount") else "left")
    limit = explorer.state.parameters.max_transaction_bytes
    for shown in explorer.blocks:
        height = str(shown.block.height)
        for data, receipt in zip(shown.block.transactions, shown.receipts, strict=False):
            try:
                found = read(data, limit, KINDS)
            except Refused:
                continue
            if isinstance(found.action, Dispute) and receipt.code == Code.OK:
                what = f"disputes subject {found.action.subject}"
                table.add_row(height, what, names.get(found.sender, ""), "")
        for receipt in shown.receipts:
            for notice in receipt.notices:
                if notice.kind in TOLD:
                    who = names.get(notice.subject, "")
                    table.add_row(height, notice.kind, who, str(notice.amount))
    return table


def earnings(plan: Plan, explorer: Explorer) -> dict[str, int]:
    """What the rounds have paid to whom."""
    names = {key_of(party.name).account: party.name for party in parties(plan)}
    paid: dict[str, int] = {}
    for shown in explorer.blocks:
        for receipt in shown.receipts:
            for notice in receipt.notices:
                if notice.kind == "paid" and notice.subject in names:
                    name = names[notice.subject]
                    paid[name] = paid.get(name, 0) + notice.amount
    return paid


def balances(plan: Plan, explorer: Explorer) -> Table:
    """What everybody has at the end, and what was gained or lost."""
    table = Table(title="balances", caption=f"supply {explorer.state.supply}")
    paid = earnings(plan, explorer)
    for head in ("account", "habit", "balance", "stake", "bond", "paid", "change"):
        table.add_column(head, justify="left" if head in ("account", "habit") else "right")
    for party in parties(plan):
        found = explorer.account(key_of(party.name).account)
        whole = found["balance"] + (found["stake"] or 0) + (found["bond"] or 0)
        cells = ("" if found[k] is None else str(found[k]) for k in ("balance", "stake", "bond"))
        got = str(paid.get(party.name, 0))
        table.add_row(party.name, party.habit, *cells, got, f"{whole - GRANT:+d}")
    owner = ledger.balance(explorer.state, key_of("owner").account)
    table.add_row("owner", "", str(owner), "", "", "", f"{owner - GRANT:+d}")
    return table
