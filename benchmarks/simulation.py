"""Many seeds of the simulated network: every height decided, no invariant broken, every negative
control and every mutant found.

    python -m benchmarks.simulation [--seeds 2000] [--heights 50] [--wide 300] [--markets 500]
        [--journal FILE] [--networks] [--save]

Runs ``seeds`` networks of 4 validators with 1 faulty and ``wide`` networks of 7 with 2, plays
``markets`` jobs of LBFT against an oracle, then looks for each control of
``chain.simulator.controls`` and each mutant of ``chain.simulator.mutants`` in at most 1 000 seeds.
Status 1 where an invariant broke or one of them was not found. A run with a journal goes on where
it was interrupted, also from another commit if nothing that the networks run has changed since,
and begins behind the recorded seeds under the same condition; results name the commits of their
seeds.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.environment import commit, environment, write_json
from chain.simulator.checks import Violation
from chain.simulator.controls import CONTROLS, find
from chain.simulator.market import Market
from chain.simulator.mutants import MUTANTS
from chain.simulator.mutants import find as find_mutant
from chain.simulator.network import Network, Setting
from gvm.progress import progress_bar

Place = tuple[int, int, int, int]
"""What names a seed's run: validators, faulty, heights, seed; of a market, a control or a mutant 0,
0 to 2, 0 and its number."""


NETWORKS = (
    "gvm/cbor.py",
    "chain/orderer",
    *(f"chain/simulator/{n}.py" for n in ("applications", "checks", "dice", "faults", "network")),
    *(f"chain/{n}.py" for n in ("application", "codec", "evidence", "hashes", "keys")),
    *(f"chain/{n}.py" for n in ("quorum", "votes")),
)
"""What a network of short lists runs: markets run all of the chain."""


def is_same(since: str) -> bool:
    """Whether networks run the same code now as at a commit."""
    command = ["git", "diff", "--quiet", since, "HEAD", "--", *NETWORKS]
    found = subprocess.run(command, cwd=Path(__file__).parents[1], check=False, capture_output=True)
    return found.returncode == 0


Look = Callable[[], tuple[int, str] | None]
"""Looks for the first seed that finds something, and what broke."""


class Journal:
    """The seeds that are done, a line each; without a path they are in memory only."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.commit = path, commit()
        self.rows: dict[Place, dict[str, Any]] = {}
        known: dict[str, bool] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                made = row["commit"]
                if made not in known:
                    known[made] = not made.endswith("-dirty") and is_same(made)
                if made == self.commit or (row["place"][0] > 0 and known[made]):
                    self.rows[tuple(row["place"])] = row

    def keep(self, place: Place, row: dict[str, Any]) -> None:
        """Writes a seed down."""
        row = self.rows[place] = {**row, "place": place, "commit": self.commit}
        if self.path is not None:
            with open(self.path, "a") as file:
                file.write(json.dumps(row) + "\n")

    def once(
        self, kind: int, at: int, look: Callable[[], tuple[int, str] | None]
    ) -> dict[str, Any]:
        """The seed that found a control (1) or mutant (2), and the invariant that broke."""
        place = (0, kind, 0, at)
        if place not in self.rows:
            found = look()
            seed, broken = found if found is not None else (None, None)
            self.keep(place, {"seed": seed, "broken": broken})
        return {name: self.rows[place][name] for name in ("seed", "broken", "commit")}


def place_of(setting: Setting, seed: int) -> Place:
    """What names a seed's run."""
    return setting.validators, setting.faulty, setting.heights, seed


def one(setting: Setting, seed: int) -> dict[str, Any]:
    """What happened in one seed."""
    begin = time.process_time()
    network = Network(seed, setting)
    faults = sorted({host.fault for host in network.hosts if host.fault})
    found: dict[str, Any] = {"seed": seed, "faults": faults, "violation": None}
    try:
        checks = network.run()
    except Violation as violation:
        return found | {"violation": str(violation), "seconds": time.process_time() - begin}
    lives = sum(host.life for host in network.hosts)
    return found | {
        "events": network.count,
        "failed_rounds": checks.rounds,
        "evidence": checks.evidence,
        "crashes": lives,
        "seconds": time.process_time() - begin,
    }


COUNTS = ("events", "failed_rounds", "evidence", "crashes")
RECORDED = Path(__file__).parent / "results" / "simulation.json"


def recorded(setting: Setting) -> dict[str, Any] | None:
    """What is recorded of a setting, if networks run the same code today."""
    if not RECORDED.exists():
        return None
    found = json.loads(RECORDED.read_text())
    shape = (setting.validators, setting.faulty, setting.heights)
    for run in found["runs"]:
        commits = run.setdefault("commits", [found["environment"]["commit"]])
        if (run["validators"], run["faulty"], run["heights"]) == shape:
            return run if all(is_same(commit) for commit in commits) else None
    return None


