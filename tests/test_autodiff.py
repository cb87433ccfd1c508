"""gvm.autodiff: gradients of whole graphs against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gvm.autodiff import with_loss
from gvm.errors import ImportModelError
from gvm.functions import BY_NAME, FUNCTIONS
from gvm.graph import Builder, Graph, Value, evaluate_real
from gvm.operator import AttributeValue

STEP = 1e-5
EXAMPLES = 5


class Network:
    """A graph under construction with random weights."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.g = Builder()
        self.rng = np.random.default_rng(seed)
        self.x = self.g.input("x", (-1, *shape))

    def weight(self, *shape: int, name: str = "", trainable: bool = True) -> Value:
        """A parameter of about unit scale after a contraction."""
        data = self.rng.normal(0.1, 1.0, shape) / np.sqrt(max(1, np.prod(shape[:-1])))
        name = name or f"w{len(self.g.parameters)}"
        return self.g.parameter(name, data, trainable=trainable)

    def dense(self, x: Value, units: int) -> Value:
        """matmul and bias."""
        product = self.g.matmul(x, self.weight(self.g.shape(x)[-1], units))
        return int(self.g.bias_add(product, self.weight(units)))

    def unary(self, x: Value, function: str) -> Value:
        return int(self.g.unary(x, function=BY_NAME[function].number))


def data_of(graph: Graph, seed: int = 1) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Random inputs and labels."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(0.1, 1.0, graph.types[v].concrete(EXAMPLES)) for v in graph.inputs]
    (label,) = graph.labels
    if graph.types[label].dtype == "real":
        return inputs, [rng.normal(size=graph.types[label].concrete(EXAMPLES))]
    (output,) = graph.outputs["predict"]
    return inputs, [rng.integers(0, graph.types[output].shape[-1], EXAMPLES)]


def loss_with(graph: Graph, name: str, data: NDArray[Any], given: Any) -> float:
    """The sum of the examples' losses with other values of one parameter."""
    parameters = tuple(replace(p, data=data) if p.name == name else p for p in graph.parameters)
    total = graph.outputs["loss"][0]
    values = evaluate_real(replace(graph, parameters=parameters), *given, outputs=[total])
    return float(values[total])


def gradients_of(graph: Graph, given: Any) -> dict[str, NDArray[Any]]:
    """What ``grad`` returns for each trained parameter."""
    trained = [p.name for p in graph.parameters if p.trainable]
    totals = graph.outputs["grad"][len(graph.outputs["loss"]) :]
    values = evaluate_real(graph, *given, outputs=graph.outputs["grad"])
    return {name: values[v] for name, v in zip(trained, totals, strict=True)}


def check(g: Builder, y: Value, loss: str = "mean_squared_error") -> Graph:
    """Compares the gradient of every element of every trained parameter with a difference."""
    graph = with_loss(g.graph(predict=(y,)), loss)
    given = data_of(graph)
    found = gradients_of(graph, given)
    assert any(np.abs(gradient).max() > 1e-3 for gradient in found.values())
    for p in graph.parameters:
        if not p.trainable:
            assert p.name not in found
            continue
        assert found[p.name].shape == p.data.shape
        expected = np.empty(p.data.size)
        for i in range(p.data.size):
            sides = []
            for step in (STEP, -STEP):
                moved = p.data.reshape(-1).copy()
                moved[i] += step
                sides.append(loss_with(graph, p.name, moved.reshape(p.data.shape), given))
            expected[i] = (sides[0] - sides[1]) / (2 * STEP)
        np.testing.assert_allclose(
            found[p.name].reshape(-1), expected, rtol=2e-6, atol=2e-8, err_msg=p.name
        )
    return graph


def test_dense_classifier() -> None:
    n = Network(4)
    y = n.dense(n.g.relu(n.dense(n.x, 6)), 3)
    graph = check(n.g, y, "softmax_cross_entropy")
    assert len(graph.outputs["loss"]) == 3


def test_final_softmax_is_left_out_of_the_loss() -> None:
    n = Network(4)
    logits = n.dense(n.x, 3)
    with_softmax = check(n.g, n.g.softmax(logits), "softmax_cross_entropy")
    assert with_softmax.outputs["predict"] != (logits,)
    alone = with_loss(n.g.graph(predict=(logits,)), "softmax_cross_entropy")
    given = data_of(alone)
    for graph in (alone, with_softmax):
        assert gradients_of(graph, given).keys() == {"w0", "w1"}
    for name, gradient in gradients_of(alone, given).items():
        np.testing.assert_array_equal(gradient, gradients_of(with_softmax, given)[name])


