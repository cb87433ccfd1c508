"""gvm.importers.onnx: kinds of source, refusals, and whole models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm.errors import ImportModelError
from gvm.importers import UnsupportedModel
from gvm.importers.onnx import load_onnx

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper, parser  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from tests.onnx_models import (  # noqa: E402
    ROWS,
    check,
    inputs_of,
    integers,
    model,
    names,
    operators,
    outputs_of,
    random,
)

MODELS = Path(__file__).parents[2] / "shared" / "models"


# Old operator sets


def test_first_operator_set() -> None:
    """Attributes where newer sets have operands: compared with the same model of today."""
    weights = {"w": random(4, 1, 3, 3), "b": random(4), "k": random(144, 3), "c": random(3)}
    old = model(
        """
          a = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (x, w)
          p = Add <broadcast = 1, axis = 1> (a, b)
          r = Relu (p)
          m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
          s = Slice <starts = [0, 1], ends = [3, 4], axes = [2, 3]> (m)
          q = Pad <paddings = [0, 0, 0, 0, 0, 0, 3, 0], value = 0.0, mode = "constant"> (s)
          e = Reshape <shape = [1, 4, 18]> (q)
          u = Unsqueeze <axes = [1]> (e)
          v = Squeeze <axes = [1]> (u)
          l = Clip <min = -1.0, max = 2.0> (v)
          h1, h2 = Split <axis = 2, split = [9, 9]> (l)
          h = Concat (h1, h2)
          t = Cast <to = "FLOAT"> (h)
          o = Dropout <is_test = 1> (t)
          z = Reshape <shape = [1, 72]> (o)
          d = Mul <broadcast = 1> (z, f)
          i = Concat <axis = 1> (d, d)
          y = Gemm <broadcast = 1> (i, k, c)
        """,
        "float[1,1,8,8] x",
        opset=1,
        f=np.full((1,), 0.5, np.float32),
        **weights,
    )
    new = model(
        """
          a = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (x, w, b)
          r = Relu (a)
          m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
          s = Slice (m, starts, ends, axes)
          q = Pad (s, pads)
          l = Clip (q, low, high)
          v = Reshape (l, e)
          h1, h2 = Split <axis = 2, num_outputs = 2> (v)
          h = Concat <axis = 1> (h1, h2)
          z = Flatten (h)
          d = Mul (z, f)
          i = Concat <axis = 1> (d, d)
          y = Gemm (i, k, c)
        """,
        "float[N,1,8,8] x",
        starts=integers(0, 1),
        ends=integers(3, 4),
        axes=integers(2, 3),
        pads=integers(0, 0, 0, 0, 0, 0, 3, 0),
        low=np.float32(-1),
        high=np.float32(2),
        e=integers(0, 4, 18),
        f=np.full((1,), 0.5, np.float32),
        **weights,
    )
    check(old, like=new)


# Sources


def test_constants_and_functions() -> None:
    made = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 18, "own" : 1]>
        tested (float[N,4] x) => (float[N,2] y) {
          w = Constant <value = float[4,2] {1, 2, 3, 4, 5, 6, 7, 8}> ()
          t = Transpose <perm = [1, 0]> (w)
          a = own.twice (x)
          y = Gemm <transB = 1> (a, t)
        }
        <domain: "own", opset_import: ["" : 18]>
        twice (p) => (q) { q = Add (p, p) }
        """
    )
    graph = check(made)
    assert operators(graph) == ["add", "matmul"]
    assert [(p.name, p.trainable) for p in graph.parameters] == [("w", True)]


def test_conditions_that_are_constant() -> None:
    for chosen in (0, 1):
        made = model(
            """
              shape = Shape (x)  size = Gather (shape, one)  is = Equal (size, six)
              y = If <
                then_branch = then () => (float[N,6] a) { a = Relu (x) },
                else_branch = other () => (float[N,6] b) { b = Neg (x) }
              > (is)
            """,
            ROWS,
            one=np.int64(1),
            six=np.int64(6 if chosen else 7),
        )
        assert operators(check(made)) == (["relu"] if chosen else ["mul"])


