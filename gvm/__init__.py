"""gvm: training and evaluating neural networks as facts that anyone can recompute."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gvm import metrics, schedules, templates
    from gvm.adaptive import DelayedScaling
    from gvm.api import from_onnx, from_tensorflow, load
    from gvm.errors import GvmError, HostError, ImportModelError, ProgramError
    from gvm.execution import backends
    from gvm.formats import Formats
    from gvm.loss import Loss
    from gvm.model import Model
    from gvm.optimizers import SGD, Adam, AdamW, RMSprop
    from gvm.searching import search
    from gvm.trace.diff import diff
    from gvm.trace.dispute import dispute
    from gvm.trace.verify import verify

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "DelayedScaling",
    "Formats",
    "GvmError",
    "HostError",
    "ImportModelError",
    "QualityWarning",
    "Loss",
    "Model",
    "ProgramError",
    "RMSprop",
    "backends",
    "diff",
    "dispute",
    "from_onnx",
    "from_tensorflow",
    "load",
    "metrics",
    "schedules",
    "search",
    "templates",
    "verify",
]

_HOME = {
    "SGD": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "RMSprop": "optimizers",
    "DelayedScaling": "adaptive",
    "Formats": "formats",
    "GvmError": "errors",
    "HostError": "errors",
    "ImportModelError": "errors",
    "QualityWarning": "doubts",
    "Loss": "loss",
    "Model": "model",
    "ProgramError": "errors",
    "backends": "execution",
    "from_onnx": "api",
    "from_tensorflow": "api",
    "load": "api",
    "search": "searching",
    "diff": "trace.diff",
    "dispute": "trace.dispute",
    "verify": "trace.verify",
}


def __getattr__(name: str) -> Any:
    # Loaded when first used: the declarations of operators need no compiled core.
    if name in ("metrics", "schedules", "templates"):
        return import_module(f"gvm.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gvm' has no attribute {name!r}")
    return getattr(import_module(f"gvm.{_HOME[name]}"), name)
