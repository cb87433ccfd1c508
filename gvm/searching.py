"""Search for an optimizer: trials are short trainings, proposed by Optuna (the extra ``search``).

A trial is a fact: its program, seed and data give its loss, an integer. So is a search: proposals
are drawn from the seed and the trial's number, round by round, so that neither the number of
processes nor an interruption changes them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gvm import _core, optimizers, schedules
from gvm.errors import GvmError
from gvm.files import write_bytes
from gvm.loss import Loss
from gvm.progress import progress_bar
from gvm.trial import LABELS, MODEL, TEST_LABELS, Run, apart, run_trial, save_arrays

if TYPE_CHECKING:
    from gvm.model import Model
    from gvm.tensors import Array

__all__ = ["SPACE", "Search", "Trial", "search"]

OPTIMIZERS: dict[str, type[optimizers.Optimizer]] = {
    "sgd": optimizers.SGD,
    "adam": optimizers.Adam,
    "adamw": optimizers.AdamW,
    "rmsprop": optimizers.RMSprop,
}
SCHEDULES = ("constant", "cosine", "exponential")
SPACE: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"learning_rate": (1e-3, 1.0, "log"), "momentum": [0.0, 0.9]},
    "adam": {"learning_rate": (1e-4, 3e-2, "log")},
}
"""Where ``search`` looks unless told otherwise."""
RANDOM_TRIALS = 8
"""Trials before the sampler reads results."""

Space = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Trial:
    """One training of a search: what gives it, and what it gave."""

    number: int
    optimizer: str
    options: Mapping[str, Any]
    """Of the optimizer, with ``schedule`` among them where the space has one."""
    seed: int
    train_id: str = ""
    """Of the program that trains: model, optimizer and all its constants."""
    parameters_id: str = ""
    """After the last step."""
    loss: Loss | None = None
    """On the validation data; None where the trial failed."""
    error: str = ""

    def row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        exact = None if self.loss is None else list(self.loss.integers)
        return {**asdict(self), "options": dict(self.options), "loss": exact}

    def chosen(self, epochs: int, steps: int) -> optimizers.Optimizer:
        """The optimizer for a run of so many steps."""
        return _optimizer(self.optimizer, self.options, steps)


@dataclass(frozen=True)
class Search:
    """The trials of a search, in the order of their numbers."""

    trials: tuple[Trial, ...]
    epochs: int
    batch_size: int
    steps: int
    """Of a trial."""

    @property
    def best(self) -> Trial:
        """The trial of the lowest loss, compared exactly; of equal ones the first. Raises GvmError
        where none succeeded."""
        best: Trial | None = None
        for trial in self.trials:
            if trial.loss is not None:
                if best is None or best.loss is None or trial.loss < best.loss:
                    best = trial
        if best is None:
            raise GvmError(f"search: no trial succeeded: {self.trials[0].error}")
        return best

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """That of the best trial."""
        return self.best.chosen(self.epochs, self.steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the trials as JSON; whole or not at all."""
        body = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "best": self.best.number,
            "trials": [t.row() for t in self.trials],
        }
        write_bytes(path, (json.dumps(body, indent=1) + "\n").encode())


