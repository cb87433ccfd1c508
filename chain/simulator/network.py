"""The run of one seed: an event queue, hosts with disks, messages lost, late and doubled."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from typing import Any

from chain.application import Application, Member
from chain.keys import Key, verify_signed
from chain.orderer import state as orderer
from chain.orderer import step as algorithm
from chain.orderer.messages import Certificate, Decided, Message, Status, Value
from chain.orderer.wal import frame, last_record
from chain.quorum import has_quorum
from chain.simulator.applications import ListApplication
from chain.simulator.checks import Checks, Violation
from chain.simulator.dice import Dice
from chain.simulator.faults import ZOO, Liar

SERVED = 8
"""Decided heights that a peer is sent at once."""


@dataclass(frozen=True)
class Setting:
    """What is simulated. ``faulty`` names the fault of each faulty validator; None draws them from
    the zoo. The rest is for negative controls: what they break must be found."""

    validators: int = 4
    faulty: int = 1
    heights: int = 50
    faults: tuple[str, ...] | None = None
    quorum: Any = has_quorum
    fsync: bool = True
    crashes: int = 4
    chaos: int = 6
    loss: int = 200
    application: Any = None


@dataclass
class Host:
    """One machine: a validator's memory, its disk, what it has decided."""

    number: int
    position: int
    config: orderer.Config
    liar: Liar | None = None
    fault: str = ""
    state: orderer.State | None = None
    life: int = 0
    disk: orderer.Safety | None = None
    torn: int = 0
    store: list[tuple[Value, Certificate]] = field(default_factory=list)
    members: list[tuple[Member, ...]] = field(default_factory=list)

    @property
    def is_honest(self) -> bool:
        """Whether the rules must hold for it."""
        return self.liar is None


