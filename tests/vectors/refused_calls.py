"""Writes programs/refused_calls.txt and operators_refused.txt: what is refused at run time.

Run as ``python -m tests.vectors.refused_calls``: adds the lines that are not there yet. The answers
come from the rules of docs/program.md, sections 4, 5 and 7; gvm-conform asks every level for them.
A call that the rules allow stands beside each border, with status 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gvm.ops import OPERATORS
from tests import operator_suite as suite
from tests.vectors import operators as vectors

FILE = Path(__file__).parent / "programs" / "refused_calls.txt"
HEADER = """\
# status file call what value: a call on the file's program, its parameters and state, where all
# inputs, labels, totals and sums are zeros but one, for a batch of 4 in one shard and step 0.
# call: predict, loss, gradient (a shard through every segment), apply, step; parameters or state
# (a buffer of zeros is written); file (it is parsed, with a checksum that holds but for raw).
# what: batch, local, offset or step of the batch; <tensor>:<element>, with total and sum for those;
# size (so many bytes more) or byte:<index> of a buffer or file.
"""
VALUES = Path(__file__).parent / "operators_refused.txt"
VALUES_HEADER = """\
# opcode attributes inputs data local offset batch status: as a `value` of operators/<name>.txt.
# One element of the data, the last of its input, is at a border or beyond it.
"""
MOST_EXAMPLES = 2**22
OK, PARAMETERS, INPUT, FILES = 0, 11, 12, 13
LAST_STEP = 2**56 - 1
Case = tuple[int, str, str, str, int]


def _batches() -> Iterator[Case]:
    """Batch sizes, places of a shard, steps."""
    for call in ("predict", "loss"):
        for size, status in ((8, OK), (0, INPUT), (2**63 - 1, INPUT)):
            yield status, "trained", call, "batch", size
    yield INPUT, "trained", "predict", "batch", 9
    yield OK, "trained", "loss", "batch", 1
    for call in ("gradient", "step"):
        for what, value, status in (
            *(("batch", 8, OK), ("batch", 0, INPUT), ("batch", 9, INPUT)),
            *(("local", 5, INPUT), ("offset", 1, INPUT), ("offset", 2**62, INPUT)),
            *(("step", LAST_STEP, OK), ("step", LAST_STEP + 1, INPUT)),
        ):
            yield status, "trained", call, what, value
    yield OK, "trained", "apply", "step", LAST_STEP
    yield INPUT, "trained", "apply", "step", LAST_STEP + 1


def _values() -> Iterator[Case]:
    """Labels of classes, indices of rows, element types with fewer values than bytes."""
    for call in ("loss", "gradient", "step"):
        for value, status in ((2, OK), (3, INPUT), (-1, INPUT), (-(2**31), INPUT)):
            yield status, "trained", call, "label0:3", value
        yield INPUT, "images", call, "label0:0", 3
    for value, status in ((4, OK), (5, INPUT), (-1, INPUT), (2**31 - 1, INPUT)):
        yield status, "choices", "predict", "input1:0", value


def _totals() -> Iterator[Case]:
    """Bounds of totals, counts, and sums that leave them."""
    for element, bound in ((0, 2**34), (3, 8), (4, 2**33), (12, 2**18)):
        for sign in (1, -1):
            yield INPUT, "trained", "apply", f"total:{element}", sign * (bound + 1)
    yield INPUT, "trained", "apply", "total:0", -(2**63)
    yield OK, "trained", "apply", "total:12", 2**18
    yield INPUT, "trained", "gradient", "total:0", 2**34 + 1
    yield INPUT, "trained", "gradient", "sum:3", 5
    yield OK, "trained", "gradient", "sum:3", 4
    yield INPUT, "trained", "gradient", "sum:3", 2**63 - 1
    yield INPUT, "trained", "gradient", "sum:0", -(2**63)
    yield INPUT, "choices", "apply", "total:15", 5


def _buffers() -> Iterator[Case]:
    """Sizes, padding and bool of parameters and state; the container."""
    for name, call in (("trained", "parameters"), ("trained", "state"), ("images", "parameters")):
        for more, status in ((0, OK), (-1, PARAMETERS), (1, PARAMETERS), (64, PARAMETERS)):
            yield status, name, call, "size", more
    for byte, status in ((23, OK), (24, PARAMETERS), (63, PARAMETERS), (76, PARAMETERS)):
        yield status, "trained", "parameters", f"byte:{byte}", 1
    yield PARAMETERS, "trained", "state", "byte:24", 255
    for value, status in ((1, OK), (2, PARAMETERS), (255, PARAMETERS)):
        yield status, "images", "parameters", "byte:516", value
    yield PARAMETERS, "images", "parameters", "byte:517", 1
    for more in (-1, 1, 64):
        yield FILES, "trained", "file", "size", more
    yield OK, "trained", "file", "size", 0
    for what, value in (
        *(("byte:0", 0), ("byte:8", 2), ("byte:23", 1), ("byte:31", 255), ("byte:16", 0)),
        *(("byte:48", 1), ("byte:63", 1), ("raw:100", 0)),
    ):
        yield FILES, "trained", "file", what, value


def cases() -> Iterator[Case]:
    """Every line, in the order of the file."""
    yield from _batches()
    yield from _values()
    yield from _totals()
    yield from _buffers()


def lines() -> list[str]:
    """The lines as the file has them."""
    return [" ".join(map(str, case)) for case in cases()]


def _borders() -> Iterator[tuple[str, str, int, int]]:
    """Operator, input, its last element, status: labels, rows, counts, truth values, bounds."""
    for name in ("softmax_cross_entropy", "softmax_cross_entropy_grad", "argmax_correct"):
        classes = next(iter(OPERATORS[name].cases())).inputs[0].shape[1]
        for label, status in ((classes - 1, OK), (classes, INPUT), (-1, INPUT), (-(2**31), INPUT)):
            yield name, "labels", label, status
    for name in ("sigmoid_cross_entropy", "sigmoid_cross_entropy_grad"):
        for label, status in ((0, OK), (1, OK), (2, INPUT), (-1, INPUT), (2**31 - 1, INPUT)):
            yield name, "labels", label, status
    for name in ("gather", "gather_grad"):  # of three rows
        for row, status in ((2, OK), (3, INPUT), (-1, INPUT), (-(2**31), INPUT)):
            yield name, "indices", row, status
    for count, status in ((1, OK), (0, INPUT), (-1, INPUT)):
        yield "divide_by_count", "count", count, status
    for name in ("sgd", "momentum", "gradient_descent", "adam", "rmsprop", "clip"):
        for count, status in ((MOST_EXAMPLES, OK), (MOST_EXAMPLES + 1, INPUT), (2**62, INPUT)):
            yield name, "count", count, status
    for name, given in (("select", "condition"), ("logical", "operands"), ("mask", "condition")):
        for truth, status in ((1, OK), (2, INPUT), (255, INPUT)):
            yield name, given, truth, status
    for total, status in ((2**40, OK), (2**40 + 1, INPUT), (-(2**40) - 1, INPUT)):
        yield "convert", "x", total, status


def value_lines() -> list[str]:
    """The lines of operators_refused.txt, from each operator's first case."""
    made = []
    for name, given, value, status in _borders():
        operator = OPERATORS[name]
        case = next(iter(operator.cases()))
        inputs = suite.paint(case, "painted" if case.data is None else "given")
        data = [np.array(array, dtype=np.int64).reshape(-1).tolist() for array in inputs]
        data[[i.name for i in operator.inputs].index(given)][-1] = value
        fields = (
            *(operator.opcode, vectors.attributes_text(operator.complete(case.attributes))),
            *(vectors.types_text(case.inputs), ";".join(",".join(map(str, d)) for d in data)),
            *(case.local, case.offset, case.batch, status),
        )
        made.append(" ".join(map(str, fields)))
    return made


def _extend(path: Path, header: str, lines: list[str]) -> None:
    before = path.read_text() if path.exists() else header
    known = set(before.splitlines())
    path.write_text(before + "".join(f"{line}\n" for line in lines if line not in known))


def main() -> None:
    """Adds what is not there yet."""
    _extend(FILE, HEADER, lines())
    _extend(VALUES, VALUES_HEADER, value_lines())


if __name__ == "__main__":
    main()
