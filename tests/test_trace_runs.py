"""Recording, verifying and comparing runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gvm
from gvm import cli
from gvm import data as datasets
from gvm.errors import GvmError
from gvm.model import Model
from gvm.trace.diff import diff
from gvm.trace.file import MAGIC, NAME, Header, end, linked, read_trace, record
from gvm.trace.recorder import Recorder, checkpoint_path, checkpoint_steps, chosen_interval
from gvm.trace.replay import Machine, Replay
from gvm.trace.verify import verify, verify_checkpoints
from tests.small_networks import CROSS_ENTROPY, examples, labels_for, mlp
from tests.trace_runs import EXAMPLES, at_step, flip, forge, fresh_model, record_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 steps, a record every 4."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    record_run(folder)
    return folder


@pytest.fixture(scope="module")
def wrong(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a flipped bit in step 13, in the last result: a moment."""
    folder = tmp_path_factory.mktemp("runs") / "wrong"
    with Replay(run) as replay:
        value = replay.listing.results[-1]
    forge(run, folder, at_step(13, flip(value, 1, 3)))
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 2, "threads": 1},
        {"backend": "cpu-scalar", "micro_batch": 7},
        {"threads": 2},
    ],
)
def test_traces_are_the_same_file(run: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    record_run(tmp_path / "run", **options)
    assert (tmp_path / "run" / NAME).read_bytes() == (run / NAME).read_bytes()


def test_tracing_moves_no_bit(tmp_path: Path) -> None:
    (x,), y = examples(mlp(), EXAMPLES), labels_for(mlp(), CROSS_ENTROPY, EXAMPLES)
    plain = fresh_model()
    plain.train(
        x, y, epochs=4, batch_size=16, seed=3, optimizer=gvm.SGD(0.1, momentum=0.9), progress=False
    )
    traced = record_run(tmp_path / "run", every=None)
    assert plain.parameters == traced.parameters
    trace = read_trace(tmp_path / "run")
    assert trace.header.every == chosen_interval(traced.program, 16) > 1
    assert list(trace.records) == [*range(0, 28, trace.header.every), 28]


def test_where_steps_stand() -> None:
    hashes = (bytes(32),) * 2
    header = Header(
        bytes(32), bytes(32), hashes, 100, 16, 0, 4, 9, 1, 1, 2, step=10, epoch=2, taken=48
    )
    found = [(header.place(s), header.batch(s)) for s in (10, 13, 14, 20, 21)]
    assert found == [((2, 48), 16), ((2, 96), 4), ((3, 0), 16), ((3, 96), 4), ((4, 0), 16)]


def test_a_run_equals_its_trace(run: Path) -> None:
    found = verify(run)
    assert (found.steps, found.states, found.difference) == (28, 7, None)
    for machine in (Machine("cpu-scalar"), Machine(threads=2), Machine(workers=2)):
        assert verify(run, (9, 14), sample=2, machine=machine).difference is None
    # Steps are executed from the last checkpoint on, up to the record behind them.
    assert verify(run, (5, 6)).steps == 8
    assert verify_checkpoints(run).states == 1


def test_a_fault_is_found_where_it_happened(run: Path, wrong: Path, tmp_path: Path) -> None:
    found = verify(wrong).difference
    assert found is not None
    assert (found.after, found.by, found.name) == (12, 16, "parameter second/b")
    assert found.operator == "momentum"
    assert found.element is None  # there is no checkpoint at 16
    assert verify(wrong, (0, 11)).difference is None
    compared = diff(run, wrong)
    assert compared.difference == found
    assert compared.right == (True, False)
    assert diff(wrong, run).right == (False, True)
    assert diff(run, run).difference is None


def test_values_are_known_at_checkpoints(tmp_path: Path) -> None:
    record_run(tmp_path / "run", every=1)
    assert checkpoint_steps(tmp_path / "run") == [0, 16]
    with Replay(tmp_path / "run") as replay:
        value = replay.listing.results[0]
        (name,) = [p.name for p in replay.program.info][:1]
    forge(tmp_path / "run", tmp_path / "wrong", at_step(15, flip(value, 5, 2)))
    found = verify(tmp_path / "wrong").difference
    assert found is not None
    assert (found.after, found.by, found.name) == (15, 16, f"parameter {name}")
    assert found.element is not None
    assert (found.element.tile, found.element.element) == (0, 5)
    recorded, computed = found.element.values
    assert recorded ^ computed == 4
    compared = diff(tmp_path / "run", tmp_path / "wrong").difference
    assert compared is not None
    assert compared.element is not None
    assert compared.element.values == (computed, recorded)


@pytest.mark.parametrize("steps", [3, 4, 9, 13])
def test_an_interrupted_run_goes_on(run: Path, tmp_path: Path, steps: int) -> None:
    # Stop after some steps with a checkpoint, damage the tail, and go on.
    class StopHere(Exception):
        pass

    folder, file = tmp_path / "run", tmp_path / "m.dmodel"
    (x,), y = examples(mlp(), EXAMPLES), labels_for(mlp(), CROSS_ENTROPY, EXAMPLES)
    written = Model.save

    def stopping(self: Model, path: Any) -> None:
        written(self, path)
        if path == file and self.training is not None and self.training.step == steps:
            raise StopHere

    options: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 16,
        "optimizer": gvm.SGD(0.1, momentum=0.9),
        "progress": False,
        "checkpoint": file,
        "trace": folder,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "save", stopping)
        with pytest.raises(StopHere):
            fresh_model().train(x, y, seed=3, checkpoint_every=1, trace_every=4, **options)
    with pytest.raises(GvmError, match="has no end"):
        verify(folder)
    if steps >= 4:
        assert verify(folder, (0, 3)).difference is None
    with open(folder / NAME, "ab") as tail:
        tail.write(b"\0\x63\0")
    with pytest.raises(GvmError, match="cut short"):
        read_trace(folder)
    Model.load(file).train(x, y, resume=True, **options)
    assert (folder / NAME).read_bytes() == (run / NAME).read_bytes()


