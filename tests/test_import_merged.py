"""The batch merged with axes in front of it and behind: attention as frameworks export it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.errors import ImportModelError
from gvm.graph import evaluate_real
from tests.onnx_models import check, integers, model, random

SEQUENCE = "float[N,5,6] x"
# Steps first, heads in the batch, and both merged for the last product.
ATTENTION = """
    t = Transpose <perm = [1, 0, 2]> (x)
    q = MatMul (t, wq)
    rows = Shape (t)
    n = Slice (rows, one, two)
    heads = Mul (n, two)
    a = Concat <axis = 0> (five, heads, three)
    split = Reshape (q, a)
    h = Transpose <perm = [1, 0, 2]> (split)
    k = Transpose <perm = [0, 2, 1]> (h)
    scores = MatMul (h, k)
    p = Softmax (scores)
    mixed = MatMul (p, h)
    back = Transpose <perm = [1, 0, 2]> (mixed)
    nn = Mul (n, five)
    b = Concat <axis = 0> (nn, six)
    flat = Reshape (back, b)
    o = Gemm (flat, wo, bo)
    c = Concat <axis = 0> (five, n, six)
    whole = Reshape (o, c)
    s = Add (whole, t)
    y = Transpose <perm = [1, 0, 2]> (s)
"""


def test_attention_with_steps_first() -> None:
    sizes = {"one": 1, "two": 2, "three": 3, "five": 5, "six": 6}
    source = model(
        ATTENTION, SEQUENCE, wq=random(6, 6), wo=random(6, 6, seed=2), bo=random(6),
        **{name: integers(size) for name, size in sizes.items()},
    )  # fmt: skip
    graph = check(source)
    assert sum(n.op == "matmul" for n in graph.nodes) == 4


def inputs(*shape: int) -> NDArray[Any]:
    return np.random.default_rng(4).normal(0, 1, shape).astype(np.float32)


def test_tensorflow_merges_in_front() -> None:
    tf = pytest.importorskip("tensorflow")
    from gvm.importers.tensorflow import load_tensorflow

    w = tf.constant(inputs(6, 4))

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 6), tf.float32)], autograph=False)
    def function(x: Any) -> Any:
        batch = tf.shape(x)[0]
        rows = tf.reshape(tf.transpose(x, (1, 0, 2)), (-1, 6))
        rows = tf.nn.softmax(tf.nn.relu(rows @ w) + [1.0, 2.0, 3.0, 4.0])
        blocks = tf.reshape(rows, (5 * batch, 2, 2))
        blocks = tf.matmul(blocks, tf.transpose(blocks, (0, 2, 1)))
        means = tf.reduce_mean(blocks, -1, keepdims=True)
        return tf.transpose(tf.reshape(blocks - means, (5, batch, 4)), (1, 0, 2))

    x = inputs(3, 5, 6)
    graph = load_tensorflow(function)
    (made,) = (evaluate_real(graph, [x])[v] for v in graph.outputs["predict"])
    np.testing.assert_allclose(made, function(x), rtol=2e-5, atol=2e-5)


def test_parts_of_the_merged_axis_are_refused() -> None:
    tf = pytest.importorskip("tensorflow")
    from gvm.importers.tensorflow import load_tensorflow

    def refused(body: Any, message: str) -> None:
        function = tf.function(
            lambda x: body(tf.reshape(tf.transpose(x, (1, 0, 2)), (-1, 6))),
            input_signature=[tf.TensorSpec((None, 5, 6), tf.float32)],
        )
        with pytest.raises(ImportModelError, match=message):
            load_tensorflow(function)

    refused(lambda rows: rows, "merges the batch with another axis")
    refused(lambda rows: rows[:3], "batch is merged with another axis")
    refused(lambda rows: tf.reduce_sum(rows, 0), "reduces over the batch")
    refused(lambda rows: tf.reshape(rows, (-1, 5, 6)), "merge with those beside it")