def test_files(tmp_path: Path) -> None:
    made = model("y = Gemm (x, w, b)", ROWS, w=random(6, 300), b=random(300))
    onnx.save(made, tmp_path / "model.onnx")
    (x,) = inputs_of(load_onnx(made))
    expected = outputs_of(load_onnx(made), [x])[0]
    for path in (tmp_path / "model.onnx", str(tmp_path / "model.onnx")):
        assert np.array_equal(outputs_of(load_onnx(path), [x])[0], expected)
    onnx.save(
        made, tmp_path / "outside.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    assert (tmp_path / "w").stat().st_size >= 7200
    assert np.array_equal(outputs_of(load_onnx(tmp_path / "outside.onnx"), [x])[0], expected)
    (tmp_path / "w").unlink()
    with pytest.raises(ImportModelError, match="outside.onnx"):
        load_onnx(tmp_path / "outside.onnx")


def test_initialisers_may_be_inputs() -> None:
    made = model("y = MatMul (x, w)", f"{ROWS}, float[6,2] w", w=random(6, 2))
    graph = check(made)
    assert len(graph.inputs) == 1 and names(graph) == {"w"}


def test_several_inputs_and_outputs() -> None:
    made = model("y = Add (x, z) w = Mul (x, z)", f"{ROWS}, float[N,6] z", outputs=("y", "w"))
    assert len(check(made).inputs) == 2


# Refusals


def test_every_unsupported_node_is_listed() -> None:
    made = model(
        """
          a = Det (x)
          b = Relu (a)
          first = Unique (b)
          y = own.Unknown (first)
          unused = NonZero (x)
        """,
        ROWS,
    )
    made.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(UnsupportedModel) as caught:
        load_onnx(made)
    assert [(p.node, p.operator) for p in caught.value.problems] == [
        ("a", "Det"),
        ("first", "Unique"),
        ("y", "own.Unknown"),
    ]
    text = str(caught.value)
    assert text.startswith("tested: 3 nodes cannot be imported:")
    assert text.count("nearest supported form") == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = ReduceSum (x, zero)", "reduces over the batch"),
        ("y = ReduceSum (x)", "reduces over the batch"),
        ("y = Reshape (x, three)", "no axis is the batch|batch must stay"),
        ("y = Slice (x, zero, one, zero)", "takes a part of the batch"),
        ("s = Shape (x) n = Gather (s, zero) f = Cast <to = 1> (n) y = Mul (x, f)", "batch size"),
        ("y = Pow (x, x)", "exponent must be constant"),
        ("y = Identity (zero)", "does not depend on the inputs"),
        ("y, z = Dropout (x) m = Cast <to = 1> (z) o = Mul (x, m)", "its output 2 is read"),
        ("y = Cast <to = 22> (x)", "casts values to INT4"),
        ("y = Conv (x)", "Conv.* has input size 1"),
        ("y = Softmax <axis = 0> (x)", "works over the batch"),
        ("y = Relu (nothing)", "which nothing before it makes"),
        ("y = Gather (table, x)", "the indices must be constant"),
        ("y = MatMul (x, x)", "."),
    ],
)
def test_refusals(body: str, message: str) -> None:
    outputs = ("y", "o") if " o = " in body else ("y",)
    made = model(
        body,
        ROWS,
        outputs=outputs,
        zero=integers(0),
        one=integers(1),
        three=integers(3, -1),
        table=random(4, 2),
    )
    with pytest.raises(ImportModelError, match=message):
        load_onnx(made)


def test_damaged_attributes_are_listed() -> None:
    made = model('y = Conv <auto_pad = "VALID"> (x, w)', w=random(5, 4, 3, 3))
    made.graph.node[0].attribute[0].s = b"VALID\xb6"
    with pytest.raises(UnsupportedModel, match="auto_pad must be"):
        load_onnx(made)
    made.graph.node[0].attribute[0].type = 0
    with pytest.raises(UnsupportedModel, match=r"\(Conv\)"):
        load_onnx(made)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(bad: float) -> None:
    w = np.ones((6, 3), np.float32)
    w[1, 2] = bad
    with pytest.raises(ImportModelError, match=rf"must be finite: 'w' has {bad} at \[1, 2\]"):
        load_onnx(model("y = MatMul (x, w)", ROWS, w=w))


