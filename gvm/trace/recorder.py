"""Writing the trace of a run while it trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gvm import _core
from gvm.data import Dataset
from gvm.errors import GvmError
from gvm.files import write_bytes
from gvm.trace.evaluate import Array, canonical, tensors_of
from gvm.trace.file import END, MAGIC, NAME, Header, Trace, end, linked, read_trace, record
from gvm.trace.listing import Listing
from gvm.types import Type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gvm.model import Model
    from gvm.program import Program
    from gvm.train import Plan, TrainingState

PARAMETERS, STATE = 2, 3
GRAD, APPLY = 2, 3
KEPT = 16
"""Checkpoints that a run's folder keeps, at most: when there are more, every second one goes."""
OVERHEAD = 20
"""Records take at most one part in so many of the time of the steps."""
RECORD, NODE = 2_000_000, 500
"""Nanoseconds of a record, with the checkpoint that may be due, and of a node, beside their
bytes."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """The model as it was before a step."""
    return folder / f"step-{step:010d}.dmodel"


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, ascending."""
    names = (p.name.removeprefix("step-").removesuffix(".dmodel") for p in folder.glob("step-*"))
    return sorted(int(n) for n in names if n.isdecimal())


def data_path(folder: Path, kind: str, index: int) -> Path:
    """An input or the label of a run."""
    return folder / f"{kind}-{index}.gdata"


