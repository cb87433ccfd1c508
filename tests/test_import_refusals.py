"""What an importer refuses, by the command line: one error with the file, the node, the rule and
the value received; exit status 2; never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gvm.cli import main
from tests.onnx_models import ROWS, model, random

onnx = pytest.importorskip("onnx")

IMAGE = "float[N,2,8,8] x"
WEIGHT = random(6, 3)


def refused(capsys: Any, *arguments: str) -> str:
    """The one error of a command."""
    with pytest.raises(SystemExit) as exit_:
        main(["import", *arguments])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    assert captured.err.count("error: ") == 1
    return str(captured.err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", random(8, 6))
    return tmp_path


def edited(made: Any, edit: Callable[[Any], Any]) -> Any:
    edit(made)
    return made


def without_shape(m: Any) -> None:
    m.graph.input[0].type.tensor_type.ClearField("shape")


def of_domain(m: Any) -> None:
    m.graph.node[0].domain = "my.ops"


def infinite() -> Any:
    made = WEIGHT.copy()
    made[1, 1] = np.inf
    return made


def text(value: str) -> Any:
    return np.asarray([[value] * 3] * 6, dtype=object)


SEVERAL = "a = Foo (x) b = Bar (x) c = Det (x) d = Add (a, b) y = Add (c, d)"
MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "weights of infinity": (
        lambda: model("y = MatMul (x, w)", ROWS, w=infinite()),
        r"weights must be finite: 'w' has inf at \[1, 1\]",
    ),
    "weights of text": (
        lambda: model("y = MatMul (x, w)", ROWS, w=text("a")),
        r"node 'y' \(MatMul\): the constant 'w' must hold real numbers, received object",
    ),
    "complex weights": (
        lambda: model("y = MatMul (x, w)", ROWS, w=WEIGHT.astype(np.complex64)),
        "must hold real numbers, received complex64",
    ),
    "weights cut short": (
        lambda: edited(
            model("y = MatMul (x, w)", ROWS, w=WEIGHT),
            lambda m: setattr(m.graph.initializer[0], "raw_data", b"12345"),
        ),
        "weight 'w' cannot be read",
    ),
    "weights of no type": (
        lambda: edited(
            model("y = MatMul (x, w)", ROWS, w=WEIGHT),
            lambda m: setattr(m.graph.initializer[0], "data_type", 77),
        ),
        "weight 'w' cannot be read: element type 77",
    ),
    "no weights": (lambda: model("y = MatMul (x, w)", ROWS), "reads 'w', which nothing before it"),
    "other domain": (
        lambda: edited(model("y = Foo (x)", ROWS), of_domain),
        r"node 'y' \(my.ops.Foo\): no translation; nearest supported form",
    ),
    "several nodes": (
        lambda: model(SEVERAL, ROWS),
        r"3 nodes cannot be imported:\n.*Foo.*\n.*Bar.*\n.*Det",
    ),
    "future operators": (
        lambda: model("y = Relu (x)", ROWS, opset=99),
        "operator set must be at most .*received 99",
    ),
    "unknown rank": (
        lambda: edited(model("y = Relu (x)", ROWS), without_shape),
        "input 'x' needs a batch axis and a known rank",
    ),
    "open shape of another rank": (
        lambda: model("y = Softmax (x)", "float[N,K,6] x"),
        "input 'x': every dimension but the batch must be known .*'K'",
    ),
    "no elements": (
        lambda: model("y = Relu (x)", "float[N,0] x"),
        r"must be known and at least 1, .*received \['N', 0\]",
    ),
    "text": (
        lambda: model("y = Identity (x)", "string[N,6] x"),
        "input 'x': elements must be numbers",
    ),
    "output of nothing": (
        lambda: edited(
            model("y = Relu (x)", ROWS), lambda m: setattr(m.graph.output[0], "name", "z")
        ),
        "output 'z' is made by no node",
    ),
    "a name made twice": (
        lambda: model("y = Relu (x) y = Neg (x)", ROWS),
        r"node 'y' \(Neg\): its output 'y' is made before it",
    ),
    "a loop of names": (
        lambda: model("a = Add (x, b) b = Relu (a) y = Add (a, b)", ROWS),
        "reads 'b', which nothing before it makes",
    ),
    "axis": (
        lambda: model("y = Softmax <axis = 7> (x)", ROWS),
        r"node 'y' \(Softmax\): axis must be in \[-2, 1\], received 7",
    ),
    "axes": (
        lambda: model("y = ReduceSum (x, a)", ROWS, a=np.asarray([1, 5])),
        r"node 'y' \(ReduceSum\): axes must be in \[-2, 1\], received 5",
    ),
    "permutation": (
        lambda: model("y = Transpose <perm = [0, 2, 1]> (x)", ROWS),
        r"received \[batch, 6\]; perm = \[0, 2, 1\]",
    ),
    "attribute of another type": (
        lambda: model('y = Softmax <axis = "a"> (x)', ROWS),
        "Mismatched attribute type",
    ),
    "strides": (
        lambda: model("y = Conv <strides = [0, 0]> (x, w)", IMAGE, w=random(3, 2, 3, 3)),
        r"node 'y' \(Conv\): strides must be at least 1, received \[0, 0\]",
    ),
    "strides of too few axes": (
        lambda: model("y = Conv <strides = [1]> (x, w)", IMAGE, w=random(3, 2, 3, 3)),
        r"strides must hold 2 numbers, received \[1\]",
    ),
    "too few operands": (lambda: model("y = Add (x)", ROWS), "Add.* has input size 1"),
    "too many operands": (lambda: model("y = Relu (x, x)", ROWS), "Relu.* has input size 2"),
    "logarithms of what is below 0": (
        lambda: model("a = Relu (x) b = Neg (a) y = Log (b)", ROWS),
        "calibration: log, node 2, which reads 'a': values must be finite",
    ),
    "quotients by 0": (
        lambda: model("a = Sub (x, x) y = Div (x, a)", ROWS),
        "calibration: div, node 'y': values must be finite",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model(folder: Path, capsys: Any, name: str) -> None:
    make, rule = MODELS[name]
    path = folder / "model.onnx"
    onnx.save(make(), path)
    said = refused(capsys, str(path), "-o", "m.dmodel", "--calibration", str(folder / "x.npy"))
    assert re.search(rule, said), said
    if not rule.startswith("calibration"):
        assert said.startswith(f"error: {path}: ")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (random(8, 5), r"calibration 0: expected shape \(batch, 6\), received \(8, 5\)"),
        (random(8), r"calibration 0: expected shape \(batch, 6\), received \(8,\)"),
        (np.full((8, 6), np.nan), "calibration 0: values must be finite"),
        (np.full((8, 6), np.inf), "calibration 0: values must be finite"),
        (np.zeros((0, 6)), "calibration 0: expected at least one example"),
        (random(8, 6) + 1j, "calibration 0: expected numbers, received complex64"),
        (np.full((8, 6), "a"), "calibration 0: expected numbers, received <U1"),
        (random(8, 6) * 1e-12, "input 'x': its largest value must be at least"),
        (np.asarray([{}], dtype=object), "x.npy: not a whole .npy file of numbers"),
        (b"not an array", "x.npy: not a whole .npy file of numbers"),
        (None, "x.npy: No such file"),
    ],
)
def test_calibration_data(folder: Path, capsys: Any, data: Any, rule: str) -> None:
    path, arrays = folder / "model.onnx", folder / "x.npy"
    onnx.save(model("y = Relu (x)", ROWS), path)
    if data is None:
        arrays.unlink()
    elif isinstance(data, bytes):
        arrays.write_bytes(data)
    else:
        np.save(arrays, data, allow_pickle=True)
    said = refused(capsys, str(path), "-o", "m.dmodel", "--calibration", str(arrays))
    assert re.search(rule, said), said


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "not an ONNX model: it has 0 nodes"),
        (b"this is no model" * 9, "not a whole ONNX model"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_no_model(folder: Path, capsys: Any, content: Any, rule: str) -> None:
    path = folder / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    said = refused(capsys, str(path), "-o", "m.dmodel", "--calibration", str(folder / "x.npy"))
    assert said.startswith(f"error: {path}: ") and rule in said


@pytest.mark.parametrize("content", [None, b"12345"])
def test_weights_in_a_file_that_is_missing_or_short(
    folder: Path, capsys: Any, content: Any
) -> None:
    path = folder / "model.onnx"
    made = model("y = MatMul (x, w)", ROWS, w=WEIGHT)
    onnx.save(made, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    if content is None:
        (folder / "w.bin").unlink()
    else:
        (folder / "w.bin").write_bytes(content)
    said = refused(capsys, str(path), "-o", "m.dmodel", "--calibration", str(folder / "x.npy"))
    assert f"{path}: weights in files of their own cannot be read" in said and "w" in said


def test_a_model_cut_short(folder: Path, capsys: Any) -> None:
    path = folder / "model.onnx"
    path.write_bytes(model("y = MatMul (x, w)", ROWS, w=WEIGHT).SerializeToString()[:-40])
    said = refused(capsys, str(path), "-o", "m.dmodel", "--calibration", str(folder / "x.npy"))
    assert f"{path}: not a whole ONNX model" in said


def test_open_dimensions_are_those_of_the_data(folder: Path) -> None:
    """As exporters of PyTorch leave them open."""
    from gvm import from_onnx

    x = random(8, 6)
    source = model("y = Softmax (x)", "float[N,K] x")
    assert from_onnx(source, x, progress=False).run(x).shape == (8, 6)


@pytest.mark.parametrize("given", ["x.npy", {"a": 1}, ["a"]])
def test_calibration_that_is_no_array(given: Any) -> None:
    from gvm import from_onnx
    from gvm.errors import GvmError

    with pytest.raises(GvmError, match="calibration 0: expected numbers, received"):
        from_onnx(model("y = Relu (x)", ROWS), given, progress=False)


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("m.keras", b"", "not a whole .keras file"),
        ("m.keras", b"PK-not-a-zip", "not a whole .keras file"),
        ("m.h5", b"12345678" * 9, "Keras cannot load it"),
        ("m.pb", b"hello there, no graph", "not a frozen graph"),
        ("m.pb", b"", "not a frozen graph: it has 0 placeholders"),
        ("m/saved_model.pb", b"", "saved_model.pb is damaged: it holds no graph"),
        ("m/other.pb", b"", "saved_model.pb is missing"),
        ("m.xyz", b"", "the name must end in .keras, .h5, .hdf5 or .pb"),
    ],
)
def test_a_file_that_is_no_model_of_tensorflow(
    folder: Path, capsys: Any, name: str, content: bytes, rule: str
) -> None:
    pytest.importorskip("tensorflow")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = path.parent if "/" in name else path
    said = refused(capsys, str(source), "-o", "m.dmodel", "--calibration", str(folder / "x.npy"))
    assert f"error: {source}: " in said and rule in said


def test_inputs_of_text_in_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    from gvm.errors import GvmError
    from gvm.importers.tensorflow import load_tensorflow

    given = [tf.TensorSpec((None, 6), tf.string)]
    source = tf.function(lambda s: tf.strings.length(s), input_signature=given)
    with pytest.raises(GvmError, match="input 's:0': elements must be numbers, received string"):
        load_tensorflow(source)
