"""Where programs run: the names of backends and the number of threads. Neither moves a bit."""

from __future__ import annotations

from gvm import _core
from gvm.errors import GvmError


def backend_level(backend: str | None) -> int:
    """The level of a backend name: cpu (the best here, capped by GVM_CPU), or cpu-scalar, cpu-avx2,
    cpu-avx512; cuda, or cuda:1 ... for the devices after the first."""
    if backend in (None, "cpu"):
        return -1
    names = backends()
    if backend not in names:
        count, why = _core.device_count()
        missing = f" ({why})" if backend.startswith("cuda") and not count else ""
        raise GvmError(f"backend must be one of {', '.join(names)}, received {backend!r}{missing}")
    return _core.levels()[names.index(backend) - 1]


def thread_count(threads: int | None) -> int:
    """Threads as the core counts them: 0 for as many as there are processors."""
    if threads is not None and threads < 0:
        raise ValueError(f"threads must be at least 0, received {threads}")
    return threads or 0


def backends() -> tuple[str, ...]:
    """What this machine can execute on; the first is the default."""
    devices = (
        "cuda" if index == 0 else f"cuda:{index}" for index in range(_core.device_count()[0])
    )
    return ("cpu", *(f"cpu-{_core.CPU_LEVELS[level]}" for level in _core.cpu_levels()), *devices)
