"""TensorFlow models of every kind become one frozen graph, and that a real-valued graph.

This file finds the graph: sources, variables, functions, constants. ``tensorflow_nodes.py``
translates its nodes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gvm.errors import ImportModelError
from gvm.importers import (  # noqa: F401 (they register operators)
    Problem,
    UnsupportedModel,
    tensorflow_choices,
    tensorflow_control,
    tensorflow_division,
    tensorflow_functions,
    tensorflow_layout,
    tensorflow_linear,
    tensorflow_masks,
    tensorflow_math,
    tensorflow_parts,
    tensorflow_resize,
    tensorflow_sequences,
    tensorflow_windows,
)
from gvm.importers.batch_norms import batch_norms_of, with_batch_norms
from gvm.importers.division import settle_quotients
from gvm.importers.fold import fold_affine
from gvm.importers.lowering import Constant
from gvm.importers.masks import settle_masks
from gvm.importers.normalization import fuse_normalizations
from gvm.importers.tensorflow_constants import CALLS, Variable, constants_of
from gvm.importers.tensorflow_nodes import translate
from gvm.importers.tensorflow_weights import Read, with_read_weights
from gvm.importers.transposes import sink_transposes

if TYPE_CHECKING:
    from gvm.graph import Graph

__all__ = ["load_tensorflow"]

_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_DEFAULT_SIGNATURE = "serving_default"
KERAS_FILES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Frozen:
    """A graph without variables: placeholders ``inputs`` and tensors ``outputs`` by name.

    ``variables`` says which constants were variables; None where the source no longer knows.
    ``weights``: what placeholders stand for that are no inputs, by the name of their tensor.
    """

    description: str
    graph_def: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variables: Mapping[str, Variable] | None
    weights: Mapping[str, Constant] = field(default_factory=dict)


def load_tensorflow(
    source: Any, shapes: Sequence[Sequence[int]] | None = None, training: bool = False
) -> Graph:
    """The real-valued graph of a TensorFlow model, with the named outputs ``predict``.

    ``source`` is a keras.Model (Sequential or functional), a tf.Module or loaded SavedModel with a
    serving signature, a ConcreteFunction, a tf.function with an input signature, or a path:
    SavedModel directory, ``.keras``, ``.h5``, frozen ``.pb``. The first axis of each input is the
    batch. ``shapes`` are those of typical inputs: what a source leaves open behind the batch is as
    there.

    Variables keep their names as parameters. Batch normalisation becomes a scale and a shift, named
    after gamma and beta (moving_variance and moving_mean where there are none), and is folded into
    the convolution or dense layer it follows: then the bias carries the name of the shift. With
    ``training`` it stays what it is, of a Keras model or its file, unless its layer is frozen.

    Raises :class:`gvm.importers.UnsupportedModel` with every node that has no translation, and
    ImportModelError, its base, for any other source at fault.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportModelError("TensorFlow is not installed: pip install 'gvm[tensorflow]'")
    if training:
        source = _keras_model(source)
    frozen = _inline(_freeze(source))
    _close_shapes(frozen, shapes or ())
    is_file = frozen.variables is None
    graph = translate(frozen.description, *_operations(frozen), is_file)
    if training:
        graph = with_batch_norms(graph, batch_norms_of(source), frozen.description)
    return fold_affine(
        _with_fewest_transposes(settle_masks(settle_quotients(fuse_normalizations(graph))))
    )


def _with_fewest_transposes(graph: Graph) -> Graph:
    """A model of the layout NCHW turns at its input alone; others are what they are."""
    sunk = sink_transposes(graph)
    before, after = (sum(n.op == "transpose" for n in g.nodes) for g in (graph, sunk))
    return sunk if after < before else graph


def _close_shapes(frozen: Frozen, shapes: Sequence[Sequence[int]]) -> None:
    """Gives inputs of unknown rank, or with unknown dimensions behind the batch, the shapes of
    arrays, as many as there are inputs."""
    if len(shapes) != len(frozen.inputs):
        return
    nodes = {node.name: node for node in frozen.graph_def.node}
    for name, shape in zip(frozen.inputs, shapes, strict=True):
        stated = nodes[_node_of(name)].attr["shape"].shape
        known = [d.size for d in stated.dim] or [-1] * len(shape)  # old graphs: none for unknown
        if len(known) == len(shape) and (-1 in known[1:] or not stated.dim):
            stated.Clear()
            for axis, size in enumerate(known):
                stated.dim.add().size = size if size >= 0 or axis == 0 else int(shape[axis])


