"""ONNX's LSTM, GRU and RNN, unrolled: one product of inputs and one of the state in every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.onnx_nodes import Node, Translator, decides
from gvm.importers.parts import cut, element, join
from gvm.importers.shapes import Tensor, Uniform, text_of

__all__: list[str] = []

_LESS = 1
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_ALPHA = {
    "affine": 1.0,
    "leakyrelu": 0.01,
    "thresholdedrelu": 1.0,
    "scaledtanh": 1.0,
    "hardsigmoid": 0.2,
    "elu": 1.0,
}
_BETA = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}

Function = Callable[[Value], Value]
State = tuple[Value | None, ...]
"""The hidden state, for an LSTM the cell state too; None is zero."""
Cell = Callable[[Value, State], tuple[Value, ...]]


@decides("LSTM", "GRU", "RNN")
def _recurrent(
    t: Translator,
    node: Node,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    *rest: Any,
) -> Any:
    if not any(isinstance(v, Tensor) for v in (x, w, r, b, lengths, *rest)):
        return NotImplemented
    if not isinstance(x, Tensor):
        raise Refusal("the sequence is constant and another operand is not")
    ways = _DIRECTIONS.get(node.attributes.get("direction", "forward"))
    if ways is None:
        raise Refusal(f"direction is {node.attributes['direction']!r}")
    layer = _Layer(t, node, x, (w, r, b), lengths, rest)
    results = [layer.run(i, backwards) for i, backwards in enumerate(ways)]
    return layer.outputs(results)


@dataclass
class _Layer:
    """One node: what is common to its directions."""

    t: Translator
    node: Node
    x: Tensor
    weights: Sequence[Any]
    lengths: Any
    rest: Sequence[Any]

    def __post_init__(self) -> None:
        self.g, self.low = self.t.g, self.t.low
        self.batch_first = self.node.integer("layout", 0) == 1
        self.value = self.t.whole(self.x)
        shape = self.g.shape(self.value)
        self.time = 1 if self.batch_first else 0
        if len(shape) != 3 or shape[self.time] == -1:
            raise Refusal(
                f"the input has shape {text_of(self.t.dims(self.x))}, and axis {self.time} is the "
                "sequence, of a known length; nearest supported form: the batch as first axis of "
                "the model's input"
            )
        self.steps, self.examples = shape[self.time], shape[1 - self.time]
        self.hidden = self.node.integer("hidden_size", 0) or self._dims(self.weights[1])[-1]

    def _dims(self, x: Any) -> Sequence[int]:
        return self.g.shape(x.value) if isinstance(x, Tensor) else x.data.shape

    def run(self, number: int, backwards: bool) -> tuple[list[Value], State]:
        """The hidden state of every step, and the last states."""
        make = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[self.node.type]
        cell = make(self, number, self.functions(number))
        state = tuple(self.first(i, number) for i in range(2 if self.node.type == "LSTM" else 1))
        made: dict[int, Value] = {}
        outer = self.g.scope
        try:
            for i in range(self.steps)[:: -1 if backwards else 1]:
                self.g.scope = self._named(number, i, outer)
                state, made[i] = self.step(cell, state, i)
        finally:
            self.g.scope = outer
        return [made[i] for i in range(self.steps)], state

    def _named(
        self, number: int, step: int, outer: Callable[[str], str] | None
    ) -> Callable[[str], str]:
        way = "/backward" if number else ""

        def scope(name: str) -> str:
            named = f"{self.node.name}{way}/{step}/{name}"
            return outer(named) if outer else named

        return scope

    def step(self, cell: Cell, state: State, i: int) -> tuple[State, Value]:
        """The states after a step, and what it gives: beyond an example's length they stay as they
        are, and it gives zeros."""
        live = self.live(i)
        if live is False:
            return state, self.zeros()
        new = cell(element(self.t, self.value, self.time, i), state)
        if live is True:
            return new, new[0]
        kept = tuple(
            int(self.g.mask(live, a) if b is None else self.g.select(live, a, b))
            for a, b in zip(new, state, strict=True)
        )
        return kept, int(self.g.mask(live, new[0]))

    def live(self, i: int) -> Value | bool:
        """Whether a step is within each example's length: truth values where it differs."""
        if self.lengths is None:
            return True
        if isinstance(self.lengths, Uniform):
            return i < self.lengths.number
        if isinstance(self.lengths, Constant):
            least, most = int(self.lengths.data.min()), int(self.lengths.data.max())
            if i < least or i >= most:
                return i < least
            if self.examples == -1:
                raise Refusal("sequence_lens are constants that differ between examples")
            data = self.lengths.data.astype(np.float64).reshape(-1, 1)
            given = self.low.parameter(Constant(data, f"{self.node.name}/lengths"))
        else:
            given = self.low.reshape(self.t.whole(self.lengths), [self.examples, 1])
        step = self.low.number(i, f"{self.node.name}/step")
        return int(self.g.compare(step, given, relation=_LESS))

    def zeros(self) -> Value:
        number = self.low.number(0.0, "constant/0")
        return int(self.g.broadcast_to(number, shape=(self.examples, self.hidden)))

    def first(self, which: int, number: int) -> Value | None:
        """The state before the first step of a direction."""
        given = self.rest[which] if which < len(self.rest) else None
        axis = 1 if self.batch_first else 0
        if given is None or (isinstance(given, Uniform) and given.number == 0):
            return None
        if isinstance(given, Constant):
            data = np.take(given.data, number, axis)
            if not data.any() and not given.trainable:
                return None
            if self.examples == -1 and np.any(data != data[:1]):
                raise Refusal("the initial state is a constant that differs between examples")
            data = data if self.examples != -1 else data[:1]
            made = self.low.parameter(given, data)
            wide = (self.examples, self.hidden)
            return made if data.shape == wide else int(self.g.broadcast_to(made, shape=wide))
        if isinstance(given, Uniform):
            given = self.t.spread(given)
        return element(self.t, self.t.whole(given), axis, number)

    # -- weights

    def weight(self, which: int, number: int, begin: int, end: int) -> Value:
        """Gates begin ... end - 1 of a direction's weights (0 of inputs, 1 of the state)."""
        x, h = self.weights[which], self.hidden
        if isinstance(x, Constant):
            return self.low.parameter(x, x.data[number, begin * h : end * h])
        return cut(self.t, element(self.t, self.t.whole(x), 0, number), 0, begin * h, end * h)

    def bias(self, number: int, parts: Sequence[tuple[int, ...]]) -> Value | None:
        """One vector: of each part the sum of the blocks named."""
        b, h = self.weights[2], self.hidden
        if b is None:
            return None
        if isinstance(b, Constant):
            blocks = b.data[number].reshape(-1, h).astype(np.float64)
            made = np.concatenate([sum(blocks[i] for i in part) for part in parts])
            return self.low.parameter(b, made)
        whole = element(self.t, self.t.whole(b), 0, number)
        pieces = []
        for part in parts:
            first, *others = (cut(self.t, whole, 0, i * h, (i + 1) * h) for i in part)
            for other in others:
                first = self.g.add(first, other)
            pieces.append(first)
        return join(self.t, pieces, 0)

    def plus(self, x: Value, bias: Value | None) -> Value:
        if bias is None:
            return x
        is_parameter = bias not in self.g.maker
        return int(self.g.bias_add(x, bias) if is_parameter else self.g.add(x, bias))

    def gates(self, x: Value, w: Value, h: Value | None, r: Value, bias: Value | None) -> Value:
        """x W + h R + b, of all gates that these weights hold."""
        made = self.g.matmul(x, w, transpose_b=1, name="inputs")
        if h is not None:
            made = self.g.add(made, self.g.matmul(h, r, transpose_b=1, name="state"))
        return self.plus(made, bias)

    def gate(self, gates: Value, k: int) -> Value:
        return cut(self.t, gates, 1, k * self.hidden, (k + 1) * self.hidden)

    # -- functions

    def functions(self, number: int) -> list[Function]:
        """The activations of a direction, which clip what they are given."""
        default = _DEFAULTS[self.node.type]
        named = self.node.attributes.get("activations")
        names = [n.decode() if isinstance(n, bytes) else str(n) for n in named or ()]
        names = names or list(default) * (number + 1)
        if len(names) < len(default) * (number + 1):
            raise Refusal(f"activations must name {len(default)} functions for each direction")
        alphas = list(self.node.attributes.get("activation_alpha", ()))
        betas = list(self.node.attributes.get("activation_beta", ()))
        made = []
        for name in names:
            key = name.lower()
            alpha = _ALPHA.get(key, 0.0)
            beta = _BETA.get(key, 0.0)
            if key in _ALPHA and alphas:
                alpha = float(alphas.pop(0))
            if key in _BETA and betas:
                beta = float(betas.pop(0))
            made.append(self._function(name, alpha, beta))
        return made[number * len(default) : (number + 1) * len(default)]

    def _function(self, name: str, alpha: float, beta: float) -> Function:
        low, label = self.low, f"{self.node.name}/{name}"

        def line(x: Value) -> Value:
            return low.shift_by(low.scale_by(x, alpha, f"{label}/alpha"), beta, f"{label}/beta")

        def limit(x: Value, least: float, most: float) -> Value:
            x = low.maximum(x, Constant(np.asarray([least]), f"{label}/least"))
            return low.minimum(x, Constant(np.asarray([most]), f"{label}/most"))

        functions: dict[str, Function] = {
            "sigmoid": lambda x: low.unary("logistic", x),
            "tanh": lambda x: low.unary("tanh", x),
            "relu": lambda x: int(self.g.relu(x)),
            "softplus": lambda x: low.unary("softplus", x),
            "softsign": lambda x: int(
                self.g.mul(
                    x, low.unary("reciprocal", low.shift_by(_absolute(self.t, x), 1.0, "one"))
                )
            ),
            "elu": lambda x: low.elu(x, label, alpha),
            "leakyrelu": lambda x: low.leaky_relu(x, alpha, label),
            "thresholdedrelu": lambda x: int(
                self.g.mask(self.g.compare(low.number(alpha, label), x, relation=_LESS), x)
            ),
            "affine": line,
            "hardsigmoid": lambda x: limit(line(x), 0.0, 1.0),
            "scaledtanh": lambda x: low.scale_by(
                low.unary("tanh", low.scale_by(x, beta, f"{label}/beta")), alpha, f"{label}/alpha"
            ),
        }
        if name.lower() not in functions:
            raise Refusal(f"activation {name!r} is none that ONNX lists")
        function, clip = functions[name.lower()], self.node.number("clip", 0.0)
        if not clip:
            return function
        return lambda x: function(limit(x, -clip, clip))

    # -- results

    def outputs(self, results: Sequence[tuple[list[Value], State]]) -> list[Tensor]:
        """Y, Y_h and Y_c: directions are an axis of their own."""
        both = [
            join(self.t, [self._lift(v, 2) for v in made], self.time, self.node.name)
            for made, _ in results
        ]
        found = [join(self.t, both, 2 if self.batch_first else 1)]
        axis = 1 if self.batch_first else 0
        for i in range(len(results[0][1])):
            last = [self.zeros() if state[i] is None else state[i] for _, state in results]
            found.append(join(self.t, [self._lift(v, 1) for v in last if v is not None], axis))
        return [Tensor(v) for v in found]

    def _lift(self, v: Value, axes: int) -> Value:
        """With axes of 1 before the hidden ones, behind the batch where that is first."""
        ones = [1] * axes
        examples = [self.examples]
        before = [*examples, *ones] if self.batch_first else [*ones, *examples]
        return self.low.reshape(v, [*before, self.hidden])