def test_bad_sources(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for path in (tmp_path / "missing.onnx", tmp_path / "empty.onnx", tmp_path / "model.onnx"):
        with pytest.raises(ImportModelError, match=path.name):
            load_onnx(path)
    with pytest.raises(ImportModelError, match="received int"):
        load_onnx(3)
    with pytest.raises(ImportModelError, match="every dimension but the batch"):
        load_onnx(model("y = Relu (x)", "float[N,T,3] x"))
    with pytest.raises(ImportModelError, match="needs a batch axis"):
        load_onnx(model("y = Relu (x)", "float x"))


def test_the_document_lists_every_operator() -> None:
    import gvm.importers.tensorflow  # noqa: F401 (it registers operators)
    from gvm.importers import onnx_nodes, tensorflow_nodes

    text = (Path(__file__).parents[1] / "docs" / "importing.md").read_text()
    lists = [p for p in text.split("\n\n") if re.fullmatch(r"(`\w+`,\s)+`\w+`\.", p)]
    onnx_list, tensorflow_list = (set(re.findall(r"`(\w+)`", part)) for part in lists)
    assert onnx_list == {*onnx_nodes.HANDLERS, *onnx_nodes.SAME, *onnx_nodes.DECIDED}
    known = (tensorflow_nodes.HANDLERS, tensorflow_nodes.PATTERNS, tensorflow_nodes.DECIDED)
    assert tensorflow_list <= {name for table in known for name in table}


# End to end


def classifier() -> Any:
    return model(
        """
          a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
          r = Relu (a)
          g = GlobalAveragePool (r)
          f = Flatten (g)
          l = Gemm (f, v, c)
          y = Softmax (l)
        """,
        w=random(6, 4, 3, 3),
        b=random(6),
        v=random(6, 3, seed=2),
        c=random(3),
    )


def test_quantised_models_agree(tmp_path: Path) -> None:
    source = classifier()
    x = np.random.default_rng(8).normal(size=(40, 4, 8, 9)).astype(np.float32)
    expected = ReferenceEvaluator(source).run(None, {"x": x})[0]
    imported = gvm.from_onnx(source, calibration=x, loss="softmax_cross_entropy")
    y = imported.run(x)
    assert y.shape == expected.shape and np.abs(y - expected).max() < 2e-3
    labels = expected.argmax(1)
    before = float(imported.evaluate(x, labels))
    imported.train(x, labels, optimizer=gvm.SGD(0.1), epochs=3, batch_size=10, seed=1)
    assert float(imported.evaluate(x, labels)) < before


def test_images_keep_their_layout() -> None:
    source = model("a = Conv <strides = [2, 1]> (x, w) y = Relu (a)", w=random(5, 4, 3, 3))
    x = np.random.default_rng(8).normal(size=(9, 4, 8, 9)).astype(np.float32)
    expected = ReferenceEvaluator(source).run(None, {"x": x})[0]
    y = gvm.from_onnx(source, calibration=x).run(x)
    assert y.shape == expected.shape == (9, 5, 3, 7)
    assert np.linalg.norm(y - expected) / np.linalg.norm(expected) < 1e-3


def test_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from gvm.cli import app

    onnx.save(classifier(), tmp_path / "model.onnx")
    x = np.random.default_rng(8).normal(size=(20, 4, 8, 9)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    arguments = ["import", "model.onnx", "-o", "m.dmodel", "--calibration", "x.npy"]
    done = CliRunner().invoke(app, [str(tmp_path / a) if "." in a else a for a in arguments])
    assert done.exit_code == 0, done.output
    expected = ReferenceEvaluator(classifier()).run(None, {"x": x})[0]
    assert np.abs(gvm.load(tmp_path / "m.dmodel").run(x) - expected).max() < 2e-3


LIGHT = {
    "densenet121": 121,
    "inception_v1": 57,
    "inception_v2": 69,
    "resnet50": 53,
    "shufflenet": 49,
    "squeezenet": 26,
}
"""Networks that the onnx package ships, with their numbers of convolutions."""


def with_random_weights(name: str) -> Any:
    """A network whose weights, all equal in the file, are drawn anew."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    source = onnx.load(folder / f"light_{name}.onnx")
    known = {t.name: numpy_helper.to_array(t) for t in source.graph.initializer}
    variances = {n.input[4] for n in source.graph.node if n.op_type == "BatchNormalization"}
    rng, kept = np.random.default_rng(5), []
    for node in source.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in known:
            kept.append(node)
            continue
        shape = tuple(known[node.input[0]])
        drawn = rng.normal(0.1, 1.0, shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))
        array = rng.uniform(0.5, 1.5, shape) if node.output[0] in variances else drawn
        source.graph.initializer.append(
            numpy_helper.from_array(array.astype(np.float32), node.output[0])
        )
    del source.graph.node[:]
    source.graph.node.extend(kept)
    return source


@pytest.mark.parametrize("name", LIGHT)
def test_networks_of_the_onnx_package(name: str) -> None:
    source = with_random_weights(name)
    graph = load_onnx(source)
    assert operators(graph).count("conv2d") == LIGHT[name]
    if name != "shufflenet":  # which transposes to shuffle
        assert operators(graph).count("transpose") <= 2
    runtime = pytest.importorskip("onnxruntime")
    (x,) = inputs_of(graph, batch=1)
    session = runtime.InferenceSession(source.SerializeToString())
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    (y,) = outputs_of(graph, [x])
    assert y.shape == expected.shape
    assert np.linalg.norm(y - expected) < 1e-4 * np.linalg.norm(expected)


def test_mnist_of_the_first_operator_set() -> None:
    path = MODELS / "onnx_mnist" / "model.onnx"
    if not path.exists():
        pytest.skip("1 model is not on this machine: onnx_mnist")
    graph = load_onnx(path)
    assert operators(graph).count("transpose") <= 2 and len(names(graph)) == 6
    for number in range(3):
        with np.load(path.with_name(f"test_data_{number}.npz")) as data:
            (y,) = outputs_of(graph, [data["inputs"][None]])
            np.testing.assert_allclose(y, data["outputs"], rtol=1e-5, atol=1e-4)
