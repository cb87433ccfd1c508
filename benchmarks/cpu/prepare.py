"""Makes the models that the rows need, each once: ``python -m benchmarks.cpu.prepare FOLDER``.

ResNet-50 (v1.5, batch normalisation folded, He-normal weights) is written as ONNX, imported into
gvm, and quantised to int8 with ONNX Runtime's tools. The networks that train are drawn by Keras.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu.data import MOMENTUM, RATE, digits, pictures
from benchmarks.mnist import build

SIZE = 224
CALIBRATION = 8
BLOCKS = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks and inner channels of ResNet-50's stages."""


class Drawn:
    """An ONNX graph as it grows, with weights from one generator."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns its result's name."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, shape: tuple[int, ...], deviation: float) -> str:
        """Adds an initializer."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        values = self.generator.normal(0, deviation, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def convolution(self, x: str, a: int, b: int, size: int, stride: int, gain: float) -> str:
        """A convolution with a bias."""
        w = self.weight((b, a, size, size), gain * (2 / (a * size * size)) ** 0.5)
        bias = self.weight((b,), 0.05)
        return self.node(
            "Conv", x, w, bias, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4
        )


def resnet50() -> Any:
    """The network as an ONNX model of 25.5 million parameters; the batch is open."""
    from onnx import TensorProto, helper

    net = Drawn()
    x = net.node("Relu", net.convolution("x", 3, 64, 7, 2, 1.0))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, inner) in enumerate(BLOCKS):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if block == 0:
                shortcut = net.convolution(x, channels, 4 * inner, 1, stride, 0.7)
            y = net.node("Relu", net.convolution(x, channels, inner, 1, 1, 1.0))
            y = net.node("Relu", net.convolution(y, inner, inner, 3, stride, 1.0))
            y = net.convolution(y, inner, 4 * inner, 1, 1, 0.3)
            x = net.node("Relu", net.node("Add", y, shortcut))
            channels = 4 * inner
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    net.node("Gemm", x, net.weight((channels, 1000), channels**-0.5), net.weight((1000,), 0.05))
    graph = helper.make_graph(
        net.nodes,
        "resnet50",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(net.nodes[-1].output[0], TensorProto.FLOAT, ["n", 1000])],
        net.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def images(count: int, seed: int) -> Any:
    """Inputs of ResNet-50, channels first."""
    return np.ascontiguousarray(pictures(count, SIZE, 3, seed).transpose(0, 3, 1, 2))


def make_resnet50(folder: Path) -> None:
    """resnet50.onnx, resnet50.int8.onnx and resnet50.dmodel."""
    import onnx
    from onnxruntime import quantization

    import gvm

    source = folder / "resnet50.onnx"
    onnx.save(resnet50(), source)
    model = gvm.from_onnx(source, images(CALIBRATION, 1), max_batch=16, progress=False)
    model.save(folder / "resnet50.dmodel")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """One image at a time."""

        def __init__(self) -> None:
            self.left = iter(images(2, 1))

        def get_next(self) -> Any:
            image = next(self.left, None)
            return None if image is None else {"x": image[None]}

    quantization.quantize_static(
        source,
        folder / "resnet50.int8.onnx",
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )


def make_network(folder: Path, network: str) -> None:
    """Weights of Keras as .npz, and each profile's program, parameters and state."""
    import gvm
    from gvm import training_run

    keras_model = build(network, 0)
    np.savez(folder / f"{network}.npz", *keras_model.get_weights())
    x, y = digits(512, 5)
    model = gvm.from_tensorflow(keras_model, x, loss="softmax_cross_entropy", labels=y)
    for profile in ("w16", "w32"):
        optimizer = gvm.SGD(RATE, momentum=MOMENTUM)
        program, parameters, state, _ = training_run._begun(
            model, optimizer, profile, None, 0, 1_000_000
        )
        base = folder / f"{network}.{profile}"
        inputs = model.program.inputs[0].fraction_bits
        for part, data in (
            ("program", program.encode()),
            ("parameters", parameters),
            ("state", state),
            ("bits", str(inputs).encode()),
        ):
            base.with_name(f"{base.name}.{part}").write_bytes(data)


def main(folder: Path) -> None:
    """Makes what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for batch in (1, 16):
        np.save(folder / f"images.{batch}.npy", images(batch, 2))
    if not (folder / "resnet50.int8.onnx").exists():
        make_resnet50(folder)
    for network in ("mlp", "cnn"):
        if not (folder / f"{network}.w32.bits").exists():
            make_network(folder, network)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