class Network:
    """All hosts of one seed."""

    def __init__(self, seed: int, setting: Setting) -> None:
        self.seed, self.setting, self.dice = seed, setting, Dice("network", seed)
        self.now, self.count = 0, 0
        self.queue: list[tuple[int, int, int, int, Any]] = []
        self.seen: dict[tuple[bytes, bytes], bool] = {}
        self.chain = f"simulation {seed}"
        self.keys = [Key.derived("simulated", i) for i in range(setting.validators)]
        self.members = tuple(Member(key.public, 10) for key in self.keys)
        self.side = self.dice.below(1 << 16)
        self.hosts = self._hosts()
        liars = frozenset(host.number for host in self.hosts if host.liar is not None)
        for host in self.hosts:
            if host.liar is not None:
                host.liar.friends = liars
        self.checks = Checks(self.members, self.faulty_keys(), self.chain, self.verify)
        self.calm = self._chaos()

    # -- set-up

    def verify(
        self, public: bytes, purpose: str, chain: str, payload: bytes, signature: bytes
    ) -> bool:
        """A signature check that remembers: many hosts ask the same."""
        key = (public + signature, payload + chain.encode())
        if key not in self.seen:
            self.seen[key] = verify_signed(public, purpose, chain, payload, signature)
        return self.seen[key]

    def application(self, position: int) -> Application:
        """A fresh state machine for a host."""
        made = self.setting.application
        found: Application = (
            ListApplication(self.members, position) if made is None else made(self.keys)
        )
        return found

    def _hosts(self) -> list[Host]:
        setting, names = self.setting, [*ZOO, "twin"]
        order = sorted(range(setting.validators), key=lambda i: self.dice.below(1 << 30))
        faulty = order[: setting.faulty]
        hosts: list[Host] = []
        for position in range(setting.validators):
            fault = ""
            if position in faulty:
                at = faulty.index(position)
                given = setting.faults
                fault = self.dice.choice(names) if given is None else given[at % len(given)]
            copies = 2 if fault == "twin" else 1
            for _ in range(copies):
                hosts.append(self._host(len(hosts), position, fault))
        return hosts

    def _host(self, number: int, position: int, fault: str) -> Host:
        key = self.keys[position]
        config = orderer.Config(
            self.chain,
            key,
            self.application(position),
            self.verify,
            quorum=self.setting.quorum,
        )
        dice = Dice("liar", self.seed, number)
        liar = Liar(key, self.chain, dice, self.side) if fault else None
        return Host(number, position, config, liar, fault)

    def faulty_keys(self) -> frozenset[bytes]:
        """The public keys of faulty validators."""
        return frozenset(self.keys[h.position].public for h in self.hosts if not h.is_honest)

    def _chaos(self) -> list[tuple[int, int, frozenset[int]]]:
        """Spans of time in which messages are lost, and the side of a partition in each."""
        spans, at = [], 0
        for _ in range(self.setting.chaos):
            at += self.dice.between(0, 400)
            end = at + self.dice.between(50, 800)
            side = frozenset(h.number for h in self.hosts if self.dice.chance(400))
            spans.append((at, end, side))
            at = end
        return spans

    # -- time

    def push(self, delay: int, host: Host, what: Any) -> None:
        """Brings something to a host later, if it is not restarted before."""
        self.count += 1
        entry = (self.now + delay, self.count, host.number, host.life, what)
        heapq.heappush(self.queue, entry)

    def run(self) -> Checks:
        """Runs until every honest host has decided every height; raises :class:`Violation`."""
        setting = self.setting
        for host in self.hosts:
            self.start(host)
        end = self.calm[-1][1] if self.calm else 0
        for _ in range(setting.crashes):
            victim = self.dice.choice(self.hosts)
            at = self.dice.below(end + 500)
            heapq.heappush(self.queue, (at, -1, victim.number, -1, "crash"))
        limit = end + 5000 + 1000 * setting.heights
        while not self.is_over():
            if not self.queue or self.now > limit:
                raise Violation("liveness", f"not every height is decided at tick {self.now}")
            self.now, _, number, life, what = heapq.heappop(self.queue)
            host = self.hosts[number]
            if what == "crash":
                self.crash(host)
            elif what == "restart":
                self.restart(host)
            elif host.life == life and host.state is not None:
                self.handle(host, what)
        self.checks.finish()
        return self.checks

    def is_over(self) -> bool:
        """Whether there is nothing left to decide."""
        want = self.setting.heights
        return all(len(h.store) >= want for h in self.hosts if h.is_honest)

    # -- hosts

    def start(self, host: Host) -> None:
        """A host's first life."""
        host.state, actions = algorithm.first_state(host.config)
        self.perform(host, actions)

    def handle(self, host: Host, event: orderer.Event) -> None:
        """One step."""
        state = host.state
        if state is None:
            return
        asks = isinstance(event, orderer.Received) and isinstance(event.message, Status)
        if len(host.store) >= self.setting.heights + 2 and not asks:
            return  # done, and still there for those behind
        if host.liar is not None and isinstance(event, orderer.Received):
            host.liar.heard = [*host.liar.heard[-60:], event.message]
        host.state, actions = algorithm.step(host.config, state, event)
        self.perform(host, actions)

    def crash(self, host: Host) -> None:
        """Memory is lost, and of the disk what was not synced."""
        host.state = None
        host.life += 1
        self.count += 1
        later = self.now + self.dice.between(1, 1500)
        heapq.heappush(self.queue, (later, self.count, host.number, -1, "restart"))

    def restart(self, host: Host) -> None:
        """A new life from the disk: stored blocks are applied again, then the log's last record."""
        if host.state is not None:
            return
        host.config = replace(host.config, application=self.application(host.position))
        for height, (value, _) in enumerate(host.store, 1):
            host.config.application.apply(height, value.block)
        below = orderer.State(0, (), -1)
        if host.store:
            decided = host.store[-1][1]
            below = replace(below, decided=decided, members=host.members[-1])
        known = (below, len(host.store) + 1)
        log = frame(host.disk) if host.disk is not None else b""
        log += log[: host.torn % max(1, len(log))]
        host.state, actions = algorithm.restore(host.config, known, last_record(log))
        self.perform(host, actions)

    def perform(self, host: Host, actions: tuple[orderer.Action, ...]) -> None:
        """Does what a step asked for, in order; a crash may fall between two of them."""
        for action in actions:
            match action:
                case orderer.Persist(record):
                    torn = self.setting.crashes > 0 and self.dice.chance(1)
                    if torn:
                        # A crash in the middle of the write: nothing after it is done.
                        host.torn = self.dice.between(1, 200)
                        self.crash(host)
                        return
                    if self.setting.fsync:
                        host.disk = record
                case orderer.Broadcast(message):
                    self.send(host, message, [h.number for h in self.hosts if h is not host])
                case orderer.Send(peer, message):
                    self.send(host, message, [peer])
                case orderer.Serve(peer, height):
                    for value, found in host.store[height - 1 : height - 1 + SERVED]:
                        self.send(host, Decided(value, found), [peer])
                case orderer.Schedule(wait, height, round_, ticks):
                    self.push(ticks, host, orderer.Timeout(wait, height, round_))
                case orderer.Decide(height, value, found):
                    self.decide(host, height, value, found)
                case orderer.Report(evidence):
                    if host.is_honest:
                        self.checks.reported(evidence)

    def decide(self, host: Host, height: int, value: Value, found: Certificate) -> None:
        """Stores, applies, and checks what must hold after every block."""
        application = host.config.application
        if host.is_honest:
            self.checks.decided(host.number, height, value, found, application)
        host.members.append(application.validators(height))
        root = application.apply(height, value.block)
        if host.is_honest:
            self.checks.applied(height, root)
        host.store.append((value, found))
        self.push(0, host, orderer.Applied(height))

    # -- messages

    def send(self, host: Host, message: Message, peers: list[int]) -> None:
        """Hands a message to the network, or to the liar that sends it."""
        if host.liar is None:
            self.checks.sent(message, host.position)
            made = [(peer, message) for peer in peers]
        elif host.fault == "twin":
            made = [(peer, message) for peer in peers]
        else:
            made = ZOO[host.fault](host.liar, message, peers)
        for peer, twisted in made:
            self.carry(host, peer, twisted)

    def carry(self, host: Host, peer: int, message: Message) -> None:
        """One message on its way: late, lost or doubled in chaos, in time in calm."""
        dice, target = self.dice, self.hosts[peer]
        event = orderer.Received(message, host.number)
        spans = [span for span in self.calm if span[0] <= self.now < span[1]]
        if not spans:
            self.push(dice.between(1, 20), target, event)
            return
        side = spans[0][2]
        cut = (host.number in side) != (peer in side)
        if cut or dice.chance(self.setting.loss):
            return
        for _ in range(2 if dice.chance(50) else 1):
            self.push(dice.between(1, 400), target, event)
