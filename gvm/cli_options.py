"""The options and arguments of the command line, and what the optimizer's mean."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gvm.errors import GvmError

if TYPE_CHECKING:
    from gvm.optimizers import Optimizer
    from gvm.train import History


class LossName(StrEnum):
    """The losses that an import can attach."""

    softmax_cross_entropy = "softmax_cross_entropy"
    sigmoid_cross_entropy = "sigmoid_cross_entropy"
    mean_squared_error = "mean_squared_error"


class Profile(StrEnum):
    """How wide training keeps weights."""

    w32 = "w32"
    w16 = "w16"


class Rounding(StrEnum):
    """How training rounds."""

    stochastic = "stochastic"
    nearest = "nearest"


class Scaling(StrEnum):
    """How the formats of gradients change."""

    delayed = "delayed"


class OptimizerName(StrEnum):
    """Optimizers."""

    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"
    rmsprop = "rmsprop"


class ScheduleName(StrEnum):
    """How the learning rate falls in a run."""

    constant = "constant"
    step = "step"
    exponential = "exponential"
    cosine = "cosine"


class DataType(StrEnum):
    """Element types of a data set."""

    u8 = "u8"
    i16 = "i16"
    i32 = "i32"


ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A .dmodel file.")]
InputsPath = Annotated[Path, typer.Argument(metavar="X", help="Inputs: .npy or .gdata.")]
LabelsPath = Annotated[Path, typer.Argument(metavar="Y", help="Labels: .npy or .gdata.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="The file to write.")]
Backend = Annotated[str | None, typer.Option(help="A name that `gvm backends` lists.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; default: one per processor.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Examples at a time: moves no bit.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
OptimizerOption = Annotated[OptimizerName | None, typer.Option(help="Default sgd.")]
LearningRate = Annotated[
    float | None, typer.Option(help="Default 0.01 for sgd, 0.001 for the others.")
]
ScheduleOption = Annotated[
    ScheduleName | None,
    typer.Option(
        help="constant; step: a tenth from half and from three quarters of the run on; "
        "exponential: to a hundredth; cosine: to 0."
    ),
]
Warmup = Annotated[int | None, typer.Option(min=1, help="Steps of a linear rise.")]
Momentum = Annotated[float | None, typer.Option(help="Of sgd, in [0, 1); default 0.")]
Nesterov = Annotated[bool, typer.Option("--nesterov", help="Of sgd.")]
WeightDecay = Annotated[
    float | None, typer.Option(help="Of sgd, a term of the gradient, and of adamw.")
]
ClipValue = Annotated[float | None, typer.Option(help="Limit of each mean gradient.")]
ClipNorm = Annotated[float | None, typer.Option(help="Limit of the norm of all gradients.")]
Checkpoint = Annotated[
    Path | None,
    typer.Option(help="A .dmodel, replaced after every epoch; --resume goes on from it."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run", help="A folder for checkpoint.dmodel, history.json and pictures: `gvm inspect`."
    ),
]
CheckpointEvery = Annotated[int | None, typer.Option(min=1, help="And after so many steps.")]
TraceFolder = Annotated[Path | None, typer.Option(help="A folder for the trace of the run.")]
TraceEvery = Annotated[int | None, typer.Option(min=1, help="Steps from record to record.")]
Top = Annotated[
    int | None, typer.Option(min=1, metavar="K", help="Also the hits among the K largest outputs.")
]
Absolute = Annotated[bool, typer.Option("--absolute", help="Also the mean absolute error.")]


def run_files(run: Path, checkpoint: Path | None, history: Path | None) -> tuple[Path, Path]:
    """Where a run with a folder of its own keeps its checkpoint and its history; makes the
    folder."""
    if not run.parent.is_dir():
        raise GvmError(f"{run}: no such folder")
    run.mkdir(exist_ok=True)
    return checkpoint or run / "checkpoint.dmodel", history or run / "history.json"


def draw_run(course: History, run: Path) -> None:
    """Draws a run into its folder, where matplotlib is installed."""
    if find_spec("matplotlib") is None or not course.tensors:
        return
    for kind in ("png", "svg"):
        course.plot(run / f"curves.{kind}")
        course.plot_saturation(run / f"saturation.{kind}")


def choose_optimizer(
    name: str | None,
    learning_rate: float | None,
    schedule: str | None,
    warmup: int | None,
    total_steps: int,
    options: dict[str, Any],
) -> Optimizer | None:
    """The optimizer of these options; None where none was given: the run's own, or the default."""
    from gvm import optimizers, schedules

    if (name, learning_rate, schedule, warmup) == (None,) * 4 and not options:
        return None
    by_name: dict[str, Any] = {
        "sgd": optimizers.SGD,
        "adam": optimizers.Adam,
        "adamw": optimizers.AdamW,
        "rmsprop": optimizers.RMSprop,
    }
    chosen = by_name[name or "sgd"]
    fields = {f.name: f for f in dataclasses.fields(chosen)}
    for option in options:
        if option not in fields:
            raise GvmError(f"--{option.replace('_', '-')}: {name} has none")
    first: Any = fields["learning_rate"].default if learning_rate is None else learning_rate
    rate: float | schedules.Schedule = first
    left = max(1, total_steps - (warmup or 0))
    if schedule == "step":
        rate = schedules.Step(first, sorted({max(1, left // 2), max(2, 3 * left // 4)}))
    elif schedule == "exponential":
        rate = schedules.Exponential(first, left, 0.01)
    elif schedule == "cosine":
        rate = schedules.Cosine(first, left)
    if warmup is not None:
        rate = schedules.Warmup(rate, warmup)
    made: Optimizer = chosen(learning_rate=rate, **options)
    return made