def chosen_interval(program: Program, batch_size: int) -> int:
    """Steps between records that take about a twentieth of the time of the steps, of exact costs
    and of what processors are expected to do in a nanosecond: hash 1 byte, multiply and add 400
    times, move 80 bytes; and of the time of a record, and of a node, that has next to no bytes.
    The same on every machine."""
    native = _core.Program(program.encode())
    info = native.info()
    size = info["parameter_bytes"] + info["state_bytes"]
    grad, apply = native.cost(GRAD, batch_size), native.cost(APPLY, 1)
    work = sum(
        c["multiply_adds"] // 400 + c["bytes_moved"] // 80 + c["nodes"] * NODE
        for c in (grad, apply)
    )
    return max(1, -(-(int(size) + RECORD) * OVERHEAD // max(1, int(work))))


def tensor_roots(native: Any, parameters: bytes, state: bytes) -> bytes:
    """The hashes of all parameters and all state."""
    tensors = tensors_of(native.tensors(PARAMETERS), parameters)
    tensors += tensors_of(native.tensors(STATE), state)
    return b"".join(_core.blake3(t) for t in tensors)


def data_roots(types: Sequence[Type], arrays: Sequence[Array]) -> tuple[bytes, ...]:
    """The hashes of whole inputs or labels."""
    pairs = zip(types, arrays, strict=True)
    return tuple(_core.blake3(canonical(a, t.dtype)) for t, a in pairs)


class Recorder:
    """Appends the states of a run to the trace in ``folder``, which is made where it is missing.

    A run that goes on continues its trace; records that it meets again must be equal.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int | None) -> None:
        self.folder = Path(folder)
        self.every = every
        self.path = self.folder / NAME
        self.known: dict[int, bytes] = {}
        """Records of the file by step, but for one that only the end put there."""
        self.link = b""
        self.spacing = 0
        """Steps between checkpoints."""

    def begin(
        self,
        model: Model,
        program: Program,
        inputs: Sequence[Array],
        labels: Sequence[Array],
        start: TrainingState,
        plan: Plan,
        resume: bool,
        state: tuple[bytes, bytes],
    ) -> None:
        """Opens the trace of a run from ``start``, where its parameters and state are ``state``;
        raises GvmError where the folder has that of
        another."""
        self.model, self.program = model, program
        self.native = _core.Program(program.encode())
        self.listing = Listing.of(program)
        found = self._found() if resume else None
        if found is None and self.path.exists():
            raise GvmError(f"{self.path}: there is a trace already: resume its run, or remove it")
        every = self.every or chosen_interval(program, plan.batch_size)
        count = 0 if start.partial is None else start.partial[2]
        first = tensor_roots(self.native, *state)
        self.header = Header(
            self.native.info()["train_id"],
            self.listing.id,
            data_roots(program.inputs, inputs) + data_roots(program.labels, labels),
            len(inputs[0]),
            plan.batch_size,
            plan.seed,
            every,
            len(self.listing.entries),
            len(program.inputs),
            len(program.parameters),
            len(program.parameters) + len(program.state),
            start.step,
            start.epoch,
            count,
            _core.blake3(first),
        )
        if found is None:
            self._create(inputs, labels, first, state, start)
        else:
            self._continue(found, start)

    def due(self, step: int) -> bool:
        """Whether the state before this step is recorded."""
        return (step - self.header.step) % self.header.every == 0

    def write(self, session: Any, training: TrainingState) -> None:
        """Records the state before the step at which the run stands; raises GvmError where the
        trace has another for it."""
        parameters, state = session.read(PARAMETERS), session.read(STATE)
        roots = tensor_roots(self.native, parameters, state)
        step = training.step
        if step in self.known:
            if self.known[step] != roots:
                raise GvmError(f"{self.path}: another state than that of the trace, step {step}")
        else:
            self._append(record(step, roots))
            self.known[step] = roots
        self._checkpoint(parameters, state, training)

    def finish(self, session: Any, training: TrainingState) -> None:
        """Records the last state and ends the trace, unless it goes further than this run."""
        step = training.step
        if step < max(self.known):
            return
        if step in self.known:
            self._append(end(step))
            return
        parameters, state = session.read(PARAMETERS), session.read(STATE)
        self._append(record(step, tensor_roots(self.native, parameters, state)), end(step))

    def _found(self) -> Trace | None:
        return read_trace(self.path, unfinished=True) if self.path.exists() else None

    def _create(
        self,
        inputs: Sequence[Array],
        labels: Sequence[Array],
        first: bytes,
        state: tuple[bytes, bytes],
        start: TrainingState,
    ) -> None:
        """The folder of a run that begins: the trace is its last file, and has a record."""
        self.folder.mkdir(exist_ok=True)
        for kind, types, arrays in (
            ("input", self.program.inputs, inputs),
            ("label", self.program.labels, labels),
        ):
            for i, (type_, array) in enumerate(zip(types, arrays, strict=True)):
                dtype = "u8" if type_.dtype == "bool" else type_.dtype
                bits = 0 if type_.dtype == "bool" else type_.fraction_bits
                Dataset(array, dtype, bits).save(data_path(self.folder, kind, i))
        self.spacing = KEPT * self.header.every
        self._save(state, start)
        header, body = self.header.encoded(), record(start.step, first)
        self.link = linked(self.header.link, body)
        begun = MAGIC + len(header).to_bytes(8, "little") + header
        write_bytes(self.path, begun + body + self.link)
        self.known = {start.step: first}

    def _continue(self, found: Trace, start: TrainingState) -> None:
        mine, theirs = self.header, found.header
        if self.every is not None and self.every != theirs.every:
            raise GvmError(f"{self.path}: records every {theirs.every} steps, not {self.every}")
        same = Header(
            **{
                **{f: getattr(mine, f) for f in mine.__dataclass_fields__},
                "every": theirs.every,
                "step": theirs.step,
                "epoch": theirs.epoch,
                "taken": theirs.taken,
                "state": theirs.state,
            }
        )
        if same != theirs:
            raise GvmError(f"{self.path}: the trace of another run: {_difference(same, theirs)}")
        self.header = theirs
        if theirs.place(start.step) != (start.epoch, mine.taken) or start.step < theirs.step:
            raise GvmError(f"{self.path}: the trace of another run: it is never at {start.step}")
        self.known = {s: r for s, r in found.records.items() if self.due(s)}
        missing = max(self.known) + theirs.every
        if start.step > missing:
            raise GvmError(f"{self.path}: has no record of step {missing}, the run is past it")
        self.link = found.regular
        os.truncate(self.path, found.size)
        steps = checkpoint_steps(self.folder)
        gaps = [b - a for a, b in zip(steps, steps[1:], strict=False)]
        self.spacing = max([KEPT * theirs.every, *gaps])

    def _append(self, *records: bytes) -> None:
        """Writes whole records behind the last, in one piece."""
        data = b""
        for body in records:
            self.link = linked(self.link, body)
            data += body + self.link
        with open(self.path, "ab") as file:
            file.write(data)
            # What a crash takes from the tail of the file is recorded again when the run goes on.
            if records[-1][0] == END:
                file.flush()
                os.fsync(file.fileno())

    def _checkpoint(self, parameters: bytes, state: bytes, training: TrainingState) -> None:
        step = training.step
        if (step - self.header.step) % self.spacing != 0:
            return
        path = checkpoint_path(self.folder, step)
        if path.exists():
            return
        self._save((parameters, state), training)
        steps = checkpoint_steps(self.folder)
        if len(steps) > KEPT:
            self.spacing *= 2
            for old in steps:
                if (old - self.header.step) % self.spacing != 0:
                    checkpoint_path(self.folder, old).unlink()

    def _save(self, state: tuple[bytes, bytes], training: TrainingState) -> None:
        made = type(self.model)(self.program, *state, training, self.model.info)
        made.save(checkpoint_path(self.folder, training.step))


def _difference(mine: Header, theirs: Header) -> str:
    names = {
        "train": "its program",
        "listing": "its program",
        "data": "its data",
        "count": "the number of examples",
        "batch_size": "the batch size",
        "seed": "the seed",
    }
    found = [text for name, text in names.items() if getattr(mine, name) != getattr(theirs, name)]
    return f"{found[0]} differs" if found else "it differs"
