"""Train a residual network on a folder of pictures: python examples/images.py FOLDER

FOLDER has a folder of JPEG or PNG files for each class. They become one array on disk, which
training maps and reads batch by batch, so that they need not fit into memory; every tenth picture
is for validation. Stop it whenever you like: with --resume it goes on, to the same bits. Needs
Pillow.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import gvm

ENDINGS = {".jpg", ".jpeg", ".png"}


def pictures(folder: Path) -> list[tuple[Path, int]]:
    """Every picture with the number of its class, in an order that depends on names alone."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    found = [
        (path, label)
        for label, of_class in enumerate(classes)
        for path in sorted(of_class.iterdir())
        if path.suffix.lower() in ENDINGS
    ]
    if len({label for _, label in found}) < 2:
        raise SystemExit(f"{folder}: needs a folder of pictures for each of at least two classes")
    return found


def write_array(found: list[tuple[Path, int]], size: int, path: Path) -> tuple[np.ndarray, ...]:
    """The pictures as a mapped array of [n, size, size, 3] in [0, 1], and their classes."""
    shape = (len(found), size, size, 3)
    x = np.lib.format.open_memmap(path, "w+", dtype=np.float16, shape=shape)
    for i, (name, _) in enumerate(found):
        with Image.open(name) as picture:
            pixels = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            x[i] = np.asarray(pixels, dtype=np.float32) / 255
    x.flush()
    return np.load(path, mmap_mode="r"), np.array([label for _, label in found])


def main() -> None:
    """Reads, trains and says how good it became."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=32, help="pixels of an edge, divisible by 4")
    parser.add_argument("--depth", type=int, default=8, help="layers, 6n + 2")
    parser.add_argument("--width", type=int, default=16, help="filters of the first stage")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("images.dmodel"))
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    found = pictures(given.folder)
    tests = found[::10]
    trained = [picture for i, picture in enumerate(found) if i % 10]
    with tempfile.TemporaryDirectory() as folder:
        x, y = write_array(trained, given.size, Path(folder) / "train.npy")
        validation = write_array(tests, given.size, Path(folder) / "test.npy")
        if given.resume and given.output.is_file():
            model = gvm.load(given.output)
        else:
            some = np.random.default_rng(0).permutation(len(x))[:256]
            model = gvm.templates.resnet(
                given.depth, (given.size, given.size, 3), int(y.max()) + 1, width=given.width,
                batch_norm=True, calibration=np.asarray(x[np.sort(some)], dtype=np.float32),
                labels=y[np.sort(some)],
            )  # fmt: skip
        steps = given.epochs * -(-len(x) // given.batch)
        history = model.train(
            x, y, validation=validation, epochs=given.epochs, batch_size=given.batch,
            optimizer=gvm.SGD(gvm.schedules.Cosine(0.1, steps), momentum=0.9, weight_decay=1e-4),
            workers=given.workers, checkpoint=given.output, resume=given.resume,
        )  # fmt: skip
    for epoch in history.epochs:
        assert epoch.validation is not None
        print(f"{epoch.epoch:3}  loss {epoch.loss:.4f}  right {epoch.validation.accuracy:.1%}")
    print("parameters:", model.parameters_id)


if __name__ == "__main__":
    main()
