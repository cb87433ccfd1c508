"""ONNX Runtime's contenders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.cpu.data import in_units, operands
from benchmarks.cpu.rows import Case, Runner

Array = NDArray[Any]


def session(source: bytes | Path, threads: int) -> Any:
    """With all of its optimisations; its threads spin as they do by default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    given = source if isinstance(source, bytes) else str(source)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def build(kind: str, name: str, case: Case, threads: int, folder: Path) -> Runner:
    """The runner of a row."""
    if kind == "product":
        return product(name, case, threads)
    x = np.load(folder / f"images.{case['batch']}.npy")
    file = "resnet50.int8.onnx" if name.endswith("int8") else "resnet50.onnx"
    made = session(folder / file, threads)
    return Runner(lambda: made.run(None, {"x": x}), lambda: np.asarray(made.run(None, {"x": x})[0]))


def product(name: str, case: Case, threads: int) -> Runner:
    """A matrix product by a constant, which ONNX Runtime packs when the session is made."""
    from onnx import TensorProto, helper, numpy_helper

    x, w = operands(case)
    if name.endswith("int8"):
        # The high bytes: what is measured is the speed of products of bytes.
        x, w = ((x >> 5) + 128).clip(0, 255).astype(np.uint8), (w >> 5).astype(np.int8)
        kind, kinds = "MatMulInteger", (TensorProto.UINT8, TensorProto.INT32)
        scale = 2.0**10
    else:
        x, w = x.astype(np.float32), w.astype(np.float32)
        kind, kinds = "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT)
        scale = 1.0
    zero = [numpy_helper.from_array(np.array(128, np.uint8), "z")] if scale != 1 else []
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w", *(["z"] if zero else [])], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", kinds[0], list(x.shape))],
        [helper.make_tensor_value_info("y", kinds[1], [x.shape[0], w.shape[1]])],
        [numpy_helper.from_array(w, "w"), *zero],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    made = session(model.SerializeToString(), threads)

    def run() -> Any:
        return made.run(None, {"x": x})[0]

    return Runner(run, lambda: in_units(case["data"], scale * run().astype(np.float64)))
