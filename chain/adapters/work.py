"""Slow work of a node, off the thread that takes part in consensus: evaluation and training."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gvm
from chain.adapters.execution import Evaluator, read_fold
from chain.hashes import plain
from chain.records import Entry

LEARNING_RATE, MOMENTUM, BATCH = 0.1, 0.9, 32
Find = Callable[[bytes], bytes | None]
"""The name of a blob to its bytes; None while it is not here."""


class Workshop:
    """One worker thread and what it has found. ``done`` is called on the loop when a piece of work
    is finished."""

    def __init__(self, evaluator: Evaluator, find: Find, done: Callable[[], None]) -> None:
        self.evaluator, self.find, self.done = evaluator, find, done
        self.train_data = b""
        self._pool = ThreadPoolExecutor(1)
        self._results: dict[tuple[Any, ...], Any] = {}
        self._running: set[tuple[Any, ...]] = set()
        self.made: dict[bytes, bytes] = {}

    def _ask(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        if key in self._results:
            return self._results[key]
        if key not in self._running:
            self._running.add(key)
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._pool, work)
            future.add_done_callback(lambda found: self._finish(key, found))
        return None

    def _finish(self, key: tuple[Any, ...], found: asyncio.Future[Any]) -> None:
        self._running.discard(key)
        if not found.cancelled():
            self._results[key] = found.result()
            self.done()

    def evaluate(self, parameters: bytes, fold: bytes) -> Entry | None:
        """The finding on named parameters and a named fold; None while it is not known."""
        data, test = self.find(parameters), self.find(fold)
        if data is None or test is None:
            return None
        found: Entry | None = self._ask(
            ("evaluate", parameters, fold), lambda: self._evaluate(data, test)
        )
        return found

    def _evaluate(self, parameters: bytes, fold: bytes) -> Entry:
        return self.evaluator.finding(parameters, fold)

    def show(self, parameters: bytes, fold: bytes) -> bytes | None:
        """The opening of named parameters and a named fold for the referee; None where they are not
        here."""
        data, test = self.find(parameters), self.find(fold)
        return None if data is None or test is None else self.evaluator.opening(data, test)

    def train(self, parent: bytes, number: int) -> bytes | None:
        """The name of parameters that are trained from a parent's; None while they are not."""
        data = self.find(parent)
        if data is None:
            return None
        found: bytes | None = self._ask(
            ("train", parent, number), lambda: self._train(data, number)
        )
        return found

    def _train(self, parent: bytes, number: int) -> bytes:
        model = self.evaluator.model(parent)
        inputs, labels = read_fold(self.train_data).arrays
        optimizer = gvm.SGD(LEARNING_RATE, momentum=MOMENTUM)
        model.train(
            inputs,
            labels,
            optimizer=optimizer,
            epochs=1,
            batch_size=BATCH,
            seed=number,
            threads=1,
            progress=False,
        )
        name = plain(model.parameters)
        self.made[name] = model.parameters
        return name
