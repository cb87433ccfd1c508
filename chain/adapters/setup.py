"""The folders of a devnet: genesis, model, data, and who runs what."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gvm
from chain.adapters.execution import Fold
from chain.adapters.node import key_of
from chain.adapters.store import Store
from chain.adapters.work import BATCH, LEARNING_RATE, MOMENTUM
from chain.codec import encode
from chain.genesis import Founder, Genesis, Grant, Opening, require_signatures, sign_genesis
from chain.hashes import plain
from chain.jobs import StartJob
from chain.keys import Key
from chain.parameters import Parameters, Timing
from chain.records import Terms

SERVICES = 3
"""Nodes for hire that each validator's process hosts."""
CONSPIRATORS = 5
"""The same in a conspiracy: those that are slashed serve no more in the next round."""
SEATS = 4
LAZY = (1, 1)
"""The service that computes nothing."""
FOLDS = 4
TIMING = Timing(200, 60, 60, 200, 60, 120, 6)
GRANT = 10_000_000


@dataclass(frozen=True)
class Plan:
    """What a devnet is made of. ``conspiracy``: in the first round every node for hire but the lazy
    one certifies what the lying trainer claims. ``late``: a further process holds no block and
    begins from a snapshot of the others. ``snapshots``: blocks between them. ``remote``: the first
    trainer has no node; it takes part over HTTP, by the node that would be its own."""

    folder: Path
    validators: int
    trainers: int
    rounds: int
    block_time: float = 0.15
    tick: float = 0.01
    conspiracy: bool = False
    late: bool = False
    snapshots: int = 20
    remote: bool = False

    @property
    def processes(self) -> int:
        """Validators, trainers, and one that joins late."""
        return self.validators + self.trainers + self.late


@dataclass(frozen=True)
class Party:
    """Somebody with an account: a name for people, the process, what it does."""

    name: str
    process: int
    role: str
    habit: str = ""


