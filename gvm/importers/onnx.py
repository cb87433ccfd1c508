"""ONNX models become real-valued graphs.

This file finds the graph: the file, its functions, inputs and weights. ``onnx_nodes.py`` translates
its nodes.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm.errors import ImportModelError
from gvm.importers import (  # noqa: F401 (they register)
    UnsupportedModel,
    onnx_attention,
    onnx_choices,
    onnx_control,
    onnx_division,
    onnx_layout,
    onnx_linear,
    onnx_masks,
    onnx_math,
    onnx_normalization,
    onnx_order,
    onnx_powers,
    onnx_recurrent,
    onnx_resize,
    onnx_rounding,
    onnx_scatter,
    onnx_sequences,
    onnx_windows,
)
from gvm.importers.division import settle_quotients
from gvm.importers.fold import fold_affine
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.masks import settle_masks
from gvm.importers.normalization import fuse_normalizations
from gvm.importers.onnx_nodes import Translator, is_trained
from gvm.importers.onnx_whole import element_type
from gvm.importers.shapes import ALONE, Opaque, Tensor
from gvm.importers.transposes import sink_transposes

if TYPE_CHECKING:
    from gvm.graph import Graph

__all__ = ["load_onnx"]


def load_onnx(
    source: Any, training: bool = False, shapes: Sequence[Sequence[int]] | None = None
) -> Graph:
    """The real-valued graph of an ONNX model, with the named outputs ``predict``.

    ``source`` is a path or an onnx.ModelProto, of any operator set from 1 on; weights in files of
    their own are read from beside the path. The first axis of each input is the batch, whatever
    size is stored for it. ``shapes`` are those of typical inputs: what a source leaves open behind
    the batch is as there. Inputs and outputs keep their layout.

    Weights keep their names as parameters. Batch normalisation is folded into the convolution or
    product it follows: then the bias carries the name of the shift. With ``training`` it stays what
    it is.

    Raises :class:`gvm.importers.UnsupportedModel` with every node that has no translation, and
    ImportModelError, its base, for any other source at fault.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ImportModelError("ONNX is not installed: pip install 'gvm[onnx]'")
    model, description = _read(source)
    whole = without_functions(model, description)
    graph = _translate(whole, description, training, shapes or ())
    return fold_affine(sink_transposes(settle_masks(settle_quotients(fuse_normalizations(graph)))))


def _read(source: Any) -> tuple[Any, str]:
    import onnx

    if isinstance(source, onnx.ModelProto):
        model, description = source, source.graph.name or "ModelProto"
    elif isinstance(source, str | os.PathLike):
        description = os.fspath(source)
        if not os.path.isfile(description):
            raise ImportModelError(f"{description}: no such file")
        try:
            model = onnx.load(description, load_external_data=False)
        except Exception as error:  # protobuf's DecodeError is not public under one name
            raise ImportModelError(f"{description}: not a whole ONNX model: {error}") from error
        try:
            folder = os.path.dirname(os.path.abspath(description))
            onnx.load_external_data_for_model(model, folder)
        except Exception as error:  # the C++ reader raises what it likes
            raise ImportModelError(
                f"{description}: weights in files of their own cannot be read: {error}"
            ) from error
    else:
        raise ImportModelError(
            f"source: an onnx.ModelProto or a path is needed, received {type(source).__name__}"
        )
    if not model.graph.node or not model.graph.output:
        raise ImportModelError(
            f"{description}: not an ONNX model: it has {len(model.graph.node)} nodes and "
            f"{len(model.graph.output)} outputs"
        )
    return model, description


def without_functions(model: Any, description: str) -> Any:
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model, convert_version=True)
    except Exception as error:  # the C++ inliner raises RuntimeError and its kin
        raise ImportModelError(f"{description}: its functions do not inline: {error}") from error


def _version(model: Any, description: str) -> int:
    from onnx.defs import onnx_opset_version

    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions:
        if model.ir_version >= 3 and not model.opset_import:
            raise ImportModelError(f"{description}: the model names no operator set")
        return 1
    version, newest = max(int(v) for v in versions), onnx_opset_version()
    if version > newest:
        raise ImportModelError(
            f"{description}: its operator set must be at most {newest}, the newest that the "
            f"installed onnx knows, received {version}"
        )
    return max(1, version)


