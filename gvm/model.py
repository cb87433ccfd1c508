"""A DModel: a program with its parameters. It runs, evaluates, trains, saves and loads; every
result is an exact integer underneath."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gvm import _core, cbor
from gvm.adaptive import Adaptive, DelayedScaling
from gvm.autodiff import with_loss
from gvm.batch import cut_examples, examples_of
from gvm.calibration import calibrate, calibration_data
from gvm.doubts import told
from gvm.errors import GvmError, ProgramError
from gvm.examples import as_integers
from gvm.execution import backend_level, thread_count
from gvm.exporters import Exports
from gvm.files import write_bytes
from gvm.formats import Formats
from gvm.graph import Graph
from gvm.info import read_info
from gvm.loss import Loss
from gvm.optimizers import Optimizer
from gvm.program import (
    MAX_BATCH,
    ParameterInfo,
    Program,
    Rule,
    compile_graph,
    decode,
    steps_of,
)
from gvm.progress import progress_bar
from gvm.quantize import Quantizer
from gvm.saturation import Counts
from gvm.tensors import (
    Array,
    IntegerTensor,
    pack_parameters,
    unpack,
)
from gvm.train import History, TrainingState, batches
from gvm.training_run import run_training

INPUTS, LABELS, PARAMETERS, STATE, OUTPUTS, TOTALS = range(6)
PREDICT, LOSS, GRAD, APPLY = range(4)
FUNCTIONS = ("predict", "loss", "grad", "apply")
RUN_BATCH = 256
"""Examples that run and evaluate take at a time unless told otherwise: it moves no bit."""


@dataclass(frozen=True)
class Cost:
    """Exact cost of a function for one batch size, known before anything runs and equal on every
    machine."""

    nodes: int
    multiply_adds: int
    bytes_moved: int
    peak_bytes: int


class Model(Exports):
    """A program, its parameters, and where training stands.

    Made by :func:`gvm.from_tensorflow`, :func:`gvm.load` and :meth:`from_graph`.
    """

    def __init__(
        self,
        program: Program,
        parameters: bytes,
        state: bytes = b"",
        training: TrainingState | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.program = program
        self.bytes = program.encode()
        self._native = _core.Program(self.bytes)
        self.parameters = parameters
        self.state = state
        self.training = training
        self.info = dict(info or {})
        self.saturation: Counts | None = None
        self._parameters_id = self._native.parameters_id(parameters)
        self._sessions: dict[tuple[int, int], Any] = {}

    # -- making

    @staticmethod
    def from_graph(
        graph: Graph,
        calibration: Array | Sequence[Array] | None = None,
        loss: str | None = None,
        labels: Array | None = None,
        formats: str | Formats | None = None,
        max_batch: int = MAX_BATCH,
        progress: bool | None = None,
        info: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        check: bool = True,
    ) -> Model:
        """Quantises a real-valued graph.

        ``calibration``: inputs (batch first) from which formats are chosen; a uniform format needs
        none. ``labels`` go with them for the formats of the backward pass: classes are drawn where
        none are given, targets of a mean squared error must be given. ``check``: warn of nodes that
        differ much from real numbers (:class:`gvm.QualityWarning`).
        """
        chosen = formats if isinstance(formats, Formats) else Formats.parse(formats)
        whole = graph if loss is None else with_loss(graph, loss, label_smoothing)
        inputs, given = calibration_data(whole, calibration, labels, chosen)
        quantizer = Quantizer(whole, calibrate(whole, inputs, given, progress), chosen)
        quantized = quantizer.run()
        program = compile_graph(
            quantized.graph, quantized.narrow_bits, max_batch, quantized.moment_bits
        )
        native = _core.Program(program.encode())
        data = pack_parameters(
            [t for t, _, _ in native.tensors(PARAMETERS)],
            [p.data for p in quantized.graph.parameters],
        )
        doubts = {} if chosen.given or not check else told(whole, quantizer, inputs)
        return Model(program, data, info={"loss": loss or "", **(info or {}), **doubts})

    # -- identity and cost

    @property
    def graph_id(self) -> str:
        """BLAKE3 of inference and loss, in hex."""
        return str(self._native.info()["graph_id"].hex())

    @property
    def train_id(self) -> str:
        """BLAKE3 of the whole program with gradient and optimizer, in hex; empty for a model
        without a loss."""
        return str(self._native.info()["train_id"].hex()) if self.program.grad is not None else ""

    @property
    def parameters_id(self) -> str:
        """BLAKE3 of the parameters, in hex."""
        return str(self._parameters_id.hex())

    @property
    def cost(self) -> Cost:
        """Exact cost of inference for one example."""
        return self.cost_of("predict", 1)

    def cost_of(self, function: str, batch: int) -> Cost:
        """Exact cost of predict, loss, grad or apply for a batch."""
        return Cost(**self._native.cost(FUNCTIONS.index(function), batch))

    # -- execution

    def session(self, backend: str | None = None, threads: int | None = None) -> Any:
        """A session with this model's parameters, kept for the next call with the same options."""
        key = (backend_level(backend), thread_count(threads))
        if key not in self._sessions:
            made = _core.Session(self._native, key[1], key[0])
            made.write(PARAMETERS, self.parameters)
            self._sessions[key] = made
        return self._sessions[key]

    def run(
        self,
        x: Array | Sequence[Array],
        *,
        backend: str | None = None,
        threads: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Any:
        """Outputs for inputs of real values (batch first), as real values: one array, or a tuple
        for several outputs."""
        results = self._run(x, backend, threads, batch_size, progress)
        values = tuple(r.real() for r in results)
        return values[0] if len(values) == 1 else values

    def run_integers(
        self,
        x: Array | Sequence[Array],
        *,
        backend: str | None = None,
        threads: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Any:
        """The exact integers of every output with their format: one IntegerTensor, or a tuple."""
        results = self._run(x, backend, threads, batch_size, progress)
        return results[0] if len(results) == 1 else results

    def _run(
        self,
        x: Array | Sequence[Array],
        backend: str | None,
        threads: int | None,
        batch_size: int | None,
        progress: bool | None,
    ) -> tuple[IntegerTensor, ...]:
        inputs = self.quantized_inputs(x)
        session = self.session(backend, threads)
        types = [t for t, _, _ in self._native.tensors(OUTPUTS)]
        parts: list[list[Array]] = [[] for _ in types]
        given = self.program.inputs
        chunks = list(batches(examples_of(inputs, given), self._batch(batch_size)))
        with progress_bar(
            len(chunks), "running", progress if len(chunks) > 1 else False
        ) as advance:
            for part in chunks:
                for kept, made in zip(
                    parts, session.predict(cut_examples(inputs, given, part)), strict=True
                ):
                    kept.append(made)
                advance("")
        return tuple(
            IntegerTensor(
                np.concatenate(p, axis=t.batch_axis or 0) if t.batch_axis is not None else p[0],
                t.fraction_bits,
            )
            for p, t in zip(parts, types, strict=True)
        )

    def evaluate(
        self,
        x: Array | Sequence[Array],
        labels: Array,
        *,
        backend: str | None = None,
        threads: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Loss:
        """The exact loss, rounded to nearest everywhere: the same integer on every machine, for
        every batch size."""
        if self.program.loss is None:
            raise GvmError("the model has no loss: import it with loss=... to evaluate it")
        inputs, targets = self.examples(x, labels, "evaluate", lazy=True)
        session = self.session(backend, threads)
        chunks = list(batches(len(inputs[0]), self._batch(batch_size)))
        sums = []
        with progress_bar(
            len(chunks), "evaluating", progress if len(chunks) > 1 else False
        ) as advance:
            for part in chunks:
                sums.append(
                    Loss(*session.loss([a[part] for a in inputs], [a[part] for a in targets]))
                )
                advance("")
        return Loss.sum(sums)

    def train(
        self,
        x: Any,
        labels: Array | None = None,
        *,
        optimizer: Optimizer | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        seed: int | None = None,
        workers: int = 1,
        cluster: str | None = None,
        validation: Any = None,
        patience: int | None = None,
        profile: str | None = None,
        rounding: str | None = None,
        scaling: DelayedScaling | str | None = None,
        resume: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        micro_batch: int | None = None,
        backend: str | None = None,
        threads: int | None = None,
        progress: bool | None = None,
        trace: str | os.PathLike[str] | None = None,
        trace_every: int | None = None,
    ) -> History:
        """Trains in fixed point: parameters and training state advance. Returns the history.

        ``x``, ``labels``: arrays, batch first; memory-mapped ones stay in their files. ``x`` alone
        may be a ``tf.data.Dataset`` of pairs, which is read once, and so may ``validation``.
        ``seed``: of the order of examples and of rounding, 0 where none is given. ``optimizer``:
        ``SGD()`` where none is given; its learning rate may be one of ``gvm.schedules``.
        ``profile``: "w32" (default) keeps weights with 16 more bits than operators see; "w16"
        stores them as the seeds do. ``rounding``: "stochastic" (default) or "nearest".
        ``scaling``: "delayed" or a ``gvm.DelayedScaling`` lets the formats of gradients follow
        their magnitude. A model that was trained keeps all three.
        ``validation``: inputs and labels whose loss is taken after every epoch. ``patience``: stop
        after so many epochs without a lower one, and keep the parameters of the lowest.
        ``resume``: go on where this model's training stands, up to ``epochs`` in all, with its
        seed, optimizer, profile, rounding and scaling; else a run begins with these parameters.
        ``checkpoint``: a .dmodel that is replaced after every epoch, and after every
        ``checkpoint_every`` steps, from which ``resume`` goes on to the same bits; with
        ``validation`` the best epoch lies beside it (``run.best.dmodel``).
        ``trace``: a folder for the run's trace (docs/traces.md), with the hashes of its state every
        ``trace_every`` steps, by default as often as hashing takes a twentieth of the time.
        ``cluster``: where the other workers are: None for processes of this machine, "ray" for
        actors of the Ray cluster that this process is connected to, or of a local one.
        ``workers``, ``cluster``, ``micro_batch``, ``backend`` and ``threads`` move no bit of the
        result.
        """
        return run_training(
            self,
            x,
            labels,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            workers=workers,
            cluster=cluster,
            validation=validation,
            patience=patience,
            profile=profile,
            rounding=rounding,
            scaling=scaling,
            resume=resume,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            micro_batch=micro_batch,
            backend=backend,
            threads=threads,
            progress=progress,
            trace=trace,
            trace_every=trace_every,
        )

    def advance(
        self,
        program: Program,
        parameters: bytes,
        state: bytes,
        training: TrainingState,
        counts: Counts | None = None,
    ) -> None:
        """Takes over what a run has come to, and what was clamped on its way."""
        self.__init__(program, parameters, state, training, self.info)  # type: ignore[misc]
        self.saturation = counts

    # -- data in and out

    def quantized_inputs(self, x: Array | Sequence[Array], lazy: bool = False) -> list[Array]:
        """Real inputs as the integers that the program declares: scaled, rounded half to even,
        clamped. ``lazy``: of a memory-mapped array examples are read when they are taken."""
        listed = isinstance(x, list | tuple) and (
            len(self.program.inputs) > 1 or any(isinstance(a, np.ndarray) for a in x)
        )
        types = [t for t, _, _ in self._native.tensors(INPUTS)]
        # Inputs of this type are indices.
        whole = [(t.dtype, t.fraction_bits) == ("i32", 0) for t in types]
        return as_integers(list(x) if listed else [x], types, "input", whole, whole, lazy)

    def quantized_labels(self, y: Array, lazy: bool = False) -> list[Array]:
        """Labels as the program declares them: class numbers, or real targets at their format.

        Targets beyond the format are refused: a loss that reads others would be another loss.
        """
        types = [t for t, _, _ in self._native.tensors(LABELS)]
        return as_integers([y], types, "label", [self.program.classifies], [True], lazy)

    def examples(
        self, x: Array | Sequence[Array], y: Array, what: str, lazy: bool = False
    ) -> tuple[list[Array], list[Array]]:
        """Inputs and labels of the same examples as the program's integers; ``what`` names them in
        an error."""
        inputs, labels = self.quantized_inputs(x, lazy), self.quantized_labels(y, lazy)
        if len(inputs[0]) != len(labels[0]):
            raise ProgramError(f"{what}: {len(inputs[0])} inputs but {len(labels[0])} labels")
        return inputs, labels

    def _batch(self, size: int | None) -> int:
        if size is not None and size < 1:
            raise ValueError(f"batch_size must be at least 1, received {size}")
        return min(size or RUN_BATCH, self.program.max_batch)

    def parameter_arrays(self) -> dict[str, IntegerTensor]:
        """Every parameter by name, as exact integers."""
        made = {}
        for (type_, offset, _), p in zip(
            self._native.tensors(PARAMETERS), self.program.info, strict=True
        ):
            made[p.name] = IntegerTensor(
                unpack(self.parameters, type_, offset), type_.fraction_bits
            )
        return made

    def clamp_report(self, session: Any, program: Program | None = None) -> dict[str, int]:
        """Elements that rounding has clamped in a session, by node."""
        report = {}
        of = program or self.program
        for index, name in enumerate(FUNCTIONS):
            function = getattr(of, name)
            if function is None:
                continue
            for i, (step, count) in enumerate(
                zip(steps_of(function), session.clamps(index), strict=True)
            ):
                if count:
                    where = f" {step.label}" if step.label else ""
                    report[f"{name}, node {i} ({step.name}){where}"] = count
        return report

    # -- files

    def save_parameters(self, path: str | os.PathLike[str], kind: str = "float32") -> None:
        """Writes the parameters as .safetensors: "float32", "float64" (exact) or "integers"."""
        from gvm.parameter_files import save_parameters

        save_parameters(self, path, kind)

    def load_parameters(self, path: str | os.PathLike[str]) -> None:
        """Takes the parameters of a .safetensors file that has all of them and no others: real
        values are rounded to the model's formats. Training begins anew from them."""
        from gvm.parameter_files import read_parameters

        parameters = read_parameters(self, path)
        program = replace(self.program, apply=None, state=())
        self.__init__(program, parameters, b"", None, self.info)  # type: ignore[misc]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a .dmodel: whole or not at all."""
        info: dict[str, Any] = {
            "parameters": [
                [p.name, p.trainable, p.narrow_bits, p.gradient, p.moment_bits, *_rule_of(p)]
                for p in self.program.info
            ],
            "count_total": self.program.count_total,
            "training": None if self.training is None else self.training.encoded(),
            "labels": {
                name: [s.label for s in steps_of(getattr(self.program, name))]
                for name in FUNCTIONS
                if getattr(self.program, name) is not None
            },
            "about": {k: v for k, v in self.info.items() if isinstance(v, str | int)},
        }
        if self.program.scaling is not None:
            info["scaling"] = self.program.scaling.encoded()
        if self.saturation is not None:
            info["saturation"] = self.saturation.encoded()
        write_bytes(
            path, _core.write_file(self.bytes, self.parameters, self.state, cbor.encode(info))
        )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Model:
        """Reads a .dmodel; what is not exactly one is refused with a ProgramError that names the
        file."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise GvmError(f"{os.fspath(path)}: {error.strerror}") from error
        try:
            program, parameters, state, info = _core.parse_file(data)
            native = _core.Program(program)
            if len(state) != native.info()["state_bytes"]:
                raise ValueError("state of another size")
            body = read_info(info, native)
            rows = [_parameter_info(row) for row in body["parameters"]]
            parsed = decode(program, rows, body["count_total"], body["labels"])
            if "scaling" in body:
                parsed = replace(parsed, scaling=Adaptive.decoded(body["scaling"]))
            training = None if body["training"] is None else TrainingState.decoded(body["training"])
            made = Model(parsed, parameters, state, training, body["about"])
            if "saturation" in body:
                made.saturation = Counts.decoded(body["saturation"])
            return made
        except ProgramError as error:
            raise ProgramError(f"{os.fspath(path)}: {error}", error.status, error.name) from error
        except (KeyError, TypeError, ValueError, IndexError, StopIteration) as error:
            raise ProgramError(
                f"{os.fspath(path)}: its info section is not one of this version: {error}"
            ) from error


def _rule_of(p: ParameterInfo) -> list[Any]:
    """A rule as a file has it, where there is one."""
    if p.rule is None:
        return []
    return [[p.rule.opcode, list(p.rule.totals), list(p.rule.attributes)]]


def _parameter_info(row: Sequence[Any]) -> ParameterInfo:
    known = ParameterInfo(*row[:5])
    if len(row) < 6:
        return known
    opcode, totals, attributes = row[5]
    return replace(known, rule=Rule(opcode, tuple(totals), tuple(attributes)))
