"""Functions of TensorFlow whose weights are read from their variables, and never stand in a graph:
TensorFlow's own freezing copies them some fifteen times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gvm.importers.lowering import Constant
from gvm.importers.tensorflow_constants import CONTROL, Variable

__all__ = ["Read", "with_read_weights"]


@dataclass(frozen=True)
class Read:
    """A graph with placeholders where variables were read, or their constants."""

    graph_def: Any
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    variables: Mapping[str, Variable]
    """By placeholder."""
    weights: Mapping[str, Constant] = field(default_factory=dict)
    """By the tensor of the placeholder."""


def with_read_weights(function: Any, captured: Mapping[str, Variable]) -> Read | None:
    """The graph of a ConcreteFunction with its variables, ``captured`` by the names of the
    placeholders that stand for them. None where anything but reading the whole of one, or rows of
    it, is done with a variable, as where it goes into a function; and where there are loops."""
    graph_def = function.graph.as_graph_def()
    if any(node.op in CONTROL for node in graph_def.node):
        return None
    outer = {inner.op.name: value for value, inner in function.graph.captures}
    variables: dict[str, Variable] = {}
    weights: dict[str, Constant] = {}
    arrays: dict[str, Constant] = {}

    def weight(source: str, shown: str) -> Constant:
        """What a captured placeholder stands for, as the constant of a placeholder."""
        if source not in arrays:
            known = captured.get(source)
            name, trained = (known.name, known.trainable) if known else (source, False)
            arrays[source] = Constant(_value(outer[source]), name, trained)
        if source in captured:
            variables[shown] = captured[source]
        weights[f"{shown}:0"] = arrays[source]
        return arrays[source]

    kept = []
    for node in graph_def.node:
        read = [name for name in map(_source, node.input) if name in outer]
        if node.name in outer:
            if outer[node.name].dtype.name == "resource":
                continue
            weight(node.name, node.name)
        elif not read or not any(outer[name].dtype.name == "resource" for name in read):
            pass
        elif node.op == "ReadVariableOp":
            _stand_in(node, node.name, weight(read[0], node.name), node.attr["dtype"].type)
        elif node.op == "ResourceGather" and node.attr["batch_dims"].i == 0:
            table = type(node)()
            kept.append(table)
            made = weight(read[0], f"{node.name}/table")
            _stand_in(table, f"{node.name}/table", made, node.attr["dtype"].type)
            kept.append(_zero(node))
            _as_rows(node)
        else:
            return None
        kept.append(node)
    made_def = type(graph_def)()
    made_def.node.extend(kept)
    made_def.library.CopyFrom(graph_def.library)
    made_def.versions.CopyFrom(graph_def.versions)
    inputs = [t for t in function.inputs if t.op.name not in outer]
    return Read(made_def, inputs, function.outputs, variables, weights)


def _source(name: str) -> str:
    return name.lstrip("^").split(":")[0]


def _value(tensor: Any) -> Any:
    """What a captured tensor, or the handle of a variable, holds."""
    import tensorflow as tf

    if tensor.dtype.name != "resource":
        return np.asarray(tensor.numpy())
    data = tensor._handle_data.shape_and_type[0]
    return np.asarray(tf.raw_ops.ReadVariableOp(resource=tensor, dtype=data.dtype).numpy())


def _stand_in(node: Any, name: str, weight: Constant, dtype: int) -> None:
    """Makes a placeholder of a node."""
    node.Clear()
    node.name, node.op = name, "Placeholder"
    node.attr["dtype"].type = dtype
    shape = node.attr["shape"].shape
    for size in weight.data.shape:
        shape.dim.add().size = size


def _zero(node: Any) -> Any:
    """The axis 0 of a gather."""
    import tensorflow as tf

    made = type(node)()
    made.name, made.op = f"{node.name}/axis", "Const"
    made.attr["dtype"].type = tf.int32.as_datatype_enum
    made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0, tf.int32))
    return made


def _as_rows(node: Any) -> None:
    """Makes GatherV2 of ResourceGather."""
    name, indices = node.name, node.input[1]
    dtype, of_indices = node.attr["dtype"].type, node.attr["Tindices"].type
    import tensorflow as tf

    node.Clear()
    node.name, node.op = name, "GatherV2"
    node.input.extend([f"{name}/table", indices, f"{name}/axis"])
    node.attr["Tparams"].type = dtype
    node.attr["Tindices"].type = of_indices
    node.attr["Taxis"].type = tf.int32.as_datatype_enum
