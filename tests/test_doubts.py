"""Nodes that fixed point computes badly are named at import; others are not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm.doubts import QualityWarning

onnx = pytest.importorskip("onnx")

from tests.onnx_models import model, random  # noqa: E402

SIZES = np.asarray([1e4, 1, 1, 1, 1, 0.1], np.float32)
WEIGHTS = random(6, 4)


def network(body: str, inputs: str = "float[N,6] x", **weights: Any) -> Any:
    made = model(body, inputs, **weights)
    for node in made.graph.node:
        node.name = f"the {node.output[0]}"
    return made


CHANNELS = network(
    "a = Mul (x, sizes) b = MatMul (a, w) y = Relu (b)", sizes=SIZES, w=WEIGHTS / SIZES[:, None]
)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (CHANNELS, r"1 node .* differs .*\n  matmul, node 'the b': error .* channels of 'the a' "),
        (
            network("a = Abs (x) b = Mul (a, a) c = Mul (b, b) d = Mul (c, c) y = Log (d)"),
            "unary, node .*: error .* log of numbers that span many magnitudes",
        ),
        (
            network("a = Add (x, c) b = Tanh (x) d = Mul (a, b) e = Mul (c, b) y = Sub (d, e)",
                    c=np.float32(20000)),
            "sub, node 'the y': error .* %; .* cancel",
        ),
    ],
)  # fmt: skip
def test_a_node_is_named_with_its_reason(source: Any, said: str) -> None:
    with pytest.warns(QualityWarning, match=said) as seen:
        made = gvm.from_onnx(source, random(64, 6), progress=False)
    assert made.info["doubts"] == str(seen[0].message)


@pytest.mark.parametrize(
    "body",
    [
        "a = MatMul (x, w) b = Relu (a) y = MatMul (b, v)",
        "a = MatMul (x, w) y = Softmax (a)",
        "s = Where (k, x, low) t = Mul (s, half) y = Softmax (t)",
        "a = Abs (x) b = Add (a, half) y = Log (b)",
        "a = ArgMax <axis = 1> (x) b = Cast <to = 1> (a) y = Mul (b, half)",
        "a = Floor (x) b = Mul (a, big) y = Sub (b, x)",
    ],
)
def test_others_are_not(body: str) -> None:
    weights = {
        "w": random(6, 4),
        "v": random(4, 3),
        "k": np.arange(6) < 4,
        "low": np.float32(-1e9),
        "half": np.float32(0.5),
        "big": np.float32(100),
    }
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    source = network(body, **{n: a for n, a in weights.items() if n in words})
    with warnings.catch_warnings():
        warnings.simplefilter("error", QualityWarning)
        made = gvm.from_onnx(source, random(64, 6), progress=False)
    assert "doubts" not in made.info


def test_the_command_line_says_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one block at import, and again where qualities are shown."""
    from gvm.cli import main

    def run(*words: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert ended.value.code == 0

    source, data, made = (str(tmp_path / n) for n in ("a.onnx", "x.npy", "a.dmodel"))
    onnx.save(CHANNELS, source)
    np.save(data, random(64, 6))
    run("import", source, "-o", made, "--calibration", data)
    printed = capsys.readouterr()
    assert printed.err.count("warning: 1 node of the fixed-point model differs much") == 1
    assert "QualityWarning" not in printed.err and "differs" not in printed.out
    run("info", made, "--quality", data)
    assert "matmul, node 'the b'" in capsys.readouterr().err
    run("info", made, "--quality", data, "--json")
    assert "matmul, node 'the b'" in json.loads(capsys.readouterr().out)["doubts"]


def test_formats_that_are_given_are_not_doubted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", QualityWarning)
        gvm.from_onnx(CHANNELS, random(64, 6), formats="<8,8>", progress=False)
