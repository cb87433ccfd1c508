"""TensorFlow's matrix products and what is built of them."""

from __future__ import annotations

from typing import Any

from gvm.importers.contract import einsum, matrix_product
from gvm.importers.shapes import Operand, Tensor
from gvm.importers.tensorflow_nodes import Translator, attribute_of, handles


@handles("MatMul")
def _matmul(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    turned = (bool(op.get_attr("transpose_a")), bool(op.get_attr("transpose_b")))
    return matrix_product(t, a, b, op.name, *turned)


@handles("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(t: Translator, op: Any, a: Operand, b: Operand) -> Tensor:
    turned = (bool(op.get_attr("adj_x")), bool(op.get_attr("adj_y")))
    return matrix_product(t, a, b, op.name, *turned)


@handles("Einsum")
def _einsum(t: Translator, op: Any, *operands: Operand) -> Tensor:
    return einsum(t, str(attribute_of(op, "equation")), operands, op.name)
