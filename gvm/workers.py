"""Elastic data parallelism on one machine: processes with a replica of the model each.

A step's batch is split among the workers; their exact sums are added, and every process applies the
same totals, so replicas stay equal without being sent. How many workers there are, and which of
them die, moves no bit of the result.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm import cbor
from gvm.errors import HostError
from gvm.mapped import place_of
from gvm.pool import Arrays, Pool
from gvm.shards import ShardRunner, split
from gvm.worker import PARAMETERS, STATE, decoded_error, receive, send, table

if TYPE_CHECKING:
    from gvm.train import Plan

SHARED_MEMORY = Path("/dev/shm")
SPARE_BYTES = 1 << 24
"""What must stay free in shared memory, else the folder lies among the temporary files."""
GRACE_SECONDS = 2.0


class Gone(Exception):
    """A worker process has ended."""


class Worker:
    """One other process and its row of the shared arrays."""

    def __init__(self, row: int, options: dict[str, Any]) -> None:
        self.row = row
        self.counted: int | None = None
        """Which of its two rows of clamp counts belongs to the last step it finished."""
        # It imports what this process imports, wherever that lies.
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gvm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        with suppress(Gone):  # Then it has no answer either.
            self.send(["open", {**options, "row": row}])

    def send(self, message: Any) -> None:
        """Sends a request; raises Gone."""
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, message)
        except OSError:
            raise Gone from None

    def answer(self) -> None:
        """Waits until the worker has done what was asked; raises its error, or Gone."""
        assert self.process.stdout is not None
        try:
            message = receive(self.process.stdout)
        except (EOFError, OSError):
            raise Gone from None
        if message is not None:
            raise decoded_error(message["error"])

    def hang_up(self) -> None:
        """Closes the pipe of requests: the worker ends when it has finished what it does."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def reap(self, grace: float) -> int:
        """Waits for the end of the process, killing it after ``grace`` seconds; its exit status."""
        self.hang_up()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.returncode


