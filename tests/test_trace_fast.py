"""Verifying recorded steps by claimed sums: who lies is found, in whatever node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gvm import _core, cbor, cli
from gvm.errors import GvmError
from gvm.ops import OPERATORS
from gvm.trace.fast import FastVerification, WrongSum, verify_fast
from gvm.trace.listing import Node
from gvm.trace.products import (
    MAGIC,
    is_product,
    is_worth_it,
    products_path,
    read_products,
    write_products,
)
from gvm.trace.recorder import checkpoint_path
from gvm.trace.replay import Machine, Replay
from gvm.trace.verify import verify
from gvm.types import Type
from tests.trace_runs import at_step, flip, forge, record_run

STEPS = (12, 15)
"""What is verified: one interval between records, of a run with a record every 4 steps."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 steps with their sums; a record every 4, and one checkpoint, at the beginning."""
    folder = tmp_path_factory.mktemp("fast") / "run"
    record_run(folder)
    written = write_products(folder, every_product=True)
    assert written.steps == 28
    assert written.bytes == sum(p.stat().st_size for p in (folder / "products").iterdir())
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """One to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def products_of(folder: Path) -> list[int]:
    with Replay(folder) as replay:
        return [node for node, _ in read_products(replay, 0).products]


def test_a_run_equals_its_trace(run: Path) -> None:
    count = len(products_of(run))
    assert count == 5
    found = verify_fast(run)
    assert found == FastVerification(28, 7, 28 * count, 0)
    assert found.equal
    assert str(found).startswith("7 states, 28 steps; 140 products checked, each wrong with prob")
    for level in range(_core.cpu_level() + 1):
        name = ("cpu-scalar", "cpu-avx2", "cpu-avx512")[level]
        assert verify_fast(run, STEPS, machine=Machine(name, 2)).equal


def test_parts_need_their_own_sums_alone(run: Path, tmp_path: Path) -> None:
    """An interval is verified from the state in its first file: nothing before it is executed."""
    part = tmp_path / "part"
    shutil.copytree(run, part, ignore=shutil.ignore_patterns("products"))
    assert write_products(part, (13, 14), every_product=True).steps == 4
    assert not checkpoint_path(part, 12).exists()
    with Replay(part) as replay:
        assert [read_products(replay, s).state is not None for s in range(12, 16)] == [
            True,
            False,
            False,
            False,
        ]
    assert verify_fast(part, (13, 14)) == FastVerification(4, 1, 20, 0)
    with pytest.raises(GvmError, match="no sums of step 16: write them with gvm trace --products"):
        verify_fast(part, (12, 16))


def test_a_sample_is_that_of_verify(run: Path) -> None:
    assert verify_fast(run, sample=2, seed=5).states == 2
    assert verify_fast(run, sample=1, seed=5).steps == 4


def test_a_lie_in_any_node_is_found(run: Path, tmp_path: Path) -> None:
    """Of whoever has a fault in one step, goes on from it, and writes down the sums he made."""
    with Replay(run) as honest:
        listing, records = honest.listing, honest.trace.records
    products, kinds = set(products_of(run)), set()
    moved = 0
    for i, node in enumerate(listing.nodes):
        value = node.outputs[0]
        kind = listing.entries[value].type.dtype
        alter = at_step(13, flip(value, 0, 0 if kind == "bool" else 13))
        folder = tmp_path / f"node-{i}"
        try:
            forge(run, folder, alter)
            with Replay(folder, alter=alter) as liar:
                write_products(liar, STEPS, every_product=True)
        except GvmError:
            continue  # an operator refuses what the lie has made
        with Replay(folder) as forged:
            same = forged.trace.records == records
        found = verify_fast(folder, STEPS)
        if i in products:
            assert isinstance(found.wrong, WrongSum)
            assert (found.wrong.step, found.wrong.node, found.wrong.element) == (13, i, 0)
            assert abs(found.wrong.values[0] - found.wrong.values[1]) == 2**13
        # What moves no state and no sum is no lie about what is recorded.
        claimed = products_path(folder, 13).read_bytes() != products_path(run, 13).read_bytes()
        assert found.equal == (same and not claimed)
        assert verify(folder, STEPS).difference is None or not found.equal
        moved += not found.equal
        kinds.add((node.function, node.operator.name))
        shutil.rmtree(folder)
    assert moved >= 15
    assert {("grad", "matmul"), ("grad", "matmul_grad_weight"), ("apply", "momentum")} <= kinds


def test_true_sums_of_a_wrong_record_show_where_it_parts(run: Path, tmp_path: Path) -> None:
    with Replay(run) as replay:
        value = replay.listing.results[-1]
    folder = tmp_path / "wrong"
    forge(run, folder, at_step(13, flip(value, 1, 3)))
    # The records behind the fault are wrong; the sums are those of the run that is true.
    found = verify_fast(folder, STEPS)
    assert found.wrong is None and found.difference is not None
    assert (found.difference.after, found.difference.by) == (12, 16)
    assert found.states == 1


def changed(folder: Path, step: int, product: int, move: int, element: int = -1) -> tuple[int, int]:
    """Changes a sum in a file; returns the node and the true number."""
    path = products_path(folder, step)
    with Replay(folder) as replay:
        sums = read_products(replay, step)
    node, array = sums.products[product]
    wide = array.astype(np.int64)
    true = int(wide[element])
    wide[element] += move
    rewrite(folder, step, {node: wide})
    assert path.exists()
    return node, true


def rewrite(folder: Path, step: int, other: dict[int, Any], fields: Any = None) -> None:
    """Writes the sums of a step anew, some of them others."""
    with Replay(folder) as replay:
        sums, run = read_products(replay, step), replay.header.id
    made = [(n, other.get(n, a)) for n, a in sums.products]
    write(folder, step, run, made, list(sums.state or ()), fields)


def write(
    folder: Path, step: int, run: bytes, made: list[Any], state: list[bytes], fields: Any = None
) -> None:
    """Writes a file of sums."""
    made.sort(key=lambda pair: (-pair[1].itemsize, pair[0]))
    header = {
        "run": run,
        "step": step,
        "state": [len(s) for s in state],
        "products": [[n, a.itemsize] for n, a in made],
        **(fields or {}),
    }
    body = cbor.encode(header)
    data = MAGIC + len(body).to_bytes(8, "little") + body
    data += b"".join([*(a.tobytes() for _, a in made), *state])
    products_path(folder, step).write_bytes(data)


@pytest.mark.parametrize("move", [1, -1, 2**40, 2**61 - 1, -(2**61 - 1), 3 * (2**61 - 1)])
def test_a_changed_sum_is_found(copy: Path, move: int) -> None:
    """Multiples of the prime are equal modulo it: they are beyond the bound."""
    for product in range(5):
        fresh = products_path(copy, 13).read_bytes()
        node, true = changed(copy, 13, product, move)
        wrong = verify_fast(copy, STEPS).wrong
        assert wrong is not None
        assert (wrong.step, wrong.node) == (13, node)
        assert wrong.values == (true + move, true)
        products_path(copy, 13).write_bytes(fresh)
    assert verify_fast(copy, STEPS).equal


def test_sums_that_are_left_out_are_computed(copy: Path) -> None:
    with Replay(copy) as replay:
        _, *rest = read_products(replay, 13).products
        write(copy, 13, replay.header.id, rest, [])
    assert verify_fast(copy, STEPS) == FastVerification(4, 1, 19, 1)


def test_only_large_products_are_worth_it() -> None:
    def dense(count: int, inputs: int, outputs: int) -> bool:
        types = (Type("i16", 0, (-1, inputs)), Type("i16", 0, (inputs, outputs)))
        made = (Type("i64", 0, (-1, outputs)),)
        node = Node("grad", 3, (0, 0), (0, 1), (2,), types, made, 0)
        return is_product(node) and is_worth_it(node, count)

    assert dense(1000, 1000, 1000) and dense(500, 200, 200)
    assert not dense(1000, 1000, 10) and not dense(4, 1000, 1000) and not dense(1000, 20, 1000)

    def windows(channels: int, filters: int) -> list[bool]:
        """A convolution of 5 x 5 on images of 16 x 16, and its gradients."""
        x, w = (-1, 16, 16, channels), (5, 5, channels, filters)
        y, tail = (-1, 12, 12, filters), ((1, 1), (0, 0, 0, 0), (1, 1), 1)
        found = []
        for opcode, shapes, own in (
            ("conv2d", (x, w, y), ()),
            ("conv2d_grad_input", (y, w, x), ((16, 16),)),
            ("conv2d_grad_weight", (x, y, w), ((5, 5),)),
        ):
            types = tuple(Type("i16", 0, s) for s in shapes)
            number = OPERATORS[opcode].opcode
            node = Node("grad", number, (*tail, *own), (0, 1), (2,), types[:2], types[2:], 0)
            assert is_product(node)
            found.append(is_worth_it(node, 100))
        return found

    assert windows(64, 64) == [True] * 3
    assert windows(1, 20) == [False] * 3


def test_damaged_files_are_refused(copy: Path) -> None:
    path = products_path(copy, 13)
    data = path.read_bytes()
    for cut in (0, 7, 12, 40, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(GvmError, match=str(path)):
            verify_fast(copy, STEPS)
    path.write_bytes(data + b"\0")
    with pytest.raises(GvmError, match="something follows"):
        verify_fast(copy, STEPS)
    path.write_bytes(products_path(copy, 14).read_bytes())
    with pytest.raises(GvmError, match="not the sums of step 13 of this run"):
        verify_fast(copy, STEPS)
    path.write_bytes(data)
    node = products_of(copy)[0]
    for fields, message in (
        ({"products": [[0, 4]]}, "must be numbers of product nodes"),
        ({"products": [[99, 4]]}, "must be numbers of product nodes"),
        ({"products": [[node, 2]]}, "must be numbers of product nodes"),
        ({"products": [7]}, "must be numbers of product nodes"),
        ({"products": [[node, 4], [node, 4]]}, "in order"),
        ({"products": [[node, 4], [node, 8]]}, "in order"),
        ({"products": [[node, 8], [node, 4]]}, "each once"),
        ({"state": [1, 2]}, "the state must be that of the program"),
        ({"run": bytes(32)}, "not the sums of step 13 of this run"),
        ({"step": "13"}, "the header must have"),
    ):
        rewrite(copy, 13, {}, fields)
        with pytest.raises(GvmError, match=message):
            verify_fast(copy, STEPS)
        path.write_bytes(data)
    assert verify_fast(copy, STEPS).equal


def test_a_state_is_compared_with_the_trace(copy: Path) -> None:
    path = products_path(copy, 12)
    data = bytearray(path.read_bytes())
    with Replay(copy) as replay:
        parameters = replay.state(12)[0]
    data[bytes(data).index(parameters)] ^= 1
    path.write_bytes(data)
    with pytest.raises(GvmError, match="not the state that the trace has at step 12"):
        verify_fast(copy, STEPS)


def status(arguments: list[str]) -> int:
    """Of a command."""
    try:
        cli.main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_commands(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "products")
    assert status(["verify", str(copy), "--fast", "--steps", "12..13"]) == 2
    assert "gvm trace --products" in capsys.readouterr().err
    assert status(["trace", str(copy), "--products", "--steps", "12..13", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 4
    assert status(["verify", str(copy), "--fast", "--steps", "12..13"]) == 0
    out = capsys.readouterr().out
    assert out == "equal: 1 states, 4 steps; 0 products checked, 20 executed like all other nodes\n"
    write_products(copy, (12, 13), every_product=True)
    assert status(["verify", str(copy), "--fast", "--steps", "12..13"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("equal: 1 states, 4 steps; 20 products checked")
    assert "2^-80" in out
    node, true = changed(copy, 14, 2, 5)
    assert status(["verify", str(copy), "--fast", "--steps", "12..13"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"differs: step 14, node {node} (")
    assert error.rstrip().endswith(f": {true + 5}, {true}")
    for options in (["--kind", "checkpoint"], ["--workers", "2"]):
        assert status(["verify", str(copy), "--fast", *options]) == 2
