"""Programs: the functions of a model as canonical bytes (docs/program.md).

The bytes are read and judged by the core alone; this file writes them, and rewrites what it wrote:
another optimizer, another profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gvm import _core, cbor
from gvm.adaptive import Adaptive
from gvm.batch_training import running_attributes
from gvm.errors import GvmError
from gvm.graph import TOTAL, Graph, Node, Value
from gvm.operator import AttributeValue
from gvm.ops import BY_OPCODE, OPERATORS
from gvm.types import DTYPES, Type

Profile = Literal["w32", "w16"]
PROFILES: tuple[Profile, ...] = ("w32", "w16")
ROUNDING_NAMES = ("stochastic", "nearest")
ROUNDINGS = {"forward": 1, "backward": 2, "loss": 0, "view": 0}
"""Philox purpose of a node's rounding in training, by stage. Views of weights are always
nearest."""
MAX_BATCH = 4096
CANNOT_TRAIN = "the model cannot be trained: import it with loss=... and trainable parameters"
DTYPE_NAMES = {number: name for name, number in DTYPES.items()}


@dataclass(frozen=True)
class Step:
    """A node of a function: operator, values read and attributes in schema order."""

    opcode: int
    inputs: tuple[int, ...]
    attributes: tuple[AttributeValue, ...]
    label: str = field(default="", compare=False)
    """The source's name for the result, for people: it stands in no bytes that have an id."""

    @property
    def name(self) -> str:
        """The operator's name."""
        return BY_OPCODE[self.opcode].name

    def get(self, name: str, default: AttributeValue | None = None) -> AttributeValue | None:
        """The value of an attribute, where the operator has it."""
        names = [a.name for a in BY_OPCODE[self.opcode].attributes]
        return self.attributes[names.index(name)] if name in names else default

    def nearest(self) -> Step:
        """The step with its rounding to nearest."""
        names = [a.name for a in BY_OPCODE[self.opcode].attributes]
        return replace(
            self,
            attributes=tuple(
                0 if n == "rounding" else a for n, a in zip(names, self.attributes, strict=True)
            ),
        )

    def encoded(self) -> list[Any]:
        """The node in program bytes."""
        return [
            self.opcode,
            list(self.inputs),
            [list(a) if isinstance(a, tuple) else a for a in self.attributes],
        ]


@dataclass(frozen=True)
class Segment:
    """Steps up to a reduce, and the values it sums over all shards."""

    steps: tuple[Step, ...]
    reduce: tuple[int, ...] = ()


