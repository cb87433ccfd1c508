"""What every test shares: the report's header, Hypothesis' settings, where optional data lies."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every machine and every day: a red run is red for everybody.
settings.register_profile(
    "gvm",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=int(os.environ.get("GVM_EXAMPLES", "50")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gvm")

# TensorFlow writes to stderr when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def pytest_report_header() -> list[str]:
    lines = []
    for name in ("numpy", "hypothesis", "tensorflow-cpu"):
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} absent")
    try:
        import gvm

        backends = str(gvm.backends())
    except (ImportError, AttributeError) as error:
        backends = f"not loaded ({error})"
    return [", ".join(lines), f"backends: {backends}"]


def pytest_configure() -> None:
    """GVM_TEST_EXTENSION names another build of the extension to test, and GVM_TEST_LEVELS=devices
    leaves its CPU levels out."""
    extension = os.environ.get("GVM_TEST_EXTENSION")
    if extension is not None:
        spec = importlib.util.spec_from_file_location("gvm._core._gvm", extension)
        assert spec is not None and spec.loader is not None
        sys.modules["gvm._core._gvm"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["gvm._core._gvm"])
    if os.environ.get("GVM_TEST_LEVELS") == "devices":
        from gvm import _core

        devices = tuple(level for level in _core.levels() if level >= _core.DEVICE_LEVEL)
        assert devices, "this build has no device"
        _core.levels = lambda: devices


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Finds a file of the optional data folder, or skips the test: users do not have it."""
    places = [ROOT / "shared", ROOT.parent / "shared"]
    if "GVM_SHARED" in os.environ:
        places.insert(0, Path(os.environ["GVM_SHARED"]))

    def find(name: str) -> Path:
        for place in places:
            if (place / name).exists():
                return place / name
        pytest.skip(f"optional data shared/{name} is absent")

    return find
