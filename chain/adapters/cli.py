"""``gvm chain``: a devnet, a look into a node's folder, and an application for CometBFT."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gvm.errors import GvmError

if TYPE_CHECKING:
    from chain.adapters.explorer import Explorer

app = typer.Typer(
    help="Train by consensus: a devnet, and a look into a node's folder.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(metavar="NODE", help="A node's folder.")]


@app.command()
def devnet(
    validators: Annotated[int, typer.Option(min=4, help="Processes that order blocks.")] = 4,
    trainers: Annotated[int, typer.Option(min=1, help="The 2nd lies, the 3rd copies.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")] = 5,
    folder: Annotated[
        Path | None, typer.Option("--folder", "-o", help="Keep the nodes' folders here.")
    ] = None,
    data: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="X Y", help="u8 images, labels: .npy.")
    ] = None,
    conspiracy: Annotated[
        bool, typer.Option(help="In the first round all nodes certify what the 2nd trainer claims.")
    ] = False,
    late: Annotated[
        bool, typer.Option(help="A further node joins later, from a snapshot of the others.")
    ] = False,
    remote: Annotated[
        bool, typer.Option(help="The 1st trainer has no node: it takes part over HTTP.")
    ] = False,
    kill: Annotated[bool, typer.Option(help="Kill a validator and start it again.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Draw the loss: .png or .svg.")] = None,
) -> None:
    """Train a model by LBFT between real processes on this machine."""
    from rich.console import Console

    from chain.adapters import devnet as network
    from chain.adapters.setup import Plan, make, read_data

    check_plot(plot)
    # A table needs its columns whole where no terminal says how wide it is.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    arrays = read_data(*(data or (None, None)))
    with tempfile.TemporaryDirectory(prefix="gvm-devnet-") as temporary:
        where = folder or Path(temporary)
        plan = Plan(
            where, validators, trainers, rounds, conspiracy=conspiracy, late=late, remote=remote
        )
        make(plan, arrays)
        explorer = network.run(plan, console, kill)
        console.print(network.verdicts(plan, explorer))
        console.print(network.balances(plan, explorer))
        console.print(
            f"{plan.processes} stores are equal, block by block; state {explorer.status()['state']}"
        )
        if plot is not None:
            draw(explorer, plot)


@app.command()
def show(
    node: Folder,
    plot: Annotated[Path | None, typer.Option(help="Draw the loss: .png or .svg.")] = None,
) -> None:
    """Where a node's chain is; every block is checked on the way."""
    check_plot(plot)
    explorer = opened(node)
    report(explorer.status())
    if plot is not None:
        draw(explorer, plot)


@app.command()
def block(node: Folder, height: Annotated[int, typer.Argument(min=1)]) -> None:
    """One block with its transactions."""
    report(opened(node).block(height))


@app.command()
def account(node: Folder, name: Annotated[str, typer.Argument(help="64 hex digits.")]) -> None:
    """One account."""
    report(opened(node).account(parse(name)))


@app.command()
def job(
    node: Folder,
    name: Annotated[str | None, typer.Argument(help="64 hex digits; default: the first.")] = None,
) -> None:
    """One job with its rounds."""
    explorer = opened(node)
    names = [key for key, _ in explorer.state.jobs.items()]
    if name is None and not names:
        raise GvmError(f"{node}: holds no job")
    report(explorer.job(names[0] if name is None else parse(name)))


@app.command()
def abci(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds genesis.cbor and model.dmodel.")
    ],
    address: Annotated[
        str, typer.Option(help="tcp://HOST:PORT or unix://PATH.")
    ] = "tcp://127.0.0.1:26658",
    snapshots: Annotated[
        int, typer.Option(min=0, help="Blocks between snapshots; 0 makes none.")
    ] = 1000,
    checkers: Annotated[
        int, typer.Option(min=0, help="Processes that check the signatures of a block.")
    ] = 0,
) -> None:
    """Serve the state machine to CometBFT v0.38 as an ABCI 2.0 application."""
    import asyncio

    from chain.adapters.abci.server import Server
    from chain.adapters.abci.setup import opened_application

    server = Server(opened_application(folder, snapshots, checkers))
    try:
        asyncio.run(server.run(address))
    except ValueError as error:
        raise GvmError(f"--address: {error}") from None