class WorkerPool(Pool):
    """Runs steps on ``plan.workers`` processes, this one among them, as ``Alone`` does on one.

    A worker that dies is replaced before the next step; its shard of the step is computed here,
    with a RuntimeWarning. An error of a worker is raised here as the error it was there.
    """

    def __init__(
        self,
        program: bytes,
        plan: Plan,
        inputs: Arrays,
        labels: Arrays,
        parameters: bytes,
        state: bytes,
    ) -> None:
        super().__init__(program, plan, inputs, labels, parameters, state)
        self.workers: dict[int, Worker] = {}
        self.lost: list[Worker] = []
        nodes = len(self.lost_clamps)
        arrays = [a for a in (*inputs, *labels) if place_of(a) is None]
        size = sum(a.nbytes for a in arrays) + len(parameters) + len(state)
        size += 8 * (plan.workers + 1) * (self.runner.total_elements + 2 * nodes)
        self.folder = tempfile.TemporaryDirectory(prefix="gvm-", dir=_place(size))
        try:
            try:
                self._share(nodes)
            except OSError as error:
                raise HostError(f"workers: cannot share the data set: {error}") from error
            self.options = {
                "program": program,
                "folder": self.folder.name,
                "threads": self.threads,
                "level": plan.level,
                "micro_batch": plan.micro_batch,
                "seed": plan.seed,
                "workers": plan.workers,
                "batch_size": plan.batch_size,
            }
            self._open(range(1, plan.workers))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, all of them, and removes the shared folder."""
        workers = [*self.workers.values(), *self.lost]
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.reap(GRACE_SECONDS)
        self.workers, self.lost = {}, []
        self.folder.cleanup()

    def step(self, indices: NDArray[Any], step: int) -> NDArray[Any]:
        """One step on these examples; returns the totals, which stay until the next step."""
        if self.lost:
            self._replace()
        parts = split(indices, self.plan.workers)
        self.order[: len(indices)] = indices
        self.runner.start(*parts[0], len(indices), step)
        stand_ins: dict[int, ShardRunner] = {}
        for segment, where in enumerate(self.runner.ranges):
            for row, worker in list(self.workers.items()):
                shard, offset = parts[row]
                start = ["start", step, offset, len(shard), len(indices)]
                with self._watching(worker, step):
                    worker.send(["run", segment] if segment else start)
            self.own[where] = 0
            self.runner.run(segment, self.totals, self.own)
            answered = []
            for row in range(1, self.plan.workers):
                if row in self.workers:
                    with self._watching(self.workers[row], step):
                        self.workers[row].answer()
                        answered.append(row)
                        if segment == self.runner.segments - 1:
                            self.workers[row].counted = step % 2
                if row not in self.workers:
                    if row not in stand_ins:
                        stand_ins[row] = self.stand_in(
                            *parts[row], len(indices), step, segment, self.totals
                        )
                    stand_ins[row].run(segment, self.totals, self.own)
            # Totals are written only now that every worker has answered: it has then applied those
            # of the step before.
            sums, total = self.own[where], self.totals[where]
            for row in answered:
                sums = np.add(sums, self.sums[row][where], out=total)
            if not answered:
                total[:] = sums
        for worker in list(self.workers.values()):
            with self._watching(worker, step):
                worker.send(["apply", step])
        self.runner.apply(self.totals, step)
        totals: NDArray[Any] = self.totals
        return totals

    def clamps_of_workers(self) -> list[NDArray[np.int64]]:
        """Those of each worker after the last step that it finished."""
        return [self._counted(w) for w in self.workers.values()]

    # -- the others

    def _share(self, nodes: int) -> None:
        """Writes the data set and the shared arrays, which are zero.

        They are written before they are mapped: a full disk is an error then, not a signal.
        """
        folder, workers = Path(self.folder.name), self.plan.workers
        for name, arrays in (("input", self.inputs), ("label", self.labels)):
            for i, array in enumerate(arrays):
                place = place_of(array)
                if place is not None:
                    (folder / f"{name}-{i}.place").write_bytes(cbor.encode(place))
                    continue
                np.save(folder / f"{name}-{i}.npy", np.asarray(array), allow_pickle=False)
        elements = self.runner.total_elements
        made = []
        for name, rows, columns in (
            ("order", 1, self.plan.batch_size),
            ("totals", 1, elements),
            ("sums", workers, elements),
            ("clamps", 2 * workers, nodes),
        ):
            np.zeros((rows, columns), dtype=np.int64).tofile(folder / name)
            made.append(table(folder / name, rows, columns))
        self.order, self.totals, self.sums, self.clamp_rows = made[0][0], made[1][0], *made[2:]

    def _open(self, rows: Sequence[int]) -> None:
        """Starts workers from the present parameters and state, and waits for them."""
        folder = Path(self.folder.name)
        (folder / "parameters").write_bytes(self.session.read(PARAMETERS))
        (folder / "state").write_bytes(self.session.read(STATE))
        for row in rows:
            self.workers[row] = Worker(row, self.options)
        for row in rows:
            try:
                self.workers[row].answer()
            except Gone:
                status = self.workers.pop(row).reap(GRACE_SECONDS)
                raise HostError(f"worker {row} did not start: {_ending(status)}") from None
        (folder / "parameters").unlink()
        (folder / "state").unlink()

    def _replace(self) -> None:
        rows = [w.row for w in self.lost]
        self.lost = []
        for row in rows:
            self.clamp_rows[2 * row : 2 * row + 2] = 0
        self._open(rows)

    @contextmanager
    def _watching(self, worker: Worker, step: int) -> Iterator[None]:
        """Turns the end of a worker into its loss."""
        try:
            yield
        except Gone:
            self._lose(worker, step)

    def _lose(self, worker: Worker, step: int) -> None:
        """Takes a dead worker out of the pool."""
        del self.workers[worker.row]
        self.lost.append(worker)
        self.lost_clamps += self._counted(worker)
        ending = _ending(worker.reap(GRACE_SECONDS))
        warnings.warn(
            f"worker {worker.row} {ending} in step {step}: the main process computes its shard, "
            "and another worker takes its place",
            RuntimeWarning,
            stacklevel=2,
        )

    def _counted(self, worker: Worker) -> NDArray[np.int64]:
        if worker.counted is None:
            return np.zeros_like(self.lost_clamps)
        row: NDArray[np.int64] = self.clamp_rows[2 * worker.row + worker.counted]
        return row


def _place(size: int) -> Path | None:
    """Shared memory where it has room, else the usual place of temporary files."""
    if os.access(SHARED_MEMORY, os.W_OK):
        if shutil.disk_usage(SHARED_MEMORY).free > size + SPARE_BYTES:
            return SHARED_MEMORY
    return None


def _ending(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