def _freeze(source: Any) -> Frozen:
    import tensorflow as tf

    if isinstance(source, (str, os.PathLike)):
        return _freeze_path(Path(source))
    if isinstance(source, tf.types.experimental.ConcreteFunction):
        return _freeze_function(source, source.variables, "ConcreteFunction")
    if isinstance(source, tf.types.experimental.PolymorphicFunction):
        if source.input_signature is None:
            raise ImportModelError(
                "tf.function: an input_signature is needed, or pass a ConcreteFunction"
            )
        function = source.get_concrete_function()
        return _freeze_function(function, function.variables, "tf.function")
    if hasattr(source, "layers") and hasattr(source, "get_config"):
        return _freeze_keras(source, f"model {source.name!r}")
    if isinstance(source, tf.Module) or hasattr(source, "signatures"):
        return _freeze_module(source)
    raise ImportModelError(
        f"source: a TensorFlow or Keras model or a path is needed, received {type(source).__name__}"
    )


def _freeze_path(path: Path) -> Frozen:
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            versions = sorted(f.parent.name for f in path.glob("*/saved_model.pb"))
            inside = f"; it is in {', '.join(versions)}" if versions else ""
            raise ImportModelError(
                f"{path}: a folder must be a SavedModel, saved_model.pb is missing{inside}"
            )
        return _freeze_saved_model(path)
    if not path.is_file():
        raise ImportModelError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix in KERAS_FILES:
        return _freeze_keras(_load_keras(path), str(path))
    if suffix == ".pb":
        return (
            _freeze_saved_model(path.parent)
            if path.name == "saved_model.pb"
            else _freeze_graph_file(path)
        )
    raise ImportModelError(
        f"{path}: the name must end in .keras, .h5, .hdf5 or .pb (.onnx: gvm.from_onnx), "
        f"received {suffix!r}"
    )


def _load_keras(path: Path) -> Any:
    import keras

    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        raise ImportModelError(f"{path}: not a whole .keras file, which is a zip archive")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types for a damaged or unknown file
        raise ImportModelError(f"{path}: Keras cannot load it: {error}") from error


def _keras_model(source: Any) -> Any:
    """The Keras model that a source is or holds."""
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() in KERAS_FILES:
        return _load_keras(Path(source))
    if hasattr(source, "layers") and hasattr(source, "get_config"):
        return source
    raise ImportModelError(
        "training=True needs a Keras model or its file: other sources do not say how running "
        f"statistics move; received {type(source).__name__}"
    )


def _freeze_keras(model: Any, description: str) -> Frozen:
    import tensorflow as tf

    backend = _keras_backend(model)
    if backend != "tensorflow":
        raise ImportModelError(
            f"{description}: Keras must run on TensorFlow, its backend is {backend!r}"
        )
    try:
        inputs = (
            model.input if isinstance(getattr(model, "input", None), dict) else list(model.inputs)
        )
    except (AttributeError, TypeError, ValueError):
        inputs = None
    if not inputs:
        raise ImportModelError(
            f"{description}: the model has no inputs yet; build it, or pass a tf.function"
        )

    def specification(tensor: Any) -> Any:
        if len(tensor.shape) == 0:
            raise ImportModelError(
                f"{description}: input {tensor.name!r} needs a batch axis, it is a scalar"
            )
        return tf.TensorSpec(
            (None, *tensor.shape[1:]), tensor.dtype, name=tensor.name.split(":")[0]
        )

    if isinstance(inputs, list) and len(inputs) == 1:
        inputs = inputs[0]
    function = tf.function(lambda values: model(values, training=False))
    concrete = function.get_concrete_function(tf.nest.map_structure(specification, inputs))
    return _freeze_function(concrete, model.weights, description)


def _keras_backend(model: Any) -> str:
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model):
        return str(keras.backend.backend())
    return "tensorflow"  # the older Keras knows no other


def _freeze_module(module: Any) -> Frozen:
    import tensorflow as tf

    description = type(module).__name__
    signatures = dict(getattr(module, "signatures", {}))
    if signatures:
        if _DEFAULT_SIGNATURE not in signatures and len(signatures) != 1:
            raise ImportModelError(
                f"{description}: signature {_DEFAULT_SIGNATURE!r} is needed, "
                f"received {sorted(signatures)}"
            )
        function = signatures.get(_DEFAULT_SIGNATURE) or next(iter(signatures.values()))
    else:
        function = getattr(module, "__call__", None)  # noqa: B004
        if (
            not isinstance(function, tf.types.experimental.PolymorphicFunction)
            or function.input_signature is None
        ):
            raise ImportModelError(
                f"{description}: a serving signature is needed, or __call__ as a tf.function "
                "with an input_signature"
            )
        function = function.get_concrete_function()
    return _freeze_function(function, function.variables, description)


