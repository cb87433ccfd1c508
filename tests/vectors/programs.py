"""Writes programs/: whole files and what follows from them. What has been published is left alone.

Run as ``python -m tests.vectors.programs``; tests/test_program_identity.py holds the core to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gvm import _core, cbor
from tests import hand_written
from tests.hand_written import INPUTS, LABELS, PARAMETERS, STATE, Array

FOLDER = Path(__file__).parent / "programs"
BODIES = {
    "inference": hand_written.inference,
    "trained": hand_written.trained,
    "images": hand_written.images,
    "choices": hand_written.choices,
}
BATCH, SEED, STEP = 4, 7, 3


def text(array: Array) -> str:
    """Integers in row-major order."""
    return ",".join(str(int(v)) for v in np.asarray(array).ravel())


def follows(program: Any, parameters: bytes, state: bytes, level: int) -> Iterator[tuple[str, str]]:
    """What a program makes of painted data: outputs, loss, a step of training in one shard."""
    info = program.info()
    yield "graph_id", info["graph_id"].hex()
    yield "train_id", info["train_id"].hex()
    yield "parameters_id", program.parameters_id(parameters).hex()
    made = _core.Session(program, 2, level)
    made.write(PARAMETERS, parameters)
    made.write(STATE, state)
    inputs = hand_written.integers(program.tensors(INPUTS), BATCH, 21)
    labels = hand_written.integers(program.tensors(LABELS), BATCH, 22)
    for name, arrays in (("input", inputs), ("label", labels), ("output", made.predict(inputs))):
        for i, array in enumerate(arrays):
            yield f"{name}{i}", text(array)
    if info["segments"] == 0:
        return
    yield "loss", text(np.array(made.loss(inputs, labels), dtype=object))
    totals = np.zeros(info["totals"], dtype=np.int64)
    shard = _core.Shard(made, inputs, labels, 0, BATCH, SEED, STEP)
    for segment in range(info["segments"]):
        sums = np.zeros_like(totals)
        shard.run(segment, totals, sums)
        totals += sums
    made.apply(totals, SEED, STEP)
    yield "totals", text(totals)
    yield "next_parameters_id", program.parameters_id(made.read(PARAMETERS)).hex()
    yield "next_state", _core.blake3(made.read(STATE)).hex()


def main() -> None:
    """Adds what is not there yet."""
    for name, body in BODIES.items():
        path = FOLDER / f"{name}.dmodel"
        if path.exists():
            continue
        program = hand_written.load(body())
        parameters = hand_written.buffer(program, PARAMETERS, 11)
        state = hand_written.buffer(program, STATE, 12, 1 << 10)
        path.write_bytes(_core.write_file(cbor.encode(body()), parameters, state, cbor.encode({})))
        with open(FOLDER / "known.txt", "a", encoding="ascii") as file:
            for key, value in follows(program, parameters, state, 0):
                file.write(f"{name} {key} {value}\n")


if __name__ == "__main__":
    main()