def translator_of(model: Any, description: str) -> Translator:
    """A translator that knows the model's weights, and none of its inputs yet."""
    from onnx import numpy_helper

    graph = model.graph
    translator = Translator(_version(model, description))
    if graph.sparse_initializer:
        raise ImportModelError(f"{description}: weights must be dense, received sparse_initializer")
    for tensor in graph.initializer:
        try:
            array = np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:  # an unknown element type, short data
            rule = f"element type {error}" if isinstance(error, KeyError) else str(error)
            raise ImportModelError(
                f"{description}: weight {tensor.name!r} cannot be read: {rule}"
            ) from error
        translator.done[tensor.name] = Constant(array, tensor.name, is_trained(array))
    return translator


def _check_names(graph: Any, description: str) -> None:
    """Every name is made once, and every output by something."""
    made = {t.name for t in graph.initializer} | {i.name for i in graph.input}
    for node in graph.node:
        twice = sorted(made.intersection(filter(None, node.output)))
        if twice:
            raise ImportModelError(
                f"{description}: node {node.name or twice[0]!r} ({node.op_type}): its output "
                f"{twice[0]!r} is made before it, too"
            )
        made.update(node.output)
    missing = [o.name for o in graph.output if o.name not in made]
    if missing:
        raise ImportModelError(f"{description}: output {missing[0]!r} is made by no node")


def _translate(
    model: Any, description: str, training: bool, shapes: Sequence[Sequence[int] | None]
) -> Graph:
    translator = translator_of(model, description)
    translator.training = training
    graph = model.graph
    _check_names(graph, description)
    given = [value for value in graph.input if value.name not in translator.done]
    known = shapes if len(shapes) == len(given) else [None] * len(given)
    for value, shape in zip(given, known, strict=True):
        _add_input(translator, description, value, shape)
    if not translator.g.inputs:
        raise ImportModelError(f"{description}: the model has no inputs")
    translator.walk(graph, [o.name for o in graph.output])
    if translator.problems:
        raise UnsupportedModel(description, tuple(translator.problems))
    return _finish(translator, description, [o.name for o in graph.output])


def _add_input(
    translator: Translator, description: str, value: Any, shape: Sequence[int] | None
) -> None:
    if not value.type.HasField("tensor_type"):
        raise ImportModelError(f"{description}: input {value.name!r} must be a tensor")
    kind = value.type.tensor_type
    sizes: list[int | None] = [
        int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim
    ]
    shown = [
        d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in kind.shape.dim
    ]
    if shape is not None and len(shape) == len(sizes):
        sizes[1:] = [s if d is None else d for d, s in zip(sizes[1:], shape[1:], strict=True)]
    if not sizes:
        raise ImportModelError(
            f"{description}: input {value.name!r} needs a batch axis and a known rank"
        )
    first, *rest = sizes
    first = first if first is not None and first > 0 else None
    known = [d for d in rest if d is not None and d > 0]
    if len(known) != len(rest):
        raise ImportModelError(
            f"{description}: input {value.name!r}: every dimension but the batch must be known "
            f"and at least 1, or stand in the calibration data, received {shown}"
        )
    translator.stored_batch = translator.stored_batch or first
    dtype = _element_type(description, value.name, kind.elem_type)
    try:
        held = element_type(dtype, value.name)
    except ImportModelError as error:
        raise ImportModelError(f"{description}: {error}") from None
    value_of = translator.g.input(value.name, (-1, *known), held)
    translator.done[value.name] = Tensor(value_of, kind=dtype.name if dtype.kind in "iu" else "")


def _element_type(description: str, name: str, number: int) -> np.dtype[Any]:
    from onnx import helper

    try:
        made: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    except KeyError:
        raise ImportModelError(
            f"{description}: input {name!r}: elements must be numbers, received type {number}"
        ) from None
    return made


def _finish(translator: Translator, description: str, names: Sequence[str]) -> Graph:
    values = []
    for name in names:
        result = translator.done.get(name)
        if isinstance(result, Opaque):
            try:
                result = result.tensor()
            except Refusal as error:
                raise ImportModelError(f"{description}: output {name!r}: {error}") from None
        if not isinstance(result, Tensor) or result.merged != ALONE:
            what = (
                "merges the batch with another axis"
                if isinstance(result, Tensor)
                else "does not depend on the inputs"
            )
            raise ImportModelError(f"{description}: output {name!r} {what}")
        values.append(result.value)
    check_finite(translator, description)
    return translator.low.g.graph(predict=values)


def check_finite(translator: Translator, description: str) -> None:
    """Refuses weights that are read and hold NaN or infinity."""
    wrong = translator.low.not_finite
    if wrong:
        raise ImportModelError(
            f"{description}: weights must be finite: "
            + "; ".join(f"{name!r} has {what}" for name, what in wrong.items())
        )