@dataclass(frozen=True)
class Function:
    """Values are numbered: ``given`` first, then each step's outputs, then a segment's totals."""

    given: int
    segments: tuple[Segment, ...]
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A function of totals: a node of ``apply`` that the optimizer does not choose."""

    opcode: int
    totals: tuple[int, ...]
    attributes: tuple[AttributeValue, ...]

    @property
    def fraction_bits(self) -> int:
        """Of its result."""
        value = Step(self.opcode, (), self.attributes).get("fraction_bits")
        assert isinstance(value, int)
        return value


@dataclass(frozen=True)
class ParameterInfo:
    """What training knows of a parameter beyond its type."""

    name: str
    trainable: bool
    narrow_bits: int
    """Fraction bits in profile w16."""
    gradient: int | None = None
    """Which total is its gradient."""
    moment_bits: int | None = None
    """Fraction bits that suit an i32 moment of its mean gradients, where calibration saw any."""
    rule: Rule | None = None
    """What makes its gradient of totals, or its next value of itself and totals where nothing
    trains it."""

    @property
    def trained(self) -> bool:
        """Whether it has a gradient."""
        return self.gradient is not None or (self.trainable and self.rule is not None)

    @property
    def running(self) -> Rule | None:
        """The step of a running statistic."""
        return None if self.trainable else self.rule


@dataclass(frozen=True)
class Program:
    """A program before it is bytes."""

    max_batch: int
    inputs: tuple[Type, ...]
    labels: tuple[Type, ...]
    parameters: tuple[Type, ...]
    predict: Function
    loss: Function | None = None
    grad: Function | None = None
    apply: Function | None = None
    state: tuple[Type, ...] = ()
    info: tuple[ParameterInfo, ...] = ()
    count_total: int = 1
    scaling: Adaptive | None = None

    @property
    def profile(self) -> Profile:
        """How trained parameters are stored: w16 where they are i16."""
        pairs = zip(self.info, self.parameters, strict=True)
        return "w16" if any(p.trainable and t.dtype == "i16" for p, t in pairs) else "w32"

    @property
    def rounding(self) -> str:
        """How grad rounds: "stochastic" or "nearest"."""
        drawn = any(s.get("rounding", 0) for s in steps_of(self.grad))
        return "stochastic" if drawn else "nearest"

    @property
    def classifies(self) -> bool:
        """Whether labels are class numbers."""
        return any(s.name.endswith("_cross_entropy") for s in steps_of(self.loss))

    def rounded(self, rounding: str) -> Program:
        """The program whose grad rounds "stochastic" or "nearest". Only views of weights are
        nearest in either, so there is no way back from nearest."""
        if rounding not in ROUNDING_NAMES:
            names = " or ".join(ROUNDING_NAMES)
            raise ValueError(f"rounding must be {names}, received {rounding!r}")
        if self.grad is None or rounding == self.rounding:
            return self
        if rounding == "stochastic":
            raise GvmError(
                "the model was trained with rounding nearest; import it again for stochastic"
            )
        return replace(
            self,
            grad=replace(
                self.grad,
                segments=tuple(
                    replace(g, steps=tuple(s.nearest() for s in g.steps))
                    for g in self.grad.segments
                ),
            ),
        )

    def encode(self) -> bytes:
        """The canonical bytes."""
        body: dict[str, Any] = {
            "semantics": _core.SEMANTICS_VERSION,
            "max_batch": self.max_batch,
            "inputs": [_encode_type(t) for t in self.inputs],
            "labels": [_encode_type(t) for t in self.labels],
            "parameters": [_encode_type(t) for t in self.parameters],
            "predict": _encode_function(self.predict),
            "loss": _encode_function(self.loss),
        }
        if self.grad is not None:
            body["grad"] = [
                {"nodes": [s.encoded() for s in g.steps], "reduce": list(g.reduce)}
                for g in self.grad.segments
            ]
            body["apply"] = _encode_function(self.apply)
            body["state"] = [_encode_type(t) for t in self.state]
        return cbor.encode(body)


def decode(
    data: bytes,
    info: Sequence[ParameterInfo],
    count_total: int,
    step_labels: Mapping[str, Sequence[str]] | None = None,
) -> Program:
    """The program of bytes that the core has accepted; ``step_labels`` by function."""
    body = cbor.decode(data)
    inputs, labels, parameters, state = (
        tuple(_decode_type(t) for t in body.get(k, []))
        for k in ("inputs", "labels", "parameters", "state")
    )
    predict = _decode_function(body["predict"], len(inputs) + len(parameters))
    given = len(inputs) + len(labels) + len(parameters)
    loss = None if body["loss"] is None else _decode_function(body["loss"], given)
    grad = apply = None
    if "grad" in body:
        segments = tuple(
            Segment(tuple(_decode_step(s) for s in g["nodes"]), tuple(g["reduce"]))
            for g in body["grad"]
        )
        grad = Function(given, segments)
        totals = sum(len(g.reduce) for g in segments)
        apply = (
            None
            if body["apply"] is None
            else _decode_function(body["apply"], len(parameters) + len(state) + totals)
        )
    functions = {"predict": predict, "loss": loss, "grad": grad, "apply": apply}
    for name, given_labels in (step_labels or {}).items():
        function = functions[name]
        if function is not None:
            functions[name] = _labelled(function, given_labels)
    return Program(
        body["max_batch"],
        inputs,
        labels,
        parameters,
        functions["predict"] or predict,
        functions["loss"],
        functions["grad"],
        functions["apply"],
        state,
        tuple(info),
        count_total,
    )


def _labelled(function: Function, labels: Sequence[str]) -> Function:
    following = iter(labels)
    return replace(
        function,
        segments=tuple(
            replace(g, steps=tuple(replace(s, label=next(following)) for s in g.steps))
            for g in function.segments
        ),
    )


def compile_graph(
    graph: Graph,
    narrow_bits: Mapping[Value, int],
    max_batch: int = MAX_BATCH,
    moment_bits: Mapping[Value, int] | None = None,
) -> Program:
    """The program of an integer graph: predict, and loss and grad (stochastic rounding) where the
    graph has them. ``narrow_bits``, ``moment_bits``: what training knows of its parameters."""
    moments = moment_bits or {}
    parameters = tuple(p.value for p in graph.parameters)
    predict = _extract(graph, (*graph.inputs, *parameters), graph.outputs["predict"], {})
    program = Program(
        max_batch,
        tuple(graph.types[v] for v in graph.inputs),
        tuple(graph.types[v] for v in graph.labels),
        tuple(graph.types[v] for v in parameters),
        predict,
        info=tuple(
            ParameterInfo(
                p.name,
                p.trainable,
                narrow_bits.get(p.value, graph.types[p.value].fraction_bits),
                moment_bits=moments.get(p.value),
            )
            for p in graph.parameters
        ),
    )
    if "loss" not in graph.outputs:
        return program
    given = (*graph.inputs, *graph.labels, *parameters)
    loss = _extract(graph, given, graph.outputs["loss"], {})
    if "grad" not in graph.outputs:
        return replace(program, loss=loss)
    made = graph.producer()
    results = [made[v] for v in graph.outputs["grad"]]
    wanted = [v for n in results for v in (n.outputs if n.op == TOTAL else n.inputs)]
    for value in graph.running:
        wanted += made[value].inputs[1:4]
    wanted = list(dict.fromkeys(wanted))
    grad, places = _segments(graph, given, wanted, ROUNDINGS)
    place = dict(zip(wanted, places, strict=True))
    info = _with_rules(graph, program.info, results[len(graph.outputs["loss"]) :], place)
    count_total = place[graph.outputs["grad"][1]]
    return replace(program, loss=loss, grad=grad, info=info, count_total=count_total)


def _with_rules(
    graph: Graph,
    info: Sequence[ParameterInfo],
    gradients: Sequence[Node],
    place: Mapping[Value, int],
) -> tuple[ParameterInfo, ...]:
    """The parameters with what changes them: a total, or a function of totals."""
    steps: dict[Value, Rule] = {}
    made, following = graph.producer(), iter(gradients)
    for value, node in graph.running.items():
        totals = tuple(place[v] for v in made[value].inputs[1:4])
        for p in (p for p in graph.parameters if p.value in node.inputs[1:3]):
            given = running_attributes(node, p, graph.types[p.value].fraction_bits)
            steps[p.value] = _rule(node.op, totals, given)
    found = []
    for p, known in zip(graph.parameters, info, strict=True):
        node_of = next(following) if p.trainable else None
        if node_of is None:
            found.append(replace(known, rule=steps.get(p.value)))
        elif node_of.op == TOTAL:
            found.append(replace(known, gradient=place[node_of.outputs[0]]))
        else:
            totals = tuple(place[v] for v in node_of.inputs)
            found.append(replace(known, rule=_rule(node_of.op, totals, node_of.attributes)))
    return tuple(found)


def _rule(op: str, totals: tuple[int, ...], given: Mapping[str, AttributeValue]) -> Rule:
    operator = OPERATORS[op]
    return Rule(operator.opcode, totals, tuple(operator.complete(given).values()))


def with_profile(program: Program, profile: str) -> Program:
    """The program with parameters stored as the profile says: w32, or the seeds' w16, where
    operators read them directly."""
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, received {profile!r}")
    if profile == program.profile:
        return program
    if profile == "w32":
        raise GvmError("the model was trained in profile w16; import it again for w32")
    parameters = tuple(
        Type("i16", p.narrow_bits, t.shape) if t.dtype == "i32" and p.running is None else t
        for t, p in zip(program.parameters, program.info, strict=True)
    )
    first = {
        "predict": len(program.inputs),
        "loss": len(program.inputs) + len(program.labels),
        "grad": len(program.inputs) + len(program.labels),
    }

    def narrowed(function: Function | None, name: str) -> Function | None:
        return (
            None
            if function is None
            else _without_views(function, range(first[name], first[name] + len(parameters)))
        )

    predict = narrowed(program.predict, "predict")
    assert predict is not None
    return replace(
        program,
        parameters=parameters,
        predict=predict,
        loss=narrowed(program.loss, "loss"),
        grad=narrowed(program.grad, "grad"),
        apply=None,
        state=(),
    )


def _without_views(function: Function, parameters: range) -> Function:
    """The function with every convert of a parameter replaced by the parameter."""
    convert = OPERATORS["convert"].opcode
    renamed = list(range(function.given))
    old = new = function.given
    segments = []
    for segment in function.segments:
        steps = []
        for step in segment.steps:
            outputs = BY_OPCODE[step.opcode].outputs
            if step.opcode == convert and step.inputs[0] in parameters:
                renamed.append(step.inputs[0])
            else:
                steps.append(replace(step, inputs=tuple(renamed[v] for v in step.inputs)))
                renamed.extend(range(new, new + outputs))
                new += outputs
            old += outputs
        reduce = tuple(renamed[v] for v in segment.reduce)
        renamed.extend(range(new, new + len(reduce)))
        new += len(reduce)
        segments.append(Segment(tuple(steps), reduce))
    return Function(function.given, tuple(segments), tuple(renamed[v] for v in function.outputs))


def _step(
    graph: Graph, node: Node, number: Mapping[Value, int], roundings: Mapping[str, int]
) -> Step:
    attributes = dict(node.attributes)
    label = node.name or graph.names.get(node.outputs[0], "")
    if "rounding" in attributes:
        attributes["rounding"] = roundings.get(node.stage, 0)
    inputs = tuple(number[v] for v in node.inputs)
    return Step(OPERATORS[node.op].opcode, inputs, tuple(attributes.values()), label)


def _extract(
    graph: Graph, given: Sequence[Value], outputs: Sequence[Value], roundings: Mapping[str, int]
) -> Function:
    number = {v: i for i, v in enumerate(given)}
    steps, following = [], len(number)
    in_use = (graph.running.get(n.outputs[0], n) if n.outputs else n for n in graph.nodes)
    graph = replace(graph, nodes=tuple(in_use))
    for node in graph.reaching(outputs):
        if node.op == "dropout":  # nothing is dropped where nothing is trained
            number[node.outputs[0]] = number[node.inputs[0]]
            continue
        steps.append(_step(graph, node, number, roundings))
        for v in node.outputs:
            number[v], following = following, following + 1
    return Function(len(given), (Segment(tuple(steps)),), tuple(number[v] for v in outputs))


def _segments(
    graph: Graph, given: Sequence[Value], totals: Sequence[Value], roundings: Mapping[str, int]
) -> tuple[Function, list[int]]:
    """Nodes in segments, each as early as its inputs allow, and which total each wanted value
    is."""
    nodes = graph.reaching(totals)
    ready: dict[Value, int] = dict.fromkeys(given, 0)
    stages: dict[int, list[Node]] = {}
    reduces: dict[int, list[Node]] = {}
    for node in nodes:
        at = max((ready[v] for v in node.inputs), default=0)
        (reduces if node.op == TOTAL else stages).setdefault(at, []).append(node)
        for v in node.outputs:
            ready[v] = at + (1 if node.op == TOTAL else 0)
    number = {v: i for i, v in enumerate(given)}
    order: dict[Value, int] = {}
    segments = []
    for at in range(max(reduces) + 1):
        steps = []
        for node in stages.get(at, []):
            steps.append(_step(graph, node, number, roundings))
            for v in node.outputs:
                number[v] = len(number)
        # In the order in which the caller wants them: loss first, then gradients.
        sums = sorted(
            reduces.get(at, []),
            key=lambda n: totals.index(n.outputs[0]) if n.outputs[0] in totals else -1,
        )
        segments.append(Segment(tuple(steps), tuple(number[n.inputs[0]] for n in sums)))
        for node in sums:
            order[node.outputs[0]] = len(order)
            number[node.outputs[0]] = len(number)
    return Function(len(given), tuple(segments)), [order[v] for v in totals]


def _encode_type(t: Type) -> list[Any]:
    return [DTYPES[t.dtype], t.fraction_bits, list(t.shape)]


def _decode_type(t: Sequence[Any]) -> Type:
    return Type(DTYPE_NAMES[t[0]], t[1], tuple(t[2]))


def _encode_function(f: Function | None) -> dict[str, Any] | None:
    if f is None:
        return None
    return {"nodes": [s.encoded() for g in f.segments for s in g.steps], "outputs": list(f.outputs)}


def _decode_step(s: Sequence[Any]) -> Step:
    return Step(s[0], tuple(s[1]), tuple(tuple(a) if isinstance(a, list) else a for a in s[2]))


def _decode_function(f: Mapping[str, Any], given: int) -> Function:
    return Function(
        given, (Segment(tuple(_decode_step(s) for s in f["nodes"])),), tuple(f["outputs"])
    )


def steps_of(function: Function | None) -> Iterable[Step]:
    """All steps of a function in program order."""
    return () if function is None else (s for g in function.segments for s in g.steps)
