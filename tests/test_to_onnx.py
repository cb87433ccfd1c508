"""model.to_onnx() of a model that came from ONNX: trained weights in the source model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gvm

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper, parser  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

IMAGES, ROWS = "float[N,3,6,5] x", "float[N,6] x"
RNG = np.random.default_rng(11)


def weight(*shape: int) -> NDArray[np.float32]:
    fan_in = max(1, int(np.prod(shape[1:])))
    return (RNG.normal(0, 1, shape) / np.sqrt(fan_in)).astype(np.float32)


def statistics(size: int, prefix: str) -> dict[str, NDArray[np.float32]]:
    drawn = {
        "gamma": RNG.uniform(0.6, 1.4, size),
        "beta": RNG.normal(0, 0.3, size),
        "mean": RNG.normal(0, 0.3, size),
        "variance": RNG.uniform(0.5, 2, size),
    }
    return {f"{prefix}_{name}": a.astype(np.float32) for name, a in drawn.items()}


def made(body: str, inputs: str, **weights: Any) -> Any:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> tested ({inputs}) => (float y) {{{body}}}'
    )
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def with_constants(model: Any) -> Any:
    """The same model with its weights in nodes of constants."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = [
        helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer
    ] + list(model.graph.node)
    del copy.graph.initializer[:], copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


NORMALISED = (
    "c = Conv <pads = [1, 1, 1, 1]> (x, w, b)"
    "n = BatchNormalization <epsilon = 0.01> (c, n_gamma, n_beta, n_mean, n_variance)"
    "r = Relu (n) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"
    "q = BatchNormalization (p, q_gamma, q_beta, q_mean, q_variance)"
    "d = Conv <group = 4> (q, dw) a = Relu (d)"
    "f = Flatten (a) y = Gemm <transB = 1, alpha = 0.5> (f, v, vb)"
)
MODELS: dict[str, Any] = {
    "normalised": made(
        NORMALISED, IMAGES, w=weight(4, 3, 3, 3), b=weight(4), dw=weight(4, 1, 2, 1),
        v=weight(3, 16), vb=weight(3), **statistics(4, "n"), **statistics(4, "q"),
    ),
    "products": made(
        "p = MatMul (x, w) a = Add (p, b) m = Mul (a, s) c = Sub (m, t) r = Relu (c)"
        "k = Mul (r, half) z = MatMul (k, v) i = Identity (u) y = Add (z, i)",
        ROWS, w=weight(6, 8), b=weight(8), s=np.abs(weight(8)) + 0.5, t=weight(8),
        half=np.float32(0.5), v=weight(8, 3), u=weight(3),
    ),
    "slopes": made(
        "p = MatMul (x, w) l = PRelu (p, slope) m = LayerNormalization (l, g, b) y = MatMul (m, v)",
        ROWS, w=weight(6, 6), slope=np.abs(weight(6)) + 0.1, g=np.abs(weight(6)) + 0.5, b=weight(6),
        v=weight(6, 3),
    ),
    "residual": made(
        "c = Conv <pads = [1, 1, 1, 1]> (x, w) s = Conv (x, v, vb) a = Add (c, s)"
        "n = BatchNormalization (a, n_gamma, n_beta, n_mean, n_variance) r = Relu (n)"
        "g = GlobalAveragePool (r) f = Flatten (g) y = Gemm (f, u)",
        IMAGES, w=weight(4, 3, 3, 3), v=weight(4, 3, 1, 1), vb=weight(4), u=weight(4, 3),
        **statistics(4, "n"),
    ),
}  # fmt: skip
MODELS["constants"] = with_constants(MODELS["normalised"])


def data(source: Any, count: int = 48) -> NDArray[np.float32]:
    dims = source.graph.input[0].type.tensor_type.shape.dim
    shape = (count, *(d.dim_value for d in list(dims)[1:]))
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)


