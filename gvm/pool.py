"""What pools of workers share: the replica and the shards of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.shards import ShardRunner
from gvm.worker import GRAD, PARAMETERS, STATE

if TYPE_CHECKING:
    from gvm.train import Plan

Arrays = Sequence[NDArray[Any]]


class Pool:
    """A run's session in this process, its shard of every step, and stand-ins for the shards of
    workers that are lost."""

    def __init__(
        self,
        program: bytes,
        plan: Plan,
        inputs: Arrays,
        labels: Arrays,
        parameters: bytes,
        state: bytes,
    ) -> None:
        self.native = _core.Program(program)
        self.plan, self.inputs, self.labels = plan, list(inputs), list(labels)
        self.threads = plan.threads or 1
        self.session = _core.Session(self.native, self.threads, plan.level)
        self.session.write(PARAMETERS, parameters)
        self.session.write(STATE, state)
        self.runner = self.new_runner()
        self.own = np.zeros(self.runner.total_elements, dtype=np.int64)
        """The sums of this process, and of those for which it stands in."""
        self.losses = 0
        """Every total is returned, whatever is asked for."""
        self.lost_clamps = np.zeros(int(self.native.cost(GRAD, 1)["nodes"]), dtype=np.int64)

    def new_runner(self) -> ShardRunner:
        """A runner of shards on this process's session."""
        return ShardRunner(
            self.native,
            self.session,
            self.inputs,
            self.labels,
            self.plan.micro_batch,
            self.plan.seed,
        )

    def stand_in(
        self,
        shard: NDArray[Any],
        offset: int,
        batch: int,
        step: int,
        segment: int,
        totals: NDArray[Any],
    ) -> ShardRunner:
        """A runner of a lost worker's shard that has come as far as ``segment``."""
        runner = self.new_runner()
        runner.start(shard, offset, batch, step)
        known = np.zeros_like(self.own)
        for earlier in range(segment):
            runner.run(earlier, totals, known)
        return runner

    def clamps(self, function: int) -> list[int]:
        """Elements that rounding has clamped, by node; those of ``grad`` over all workers."""
        counts: list[int] = self.session.clamps(function)
        if function != GRAD:
            return counts
        others = self.lost_clamps + sum(self.clamps_of_workers())
        return [a + int(b) for a, b in zip(counts, others, strict=True)]

    def clamps_of_workers(self) -> list[NDArray[np.int64]]:
        """Those of each worker after the last step that it finished."""
        raise NotImplementedError
