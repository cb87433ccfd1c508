"""The state: tables of records, and the one root that names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chain import merkle
from chain.codec import encode
from chain.hashes import digest_of
from chain.parameters import Parameters
from chain.records import (
    Account,
    Delegation,
    Job,
    Node,
    Notice,
    Pool,
    Result,
    Round,
    Schedule,
    Task,
    Unbonding,
    Validator,
)
from chain.table import Table


@dataclass(frozen=True)
class State:
    """Everything that blocks have decided. A value: each step makes a new one. ``identity``: the
    chain's name and the hash of its genesis, what every signature binds."""

    parameters: Parameters
    identity: str
    height: int
    parent: bytes
    entropy: bytes
    supply: int
    schedule: Schedule
    accounts: Table[Account] = field(default_factory=Table)
    validators: Table[Validator] = field(default_factory=Table)
    delegations: Table[Delegation] = field(default_factory=Table)
    pools: Table[Pool] = field(default_factory=Table)
    unbondings: Table[Unbonding] = field(default_factory=Table)
    nodes: Table[Node] = field(default_factory=Table)
    jobs: Table[Job] = field(default_factory=Table)
    rounds: Table[Round] = field(default_factory=Table)
    results: Table[Result] = field(default_factory=Table)
    tasks: Table[Task] = field(default_factory=Table)
    faults: Table[bytes] = field(default_factory=Table)
    notices: tuple[Notice, ...] = ()

    def but(self, **changes: Any) -> State:
        """The state with other fields. Every transaction makes several: ``replace`` would read
        each field one by one."""
        if not changes.keys() <= _FIELDS:
            raise TypeError(f"a state has no field {sorted(changes.keys() - _FIELDS)[0]!r}")
        made = object.__new__(State)
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changes)
        return made

    def note(self, kind: str, subject: bytes, amount: int = 0) -> State:
        """The state with one more notice: receipts carry them, the root does not."""
        return self.but(notices=(*self.notices, Notice(kind, subject, amount)))


_FIELDS = frozenset(State.__dataclass_fields__)

TABLES = (
    "accounts",
    "validators",
    "delegations",
    "pools",
    "unbondings",
    "nodes",
    "jobs",
    "rounds",
    "results",
    "tasks",
    "faults",
)
"""The tables under the root, in order; append-only."""


HEADER = ("parameters", "identity", "height", "parent", "entropy", "supply", "schedule")
"""The fields of the first leaf under the root: what is in no table."""


def header_leaf(state: State) -> bytes:
    """The first leaf under the root."""
    return encode(("state", *(getattr(state, name) for name in HEADER)))


def leaves(state: State) -> list[bytes]:
    """The leaves of the state's tree: the header, then the root of each table. D6."""
    return [header_leaf(state), *(getattr(state, name).root for name in TABLES)]


def root(state: State) -> bytes:
    """The hash that names a state. D6."""
    return merkle.root(leaves(state))


def subchain_root(state: State, job: bytes) -> bytes:
    """The hash of one job's namespace: the job, its open round, its last block. L2."""
    found = state.jobs.get(job)
    parts = [found, state.rounds.get(job), found and state.results.get(found.last)]
    return digest_of("subchain", *(b"" if part is None else encode(part) for part in parts))
