"""The cases of ONNX's backend tests: which are in scope, and what gvm.onnx_backend makes of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gvm.errors import GvmError

SUITES = ("node", "simple", "pytorch-operator", "pytorch-converted", "light")
OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
    BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvInteger
    ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu
    Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
    HardSigmoid HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul
    MatMulInteger Max MaxPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
    NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear
    RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
    RotaryEmbedding Round STFT Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin
    Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """.split()
)
"""The operators that conformance is stated for."""
DATA_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators whose results have shapes that depend on values."""
NARROW = re.compile(r"FLOAT8|FLOAT4|U?INT4|U?INT2\b")
Result = Literal["pass", "fail", "unsupported", "excluded", "other"]
"""excluded: by rule; other: an operator beyond :data:`OPERATORS`."""


@dataclass(frozen=True)
class Case:
    """A test: a model, and inputs with what they should give."""

    name: str
    suite: str
    model: Any
    data: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]

    @property
    def operators(self) -> frozenset[str]:
        """Operators of the model, its functions and its sub-graphs."""
        return frozenset(n.op_type for n in _nodes(self.model))

    @property
    def subject(self) -> str:
        """The operator that the test is for: its only one, or what a function is expanded from."""
        kinds = [n.op_type for n in self.model.graph.node]
        return kinds[0] if len(kinds) == 1 else ""


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    case: Case
    result: Result
    reason: str = ""


def cases(suites: Sequence[str] = SUITES) -> Iterator[Case]:
    """The tests of ONNX's suites, as installed with the package."""
    from onnx.backend.test.loader import load_model_tests

    for suite in suites:
        for test in load_model_tests(kind="real" if suite == "light" else suite):
            if suite == "node":
                data = tuple((tuple(i), tuple(o)) for i, o in test.data_sets)
                yield Case(test.name, suite, test.model, data)
            elif suite == "light":
                yield _light(test)
            else:
                yield _stored(test, suite)


def _stored(test: Any, suite: str) -> Case:
    import onnx

    folder = Path(test.model_dir)

    def tensors(of: Path, kind: str) -> tuple[Any, ...]:
        count = len(list(of.glob(f"{kind}_*.pb")))
        return tuple(_message(of / f"{kind}_{i}.pb") for i in range(count))

    model = onnx.load(folder / "model.onnx")
    data = [
        (tensors(part, "input"), tensors(part, "output"))
        for part in sorted(folder.glob("test_data_set*"))
    ]
    return Case(test.name, suite, model, tuple(data))


def _light(test: Any) -> Case:
    import onnx
    import onnx.backend.test
    from onnx.backend.test.runner import Runner

    folder = Path(onnx.backend.test.__file__).parent / "data" / "light"
    path = folder / Path(test.url).name
    model = onnx.load(path)
    stored = {t.name for t in model.graph.initializer}
    inputs = [Runner.generate_dummy_data(i) for i in model.graph.input if i.name not in stored]
    outputs = [
        _message(folder / f"{path.stem}_output_{i}.pb") for i in range(len(model.graph.output))
    ]
    return Case(test.name, "light", model, ((tuple(inputs), tuple(outputs)),))


def _message(path: Path) -> Any:
    """A tensor; another kind of value stays as it is stored."""
    import onnx
    from onnx import numpy_helper

    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:  # an optional or a sequence
        return path


def _nodes(model: Any) -> Iterator[Any]:
    from onnx import AttributeProto

    def walk(nodes: Any) -> Iterator[Any]:
        for node in nodes:
            yield node
            for a in node.attribute:
                graphs = [a.g] if a.type == AttributeProto.GRAPH else a.graphs
                for graph in graphs:
                    yield from walk(graph.node)

    yield from walk(model.graph.node)
    for function in model.functions:
        yield from walk(function.node)


def excluded(case: Case) -> str:
    """Why the rules leave a case out, or nothing."""
    from onnx import TensorProto

    kinds: set[str] = set()
    for value in (*case.model.graph.input, *case.model.graph.output):
        if not value.type.HasField("tensor_type"):
            return "a sequence or an optional value"
        kinds.add(TensorProto.DataType.Name(value.type.tensor_type.elem_type))
    for node in _nodes(case.model):
        for a in node.attribute:
            if a.name in ("to", "dtype", "output_dtype"):
                kinds.add(TensorProto.DataType.Name(a.i))
            if a.HasField("t"):
                kinds.add(TensorProto.DataType.Name(a.t.data_type))
    if "STRING" in kinds:
        return "strings"
    narrow = sorted(k for k in kinds if NARROW.match(k))
    if narrow:
        return f"element type {narrow[0]}"
    if case.operators & DATA_DEPENDENT:
        return "an output shape that depends on values"
    values = [v for given, expected in case.data for v in (*given, *expected)]
    if not all(map(_is_finite, values)):
        return "NaN or infinity in inputs or results"
    return ""


def _array(value: Any) -> NDArray[Any]:
    from onnx import TensorProto, numpy_helper

    return np.asarray(numpy_helper.to_array(value) if isinstance(value, TensorProto) else value)


def _is_finite(value: Any) -> bool:
    array = _array(value)
    array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def run(case: Case) -> Outcome:
    """Runs a case whether in scope or not; the reason of one that does not pass is one line."""
    by_rule = excluded(case)
    if by_rule:
        return Outcome(case, "excluded", by_rule)
    result, reason = _run(case)
    if result != "pass" and not case.operators <= OPERATORS:
        beyond = ", ".join(sorted(case.operators - OPERATORS))
        return Outcome(case, "other", f"{beyond}: not among the {len(OPERATORS)} operators")
    return Outcome(case, result, reason)


def _run(case: Case) -> tuple[Result, str]:
    from gvm import onnx_backend

    try:
        prepared = onnx_backend.prepare(case.model)
        for given, expected in case.data:
            found = prepared.run(list(given))
            if len(found) != len(expected):
                return "fail", f"{len(found)} outputs, expected {len(expected)}"
            for name, got, wanted in zip(prepared.outputs, found, expected, strict=True):
                wrong = difference(got, _array(wanted))
                if wrong:
                    return "fail", f"output {name!r}: {wrong}"
    except GvmError as error:
        return "unsupported", _one_line(error)
    except Exception as error:  # a fault of ours, or a model that onnx.checker refuses
        return "fail", f"{type(error).__name__}: {_one_line(error)}"
    return "pass", ""


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[1:] if len(lines) > 1 else lines)[:300]


def difference(found: NDArray[Any], expected: NDArray[Any]) -> str:
    """How a result differs from what a test expects, or nothing: whole numbers and truth values at
    all, real ones by more than ``onnx_backend.tolerance``."""
    from gvm.onnx_backend import tolerance

    if found.shape != expected.shape:
        return f"shape {list(found.shape)}, expected {list(expected.shape)}"
    if found.dtype != expected.dtype:
        return f"element type {found.dtype}, expected {expected.dtype}"
    if not expected.size:
        return ""
    if expected.dtype.kind in "iub":
        wrong = np.flatnonzero((found != expected).reshape(-1))
        if not len(wrong):
            return ""
        at = wrong[0]
        return (
            f"{len(wrong)} of {expected.size} differ, first {found.reshape(-1)[at]}, "
            f"expected {expected.reshape(-1)[at]}"
        )
    most = float(np.max(np.abs(found.astype(np.float64) - expected.astype(np.float64))))
    allowed = tolerance(expected)
    return "" if most <= allowed else f"off by {most:.3g}, allowed {allowed:.3g}"
