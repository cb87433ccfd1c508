"""PyTorch's contenders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cpu.data import (
    FRACTION_BITS,
    MOMENTUM,
    RATE,
    in_units,
    operands,
    tanh_input,
    training_batches,
)
from benchmarks.cpu.rows import Case, Runner

Array = NDArray[Any]


def build(kind: str, name: str, case: Case, threads: int, folder: Path) -> Runner:
    """The runner of a row."""
    torch.set_num_threads(threads)
    if kind == "product":
        return product(name, case)
    if kind == "tanh":
        x = torch.from_numpy(tanh_input(case["shape"]).astype(np.float32)) / 2**FRACTION_BITS
        out = torch.empty_like(x)
        return Runner(lambda: torch.tanh(x, out=out), lambda: torch.tanh(x).numpy())
    return training(case, folder)


def product(name: str, case: Case) -> Runner:
    """torch.mm into memory of its own, or oneDNN with weights that it has packed."""
    x, w = (torch.from_numpy(v.astype(np.float32)) for v in operands(case))
    if name == "torch prepacked":
        packed = torch.ops.mkldnn._reorder_linear_weight(w.t().contiguous(), len(x))

        def run() -> Any:
            return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    else:
        if name == "torch bfloat16":
            x, w = x.bfloat16(), w.bfloat16()
        out = torch.empty(x.shape[0], w.shape[1], dtype=x.dtype)

        def run() -> Any:
            return torch.mm(x, w, out=out)

    return Runner(run, lambda: in_units(case["data"], run().float().numpy()))


def network(name: str, weights: list[Array]) -> torch.nn.Sequential:
    """The network of ``benchmarks.mnist`` with Keras' weights."""
    nn = torch.nn
    if name == "mlp":
        made = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(),
            nn.Linear(1000, 10),
        )  # fmt: skip
    else:
        made = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        )  # fmt: skip
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), weights, strict=True):
            if value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            elif value.ndim == 2:
                if value.shape[0] == 800:  # rows are in the order of channels last
                    value = value.reshape(4, 4, 50, -1).transpose(2, 0, 1, 3).reshape(800, -1)
                value = value.T
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return made


def training(case: Case, folder: Path) -> Runner:
    """A step of SGD with momentum, in one fused kernel, as PyTorch has it."""
    with np.load(folder / f"{case['network']}.npz") as file:
        weights = [file[name] for name in file.files]
    model = network(case["network"], weights)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM, fused=True)
    batches = [
        (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(y).long())
        for x, y in training_batches(case["batch"])
    ]
    number = 0

    def run() -> Any:
        nonlocal number
        x, y = batches[number % len(batches)]
        number += 1
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Runner(run, lambda: np.array([float(run())]))
