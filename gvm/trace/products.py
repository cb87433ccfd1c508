"""Exact sums of the products of recorded steps: what a prover adds for ``gvm verify --fast``.

A file for each step, in the folder ``products`` of a run (docs/traces.md has its bytes). Nothing in
it is trusted: sums are checked, and the state is compared with the trace.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import cbor
from gvm.errors import GvmError
from gvm.files import write_bytes
from gvm.progress import progress_bar
from gvm.trace.file import MAX_HEADER
from gvm.trace.listing import Listing, Node
from gvm.trace.recorder import checkpoint_path
from gvm.trace.replay import Machine, Replay
from gvm.trace.verify import intervals

MAGIC = b"GVMSUMS1"
PRODUCTS = (
    *("matmul", "matmul_grad_weight"),
    *("conv2d", "conv2d_grad_input", "conv2d_grad_weight"),
)
WIDTHS = {4: "<i4", 8: "<i8"}
_TIMES, _WINDOWS = 64, 16
"""Multiply-adds in the time of reading a number, and numbers in that of going on in a window."""
_NARROW = np.iinfo(np.int32)


@dataclass(frozen=True)
class Sums:
    """What a file of one step holds."""

    products: tuple[tuple[int, NDArray[Any]], ...]
    """Nodes of grad, ascending, and their exact sums: flat arrays of i32, or i64."""
    state: tuple[bytes, bytes] | None
    """Parameters and state before the step, where they are there."""


@dataclass(frozen=True)
class Written:
    """What was written for a prover."""

    steps: int
    bytes: int


def products_path(folder: Path, step: int) -> Path:
    """The sums of a step."""
    return folder / "products" / f"step-{step:010d}.sums"


def is_product(node: Node) -> bool:
    """Whether its sums can be checked in less time than they take to compute."""
    name = node.operator.name
    return node.function == "grad" and name in PRODUCTS and node.named.get("groups", 1) == 1


def product_nodes(listing: Listing) -> dict[int, int]:
    """The nodes whose sums may be recorded, by the number of their value."""
    return {n.outputs[0]: i for i, n in enumerate(listing.nodes) if is_product(n)}


def is_worth_it(node: Node, batch: int) -> bool:
    """Whether a product takes clearly longer than its check, which reads operands and sums once.
    Only the size of files and the time depend on it."""
    shapes = [t.concrete(batch) for t in (*node.input_types, *node.output_types)]
    left, right, made = (math.prod(s) for s in shapes)
    name = node.operator.name
    if name == "matmul":
        work = made * shapes[0][-2 if node.named["transpose_a"] else -1]
    elif name == "matmul_grad_weight":
        work = left * shapes[1][-1]
    else:
        # The kernel is [kh, kw, C, O]; positions are those of the convolution's result.
        height, width, channels, filters = shapes[2 if name == "conv2d_grad_weight" else 1]
        positions = {"conv2d": made, "conv2d_grad_input": left, "conv2d_grad_weight": right}[name]
        work = positions * height * width * channels
        if name == "conv2d_grad_weight":
            left += _WINDOWS * (height + width) * positions // filters
    return work >= _TIMES * (left + right + made)


def write_products(
    run: str | os.PathLike[str] | Replay,
    steps: tuple[int, int] | None = None,
    machine: Machine | None = None,
    progress: bool | None = None,
    every_product: bool = False,
) -> Written:
    """Executes steps ``first..last`` (all by default) of a recorded run again, node by node, from
    the recorded state before them to that behind them, and writes the sums of their products.

    ``run``: its folder, or how it is executed again. Of products that are quicker to compute than
    to check no sums are written, unless ``every_product``. ``progress``: a bar; None: where stderr
    is a terminal."""
    if not isinstance(run, Replay):
        with Replay(run, machine, unfinished=steps is not None) as replay:
            return write_products(replay, steps, machine, progress, every_product)
    done = size = 0
    wanted = intervals(run.trace, steps)
    with progress_bar(sum(b - a for a, b in wanted), "writing sums", progress) as advance:
        for first, last in wanted:
            for step in range(first, last):
                size += _write(run, step, step == first, every_product)
                done += 1
                advance(f"step {step}")
    return Written(done, size)


def _write(replay: Replay, step: int, begins: bool, every_product: bool) -> int:
    batch, nodes = replay.header.batch(step), replay.listing.nodes
    wanted = {
        value: node
        for value, node in product_nodes(replay.listing).items()
        if every_product or is_worth_it(nodes[node], batch)
    }
    state: list[bytes] = []
    if begins and not checkpoint_path(replay.folder, step).exists():
        state = list(replay.state(step))
    sums: dict[int, bytes] = {}
    widths: dict[int, int] = {}
    for value, array in replay.arrays(step):
        if value not in wanted:
            continue
        narrow = array.size == 0 or (_NARROW.min <= array.min() and array.max() <= _NARROW.max)
        width = 4 if narrow else 8
        widths[wanted[value]] = width
        sums[wanted[value]] = np.ascontiguousarray(array, WIDTHS[width]).tobytes()
    order = sorted(sums, key=lambda node: (-widths[node], node))
    header = cbor.encode(
        {
            "run": replay.header.id,
            "step": step,
            "products": [[node, widths[node]] for node in order],
            "state": [len(part) for part in state],
        }
    )
    data = b"".join(
        (MAGIC, len(header).to_bytes(8, "little"), header, *(sums[n] for n in order), *state)
    )
    path = products_path(replay.folder, step)
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, data)
    return len(data)


class Reader:
    """Reads the sums of steps, one after the other, into the same memory."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self._nodes = {node: value for value, node in product_nodes(replay.listing).items()}
        self._memory = np.zeros(0, np.uint8)

    def read(self, step: int, state: bool = False) -> Sums:
        """The sums of a step, until the next call; with ``state`` also the state before it, where
        the file has it. Raises GvmError, with the file, where they are missing, damaged, or of
        another run or program."""
        path = products_path(self.replay.folder, step)
        try:
            with open(path, "rb") as file:
                return self._parse(file, step, state)
        except FileNotFoundError:
            raise GvmError(
                f"{self.replay.folder}: has no sums of step {step}: write them with "
                "gvm trace --products"
            ) from None
        except OSError as error:
            raise GvmError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise GvmError(f"{path}: {error}") from None

    def _parse(self, file: BufferedReader, step: int, state: bool) -> Sums:
        head = file.read(16)
        if head[:8] != MAGIC:
            raise ValueError("not the sums of a step")
        size = int.from_bytes(head[8:], "little")
        data = file.read(size) if size <= MAX_HEADER else b""
        if len(head) < 16 or len(data) != size:
            raise ValueError("the header is cut short")
        body: Any = cbor.decode(data)
        match body:
            case {
                "run": bytes() as run,
                "step": int() as at,
                "products": [*listed],
                "state": [*kept],
            }:
                pass
            case _:
                raise ValueError("the header must have run, step, products and state")
        if run != self.replay.header.id or at != step:
            raise ValueError(f"not the sums of step {step} of this run")
        info = self.replay.native.info()
        if kept not in ([], [info["parameter_bytes"], info["state_bytes"]]):
            raise ValueError("the state must be that of the program")
        places = self._places(listed, step)
        whole = sum(length for _, _, length in places)
        # The wide ones come first, so that each is aligned.
        if len(self._memory) < whole:
            self._memory = np.zeros(whole, np.uint8)
        # In memory before anything is drawn that checks it: nobody can change it any more.
        if file.readinto(self._memory[:whole].data) != whole:
            raise ValueError("it is cut short")
        products, place = [], 0
        for node, width, length in places:
            array = self._memory[place : place + length].view(WIDTHS[width])
            products.append((node, array.astype(array.dtype.newbyteorder("="), copy=False)))
            place += length
        found = None
        if state and kept:
            parts = [file.read(length) for length in kept]
            if [len(part) for part in parts] != kept:
                raise ValueError("it is cut short")
            found = (parts[0], parts[1])
        elif file.seek(0, os.SEEK_END) < 16 + size + whole + sum(kept):
            raise ValueError("it is cut short")
        if file.seek(0, os.SEEK_END) != 16 + size + whole + sum(kept):
            raise ValueError("something follows the last of it")
        return Sums(tuple(sorted(products, key=lambda p: p[0])), found)

    def _places(self, listed: list[Any], step: int) -> list[tuple[int, int, int]]:
        """Node, bytes of a number, and bytes in all of what the header lists."""
        batch, found = self.replay.header.batch(step), []
        for row in listed:
            match row:
                case [int() as node, int() as width] if node in self._nodes and width in WIDTHS:
                    pass
                case _:
                    raise ValueError("products must be numbers of product nodes, and 4 or 8")
            shape = self.replay.listing.entries[self._nodes[node]].shape(batch)
            found.append((node, width, width * math.prod(shape)))
        order = [(-width, node) for node, width, _ in found]
        if order != sorted(set(order)) or len({node for node, _, _ in found}) != len(found):
            raise ValueError("products must be in order, wide ones first, and each once")
        return found


def read_products(replay: Replay, step: int) -> Sums:
    """The sums of one step, and the state before it where its file has it."""
    return Reader(replay).read(step, state=True)