@app.command()
def snapshot(
    node: Folder,
    to: Annotated[Path, typer.Option("--to", "-o", help="The file to write.")],
) -> None:
    """Write a node's newest snapshot to a file, for a node that is to begin from it."""
    from chain.adapters.statesync import write_bundle
    from chain.adapters.store import Store
    from gvm.files import write_bytes

    store = Store(node, read_only=True)
    heights = store.snapshots()
    if not heights:
        raise GvmError(f"{node}: holds no snapshot")
    write_bytes(to, write_bundle(*store.snapshot(heights[0])))
    report({"height": heights[0], "file": str(to), "bytes": to.stat().st_size})


@app.command()
def restore(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds genesis.cbor and model.dmodel.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot.")],
    trust: Annotated[
        str | None, typer.Option(metavar="HEIGHT:HASH", help="The block above it, if you know it.")
    ] = None,
) -> None:
    """Let a new node begin from a snapshot's state; it is checked first."""
    from chain.adapters.statesync import Trust, restored

    base = restored(folder, file, None if trust is None else Trust.read(trust))
    report({"height": base.state.height, "block": base.state.parent.hex()})


@app.command()
def serve(
    node: Folder,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Serve a node's store as JSON over HTTP: blocks, accounts, jobs, proofs, transactions."""
    try:
        import uvicorn

        from chain.adapters.rpc.api import make_app
    except ImportError as error:
        raise GvmError(f"serve needs pip install 'gvm[rpc]': {error}") from None
    if not (node / "chain.sqlite").exists():
        raise GvmError(f"{node}: no chain is here")
    uvicorn.run(make_app(node), host=host, port=port, limit_concurrency=64, log_level="warning")


@app.command()
def agent(
    rpc: Annotated[str, typer.Option(metavar="URL", help="A node's interface (serve).")],
    key: Annotated[Path, typer.Option(help="A file with a secret of 64 hex digits.")],
    genesis: Annotated[str, typer.Option(help="The hash of the chain's genesis.")],
    folder: Annotated[Path, typer.Option(help="Keeps what the agent has signed and made.")],
    role: Annotated[str, typer.Option(help="trainer or service.")] = "trainer",
    data: Annotated[
        Path | None, typer.Option(help="A trainer's labelled examples (train.cbor).")
    ] = None,
    job: Annotated[str | None, typer.Option(help="64 hex digits; default: the only one.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the node.")] = 10,
    pause: Annotated[float, typer.Option(min=0.01, help="Seconds between questions.")] = 0.2,
) -> None:
    """Take part in a job without a node: train, or verify and confirm, over a node's HTTP."""
    from chain.adapters.rpc.remote import Http, connected

    remote = connected(
        Http(rpc), key, folder, parse(genesis), None if job is None else parse(job), wait
    )
    if role == "trainer":
        if data is None:
            raise GvmError("a trainer needs --data")
        remote.trainer(data.read_bytes())
    elif role == "service":
        remote.service()
    else:
        raise GvmError(f"--role must be trainer or service, received {role!r}")
    remote.run(pause, lambda line: print(line, flush=True))


@app.command()
def abci_setup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    validators: Annotated[int, typer.Option(min=1, help="Engines.")] = 1,
) -> None:
    """Write folders for CometBFT with a genesis like the devnet's: for trying out only."""
    from chain.adapters.abci.setup import make_homes
    from chain.adapters.setup import read_data

    make_homes(folder, validators, read_data(None, None))


def parse(name: str) -> bytes:
    """A 32-byte name from hex."""
    try:
        found = bytes.fromhex(name)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise GvmError(f"a name has 64 hex digits, received {name!r}")
    return found


def opened(folder: Path) -> Explorer:
    """An explorer that has applied every block of a folder."""
    from chain.adapters.explorer import Explorer

    explorer = Explorer(folder)
    explorer.follow()
    return explorer


def report(values: dict[str, Any]) -> None:
    """Prints JSON."""
    print(json.dumps(values, indent=1))


def check_plot(path: Path | None) -> None:
    """Refuses what nothing can be drawn to, before anything runs."""
    if path is not None and path.suffix not in (".png", ".svg"):
        raise GvmError(f"{path}: must end in .png or .svg")


def draw(explorer: Explorer, path: Path) -> None:
    """The loss of parents and winners over the rounds of the first job."""
    import io

    from chain.adapters.explorer import losses
    from gvm.files import write_bytes

    name, _ = next(explorer.state.jobs.items())
    points = losses(explorer.results(name))
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, at in (("parent", 1), ("winner", 2)):
        axes.plot([p[0] for p in points], [p[at] / 2**24 for p in points], marker="o", label=label)
    axes.set_xlabel("round")
    axes.set_ylabel("total loss on the drawn fold")
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, format=path.suffix[1:], bbox_inches="tight")
    pyplot.close(figure)
    write_bytes(path, out.getvalue())
