"""Commands on recorded runs: ``gvm trace``, ``verify``, ``diff`` and ``dispute``."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gvm.cli_options import Backend, BatchSize, Json, Threads
from gvm.errors import GvmError
from gvm.printing import report

if TYPE_CHECKING:
    from gvm.trace.replay import Machine


class Kind(StrEnum):
    """What of a recorded run is verified."""

    execution = "execution"
    checkpoint = "checkpoint"


Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a recorded run.")]
Steps = Annotated[str | None, typer.Option(metavar="A..B", help="Steps A to B; default: all.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes: moves no bit.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (verify, trace, diff, dispute):
        app.command()(command)


def verify(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A folder, or a .dmodel.")],
    inputs: Annotated[Path | None, typer.Argument(metavar="[X", help="With MODEL.")] = None,
    labels: Annotated[Path | None, typer.Argument(metavar="Y]", help="With MODEL.")] = None,
    expect: Annotated[
        int | None, typer.Option(help="The claimed total of MODEL, an integer.")
    ] = None,
    steps: Steps = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Only so many steps, drawn by --seed.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
    kind: Annotated[
        Kind, typer.Option(help="Execute steps again, or compare checkpoints only.")
    ] = Kind.execution,
    root: Annotated[
        str | None, typer.Option(help="The root that was published: refuse any other run.")
    ] = None,
    backend: Backend = None,
    threads: Threads = None,
    workers: Workers = 1,
    fast: Annotated[
        bool,
        typer.Option(help="Check products, whose sums the run must have, do not execute them."),
    ] = False,
    batch_size: BatchSize = None,
) -> None:
    """Check a recorded run, or a claimed loss of a model on X, Y.

    The exit status is 0 when all is exactly right, 1 when it is not.
    """
    if model.is_dir():
        if (inputs, labels, expect, batch_size) != (None,) * 4:
            raise GvmError(f"{model}: a run has its own data: give no X, Y, --expect, --batch-size")
        machine = _machine(backend, threads, workers)
        if fast:
            if kind is not Kind.execution or workers != 1:
                raise GvmError(f"{model}: --fast is an execution by one process")
            _require_root(model, root)
            _verify_fast(model, steps, sample, seed, machine)
            return
        _verify_run(model, steps, sample, seed, kind, machine, _root(root))
        return
    if inputs is None or labels is None or expect is None:
        raise GvmError(f"{model}: give the folder of a run, or MODEL X Y --expect TOTAL")
    of_runs = (steps, sample, kind, workers, fast, root)
    if of_runs != (None, None, Kind.execution, 1, False, None):
        raise GvmError(
            f"{model}: --steps, --sample, --kind, --workers, --fast and --root are for recorded "
            "runs"
        )
    from gvm.cli import given, load_model, read_pair

    options = given(backend=backend, threads=threads, batch_size=batch_size)
    loss = load_model(model).evaluate(*read_pair(inputs, labels), **options)
    if loss.total != expect:
        print(f"differs: total is {loss.total}, expected {expect}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"equal: total is {loss.total}, {loss.count} examples")


def _verify_run(
    folder: Path,
    steps: str | None,
    sample: int | None,
    seed: int,
    kind: Kind,
    machine: Machine,
    root: bytes | None,
) -> None:
    from gvm.trace.verify import verify, verify_checkpoints

    if kind is Kind.checkpoint:
        print(f"equal: {verify_checkpoints(folder, root).states} checkpoints")
        return
    found = verify(folder, _range(steps), sample, seed, machine, root)
    if found.difference is not None:
        print(f"differs: {found.difference}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"equal: {found.states} states, {found.steps} steps executed")


def _verify_fast(
    folder: Path, steps: str | None, sample: int | None, seed: int, machine: Machine
) -> None:
    from gvm.trace.fast import verify_fast

    found = verify_fast(folder, _range(steps), sample, seed, machine)
    if not found.equal:
        print(f"differs: {found.wrong or found.difference}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"equal: {found}")


def trace(
    run: Run,
    steps: Steps = None,
    products: Annotated[
        bool, typer.Option("--products", help="Write the sums that gvm verify --fast needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a recorded run is, and the roots of steps.

    The root of a step is the hash of the hashes of its values; for it the step is executed again,
    node by node.
    """
    from gvm import _core
    from gvm.trace.file import read_trace
    from gvm.trace.replay import Replay

    asked = _range(steps)
    if products:
        from gvm.trace.products import write_products

        written = write_products(run, asked)
        report({"steps": written.steps, "bytes": written.bytes}, as_json)
        return
    if asked is None:
        found = read_trace(run, unfinished=True)
        header = found.header
        report(
            {
                "root": found.root.hex() if found.ended else "the run has not ended",
                "train_id": header.train.hex(),
                "steps": f"{header.step}..{found.last}",
                "every": header.every,
                "states": len(found.records),
                "examples": header.count,
                "batch_size": header.batch_size,
                "seed": header.seed,
            },
            as_json,
        )
        return
    with Replay(run, unfinished=True) as replay:
        last = replay.trace.last - 1
        if not replay.header.step <= asked[0] <= asked[1] <= last:
            raise GvmError(f"{run}: steps must be in {replay.header.step}..{last}")
        roots = {}
        for step in range(asked[0], asked[1] + 1):
            roots[str(step)] = _core.blake3(replay.value_roots(step)).hex()
        report(roots, as_json)


