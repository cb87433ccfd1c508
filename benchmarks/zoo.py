"""The models of ``benchmarks/models.py``: where each comes from, what it is given, and how its own
framework runs it."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import zoo_sequence
from benchmarks.mnist import read_idx
from gvm.graph import Graph
from gvm.importers.onnx import load_onnx
from gvm.importers.tensorflow import load_tensorflow
from gvm.tensors import Array

SEED = 7
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
APPLICATIONS = {
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "InceptionV3": "inception_v3",
    "MobileNetV2": "mobilenet_v2",
    "EfficientNetB0": "efficientnet",
    "DenseNet121": "densenet",
    "ConvNeXtTiny": "convnext",
}
"""Keras's name of the network: its module, which says how pixels are scaled."""
LIGHT = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
    "squeezenet", "vgg19", "zfnet512",
)  # fmt: skip
SERVING = {
    "matrix_half_plus_two": ("matrix_half_plus_two/1", (3, 3)),
    "half_plus_two_2_versions": ("saved_model_half_plus_two_2_versions/00000123", (1,)),
    "half_plus_two": ("saved_model_half_plus_two_cpu/00000123", (1,)),
    "half_plus_two_tf2": ("saved_model_half_plus_two_tf2_cpu/00000123", ()),
    "half_plus_three": ("saved_model_half_plus_three/00000123", (1,)),
}
"""Models of TensorFlow Serving: folder, and the shape of an example."""


@dataclass(frozen=True)
class Subject:
    """A model ready to be imported and compared."""

    load: Callable[[list[Array]], Graph]
    """The real-valued graph, given the calibration inputs."""
    run: Callable[[list[Array]], list[Array]]
    """The outputs as the model's own framework computes them."""
    calibration: list[Array]
    x: list[Array]
    """Inputs to compare on, none of them among the calibration."""
    labels: Array | None = None


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    name: str
    kind: Literal["trained", "random"]
    framework: Literal["tensorflow", "onnx"]
    build: Callable[[Path, int, int], Subject]
    """Takes the folder of shared files, and how many examples calibrate and compare."""
    calibration: int
    examples: int


def entries() -> list[Entry]:
    """Every model, in the order of the table."""
    found = [
        Entry(name, "random", "tensorflow", _application(name), 16, 4) for name in APPLICATIONS
    ]
    found += [Entry("transformer encoder", "random", "tensorflow", _transformer, 32, 16)]
    found += [
        Entry(name, "trained", "tensorflow", _sequences(build), 512, 2048)
        for name, build in zoo_sequence.models().items()
    ]
    found += [Entry(f"light {name}", "random", "onnx", _light(name), 8, 2) for name in LIGHT]
    images, keywords = "mlperf_tiny/image_classification", "mlperf_tiny/keyword_spotting"
    folder = f"{keywords}/trained_models/kws_ref_model"
    found += [
        Entry("ONNX MNIST", "trained", "onnx", _onnx_mnist, 256, 10000),
        Entry(
            "MLPerf image h5",
            "trained",
            "tensorflow",
            _resnet8(f"{images}/trained_models/pretrainedResnet.h5"),
            256,
            10000,
        ),
        Entry("MLPerf keywords SavedModel", "trained", "tensorflow", _keywords(folder), 128, 512),
    ]
    found += [
        Entry(f"Serving {name}", "trained", "tensorflow", _serving(path, shape), 64, 256)
        for name, (path, shape) in SERVING.items()
    ]
    return found


