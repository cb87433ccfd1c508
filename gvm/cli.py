"""The command line ``gvm``: the Python API, one command per verb.

Bad input ends with one error on stderr and exit status 2; ``gvm verify`` that finds another loss
or another state ends with status 1. ``GVM_TRACEBACK=1`` shows where an error came from.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chain.adapters.cli import app as chain_app
from gvm.cli_inspect import add_commands as inspect_commands
from gvm.cli_inspect import say_doubts, with_doubts
from gvm.cli_options import (
    Absolute,
    Backend,
    BatchSize,
    Checkpoint,
    CheckpointEvery,
    ClipNorm,
    ClipValue,
    DataType,
    InputsPath,
    Json,
    LabelsPath,
    LearningRate,
    LossName,
    ModelPath,
    Momentum,
    Nesterov,
    OptimizerOption,
    Output,
    Profile,
    Rounding,
    RunFolder,
    Scaling,
    ScheduleOption,
    Threads,
    Top,
    TraceEvery,
    TraceFolder,
    Warmup,
    WeightDecay,
    choose_optimizer,
    draw_run,
    run_files,
)
from gvm.cli_trace import add_commands as trace_commands
from gvm.errors import GvmError
from gvm.printing import report, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gvm.loss import Loss
    from gvm.model import Model

app = typer.Typer(
    name="gvm",
    help="Train and evaluate neural networks as exact 16-bit fixed-point integers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(chain_app, name="chain")
trace_commands(app)
inspect_commands(app)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="SavedModel folder, .keras, .h5, .pb, .onnx.")],
    output: Output,
    calibration: Annotated[
        Path | None, typer.Option(help="Typical inputs: they set the formats.")
    ] = None,
    loss: Annotated[LossName | None, typer.Option(help="What training minimises.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of the typical inputs.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(help="'<8,8>' for all, 'weights=<2,14> ...', or a file: {name: bits}."),
    ] = None,
    trainable: Annotated[
        list[str] | None, typer.Option(help="Parameters that train, by name or pattern; else all.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Batch normalisations train, too.")
    ] = False,
) -> None:
    """Quantise a TensorFlow or ONNX model."""
    import gvm
    from gvm.formats import Formats

    if not source.exists():
        raise GvmError(f"{source}: no such file or folder")
    options = given(
        calibration=calibration and read_array(calibration),
        loss=loss and loss.value,
        labels=labels and read_array(labels),
        formats=formats and (formats if "<" in formats else Formats.read(Path(formats))),
        trainable=trainable or None,
        training=training or None,
    )
    load_from = gvm.from_onnx if source.suffix.lower() == ".onnx" else gvm.from_tensorflow
    model = with_doubts(load_from, str(source), **options)
    model.save(output)
    from gvm.describe import identities

    report(identities(model))


@app.command()
def info(
    model: ModelPath,
    as_json: Json = False,
    quality: Annotated[
        Path | None, typer.Option(metavar="X", help="Measure nodes on these inputs instead.")
    ] = None,
    dot: Annotated[Path | None, typer.Option(help="Write a graph for Graphviz.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the nodes.")] = None,
) -> None:
    """Show ids, costs, parameters and nodes.

    Costs are exact, for one example. A node has its operator, the source's name, its result's
    element type, fraction bits and shape, the parameters that it is the first to read, and its
    multiply-adds.
    """
    from gvm import picture
    from gvm.describe import describe, show
    from gvm.files import write_bytes

    loaded = load_model(model)
    if dot is not None:
        write_bytes(dot, picture.dot(loaded).encode())
    if svg is not None:
        write_bytes(svg, picture.svg(loaded).encode())
    if quality is not None:
        from gvm.quality import measure

        rows = [q.row() for q in measure(loaded, read_array(quality))]
        if as_json:
            report({"quality": rows, "doubts": loaded.info.get("doubts", "")}, as_json)
        else:
            table(rows)
            say_doubts(loaded)
        return
    if as_json:
        report(describe(loaded), as_json)
    else:
        show(loaded)


@app.command()
def export(
    model: ModelPath,
    output: Output,
    qdq: Annotated[
        bool, typer.Option("--qdq/--float", help="16-bit integers, or real numbers.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option(help="The .onnx that was imported: gets the weights.")
    ] = None,
) -> None:
    """Write a model as ONNX.

    With --qdq, weights and activations are int16 with QuantizeLinear and DequantizeLinear. With
    --float, the source has its weights replaced; without it, operators are written one by one.
    """
    if output.suffix.lower() != ".onnx":
        raise GvmError(f"{output}: must end in .onnx")
    made = load_model(model).to_onnx(output, source=source, qdq=qdq)
    report({"nodes": len(made.graph.node), "bytes": output.stat().st_size})


@app.command()
def run(
    model: ModelPath,
    inputs: InputsPath,
    output: Output,
    integers: Annotated[bool, typer.Option("--integers", help="Write exact integers.")] = False,
    timed: Annotated[
        bool, typer.Option("--profile", help="Time the steps, on the first batch.")
    ] = False,
    trace: Annotated[
        Path | None, typer.Option(help="Write these times as a Chrome trace (.json).")
    ] = None,
    backend: Backend = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
) -> None:
    """Evaluate a model: writes y = model(x) as .npy."""
    import numpy as np

    from gvm.files import replacing

    loaded = load_model(model)
    options = given(backend=backend, threads=threads, batch_size=batch_size)
    if integers:
        y = loaded.run_integers(read_array(inputs), **options)
        if not isinstance(y, tuple):
            report({"fraction_bits": y.fraction_bits})
            y = y.integers
    else:
        y = loaded.run(read_array(inputs), **options)
    if isinstance(y, tuple):
        raise GvmError(f"{model}: run writes models with one output, received {len(y)}")
    with replacing(output) as file:
        np.save(file, y, allow_pickle=False)
    if timed or trace is not None:
        from gvm.profile import profile

        found = profile(loaded, read_array(inputs), **options)
        if trace is not None:
            found.save_trace(trace)
        table(found.rows())
        report({"batch": found.batch, "milliseconds": round(1e3 * found.seconds, 3)})


@app.command()
def train(
    model: ModelPath,
    inputs: InputsPath,
    labels: LabelsPath,
    output: Output,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs in all.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per step.")] = 32,
    optimizer: OptimizerOption = None,
    learning_rate: LearningRate = None,
    schedule: ScheduleOption = None,
    warmup: Warmup = None,
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    weight_decay: WeightDecay = None,
    clip_value: ClipValue = None,
    clip_norm: ClipNorm = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of order and rounding.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes: moves no bit.")] = 1,
    validation: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="X Y", help="Checked after every epoch.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after epochs without improvement.")
    ] = None,
    profile: Annotated[Profile | None, typer.Option(help="Width of the weights.")] = None,
    rounding: Annotated[Rounding | None, typer.Option(help="While training.")] = None,
    scaling: Annotated[Scaling | None, typer.Option(help="Of gradients' formats.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where MODEL stands.")] = False,
    checkpoint: Checkpoint = None,
    checkpoint_every: CheckpointEvery = None,
    micro_batch: Annotated[
        int | None, typer.Option(min=1, help="Examples at a time: moves no bit.")
    ] = None,
    trace: TraceFolder = None,
    trace_every: TraceEvery = None,
    run: RunFolder = None,
    history: Annotated[Path | None, typer.Option(help="Write epochs: .json or .csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw epochs: .png or .svg.")] = None,
    backend: Backend = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Train a model in fixed point and write the trained one."""

    if run is not None:
        checkpoint, history = run_files(run, checkpoint, history)
    if patience is not None and validation is None:
        raise GvmError("--patience needs --validation X Y")
    for path, suffixes in ((history, (".json", ".csv")), (plot, (".png", ".svg"))):
        if path is not None and path.suffix not in suffixes:
            raise GvmError(f"{path}: must end in {' or '.join(suffixes)}")
    for path in (output, history, plot):
        if path is not None and not path.parent.is_dir():
            raise GvmError(f"{path}: no such folder")
    loaded = load_model(model)
    x, y = read_pair(inputs, labels)
    chosen = choose_optimizer(
        optimizer and optimizer.value,
        learning_rate,
        schedule and schedule.value,
        warmup,
        epochs * -(-len(x) // batch_size),
        given(
            momentum=momentum,
            nesterov=nesterov or None,
            weight_decay=weight_decay,
            clip_value=clip_value,
            clip_norm=clip_norm,
        ),
    )
    course = loaded.train(
        x,
        y,
        optimizer=chosen,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        workers=workers,
        validation=validation and read_pair(*validation),
        patience=patience,
        profile=profile and profile.value,
        rounding=rounding and rounding.value,
        scaling=scaling and scaling.value,
        resume=resume,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        micro_batch=micro_batch,
        backend=backend,
        threads=threads,
        trace=trace,
        trace_every=trace_every,
    )
    loaded.save(output)
    if history is not None:
        course.save(history)
    if plot is not None:
        course.plot(plot)
    if run is not None:
        draw_run(course, run)
    last = course.epochs[-1] if course.epochs else None
    found = {
        "train_id": course.train_id,
        "parameters_id": course.parameters_id,
        "state_id": course.state_id,
        "steps": course.steps,
    }
    if last is not None:
        found |= {"epoch": last.epoch, "loss": last.loss, "accuracy": last.accuracy}
        if last.validation is not None:
            found["validation"] = loss_fields(last.validation)
    report(found, as_json)


@app.command()
def evaluate(
    model: ModelPath,
    inputs: InputsPath,
    labels: LabelsPath,
    backend: Backend = None,
    threads: Threads = None,
    batch_size: BatchSize = None,
    top: Top = None,
    absolute: Absolute = False,
    as_json: Json = False,
) -> None:
    """The exact loss of a model on labelled inputs."""
    from gvm import metrics

    loaded = load_model(model)
    x, y = read_pair(inputs, labels)
    options = given(backend=backend, threads=threads, batch_size=batch_size)
    loss = loaded.evaluate(x, y, **options)
    found = loss_fields(loss) | {"digest": loss.digest(loaded.graph_id, loaded.parameters_id)}
    if top is not None:
        hits = metrics.top_k(loaded, x, y, top, **options)
        found |= {f"top_{top}": hits.total, f"top_{top}_accuracy": float(hits)}
    if absolute:
        error = metrics.mean_absolute_error(loaded, x, y, **options)
        found |= {"absolute_error": error.total, "absolute_error_bits": error.fraction_bits}
        found["mean_absolute_error"] = float(error)
    report(found, as_json)


@app.command()
def data(
    source: Annotated[Path, typer.Argument(metavar="X", help="A .npy file.")],
    output: Output,
    model: Annotated[Path | None, typer.Option(help="Take the format from this model.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="That of MODEL's labels.")] = False,
    dtype: Annotated[DataType | None, typer.Option(help="Element type, without --model.")] = None,
    fraction_bits: Annotated[int, typer.Option(help="F: values are q * 2^-F.")] = 0,
) -> None:
    """Write a data set as exact integers with a name: .gdata."""
    from gvm import data as datasets

    array = read_array(source)
    if model is not None:
        loaded = load_model(model)
        types = loaded.program.labels if labels else loaded.program.inputs
        if len(types) != 1:
            raise GvmError(f"{model}: must have one of that kind, it has {len(types)}")
        made = loaded.quantized_labels(array) if labels else loaded.quantized_inputs(array)
        dataset = datasets.Dataset(made[0], types[0].dtype, types[0].fraction_bits)
    else:
        try:
            dataset = datasets.from_array(array, dtype and dtype.value, fraction_bits)
        except ValueError as error:
            raise GvmError(f"{source}: {error}") from None
    dataset.save(output)
    report({"id": dataset.id, "root": dataset.root.hex(), "count": len(dataset.integers)})


@app.command()
def bench(
    model: ModelPath,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples at a time.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs; the median counts.")] = 9,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Time what this machine can execute on.

    Equal integers are checked first.
    """
    from gvm.timing import time_backends

    report(time_backends(load_model(model), batch_size, repeats, threads), as_json)


@app.command()
def backends() -> None:
    """List what this machine can execute on.

    The first is the default.
    """
    import gvm

    for name in gvm.backends():
        print(name)


def read_array(path: Path) -> NDArray[Any]:
    """The array of a .npy or .gdata file; pickled objects are refused."""
    import numpy as np

    if path.suffix == ".gdata":
        from gvm import data as datasets

        return datasets.load(path).reals()
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):  # of another kind, cut short, or of Python objects
        raise GvmError(f"{path}: not a whole .npy file of numbers") from None
    if not isinstance(array, np.ndarray):
        raise GvmError(f"{path}: must hold one array, received an .npz archive")
    return array


def read_pair(inputs: Path, labels: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and labels of the same examples."""
    x, y = read_array(inputs), read_array(labels)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise GvmError(
            f"{inputs}, {labels}: inputs and labels must have equal lengths, "
            f"received shapes {x.shape} and {y.shape}"
        )
    return x, y


def load_model(path: Path) -> Model:
    """The model of a .dmodel file."""
    import gvm

    return gvm.load(path)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: the API has the defaults."""
    return {name: value for name, value in options.items() if value is not None}


def loss_fields(loss: Loss) -> dict[str, Any]:
    """An exact loss and what people read in it."""
    exact = {"total": loss.total, "count": loss.count, "correct": loss.correct}
    return exact | {"loss": float(loss), "accuracy": loss.accuracy}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; bad input gives one error and exit status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        app(args=arguments)
    except (GvmError, ValueError, OSError, ImportError, MemoryError) as error:
        if os.environ.get("GVM_TRACEBACK") == "1":
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(2)


def _message(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        return f"the package {package!r} is needed: pip install 'gvm[tensorflow,plot,chain]'"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    main()
