"""Every node of a model by itself: its integers beside real numbers, given the real values of its
inputs; and the whole model in real numbers with the noise of its roundings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gvm import _core
from gvm.graph import Graph
from gvm.inspection import NodeInfo, inspect
from gvm.model import Model
from gvm.ops import BY_OPCODE
from gvm.program import Step, steps_of
from gvm.progress import progress_bar
from gvm.quantize import integers
from gvm.tensors import Array
from gvm.types import NUMPY, Type


@dataclass(frozen=True)
class NodeError:
    """||integers - real|| / ||real|| of one node whose inputs were the real values, rounded to the
    formats that it reads."""

    info: NodeInfo
    error: float
    clamped: int

    def __str__(self) -> str:
        name = f" {self.info.name}" if self.info.name else ""
        return f"{self.info.number} {self.info.operator}{name}"


@dataclass(frozen=True)
class Measured:
    """Of a model on one batch."""

    nodes: tuple[NodeError, ...]
    real: tuple[Array, ...]
    """The outputs in real numbers."""
    noisy: tuple[Array, ...]
    """The outputs in real numbers, where every result that the program rounds was moved by a number
    drawn from within half a unit of its format, and so was every weight."""


def relative_error(found: Array, expected: Array) -> float:
    """||found - expected|| / ||expected||, 0 where both are nothing."""
    size = float(np.linalg.norm(np.asarray(expected, dtype=np.float64)))
    apart = float(np.linalg.norm(np.asarray(found, dtype=np.float64) - expected))
    return apart / size if size else (0.0 if apart == 0.0 else math.inf)


def measure_nodes(
    model: Model, graph: Graph, x: Sequence[Array], seed: int = 1, progress: bool | None = None
) -> Measured:
    """Node after node of ``model``, made from the real-valued ``graph``, on inputs batch first."""
    return _Measuring(model, graph, x, seed).run(progress)


class _Measuring:
    def __init__(self, model: Model, graph: Graph, x: Sequence[Array], seed: int) -> None:
        self.nodes = inspect(model)
        self.steps: list[Step] = list(steps_of(model.program.predict))
        self.outputs = model.program.predict.outputs
        self.rng = np.random.default_rng(seed)
        self.batch = len(x[0])
        self.values: dict[int, tuple[Array, Array]] = {}
        for v, array in enumerate(x):
            real = np.asarray(array, dtype=np.float64)
            exact = graph.types[graph.inputs[v]].dtype != "real"
            self.values[v] = real, real if exact else self._moved(real, self.nodes.types[v])
        data = {p.name: p.data for p in graph.parameters}
        self.stored: Mapping[int, Array] = {
            self.nodes.inputs + i: data[p.name] for i, p in enumerate(model.program.info)
        }
        last = {v: i for i, s in enumerate(self.steps) for v in s.inputs}
        last.update(dict.fromkeys(self.outputs, len(self.steps)))
        self.unused_after: list[list[int]] = [[] for _ in range(len(self.steps) + 1)]
        for v, i in last.items():
            self.unused_after[i].append(v)

    def run(self, progress: bool | None) -> Measured:
        found = []
        with progress_bar(len(self.steps), "node by node", progress) as advance:
            for i, (step, info) in enumerate(zip(self.steps, self.nodes.nodes, strict=True)):
                found.append(self._node(step, info))
                for v in self.unused_after[i]:
                    self.values.pop(v, None)
                advance(info.operator)
        made = [self.values[v] for v in self.outputs]
        return Measured(tuple(found), tuple(r for r, _ in made), tuple(n for _, n in made))

    def _moved(self, real: Array, type_: Type) -> Array:
        if type_.dtype not in ("i16", "i32"):
            return real
        unit = math.ldexp(1.0, -type_.fraction_bits)
        return real + self.rng.uniform(-unit / 2, unit / 2, real.shape)

    def _read(self, v: int) -> tuple[Array, Array]:
        if v not in self.values:
            self.values[v] = self.stored[v], self._moved(self.stored[v], self.nodes.types[v])
        return self.values[v]

    def _node(self, step: Step, info: NodeInfo) -> NodeError:
        operator = BY_OPCODE[step.opcode]
        read = [self._read(v) for v in step.inputs]
        types = [self.nodes.types[v] for v in step.inputs]
        made, clamped = _core.run_operator(
            step.opcode,
            list(step.attributes),
            [(t, _stored(real, t)) for t, (real, _) in zip(types, read, strict=True)],
            self.batch, 0, self.batch, 0, 0, 0, -1, 0,
        )  # fmt: skip
        names = [a.name for a in operator.attributes]
        attributes = operator.at_batch(dict(zip(names, step.attributes, strict=True)), self.batch)
        real = _listed(operator.real(attributes, *(r for r, _ in read)))
        noisy = _listed(operator.real(attributes, *(n for _, n in read)))
        rounds = operator.result == "rounds" and not (
            step.name == "convert" and types[0].fraction_bits <= info.types[0].fraction_bits
        )
        worst = 0.0
        for v, q, r, n, t in zip(info.outputs, made, real, noisy, info.types, strict=True):
            found = np.ldexp(q.astype(np.float64), -t.fraction_bits)
            worst = max(worst, relative_error(found, r))
            self.values[v] = r, self._moved(n, t) if rounds else n
        return NodeError(info, worst, clamped)


def _stored(real: Array, type_: Type) -> Array:
    """Real values at a format, within the bound that is proved for an accumulator."""
    made = integers(real, type_.dtype, type_.fraction_bits)
    if type_.bound:
        made = np.clip(made, -type_.bound, type_.bound)
    return np.ascontiguousarray(made.astype(NUMPY[type_.dtype]))


def _listed(made: Any) -> tuple[Array, ...]:
    return tuple(map(np.asarray, made)) if isinstance(made, tuple) else (np.asarray(made),)
