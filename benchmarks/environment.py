"""Where a measurement was made: machine, compiler, versions, commit and date."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from gvm import _core
from gvm.files import write_bytes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def environment(*packages: str) -> dict[str, Any]:
    """What a reader needs to judge a result; ``packages``: further distributions with versions."""
    return {
        "machine": machine(),
        "system": f"{platform.system()} {platform.machine()}",
        "compiler": compiler(),
        "cpu_level": _core.CPU_LEVELS[_core.cpu_level()],
        "versions": versions("numpy", *packages),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def machine() -> dict[str, Any]:
    """The processor's name and how many of its processors this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "processors": usable}


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found.group(1).strip() if found else platform.machine()


def compiler() -> str:
    """The compiler as it named itself in the extension; ``unknown`` where it left no name."""
    path = Path(str(_core._gvm.__file__))
    found = re.findall(rb"(GCC: \([^)]*\) [\d.]+|clang version [\d.]+)", path.read_bytes())
    return bytes(found[0]).decode() if found else "unknown"


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed distributions; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the source tree, ``-dirty`` where files differ; empty outside of git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    found = git("rev-parse", "--short=12", "HEAD")
    return f"{found}-dirty" if git("status", "--porcelain", "--untracked-files=no") else found


def write_json(name: str, body: dict[str, Any]) -> Path:
    """Writes ``benchmarks/results/<name>.json``, whole or not at all; returns its path."""
    return write_text(f"{name}.json", json.dumps(body, indent=1) + "\n")


def write_text(name: str, text: str) -> Path:
    """Writes a file of ``benchmarks/results``, whole or not at all; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    write_bytes(path, text.encode())
    return path
