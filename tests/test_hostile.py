"""Hostile files, programs and callers from Python: one clear error each, never a crash."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gvm
from gvm import _core, cbor
from gvm.errors import GvmError, HostError, ProgramError
from gvm.graph import Builder
from gvm.model import Model
from gvm.types import Type, i16, i64
from tests import hand_written
from tests.hand_written import INPUTS, LABELS, PARAMETERS, STATE, Array, load, trained

Parts = tuple[bytes, bytes, bytes, bytes]
X = np.linspace(-1.0, 1.0, 36).reshape(12, 3)
Y = np.arange(12) % 2


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small model that has been trained."""
    g = Builder()
    w = g.parameter("w", np.array([[0.5, -0.5], [0.25, 1.0], [-1.0, 0.125]]))
    b = g.parameter("b", np.zeros(2))
    graph = g.graph(predict=(g.bias_add(g.matmul(g.input("x", (-1, 3)), w), b),))
    model = Model.from_graph(graph, X, "softmax_cross_entropy", Y, progress=False, max_batch=16)
    optimizer = gvm.SGD(0.1, momentum=0.9)
    model.train(X, Y, optimizer=optimizer, epochs=2, batch_size=4, progress=False)
    path = tmp_path_factory.mktemp("model") / "small.dmodel"
    model.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def parts(file: bytes) -> Parts:
    made: Parts = _core.parse_file(file)
    return made


def flips(data: bytes, *patterns: int) -> Iterator[bytes]:
    """The bytes with each one changed in turn."""
    for at in range(len(data)):
        for pattern in patterns:
            yield data[:at] + bytes([data[at] ^ pattern]) + data[at + 1 :]


def survive(path: Path, data: bytes) -> bool:
    """Loads a file and uses all of it. An error must be one of gvm's own and name the file."""
    path.write_bytes(data)
    try:
        model = gvm.load(path)
    except ProgramError as error:
        assert str(error).startswith(f"{path}: "), error
        return False
    for use in (
        lambda: model.run(X),
        lambda: model.evaluate(X, Y),
        lambda: model.train(X[:4], Y[:4], batch_size=4, progress=False),
        lambda: model.parameter_arrays(),
        lambda: model.save(path),
    ):
        try:
            use()
        except (GvmError, ValueError):
            continue
    return True


# -- files


def test_a_truncated_file_is_refused(file: bytes, tmp_path: Path) -> None:
    for end in range(len(file)):
        with pytest.raises(ProgramError) as caught:
            _core.parse_file(file[:end])
        assert caught.value.name == "bad_file"
    for end in (0, 1, 63, 64, 95, 96, len(file) - 1):
        assert not survive(tmp_path / "cut.dmodel", file[:end])


def test_a_damaged_file_is_refused(file: bytes, tmp_path: Path) -> None:
    for damaged in flips(file, 0x01, 0x20, 0x80, 0xFF):
        with pytest.raises(ProgramError) as caught:
            _core.parse_file(damaged)
        assert caught.value.name == "bad_file"
    assert not survive(tmp_path / "bad.dmodel", file[:200] + b"\xa5" + file[201:])


def test_an_oversized_file_is_refused(file: bytes, tmp_path: Path) -> None:
    for more in (b"\0", bytes(64), file):
        assert not survive(tmp_path / "long.dmodel", file + more)


def test_the_fault_is_named(file: bytes, tmp_path: Path) -> None:
    for data, words in (
        (b"", "not a .dmodel file"),
        (b"PK\3\4" + bytes(200), "not a .dmodel file"),
        (file[:-1], "truncated or oversized"),
        (file[:300] + bytes([file[300] ^ 1]) + file[301:], "damaged: the checksum"),
        (file[:8] + b"\2" + file[9:], "container version must be 1, received 2"),
    ):
        path = tmp_path / "model.dmodel"
        path.write_bytes(data)
        with pytest.raises(ProgramError, match=words):
            gvm.load(path)


def test_swapped_parts_are_refused(parts: Parts, tmp_path: Path) -> None:
    program, parameters, state, info = parts
    for swapped in (
        (parameters, program, state, info),
        (program, state + parameters, b"", info),
        (program, parameters, state, program),
        (info, parameters, state, info),
        (b"", parameters, state, info),
        (program, b"", state, info),
        (program, parameters, state, b""),
        (program, parameters + bytes(64), state, info),
    ):
        assert not survive(tmp_path / "swapped.dmodel", _core.write_file(*swapped))


