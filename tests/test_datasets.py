"""Data to train on that is not in memory: mapped files and streams. The same bits as arrays give,
and no more of a file is read than is asked for."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import streams
from gvm.mapped import Mapped, from_place
from gvm.streams import read_stream
from gvm.types import i16
from tests.small_models import EXAMPLES, FEATURES, MOMENTUM, VALIDATION, X, Y, classifier, ids

RUN: dict[str, Any] = {
    "optimizer": MOMENTUM,
    "epochs": 2,
    "batch_size": 16,
    "seed": 5,
    "progress": False,
}
Array = Any


@pytest.fixture(scope="module")
def expected() -> tuple[Any, ...]:
    return ids(classifier().train(X, Y, validation=VALIDATION, **RUN))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Array, Array]:
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    np.save(tmp_path / "y.npy", Y)
    return (
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        np.load(tmp_path / "y.npy", mmap_mode="r"),
    )


# -- mapped files


@pytest.mark.parametrize(
    "options", [{}, {"workers": 3}, {"micro_batch": 5}, {"trace": "run"}], ids=str
)
def test_mapped_files_give_what_arrays_give(
    expected: tuple[Any, ...], files: tuple[Array, Array], options: dict[str, Any], tmp_path: Path
) -> None:
    given = {k: tmp_path / v if k == "trace" else v for k, v in options.items()}
    history = classifier().train(*files, validation=VALIDATION, **RUN, **given)
    assert ids(history) == expected


def test_a_part_of_a_file_is_found_by_workers(tmp_path: Path) -> None:
    whole = np.concatenate([np.full((7, FEATURES), 99.0), X, X])
    np.save(tmp_path / "x.npy", whole)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    part = x[7 : 7 + EXAMPLES]
    mapped = Mapped(part, i16(8, -1, FEATURES), "input 0")
    place = mapped.place()
    assert place is not None
    assert np.array_equal(from_place(place, mapped.type, "input 0")[:], mapped[:])
    alone, other = (
        ids(classifier().train(part, Y, workers=n, **RUN)) for n in (1, 2)
    )  # fmt: skip
    assert alone == other == ids(classifier().train(X, Y, **RUN))
    # Every other row is no plain part of a file: it is written out for the workers.
    double = np.load(tmp_path / "x.npy", mmap_mode="r")[7::2][:40]
    assert Mapped(double, mapped.type, "input 0").place() is None
    one, two = (ids(classifier().train(double, Y[:40], workers=n, **RUN)) for n in (1, 2))
    assert one == two


class Counting(np.memmap):  # type: ignore[type-arg]
    """A mapped file that counts the bytes that are taken of it."""

    read: list[int] = []

    def __getitem__(self, part: Any) -> Any:
        found = super().__getitem__(part)
        Counting.read.append(np.asarray(found).nbytes)
        return found


def test_no_more_of_a_file_is_read_than_a_batch_needs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r").view(Counting)
    Counting.read = []
    model = classifier()
    history = model.train(x, Y, **RUN)
    row = FEATURES * 8
    assert max(Counting.read) == 16 * row
    assert sum(Counting.read) == RUN["epochs"] * EXAMPLES * row
    assert history.steps == 12
    Counting.read = []
    assert model.evaluate(x, Y, batch_size=7) == model.evaluate(X, Y)
    assert max(Counting.read) == 7 * row


def test_what_a_file_holds_is_judged_when_it_is_read(tmp_path: Path) -> None:
    bad = X.copy()
    bad[13, 2] = np.nan
    np.save(tmp_path / "x.npy", bad)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    for workers in (1, 2):
        message = r"train, step \d: input 0: values must be finite, received NaN"
        with pytest.raises(gvm.ProgramError, match=message):
            classifier().train(x, Y, workers=workers, **RUN)
    labels = Y.copy()
    np.save(tmp_path / "y.npy", labels.astype(np.float64) + 0.5)
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    with pytest.raises(gvm.ProgramError, match="label 0: expected whole numbers"):
        classifier().train(X, y, **RUN)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((EXAMPLES, FEATURES + 1)), r"input 0: expected shape \(batch, 6\), received"),
        (np.zeros((EXAMPLES, FEATURES), dtype=complex), "expected numbers, received complex128"),
        (np.zeros((EXAMPLES - 1, FEATURES)), f"train: {EXAMPLES - 1} inputs but {EXAMPLES}"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, array: Array, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(gvm.ProgramError, match=message):
        classifier().train(np.load(tmp_path / "x.npy", mmap_mode="r"), Y, **RUN)


def test_a_file_that_has_gone_is_a_clear_error(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = Mapped(np.load(tmp_path / "x.npy", mmap_mode="r"), i16(8, -1, FEATURES), "input 0")
    place = mapped.place()
    assert place is not None
    (tmp_path / "x.npy").unlink()
    with pytest.raises(gvm.HostError, match=r"input 0: .*x\.npy: .*No such file"):
        from_place(place, mapped.type, "input 0")


# -- streams


class Stream:
    """What gvm asks of a tf.data.Dataset."""

    element_spec = None

    def __init__(self, elements: list[Any], cardinality: int | None = None) -> None:
        self.elements = elements
        self.count = len(elements) if cardinality is None else cardinality

    def __str__(self) -> str:
        return f"{self.count} elements"

    def cardinality(self) -> int:
        return self.count

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter(self.elements)


def singles(x: Array = X, y: Array = Y) -> Stream:
    return Stream(list(zip(x, y, strict=True)))


def batched(size: int) -> Stream:
    return Stream([(X[i : i + size], Y[i : i + size]) for i in range(0, EXAMPLES, size)])


@pytest.mark.parametrize(
    "stream", [singles(), batched(7), batched(EXAMPLES)], ids=["1", "7", "all"]
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_gives_what_arrays_give(
    expected: tuple[Any, ...], stream: Stream, workers: int
) -> None:
    history = classifier().train(stream, validation=singles(*VALIDATION), workers=workers, **RUN)
    assert ids(history) == expected


def test_a_run_on_a_stream_goes_on_from_a_checkpoint(
    expected: tuple[Any, ...], tmp_path: Path
) -> None:
    path = tmp_path / "run.dmodel"
    classifier().train(singles(), validation=VALIDATION, checkpoint=path, **{**RUN, "epochs": 1})
    again = gvm.load(path)
    history = again.train(batched(11), validation=VALIDATION, resume=True, **RUN)
    assert ids(history) == expected


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (Stream([], -1), r"train: the data set has no end: give it one with take\(n\)"),
        (Stream([]), "train: expected at least one example, received none"),
        (Stream([X[0]]), r"train, example 0: elements must be pairs \(x, y\), received ndarray"),
        (Stream([(X[0], Y[0], 1)]), r"must be pairs \(x, y\), received a tuple of 3"),
        (Stream([(X[0], Y[0]), (X[1, :3], Y[1])]), r"train, example 1: input 0: expected shape"),
        (Stream([(X[:5], Y[:4])]), "train, example 0: lengths differ: 5, 4"),
        (Stream([((X[0], X[0]), Y[0])]), "train, example 0: expected 1 inputs, received 2"),
        (Stream([(X[0], np.float64(0.5))]), "train, example 0: label 0: expected whole numbers"),
    ],
    ids=["endless", "empty", "no pair", "three", "shape", "lengths", "inputs", "label"],
)
def test_streams_that_do_not_fit(stream: Stream, message: str) -> None:
    with pytest.raises(gvm.GvmError, match=message):
        classifier().train(stream, **RUN)


def test_labels_come_from_one_place() -> None:
    with pytest.raises(gvm.GvmError, match="a data set of pairs has its labels|has its labels"):
        classifier().train(singles(), Y, **RUN)
    with pytest.raises(gvm.GvmError, match=r"labels are needed beside inputs that are no tf\.data"):
        classifier().train(X, **RUN)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.tempfile, "tempdir", str(tmp_path))
    real, left = streams._write, [28]

    def full(file: Any, row: Array) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, row)

    with monkeypatch.context() as patch:
        patch.setattr(streams, "_write", full)
        with pytest.raises(gvm.HostError, match=r"train, example 14: .*No space left.*TMPDIR"):
            classifier().train(singles(), **RUN)
    assert list(tmp_path.iterdir()) == []
    with read_stream(classifier(), singles(), "train") as (inputs, labels):
        assert len(inputs[0]) == len(labels[0]) == EXAMPLES
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_of_tensorflow(expected: tuple[Any, ...]) -> None:
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    for stream in (data, data.batch(13).prefetch(2)):
        assert ids(classifier().train(stream, validation=VALIDATION, **RUN)) == expected
    with pytest.raises(gvm.GvmError, match="the data set has no end"):
        classifier().train(data.repeat(), **RUN)
