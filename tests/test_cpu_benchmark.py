"""The table of ``benchmarks.cpu``: its rows, ratios and our programs in it; no peer is needed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cpu import limits, ours, report
from benchmarks.cpu.data import tanh_input, training_batches
from benchmarks.cpu.rows import INFORMATION, MEMORY, ROWS, TORCH_MM
from gvm import _core


def test_rows_have_goals_for_ours_and_name_their_contenders() -> None:
    assert len({r.name for r in ROWS}) == len(ROWS)
    for row in ROWS:
        assert set(row.goals) <= set(row.ours)
        for goals in row.goals.values():
            for goal in goals:
                assert set(goal.peers) <= set(row.contenders) - set(row.ours) - set(INFORMATION)
    rows = {r.name: r for r in ROWS}
    for name, contenders in MEMORY:
        assert set(contenders) <= set(rows[name].contenders)


def test_ratios_are_of_medians_to_the_fastest_peer() -> None:
    row = next(r for r in ROWS if r.name == "gemm")
    seconds = {name: [0.4, 0.5, 9.0] for name in row.contenders}
    seconds |= {"gvm": [0.1, 0.1, 0.1], "onnxruntime": [0.2, 0.3, 0.1]}
    best, torch_mm = report.result_of(row, 2, 0, seconds)["goals"]
    assert (best["times"], best["goal"]) == (2.0, 1.8)
    assert (torch_mm["times"], torch_mm["against"]) == (5.0, "torch.mm")
    assert TORCH_MM == ("torch mm",)


@pytest.mark.parametrize("data", ["realistic", "adverse"])
def test_products_are_numpys_and_have_a_stochastic_form(data: str) -> None:
    case = {"shape": (9, 20, 33), "data": data}
    made = ours.product(case, 1)
    assert made.result().shape == (9, 20)  # which checks itself against exact integers
    made.run()


def test_tanh_and_networks_can_round_stochastically() -> None:
    assert ours.tanh({"shape": (4, 32)}, 1).result().shape == (4, 32)
    steps = (
        ours.step("matmul", (0, 1)),
        ours.step("convert", (2,), dtype=1, fraction_bits=4, rounding=0),
    )
    program = ours.program_of(3, ours.i16(0, -1, 5), (ours.i16(0, 5, 6),), steps, 6)
    assert {s.get("rounding", 0) for s in program.grad.segments[0].steps} == {0, 1}  # type: ignore[union-attr]
    _core.Program(program.encode())


def test_every_contender_is_given_the_same_data() -> None:
    (x, y), *_ = training_batches(10)
    again, _ = training_batches(10)[0]
    assert np.array_equal(x, again)
    assert x.min() == 0
    assert x.max() == 1
    assert set(y) <= set(range(10))
    assert tanh_input((8, 8)).dtype == np.int16


def test_results_say_what_was_measured() -> None:
    row = next(r for r in ROWS if r.name == "tanh")
    result = report.result_of(row, 1, 0, {"gvm": [0.001], "torch": [0.004]})
    body = {
        "environment": {
            "machine": {"processor": "P", "processors": 2},
            "compiler": "C",
            "cpu_level": "avx2",
            "versions": {"numpy": "2"},
            "date": "2026-01-01",
        },
        "results": [result | {"commit": "abc"}],
    }
    text = report.markdown(body)
    assert "| gvm 1 | torch 4 | torch | 5.0 | 4.00 | no |" in text
    assert "commit abc" in text


def test_a_row_below_its_goal_says_what_it_is_made_of() -> None:
    made = ours.product({"shape": (28, 64, 32), "data": "realistic"}, 1)
    assert made.limits is not None
    found = made.limits()
    assert found["multiply_adds"] == 28 * 64 * 32
    assert found["dot_products"] == 28 * 64
    assert found["bytes_moved"] >= 2 * (28 * 32 + 32 * 64 + 28 * 64)
    assert list(found["milliseconds"])[0] == "matmul+convert"
    row = next(r for r in ROWS if r.name == "gemm")
    seconds = {name: [0.001] for name in row.contenders}
    result = report.result_of(row, 1, 0, seconds) | {"limits": {"gvm": found}}
    body = {"results": [result], "bytes_per_second": 1e10}
    said = report.short(body)
    assert "- gemm, 512x512x512, gvm, 1 thread: 0.05734e6 multiply-adds in 0.001792e6" in said
    assert "MB moved" in said
    assert "matmul+convert" in said
    result["goals"] = [g | {"times": 9.0} for g in result["goals"]]
    assert report.short(body) == ""


def test_limits_name_every_operator_that_takes_time() -> None:
    made = ours.tanh({"shape": (4, 32)}, 1)
    assert made.limits is not None
    found = made.limits()
    assert set(found["milliseconds"]) == {"unary"}
    assert found["tiles"] == {}
    assert limits.sentence({"milliseconds": {"gvm": 1.0}}, "gvm", {"bytes": 1.0}) == ""