def test_more_epochs_continue_a_trace(run: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    record_run(whole, every=5, epochs=4)
    (x,), y = examples(mlp(), EXAMPLES), labels_for(mlp(), CROSS_ENTROPY, EXAMPLES)
    model = record_run(parts, every=5, epochs=3)
    assert read_trace(parts).last == 21
    model.train(x, y, epochs=4, batch_size=16, resume=True, trace=parts, progress=False)
    assert (parts / NAME).read_bytes() == (whole / NAME).read_bytes()


def test_a_trace_belongs_to_one_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(GvmError, match="there is a trace already"):
        record_run(run)
    folder = tmp_path / "run"
    model = record_run(folder)
    (x,), y = examples(mlp(), EXAMPLES), labels_for(mlp(), CROSS_ENTROPY, EXAMPLES)
    again: dict[str, Any] = {"epochs": 5, "resume": True, "trace": folder, "progress": False}
    for options, message in (
        ({"batch_size": 15}, "another run: the batch size"),
        ({"batch_size": 16, "trace_every": 3}, "records every 4 steps, not 3"),
    ):
        with pytest.raises(GvmError, match=message):
            model.train(x, y, **options, **again)
    with pytest.raises(GvmError, match="another run: its data"):
        model.train(x + 1, y, batch_size=16, **again)
    with pytest.raises(ValueError, match="trace_every needs trace"):
        model.train(x, y, trace_every=3)
    recorder = Recorder(folder, None)
    assert recorder.path == folder / NAME


def _damaged(data: bytes) -> dict[str, tuple[bytes, str]]:
    size = 16 + int.from_bytes(data[8:16], "little")
    changed = bytearray(data)
    changed[size + 20] ^= 1
    header = bytearray(data)
    header[40] ^= 1
    state = 9 + 32 * 8 + 32
    return {
        "empty": (b"", "not a trace"),
        "foreign": (b"GVMDATA\1" + data[8:], "not a trace"),
        "head": (data[:30], "header is cut short"),
        "header": (bytes(header), "header|cbor|hash|link"),
        "bit": (bytes(changed), "was changed"),
        "tail": (data[:-5], "cut short"),
        "end": (data[:-41], "has no end"),
        "record": (data[:size] + data[size + state :], "was changed"),
        "kind": (data[:size] + b"\7" + data[size + 1 :], "no record begins here"),
        "more": (data + b"\0", "follows the end"),
        "none": (data[:size], "no record"),
    }


@pytest.mark.parametrize("kind", list(_damaged(bytes(2000))))
def test_damaged_traces_are_refused(run: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    data, message = _damaged((run / NAME).read_bytes())[kind]
    (folder / NAME).write_bytes(data)
    with pytest.raises(GvmError, match=message) as caught:
        verify(folder)
    assert str(folder / NAME) in str(caught.value)


def test_foreign_parts_are_refused(run: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(run, folder)
        return folder

    folder = broken("data")
    loaded = datasets.load(folder / "input-0.gdata")
    datasets.Dataset(loaded.integers + 1, loaded.dtype, loaded.fraction_bits).save(
        folder / "input-0.gdata"
    )
    with pytest.raises(GvmError, match="its data is not that of the trace"):
        verify(folder)
    folder = broken("no data")
    (folder / "label-0.gdata").unlink()
    with pytest.raises(GvmError, match=r"label-0\.gdata: No such file"):
        verify(folder)
    folder = broken("state")
    first = checkpoint_path(folder, 0)
    model = Model.load(first)
    changed = bytearray(model.parameters)
    changed[0] ^= 1
    Model(model.program, bytes(changed), model.state, model.training).save(first)
    with pytest.raises(GvmError, match="not the state that the trace has at step 0"):
        verify(folder)
    folder = broken("program")
    fresh_model().save(checkpoint_path(folder, 0))
    with pytest.raises(GvmError, match="not the program of the trace"):
        verify(folder)
    folder = broken("gone")
    checkpoint_path(folder, 0).unlink()
    with pytest.raises(GvmError, match="No such file"):
        verify(folder)
    with pytest.raises(GvmError, match="no such folder"):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize("count", ["values", "inputs", "parameters"])
def test_counts_are_those_of_the_program(run: Path, tmp_path: Path, count: str) -> None:
    """Whose listing is hashed, not its counts: with a wrong one no honest move could be made."""
    folder, trace = tmp_path / "run", read_trace(run)
    shutil.copytree(run, folder)
    header = replace(trace.header, **{count: getattr(trace.header, count) + 1})
    link, made = header.link, MAGIC + len(header.encoded()).to_bytes(8, "little") + header.encoded()
    for step, root in trace.records.items():
        for part in [record(step, root), *([end(step)] if step == trace.last else [])]:
            link = linked(link, part)
            made += part + link
    (folder / NAME).write_bytes(made)
    with pytest.raises(GvmError, match="values, inputs, parameters and tensors must be"):
        verify(folder)


def test_data_of_another_shape_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    held = datasets.load(folder / "label-0.gdata")
    turned = held.integers.reshape(-1, 2)
    datasets.Dataset(turned, held.dtype, held.fraction_bits).save(folder / "label-0.gdata")
    with pytest.raises(GvmError, match=r"label-0\.gdata: must be int32 \(100,\), received"):
        verify(folder)


def test_other_runs_are_not_compared(run: Path, tmp_path: Path) -> None:
    record_run(tmp_path / "seed", seed=4)
    with pytest.raises(GvmError, match="another seed"):
        diff(run, tmp_path / "seed")
    record_run(tmp_path / "rate", optimizer=gvm.SGD(0.2, momentum=0.9))
    with pytest.raises(GvmError, match="another program"):
        diff(run, tmp_path / "rate")


@pytest.mark.parametrize("steps", [(0, 28), (-1, 3), (5, 4)])
def test_steps_must_be_recorded(run: Path, steps: tuple[int, int]) -> None:
    with pytest.raises(GvmError, match=r"steps must be in 0\.\.27"):
        verify(run, steps)


def test_the_command_line(run: Path, wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*arguments: object) -> tuple[int, str, str]:
        try:
            cli.main([str(a) for a in arguments])
            status = 0
        except SystemExit as left:
            status = int(left.code or 0)
        return status, *capsys.readouterr()

    assert command("verify", run) == (0, "equal: 7 states, 28 steps executed\n", "")
    sampled = command("verify", run, "--steps", "4..11", "--sample", 1, "--seed", 9)
    assert sampled[0] == 0
    assert command("verify", run, "--kind", "checkpoint")[:2] == (0, "equal: 1 checkpoints\n")
    status, _, err = command("verify", wrong)
    assert status == 1
    assert err.startswith("differs: steps 12..16, node ")
    assert "(momentum), parameter second/b" in err
    status, out, err = command("diff", run, wrong)
    assert (status, out) == (
        1,
        f"{run}: is what this machine computes\n{wrong}: is not what this machine computes\n",
    )
    assert command("diff", run, run) == (0, "equal: up to step 28\n", "")
    status, out, _ = command("trace", run, "--json")
    assert (status, '"steps": "0..28"' in out) == (0, True)
    honest = command("trace", run, "--steps", "12..14", "--json")[1]
    assert honest == command("trace", run, "--steps", "12..14", "--json")[1]
    for arguments in (
        ("verify", run, "--steps", "3-4"),
        ("verify", run, "--steps", "3..99"),
        ("verify", run / NAME),
        ("verify", run, "--expect", 3),
        ("trace", run, "--steps", "28"),
        ("diff", run, run.parent),
    ):
        status, _, err = command(*arguments)
        assert (status, err.count("\n")) == (2, 1), arguments
        assert err.startswith("error: ")


def test_a_trace_is_there_with_its_first_record(run: Path, tmp_path: Path) -> None:
    # A crash anywhere before leaves no trace behind, and the run can begin again.
    def crashing(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    for module, name in (("gvm.trace.recorder", "linked"), ("gvm.files.os", "replace")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{module}.{name}", crashing)
            with pytest.raises(KeyboardInterrupt):
                record_run(folder)
        assert not (folder / NAME).exists()
    record_run(folder)
    assert (folder / NAME).read_bytes() == (run / NAME).read_bytes()


def test_the_first_state_is_part_of_the_name(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    model = fresh_model()
    changed = bytearray(model.parameters)
    changed[0] ^= 1
    other = Model(model.program, bytes(changed), model.state, model.training, model.info)
    record_run(folder, model=other)
    mine, theirs = read_trace(run).header, read_trace(folder).header
    assert mine.id != theirs.id
    assert replace(mine, state=theirs.state) == theirs
    with pytest.raises(GvmError, match="begin with other parameters"):
        gvm.dispute(run, folder)
    found = diff(run, folder)
    assert found.difference is not None
    assert (found.last, found.difference.by) == (0, 0)
    # A record that is not the state of the header is refused.
    data = (run / NAME).read_bytes()
    (folder / NAME).write_bytes(with_header(data, theirs))
    with pytest.raises(GvmError, match="not the state that the header begins with"):
        read_trace(folder)


def with_header(data: bytes, header: Header) -> bytes:
    """A trace with another header, and links that follow from it."""
    old = read_header(data)
    at = 16 + len(old.encoded())
    made, link = MAGIC + len(header.encoded()).to_bytes(8, "little") + header.encoded(), header.link
    while at < len(data):
        length = 9 + (header.tensors * 32 if data[at] == 0 else 0)
        link = linked(link, data[at : at + length])
        made += data[at : at + length] + link
        at += length + 32
    return made


def read_header(data: bytes) -> Header:
    return Header.decoded(data[16 : 16 + int.from_bytes(data[8:16], "little")])


def test_how_often_is_not_part_of_the_name(run: Path, wrong: Path, tmp_path: Path) -> None:
    folder = tmp_path / "often"
    record_run(folder, every=3)
    mine, theirs = read_trace(run).header, read_trace(folder).header
    assert (mine.id, mine.every, theirs.every) == (theirs.id, 4, 3)
    assert mine.link != theirs.link
    assert gvm.dispute(folder, run) is None
    found = gvm.dispute(folder, wrong)
    assert found is not None
    assert found.verdict.guilty == (False, True)


def test_a_root_that_was_published(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = read_trace(run).root
    assert verify(run, (0, 3), root=root).difference is None
    assert verify_checkpoints(run, root).states == 1
    with pytest.raises(GvmError, match="another run: its root is " + root.hex()):
        verify(run, (0, 3), root=bytes(32))
    for text, status in ((root.hex(), 0), ("0" * 64, 2), ("7", 2)):
        try:
            cli.main(["verify", str(run), "--steps", "0..3", "--root", text])
            assert status == 0
        except SystemExit as left:
            assert left.code == status
    assert "64 hexadecimal digits" in capsys.readouterr().err
