"""Results of the rows: ratios, a table and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cpu.rows import ROWS, START_UP_SECONDS, Row
from benchmarks.environment import RESULTS
from gvm.files import replacing

Result = dict[str, Any]


def result_of(row: Row, threads: int, case: int, seconds: Mapping[str, Sequence[float]]) -> Result:
    """The medians of one case, and each goal with the ratio that was reached."""
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    goals = [
        {
            "contender": ours,
            "against": goal.against,
            "goal": goal.times,
            "times": round(min(medians[p] for p in goal.peers) / medians[ours], 3),
        }
        for ours, of_ours in row.goals.items()
        for goal in of_ours
    ]
    return {
        "row": row.name,
        "case": row.cases[case]["label"],
        "threads": threads,
        "milliseconds": {name: round(1e3 * t, 4) for name, t in medians.items()},
        "runs": {name: len(taken) for name, taken in seconds.items()},
        "goals": goals,
    }


def lines_of(result: Result) -> list[list[str]]:
    """Lines of the table under ``HEADER``: one for each goal."""
    row = next(r for r in ROWS if r.name == result["row"])
    made = []
    for g in result["goals"]:
        others = [
            f"{name} {t:.3g}"
            for name, t in result["milliseconds"].items()
            if name != g["contender"]
        ]
        made.append(
            [
                f"{row.title} ({result['case']})",
                str(result["threads"]),
                f"{g['contender']} {result['milliseconds'][g['contender']]:.3g}",
                ", ".join(others),
                g["against"],
                f"{g['goal']:.1f}",
                f"{g['times']:.2f}",
                "yes" if g["times"] >= g["goal"] else "no",
            ]
        )
    return made


BRIEF = ["row", "threads", "beside", "goal", "times"]


def brief(result: Result) -> list[list[str]]:
    """Lines of a narrow table under ``BRIEF``."""
    return [
        [
            f"{result['row']} {result['case']}: {g['contender']}",
            str(result["threads"]),
            g["against"],
            f"{g['goal']:.1f}",
            f"{g['times']:.2f}",
        ]
        for g in result["goals"]
    ]


HEADER = ["work", "threads", "ours, ms", "others, ms", "beside", "goal", "times", "met"]


def table(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(body: Mapping[str, Any], limits: str) -> str:
    """The whole result for people."""
    lines = [HEADER, ["---"] * len(HEADER)]
    for result in ordered(body["results"]):
        lines += lines_of(result)
    about = body["environment"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    memory = [["row", "threads", "contender", "peak MiB"], ["---"] * 4]
    for m in body.get("memory", []):
        memory += [
            [m["row"], str(m["threads"]), name, f"{mib:.0f}"] for name, mib in m["mib"].items()
        ]
    start = body.get("start_up")
    parts = [table(lines)]
    parts.append(
        "\nMedians of runs in turns, each contender in a process of its own that is stopped while "
        "others run; results are compared first. `times`: how many times as fast as the fastest "
        "of those it is beside.\n"
    )
    if len(memory) > 2:
        parts.append("\n" + table(memory))
    if start:
        parts.append(
            f"\nStart-up ({start['what']}): {start['seconds']:.2f} s, goal "
            f"{START_UP_SECONDS:.0f} s.\n"
        )
    parts.append(limits)
    commits = sorted({r["commit"] for r in body["results"]})
    parts.append(
        f"\n{about['machine']['processor']}, {about['machine']['processors']} processors, "
        f"{about['cpu_level']}; {about['compiler']}; {versions}; commit {', '.join(commits)}; "
        f"{about['date']}.\n"
    )
    return "".join(parts)


def ordered(results: Sequence[Result]) -> list[Result]:
    """In the order of the rows."""
    names = [r.name for r in ROWS]
    return sorted(results, key=lambda r: names.index(r["row"]))


def chart(results: Sequence[Result]) -> None:
    """cpu.png: a bar for each goal, on the fewest threads measured, with a mark where it lies."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fewest: dict[tuple[str, str], int] = {}
    for r in results:
        of = (r["row"], r["case"])
        fewest[of] = min(r["threads"], fewest.get(of, r["threads"]))
    shown = [
        (
            f"{r['row']}, {r['case']} ({r['threads']}): {g['contender']} / {g['against']}",
            g["times"],
            g["goal"],
        )
        for r in ordered(results)
        if r["threads"] == fewest[r["row"], r["case"]]
        for g in r["goals"]
    ]
    figure = Figure(figsize=(9, 0.27 * len(shown) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(shown))
    colours = ["#2a6f97" if times >= goal else "#c07f3e" for _, times, goal in shown]
    axes.barh(places, [times for _, times, _ in shown], color=colours, height=0.7)
    for place, (_, times, goal) in zip(places, shown, strict=True):
        axes.plot([goal, goal], [place - 0.42, place + 0.42], color="black", linewidth=1.5)
        axes.text(times, place, f" {times:.2f}", va="center", fontsize=7)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(places, [name for name, _, _ in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast; black: the goal; in brackets: threads")
    axes.margins(x=0.08, y=0.01)
    with replacing(RESULTS / "cpu.png") as file:
        figure.savefig(file, format="png", dpi=130)