def search(
    model: Model,
    x: Array | Sequence[Array],
    labels: Array,
    *,
    validation: tuple[Array | Sequence[Array], Array],
    space: Space | None = None,
    trials: int = 16,
    round_size: int = 4,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    workers: int = 1,
    storage: str | os.PathLike[str] | None = None,
    profile: str | None = None,
    rounding: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Search:
    """Trains copies of the model from its parameters with optimizers of ``space``, and ranks them
    by the exact loss on ``validation``. The model itself stays as it is.

    ``space``: by optimizer ("sgd", "adam", "adamw", "rmsprop") its options: a number, a range
    ``(low, high)`` or ``(low, high, "log")``, or a list of choices; ``"schedule"`` may be
    "constant", "cosine" or "exponential" (to a hundredth). Trials, ``trials`` or as many more as
    make whole rounds, are proposed ``round_size`` at a time from the results of earlier rounds.
    ``workers``: processes that train at a time; they move no bit, nor does ``threads``.
    ``storage``: a file of SQLite in which trials are kept: the same search goes on from it, trials
    that were cut off are done again.

    Raises GvmError where Optuna is absent, for a space that is none, and for a storage that holds
    another search. ``pip install 'gvm[search]'``.
    """
    chosen = SPACE if space is None else space
    _check_space(chosen)
    counts = {"trials": trials, "round_size": round_size, "epochs": epochs, "workers": workers}
    for name, value in (counts | {"batch_size": batch_size}).items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, received {value}")
    inputs, targets = model.examples(x, labels, "search")
    tests = model.examples(*validation, "validation")
    steps = epochs * -(-len(targets[0]) // batch_size)
    run = Run(epochs, batch_size, seed, profile, rounding, threads)
    named = {
        "program": _core.blake3(model.bytes).hex(),
        "parameters": model.parameters_id,
        "data": [
            _core.blake3(np.ascontiguousarray(a).tobytes()).hex()
            for a in (*inputs, *targets, *tests[0], *tests[1])
        ],
        "space": json.loads(json.dumps(chosen, sort_keys=True, default=list)),
        "round_size": round_size,
        "run": {k: v for k, v in asdict(run).items() if k != "threads"},
    }
    study = _study(storage, named)
    with (
        tempfile.TemporaryDirectory(prefix="gvm-search-") as folder,
        progress_bar(trials, "search", progress) as advance,
    ):
        place = Path(folder)
        if workers > 1:
            model.save(place / MODEL)
            save_arrays(place, "input", x if isinstance(x, list | tuple) else [x])
            save_arrays(place, "test", _listed(validation[0]))
            np.save(place / LABELS, np.asarray(labels), allow_pickle=False)
            np.save(place / TEST_LABELS, np.asarray(validation[1]), allow_pickle=False)

        def trained(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
            try:
                optimizer = _optimizer(name, options, steps)
                if workers > 1:
                    return apart(place, optimizer, run)
                return run_trial(model, x, labels, validation, optimizer, run)
            except (GvmError, ValueError) as error:
                return {"error": str(error)}

        with ThreadPoolExecutor(workers) as pool:
            while True:
                waiting = _proposed(study, chosen, trials, round_size, seed)
                if not waiting:
                    break
                futures = [
                    (number, pool.submit(trained, name, options))
                    for number, name, options in waiting
                ]
                for number, future in futures:
                    made = future.result()
                    _tell(study, number, made)
                    advance(made["error"] if "loss" not in made else f"loss {_mean(made):.4f}")
    return Search(tuple(_trial(t, seed) for t in _frozen(study)), epochs, batch_size, steps)


def _listed(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def _mean(made: Mapping[str, Any]) -> float:
    return float(Loss(*made["loss"]))


# -- the space


def _check_space(space: Space) -> None:
    if not space:
        raise GvmError("search: the space has no optimizer")
    for name, options in space.items():
        if name not in OPTIMIZERS:
            raise GvmError(
                f"search: an optimizer is one of {', '.join(OPTIMIZERS)}, received {name!r}"
            )
        known = {f.name for f in fields(OPTIMIZERS[name])} | {"schedule"}  # type: ignore[arg-type]
        for option, given in options.items():
            if option not in known:
                raise GvmError(f"search: {name} has no option {option!r}")
            if isinstance(given, tuple) and not _is_range(given):
                raise GvmError(
                    f"search: {name}, {option}: a range is (low, high) or (low, high, 'log') with "
                    f"low < high, received {given!r}"
                )
            if isinstance(given, list) and not given:
                raise GvmError(f"search: {name}, {option}: no choices")
            choices = given if isinstance(given, list) else [given]
            if option == "schedule" and any(c not in SCHEDULES for c in choices):
                raise GvmError(
                    f"search: a schedule is one of {', '.join(SCHEDULES)}, received {given!r}"
                )


def _is_range(given: tuple[Any, ...]) -> bool:
    if len(given) not in (2, 3) or not all(isinstance(v, int | float) for v in given[:2]):
        return False
    low, high = given[:2]
    return bool(low < high and (len(given) == 2 or (given[2] == "log" and low > 0)))


def _optimizer(name: str, options: Mapping[str, Any], steps: int) -> optimizers.Optimizer:
    given = dict(options)
    schedule = given.pop("schedule", "constant")
    made = OPTIMIZERS[name]
    if schedule != "constant":
        default = {f.name: f.default for f in fields(made)}["learning_rate"]  # type: ignore[arg-type]
        rate: Any = given.get("learning_rate", default)
        falling: schedules.Schedule = schedules.Cosine(rate, steps)
        if schedule == "exponential":
            falling = schedules.Exponential(rate, steps, 0.01)
        given["learning_rate"] = falling
    return made(**given)


# -- the study


def _study(storage: str | os.PathLike[str] | None, named: dict[str, Any]) -> Any:
    """Optuna's record of the search, new or that of the storage."""
    try:
        import optuna
    except ImportError:
        raise GvmError("a search needs Optuna: pip install 'gvm[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place: Any = None
    if storage is not None:
        path = Path(storage)
        if not path.parent.is_dir():
            raise GvmError(f"storage {path}: no such folder")
        try:
            place = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
        except Exception as error:
            raise GvmError(f"storage {path}: cannot be opened: {error}") from error
    study = optuna.create_study(storage=place, study_name="gvm", load_if_exists=True)
    known = study.user_attrs.get("search")
    if known is None:
        study.set_user_attr("search", named)
    elif known != named:
        other = next(k for k in named if known.get(k) != named[k])
        raise GvmError(f"storage {storage}: it holds a search with another {other}")
    return study


def _frozen(study: Any) -> list[Any]:
    return sorted(study.get_trials(deepcopy=False), key=lambda t: t.number)


def _proposed(
    study: Any, space: Space, trials: int, round_size: int, seed: int
) -> list[tuple[int, str, dict[str, Any]]]:
    """The trials of the round that is under way: those that were cut off, and as many as it
    lacks."""
    from optuna.samplers import TPESampler
    from optuna.trial import Trial as Proposal
    from optuna.trial import TrialState

    known = _frozen(study)
    open_ = [t for t in known if t.state == TrialState.RUNNING]
    first, end = len(known), -(-len(known) // round_size) * round_size
    if not open_ and first == end and first < trials:
        end += round_size
    made = []
    for number in [*(t.number for t in open_), *range(first, end)]:
        # A sampler of its own: what it proposes depends on no process's past.
        study.sampler = TPESampler(
            seed=(seed * 1_000_003 + number) % 2**32, n_startup_trials=RANDOM_TRIALS
        )
        trial = Proposal(study, known[number]._trial_id) if number < first else study.ask()
        name = trial.suggest_categorical("optimizer", sorted(space))
        options = {
            option: _suggested(trial, f"{name}.{option}", given)
            for option, given in sorted(space[name].items())
        }
        trial.set_user_attr("optimizer", name)
        trial.set_user_attr("options", options)
        made.append((trial.number, name, options))
    return made


def _suggested(trial: Any, name: str, given: Any) -> Any:
    if isinstance(given, list):
        return trial.suggest_categorical(name, given)
    if isinstance(given, tuple):
        return trial.suggest_float(name, given[0], given[1], log=len(given) == 3)
    return given


def _tell(study: Any, number: int, made: Mapping[str, Any]) -> None:
    """Keeps what a trial gave, then closes it."""
    from optuna.trial import TrialState

    (trial_id,) = [t._trial_id for t in _frozen(study) if t.number == number]
    study._storage.set_trial_user_attr(trial_id, "made", dict(made))
    if "loss" in made:
        study.tell(number, _mean(made))
    else:
        study.tell(number, state=TrialState.FAIL)


def _trial(frozen: Any, seed: int) -> Trial:
    held = frozen.user_attrs
    made = held.get("made", {})
    loss = Loss(*made["loss"]) if "loss" in made else None
    return Trial(
        frozen.number,
        held["optimizer"],
        held["options"],
        seed,
        made.get("train_id", ""),
        made.get("parameters_id", ""),
        loss,
        made.get("error", ""),
    )
