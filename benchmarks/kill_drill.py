"""SIGKILL to processes of a devnet at random points, again and again.

    python -m benchmarks.kill_drill [--kills 100] [--seed 1] [--folder FOLDER] [--save]

Whom, when and for how long is drawn from the seed; mostly one process, sometimes two, sometimes
all. After each kill the victims are started again and must catch up. Watched from outside: every
block that any store held, every vote and statement that left a process or lies in a log or a
certificate. Status 1 where a block was lost or changed, where one key signed two things in one
place, or where the stores do not end equal. A drill in FOLDER goes on where it was interrupted.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.environment import environment, write_json
from chain.adapters import devnet
from chain.adapters.frames import Frame, pack, read_frame
from chain.adapters.setup import Plan, make
from chain.adapters.store import Store
from chain.codec import CodecError, encode
from chain.envelope import kind_of, read
from chain.evidence import ONCE
from chain.hashes import digest
from chain.orderer.messages import Ballot, Proposal, read_message
from chain.orderer.wal import records
from chain.refusal import Refused
from chain.votes import SignedVote
from gvm.files import write_bytes
from gvm.progress import progress_bar

VALIDATORS, TRAINERS = 4, 2
PATIENCE = 120
"""Seconds in which killed processes must have caught up."""
LIMIT = 4_000_000


@dataclass
class Witnessed:
    """All that was seen to be signed or accepted, and what contradicts it."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    votes: dict[tuple[bytes, int, int, int], bytes] = field(default_factory=dict)
    statements: dict[tuple[bytes, str, bytes, int], bytes] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def block(self, where: str, height: int, name: bytes) -> None:
        """A block in a store."""
        if self.blocks.setdefault(height, name) != name:
            self.violations.append(f"{where} has another block at height {height}")

    def vote(self, where: str, signed: SignedVote) -> None:
        """A vote in a message, a log or a certificate."""
        vote = signed.vote
        place = (signed.public, int(vote.kind), vote.height, vote.round)
        if self.votes.setdefault(place, vote.payload) != vote.payload:
            self.violations.append(
                f"{where}: {signed.public.hex()[:8]} signed two {vote.kind.name.lower()}s "
                f"at height {vote.height}, round {vote.round}"
            )

    def transaction(self, where: str, data: bytes) -> None:
        """A statement that a node signs at most once per job and round. L38."""
        try:
            found = read(data, LIMIT, ONCE)
        except Refused:
            return
        action = found.action
        place = (found.sender, kind_of(type(action)), action.job, action.round)
        said = encode(action)
        if self.statements.setdefault(place, said) != said:
            self.violations.append(
                f"{where}: {found.sender.hex()[:8]} answered twice ({place[1]}, round {place[3]})"
            )


