"""Checkpoints of a run: whole files from which it goes on to the same bits, and the best so far."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gvm.errors import GvmError
from gvm.loss import Loss

if TYPE_CHECKING:
    from gvm.model import Model
    from gvm.program import Program
    from gvm.saturation import Counts
    from gvm.train import TrainingState

Best = tuple[Loss, bytes, bytes, "TrainingState"]


def best_path(path: str | os.PathLike[str]) -> Path:
    """Where the best epoch of a run lies whose checkpoint is ``path``: run.best.dmodel beside
    run.dmodel."""
    given = Path(path)
    return given.with_name(f"{given.stem}.best{given.suffix}")


@dataclass
class Checkpoints:
    """Writes a run to ``path`` every ``every`` steps and after each epoch, and the epoch with the
    lowest validation loss to ``best_path(path)``. Each file replaces the one before when it is
    whole."""

    model: Model
    program: Program
    path: Path
    every: int | None
    written: int | None = None
    """The step of the last checkpoint that this run has written."""
    counts: Callable[[TrainingState], Counts | None] = lambda _: None
    """What was clamped, for files."""

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due in mid-epoch before this step."""
        return self.every is not None and step % self.every == 0

    def write(self, parameters: bytes, state: bytes, training: TrainingState) -> None:
        """Writes where the run stands; a GvmError says which file stays where that fails."""
        self._save(self.path, parameters, state, training)
        self.written = training.step

    def write_best(self, best: Best) -> None:
        """Writes the best epoch so far."""
        self._save(best_path(self.path), *best[1:])

    def _save(self, path: Path, parameters: bytes, state: bytes, training: TrainingState) -> None:
        made = type(self.model)(self.program, parameters, state, training, self.model.info)
        made.saturation = self.counts(training)
        try:
            made.save(path)
        except OSError as error:
            stays = "no checkpoint was written before"
            if self.written is not None:
                stays = f"{self.path} stays as of step {self.written}"
            raise GvmError(
                f"checkpoint {path}, step {training.step}: {error.strerror}; {stays}"
            ) from error


def best_of(
    model: Model, training: TrainingState, path: Path | None, held_needed: bool
) -> Best | None:
    """The best epoch of a run that goes on from the model: the model itself where that is its last
    epoch, else the file beside the checkpoint. Raises GvmError where ``held_needed`` and that file
    does not hold it."""
    checked = [(e.validation, e.epoch) for e in training.epochs if e.validation is not None]
    if not checked:
        return None
    lowest, epoch = checked[0]
    for loss, at in checked[1:]:
        if loss < lowest:
            lowest, epoch = loss, at
    last = training.epochs[-1]
    if (epoch == last.epoch and training.partial is None) or path is None:
        return (
            None
            if last.validation is None
            else (last.validation, model.parameters, model.state, training)
        )
    if not held_needed:
        return lowest, b"", b"", training
    file = best_path(path)
    held = type(model).load(file) if file.is_file() else None
    known = held.training if held is not None else None
    if held is None or known is None or known.epochs != training.epochs[:epoch]:
        raise GvmError(
            f"resume: the best epoch so far is {epoch}, and {file} does not hold it: give no "
            "patience, or put that file back"
        )
    return lowest, held.parameters, held.state, known