def _freeze_function(function: Any, weights: Iterable[Any], description: str) -> Frozen:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    known = {}
    for weight in weights:
        variable = getattr(weight, "value", weight)  # a Keras variable holds a tf.Variable
        handle = getattr(variable if hasattr(variable, "handle") else weight, "handle", None)
        name = getattr(weight, "path", None) or weight.name.split(":")[0]
        known[id(handle)] = Variable(name, bool(weight.trainable))
    captured = {
        inner.op.name: known[id(outer)]
        for outer, inner in function.graph.captures
        if id(outer) in known
    }
    read = with_read_weights(function, captured)
    if read is None:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
        read = Read(frozen.graph.as_graph_def(), frozen.inputs, frozen.outputs, captured)
    kinds = {t.name: t.dtype for t in read.inputs if t.dtype.name not in ("resource", "variant")}
    for name, dtype in kinds.items():
        if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
            raise ImportModelError(
                f"{description}: input {name!r}: elements must be numbers, received {dtype.name}"
            )
    inputs = list(kinds)
    outputs = tuple(t.name for t in read.outputs)
    return Frozen(description, read.graph_def, tuple(inputs), outputs, read.variables, read.weights)


def _freeze_saved_model(path: Path) -> Frozen:
    """Through the loader of version 1, which reads both, whatever Python objects they held."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    stored = saved_model_pb2.SavedModel()
    try:
        stored.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError is not public under one name
        raise ImportModelError(f"{path}: saved_model.pb is damaged: {error}") from error
    if not stored.meta_graphs:
        raise ImportModelError(f"{path}: saved_model.pb is damaged: it holds no graph")
    serving = [m for m in stored.meta_graphs if "serve" in m.meta_info_def.tags]
    if not serving:
        raise ImportModelError(f"{path}: the SavedModel has no graph with the tag 'serve'")
    meta = serving[0]
    usable = {
        name: s
        for name, s in meta.signature_def.items()
        if s.inputs and s.outputs and not name.startswith("__")
    }
    if _DEFAULT_SIGNATURE not in usable and len(usable) != 1:
        raise ImportModelError(
            f"{path}: signature {_DEFAULT_SIGNATURE!r} is needed, received {sorted(usable)}"
        )
    signature = usable.get(_DEFAULT_SIGNATURE) or next(iter(usable.values()))
    inputs = {key: signature.inputs[key] for key in sorted(signature.inputs)}
    outputs = [signature.outputs[key].name for key in sorted(signature.outputs)]

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        try:
            tf.compat.v1.saved_model.load(session, list(meta.meta_info_def.tags), str(path))
            nodes = [name.split(":")[0] for name in outputs]
            graph_def = tf.compat.v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), nodes
            )
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise ImportModelError(f"{path}: TensorFlow cannot load it: {error}") from error
        trainable = {v.op.name: True for v in tf.compat.v1.trainable_variables()}
        held = {
            op.name: (_text(op, "shared_name") or op.name)
            for op in graph.get_operations()
            if op.type in _VARIABLES
        }
    for node in meta.object_graph_def.nodes:
        if node.HasField("variable"):
            trainable.setdefault(node.variable.name, node.variable.trainable)
    variables = {}
    for node, name in held.items():
        # A serving copy of a variable carries its name with a number behind it.
        original = name if name in trainable else re.sub(r"_\d+$", "", name)
        variables[node] = Variable(original, trainable.get(original, False))
    placeholders = _as_placeholders(graph_def, inputs, str(path))
    return Frozen(str(path), graph_def, placeholders, tuple(outputs), variables)


def _text(op: Any, name: str) -> str:
    return str(op.get_attr(name).decode())


def _as_placeholders(
    graph_def: Any, inputs: Mapping[str, Any], description: str
) -> tuple[str, ...]:
    """Cuts the graph at a signature's inputs: their nodes, of any kind, become placeholders."""
    nodes = {node.name: node for node in graph_def.node}
    names = []
    for key, information in inputs.items():
        name, _, index = information.name.partition(":")
        if name not in nodes:
            continue  # an input that no output depends on
        if index not in ("", "0"):
            raise ImportModelError(
                f"{description}: input {key!r} must be the first output of a node, "
                f"received {information.name!r}"
            )
        node = nodes[name]
        node.Clear()
        node.name, node.op = name, "Placeholder"
        node.attr["dtype"].type = information.dtype
        node.attr["shape"].shape.CopyFrom(information.tensor_shape)
        names.append(f"{name}:0")
    return tuple(names)


