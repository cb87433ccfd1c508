"""A worker process of :mod:`gvm.workers`: ``python -m gvm.worker``.

It holds a replica of the model and computes one shard of every step. Requests arrive on standard
input and are answered on standard output, each a canonical CBOR value after its size in four
little-endian bytes. Arrays lie in files of one folder, mapped by all:

    input-<i>.npy, label-<i>.npy    the data set; or .place, the file that it is mapped from
    order                           int64, examples of the step's batch
    totals                          int64, sums over all workers
    sums                            int64, one row of partial sums per worker
    clamps                          int64, clamp counts of ``grad``, two rows per worker in turn

Requests: ``["open", options]``, ``["start", step, offset, count, batch]``, ``["run", segment]`` and
``["apply", step]``. All but the last are answered, by ``None`` or by
``{"error": [class, message, status, name]}``, after which the worker ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core, cbor, errors
from gvm.mapped import from_place
from gvm.shards import ShardRunner

INPUTS, LABELS, PARAMETERS, STATE = range(4)
GRAD = 2


def send(stream: IO[bytes], message: Any) -> None:
    """Writes one message."""
    body = cbor.encode(message)
    stream.write(len(body).to_bytes(4, "little") + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Reads one message; raises EOFError where the other process has gone."""
    head = stream.read(4)
    size = int.from_bytes(head, "little")
    body = stream.read(size) if len(head) == 4 else b""
    if len(head) < 4 or len(body) < size:
        raise EOFError
    return cbor.decode(body)


def table(path: Path, rows: int, columns: int, mode: Any = "r+") -> NDArray[np.int64]:
    """A shared array of int64; an empty one needs no file."""
    if rows * columns == 0:
        return np.zeros((rows, columns), dtype=np.int64)
    return np.memmap(path, dtype=np.int64, mode=mode, shape=(rows, columns)).view(np.ndarray)


def _examples(folder: Path, name: str, type_: Any) -> Any:
    """The examples of one input or label: in the folder, or in the file that lies elsewhere."""
    place = folder / f"{name}.place"
    if place.is_file():
        return from_place(cbor.decode(place.read_bytes()), type_, name.replace("-", " "))
    return np.load(folder / f"{name}.npy", mmap_mode="r")


class Replica:
    """This process's copy of the model and its row of the shared arrays."""

    def __init__(self, options: dict[str, Any]) -> None:
        folder = Path(options["folder"])
        native = _core.Program(options["program"])
        self.session = _core.Session(native, options["threads"], options["level"])
        self.session.write(PARAMETERS, (folder / "parameters").read_bytes())
        self.session.write(STATE, (folder / "state").read_bytes())

        def arrays(name: str, section: int) -> list[NDArray[Any]]:
            types = [t for t, _, _ in native.tensors(section)]
            return [_examples(folder, f"{name}-{i}", t) for i, t in enumerate(types)]

        self.runner = ShardRunner(
            native,
            self.session,
            arrays("input", INPUTS),
            arrays("label", LABELS),
            options["micro_batch"],
            options["seed"],
        )
        workers, row = options["workers"], options["row"]
        nodes = int(native.cost(GRAD, 1)["nodes"])
        self.order = table(folder / "order", 1, options["batch_size"], "r")[0]
        self.totals = table(folder / "totals", 1, self.runner.total_elements, "r")[0]
        self.sums = table(folder / "sums", workers, self.runner.total_elements)[row]
        self.clamps = table(folder / "clamps", 2 * workers, nodes)[2 * row : 2 * row + 2]
        self.step = 0

    def start(self, step: int, offset: int, count: int, batch: int) -> None:
        """Begins a step and computes its first segment."""
        self.step = step
        self.runner.start(self.order[offset : offset + count], offset, batch, step)
        self.run(0)

    def run(self, segment: int) -> None:
        """Leaves this shard's sums of a segment in its row; with the last, its clamp counts."""
        self.sums[self.runner.ranges[segment]] = 0
        self.runner.run(segment, self.totals, self.sums)
        if segment == self.runner.segments - 1:
            self.clamps[self.step % 2] = self.session.clamps(GRAD)

    def apply(self, step: int) -> None:
        """Advances the replica as every other worker does."""
        self.runner.apply(self.totals, step)


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers until the main process closes its end, is gone, or has been told of an error."""
    replica: Replica | None = None
    folder: Path | None = None
    while True:
        try:
            request = receive(requests)
        except EOFError:
            if folder is not None:
                # The main process is done with it, or was killed and cannot remove it.
                shutil.rmtree(folder, ignore_errors=True)
            return
        try:
            match request:
                case ["open", options]:
                    folder = Path(options["folder"])
                    replica = Replica(options)
                case ["start", step, offset, count, batch] if replica is not None:
                    replica.start(step, offset, count, batch)
                case ["run", segment] if replica is not None:
                    replica.run(segment)
                case ["apply", step] if replica is not None:
                    replica.apply(step)
                    continue
                case _:
                    raise errors.HostError(f"a worker received {request!r}")
        except Exception as error:
            with suppress(BrokenPipeError):
                send(answers, {"error": encoded_error(error)})
            return
        with suppress(BrokenPipeError):
            send(answers, None)


def encoded_error(error: Exception) -> list[Any]:
    """An error as canonical values: class, message, status, name of the status."""
    if isinstance(error, errors.GvmError):
        status, name = getattr(error, "status", 0), getattr(error, "name", "")
        return [type(error).__name__, str(error), status, name]
    return ["HostError", f"a worker failed: {type(error).__name__}: {error}", 0, ""]


def decoded_error(body: list[Any]) -> errors.GvmError:
    """The inverse of ``encoded_error``."""
    kind, message, status, name = body
    if kind in ("ProgramError", "HostError"):
        return getattr(errors, kind)(message, status, name)  # type: ignore[no-any-return]
    return errors.GvmError(message)


def main() -> None:
    """Serves standard input and output. The keyboard's interrupt is for the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Whatever a library prints must not end up among the answers.
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
