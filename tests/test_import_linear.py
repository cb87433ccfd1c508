"""gvm.importers: products of any ranks, einsum and local responses, held to ONNX's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import gvm
from gvm.errors import ImportModelError
from gvm.graph import evaluate_real
from gvm.importers.onnx import load_onnx
from tests.onnx_models import check, inputs_of, integers, model, operators, random

BATCHES = "float[N,2,3,4] x, float[N,2,4,5] y"


def test_products_of_two_inputs() -> None:
    for inputs, body in (
        (BATCHES, "z = MatMul (x, y)"),
        ("float[N,2,3,4] x, float[N,1,4,5] y", "z = MatMul (x, y)"),
        ("float[N,1,3,4] x, float[N,2,4,5] y", "z = MatMul (x, y)"),
        ("float[N,3,4] x, float[N,4,5] y", "z = MatMul (x, y)"),
    ):
        graph = check(model(body, inputs, outputs=("z",)))
        assert operators(graph).count("matmul") == 1
    body = "t = Transpose <perm = [0, 1, 3, 2]> (y)  u = Transpose <perm = [0, 1, 3, 2]> (x)"
    body += "  z = MatMul (t, u)"
    assert operators(check(model(body, BATCHES, outputs=("z",)))).count("transpose") <= 3


@pytest.mark.parametrize(
    ("shape", "left"),
    [
        ((4, 5), False),
        ((4,), False),
        ((2, 4, 5), False),
        ((1, 4, 5), False),
        ((1, 1, 4, 5), False),
        ((1, 2, 4, 5), False),
        ((5, 3), True),
        ((3,), True),
        ((2, 5, 3), True),
        ((1, 2, 1, 3), True),
    ],
)
def test_products_with_a_constant(shape: tuple[int, ...], left: bool) -> None:
    body = "z = MatMul (w, x)" if left else "z = MatMul (x, w)"
    graph = check(model(body, "float[N,2,3,4] x", outputs=("z",), w=random(*shape)))
    assert operators(graph).count("matmul") + operators(graph).count("conv2d") == 1
    assert [p.trainable for p in graph.parameters] == [True]


def test_general_products() -> None:
    rows = "float[N,4] x"
    given = {"w": random(4, 5), "v": random(5, 4), "c": random(5), "u": random(5, 1)}
    for body in (
        "y = Gemm (x, w, c)",
        "y = Gemm <alpha = 0.5, beta = 2.0> (x, w, c)",
        "y = Gemm <transB = 1> (x, v)",
        "y = Gemm <transB = 1, beta = 0.0> (x, v, c)",
        "s = Gemm (x, w)  t = Gemm (x, w)  y = Gemm <beta = 0.25> (x, w, s)",
    ):
        graph = check(model(body, rows, **given))
        assert "transpose" not in operators(graph)
    turned = "t = Transpose <perm = [1, 0]> (x)  y = Gemm <transA = 1> (t, w)"
    check(model(turned, rows, **given))
    merged = "r = Reshape (x, s)  g = Gemm (r, w)  y = Reshape (g, t)"
    sizes = {"s": integers(-1, 4), "t": integers(-1, 15)}
    check(model(merged, "float[N,3,4] x", **sizes, **given))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhmk,hkn->bhmn", [None, (2, 4, 5)]),
        ("bhmk,hnk->bhmn", [None, (2, 5, 4)]),
        ("...mk,kn->...mn", [None, (4, 5)]),
        ("bhmk,hkn->bmhn", [None, (2, 4, 5)]),
        ("bhmk,hmk->bhm", [None, (2, 3, 4)]),
        ("bhmk,hm->bkmh", [None, (2, 3)]),
        ("bhmk,hn->bmnkh", [None, (2, 5)]),
        ("bhmk->bkh", [None]),
        ("bhmk", [None]),
        ("bhmk->b", [None]),
        ("mk,bhmk->bh", [(3, 4), None]),
        ("mk,kn,bhmn->bh", [(3, 5), (5, 4), None]),
        ("bhmk,kn,nj->bhmj", [None, (4, 5), (5, 2)]),
        ("bhmk,bhmk->bhm", [None, None]),
        ("bhmk,bhnk->bhmn", [None, None]),
        ("bhmk,bgmk->bhg", [None, None]),
        ("bhmk,bhmk,bhmk->bk", [None, None, None]),
        ("bhmk,bjnl->bhj", [None, None]),
        ("bhmk, mk -> bhmk", [None, (3, 4)]),
        ("bhmm->bhm", [None]),
        ("bhmm->bh", [None]),
        ("bhmk,nn->bhn", [None, (3, 3)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...] | None]) -> None:
    names, inputs, weights = [], [], {}
    for i, shape in enumerate(shapes):
        size = "3" if "bhmm" in equation else "4"
        if shape is None:
            inputs.append(f"float[N,2,3,{size}] x{i}")
        else:
            weights[f"x{i}"] = random(*shape, seed=i)
        names.append(f"x{i}")
    body = f'y = Einsum <equation = "{equation}"> ({", ".join(names)})'
    made = model(body, ", ".join(inputs), **weights)
    graph = load_onnx(made)
    given = iter(inputs_of(graph))
    operands = [weights[n] if n in weights else next(given) for n in names]
    check(made, expected=[np.einsum(equation, *operands)])


def test_refusals() -> None:
    for inputs, body, message in (
        (BATCHES, 'z = Einsum <equation = "bhmk,bhkn->hmn"> (x, y)', "sums over the batch"),
        (BATCHES, 'z = Einsum <equation = "bhmk,ahkn->bamn"> (x, y)', "meets another axis"),
        (BATCHES, 'z = Einsum <equation = "bhmk->bhz"> (x)', "no operand has"),
        (BATCHES, 'z = Einsum <equation = "bhm->bh"> (x)', "does not fit an operand of 4 axes"),
        (BATCHES, 'z = Einsum <equation = "bhmk,bh->b"> (x)', "names 2 operands"),
        (BATCHES, "z = MatMul (x, w)", "would differ between examples"),
        ("float[N,2,3,4] x, float[N,4,5] y", "z = MatMul (x, y)", "meets another axis|differ"),
        ("float[N,4] x", "z = MatMul (v, x)", "sums over the batch"),
        ("float[N,4] x", "z = Gemm <transA = 1> (x, v)", "sums over the batch"),
    ):
        made = model(body, inputs, outputs=("z",), w=random(7, 2, 4, 5), v=random(4, 4))
        with pytest.raises(ImportModelError, match=message):
            load_onnx(made)


def test_products_train() -> None:
    """The grouped form and the broadcast ones have gradients, and 16 bits are enough for them."""
    body = """
      a = Einsum <equation = "bhmk,hkn->bmhn"> (x, w)
      r = Relu (a)
      p = MatMul (v, r)
      s = Einsum <equation = "bmhn,bmhn->bhn"> (p, p)
      f = Flatten (s)
      y = Gemm <transB = 1> (f, c)
    """
    made = model(
        body,
        "float[N,2,3,4] x",
        w=random(2, 4, 5),
        v=random(1, 2, seed=2),
        c=random(3, 5, seed=3),
    )
    x = np.random.default_rng(0).normal(0, 1, (16, 2, 3, 4)).astype(np.float32)
    graph = load_onnx(made)
    real = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
    imported = gvm.from_onnx(made, calibration=x, loss="softmax_cross_entropy")
    assert np.abs(imported.run(x) - real).max() < 0.005 * np.abs(real).max()
    labels = (real.argmax(1) + np.arange(16)) % 3
    before = float(imported.evaluate(x, labels))
    imported.train(x, labels, optimizer=gvm.SGD(0.02), epochs=4, batch_size=8, seed=1)
    assert float(imported.evaluate(x, labels)) < before


@pytest.mark.parametrize("beta", [0.25, 0.5, 0.6, 0.75, 1.0, 1.5])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_local_response(beta: float, size: int) -> None:
    text = f"y = LRN <size = {size}, beta = {beta}, alpha = 0.3, bias = 1.5> (x)"
    made = model(text, "float[N,7,3,2] x")
    (x,) = inputs_of(load_onnx(made))
    near = [x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1] for c in range(7)]
    squares = np.stack([(part.astype(np.float64) ** 2).sum(1) for part in near], axis=1)
    check(made, expected=[x / (1.5 + 0.3 / size * squares) ** beta])
    if size == 5:
        x = np.random.default_rng(0).normal(0, 2, (64, 7, 3, 2)).astype(np.float32)
        graph = load_onnx(made)
        real = evaluate_real(graph, [x])[graph.outputs["predict"][0]]
        y = gvm.from_onnx(made, calibration=x).run(x)
        unit = 2.0 ** (np.ceil(np.log2(np.abs(real).max())) - 14)
        assert np.abs(y - real).max() < 8 * unit


def test_products_of_tensorflow() -> None:
    models: Any = pytest.importorskip("tests.tensorflow_models")
    tf = models.tf
    rng = np.random.default_rng(0)
    w, u = (tf.constant(rng.normal(0, 1, s), tf.float32) for s in ((2, 4, 5), (5, 3)))

    @tf.function(input_signature=[tf.TensorSpec((None, 2, 3, 4), tf.float32)])
    def call(x: Any) -> Any:
        return [
            tf.matmul(x, x, adjoint_b=True),
            tf.matmul(x, x, transpose_a=True),
            tf.matmul(x, w),
            tf.matmul(u, x),
            tf.einsum("bhmk,hkn->bhmn", x, w),
            tf.einsum("bhmk->bm", x),
            tf.einsum("...mk,...nk->...mn", x, x),
            tf.reshape(tf.matmul(tf.reshape(x, (-1, 12)), u[:1] * 0 + tf.ones((12, 3))), (-1, 6)),
            tf.nn.lrn(tf.transpose(x, (0, 2, 3, 1)), 1, 1.5, 0.3, 0.6),
        ]

    models.check(call)


@pytest.mark.parametrize(("scale", "folds"), [(1e-6, False), (1e-3, True)])
def test_a_scale_that_leaves_no_bits_is_not_folded(scale: float, folds: bool) -> None:
    """Fresh layer scales: folded, the product's weight would have five bits."""
    w = random(8, 12)
    body = "p = MatMul (x, w) y = Mul (p, s)"
    source = model(body, "float[N,8] x", w=w, s=np.full(12, scale, np.float32))
    graph = load_onnx(source)
    assert ("mul" in operators(graph)) != folds
    x = random(40, 8, seed=2)
    exact = scale * (x.astype(np.float64) @ w)
    found = gvm.from_onnx(source, calibration=x).run(x)
    assert np.linalg.norm(found - exact) <= 1e-3 * np.linalg.norm(exact)