def _absolute(t: Translator, x: Value) -> Value:
    return int(t.g.add(t.g.relu(x), t.g.relu(t.low.negative(x))))


def _lstm(layer: _Layer, number: int, functions: Sequence[Function]) -> Cell:
    """Gates i, o, f, c."""
    f, g, h = functions
    w, r = layer.weight(0, number, 0, 4), layer.weight(1, number, 0, 4)
    bias = layer.bias(number, [(i, i + 4) for i in range(4)])
    peephole = _peepholes(layer, number)
    coupled = layer.node.integer("input_forget", 0) == 1
    b = layer.g

    def cell(x: Value, state: State) -> tuple[Value, ...]:
        hidden, before = state
        gates = layer.gates(x, w, hidden, r, bias)
        seen = [layer.gate(gates, k) for k in range(4)]

        def look(k: int, c: Value | None) -> Value:
            if peephole is None or c is None:
                return seen[k]
            return int(b.add(seen[k], b.mul(c, peephole[k])))

        taken = f(look(0, before))
        new = b.mul(taken, g(seen[3]))
        if before is not None:
            kept = layer.low.subtract_from(_one(), taken) if coupled else f(look(2, before))
            new = b.add(b.mul(kept, before), new, name="cell")
        return b.mul(f(look(1, new)), h(new), name="hidden"), new

    return cell


