"""``Model.train``: what a run is asked for, checked, and the program that it trains."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gvm import _core
from gvm.adaptive import DelayedScaling, as_scaling
from gvm.checkpoints import Checkpoints, best_of
from gvm.errors import GvmError
from gvm.examples import open_examples
from gvm.execution import backend_level, thread_count
from gvm.optimizers import SGD, Optimizer
from gvm.program import CANNOT_TRAIN, Program, with_profile
from gvm.scaling import begin_scaling
from gvm.streams import is_stream
from gvm.tensors import Array, convert_parameters
from gvm.train import History, Plan, TrainingState, train
from gvm.updates import with_optimizer

if TYPE_CHECKING:
    from gvm.model import Model

PARAMETERS = 2
Start = tuple[Program, bytes, bytes, TrainingState]


def run_training(
    model: Model,
    x: Any,
    labels: Array | None,
    *,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: int,
    seed: int | None,
    workers: int,
    validation: Any,
    patience: int | None,
    profile: str | None,
    rounding: str | None,
    resume: bool,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: int | None,
    micro_batch: int | None,
    backend: str | None,
    threads: int | None,
    progress: bool | None,
    cluster: str | None = None,
    trace: str | os.PathLike[str] | None = None,
    trace_every: int | None = None,
    scaling: DelayedScaling | str | None = None,
) -> History:
    """``Model.train`` with every option given."""
    sizes = {"epochs": epochs, "batch_size": batch_size, "workers": workers}
    sizes |= {} if micro_batch is None else {"micro_batch": micro_batch}
    sizes |= {} if patience is None else {"patience": patience}
    sizes |= {} if checkpoint_every is None else {"checkpoint_every": checkpoint_every}
    sizes |= {} if trace_every is None else {"trace_every": trace_every}
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, received {value}")
    if model.program.grad is None:
        raise GvmError(CANNOT_TRAIN)
    if cluster not in (None, "ray"):
        raise ValueError(f"cluster must be None or 'ray', received {cluster!r}")
    if seed is not None and not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in [0, 2^64), received {seed}")
    if batch_size > model.program.max_batch:
        most = model.program.max_batch
        raise ValueError(f"batch_size must be at most {most}, received {batch_size}")
    if patience is not None and validation is None:
        raise ValueError("patience needs validation data")
    if checkpoint_every is not None and checkpoint is None:
        raise ValueError("checkpoint_every needs checkpoint, the file to write")
    if trace_every is not None and trace is None:
        raise ValueError("trace_every needs trace, the folder to write")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise GvmError(f"checkpoint {path}: no such folder")
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
        what = "is a folder" if path.is_dir() else "its folder cannot be written to"
        raise GvmError(f"checkpoint {path}: {what}")
    with ExitStack() as opened:
        inputs, targets = opened.enter_context(
            open_examples(model, x, labels, "train", trace is not None)
        )
        checked = None
        if validation is not None:
            xv, yv = (validation, None) if is_stream(validation) else validation
            checked = opened.enter_context(open_examples(model, xv, yv, "validation", False))
        total_steps = epochs * -(-len(inputs[0]) // batch_size)
        scales = as_scaling(scaling)
        program, parameters, state, start = (
            _resumed(model, model.training, optimizer, profile, rounding, seed, scales, total_steps)
            if resume and model.training is not None
            else _begun(model, optimizer, profile, rounding, seed or 0, total_steps, scales)
        )
        level = backend_level(backend)
        used = thread_count(threads)
        plan = Plan(epochs, batch_size, start.seed, workers, micro_batch, used, level, cluster)
        partial = start.partial
        if partial is not None and partial[2] >= len(inputs[0]):
            raise GvmError(
                f"resume: the epoch has taken {partial[2]} examples, the data has {len(inputs[0])}"
            )
        checkpoints = None if path is None else Checkpoints(model, program, path, checkpoint_every)
        recorder = None
        if trace is not None:
            from gvm.trace.recorder import Recorder

            recorder = Recorder(trace, trace_every)
            recorder.begin(
                model, program, inputs, targets, start, plan, resume, (parameters, state)
            )
        best = best_of(model, start, path, patience is not None)
        parameters, state, training, history, counts = train(
            model,
            program,
            inputs,
            targets,
            parameters,
            state,
            start,
            plan,
            checked,
            patience,
            checkpoints,
            best,
            progress,
            recorder,
        )
        model.advance(program, parameters, state, training, counts)
        return history


def _begun(
    model: Model,
    optimizer: Optimizer | None,
    profile: str | None,
    rounding: str | None,
    seed: int,
    total_steps: int,
    scaling: DelayedScaling | None = None,
) -> Start:
    """A run that begins with the model's parameters."""
    narrowed = with_profile(model.program, profile or model.program.profile)
    rounded = narrowed.rounded(rounding or model.program.rounding)
    parameters = convert_parameters(
        model.parameters, _core.Program(model.bytes).tensors(PARAMETERS), rounded.parameters
    )
    scaled, parameters = begin_scaling(rounded, parameters, scaling)
    program = with_optimizer(scaled, optimizer or SGD(), total_steps=total_steps)
    native = _core.Program(program.encode())
    return program, parameters, bytes(native.info()["state_bytes"]), TrainingState(seed, 0, 0)


def _resumed(
    model: Model,
    training: TrainingState,
    optimizer: Optimizer | None,
    profile: str | None,
    rounding: str | None,
    seed: int | None,
    scaling: DelayedScaling | None,
    total_steps: int,
) -> Start:
    """The run that the model stands in; what is asked for must be its own."""
    for what, asked, own in (
        ("profile", profile, model.program.profile),
        ("rounding", rounding, model.program.rounding),
        ("seed", seed, training.seed),
    ):
        if asked is not None and asked != own:
            raise GvmError(f"resume: {what} must be that of the run, {own}, received {asked}")
    own_scaling = None if model.program.scaling is None else model.program.scaling.options
    if scaling is not None and scaling != own_scaling:
        raise GvmError(
            f"resume: scaling must be that of the run, {own_scaling}, received {scaling}"
        )
    if optimizer is None:
        return model.program, model.parameters, model.state, training
    asked_for = with_optimizer(model.program, optimizer, total_steps=total_steps)
    if asked_for.encode() != model.bytes:
        raise GvmError(f"resume: the run has another optimizer than {optimizer}")
    return model.program, model.parameters, model.state, training