def evaluated(model: Any, x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def tensors(model: Any) -> dict[str, NDArray[Any]]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def agrees(model: gvm.Model, source: Any, x: NDArray[Any]) -> None:
    """Within 1 part in 100 of the largest output: what 16 bits leave of a few layers."""
    ours, theirs = model.run(x), evaluated(source, x)
    assert np.max(np.abs(ours - theirs)) < 0.01 * np.max(np.abs(theirs))


@pytest.mark.parametrize("name", MODELS)
def test_trained_weights_go_back(name: str) -> None:
    source = MODELS[name]
    before = source.SerializeToString()
    x = data(source)
    labels = np.argmax(x.reshape(len(x), -1)[:, :3], axis=1)
    model = gvm.from_onnx(source, x, "softmax_cross_entropy", labels, progress=False)
    agrees(model, model.to_onnx(), x)
    untrained = model.run(x)
    model.train(x, labels, optimizer=gvm.SGD(0.1), epochs=3, batch_size=8, progress=False)
    assert np.max(np.abs(model.run(x) - untrained)) > 0.02
    written = model.to_onnx()
    agrees(model, written, x)
    assert source.SerializeToString() == before
    assert [n.op_type for n in written.graph.node] == [n.op_type for n in source.graph.node]
    again = gvm.from_onnx(written, x, progress=False)
    agrees(again, written, x)


def test_without_training_weights_are_the_sources() -> None:
    source = MODELS["slopes"]
    model = gvm.from_onnx(source, data(source), "softmax_cross_entropy", progress=False)
    written = tensors(model.to_onnx())
    for name, array in tensors(source).items():
        assert np.max(np.abs(array - written[name])) < 2.0**-20, name


def test_what_was_folded_is_neutral() -> None:
    source = MODELS["normalised"]
    written = tensors(gvm.from_onnx(source, data(source), progress=False).to_onnx())
    assert not written["b"].any() and not written["n_mean"].any()
    assert np.allclose(written["n_gamma"], np.sqrt(1.01)) and (written["n_variance"] == 1).all()
    kept = tensors(MODELS["products"])
    model = gvm.from_onnx(MODELS["products"], data(MODELS["products"]), progress=False)
    written = tensors(model.to_onnx())
    assert (written["s"] == 1).all() and not written["b"].any() and written["half"] == kept["half"]


def test_a_loaded_model_takes_its_source(tmp_path: Path) -> None:
    source = MODELS["normalised"]
    x = data(source)
    onnx.save(source, tmp_path / "source.onnx")
    gvm.from_onnx(tmp_path / "source.onnx", x, progress=False).save(tmp_path / "m.dmodel")
    loaded = gvm.load(tmp_path / "m.dmodel")
    written = loaded.to_onnx(tmp_path / "out.onnx", source=tmp_path / "source.onnx")
    assert onnx.load(tmp_path / "out.onnx") == written
    agrees(loaded, written, x)
    # Without it the program is written operator by operator, under names of its own.
    alone = loaded.to_onnx()
    theirs = ReferenceEvaluator(alone).run(None, {"input": x})[0]
    assert np.max(np.abs(loaded.run(x) - theirs)) < 0.01 * np.max(np.abs(theirs))


def test_other_sources_are_refused(tmp_path: Path) -> None:
    source = MODELS["normalised"]
    model = gvm.from_onnx(source, data(source), progress=False)
    with pytest.raises(gvm.GvmError, match="another than was imported: parameter"):
        model.to_onnx(source=MODELS["products"])
    with pytest.raises(gvm.GvmError, match=r"an onnx.ModelProto or a .onnx file, received int"):
        model.to_onnx(source=3)
    with pytest.raises(gvm.GvmError, match="quantised model is written from the program"):
        model.to_onnx(source=source, qdq=True)
    (tmp_path / "m.onnx").write_text("no model")
    with pytest.raises(gvm.GvmError, match="cannot be read"):
        model.to_onnx(source=tmp_path / "m.onnx")
    other = onnx.ModelProto()
    other.CopyFrom(source)
    for name, narrow in (("v", weight(2, 16)), ("vb", weight(2))):
        tensor = numpy_helper.from_array(narrow, name)
        next(t for t in other.graph.initializer if t.name == name).CopyFrom(tensor)
    with pytest.raises(gvm.GvmError, match=r"'v' has shape \(2, 16\), the parameter \(3, 16\)"):
        model.to_onnx(source=other)


def test_what_the_tensor_is_not_is_refused() -> None:
    """A weight worked out of two tensors of the source."""
    source = made(
        "s = Add (w, u) p = MatMul (x, s) y = Add (p, b)",
        ROWS, w=weight(6, 4), u=weight(6, 4), b=weight(4),
    )  # fmt: skip
    model = gvm.from_onnx(source, data(source), progress=False)
    with pytest.raises(gvm.GvmError, match="s cannot be written back"):
        model.to_onnx()