def _peepholes(layer: _Layer, number: int) -> list[Value] | None:
    p, h = layer.rest[2] if len(layer.rest) > 2 else None, layer.hidden
    if p is None:
        return None
    if isinstance(p, Constant):
        return [layer.low.parameter(p, p.data[number, k * h : (k + 1) * h]) for k in range(3)]
    whole = element(layer.t, layer.t.whole(p), 0, number)
    return [cut(layer.t, whole, 0, k * h, (k + 1) * h) for k in range(3)]


def _one() -> Constant:
    return Constant(np.asarray([1.0]), "one")


def _gru(layer: _Layer, number: int, functions: Sequence[Function]) -> Cell:
    """Gates z, r, h."""
    f, g = functions
    b = layer.g
    reset_after = layer.node.integer("linear_before_reset", 0) != 0
    w, r = layer.weight(0, number, 0, 2), layer.weight(1, number, 0, 2)
    last, again = layer.weight(0, number, 2, 3), layer.weight(1, number, 2, 3)
    bias = layer.bias(number, [(0, 3), (1, 4)])
    outer = layer.bias(number, [(2,) if reset_after else (2, 5)])
    inner = layer.bias(number, [(5,)]) if reset_after else None

    def cell(x: Value, state: State) -> tuple[Value, ...]:
        (before,) = state
        gates = layer.gates(x, w, before, r, bias)
        update, reset = f(layer.gate(gates, 0)), f(layer.gate(gates, 1))
        if reset_after:
            new = layer.gates(x, last, None, again, outer)
            if before is not None:
                new = b.add(new, b.mul(reset, layer.gates(before, again, None, again, inner)))
            elif inner is not None:
                new = b.add(new, b.mul(reset, inner))
        else:
            kept = None if before is None else b.mul(reset, before)
            new = layer.gates(x, last, kept, again, outer)
        new = g(new)
        new = b.mul(layer.low.subtract_from(_one(), update), new)
        if before is not None:
            new = b.add(new, b.mul(update, before), name="hidden")
        return (new,)

    return cell


def _rnn(layer: _Layer, number: int, functions: Sequence[Function]) -> Cell:
    (f,) = functions
    w, r = layer.weight(0, number, 0, 1), layer.weight(1, number, 0, 1)
    bias = layer.bias(number, [(0, 1)])

    def cell(x: Value, state: State) -> tuple[Value, ...]:
        return (f(layer.gates(x, w, state[0], r, bias)),)

    return cell