def _freeze_graph_file(path: Path) -> Frozen:
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError is not public under one name
        raise ImportModelError(f"{path}: not a frozen graph: {error}") from error
    read = {_node_of(name) for node in graph_def.node for name in node.input}
    inputs = [f"{n.name}:0" for n in graph_def.node if n.op == "Placeholder"]
    ends = [
        n
        for n in graph_def.node
        if n.name not in read and n.op not in ("Const", "NoOp", "Assert", "Placeholder")
    ]
    if not inputs or not ends:
        raise ImportModelError(
            f"{path}: not a frozen graph: it has {len(inputs)} placeholders and {len(ends)} outputs"
        )
    variables = [n.name for n in graph_def.node if n.op in _VARIABLES]
    if variables:
        raise ImportModelError(
            f"{path}: the graph is not frozen, it has variables: {', '.join(variables[:5])}"
        )
    return Frozen(str(path), graph_def, tuple(inputs), tuple(f"{n.name}:0" for n in ends), None)


def _node_of(name: str) -> str:
    return name.lstrip("^").split(":")[0]


def _inline(frozen: Frozen) -> Frozen:
    """Replaces calls by the bodies, also of functions that were to be compiled as a whole."""
    if not any(node.op in CALLS for node in frozen.graph_def.node):
        return frozen
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph_def = type(frozen.graph_def)()
    graph_def.CopyFrom(frozen.graph_def)
    bodies = [function.node_def for function in graph_def.library.function]
    renamed = {f.signature.name: f"{f.signature.name}_inlined" for f in graph_def.library.function}
    for function in graph_def.library.function:
        function.signature.name = renamed[function.signature.name]
        for attribute in ("_XlaMustCompile", "_noinline"):
            function.attr.pop(attribute, None)
    for nodes in (graph_def.node, *bodies):
        for node in nodes:
            node.attr.pop("_XlaMustCompile", None)
            for value in node.attr.values():
                calls = (
                    [value.func]
                    if value.HasField("func")
                    else value.list.func
                    if value.HasField("list")
                    else []
                )
                for called in calls:
                    called.name = renamed.get(called.name, called.name)
    wrapped = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(graph_def, name=""), []
    )
    tensor = wrapped.graph.get_tensor_by_name
    pruned = wrapped.prune(
        [tensor(name) for name in (*frozen.inputs, *frozen.weights)],
        [tensor(name) for name in frozen.outputs],
    )
    flat = convert_variables_to_constants_v2(pruned, lower_control_flow=False)
    outputs = tuple(t.name for t in flat.outputs)
    return replace(frozen, graph_def=flat.graph.as_graph_def(), outputs=outputs)


def _without_order(graph_def: Any) -> Any:
    """The graph without control dependencies: a constant may wait for what checks the inputs."""
    made = type(graph_def)()
    made.CopyFrom(graph_def)
    for node in made.node:
        kept = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
    return made


def _operations(frozen: Frozen) -> tuple[list[Any], list[Any], dict[str, Constant]]:
    """Inputs, outputs and constants by tensor name; nodes of constants are evaluated."""
    import tensorflow as tf

    changing = [n for n in frozen.graph_def.node if n.op.startswith("Assign")]
    if changing:
        rule = "changes a variable, a model must be a function of its inputs alone"
        raise UnsupportedModel(
            frozen.description, tuple(Problem(n.name, n.op, rule) for n in changing)
        )
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.graph_util.import_graph_def(_without_order(frozen.graph_def), name="")
        except ValueError as error:
            raise ImportModelError(f"{frozen.description}: not a whole graph: {error}") from error
    inputs = [graph.get_tensor_by_name(name) for name in frozen.inputs]
    outputs = [graph.get_tensor_by_name(name) for name in frozen.outputs]
    constants = constants_of(graph, inputs, outputs, frozen.variables, frozen.weights)
    return inputs, outputs, constants
