"""ONNX's matrix products and what is built of them."""

from __future__ import annotations

import numpy as np

from gvm.graph import Value
from gvm.importers.arithmetic import add, multiply
from gvm.importers.composites import local_response
from gvm.importers.contract import einsum, matrix_product
from gvm.importers.lowering import Constant
from gvm.importers.onnx_math import per_channel
from gvm.importers.onnx_nodes import HINTS, Node, Translator, handles
from gvm.importers.shapes import Operand, Tensor

HINTS["QLinearMatMul"] = HINTS["MatMulInteger"] = "nearest supported form: MatMul of real values"


@handles("MatMul")
def _matmul(t: Translator, node: Node, a: Operand, b: Operand) -> Tensor:
    return matrix_product(t, a, b, node.name)


@handles("Gemm")
def _gemm(t: Translator, node: Node, a: Operand, b: Operand, c: Operand | None = None) -> Tensor:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    scaled = alpha == 1.0
    if not scaled and isinstance(b, Constant):
        b, scaled = b.derive(b.data * alpha), True
    elif not scaled and isinstance(a, Constant):
        a, scaled = a.derive(a.data * alpha), True
    product = matrix_product(
        t, a, b, node.name, node.integer("transA", 0) == 1, node.integer("transB", 0) == 1
    )
    if not scaled:
        product = multiply(t, node.name, product, _number(alpha, f"{node.name}/alpha"))
    if c is None or beta == 0.0:
        return product
    if beta != 1.0 and isinstance(c, Constant):
        c = c.derive(c.data * beta)
    elif beta != 1.0:
        c = multiply(t, node.name, c, _number(beta, f"{node.name}/beta"))
    return add(t, node.name, product, c)


def _number(value: float, name: str) -> Constant:
    return Constant(np.asarray([value], dtype=np.float64), name)


@handles("Einsum")
def _einsum(t: Translator, node: Node, *operands: Operand) -> Tensor:
    return einsum(t, str(node.attributes["equation"]), operands, node.name)


@handles("LRN")
def _local_response(t: Translator, node: Node, x: Operand) -> Tensor:
    size = node.integer("size", 1)
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    bias = node.number("bias", 1.0)

    def make(value: Value) -> Value:
        before, after = (size - 1) // 2, size // 2
        return local_response(t, value, before, after, alpha / size, beta, bias, node.name)

    return per_channel(t, x, make)
