"""Training on a Ray cluster of this machine, one of whose actors is killed on the way:

    python examples/ray_cluster.py [--workers 3]

The parameters are those of a run in one process, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import ray

import gvm


def kill_one(killed: list[int]) -> None:
    """Kills the process of an actor that is at work in a step (Linux)."""
    while not killed:
        time.sleep(0.002)
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if entry.read_bytes().startswith((b"ray::Replica.start", b"ray::Replica.apply")):
                    killed.append(int(entry.parent.name))
                    os.kill(killed[0], signal.SIGKILL)
                    break


def main() -> None:
    """Trains alone, then on the cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    drawn = np.random.default_rng(1)
    x = drawn.normal(0, 1, (4000, 16))
    y = (x[:, :4] * [1, 2, 4, 8] > 0).sum(axis=1)

    def trained(**options: object) -> str:
        model = gvm.templates.mlp((16, 64, 5), calibration=x[:256], labels=y[:256])
        model.train(
            x,
            y,
            optimizer=gvm.SGD(0.1, momentum=0.9),
            epochs=given.epochs,
            batch_size=50,
            **options,
        )
        return model.parameters_id

    alone = trained()
    print("one process:", alone)
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    ray.init(
        num_cpus=given.workers, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}}
    )
    killed: list[int] = []
    threading.Thread(target=kill_one, args=(killed,), daemon=True).start()
    found = trained(workers=given.workers, cluster="ray")
    print("cluster:    ", found, f"(killed: {killed})")
    ray.shutdown()
    sys.exit(found != alone)


if __name__ == "__main__":
    main()