def test_a_damaged_program_in_a_whole_file(parts: Parts, tmp_path: Path) -> None:
    program, parameters, state, info = parts
    survivors = 0
    for damaged in flips(program, 0x01, 0x80):
        try:
            _core.Program(damaged)
        except ProgramError:
            continue
        data = _core.write_file(damaged, parameters, state, info)
        survivors += survive(tmp_path / "other.dmodel", data)
    assert survivors > 0


def test_damaged_info_in_a_whole_file(parts: Parts, tmp_path: Path) -> None:
    program, parameters, state, info = parts
    survivors = 0
    for damaged in flips(info, 0x01, 0x02, 0x20):
        data = _core.write_file(program, parameters, state, damaged)
        survivors += survive(tmp_path / "other.dmodel", data)
    assert survivors > 0


def test_replaced_items_of_info(parts: Parts, tmp_path: Path) -> None:
    program, parameters, state, info = parts
    rng = random.Random(1)
    values: list[Any] = [None, -1, 2**63, "text", b"", [], {}, True, [[]], {"seed": 1}]
    for _ in range(300):
        body = cbor.decode(info)
        at = body
        while isinstance(at, dict | list) and at:
            key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if not isinstance(at[key], dict | list) or rng.randrange(3) == 0:
                at[key] = rng.choice(values)
                break
            at = at[key]
        data = _core.write_file(program, parameters, state, cbor.encode(body))
        survive(tmp_path / "other.dmodel", data)


# -- arrays


def good() -> tuple[Any, list[Array], list[Array]]:
    program = load(trained())
    inputs = hand_written.integers(program.tensors(INPUTS), 4, 1)
    labels = hand_written.integers(program.tensors(LABELS), 4, 2)
    return hand_written.session(program), inputs, labels


def misaligned(a: Array) -> Array:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    made = raw[1:].view(a.dtype).reshape(a.shape)
    made[...] = a
    return made


BAD_ARRAYS: list[tuple[str, Callable[[Array], Any]]] = [
    ("another type", lambda a: a.astype(np.int32)),
    ("an unsigned type", lambda a: a.astype(np.uint16)),
    ("floats", lambda a: a.astype(np.float64)),
    ("not a number", lambda a: np.full(a.shape, np.nan)),
    ("infinity", lambda a: np.full(a.shape, np.inf, np.float16)),
    ("objects", lambda a: a.astype(object)),
    ("the other byte order", lambda a: a.astype(">i2")),
    ("an axis too many", lambda a: a[None]),
    ("an axis too few", lambda a: a[:, 0].copy()),
    ("no axis", lambda a: np.array(1, np.int16)),
    ("a column too many", lambda a: np.zeros((4, 3), np.int16)),
    ("no examples", lambda a: a[:0]),
    ("too many examples", lambda a: np.zeros((9, 2), np.int16)),
    ("a stride", lambda a: np.zeros((4, 4), np.int16)[:, ::2]),
    ("columns first", lambda a: np.asfortranarray(a)),
    ("backwards", lambda a: a[::-1]),
    ("one number for all", lambda a: np.broadcast_to(np.int16(1), a.shape)),
    ("misaligned", misaligned),
    ("a list", lambda a: a.tolist()),
    ("nothing", lambda a: None),
    ("bytes", lambda a: a.tobytes()),
]


@pytest.mark.parametrize("change", [c for _, c in BAD_ARRAYS], ids=[n for n, _ in BAD_ARRAYS])
def test_bad_arrays_are_refused(change: Callable[[Array], Any]) -> None:
    session, (x,), labels = good()
    bad = [change(x)]
    for use in (
        lambda: session.predict(bad),
        lambda: session.loss(bad, labels),
        lambda: _core.Shard(session, bad, labels, 0, 4, 1, 1),
    ):
        with pytest.raises((GvmError, ValueError, TypeError)):
            use()
    assert session.predict([x])[0].shape == (4, 3)


def test_equal_types_are_one_type() -> None:
    """long and long long are both 64 bits; structured or byte-swapped types are something else."""
    data = np.arange(4, dtype=np.longlong)
    for a in (data, data.astype(np.int64), data.astype("<i8")):
        out, _ = _core.run_operator(
            1, [1, 0, 0], [(i64(0, 4), a)], 1, 0, 1, seed=0, step=0, site=0, level=0, threads=1
        )
        assert out[0].tolist() == [0, 1, 2, 3]


def test_wrong_numbers_of_arrays() -> None:
    session, inputs, labels = good()
    for bad in ([], inputs * 2):
        with pytest.raises(ProgramError, match="inputs: expected 1"):
            session.predict(bad)
    for bad in ([], labels * 2):
        with pytest.raises(ProgramError, match="labels"):
            session.loss(inputs, bad)