def added(made: dict[str, Any], sums: dict[str, Any]) -> dict[str, Any]:
    """The sums of more seeds and of the recorded ones."""
    found = {name: made[name] + sums[name] for name in (*COUNTS, "decided", "violations")}
    faults = Counter(made["faults"]) + Counter(sums["faults"])
    return made | {
        **found,
        "commits": sorted({*made["commits"], *sums["commits"]}),
        "faults": dict(sorted(faults.items())),
        "seconds": round(made["seconds"] + sums["seconds"], 1),
    }


def many(setting: Setting, seeds: int, processes: int, journal: Journal) -> dict[str, Any]:
    """All seeds of a setting, summed; seconds are of one processor. The first ones may be those of
    the recorded result."""
    begin, sums = 0, recorded(setting)
    if sums is not None and sums["seeds"] <= seeds:
        begin = sums["seeds"]
    if all(place_of(setting, seed) in journal.rows for seed in range(begin)):
        begin = 0
    title = f"{setting.validators} validators, {setting.faulty} faulty"
    wanted = range(begin, seeds)
    left = [seed for seed in wanted if place_of(setting, seed) not in journal.rows]
    with multiprocessing.Pool(processes) as pool, progress_bar(len(left), title) as advance:
        for row in pool.imap_unordered(partial(one, setting), left, chunksize=4):
            journal.keep(place_of(setting, row["seed"]), row)
            advance("")
    rows = [journal.rows[place_of(setting, seed)] for seed in wanted]
    zoo = Counter(name for row in rows for name in row["faults"])
    decided = [row for row in rows if row["violation"] is None]
    made = {
        "validators": setting.validators,
        "faulty": setting.faulty,
        "heights": setting.heights,
        "seeds": seeds,
        "commits": sorted({row["commit"] for row in rows}),
        "decided": len(decided),
        "violations": sorted((row["seed"], row["violation"]) for row in rows if row["violation"]),
        "faults": dict(sorted(zoo.items())),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    } | {name: sum(row[name] for row in decided) for name in COUNTS}
    return made if sums is None or not begin else added(made, sums)


def other_parts() -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """Markets, controls and mutants as they are recorded, with their commits."""
    found = json.loads(RECORDED.read_text())
    commit_of = {"commit": found["environment"]["commit"]}
    controls = [commit_of | row for row in found["controls"]]
    return found.get("markets"), controls, found.get("mutants", [])


def play(seed: int) -> dict[str, Any]:
    """What happened in one market."""
    begin = time.process_time()
    try:
        outcomes = [outcome.name.lower() for outcome in Market(seed).run()]
    except Violation as violation:
        row: dict[str, Any] = {"outcomes": [], "violation": str(violation)}
    else:
        row = {"outcomes": outcomes, "violation": None}
    return {"seed": seed, "seconds": time.process_time() - begin} | row


def markets(seeds: int, processes: int, journal: Journal) -> dict[str, Any]:
    """All markets, summed."""
    left = [seed for seed in range(seeds) if (0, 0, 0, seed) not in journal.rows]
    with multiprocessing.Pool(processes) as pool, progress_bar(len(left), "markets") as advance:
        for row in pool.imap_unordered(play, left, chunksize=4):
            journal.keep((0, 0, 0, row["seed"]), row)
            advance("")
    rows = [journal.rows[(0, 0, 0, seed)] for seed in range(seeds)]
    outcomes = Counter(name for row in rows for name in row["outcomes"])
    return {
        "seeds": seeds,
        "commit": journal.commit,
        "rounds": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "violations": sorted((row["seed"], row["violation"]) for row in rows if row["violation"]),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 2000,
    heights: Annotated[int, typer.Option(min=1)] = 50,
    wide: Annotated[int, typer.Option(min=1, help="Seeds of 7 validators.")] = 300,
    market: Annotated[int, typer.Option("--markets", min=1, help="Seeds of markets.")] = 500,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    journal: Annotated[Path | None, typer.Option(help="Keep the seeds that are done.")] = None,
    networks: Annotated[
        bool, typer.Option("--networks", help="Leave the other parts as they are recorded.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Write results/simulation.json.")] = False,
) -> None:
    """See the module."""
    kept = Journal(journal)
    if networks:
        played, controls, mutants = other_parts()
    else:
        played = markets(market, processes, kept)
        controls = [
            {"control": one.name} | kept.once(1, at, partial(find, one, range(1000)))
            for at, one in enumerate(CONTROLS)
        ]
        mutants = [
            {"mutant": one.name} | kept.once(2, at, partial(find_mutant, one, range(1000)))
            for at, one in enumerate(MUTANTS)
        ]
    narrow = many(Setting(heights=heights), seeds, processes, kept)
    broad = many(Setting(validators=7, faulty=2, heights=heights), wide, processes, kept)
    result = {
        "environment": environment(),
        "runs": [narrow, broad],
        "markets": played,
        "controls": controls,
        "mutants": mutants,
    }
    for run in (narrow, broad):
        print({name: value for name, value in run.items() if name != "faults"})
    print(played)
    for row in (*controls, *mutants):
        print(row)
    if save:
        write_json("simulation", result)
    broken = [found for run in (narrow, broad, played or {}) for found in run.get("violations", ())]
    if broken or any(row["seed"] is None for row in (*controls, *mutants)):
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
