"""A model's ``predict`` as an ONNX graph: in float, or with quantisation and dequantisation pairs.

This file walks the program; ``onnx_forms.py`` has the form of each operator. Convolutions of ONNX
have channels first, so a value may exist in two layouts: as the program has it, and with the last
axis second. Each is made where it is read, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.errors import GvmError
from gvm.operator import AttributeValue, Operator
from gvm.ops import BY_OPCODE
from gvm.program import Step, steps_of
from gvm.tensors import unpack
from gvm.types import NUMPY, Type

if TYPE_CHECKING:
    from gvm.model import Model

__all__ = ["OPSET", "Emitter", "Value", "build", "first_order", "form"]

Array = NDArray[Any]
OPSET, IR_VERSION = 21, 10
"""The first operator set that quantises to 16 bits, and the file format of its time."""
PLAIN, FIRST = "plain", "first"
BATCH_NAME = "batch"
_PARAMETERS = 2
"""Of the sections of a program."""


@dataclass(eq=False)
class Value:
    """A value of the program: a constant, or a tensor in one layout or both."""

    type: Type
    data: Array | None = None
    """Of a constant: its integers, or real values where it has been computed with."""
    names: dict[str, str] = field(default_factory=dict)
    label: str = ""
    whole: bool = False
    """The tensor holds int32: positions and row numbers."""

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.type.shape)

    @property
    def real(self) -> Array:
        """A constant's real values."""
        assert self.data is not None
        if self.data.dtype.kind == "f" or self.type.dtype == "bool":
            return self.data
        return np.asarray(np.ldexp(self.data.astype(np.float64), -self.type.fraction_bits))