def parties(plan: Plan) -> list[Party]:
    """Witnesses and their services, then trainers: the first honest, the second lies, the third
    copies, further ones are honest. One service is lazy, the others honest or conspirators."""
    made = []
    for i in range(plan.validators):
        made.append(Party(f"witness {i}", i, "witness"))
        for j in range(CONSPIRATORS if plan.conspiracy else SERVICES):
            habit = "conspirator" if plan.conspiracy else "honest"
            if (i, j) == LAZY:
                habit = "lazy"
            made.append(Party(f"service {i}.{j}", i, "service", habit))
    for i in range(plan.trainers):
        habit = {1: "liar", 2: "copier"}.get(i, "honest")
        made.append(Party(f"trainer {i}", plan.validators + i, "trainer", habit))
    return made


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def read_data(x: Path | None, y: Path | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images as u8 [count, width] and classes: from .npy files, else scikit-learn's digits."""
    if x is not None and y is not None:
        images, labels = (np.load(path, allow_pickle=False) for path in (x, y))
        if images.dtype != np.uint8 or len(images) != len(labels):
            raise gvm.GvmError(
                f"{x}, {y}: must be u8 images and as many labels, received {images.dtype} "
                f"{images.shape} and {labels.shape}"
            )
        return images.reshape(len(images), -1), labels.astype(np.uint8)
    if x is not None or y is not None:
        raise gvm.GvmError("--data needs images and labels")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.minimum(digits.data * 16, 255).astype(np.uint8), digits.target.astype(np.uint8)


def make(plan: Plan, data: tuple[NDArray[Any], NDArray[Any]]) -> None:
    """Writes all folders."""
    if plan.validators < 4 or plan.trainers < 1 or plan.rounds < 1:
        raise gvm.GvmError(
            "a devnet has at least 4 validators, 1 trainer and 1 round, received "
            f"{plan.validators}, {plan.trainers} and {plan.rounds}"
        )
    if plan.folder.exists() and any(plan.folder.iterdir()):
        raise gvm.GvmError(f"{plan.folder}: is not empty")
    images, labels = data
    model = first_model(images, labels)
    folds, held_out = split(images, labels)
    genesis = make_genesis(plan, model, folds)
    ports = free_ports(plan.processes)
    peers = [["127.0.0.1", port] for port in ports]
    if plan.remote:
        plan.folder.mkdir(parents=True, exist_ok=True)
        write_key(plan.folder / "trainer-0.key", key_of("trainer 0"))
    for process in range(len(peers)):
        folder = plan.folder / f"node-{process}"
        folder.mkdir(parents=True)
        (folder / "genesis.cbor").write_bytes(encode(genesis))
        model.save(folder / "model.dmodel")
        store = Store(folder)
        for blob in (model.parameters, *(fold.encoded for fold in folds)):
            store.put(blob)
        mine = [p for p in parties(plan) if p.process == process]
        witness = next((p.name for p in mine if p.role == "witness"), None)
        settings = {
            "index": process,
            "key": witness,
            "peers": peers,
            "tick": plan.tick,
            "block_time": plan.block_time,
            "agents": [agent_row(p) for p in mine if not is_remote(plan, p)],
            "snapshots": plan.snapshots,
            "sync": is_late(plan, process),
        }
        (folder / "node.json").write_text(json.dumps(settings, indent=1) + "\n")
        if process >= plan.validators and not is_late(plan, process):
            part = slice(held_out + process - plan.validators, None, plan.trainers)
            shard = Fold.of(images[part], labels[part])
            (folder / "train.cbor").write_bytes(shard.encoded)


def is_remote(plan: Plan, party: Party) -> bool:
    """Whether somebody takes part over HTTP."""
    return plan.remote and (party.role, party.process) == ("trainer", plan.validators)


def is_late(plan: Plan, process: int) -> bool:
    """Whether a process joins when the others have decided a round."""
    return plan.late and process == plan.processes - 1


def split(images: NDArray[Any], labels: NDArray[Any]) -> tuple[list[Fold], int]:
    """The folds of the first quarter, which is test data, and where training data begin."""
    held_out = len(images) // 4
    parts = zip(
        np.array_split(images[:held_out], FOLDS),
        np.array_split(labels[:held_out], FOLDS),
        strict=True,
    )
    return [Fold.of(part_x, part_y) for part_x, part_y in parts], held_out


def write_key(path: Path, key: Key) -> None:
    """A secret as hex, readable by its owner."""
    path.touch(mode=0o600)
    path.write_text(key.secret.hex() + "\n")


def agent_row(party: Party) -> dict[str, Any]:
    """An agent in node.json."""
    found: dict[str, Any] = {"key": party.name, "role": party.role}
    return found if party.role == "witness" else found | {"habit": party.habit}


def first_model(images: NDArray[Any], labels: NDArray[Any]) -> gvm.Model:
    """A small classifier, trained for one step so that its program has an optimizer."""
    classes = int(labels.max()) + 1
    model = gvm.templates.mlp((images.shape[1], 32, classes))
    few = slice(0, BATCH)
    model.train(
        images[few] / np.float64(256),
        labels[few].astype(np.int64),
        optimizer=gvm.SGD(LEARNING_RATE, momentum=MOMENTUM),
        batch_size=BATCH,
        seed=0,
        progress=False,
    )
    return model


def make_genesis(plan: Plan, model: gvm.Model, folds: list[Fold]) -> Genesis:
    """The genesis with one job, signed by its witnesses."""
    people = parties(plan)
    witnesses = [key_of(p.name) for p in people if p.role == "witness"]
    services = [key_of(p.name) for p in people if p.role == "service"]
    owner = key_of("owner")
    terms = Terms(
        rounds=plan.rounds,
        margin=1,
        verifiers=SEATS,
        confirmers=SEATS,
        max_candidates=plan.trainers,
        trainer_bond=50_000,
        challenge_bond=50_000,
        timing=TIMING,
    )
    job = StartJob(
        program=model.bytes,
        parameters=plain(model.parameters),
        folds=tuple(plain(fold.encoded) for fold in folds),
        deposit=5_000_000,
        terms=terms,
    )
    genesis = Genesis(
        Parameters("gvm devnet", power_unit=1_000, min_phase=2),
        tuple(Grant(key_of(p.name).account, GRANT) for p in people)
        + (Grant(owner.account, GRANT),),
        tuple(Founder(key.public, 100, 2_000_000) for key in witnesses),
        tuple(key.account for key in services),
        (Opening(owner.account, job),),
    )
    require_signatures(genesis, {key.public: sign_genesis(key, genesis) for key in witnesses})
    return genesis