def test_residual() -> None:
    n = Network(5)
    first = n.dense(n.x, 4)
    second = n.g.add(first, n.dense(n.unary(first, "tanh"), 4))
    third = n.g.sub(n.g.add(second, first), n.g.relu(second))
    check(n.g, third)


def test_a_weight_used_twice() -> None:
    n = Network(4)
    w, b = n.weight(4, 4), n.weight(4)
    y = n.x
    for _ in range(2):
        y = n.unary(n.g.bias_add(n.g.matmul(y, w), b), "tanh")
    check(n.g, n.g.matmul(y, w, transpose_b=1))


def test_a_weight_used_as_kernel_and_as_scale() -> None:
    n = Network(3)
    w = n.weight(3, 3)
    y = n.g.matmul(n.g.unary(n.g.matmul(n.x, w), function=3), w)
    rows = n.g.mul(n.g.reshape(y, shape=(-1, 1, 3)), w)
    check(n.g, n.g.add(n.g.reduce_sum(rows, axes=(1,)), y))


@pytest.mark.parametrize("shape", [(1,), (5,), (4, 1), (4, 5), (1, 1, 5), (3, 1, 5), (3, 4, 5)])
@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_broadcast(op: str, shape: tuple[int, ...]) -> None:
    n = Network(3, 4, 5)
    y = n.g.node(op, (n.x, n.weight(*shape)))[0]
    check(n.g, n.g.node(op, (n.weight(*shape), n.unary(y, "tanh")))[0])


def test_two_batched_operands_that_broadcast() -> None:
    n = Network(3, 4)
    a = n.g.mul(n.x, n.weight(3, 4))
    b = n.g.reshape(n.g.matmul(n.g.reshape(n.x, shape=(-1, 12)), n.weight(12, 3)), shape=(-1, 3, 1))
    check(n.g, n.g.sub(n.g.mul(a, b), n.g.add(b, a)))


def test_broadcast_to() -> None:
    n = Network(3)
    column = n.g.reshape(n.g.mul(n.x, n.weight(3)), shape=(-1, 3, 1))
    wide = n.g.broadcast_to(column, shape=(-1, 3, 4))
    shared = n.g.broadcast_to(n.weight(4), shape=(-1, 3, 4))
    check(n.g, n.g.mul(wide, shared))


def test_a_parameter_repeated_before_its_use() -> None:
    n = Network(3, 4)
    repeated = n.g.broadcast_to(n.weight(4), shape=(3, 4))
    check(n.g, n.g.add(n.g.mul(n.x, repeated), n.weight(1)))


def test_concat_slice_and_pad() -> None:
    n = Network(4, 3)
    a = n.g.mul(n.x, n.weight(4, 3))
    b = n.unary(n.g.mul(n.x, n.weight(3)), "logistic")
    joined = n.g.concat(a, b, a, axis=2)
    part = n.g.slice(joined, begin=(0, 1, 1), end=(-1, 4, 8), strides=(1, 2, 3))
    check(n.g, n.g.mul(n.g.pad(part, before=(0, 1, 0), after=(0, 0, 2)), n.weight(3, 5)))


SPANS = {
    "whole": [(0, 2), (2, 3), (3, 6)],
    "with_gaps": [(0, 1), (1, 2), (4, 5)],
    "twice": [(0, 3), (3, 6), (0, 3)],
    "in_disorder": [(3, 6), (0, 3)],
    "overlapping": [(0, 4), (2, 6)],
}


@pytest.mark.parametrize("name", SPANS)
def test_a_tensor_taken_apart(name: str) -> None:
    """The gradients of parts that lie side by side are joined, not added up."""
    n = Network(2, 6)
    x = n.g.mul(n.x, n.weight(2, 6))
    parts = [
        n.unary(n.g.slice(x, begin=(0, 0, a), end=(-1, 2, b), strides=(1, 1, 1)), "tanh")
        for a, b in SPANS[name]
    ]
    sums = [n.g.reduce_sum(part, axes=(2,), keepdims=0) for part in parts]
    graph = check(n.g, n.g.concat(*sums, axis=1))
    used = [node.op for node in graph.reaching(graph.outputs["grad"]) if node.stage == "backward"]
    assert used.count("pad") == {"with_gaps": 2, "overlapping": 2}.get(name, 0)


def test_a_tensor_taken_into_many_parts() -> None:
    n = Network(70)
    x = n.g.mul(n.x, n.weight(70))
    total = n.g.slice(x, begin=(0, 0), end=(-1, 1), strides=(1, 1))
    for i in range(1, 70):
        part = n.g.slice(x, begin=(0, i), end=(-1, i + 1), strides=(1, 1))
        total = n.g.add(n.unary(total, "tanh"), part)
    graph = check(n.g, total)
    used = [node.op for node in graph.reaching(graph.outputs["grad"]) if node.stage == "backward"]
    assert used.count("pad") == 0 and used.count("concat") == 3