class Watcher:
    """Listens to every process under the process's own number, which no peer has: what leaves it is
    broadcast here too."""

    def __init__(self, peers: list[tuple[str, int]], seen: Witnessed) -> None:
        self.peers, self.seen, self.messages = peers, seen, 0
        self.loop = asyncio.new_event_loop()
        self.all = self.loop.create_task(self.follow_all())
        self.thread = Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """The thread."""
        with suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self.all)
        self.loop.close()

    def stop(self) -> None:
        """No more is listened to."""
        self.loop.call_soon_threadsafe(self.all.cancel)
        self.thread.join(10)

    async def follow_all(self) -> None:
        """Every process at once."""
        await asyncio.gather(*(self.follow(at) for at in range(len(self.peers))))

    async def follow(self, at: int) -> None:
        """One process, through its lives."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(*self.peers[at])
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.write(pack(Frame("hello", str(at).encode())))
            while (frame := await read_frame(reader)) is not None:
                self.take(f"node-{at}", frame)
            writer.close()

    def take(self, where: str, frame: Frame) -> None:
        """What one frame shows."""
        self.messages += 1
        if frame.kind == "transaction":
            self.seen.transaction(where, frame.body)
        elif frame.kind == "order":
            try:
                message = read_message(frame.body)
            except CodecError:
                self.seen.violations.append(f"{where} sent what is no message")
                return
            if isinstance(message, Proposal | Ballot):
                self.seen.vote(where, message.vote)


class Drill:
    """One devnet under fire."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.plan = Plan(folder, VALIDATORS, TRAINERS, 100_000, block_time=0.05)
        self.seed, self.seen = seed, Witnessed()
        self.notes = folder.parent / f"{folder.name}.json"
        self.rows: list[dict[str, Any]] = []
        if self.notes.exists():
            self.rows = json.loads(self.notes.read_text())
        else:
            make(self.plan, pictures())
        self.nodes = [folder / f"node-{i}" for i in range(VALIDATORS + TRAINERS)]
        settings = json.loads((self.nodes[0] / "node.json").read_text())
        self.peers = [(str(host), int(port)) for host, port in settings["peers"]]
        self.stores = [Store(folder, read_only=True) for folder in self.nodes]
        self.heights = [0] * len(self.nodes)

    def look(self, at: int) -> int:
        """Reads what is new in a process's store; its height."""
        where, store = f"node-{at}", self.stores[at]
        height = store.height
        if height < self.heights[at]:
            self.seen.violations.append(f"{where} fell from {self.heights[at]} to {height}")
        for found, value, certificate in store.blocks(self.heights[at] + 1):
            self.seen.block(where, found, digest("seen", encode(value)))
            for vote in certificate.votes:
                self.seen.vote(where, vote)
        self.heights[at] = height
        return height

    def look_at_log(self, at: int) -> None:
        """Reads what a process had written down before it signed; a restart cuts it."""
        log = self.nodes[at] / "votes.wal"
        for record in records(log.read_bytes()) if log.exists() else ():
            for vote in record.signed:
                self.seen.vote(f"node-{at}, log", vote)

    def draw(self, number: int) -> tuple[list[int], float, float]:
        """Of a kill: whom, after how long, for how long."""
        dice = random.Random(f"kill drill {self.seed} {number}")
        everybody = list(range(len(self.nodes)))
        count = dice.choices([1, 2, len(everybody)], [80, 15, 5])[0]
        return sorted(dice.sample(everybody, count)), dice.uniform(0, 1.5), dice.uniform(0, 1)

    def run(self, kills: int) -> None:
        """Kills until the number is reached, then lets everybody come to one height."""
        watcher = Watcher(self.peers, self.seen)
        with devnet.running(self.plan) as processes, progress_bar(kills, "kills") as advance:
            watcher.thread.start()
            self.wait(range(len(self.nodes)), 3)
            for _ in range(self.count):
                advance("")
            while self.count < kills and not self.seen.violations:
                before = self.count
                self.kill(processes, len(self.rows))
                write_bytes(self.notes, json.dumps(self.rows).encode())
                for _ in range(self.count - before):
                    advance("")
            self.wait(range(len(self.nodes)), 3)
        watcher.stop()
        self.messages = watcher.messages

    @property
    def count(self) -> int:
        """How many processes were killed."""
        return sum(len(row["victims"]) for row in self.rows)

    def kill(self, processes: list[devnet.Process], number: int) -> None:
        """One draw: kill, look, start, catch up."""
        victims, delay, pause = self.draw(number)
        time.sleep(delay)
        for at in victims:
            if processes[at].has_failed:
                self.seen.violations.append(f"node-{at} ended by itself")
            processes[at].kill()
        before = [self.look(at) for at in victims]
        for at in victims:
            self.look_at_log(at)
        time.sleep(pause)
        for at in victims:
            processes[at].start()
        begin = time.monotonic()
        self.wait(victims, 2)
        self.rows.append(
            {
                "victims": victims,
                "heights": before,
                "seconds_to_catch_up": round(time.monotonic() - begin, 2),
            }
        )

    def wait(self, who: Any, more: int) -> None:
        """Until they have ``more`` blocks beyond what any store has now."""
        goal = max(self.look(at) for at in range(len(self.nodes))) + more
        end = time.monotonic() + PATIENCE
        while min(self.look(at) for at in who) < goal:
            if time.monotonic() > end:
                self.seen.violations.append(f"{list(who)} did not reach height {goal}")
                return
            time.sleep(0.05)

    def judge(self) -> dict[str, Any]:
        """What is true at the end: all stores hold all that was accepted."""
        seen = self.seen
        for at, store in enumerate(self.stores):
            self.look(at)
            self.look_at_log(at)
            if self.heights[at] < max(self.heights) - 3:
                seen.violations.append(f"node-{at} ended at {self.heights[at]}")
            held = sum(1 for _ in store.blocks(1))
            if held != self.heights[at]:
                seen.violations.append(f"node-{at} has gaps")
        # compare() applies every block of every store again, and holds their states together.
        height = devnet.compare(self.plan)
        victims = [at for row in self.rows for at in row["victims"]]
        waits = sorted(row["seconds_to_catch_up"] for row in self.rows)
        return {
            "seed": self.seed,
            "kills": len(victims),
            "of_validators": sum(at < VALIDATORS for at in victims),
            "at_once": max((len(row["victims"]) for row in self.rows), default=0),
            "equal_heights": height,
            "blocks_seen": len(seen.blocks),
            "votes_seen": len(seen.votes),
            "statements_seen": len(seen.statements),
            "messages_seen": self.messages,
            "median_seconds_to_catch_up": waits[len(waits) // 2] if waits else 0,
            "violations": seen.violations,
        }


def pictures() -> tuple[Any, Any]:
    """Four easy classes: bright quarters of 16 points."""
    dice = np.random.default_rng(1)
    labels = dice.integers(0, 4, 400).astype(np.uint8)
    found = dice.integers(0, 60, (400, 16)).astype(np.uint8)
    for at, label in enumerate(labels):
        found[at, 4 * label : 4 * label + 4] += 150
    return found, labels


def drill(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Runs or goes on with a drill; what was seen."""
    found = Drill(folder, seed)
    found.run(kills)
    return found.judge()


def main(
    kills: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    folder: Annotated[Path | None, typer.Option(help="Keep the nodes here.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Write results/kill_drill.json.")] = False,
) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory(prefix="gvm-kill-drill-") as temporary:
        result = drill(folder or Path(temporary) / "net", kills, seed)
    print(json.dumps(result, indent=1))
    if save:
        write_json("kill_drill", {"environment": environment(), "drill": result})
    if result["violations"]:
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