def test_examples_of_inputs_and_labels_must_agree() -> None:
    session, inputs, labels = good()
    with pytest.raises(ProgramError, match="label 0: expected"):
        session.loss(inputs, [labels[0][:3]])


def test_bad_labels_are_refused() -> None:
    session, inputs, labels = good()
    for label in (-1, 3, 2**31 - 1, -(2**31)):
        wrong = labels[0].copy()
        wrong[2] = label
        with pytest.raises(ProgramError, match=r"label must be in \[0, 3\)"):
            session.loss(inputs, [wrong])
    assert session.loss(inputs, labels)[1] == 4


def test_totals_and_sums_have_one_size_and_type() -> None:
    session, inputs, labels = good()
    shard = _core.Shard(session, inputs, labels, 0, 4, 1, 1)
    totals, sums = np.zeros(13, np.int64), np.zeros(13, np.int64)
    for bad in (totals[:12], np.zeros(14, np.int64), np.zeros(0, np.int64)):
        with pytest.raises(HostError, match="totals: wrong size"):
            shard.run(0, bad, sums)
        with pytest.raises(HostError, match="totals: wrong size"):
            shard.run(0, totals, bad.copy())
        with pytest.raises(HostError, match="totals: wrong size"):
            session.apply(bad, 1, 1)
    frozen = sums.copy()
    frozen.flags.writeable = False
    for wrong in (sums.astype(np.int32), sums.astype(float), sums.tolist(), frozen, None):
        with pytest.raises((TypeError, ValueError)):
            shard.run(0, totals, wrong)
    with pytest.raises(TypeError):
        session.apply(totals.astype(float), 1, 1)
    shard.run(0, totals, sums)
    assert sums.any()


def test_segments_run_in_order_on_one_set_of_parameters() -> None:
    session, inputs, labels = good()
    totals, sums = np.zeros(13, np.int64), np.zeros(13, np.int64)
    shard = _core.Shard(session, inputs, labels, 0, 4, 1, 1)
    with pytest.raises(HostError, match="once and in order"):
        shard.run(1, totals, sums)
    shard.run(0, totals, sums)
    with pytest.raises(HostError, match="once and in order"):
        shard.run(0, totals, sums)
    session.write(PARAMETERS, session.read(PARAMETERS))
    with pytest.raises(HostError, match="parameters have changed"):
        shard.run(1, sums, sums)


def test_shards_lie_in_their_batch() -> None:
    session, inputs, labels = good()
    for offset, batch, step in ((1, 4, 1), (0, 3, 1), (0, 9, 1), (2**64 - 1, 4, 1), (0, 4, 2**56)):
        with pytest.raises(ProgramError) as caught:
            _core.Shard(session, inputs, labels, offset, batch, 1, step)
        assert caught.value.name == "bad_input"
    with pytest.raises(TypeError):
        _core.Shard(session, inputs, labels, -1, 4, 1, 1)


def test_buffers_have_one_size_and_padding() -> None:
    session, _, _ = good()
    whole = session.read(PARAMETERS)
    assert len(whole) == 128
    for bad in (b"", whole[:-1], whole + b"\0", bytes(64)):
        with pytest.raises(ProgramError, match="parameters: the buffer must have 128 bytes"):
            session.write(PARAMETERS, bad)
    for at in (24, 63, 76, 127):
        with pytest.raises(ProgramError, match="padding after tensor"):
            session.write(PARAMETERS, whole[:at] + b"\1" + whole[at + 1 :])
    with pytest.raises(ProgramError, match="state: padding after tensor 0"):
        session.write(STATE, b"\1" * 64)
    for section in (INPUTS, LABELS, 4, 5, -1, 99):
        with pytest.raises(HostError):
            session.write(section, whole)
    assert session.read(PARAMETERS) == whole


def test_bytes_come_in_one_piece() -> None:
    """A view with strides is not what its address says."""
    data = cbor.encode(trained())
    assert _core.Program(memoryview(data)).info() == _core.Program(bytearray(data)).info()
    backwards = memoryview(data[::-1])[::-1]
    assert bytes(backwards) == data
    session, _, _ = good()
    for call in (
        lambda: _core.Program(backwards),
        lambda: _core.blake3(backwards),
        lambda: _core.parse_file(memoryview(bytes(400))[::2]),
        lambda: session.write(PARAMETERS, memoryview(bytes(256))[::2]),
        lambda: _core.Program("text"),
        lambda: _core.Program(None),
    ):
        with pytest.raises((BufferError, TypeError)):
            call()


