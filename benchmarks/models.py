"""Real models in one table: imported, run, and compared with TensorFlow or ONNX Runtime.

    python -m benchmarks.models --shared ../shared [--only NAME]... [--resume] [--list]

Trained models on real inputs: ||gvm - float|| / ||float|| at the logits, and how often both name
one class. Random-weight architectures: the same ratio at every node, given the float values of its
inputs; beside the ratio at the logits stands that of a float run into which noise of the size of
every rounding was put. Each model has a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.environment import RESULTS, ROOT, environment, write_json, write_text
from benchmarks.nodes import measure_nodes, relative_error
from benchmarks.zoo import Entry, entries
from gvm.graph import Graph, Value, real_values
from gvm.model import Model
from gvm.progress import progress_bar
from gvm.tensors import Array

GOAL, AGREEMENT = 1e-3, 99.5
NODE_EXAMPLES = 64
"""Examples on which nodes are measured, at most."""
REAL_BATCH = 64
TITLES = (
    "model", "weights", "import s", "import MiB", "graph", "outputs", "logits", "noise",
    "worst node", "top-1 same %", "top-1 %", "float %", "",
)  # fmt: skip
EXPLANATION = (
    "graph: real-valued graph beside the framework; outputs: gvm beside the framework; "
    "logits: gvm beside the real-valued graph; noise: that graph with rounding's noise put in; "
    "worst node: largest error of one node given real inputs; all relative, in norms"
)


def with_logits(graph: Graph) -> tuple[Graph, list[int]]:
    """The graph with what its final softmaxes read among its outputs, and where the logits of each
    output are: the output itself where there is no softmax."""
    producer = graph.producer()
    outputs = list(graph.outputs["predict"])
    found: list[Value] = []
    for v in outputs:
        node = producer.get(v)
        while node is not None and node.op in ("reshape", "transpose"):
            node = producer.get(node.inputs[0])
        found.append(node.inputs[0] if node is not None and node.op == "softmax" else v)
    whole = outputs + [v for v in dict.fromkeys(found) if v not in outputs]
    return (
        replace(graph, outputs={**graph.outputs, "predict": tuple(whole)}),
        [whole.index(v) for v in found],
    )


def compare(entry: Entry, shared: Path, progress: bool) -> dict[str, Any]:
    """One model: what its row says."""
    subject = entry.build(shared, entry.calibration, entry.examples)
    before = _reset_peak()
    clock, processor = time.perf_counter(), time.process_time()
    graph, logits = with_logits(subject.load(subject.calibration))
    model = Model.from_graph(graph, subject.calibration, progress=progress)
    seconds, used = time.perf_counter() - clock, time.process_time() - processor
    peak = _peak()

    expected = [np.asarray(a, dtype=np.float64) for a in subject.run(subject.x)]
    found = model.run(subject.x, progress=progress)
    listed = [np.asarray(a) for a in (found if isinstance(found, tuple) else (found,))]
    real = _real(graph, subject.x, progress)
    few = [a[:NODE_EXAMPLES] for a in subject.x]
    nodes = measure_nodes(model, graph, few, progress=progress)
    worst = max(nodes.nodes, key=lambda n: n.error)
    outputs = len(expected)
    row: dict[str, Any] = {
        "model": entry.name,
        "weights": entry.kind,
        "framework": entry.framework,
        "calibration": len(subject.calibration[0]),
        "examples": len(subject.x[0]),
        "nodes": len(nodes.nodes),
        "parameters": int(sum(p.data.size for p in graph.parameters)),
        "multiply_adds": model.cost.multiply_adds,
        "import_seconds": round(seconds, 2),
        "import_processor_seconds": round(used, 2),
        "import_peak_mib": peak,
        "import_mib_before": before,
        "graph_error": _worst(real[:outputs], expected),
        "output_error": _worst(listed[:outputs], expected),
        "logit_error": _worst([listed[i] for i in logits], [real[i] for i in logits]),
        "noise_error": _worst([nodes.noisy[i] for i in logits], [nodes.real[i] for i in logits]),
        "worst_node_error": worst.error,
        "worst_node": str(worst),
        "nodes_beyond_goal": [
            {"node": str(n), "error": n.error} for n in nodes.nodes if n.error > GOAL
        ],
        "clamped": sum(n.clamped for n in nodes.nodes),
    }
    row |= _classified(listed[0], expected[0], subject.labels)
    row["met"] = _met(row)
    return row


def _worst(found: list[Array], expected: list[Array]) -> float:
    return max(relative_error(f.reshape(e.shape), e) for f, e in zip(found, expected, strict=True))


def _classified(found: Array, expected: Array, labels: Array | None) -> dict[str, float]:
    """Of a classifier: the percentage of examples that both give one class, and the right one."""
    a, b = found.reshape(len(found), -1), expected.reshape(len(expected), -1)
    if a.shape[1] < 3:
        return {}
    classes, real = a.argmax(1), b.argmax(1)
    made = {"agreement": 100 * float(np.mean(classes == real))}
    if labels is not None:
        made["top1"] = 100 * float(np.mean(classes == labels))
        made["top1_float"] = 100 * float(np.mean(real == labels))
    return {k: round(v, 2) for k, v in made.items()}


def _met(row: dict[str, Any]) -> bool:
    if row["weights"] == "random":
        return bool(row["worst_node_error"] <= GOAL)
    return bool(row["logit_error"] <= GOAL and row.get("agreement", 100.0) >= AGREEMENT)


def _real(graph: Graph, x: list[Array], progress: bool) -> list[Array]:
    """The outputs in float64."""
    outputs = graph.outputs["predict"]
    starts = range(0, len(x[0]), REAL_BATCH)
    parts: list[dict[Value, Array]] = []
    with progress_bar(len(starts), "real numbers", progress) as advance:
        for start in starts:
            given = [np.asarray(a[start : start + REAL_BATCH], dtype=np.float64) for a in x]
            values = real_values(graph, given, outputs=outputs)
            parts.append({v: array for v, array in values if v in outputs})
            advance("")
    return [np.concatenate([p[v] for p in parts]) for v in outputs]


# -- memory


def _reset_peak() -> int:
    """Starts the count of peak memory anew where the system can; MiB in use now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """The most memory that this process has held, in MiB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024


# -- the table


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The cells of the table."""
    return [_cells(row) for row in rows]


