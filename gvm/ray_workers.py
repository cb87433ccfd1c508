"""Elastic data parallelism through Ray: the other workers of a run are actors of a cluster, on one
machine or on several (the extra ``ray``).

They compute as the processes of :mod:`gvm.workers` do: shards add exact integers, and every replica
applies the same totals. How many actors there are, where, and which of them die, moves no bit.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.errors import GvmError, HostError
from gvm.pool import Arrays, Pool
from gvm.shards import ShardRunner, split
from gvm.worker import GRAD, PARAMETERS, STATE, decoded_error, encoded_error

if TYPE_CHECKING:
    from gvm.train import Plan


class Replica:
    """A copy of the model in an actor, and its shard of every step."""

    def __init__(
        self,
        options: dict[str, Any],
        parameters: bytes,
        state: bytes,
        data: tuple[Arrays, Arrays],
    ) -> None:
        native = _core.Program(options["program"])
        self.session = _core.Session(native, options["threads"], options["level"])
        self.session.write(PARAMETERS, parameters)
        self.session.write(STATE, state)
        self.runner = ShardRunner(
            native, self.session, *data, options["micro_batch"], options["seed"]
        )
        self.sums = np.zeros(self.runner.total_elements, dtype=np.int64)

    def start(self, step: int, shard: NDArray[Any], offset: int, batch: int) -> dict[str, Any]:
        """Begins a step and computes its first segment."""
        self.runner.start(np.array(shard), offset, batch, step)
        return self.run(0, np.zeros_like(self.sums))

    def run(self, segment: int, totals: NDArray[Any]) -> dict[str, Any]:
        """This shard's sums of a segment and, with the last, all its clamp counts of ``grad``; or
        what went wrong."""
        try:
            where = self.runner.ranges[segment]
            self.sums[where] = 0
            self.runner.run(segment, np.array(totals), self.sums)
            last = segment == self.runner.segments - 1
            return {
                "sums": self.sums[where],
                "clamps": list(self.session.clamps(GRAD)) if last else None,
            }
        except Exception as error:
            return {"error": encoded_error(error)}

    def apply(self, totals: NDArray[Any], step: int) -> None:
        """Advances the replica as every other worker does."""
        self.runner.apply(np.array(totals), step)

    def process(self) -> int:
        """Where it runs."""
        return os.getpid()


class RayPool(Pool):
    """Runs steps on ``plan.workers`` workers, this process and actors, as ``WorkerPool`` does.

    Takes the cluster that this process is connected to, else starts one here for the run. An actor
    that dies is replaced before the next step; its shard of the step is computed here, with a
    RuntimeWarning.
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
        try:
            import ray
        except ImportError:
            raise GvmError("cluster 'ray' needs Ray: pip install 'gvm[ray]'") from None
        self.ray = ray
        super().__init__(program, plan, inputs, labels, parameters, state)
        self.totals = np.zeros(self.runner.total_elements, dtype=np.int64)
        self.counted: dict[int, NDArray[np.int64]] = {}
        """Clamp counts of each actor after the last step that it finished."""
        self.actors: dict[int, Any] = {}
        self.started = not ray.is_initialized()
        if self.started:
            path = os.pathsep.join(p or os.getcwd() for p in sys.path)
            ray.init(
                num_cpus=plan.workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
        options = {
            "program": program,
            "threads": self.threads,
            "level": plan.level,
            "micro_batch": plan.micro_batch,
            "seed": plan.seed,
        }
        try:
            self.options = ray.put(options)
            self.data = ray.put(
                [[np.asarray(a) for a in arrays] for arrays in (self.inputs, self.labels)]
            )
            self._open(range(1, plan.workers))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the actors, and the cluster where it was started for this run."""
        for actor in self.actors.values():
            with suppress(Exception):
                self.ray.kill(actor)
        self.actors = {}
        if self.started:
            self.ray.shutdown()

    def step(self, indices: NDArray[Any], step: int) -> NDArray[Any]:
        """One step on these examples; returns the totals, which stay until the next step."""
        lost = [row for row in range(1, self.plan.workers) if row not in self.actors]
        if lost:
            self._open(lost)
        parts = split(indices, self.plan.workers)
        self.runner.start(*parts[0], len(indices), step)
        stand_ins: dict[int, ShardRunner] = {}
        for segment, where in enumerate(self.runner.ranges):
            asked = {
                row: actor.run.remote(segment, self.totals)
                if segment
                else actor.start.remote(step, *parts[row], len(indices))
                for row, actor in self.actors.items()
            }
            self.own[where] = 0
            self.runner.run(segment, self.totals, self.own)
            for row in range(1, self.plan.workers):
                made = self._answer(row, asked[row], step) if row in self.actors else None
                if made is not None:
                    self.own[where] += made["sums"]
                    if made["clamps"] is not None:
                        self.counted[row] = np.array(made["clamps"], dtype=np.int64)
                    continue
                if row not in stand_ins:
                    stand_ins[row] = self.stand_in(
                        *parts[row], len(indices), step, segment, self.totals
                    )
                stand_ins[row].run(segment, self.totals, self.own)
            self.totals[where] = self.own[where]
        if self.actors:
            totals = self.ray.put(self.totals)
            for actor in self.actors.values():
                actor.apply.remote(totals, step)
        self.runner.apply(self.totals, step)
        return self.totals

    def clamps_of_workers(self) -> list[NDArray[np.int64]]:
        """Those of each actor after the last step that it finished."""
        return list(self.counted.values())

    def _open(self, rows: Sequence[int]) -> None:
        """Starts actors from the present parameters and state, and waits for them."""
        actor = self.ray.remote(num_cpus=1, max_restarts=0)(Replica)
        held = self.session.read(PARAMETERS), self.session.read(STATE)
        for row in rows:
            self.actors[row] = actor.remote(self.options, *held, self.data)
        try:
            self.ray.get([self.actors[row].process.remote() for row in rows])
        except self.ray.exceptions.RayError as error:
            raise HostError(f"an actor did not start: {error}") from None

    def _answer(self, row: int, asked: Any, step: int) -> dict[str, Any] | None:
        """What an actor gives, None where it is gone; raises its error as it was there."""
        try:
            made: dict[str, Any] = self.ray.get(asked)
        except self.ray.exceptions.RayActorError:
            del self.actors[row]
            if row in self.counted:
                self.lost_clamps += self.counted.pop(row)
            warnings.warn(
                f"actor {row} died in step {step}: the main process computes its shard, and "
                "another actor takes its place",
                RuntimeWarning,
                stacklevel=3,
            )
            return None
        if "error" in made:
            raise decoded_error(made["error"])
        return made
