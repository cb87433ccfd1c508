"""The same blocks give the same state roots from every adapter, hash seed and Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = [f"python3.{minor}" for minor in range(11, 20)]


def run(python: str, seed: str) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-m", "tests.same_root"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@cache
def here() -> dict[str, Any]:
    return run(sys.executable, "1")


def others() -> dict[str, str]:
    """Other Pythons that could run the chain, by version: of ``GVM_PYTHONS`` and on PATH."""
    named = os.environ.get("GVM_PYTHONS", "").split(os.pathsep)
    paths = [path for path in (*named, *map(shutil.which, NAMES)) if path]
    question = (
        "import sys, blake3, cryptography; print(sys.version_info[:2] >= (3, 11), sys.version)"
    )
    found = {}
    for path in paths:
        done = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False)
        is_fit, _, version = done.stdout.partition(" ")
        if is_fit == "True" and version.split()[0] != sys.version.split()[0]:
            found[version.split()[0]] = path
    return found


def test_function_store_and_engine_agree_under_two_hash_seeds() -> None:
    found = here()
    assert found == run(sys.executable, "2")
    for name, least in (("story", 15), ("simulated", 10)):
        assert found[name]["blocks"] >= least and found[name]["transactions"] >= 20
        assert len(set(found[name]["roots"])) == found[name]["blocks"]


def test_another_python_agrees() -> None:
    pythons = others()
    if not pythons:
        pytest.skip("no other Python with blake3 and cryptography")
    for path in pythons.values():
        assert run(path, "3") == here()
