"""Results of the rows: ratios, a table and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cpu import limits
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


def rates_of(body: Mapping[str, Any], threads: int) -> dict[str, float]:
    """What the machine reached: bytes per second of a copy on one thread, and multiply-adds per
    second of the largest product that was measured on so many threads."""
    rates = {"bytes": float(body["bytes_per_second"])}
    reached = [
        1e3 * found["multiply_adds"] / r["milliseconds"][name]
        for r in body["results"]
        if r["row"] == "gemm" and r["threads"] == threads
        for name, found in r.get("limits", {}).items()
    ]
    return rates | ({"multiply_adds": max(reached)} if reached else {})


def short(body: Mapping[str, Any]) -> str:
    """For every row of ours that misses a goal: what it is made of, by counting."""
    lines = []
    for result in ordered(body["results"]):
        missed = {g["contender"] for g in result["goals"] if g["times"] < g["goal"]}
        for contender in [c for c in result["milliseconds"] if c in missed]:
            if "bytes_per_second" not in body:
                continue
            said = limits.sentence(result, contender, rates_of(body, result["threads"]))
            if said:
                threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
                lines.append(
                    f"- {result['row']}, {result['case']}, {contender}, {threads}: {said}.\n"
                )
    if not lines:
        return ""
    return (
        "\nWhat the rows below their goals are made of: multiply-adds and bytes of one run as the "
        "core counts them (bytes without fusion: more than are moved), the tiles of products by "
        "the way they took, and shares of time by operators that run together.\n\n" + "".join(lines)
    )


def markdown(body: Mapping[str, Any]) -> str:
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
    parts.append(short(body))
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