def first_order(rank: int) -> tuple[int, ...]:
    """The permutation from channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def last_order(rank: int) -> tuple[int, ...]:
    """The permutation from channels first to channels last."""
    return (0, *range(2, rank), 1)


Form = Callable[..., Any]
FORMS: dict[str, Form] = {}
"""By operator: a function of the emitter, the attributes and the operands that gives a Value."""


def form(*operators: str) -> Callable[[Form], Form]:
    """Registers a function as the ONNX form of these operators."""

    def register(function: Form) -> Form:
        FORMS.update(dict.fromkeys(operators, function))
        return function

    return register


def build(model: Model, qdq: bool = False) -> Any:
    """The onnx.ModelProto of ``predict``, checked. Raises GvmError for an operator without ONNX
    form and for a model too large for one file."""
    import onnx

    made = Emitter(model, qdq).model()
    try:
        onnx.checker.check_model(made, full_check=True)
    except ValueError as error:
        raise GvmError(f"to_onnx: the model does not fit in one ONNX file: {error}") from None
    return made


class Emitter:
    """Nodes and initialisers under construction."""

    def __init__(self, source: Model, qdq: bool) -> None:
        from gvm.exporters import onnx_forms  # noqa: F401 (it registers the forms)

        self.source = source
        self.qdq = qdq
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.made: dict[str, Any] = {}
        """The node that makes each tensor."""
        self.readers: dict[int, int] = {}
        """How often the program reads each value."""
        self._names: set[str] = {""}
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._inputs: list[Value] = []
        self._step = Step(0, (), ())
        self.node = 0
        """Number of the program's node under translation."""

    # The graph

    def model(self) -> Any:
        """The whole program."""
        from onnx import helper

        from gvm import __name__ as producer

        outputs = self._outputs(self._walk())
        graph = helper.make_graph(
            self.nodes,
            producer,
            [self._described(self.input_names[i], v) for i, v in enumerate(self._inputs)],
            [self._described(name, v) for name, v in outputs],
            self.initializers,
        )
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer,
            producer_version=str(_core.version()),
        )
        ids = {"graph_id": self.source.graph_id, "parameters_id": self.source.parameters_id}
        helper.set_model_props(made, {f"{producer}.{name}": value for name, value in ids.items()})
        return made

    def _walk(self) -> list[Value]:
        program = self.source.program
        steps = list(steps_of(program.predict))
        for v in (*program.predict.outputs, *(v for step in steps for v in step.inputs)):
            self.readers[v] = self.readers.get(v, 0) + 1
        count = len(program.inputs)
        self.input_names = [
            self.unique("input" if count == 1 else f"input_{i}") for i in range(count)
        ]
        self._inputs = [Value(t, whole=t.dtype == "i32") for t in program.inputs]
        values = [
            self._given(name, t) for name, t in zip(self.input_names, program.inputs, strict=True)
        ]
        for p, (type_, offset, _) in zip(
            program.info, self.source._native.tensors(_PARAMETERS), strict=True
        ):
            values.append(Value(type_, unpack(self.source.parameters, type_, offset), label=p.name))
        for number, step in enumerate(steps):
            self.node, self._step = number, step
            given = [values[v] for v in step.inputs]
            types = _core.infer(
                step.opcode,
                [v.type for v in given],
                list(step.attributes),
                program.max_batch,
                number,
            )
            values += self._translate(step, given, tuple(types))
        return [values[v] for v in program.predict.outputs]

    def _given(self, name: str, type_: Type) -> Value:
        if type_.dtype == "i16" and self.qdq:
            return self._rounded(name, type_)
        return Value(type_, names={PLAIN: name}, whole=type_.dtype == "i32")

    def _translate(self, step: Step, given: list[Value], types: tuple[Type, ...]) -> list[Value]:
        names = [a.name for a in BY_OPCODE[step.opcode].attributes]
        attributes = dict(zip(names, step.attributes, strict=True))
        if given and all(v.data is not None for v in given):
            return self._worked_out(step, given, attributes, types)
        if step.name not in FORMS:
            raise GvmError(f"to_onnx: {step.name}, node {self.node}: it has no ONNX form")
        given, whole = self._alike(BY_OPCODE[step.opcode], given)
        found = FORMS[step.name](self, attributes, *given)
        results = list(found) if isinstance(found, list) else [found]
        for i, (value, type_) in enumerate(zip(results, types, strict=True)):
            value.type, value.whole = type_, (whole or value.whole) and type_.dtype == "i32"
            if self.qdq and "rounding" in attributes and type_.dtype == "i16":
                layout = PLAIN if PLAIN in value.names else FIRST
                results[i] = self._rounded(value.names[layout], type_, layout)
        return results

    def _alike(self, operator: type[Operator], given: list[Value]) -> tuple[list[Value], bool]:
        """The operands with int32 ones as float32 where the node does not only hand them on;
        whether its result is int32."""
        from onnx import TensorProto

        among = [v for v in given if v.type.dtype != "bool"]
        if operator.result == "keeps":
            whole = given[operator.keeps].whole
            if operator.same_format:
                among, whole = among, all(v.whole for v in among)
            else:
                among = [given[operator.keeps]]
        else:
            whole = operator.result == "discrete"
        kept = whole if operator.result == "keeps" else all(v.whole for v in among)
        if kept and operator.result in ("keeps", "discrete"):
            return given, whole
        cast = [
            Value(v.type, names={PLAIN: self.add("Cast", [self.name(v)], to=TensorProto.FLOAT)})
            if v.whole and v in among
            else v
            for v in given
        ]
        return cast, whole

    def _worked_out(
        self,
        step: Step,
        given: Sequence[Value],
        attributes: Mapping[str, AttributeValue],
        types: tuple[Type, ...],
    ) -> list[Value]:
        """Of constants alone: exactly where the result is to be integers, else in real numbers,
        where rounding is nothing."""
        operator, label = BY_OPCODE[step.opcode], given[0].label
        if self.qdq and all(v.data is not None and v.data.dtype.kind != "f" for v in given):
            read = [(v.type, np.asarray(v.data)) for v in given]
            made, _ = _core.run_operator(
                step.opcode, list(step.attributes), read, 1, 0, 1, 0, 0, 0, -1, 0
            )
        elif step.name == "convert":
            made = [given[0].real]
        else:
            found = operator.real(operator.at_batch(attributes, 1), *(v.real for v in given))
            made = [np.asarray(a) for a in (found if isinstance(found, tuple) else (found,))]
        return [Value(t, a, label=label) for t, a in zip(types, made, strict=True)]

    def _outputs(self, results: Sequence[Value]) -> list[tuple[str, Value]]:
        """Names of what the graph gives, each made by a node and no other's."""
        taken: set[str] = set()
        outputs = []
        for i, value in enumerate(results):
            name = self.name(value)
            if name in taken or name not in self.made:
                name = self.add("Identity", [name], "output" if i == 0 else f"output_{i}")
            taken.add(name)
            outputs.append((name, value))
        return outputs

    def _described(self, name: str, value: Value) -> Any:
        from onnx import TensorProto, helper

        shape = [BATCH_NAME if d == -1 else d for d in value.type.shape]
        kinds = {"bool": TensorProto.BOOL, "i32": TensorProto.INT32}
        kind = kinds[value.type.dtype] if value.whole or value.type.dtype == "bool" else None
        return helper.make_tensor_value_info(name, kind or TensorProto.FLOAT, shape)

    @property
    def operator(self) -> str:
        """The operator of the program's node under translation."""
        return self._step.name

    @property
    def reads_alone(self) -> bool:
        """Whether the program's node is the only reader of its first operand."""
        return self.readers[self._step.inputs[0]] == 1

    def move_last(self, node: Any) -> None:
        """Puts a node, which no other reads yet, behind all others."""
        del self.nodes[next(i for i, n in enumerate(self.nodes) if n is node)]
        self.nodes.append(node)

    # Tensors

    def unique(self, name: str) -> str:
        """A name that no tensor has."""
        made, count = name, 0
        while made in self._names:
            count += 1
            made = f"{name}_{count}"
        self._names.add(made)
        return made

    def add(self, op: str, inputs: Sequence[str], label: str = "", **attributes: Any) -> str:
        """A node with one output, whose name it returns."""
        from onnx import helper

        out = self.unique(label or f"{op.lower()}_{len(self.nodes)}")
        node = helper.make_node(op, list(inputs), [out], name=out, **attributes)
        self.nodes.append(node)
        self.made[out] = node
        return out

    def pair(self, op: str, inputs: Sequence[str], **attributes: Any) -> tuple[str, str]:
        """A node with two outputs, the first of which bears the source's name."""
        first = self.add(op, inputs, self._step.label, **attributes)
        second = self.unique(f"{first}_second")
        self.made[first].output.append(second)
        return first, second

    def labelled(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node that bears the source's name of the program's node."""
        return self.add(op, inputs, self._step.label, **attributes)

    def constant(self, array: Array, name: str = "constant") -> str:
        """The initialiser of an array, its element type as given."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(array)
        key = (hashlib.blake2b(array.data).digest(), array.dtype.str, array.shape)
        if key not in self._constants:
            self._constants[key] = self.unique(name)
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A list of integers."""
        return self.constant(np.asarray(values, dtype=np.int64), "integers")

    def number(self, value: float) -> str:
        """A scalar."""
        return self.constant(np.asarray(value, dtype=np.float32), "number")

    def name(self, value: Value, layout: str = PLAIN) -> str:
        """The tensor of a value in a layout."""
        if value.data is not None:
            data = value.data if layout == PLAIN else value.data.transpose(first_order(value.rank))
            return self.stored(value, data)
        if layout not in value.names:
            order = last_order(value.rank) if layout == PLAIN else first_order(value.rank)
            (given,) = value.names.values()
            value.names[layout] = self.add("Transpose", [given], perm=order)
        return value.names[layout]

    def stored(self, value: Value, data: Array) -> str:
        """The tensor of a constant, its elements arranged as ``data`` has them."""
        label = value.label or "constant"
        if value.type.dtype == "bool":
            return self.constant(data.astype(bool), label)
        whole = value.type.dtype in ("i16", "i32") and data.dtype.kind != "f"
        if self.qdq and whole:
            kept = self.constant(data.astype(NUMPY[value.type.dtype]), label)
            return self._dequantized(kept, value.type.fraction_bits)
        if data.dtype.kind != "f":
            data = np.ldexp(data.astype(np.float64), -value.type.fraction_bits)
        return self.constant(data.astype(np.float32), label)

    def _scale(self, fraction_bits: int) -> str:
        return self.constant(np.asarray(2.0**-fraction_bits, dtype=np.float32), "scale")

    def _dequantized(self, name: str, fraction_bits: int) -> str:
        return self.add("DequantizeLinear", [name, self._scale(fraction_bits)])

    def _rounded(self, name: str, type_: Type, layout: str = PLAIN) -> Value:
        """A tensor rounded half to even and clamped to 16 bits."""
        zero = self.constant(np.asarray(0, dtype=np.int16), "zero")
        scale = self._scale(type_.fraction_bits)
        quantized = self.add("QuantizeLinear", [name, scale, zero])
        return Value(type_, names={layout: self._dequantized(quantized, type_.fraction_bits)})

    # What several forms share

    def layout(self, *values: Value) -> str:
        """The layout in which the values that are no constants exist already: channels first only
        where all of them do and one does not exist otherwise."""
        tensors = [v for v in values if v.data is None]
        ranks = {v.rank for v in tensors}
        constants_fit = all(v.rank <= max(ranks, default=0) for v in values)
        if len(ranks) == 1 and constants_fit and all(FIRST in v.names for v in tensors):
            return FIRST if any(PLAIN not in v.names for v in tensors) else PLAIN
        return PLAIN

    def operand(self, value: Value, layout: str, rank: int) -> str:
        """An operand of an element-wise node whose result has this rank: constants of a lower rank
        get axes of 1 in front of theirs."""
        if value.data is None or layout == PLAIN:
            return self.name(value, layout)
        shape = (1,) * (rank - value.rank) + value.data.shape
        data = value.data.reshape(shape).transpose(first_order(rank))
        while data.ndim > 1 and data.shape[0] == 1 and rank - value.rank:
            data = data[0]
        return self.stored(value, data)

    def elements(self, op: str, *values: Value, **attributes: Any) -> Value:
        """An element-wise node, in the layout at hand."""
        layout = self.layout(*values)
        rank = max(v.rank for v in values)
        names = [self.operand(v, layout, rank) for v in values]
        return self.value(self.labelled(op, names, **attributes), layout)

    def value(self, name: str, layout: str = PLAIN) -> Value:
        """The result of a form; its type is filled in later."""
        return Value(_UNKNOWN, names={layout: name})

    def batch_size(self) -> str:
        """The number of examples, a list of one."""
        i, given = next((i, v) for i, v in enumerate(self._inputs) if v.type.batch_axis is not None)
        axis = given.type.batch_axis
        assert axis is not None
        return self.add("Shape", [self.input_names[i]], start=axis, end=axis + 1)


_UNKNOWN = Type("real", 0, ())
