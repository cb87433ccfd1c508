"""The rows of the table: what is measured, beside whom, and the goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Case = dict[str, Any]

TORCH_MM = ("torch mm",)
PREPACKED = ("torch mm", "torch prepacked", "onnxruntime")
"""float32 products; the last two are given their weights beforehand."""
INFORMATION = ("torch bfloat16", "onnxruntime int8", "gvm float in and out")
"""Measured, with no goal."""

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Keeps PyTorch to AVX2. ONNX Runtime has no such setting and is left out."""


@dataclass(frozen=True)
class Runner:
    """One case of one contender."""

    run: Callable[[], object]
    result: Callable[[], NDArray[Any]]
    """What is compared with the others', after checks of its own."""
    limits: Callable[[], dict[str, Any]] | None = None
    """What a run is made of (``limits.of``); ours only."""


@dataclass(frozen=True)
class Goal:
    """So many times as fast as the fastest of these peers."""

    against: str
    peers: tuple[str, ...]
    times: float


@dataclass(frozen=True)
class Row:
    """Cases measured beside the same contenders; the goal is that of each case."""

    name: str
    title: str
    kind: str
    """Which of ``contenders`` builds it."""
    cases: tuple[Case, ...]
    contenders: tuple[str, ...]
    """Those whose name begins with gvm are ours, the first being the one that the goals are for."""
    goals: dict[str, tuple[Goal, ...]]
    """By name of one of ours."""
    environment: dict[str, str] = field(default_factory=dict)
    """Of the peers' processes."""
    turns: int = 5

    @property
    def ours(self) -> tuple[str, ...]:
        """Contenders of this project."""
        return tuple(c for c in self.contenders if c.startswith("gvm"))


def _products(data: str, shapes: tuple[tuple[int, int, int], ...], **more: Any) -> tuple[Case, ...]:
    return tuple(
        {"label": "x".join(map(str, shape)), "shape": shape, "data": data, **more}
        for shape in shapes
    )


SQUARE = tuple((n, n, n) for n in (512, 1024, 2048))
FEW = tuple((m, 4096, 4096) for m in (1, 8, 64))
BEST = Goal("best float32", PREPACKED, 1.8)
TRAINERS = ("torch", "tensorflow", "tensorflow XLA")
TENSORFLOW = ("tensorflow", "tensorflow XLA")
MLP_GOALS = (Goal("torch", ("torch",), 1.9), Goal("best TensorFlow", TENSORFLOW, 1.6))
LENET_GOALS = (Goal("best TensorFlow", TENSORFLOW, 1.4),)


def _resnet(batch: int, turns: int) -> Row:
    return Row(
        f"resnet50-{batch}",
        f"ResNet-50 inference, batch {batch}",
        "resnet50",
        ({"label": f"batch {batch}", "batch": batch},),
        ("gvm", "gvm stochastic", "gvm float in and out", "onnxruntime", "onnxruntime int8"),
        {
            "gvm": (Goal("ONNX Runtime float32", ("onnxruntime",), 1.7),),
            "gvm stochastic": (Goal("ONNX Runtime float32", ("onnxruntime",), 1.6),),
        },
        turns=turns,
    )


ROWS = (
    Row(
        "gemm",
        "matrix product, stochastic rounding, data as calibrated",
        "product",
        _products("realistic", SQUARE),
        ("gvm", *PREPACKED, "torch bfloat16", "onnxruntime int8"),
        {"gvm": (BEST, Goal("torch.mm", TORCH_MM, 2.0))},
    ),
    Row(
        "gemm-any",
        "matrix product, stochastic rounding, any 16-bit data",
        "product",
        _products("adverse", SQUARE),
        ("gvm", *TORCH_MM),
        {"gvm": (Goal("torch.mm", TORCH_MM, 1.3),)},
    ),
    Row(
        "gemm-few",
        "matrix product of few rows",
        "product",
        _products("realistic", FEW, packed=True),
        ("gvm", *PREPACKED, "torch bfloat16", "onnxruntime int8"),
        {"gvm": (Goal("best float32", PREPACKED, 2.0),)},
    ),
    Row(
        "gemm-avx2",
        "matrix product, AVX2 alone",
        "product",
        _products("realistic", SQUARE[1:2], level=1),
        ("gvm", "torch mm", "torch prepacked"),
        {"gvm": (Goal("best float32", ("torch mm", "torch prepacked"), 1.5),)},
        AVX2,
    ),
    _resnet(1, 5),
    _resnet(16, 3),
    Row(
        "mlp",
        "MLP 784-1000-1000-10, training step, batch 100",
        "training",
        ({"label": "batch 100", "network": "mlp", "batch": 100},),
        ("gvm w16", "gvm w32", *TRAINERS),
        {"gvm w16": MLP_GOALS, "gvm w32": MLP_GOALS},
    ),
    Row(
        "lenet",
        "LeNet-like CNN, training step, batch 100",
        "training",
        ({"label": "batch 100", "network": "cnn", "batch": 100},),
        ("gvm w16", "gvm w32", *TRAINERS),
        {"gvm w16": LENET_GOALS, "gvm w32": LENET_GOALS},
    ),
    Row(
        "tanh",
        "tanh of 2^20 numbers",
        "tanh",
        ({"label": "1024x1024", "shape": (1024, 1024)},),
        ("gvm", "torch"),
        {"gvm": (Goal("torch", ("torch",), 5.0),)},
    ),
)

MEMORY = (
    ("resnet50-1", ("gvm", "onnxruntime")),
    ("resnet50-16", ("gvm", "onnxruntime")),
    ("mlp", ("gvm w16", "gvm w32", "tensorflow", "torch")),
)
"""Peak memory of a process that does nothing but one row, by row and contender."""
START_UP_SECONDS = 1.0
"""``import gvm``, load ResNet-50's .dmodel, first result, in a new process."""
