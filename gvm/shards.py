"""Shards of a training step: what one worker computes of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core

Arrays = Sequence[NDArray[Any]]
TOTALS = 5


class ShardRunner:
    """Runs the segments of ``grad`` on one worker's part of a batch, and applies totals.

    Sums are exact integers, so the totals of a batch are the sum over runners, in any order.
    """

    def __init__(
        self,
        program: Any,
        session: Any,
        inputs: Arrays,
        labels: Arrays,
        micro_batch: int | None,
        seed: int,
    ) -> None:
        self.session = session
        self.inputs = inputs
        self.labels = labels
        self.micro_batch = micro_batch
        self.seed = seed
        self.total_elements = int(program.info()["totals"])
        self.segments = int(program.info()["segments"])
        starts = {segment: at for _, at, segment in reversed(program.tensors(TOTALS))}
        ends = [*(starts[s] for s in range(1, self.segments)), self.total_elements]
        self.ranges = [slice(starts[s], ends[s]) for s in range(self.segments)]
        """Where the totals of each segment lie."""
        self._shards: list[Any] = []
        self._where: tuple[NDArray[Any], int, int, int] | None = None

    def start(self, indices: NDArray[Any], offset: int, batch: int, step: int) -> None:
        """Takes the examples ``indices``, which stand at ``offset`` in the step's batch."""
        self._shards = []
        self._where = (indices, offset, batch, step)

    def run(self, segment: int, totals: NDArray[Any], sums: NDArray[Any]) -> None:
        """Adds this worker's partial sums of a segment to ``sums``.

        ``totals`` holds the sums of earlier segments over all workers.
        """
        assert self._where is not None
        indices, offset, batch, step = self._where
        size = self.micro_batch or max(1, len(indices))
        if self.segments == 1:
            # One micro-batch at a time: its memory is used again for the next.
            for start in range(0, len(indices), size):
                self._shard(indices[start : start + size], offset + start, batch, step).run(
                    0, totals, sums
                )
            return
        if segment == 0:
            self._shards = [
                self._shard(indices[s : s + size], offset + s, batch, step)
                for s in range(0, len(indices), size)
            ]
        for shard in self._shards:
            shard.run(segment, totals, sums)

    def apply(self, totals: NDArray[Any], step: int) -> None:
        """Advances this worker's parameters and state by one step."""
        self._shards = []
        self.session.apply(totals, self.seed, step)

    def step(self, indices: NDArray[Any], step: int, count: int) -> NDArray[Any]:
        """A whole step on the examples ``indices``; returns the first ``count`` totals."""
        totals: NDArray[Any] = self.session.step(
            [np.ascontiguousarray(x[indices]) for x in self.inputs],
            [np.ascontiguousarray(y[indices]) for y in self.labels],
            self.seed,
            step,
            count,
        )
        return totals

    def _shard(self, indices: NDArray[Any], offset: int, batch: int, step: int) -> Any:
        return _core.Shard(
            self.session,
            [np.ascontiguousarray(x[indices]) for x in self.inputs],
            [np.ascontiguousarray(y[indices]) for y in self.labels],
            offset,
            batch,
            self.seed,
            step,
        )


def split(indices: NDArray[Any], workers: int) -> list[tuple[NDArray[Any], int]]:
    """The part of a batch and its offset for each worker.

    Parts are contiguous, their sizes differ by at most one; some may be empty, but never the first.
    """
    bounds = [-(-len(indices) * w // workers) for w in range(workers + 1)]
    return [(indices[a:b], a) for a, b in zip(bounds, bounds[1:], strict=False)]