def cifar10(shared: Path, part: str, count: int, seed: int = SEED) -> tuple[Array, Array]:
    """``count`` images of CIFAR-10 (``train`` or ``test``) as [N, 32, 32, 3] of 0 to 255, and their
    classes, in an order drawn with ``seed``."""
    from PIL import Image

    images, labels = [], []
    with zipfile.ZipFile(shared / "data" / "cifar10-jpeg" / f"{part}.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
        for i in np.random.default_rng(seed).permutation(len(names))[:count]:
            with Image.open(io.BytesIO(archive.read(names[i]))) as image:
                images.append(np.asarray(image.convert("RGB")))
            labels.append(CLASSES.index(names[i].split("/")[-2]))
    return np.stack(images).astype(np.float32), np.array(labels)


def enlarged(images: Array, size: int) -> Array:
    """Images at another height and width, bicubic, within 0 to 255."""
    from PIL import Image

    made = [
        np.asarray(
            Image.fromarray(i.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        )
        for i in images
    ]
    return np.stack(made).astype(np.float32)


def mosaics(shared: Path, size: int, count: int) -> Array:
    """Images of ``size`` pixels a side, each laid out of photographs of 32: sharp at every place,
    where enlarged ones are smooth."""
    side = -(-size // 32)
    parts = cifar10(shared, "test", min(10000, count * side * side))[0]
    parts = np.resize(parts, (count, side, side, 32, 32, 3))
    whole = parts.transpose(0, 1, 3, 2, 4, 5).reshape(count, side * 32, side * 32, 3)
    return np.ascontiguousarray(whole[:, :size, :size])


def _photographs(shared: Path, size: int, calibration: int, examples: int) -> tuple[Array, Array]:
    images = mosaics(shared, size, calibration + examples)
    return images[:calibration], images[calibration:]


# -- TensorFlow


def quiet_tensorflow() -> Any:
    """TensorFlow without its remarks."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    return tf


def keras_subject(
    model: Any, calibration: list[Array], x: list[Array], labels: Array | None = None
) -> Subject:
    """A Keras model."""

    def run(given: list[Array]) -> list[Array]:
        outputs = model.predict(given if len(given) > 1 else given[0], batch_size=64, verbose=0)
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    return Subject(lambda given: load_tensorflow(model), run, calibration, x, labels)


def adapt_batch_normalisation(model: Any, x: Array) -> None:
    """Sets the statistics of every batch normalisation to those of ``x``."""
    for layer in model._flatten_layers():
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.0
        elif type(layer).__name__ == "Dropout":
            layer.rate = 0.0
    model(x, training=True)


def application(name: str, size: int | None = None, classes: int = 1000) -> Any:
    """A network of keras.applications, its weights drawn with a fixed seed."""
    quiet_tensorflow()
    import keras

    keras.utils.set_random_seed(SEED)
    given = {} if size is None else {"input_shape": (size, size, 3)}
    return getattr(keras.applications, name)(weights=None, classes=classes, **given)


def _application(name: str) -> Callable[[Path, int, int], Subject]:
    def build(shared: Path, calibration: int, examples: int) -> Subject:
        model = application(name)
        import keras

        module = getattr(keras.applications, APPLICATIONS[name])
        parts = _photographs(shared, model.input_shape[1], calibration, examples)
        first, x = (module.preprocess_input(p.copy()) for p in parts)
        adapt_batch_normalisation(model, np.concatenate([first, x]))
        return keras_subject(model, [first], [x])

    return build


def _transformer(shared: Path, calibration: int, examples: int) -> Subject:
    """Two blocks of attention over 64 characters of text, read as rows of a table."""
    quiet_tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(SEED)
    length, width, heads = 64, 128, 4
    tokens = keras.Input((length,), dtype="int32")
    positions = keras.Input((length,), dtype="int32")
    x = layers.Embedding(128, width)(tokens) + layers.Embedding(length, width)(positions)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(y, y)
        y = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width)(y)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    model = keras.Model([tokens, positions], layers.Dense(10)(x))
    text = np.frombuffer((shared / "data/text/tinyshakespeare.txt").read_bytes(), np.uint8)
    rows = text[: (calibration + examples) * length].reshape(-1, length).astype(np.int32)
    places = np.broadcast_to(np.arange(length, dtype=np.int32), rows.shape).copy()
    return keras_subject(
        model,
        [rows[:calibration], places[:calibration]],
        [rows[calibration:], places[calibration:]],
    )


def _sequences(
    make: Callable[[], zoo_sequence.Built],
) -> Callable[[Path, int, int], Subject]:
    def build(shared: Path, calibration: int, examples: int) -> Subject:
        quiet_tensorflow()
        model, x, labels = make()
        return keras_subject(model, [x[:calibration]], [x[-examples:]], labels[-examples:])

    return build


def _resnet8(path: str) -> Callable[[Path, int, int], Subject]:
    def build(shared: Path, calibration: int, examples: int) -> Subject:
        quiet_tensorflow()
        import keras

        model = keras.models.load_model(shared / "models" / path, compile=False)
        x, labels = cifar10(shared, "test", examples)
        return keras_subject(model, [cifar10(shared, "train", calibration)[0]], [x], labels)

    return build


def _saved_model(path: Path, calibration: list[Array], x: list[Array]) -> Subject:
    tf = quiet_tensorflow()

    def run(given: list[Array]) -> list[Array]:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
            signature = meta.signature_def["serving_default"]
            names = [signature.inputs[k].name for k in sorted(signature.inputs)]
            outputs = [signature.outputs[k].name for k in sorted(signature.outputs)]
            first = graph.get_tensor_by_name(names[0]).shape
            size = 1 if first.rank and first[0] == 1 else len(given[0])
            parts = [
                session.run(
                    outputs, dict(zip(names, (a[i : i + size] for a in given), strict=True))
                )
                for i in range(0, len(given[0]), size)
            ]
        return [np.concatenate(p) for p in zip(*parts, strict=True)]

    return Subject(
        lambda given: load_tensorflow(path, [a.shape for a in given]), run, calibration, x
    )


def _keywords(path: str) -> Callable[[Path, int, int], Subject]:
    def build(shared: Path, calibration: int, examples: int) -> Subject:
        x = spoken(shared, calibration + examples)
        return _saved_model(shared / "models" / path, [x[:calibration]], [x[calibration:]])

    return build


def spoken(shared: Path, count: int) -> Array:
    """Features of one recorded word as the keyword model reads them, [N, 49, 10, 1]: the recording
    shifted by up to 100 ms, louder or softer, with noise behind it.

    Ten mel-frequency cepstral coefficients of 30 ms windows, 20 ms apart, from 40 bands of 20 Hz to
    4 kHz, as MLPerf Tiny computes them.
    """
    tf = quiet_tensorflow()
    raw = (shared / "models/mlperf_tiny/samples/runner/sd_card/marvin_617de221_0.wav").read_bytes()
    audio, rate = tf.audio.decode_wav(raw, desired_channels=1, desired_samples=16000)
    word, rng = audio.numpy()[:, 0], np.random.default_rng(SEED)
    waves = np.empty((count, 16000), np.float32)
    for i in range(count):
        shifted = np.roll(word, rng.integers(-1600, 1601))
        waves[i] = shifted * rng.uniform(0.3, 1.5) + rng.normal(0, rng.uniform(0, 0.02), 16000)
    spectra = tf.abs(tf.signal.stft(waves, 480, 320, 512, window_fn=tf.signal.hamming_window))
    mel = tf.signal.linear_to_mel_weight_matrix(40, spectra.shape[-1], int(rate), 20.0, 4000.0)
    logs = tf.math.log(tf.tensordot(spectra, mel, 1) + 1e-6)
    return np.asarray(tf.signal.mfccs_from_log_mel_spectrograms(logs)[..., :10])[..., None]


def _serving(path: str, shape: tuple[int, ...]) -> Callable[[Path, int, int], Subject]:
    def build(shared: Path, calibration: int, examples: int) -> Subject:
        rng = np.random.default_rng(SEED)
        x = rng.uniform(-10, 10, (calibration + examples, *shape)).astype(np.float32)
        folder = shared / "models/tf_serving_testdata" / path
        return _saved_model(folder, [x[:calibration]], [x[calibration:]])

    return build


# -- ONNX


def onnx_subject(
    model: Any,
    calibration: list[Array],
    x: list[Array],
    labels: Array | None = None,
    runs: Any = None,
) -> Subject:
    """An ONNX model, run by ONNX Runtime, example by example where its batch is fixed to one.

    ``runs``: the same in a form that the runtime takes, where it does not take the model.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession((runs or model).SerializeToString())
    names = [i.name for i in session.get_inputs()]

    def run(given: list[Array]) -> list[Array]:
        size = 1 if session.get_inputs()[0].shape[0] == 1 else 64
        parts = [
            session.run(None, dict(zip(names, (a[i : i + size] for a in given), strict=True)))
            for i in range(0, len(given[0]), size)
        ]
        return [np.concatenate(p) for p in zip(*parts, strict=True)]

    return Subject(lambda given: load_onnx(model), run, calibration, x, labels)


def _light(name: str) -> Callable[[Path, int, int], Subject]:
    def build(shared: Path, calibration: int, examples: int) -> Subject:
        import onnx.backend.test

        folder = Path(onnx.backend.test.__file__).parent / "data" / "light"
        model = with_drawn_weights(onnx.load(folder / f"light_{name}.onnx"))
        first, x = _photographs(shared, 224, calibration, examples)
        parts = [np.ascontiguousarray(p.transpose(0, 3, 1, 2)) / 255 for p in (first, x)]
        return onnx_subject(model, parts[:1], parts[1:])

    return build


def with_drawn_weights(model: Any) -> Any:
    """An ONNX model whose weights, each filled with one number by ConstantOfShape, are drawn with a
    fixed seed instead: all channels would be one, and grow beyond every format.

    Kernels have the deviation that keeps that of activations behind a relu; scales, variances are
    about 1, biases and means about 0.
    """
    import onnx

    rng = np.random.default_rng(SEED)
    shapes = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    readers: dict[str, tuple[str, int]] = {}
    for node in model.graph.node:
        readers |= {n: (node.op_type, i) for i, n in enumerate(node.input)}
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape, name = tuple(int(d) for d in shapes[node.input[0]]), node.output[0]
        data = 0.1 * rng.normal(size=shape)
        if len(shape) > 1 and math.prod(shape[1:]) > 1:
            units = shape[0] if readers[name][0] == "MatMul" else math.prod(shape[1:])
            data *= 10 * math.sqrt(2 / units)
        elif readers[name] == ("BatchNormalization", 4):
            data = 1 + np.abs(data)
        elif readers[name] == ("BatchNormalization", 1) or readers[name][0] == "Mul":
            data += 1
        model.graph.initializer.append(onnx.numpy_helper.from_array(data.astype(np.float32), name))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _onnx_mnist(shared: Path, calibration: int, examples: int) -> Subject:
    def images(part: str) -> Array:
        pixels = read_idx(shared / "data" / "mnist", f"{part}-images-idx3-ubyte")
        return pixels[:, None].astype(np.float32) / 255

    labels = read_idx(shared / "data" / "mnist", "t10k-labels-idx1-ubyte")[:examples]
    import onnx

    model = onnx.load(shared / "models" / "onnx_mnist" / "model.onnx")
    return onnx_subject(
        model,
        [images("train")[:calibration]],
        [images("t10k")[:examples]],
        labels,
        _mnist_of_today(model),
    )


def _mnist_of_today(model: Any) -> Any:
    """The model in operator set 8: the runtime does not take operator set 1. The converter of onnx
    gives the biases, whose one axis is that of channels, one axis too many."""
    import onnx.version_converter

    made = onnx.version_converter.convert_version(model, 8)
    for node in made.graph.node:
        if node.op_type == "Unsqueeze" and list(node.attribute[0].ints) == [1, 2, 3]:
            node.attribute[0].ints[:] = [1, 2]
    del made.graph.value_info[:]
    return made
