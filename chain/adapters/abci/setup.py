"""Folders: what an application reads, and a network of engines to try it out with."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from chain.adapters.abci.application import AbciApplication, AbciError, address_of
from chain.adapters.abci.disk import Disk
from chain.adapters.checking import Checkers
from chain.adapters.execution import Evaluator, Remembering
from chain.adapters.node import key_of
from chain.adapters.setup import Plan, first_model, make_genesis, split
from chain.codec import CodecError, decode, encode
from chain.genesis import Genesis, begin, genesis_hash
from chain.keys import Key
from chain.refusal import Refused
from gvm.errors import GvmError

TYPES = {"public": "tendermint/PubKeyEd25519", "private": "tendermint/PrivKeyEd25519"}


def opened_application(folder: Path, interval: int, checkers: int = 0) -> AbciApplication:
    """The application of a folder with ``genesis.cbor`` and ``model.dmodel``, with a number of
    processes that check signatures; raises :class:`gvm.GvmError`, or OSError where they are not
    there."""
    data = (folder / "genesis.cbor").read_bytes()
    remembering = Remembering()
    execution = Evaluator(folder / "model.dmodel").execution(remembering)
    warm = Checkers(remembering, checkers).warm if checkers else None
    try:
        genesis = decode(Genesis, data)
        disk = Disk(folder / "abci.sqlite")
        return AbciApplication(genesis, execution, disk, interval, warm)
    except (AbciError, CodecError, Refused) as error:
        raise GvmError(f"{folder}: {error}") from None


def make_homes(folder: Path, validators: int, data: tuple[NDArray[Any], NDArray[Any]]) -> None:
    """``FOLDER/node-N`` for each validator: the application's files, and CometBFT's genesis and
    key in ``comet/config``. Keys are derived from names: anyone can sign with them."""
    if folder.exists() and any(folder.iterdir()):
        raise GvmError(f"{folder}: is not empty")
    plan = Plan(folder, validators, 1, 1)
    model = first_model(*data)
    folds, _ = split(*data)
    genesis = small(make_genesis(plan, model, folds))
    for at in range(validators):
        node = folder / f"node-{at}"
        config, place = node / "comet" / "config", node / "comet" / "data"
        config.mkdir(parents=True)
        place.mkdir()
        (node / "genesis.cbor").write_bytes(encode(genesis))
        model.save(node / "model.dmodel")
        # What the engine must know of the first witnesses is what the state machine elects.
        execution = Evaluator(node / "model.dmodel").execution()
        seats = begin(genesis, execution).schedule.current
        powers = {seat.public: seat.power for seat in seats}
        keys = [key_of(f"witness {i}") for i in range(validators)]
        write(config / "genesis.json", engine_genesis(genesis, keys, powers))
        write(config / "priv_validator_key.json", private_key(keys[at]))
        state = {"height": "0", "round": 0, "step": 0}
        write(place / "priv_validator_state.json", state)


def small(genesis: Genesis) -> Genesis:
    """The genesis with committees that its nodes can fill."""
    most = max(1, len(genesis.nodes) // 2)
    openings = []
    for opening in genesis.jobs:
        terms = opening.job.terms
        terms = replace(
            terms,
            verifiers=min(terms.verifiers, most),
            confirmers=min(terms.confirmers, most),
        )
        openings.append(replace(opening, job=replace(opening.job, terms=terms)))
    return replace(genesis, jobs=tuple(openings))


def engine_genesis(genesis: Genesis, keys: list[Key], powers: dict[bytes, int]) -> dict[str, Any]:
    """CometBFT's genesis.json; its ``app_state`` names ours."""
    return {
        "genesis_time": "2020-01-01T00:00:00Z",
        "chain_id": genesis.parameters.chain,
        "initial_height": "1",
        "validators": [
            {
                "address": address_of(key.public).hex().upper(),
                "pub_key": typed("public", key.public),
                "power": str(powers[key.public]),
                "name": "",
            }
            for key in keys
        ],
        "app_hash": "",
        "app_state": genesis_hash(genesis).hex(),
    }


def private_key(key: Key) -> dict[str, Any]:
    """CometBFT's priv_validator_key.json."""
    return {
        "address": address_of(key.public).hex().upper(),
        "pub_key": typed("public", key.public),
        "priv_key": typed("private", key.secret + key.public),
    }


def typed(kind: str, data: bytes) -> dict[str, str]:
    """A key as the engine's JSON has it."""
    return {"type": TYPES[kind], "value": base64.b64encode(data).decode()}


def write(path: Path, value: dict[str, Any]) -> None:
    """One file of JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n")