def diff(
    left: Run,
    right: Run,
    backend: Backend = None,
    threads: Threads = None,
) -> None:
    """Find where two recorded runs part, and which of them this machine computes.

    The exit status is 0 when all that both have is equal, 1 when it is not.
    """
    from gvm.trace.diff import diff as compare

    found = compare(left, right, _machine(backend, threads, 1))
    if found.difference is None:
        print(f"equal: up to step {found.last}")
        return
    print(f"differs: {found.difference}", file=sys.stderr)
    if found.right is not None:
        for folder, right_ in zip((left, right), found.right, strict=True):
            print(f"{folder}: {'is' if right_ else 'is not'} what this machine computes")
    raise typer.Exit(1)


def dispute(
    left: Run,
    right: Run,
    backend: Backend = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Play the dispute between two recorded runs and say which of them is wrong.

    Each is executed again from its own checkpoints. The exit status is 0 when they do not differ,
    1 when one of them is convicted, or both.
    """
    from gvm.trace.dispute import dispute as play

    done = play(left, right, _machine(backend, threads, 1))
    if done is None:
        print("equal: there is nothing to dispute")
        return
    guilty = [str(f) for f, wrong in zip((left, right), done.verdict.guilty, strict=True) if wrong]
    report(
        {
            "where": done.text,
            "wrong": ", ".join(guilty),
            "reason": done.verdict.reason,
            "failures": "; ".join(f for f in done.failures if f),
            "rounds": done.rounds,
            "bytes_sent": max(done.sent),
            "opening_bytes": done.opening,
            "referee_seconds": round(done.seconds, 6),
        },
        as_json,
    )
    raise typer.Exit(1)


def _machine(backend: str | None, threads: int | None, workers: int) -> Machine:
    from gvm.trace.replay import Machine

    return Machine(backend, threads, workers)


def _require_root(folder: Path, text: str | None) -> None:
    from gvm.trace.file import read_trace
    from gvm.trace.verify import require_root

    require_root(read_trace(folder, unfinished=True), _root(text))


def _root(text: str | None) -> bytes | None:
    """A root as 64 hexadecimal digits."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise GvmError(f"--root must be 64 hexadecimal digits, received {text!r}")
    return bytes.fromhex(text)


def _range(steps: str | None) -> tuple[int, int] | None:
    """A..B as two numbers, or A alone."""
    if steps is None:
        return None
    found = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", steps)
    if found is None:
        raise GvmError(f"--steps must be A..B, received {steps!r}")
    first = int(found.group(1))
    return first, int(found.group(2) or first)
