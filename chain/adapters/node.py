"""A node as a process: consensus, state machine and agents over loopback TCP.

    python -m chain.adapters.node FOLDER

The folder holds ``node.json``, ``genesis.cbor`` and ``model.dmodel``, and takes the node's store.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from chain import ledger
from chain.adapters.agents import Agent, Service, Trainer, Witness
from chain.adapters.execution import Evaluator, Remembering
from chain.adapters.frames import STRANGER, Frame, pack, read_frame
from chain.adapters.joining import Joining
from chain.adapters.sending import Mark, answer, mark_of, sealed
from chain.adapters.statesync import Base, Trust, check_snapshot, offer_of
from chain.adapters.store import Store
from chain.adapters.work import Workshop
from chain.blocks import read_block
from chain.codec import CodecError, encode
from chain.envelope import kind_of
from chain.evidence import DoubleVote
from chain.genesis import begin
from chain.hashes import plain
from chain.keys import Key
from chain.machine_application import MachineApplication
from chain.orderer import state as orderer
from chain.orderer.intake import is_behind
from chain.orderer.messages import Decided, Message, read_message, write_message
from chain.orderer.step import first_state, restore, step
from chain.refusal import Refused
from chain.snapshot import dump
from chain.trainers import Reveal
from gvm.errors import GvmError

SERVED = 16
RESEND = 6
"""Blocks after which a transaction that is in no block is sent again."""
OFFERED = 64
"""Blobs that nobody asked for and that are kept in memory."""


def key_of(text: str) -> Key:
    """A key of a devnet: derived from its name, worth nothing elsewhere."""
    return Key.derived("devnet", text)


class Node:
    """One process's part of the network."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.settings: dict[str, Any] = json.loads((folder / "node.json").read_text())
        self.index: int = self.settings["index"]
        self.verify = Remembering()
        evaluator = Evaluator(folder / "model.dmodel")
        execution = evaluator.execution(self.verify)
        genesis = self.store.genesis()
        self.application = MachineApplication(begin(genesis, execution), execution)
        self.workshop = Workshop(evaluator, self.find, self.react)
        train = folder / "train.cbor"
        self.workshop.train_data = train.read_bytes() if train.exists() else b""
        self.key = key_of(self.settings["key"]) if self.settings["key"] else None
        self.agents = [self._agent(row) for row in self.settings["agents"]]
        self.config = orderer.Config(
            self.application.state.identity,
            self.key,
            self.application,
            self.verify,
            base=60,
            gossip=80,
        )
        self.state = orderer.State(0, (), -1)
        self.peers: dict[int, asyncio.StreamWriter] = {}
        self.wanted: set[bytes] = set()
        self.offered: dict[bytes, bytes] = {}
        self.flight: dict[bytes, tuple[int, int, bytes]] = {}
        self.tried: set[Mark] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stop = asyncio.Event()
        self.failed = ""
        self.joining: Joining | None = None

    def _agent(self, row: dict[str, Any]) -> Agent:
        key, work = key_of(row["key"]), self.workshop
        match row["role"]:
            case "witness":
                return Witness(key)
            case "service":
                habit = row.get("habit", "honest")
                return Service(key, work.evaluate, self.store, habit, work.show)
            case "trainer":
                habit = row.get("habit", "honest")
                return Trainer(key, work.train, work.evaluate, habit, work.show)
        raise ValueError(f"role must be witness, service or trainer, received {row['role']}")

    # -- life

    async def run(self) -> None:
        """Serves until it is told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        host, port = self.settings["peers"][self.index]
        server = await asyncio.start_server(self.accept, host, port)
        for other in range(self.index):
            self.spawn(self.dial(other))
        try:
            await self.join()
            self.resume()
            await self.stop.wait()
        except GvmError as error:
            self.fail(error)
        server.close()
        for task in self.tasks:
            task.cancel()

    def spawn(self, work: Any) -> None:
        """Runs a coroutine beside the others."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def resume(self) -> None:
        """Applies what is stored, then goes on where the log ends."""
        below = self.state
        base = self.base()
        if base is not None:
            self.application.state = base.state
            below = replace(below, decided=base.certificate, members=base.members)
        start = self.application.state.height + 1
        for height, value, certificate in self.store.blocks(start):
            members = self.application.validators(height)
            self.application.apply(height, value.block)
            below = replace(self.state, decided=certificate, members=members)
        height = self.store.height + 1
        record = self.store.last_record()
        if height == 1 and record is None:
            self.state, actions = first_state(self.config)
        else:
            self.state, actions = restore(self.config, (below, height), record)
        self.perform(actions)

    def base(self) -> Base | None:
        """The newest snapshot that is stored, under the root that its block names; None where there
        is none."""
        for height in self.store.snapshots():
            offer, chunks = self.store.snapshot(height)
            first = self.application.state
            block = read_block(offer.decided.value.block, first.parameters.max_block_bytes)
            return check_snapshot(offer, chunks, first, block, self.verify)
        return None

    async def join(self) -> None:
        """Begins from a snapshot of the peers where the node is told to and holds nothing yet."""
        if not self.settings.get("sync") or self.store.height:
            return
        trust, first = self.settings.get("trust"), self.application.state
        self.joining = Joining(self, first, None if trust is None else Trust.read(trust))
        offer, chunks, _ = await self.joining.run(self.settings.get("sync_seconds", 60))
        self.store.keep_snapshot(offer, chunks)
        self.joining = None

    def save_snapshot(self, decided: Decided) -> None:
        """Keeps the state below a decided block where one is due."""
        state, every = self.application.state, self.settings.get("snapshots", 0)
        if every and state.height and state.height % every == 0:
            chunks = dump(state)
            self.store.keep_snapshot(offer_of(decided, chunks), chunks)

    # -- consensus

    def handle(self, event: orderer.Event) -> None:
        """One step of the orderer. After an error the node stops: what it believes to be on its
        disk may not be there."""
        if self.failed:
            return
        try:
            self.state, actions = step(self.config, self.state, event)
            self.perform(actions)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Stops the process; nothing leaves any more."""
        self.failed = f"{type(error).__name__}: {error}"
        self.stop.set()

    def perform(self, actions: tuple[orderer.Action, ...]) -> None:
        """Does what a step asked for, in order."""
        loop, tick = asyncio.get_running_loop(), self.settings["tick"]
        for action in actions:
            match action:
                case orderer.Persist(record):
                    self.store.log(record)
                case orderer.Broadcast(message):
                    self.broadcast(Frame("order", write_message(message)))
                case orderer.Send(peer, message):
                    self.send(peer, Frame("order", write_message(message)))
                case orderer.Serve(peer, height):
                    for _, value, found in self.store.blocks(height, SERVED):
                        body = write_message(Decided(value, found))
                        self.send(peer, Frame("order", body))
                case orderer.Schedule(wait, height, round_, ticks):
                    event = orderer.Timeout(wait, height, round_)
                    loop.call_later(ticks * tick, self.handle, event)
                case orderer.Decide(height, value, found):
                    self.save_snapshot(Decided(value, found))
                    self.store.append(height, value, found)
                    self.application.apply(height, value.block)
                    # Who is behind does not keep the pace of the others: it would never catch up.
                    pause = 0 if is_behind(self.state) else self.settings["block_time"]
                    loop.call_later(pause, self.handle, orderer.Applied(height))
                    self.react()
                case orderer.Report(evidence):
                    vote = evidence.first.vote
                    if self.key is not None:
                        mark = (evidence.first.public, kind_of(DoubleVote), b"", vote.height)
                        self.submit(self.key, evidence, mark)

    # -- agents

    def react(self) -> None:
        """Lets every agent look at the state, and sends what it wants, once per round and kind."""
        if self.failed:
            return
        try:
            self.plan()
        except Exception as error:
            self.fail(error)

    def plan(self) -> None:
        """What the agents want after a block."""
        state = self.application.state
        for job, found in state.rounds.items():
            for agent in self.agents:
                for key, action in agent.plan(state, job, found):
                    self.submit(key, action, mark_of(state, key, action, job, found.number))
        self.resend()

    def submit(self, key: Key, action: Any, mark: Mark) -> None:
        """Signs an action, unless the key has one on its way or has done this before."""
        state = self.application.state
        nonce = ledger.account_of(state, key.account).nonce
        waiting = self.flight.get(key.account)
        if mark in self.tried or (waiting is not None and waiting[0] >= nonce):
            return
        self.tried.add(mark)
        action = answer(self.store, mark, action)
        data = sealed(state, key, nonce, action)
        self.flight[key.account] = (nonce, state.height, data)
        if isinstance(action, Reveal) and action.parameters in self.workshop.made:
            self.broadcast(Frame("blob", self.workshop.made[action.parameters]))
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Puts a transaction into the pool and sends it to everybody."""
        try:
            self.application.submit(data)
        except Refused:
            return
        self.broadcast(Frame("transaction", data))

    def resend(self) -> None:
        """Sends again what is in no block after some time."""
        state = self.application.state
        for account, (nonce, height, data) in list(self.flight.items()):
            if ledger.account_of(state, account).nonce > nonce:
                del self.flight[account]
            elif state.height >= height + RESEND:
                self.flight[account] = (nonce, state.height, data)
                self.pass_on(data)

    def find(self, name: bytes) -> bytes | None:
        """The bytes of a hash, from here or, later, from a peer."""
        if name in self.offered:
            self.store.put(self.offered.pop(name))
        found = self.workshop.made.get(name) or self.store.get(name)
        if found is None and name not in self.wanted:
            self.wanted.add(name)
            self.broadcast(Frame("want", name))
            loop = asyncio.get_running_loop()
            loop.call_later(1.0, self.wanted.discard, name)
        return found

    # -- peers

    async def dial(self, other: int) -> None:
        """Keeps a connection to a peer with a smaller number."""
        host, port = self.settings["peers"][other]
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.write(pack(Frame("hello", str(self.index).encode())))
            await self.listen(other, reader, writer)
            await asyncio.sleep(0.1)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A peer that says who it is; numbers matter for replies only, votes are signed."""
        with suppress(asyncio.CancelledError):  # the node is being stopped
            hello = await read_frame(reader)
            if hello == STRANGER:
                await self.hear(reader, writer)
                return
            known = {str(i).encode() for i in range(len(self.settings["peers"]))}
            if hello is None or hello.kind != "hello" or hello.body not in known:
                writer.close()
                return
            await self.listen(int(hello.body), reader, writer)

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What the interface of another process hands on: transactions and blobs. Nothing is sent
        to it."""
        while (frame := await read_frame(reader)) is not None:
            if frame.kind in ("transaction", "blob") and self.joining is None:
                self.take(-1, frame)
        writer.close()

    async def listen(
        self, peer: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Takes frames in until the connection ends."""
        self.peers[peer] = writer
        while True:
            frame = await read_frame(reader)
            if frame is None:
                break
            self.take(peer, frame)
        if self.peers.get(peer) is writer:
            del self.peers[peer]
        writer.close()

    def take(self, peer: int, frame: Frame) -> None:
        """One frame; what is not understood is dropped."""
        if self.joining is not None:
            self.joining.take(peer, frame)
            return
        match frame.kind:
            case "offers":
                for height in self.store.snapshots()[:1]:
                    offer, _ = self.store.snapshot(height)
                    self.send(peer, Frame("offer", encode(offer)))
            case "chunks":
                data = self.store.chunk(frame.body)
                if data is not None:
                    self.send(peer, Frame("chunk", data))
            case "order":
                try:
                    message: Message = read_message(frame.body)
                except CodecError:
                    return
                self.handle(orderer.Received(message, peer))
            case "transaction":
                try:
                    self.application.submit(frame.body)
                except Refused:
                    return
            case "want":
                found = self.offered.get(frame.body) or self.store.get(frame.body)
                if found is not None:
                    self.send(peer, Frame("blob", found))
            case "blob":
                self.keep(frame.body)

    def keep(self, data: bytes) -> None:
        """A blob: what was asked for goes to the disk, other ones wait in memory."""
        name = plain(data)
        if name in self.wanted:
            self.wanted.discard(name)
            self.store.put(data)
            self.react()
        elif len(self.offered) < OFFERED or name in self.offered:
            self.offered[name] = data
        else:
            self.offered.pop(next(iter(self.offered)))
            self.offered[name] = data

    def send(self, peer: int, frame: Frame) -> None:
        """Writes to a peer that is connected."""
        writer = self.peers.get(peer)
        if writer is not None and not writer.is_closing():
            writer.write(pack(frame))

    def broadcast(self, frame: Frame) -> None:
        """Writes to every peer."""
        data = pack(frame)
        for writer in list(self.peers.values()):
            if not writer.is_closing():
                writer.write(data)


def main(arguments: list[str], make: Callable[[Path], Node] = Node) -> None:
    """Runs the node of a folder; exits with status 1 where it could not go on."""
    node = make(Path(arguments[0]))
    asyncio.run(node.run())
    if node.failed:
        raise SystemExit(f"node: stopped: {node.failed}")


if __name__ == "__main__":
    main(sys.argv[1:])