def test_reshape_and_transpose() -> None:
    n = Network(4, 6)
    y = n.g.mul(n.x, n.weight(6))
    y = n.g.transpose(n.g.reshape(y, shape=(-1, 4, 2, 3)), permutation=(0, 3, 1, 2))
    y = n.g.mul(y, n.weight(3, 4, 2))
    check(n.g, n.dense(n.g.reshape(y, shape=(-1, 24)), 2), "softmax_cross_entropy")


def test_transposed_batch() -> None:
    n = Network(3, 4)
    y = n.g.transpose(n.g.mul(n.x, n.weight(4)), permutation=(1, 0, 2))
    y = n.g.mul(y, n.weight(3, 1, 4))
    check(n.g, n.g.transpose(y, permutation=(1, 0, 2)))


def convolution(n: Network, x: Value, filters: int, **attributes: AttributeValue) -> Value:
    groups = int(attributes.get("groups", 1))  # type: ignore[call-overload]
    kernel = n.weight(3, 2, n.g.shape(x)[3] // groups, filters)
    return int(n.g.bias_add(n.g.conv2d(x, kernel, **attributes), n.weight(filters)))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": (2, 1), "padding": (1, 0, 1, 1)},
        {"dilation": (1, 2), "padding": (2, 2, 1, 1), "groups": 2},
    ],
)
def test_convolution_and_pooling(attributes: dict[str, AttributeValue]) -> None:
    n = Network(6, 7, 2)
    y = n.g.relu(convolution(n, n.x, 4, **attributes))
    y = n.g.max_pool2d(y, window=(2, 2), strides=(1, 2), padding=(0, 1, 1, 0))
    y = convolution(n, y, 2, padding=(1, 1, 1, 0))
    for count in (0, 1):
        y = n.g.avg_pool2d(
            y, window=(2, 2), strides=(2, 1), padding=(1, 0, 0, 1), count_include_pad=count
        )
    flat = int(np.prod(n.g.shape(y)[1:]))
    check(n.g, n.dense(n.g.reshape(y, shape=(-1, flat)), 3), "softmax_cross_entropy")


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [(1,), (2,), (1, 3), (1, 2, 3)])
def test_reductions(axes: tuple[int, ...], keepdims: int) -> None:
    n = Network(3, 4, 2)
    y = n.unary(n.g.mul(n.x, n.weight(4, 2)), "tanh")
    mean = n.g.divide(n.g.reduce_sum(y, axes=axes, keepdims=keepdims), divisor=7)
    most = n.g.reduce_max(y, axes=axes, keepdims=keepdims)
    check(n.g, n.g.mul(n.g.add(mean, most), n.weight(1)))


def test_reductions_of_leading_axes_of_shared_values() -> None:
    n = Network(3)
    summed = n.g.reduce_sum(n.g.mul(n.x, n.weight(4, 1, 3)), axes=(0,))
    check(n.g, summed)


@pytest.mark.parametrize("function", [f.name for f in FUNCTIONS if f.derivative is not None])
def test_unary(function: str) -> None:
    n = Network(3)
    positive = function in ("log", "sqrt", "rsqrt", "reciprocal")
    y = n.g.mul(n.x, n.weight(3))
    if positive:
        y = n.g.add(n.g.mul(y, y), n.g.parameter("offset", np.full(1, 1.0)))
    check(n.g, n.g.mul(n.unary(y, function), n.weight(1)))


def test_softmax_inside() -> None:
    n = Network(4, 3)
    weights = n.g.softmax(n.g.matmul(n.x, n.weight(3, 4)))
    check(n.g, n.g.mul(weights, n.weight(4, 4)))


def test_attention() -> None:
    n = Network(4, 6)
    q, k, v = (n.g.matmul(n.x, n.weight(6, 5)) for _ in range(3))
    scores = n.g.softmax(n.g.divide(n.g.matmul(q, k, transpose_b=1), divisor=3))
    mixed = n.g.add(n.g.matmul(scores, v), n.g.matmul(scores, v, transpose_a=1))
    y = n.g.divide(n.g.reduce_sum(mixed, axes=(1,)), divisor=4)
    check(n.g, n.dense(y, 3), "softmax_cross_entropy")


def test_per_example_products_with_a_weight() -> None:
    n = Network(4, 3)
    check(n.g, n.g.matmul(n.g.transpose(n.x, permutation=(0, 2, 1)), n.weight(4, 2)))
    n = Network(4, 3)
    check(n.g, n.g.matmul(n.x, n.weight(4, 2), transpose_a=1))