def _cells(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        first = str(row["error"]).strip().splitlines()
        return [row["model"], row["weights"], *[""] * (len(TITLES) - 3), first[-1][:120]]
    share = ("agreement", "top1", "top1_float")
    return [
        row["model"],
        row["weights"],
        f"{row['import_seconds']:.1f}",
        str(row["import_peak_mib"]),
        *(f"{row[n]:.1e}" for n in ("graph_error", "output_error", "logit_error", "noise_error")),
        f"{row['worst_node_error']:.1e}",
        *(f"{row[n]:.2f}" if n in row else "" for n in share),
        "met" if row["met"] else "missed",
    ]


def markdown(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table as it is committed."""
    lines = ["# Real models", "", EXPLANATION + ".", ""]
    lines += [f"Commit {about['commit']}, {about['date']}, {about['machine']['processor']}.", ""]
    lines += ["| " + " | ".join(TITLES) + " |", "|" + "---|" * len(TITLES)]
    lines += ["| " + " | ".join(cells) + " |" for cells in table(rows)]
    return "\n".join(lines) + "\n"


def _stored() -> dict[str, dict[str, Any]]:
    path = RESULTS / "models.json"
    if not path.is_file():
        return {}
    return {row["model"]: row for row in json.loads(path.read_text())["rows"]}


def _in_a_process(entry: Entry, shared: Path) -> dict[str, Any]:
    """The row of one model, made by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.models", "--shared", str(shared),
             "--only", entry.name, "--row", str(path)],
            cwd=ROOT, capture_output=not sys.stderr.isatty(), text=True, check=False,
        )  # fmt: skip
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        said = (done.stderr or "").strip()
        return _failed(entry, f"the process ended with status {done.returncode}\n{said[-2000:]}")


def _failed(entry: Entry, error: str) -> dict[str, Any]:
    return {"model": entry.name, "weights": entry.kind, "error": error, "met": False}


def main(
    shared: Annotated[Path, typer.Option(help="Folder of data and models.")] = ROOT / "../shared",
    only: Annotated[list[str] | None, typer.Option(help="Models whose names contain this.")] = None,
    resume: Annotated[bool, typer.Option(help="Keep rows of models.json that met.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the models and stop.")] = False,
    row: Annotated[Path | None, typer.Option(help="Write one model's row here.")] = None,
) -> None:
    """Imports, runs and compares every model; status 1 when one fails or misses."""
    chosen = [e for e in entries() if not only or any(o.lower() in e.name.lower() for o in only)]
    if not chosen:
        raise typer.BadParameter(f"no model's name contains {only}")
    if list_:
        Console().print("\n".join(e.name for e in chosen))
        return
    if row is not None:
        (entry,) = [e for e in chosen if only and e.name == only[0]]
        try:
            made = compare(entry, shared, sys.stderr.isatty())
        except Exception as error:  # whatever stops a model is its row
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}".replace(str(shared), shared.name)
            made = _failed(entry, said)
        row.write_text(json.dumps(made))
        return
    rows = _stored()
    about = environment("tensorflow-cpu", "keras", "onnx", "onnxruntime")
    with progress_bar(len(chosen), "models") as advance:
        for entry in chosen:
            if not (resume and rows.get(entry.name, {}).get("met")):
                rows[entry.name] = _in_a_process(entry, shared) | {"commit": about["commit"]}
                kept = [rows[e.name] for e in entries() if e.name in rows]
                write_json("models", {"environment": about, "rows": kept})
            advance(entry.name)
    write_text(
        "models.md", markdown(ordered := [rows[e.name] for e in entries() if e.name in rows], about)
    )
    shown = Table(*TITLES, caption=EXPLANATION)
    for cells in table([r for r in ordered if r["model"] in {e.name for e in chosen}]):
        shown.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 200).print(shown)
    raise typer.Exit(0 if all(rows[e.name]["met"] for e in chosen) else 1)


if __name__ == "__main__":
    typer.run(main)