def test_types_of_operators_are_checked() -> None:
    for type_, error in (
        (i16(300, 4), "fraction bits must be in"),
        (i16(-129, 4), "fraction bits must be in"),
        (i16(48, 4), "fraction bits must be in"),
        (i16(0, *[1] * 9), "rank must be at most 8"),
        (i16(0, *[1] * 300), "rank must be at most 8"),
        (Type("real", 0, (4,)), "element type must be in"),
        (Type("i16", 0, (4,), bound=3), "the bound of i16 is 32768, received 3"),
        (i64(0, 4, bound=2**62 + 1), r"bound must be at most 2\^62"),
    ):
        with pytest.raises(ProgramError, match=error):
            _core.infer(12, [type_], [], 4)
        with pytest.raises(ProgramError):
            _core.run_operator(
                12,
                [],
                [(type_, np.zeros(4, np.int16))],
                local=1,
                offset=0,
                batch=1,
                seed=0,
                step=0,
                site=0,
                level=0,
                threads=1,
            )


# -- the machine


def test_a_session_is_used_by_one_thread_at_a_time() -> None:
    """Threads that share a session wait for each other: every answer is that of one thread."""
    session, inputs, labels = good()
    expected = session.predict(inputs)[0].tobytes(), session.loss(inputs, labels)
    found: list[Any] = []

    def work() -> None:
        for _ in range(50):
            found.append((session.predict(inputs)[0].tobytes(), session.loss(inputs, labels)))
            shard = _core.Shard(session, inputs, labels, 0, 4, 1, 1)
            sums = np.zeros(13, np.int64)
            shard.run(0, sums, sums)
            shard.run(1, sums, sums)
            found.append(sums.tolist())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results, totals = found[::2], found[1::2]
    pairs = [f for f in found if isinstance(f, tuple)]
    assert len(results) == len(totals) == 200
    assert pairs == [expected] * 200
    assert len({tuple(f) for f in found if isinstance(f, list)}) == 1


def in_child(code: str, megabytes: int) -> str:
    """What a fresh interpreter with so much address space prints."""
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({megabytes << 20},) * 2)\n"
    prepare = "import numpy as np\nfrom gvm import _core, cbor\nfrom gvm.errors import *\n"
    prepare += "from tests.hand_written import *\n"
    done = subprocess.run(
        [sys.executable, "-c", prepare + limit + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_memory_that_the_machine_lacks_is_its_own_failure() -> None:
    """A program within its limits needs 8 GiB: a negative status, and the session goes on."""
    code = """
body = inference(2**20)
f = Nodes(2)
y = f.add("reduce_sum", f.add("mul", 0, 0), axes=(1,))
y = f.add("convert", y, dtype=1, fraction_bits=8, rounding=0)
body.update(inputs=[tensor("i16", 8, -1, 1024)], predict={"nodes": f.take(), "outputs": [y]})
session = _core.Session(load(body))
small = np.ones((2, 1024), np.int16)
before = session.predict([small])[0].tolist()
try:
    session.predict([np.ones((2**18, 1024), np.int16)])
except HostError as error:
    print(error.name, error)
print(before == session.predict([small])[0].tolist())
"""
    assert in_child(code, 1500) == "out_of_memory out of memory\nTrue"


def test_threads_that_the_machine_lacks_are_its_own_failure() -> None:
    code = """
program = load(inference())
try:
    _core.Session(program, 1000)
except HostError as error:
    print(error.name, error)
print(_core.Session(program, 1).predict([np.ones((2, 2), np.int16)])[0].shape)
"""
    assert in_child(code, 1500) == "internal no more threads can be started\n(2, 1)"


def test_lists_take_no_memory_before_they_are_refused() -> None:
    """60 MB of the shortest tensors and operands, which as types would be gigabytes."""
    code = """
few = cbor.encode(inference())
many = b"\\x9a" + (12_000_000).to_bytes(4, "big") + b"\\x83\\x01\\x00\\x81\\x20" * 12_000_000
at = few.index(b"finputs") + 7
end = few.index(b"flabels")
numbers = b"\\x9a" + (60_000_000).to_bytes(4, "big") + b"\\x00" * 60_000_000
node = few.replace(b"\\x83\\x03\\x82\\x00\\x01", b"\\x83\\x03" + numbers)
for data in (few[:at] + many + few[end:], node):
    try:
        _core.Program(data)
    except ProgramError as error:
        print(error.name, error)
"""
    assert in_child(code, 900) == (
        "over_limit inputs: 12000000 of them, the limit is 65536\n"
        "bad_graph matmul, node 0: at most 2 values, received 60000000"
    )