def test_several_inputs() -> None:
    n = Network(3)
    other = n.g.input("other", (-1, 2, 2))
    flat = n.g.reshape(other, shape=(-1, 4))
    y = n.g.concat(n.g.relu(n.dense(n.x, 4)), n.unary(n.dense(flat, 4), "silu"), axis=1)
    check(n.g, n.dense(y, 3), "softmax_cross_entropy")


def test_constants_have_no_gradient() -> None:
    n = Network(4)
    scale = n.weight(4, trainable=False)
    y = n.g.mul(n.g.sub(scale, n.dense(n.g.mul(n.x, scale), 4)), scale)
    graph = check(n.g, y)
    assert [p.name for p in graph.parameters if not p.trainable] == ["w0"]


def test_nothing_flows_into_what_has_no_parameters() -> None:
    # log of the input itself: no gradient goes there, so its derivative is in no program.
    n = Network(3)
    features = n.unary(n.g.mul(n.x, n.x), "log")
    graph = check(n.g, n.dense(features, 2))
    kept = graph.reaching(graph.outputs["grad"])
    assert sum(node.op == "unary" for node in kept) == 1
    assert sum(node.op == "matmul" for node in kept) == 1


def test_parameters_that_cannot_be_trained_are_kept_as_they_are() -> None:
    n = Network(3)
    n.weight(2, 2, name="unused")
    y = n.dense(n.x, 2)
    graph = check(n.g, y)
    kinds = {p.name: p.trainable for p in graph.parameters}
    assert kinds == {"unused": False, "w1": True, "w2": True}


def test_without_a_trained_parameter_there_is_a_loss_alone() -> None:
    n = Network(3)
    y = n.g.mul(n.x, n.weight(3, name="scale", trainable=False))
    graph = with_loss(n.g.graph(predict=(y,)), "mean_squared_error")
    assert graph.outputs.keys() == {"predict", "loss"}


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("reshape", {"shape": (2, 6)}),
        ("transpose", {"permutation": (1, 0)}),
        ("slice", {"begin": (0, 1), "end": (3, 4), "strides": (2, 1)}),
        ("pad", {"before": (0, 1), "after": (2, 0)}),
        ("broadcast_to", {"shape": (1, 3, 4)}),
    ],
)
def test_another_form_of_a_parameter(op: str, attributes: dict[str, AttributeValue]) -> None:
    """The gradient is a sum over the examples, of which the form is undone; also beside others."""
    n = Network(1, 1)
    kernel = n.weight(3, 4, name="kernel")
    w = n.g.node(op, (kernel,), attributes)[0]
    both = n.g.concat(kernel, kernel, axis=1)
    y = n.g.mul(n.x, w)
    if op == "transpose":
        y = n.g.add(
            y,
            n.g.transpose(
                n.g.mul(n.x, n.g.transpose(w, permutation=(1, 0))), permutation=(0, 2, 1)
            ),
        )
    made = n.g.reshape(y, shape=(-1, int(np.prod(n.g.shape(y)[1:]))))
    check(n.g, int(n.g.concat(made, n.g.reshape(n.g.mul(n.x, both), shape=(-1, 24)), axis=1)))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("reduce_sum", {"axes": (0,), "keepdims": 1}),
        ("relu", {}),
        ("unary", {"function": BY_NAME["tanh"].number}),
    ],
)
def test_an_operator_between_a_parameter_and_the_examples(
    op: str, attributes: dict[str, AttributeValue]
) -> None:
    n = Network(1, 1)
    n.weight(3, 4, name="other")
    w = n.g.node(op, (n.weight(3, 4, name="kernel"),), attributes)[0]
    with pytest.raises(ImportModelError, match=f"^parameter 'kernel': {op} stands between"):
        with_loss(n.g.graph(predict=(n.g.mul(n.x, w),)), "mean_squared_error")


@pytest.mark.parametrize(
    ("build", "loss", "message"),
    [
        (lambda n: (n.dense(n.x, 2),), "hinge", "loss must be one of .*, received 'hinge'"),
        (lambda n: (n.dense(n.x, 2), n.x), "mean_squared_error", "one output, received 2"),
        (
            lambda n: (n.g.reshape(n.dense(n.x, 4), shape=(-1, 2, 2)),),
            "softmax_cross_entropy",
            r"logits must have shape \(batch, classes\), received",
        ),
    ],
)
def test_refused_losses(
    build: Callable[[Network], tuple[Value, ...]], loss: str, message: str
) -> None:
    n = Network(3)
    with pytest.raises(ImportModelError, match=message):
        with_loss(n.g.graph(predict=build(n)), loss)
