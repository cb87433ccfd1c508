"""gvm info: nodes and their exact cost, their quality beside real numbers, and pictures of them."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import cli, picture
from gvm.graph import Builder
from gvm.inspection import inspect
from gvm.model import Model
from gvm.quality import CHUNK, Quality, measure


@pytest.fixture(scope="module")
def images() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).uniform(-0.9, 0.9, (2 * CHUNK + 5, 8, 8, 1))


@pytest.fixture(scope="module")
def network() -> Model:
    return gvm.templates.resnet(8, (8, 8, 1), 4, width=4)


def test_multiply_adds_of_nodes_add_up(network: Model) -> None:
    others = [
        gvm.templates.vgg(11, (8, 8, 1), 4, "tanh", width=4, hidden=(8,)),
        gvm.templates.googlenet((8, 8, 1), 4, width=4, formats="<8,8>"),
    ]
    for model in (network, *others):
        nodes = inspect(model)
        assert sum(n.multiply_adds for n in nodes.nodes) == model.cost.multiply_adds > 0
        assert len(nodes.nodes) == model.cost.nodes
        sizes = sum(math.prod(t.shape) for t in model.program.parameters)
        assert sum(n.parameters for n in nodes.nodes) == sizes
        assert [nodes.types[v] for v in model.program.predict.outputs] == [
            t for t, _, _ in model._native.tensors(4)
        ]


def _by_node(rows: list[Quality]) -> dict[int, Quality]:
    return {q.node.number: q for q in rows if q.node is not None}


def test_quality_ends_in_the_models_own_result(network: Model, images: Any) -> None:
    rows = measure(network, images, progress=False)
    assert rows[0].node is None and rows[0].own == rows[0].whole > 60
    last = rows[-1]
    exact = network.run_integers(images)
    assert last.largest == np.max(np.abs(exact.real()))
    assert last.own > 80  # 32 bits
    assert 40 < last.whole < last.own
    assert all(q.clamped == 0 for q in rows)
    for q in rows:
        if q.node is not None and q.node.operator in ("relu", "reshape", "conv2d", "bias_add"):
            assert q.own == math.inf
        if q.node is not None and q.node.operator == "convert":
            assert 50 < q.own < 140
        if q.type.dtype == "i16":
            assert 8 <= q.used_bits <= 16


def test_quality_is_that_of_all_chunks(network: Model, images: Any) -> None:
    """Signals and noises of two halves add up to those of the whole."""
    parts = [measure(network, x, progress=False) for x in (images[:CHUNK], images[CHUNK:])]
    for q, one, other in zip(measure(network, images, progress=False), *parts, strict=True):
        assert q.largest == max(one.largest, other.largest)
        low, high = sorted((one.whole, other.whole))
        assert low - 1e-9 <= q.whole <= high + 1e-9


def test_quality_counts_what_is_clamped() -> None:
    g = Builder()
    given = g.input("x", (-1, 2))
    w = g.parameter("w", np.array([[1.5, 0.0], [0.0, 1.5]]))
    graph = g.graph(predict=(g.relu(g.matmul(given, w, name="product")),))
    small = gvm.Formats(activation_headroom=0, overrides={"product": 15})
    model = Model.from_graph(graph, np.array([[0.5, 0.5]]), formats=small, progress=False)
    x = np.array([[0.5, 3.0], [-0.25, -9.0], [1.5, 0.1]])
    rows = measure(model, x, progress=False)
    top = 2.0 ** -model.program.inputs[0].fraction_bits * 32767
    # 3 and 9 and 1.5 are beyond the input's format, which the calibration data set.
    assert top < 1.5 and rows[0].clamped == 3
    assert rows[0].own < 10
    product = next(q for q in rows if q.name == "product" and q.type.dtype == "i16")
    exact = 1.5 * np.clip(x, -1, top)
    assert product.clamped == np.count_nonzero((exact >= 1) | (exact < -1)) == 3
    assert product.own < 20


def test_weights_of_few_bits_are_seen(network: Model, images: Any) -> None:
    def noise(bits: int) -> Quality:
        formats = gvm.Formats(overrides={"stem/kernel": bits})
        made = gvm.templates.resnet(8, (8, 8, 1), 4, width=4, formats=formats)
        (view,) = (q for q in measure(made, images, progress=False) if q.name == "stem/kernel")
        return view

    coarse, fine = noise(4), noise(12)
    assert coarse.type.fraction_bits == 4 and fine.type.fraction_bits == 12
    assert 40 < fine.own - coarse.own < 56  # eight bits are 48 dB


def test_dot_has_every_node_with_data(network: Model) -> None:
    text = picture.dot(network)
    shown = {int(n) for n in re.findall(r'\[label="(\d+) ', text)}
    nodes = inspect(network)
    assert shown == {n.number for n in nodes.nodes if not nodes.is_view(n)}
    assert "relu" in text and '"output 0\\ni32' in text
    declared = set(re.findall(r"^  (n\d+) \[", text, re.M))
    edges = re.findall(r"^  (n\d+) -> (n\d+);", text, re.M)
    assert {n for edge in edges for n in edge} == declared
    assert text.count("{") == text.count("}") == 1


def test_svg_boxes_lie_apart() -> None:
    model = gvm.templates.googlenet((8, 8, 1), 4, width=4, formats="<8,8>")
    root = ET.fromstring(picture.svg(model))
    name = "{http://www.w3.org/2000/svg}"
    boxes = [
        tuple(int(r.attrib[k]) for k in ("x", "y", "width", "height"))
        for r in list(root.iter(f"{name}rect"))[1:]  # behind the first, the ground
    ]
    nodes = inspect(model)
    data = [n for n in nodes.nodes if not nodes.is_view(n)]
    assert len(boxes) == len(data) + 2
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    for i, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x and 0 <= y and x + w <= width and y + h <= height
        for u, v, s, t in boxes[:i]:
            assert x + w <= u or u + s <= x or y + h <= v or v + t <= y
    paths = len(list(root.iter(f"{name}path")))
    assert paths == picture.dot(model).count("->")


def test_names_are_escaped() -> None:
    g = Builder()
    x = g.input('a "<b>" \\', (-1, 2))
    graph = g.graph(predict=(g.relu(x),))
    model = Model.from_graph(graph, formats="<8,8>")
    assert ET.fromstring(picture.svg(model)) is not None
    assert picture.dot(model).count("label=") == 3


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_command(
    network: Model, images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.dmodel"
    network.save(path)
    np.save(tmp_path / "x.npy", images)
    status, out, _ = call(
        capsys, "info", path, "--dot", tmp_path / "m.dot", "--svg", tmp_path / "m.svg"
    )
    assert status == 0
    assert (tmp_path / "m.dot").read_text() == picture.dot(network)
    assert (tmp_path / "m.svg").read_text() == picture.svg(network)
    table = out.split("\n\n")[-1].splitlines()
    assert table[0].split() == [
        "node", "operator", "name", "result", "parameters", "multiply-adds",
    ]  # fmt: skip
    assert len(table) == 2 + network.cost.nodes
    assert table[-1].split()[-1] == str(network.cost.multiply_adds)
    status, out, _ = call(capsys, "info", path, "--json")
    nodes = json.loads(out)["nodes"]
    assert sum(n["multiply_adds"] for n in nodes) == network.cost.multiply_adds

    status, out, _ = call(capsys, "info", path, "--quality", tmp_path / "x.npy")
    assert status == 0 and len(out.splitlines()) == 2 + network.cost.nodes
    assert "snr-whole-db" in out.splitlines()[0]
    status, out, _ = call(capsys, "info", path, "--quality", tmp_path / "x.npy", "--json")
    rows = json.loads(out)["quality"]
    assert rows[0]["operator"] == "input" and rows[-1]["snr_whole_db"] > 40
    status, out, err = call(capsys, "info", path, "--quality", path)
    assert (status, out) == (2, "") and "not a whole .npy file" in err


def test_formats_files(tmp_path: Path) -> None:
    g = Builder()
    w = g.parameter("dense/kernel", np.ones((2, 2)))
    graph = g.graph(predict=(g.matmul(g.input("x", (-1, 2)), w, name="dense/product"),))
    data = np.ones((3, 2))
    file = tmp_path / "formats.json"
    file.write_text('{"dense/kernel": 9, "x": 7}')
    model = Model.from_graph(graph, data, formats=gvm.Formats.read(file), progress=False)
    assert model.program.inputs[0].fraction_bits == 7
    assert model.program.parameters[0].fraction_bits == 9

    file.write_text('{"dense/kernal": 9, "zzzzzzz": 7}')
    with pytest.raises(gvm.ImportModelError) as error:
        Model.from_graph(graph, data, formats=gvm.Formats.read(file), progress=False)
    said = str(error.value)
    assert "'dense/kernal' names no input" in said and "(nearest: 'dense/kernel'" in said
    assert "'zzzzzzz' names no input, parameter or rounded result" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "formats.json: not JSON"),
        ("[1]", "must hold one object"),
        ('{"a": 48}', r"of 'a' must be whole and in \[-32, 47\], received 48"),
        ('{"a": 1.5}', "received 1.5"),
        ('{"a": true}', "received true"),
    ],
)
def test_formats_files_are_checked(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "formats.json").write_text(text)
    with pytest.raises(gvm.ImportModelError, match=message):
        gvm.Formats.read(tmp_path / "formats.json")


def test_import_takes_a_file_of_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    source = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")], name="m")
    source.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", np.ones((4, 3)))
    file = tmp_path / "formats.json"
    common = ("import", tmp_path / "m.keras", "-o", tmp_path / "m.dmodel")
    common += ("--calibration", tmp_path / "x.npy", "--formats", file)
    file.write_text('{"d/kernel": 7}')
    status, _, err = call(capsys, *common)
    assert status == 0, err
    kernel = gvm.load(tmp_path / "m.dmodel").parameter_arrays()["d/kernel"]
    assert kernel.fraction_bits == 7
    file.write_text('{"d/kernle": 7}')
    status, _, err = call(capsys, *common)
    assert status == 2 and "(nearest: 'd/kernel'" in err
    file.unlink()
    status, _, err = call(capsys, *common)
    assert status == 2 and err.count("formats.json") == 1 and "Traceback" not in err
