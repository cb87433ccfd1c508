"""Search for an optimizer of a small classifier: python examples/search.py [--workers 2]

The same trials, losses and ids come out on every machine, for any number of processes.
"""

from __future__ import annotations

import argparse

import numpy as np

import gvm

SPACE = {
    "sgd": {"learning_rate": (1e-3, 1.0, "log"), "momentum": [0.0, 0.9]},
    "adamw": {"learning_rate": (1e-4, 1e-1, "log"), "schedule": ["constant", "cosine"]},
}


def rings(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane and the ring around the origin that each lies in."""
    points = np.random.default_rng(seed).uniform(-1, 1, (count, 2))
    return points, np.minimum((np.hypot(*points.T) * 3).astype(np.int64), 3)


def main() -> None:
    """Searches, then trains with what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--trials", type=int, default=16)
    given = parser.parse_args()
    x, y = rings(2000, 1)
    validation = rings(500, 2)
    model = gvm.templates.mlp((2, 64, 64, 4), calibration=x, labels=y)
    found = gvm.search(
        model, x, y, validation=validation, space=SPACE, trials=given.trials, epochs=3,
        batch_size=50, workers=given.workers,
    )  # fmt: skip
    for trial in found.trials:
        options = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in trial.options.items()
        )
        print(f"{trial.number:2}  {trial.loss}  {trial.optimizer}({options})")
    print("best:", found.best.number)
    model.train(x, y, optimizer=found.optimizer, epochs=3, batch_size=50, seed=found.best.seed)
    assert model.parameters_id == found.best.parameters_id
    print("parameters:", model.parameters_id)


if __name__ == "__main__":
    main()
