"""gvm.templates: first weights are exact and frozen; every template trains on small images."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

import gvm
from gvm.random import Purpose, random_half, random_word32
from gvm.templates import initialisation
from gvm.templates.network import Network

datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """1797 images [8, 8, 1] in [-1, 1] and their classes."""
    loaded = datasets.load_digits()
    return (loaded.images / 8 - 1)[..., None], loaded.target


def test_ids_are_frozen() -> None:
    model = gvm.templates.mlp((6, 5), classes=3, seed=7)
    assert model.graph_id == "824d4cd2bb24c823a49b2bd65734e75b2419a4e7790953e45d2716c3f5815cd3"
    assert model.parameters_id == "1b8c6e85a8f0a1c963c3f30aa1d8612deeb4cfedcb7f79d41af184b796adb3fe"


def test_quantiles_are_the_nearest() -> None:
    table = initialisation.normal_quantiles()
    assert len(table) == 32768 and (np.diff(table) >= 0).all()
    with mpmath.workdps(40):
        for k in (0, 1, 2, 100, *range(500, 32768, 499), 32766, 32767):
            exact = mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(2 * k + 1) / 65536)
            assert table[k] == int(mpmath.nint(exact * 4096)), k


@pytest.mark.parametrize(
    ("value", "degree"), [(Fraction(2, 784), 2), (Fraction(6, 7), 2), (Fraction(4), 2)]
)
def test_roots_are_floors(value: Fraction, degree: int) -> None:
    found = initialisation.root(value, degree)
    assert found**degree <= value * 2 ** (24 * degree) < (found + 1) ** degree


@pytest.mark.parametrize("value", [Fraction(0), Fraction(-1), Fraction(5)])
def test_roots_refuse_what_has_none(value: Fraction) -> None:
    with pytest.raises(ValueError, match="squared scale must be in"):
        initialisation.root(value)


def test_draws_are_those_of_their_place() -> None:
    seed, site, scale = 2**63 + 5, 9, 12345
    drawn = initialisation.normal(seed, site, (3, 5), scale).reshape(-1)
    table = initialisation.normal_quantiles()
    for i, value in enumerate(drawn):
        half = random_half(seed, site, 0, Purpose.INITIALISATION, i)
        sign = -1 if half >> 15 else 1
        assert Fraction(float(value)) == Fraction(sign * int(table[half & 32767]) * scale, 2**36)
    drawn = initialisation.uniform(seed, site, (7,), scale)
    for i, value in enumerate(drawn):
        word = random_word32(seed, site, 0, Purpose.INITIALISATION, i)
        assert Fraction(float(value)) == Fraction((2 * (word >> 8) + 1 - 2**24) * scale, 2**48)


def test_normals_have_their_deviation() -> None:
    drawn = initialisation.normal(1, 0, (1 << 16,), 1 << 24)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.01


def test_signals_keep_their_size_on_few_pixels() -> None:
    """Eight convolutions of images of one pixel, whose kernels see little but borders."""
    from gvm.graph import evaluate_real

    net = Network((1, 1, 64), "relu")
    x = net.input
    for i in range(8):
        x = net.activate(net.convolution(x, 64, 3, f"conv_{i}"))
    given = initialisation.uniform(0, 99, (32, 1, 1, 64), 1 << 24)
    made = evaluate_real(net.g.graph(predict=(x,)), [given])[x]
    assert 0.1 < np.mean(made**2) / np.mean(given**2) < 10


Make = Callable[..., gvm.Model]
IMAGES: dict[str, Make] = {
    "resnet8": lambda **o: gvm.templates.resnet(8, (8, 8, 1), 10, width=8, **o),
    "resnet18": lambda **o: gvm.templates.resnet(18, (8, 8, 1), 10, width=4, **o),
    "resnet50": lambda **o: gvm.templates.resnet(50, (8, 8, 1), 10, "tanh", width=4, **o),
    "vgg11": lambda **o: gvm.templates.vgg(11, (8, 8, 1), 10, width=8, hidden=(32,), **o),
    "googlenet": lambda **o: gvm.templates.googlenet((8, 8, 1), 10, width=12, **o),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_train(name: str, digits: tuple[NDArray[Any], NDArray[Any]]) -> None:
    x, y = digits
    model = IMAGES[name](calibration=x[:64], labels=y[:64])
    before = model.evaluate(x[1400:], y[1400:])
    model.train(
        x[:1400],
        y[:1400],
        optimizer=gvm.SGD(0.003, momentum=0.9),
        epochs=4,
        batch_size=32,
        progress=False,
    )
    after = model.evaluate(x[1400:], y[1400:])
    assert float(after) < 0.8 * float(before)
    assert after.accuracy > 0.3


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_mlp_trains(activation: str, digits: tuple[NDArray[Any], NDArray[Any]]) -> None:
    x, y = digits[0].reshape(-1, 64), digits[1]
    model = gvm.templates.mlp((64, 32), activation, 10, calibration=x[:64], labels=y[:64])
    rate = gvm.SGD(0.05, momentum=0.9)
    model.train(x[:1400], y[:1400], optimizer=rate, epochs=5, progress=False)
    assert model.evaluate(x[1400:], y[1400:]).accuracy > 0.88


def test_large_images_take_the_large_stem() -> None:
    model = gvm.templates.resnet(18, (64, 64, 3), 5, width=4, formats="<8,8>", loss=None)
    assert model.run(np.zeros((2, 64, 64, 3))).shape == (2, 5)
    shapes = {
        p.name: t.shape for p, t in zip(model.program.info, model.program.parameters, strict=True)
    }
    assert shapes["stem/kernel"] == (7, 7, 3, 4)
    model = gvm.templates.googlenet((64, 70, 3), 5, width=8, formats="<8,8>", loss=None)
    assert model.run(np.zeros((2, 64, 70, 3))).shape == (2, 5)


def test_large_images_have_gradients_of_known_bounds() -> None:
    model = gvm.templates.resnet(18, (224, 224, 3), 5, width=2, formats="<8,8>")
    assert model.train_id


def test_seeds_differ_and_formats_are_the_users() -> None:
    one, other = (gvm.templates.mlp((4, 3, 2), seed=s, formats="<8,8>") for s in (1, 2))
    assert one.graph_id == other.graph_id
    assert one.parameters_id != other.parameters_id
    assert all(t.fraction_bits == 8 for t in one.program.inputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gvm.templates.mlp((4,)), "widths: those of inputs and classes"),
        (lambda: gvm.templates.mlp((4, 0, 2)), "dense_1 must be at least 1, received 0"),
        (lambda: gvm.templates.mlp((4, 2), "cube"), "activation must be one of .*'cube'"),
        (lambda: gvm.templates.mlp((4, 2), seed=-1), "seed must be in"),
        (lambda: gvm.templates.vgg(12), "depth must be one of 11, 13, 16, 19, received 12"),
        (lambda: gvm.templates.resnet(10), "depth must be one of 18, .* received 10"),
        (lambda: gvm.templates.resnet(input_shape=(8, 8)), "input_shape must be"),
        (lambda: gvm.templates.resnet(8, classes=0), "classes must be at least 1"),
        (lambda: gvm.templates.googlenet(width=0), "width must be at least 1"),
    ],
)
def test_refusals(make: Callable[[], gvm.Model], message: str) -> None:
    with pytest.raises(gvm.GvmError, match=message):
        make()
