"""Write the vectors of the operators from their references.

    python -m tests.vectors.operators

One file per operator; ``tests/vectors/README.md`` says what a line is. A line, once there, keeps
its answer for ever. ``tests/test_operators.py`` reads them on every CPU level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gvm.errors import ProgramError
from gvm.operator import AttributeValue, Case, Operator
from gvm.ops import OPERATORS
from gvm.types import NUMPY, Type
from tests import operator_suite as suite

FOLDER = Path(__file__).parent / "operators"
LIST = Path(__file__).parent / "operators.txt"


def attributes_text(attributes: Mapping[str, AttributeValue]) -> str:
    """Values in the order of the schema, those of a list joined by commas."""
    values = [str(v) if isinstance(v, int) else ",".join(map(str, v)) for v in attributes.values()]
    return ";".join(values) or "-"


def types_text(types: Sequence[Type]) -> str:
    """``i64.5[-1,3]``, then ``p`` for a partial sum and ``<bound`` for a bound that is stated."""
    texts = []
    for t in types:
        text = f"{t.dtype}.{t.fraction_bits}[{','.join(map(str, t.shape))}]"
        texts.append(text + "p" * t.partial + (f"<{t.bound}" if t.bound else ""))
    return ";".join(texts) or "-"


def _data(case: Case) -> str:
    """Integers in row-major order, or how they are painted."""
    if case.data is not None:
        rows = (np.array(d, dtype=np.int64).reshape(-1).tolist() for d in case.data)
        return ";".join(",".join(map(str, row)) for row in rows) or "-"
    if case.low is None and case.high is None:
        return "painted"
    least, greatest = suite.limits(case, len(case.inputs) - 1)
    return f"painted:{least}:{greatest}"


def _question(operator: type[Operator], case: Case, attributes: suite.Attributes) -> str:
    place = f"{case.local} {case.offset} {case.batch}"
    return f"value {attributes_text(attributes)} {types_text(case.inputs)} {_data(case)} {place}"


def answer(types: Sequence[Type], outputs: Sequence[suite.Array], clamps: int) -> str:
    """Output types, clamps, SHA-256 of the outputs one after another, little-endian."""
    digest = hashlib.sha256()
    for type_, output in zip(types, outputs, strict=True):
        digest.update(output.astype(np.dtype(NUMPY[type_.dtype]).newbyteorder("<")).tobytes())
    return f"{types_text(types)} {clamps} {digest.hexdigest()}"


def questions(
    operator: type[Operator],
) -> Iterator[tuple[str, Case, suite.Attributes]]:
    """What the lines with a value ask: every case, and the first painted one in every rounding."""
    asked = set()
    every = True
    for case in operator.cases():
        variants = list(suite.roundings(operator, case))
        for attributes in variants if every and case.data is None else variants[:1]:
            question = _question(operator, case, attributes)
            if question not in asked:
                asked.add(question)
                yield question, case, attributes
        every = every and case.data is not None


def refusals(operator: type[Operator]) -> Iterator[str]:
    """The lines that say which status a node is refused with."""
    for invalid in operator.invalid():
        attributes = operator.complete(invalid.attributes)
        try:
            suite.infer(operator, invalid.inputs, attributes)
        except ProgramError as error:
            asked = f"{attributes_text(attributes)} {types_text(invalid.inputs)}"
            yield f"refuse {asked} {error.status}"


def text(operator: type[Operator]) -> str:
    """The vectors of an operator."""
    lines = [f"# {operator.name}, opcode {operator.opcode}"]
    for question, case, attributes in questions(operator):
        kind = "painted" if case.data is None else "given"
        outputs, clamps = suite.reference(operator, case, attributes, suite.paint(case, kind))
        types = suite.infer(operator, case.inputs, attributes)
        lines.append(f"{question} {answer(types, outputs, clamps)}")
    return "\n".join([*lines, *dict.fromkeys(refusals(operator))]) + "\n"


def listed() -> str:
    """The list of all operators: what a reader without Python goes by."""
    rows = sorted((operator.opcode, name) for name, operator in OPERATORS.items())
    lines = ("# opcode name: the operators that have vectors.", *(f"{o} {n}" for o, n in rows))
    return "\n".join(lines) + "\n"


def parse_attributes(operator: type[Operator], field: str) -> suite.Attributes:
    """The attributes of a line."""
    values = [] if field == "-" else field.split(";")
    made: dict[str, Any] = {}
    for attribute, value in zip(operator.attributes, values, strict=True):
        numbers = tuple(int(v) for v in value.split(",") if v)
        made[attribute.name] = numbers if attribute.length else numbers[0]
    return made


def parse_types(field: str) -> tuple[Type, ...]:
    """The types of a line."""
    made = []
    for item in [] if field == "-" else field.split(";"):
        head, _, bound = item.partition("<")
        element, _, dims = head.rstrip("p").rstrip("]").partition("[")
        dtype, _, bits = element.partition(".")
        shape = tuple(int(d) for d in dims.split(",") if d)
        made.append(Type(dtype, int(bits), shape, head.endswith("p"), int(bound or 0)))
    return tuple(made)


def parse_case(fields: Sequence[str]) -> Case:
    """The case of a line with a value."""
    types, data = parse_types(fields[2]), fields[3]
    local, offset, batch = (int(f) for f in fields[4:7])
    place = {"local": local, "offset": offset, "batch": batch}
    if data.startswith("painted"):
        low, high = ([int(v) for v in data.split(":")[1:]] or [None, None])[:2]
        return Case("line", types, low=low, high=high, **place)
    rows = [] if data == "-" else data.split(";")
    arrays = (
        np.array([int(v) for v in row.split(",")]).reshape(t.concrete(local))
        for t, row in zip(types, rows, strict=True)
    )
    return Case("line", types, data=tuple(arrays), **place)


def _extended(old: str, new: str) -> str:
    """The old lines, then the new ones; an answer that changed is an error."""
    answers = {_asked(line): line for line in old.splitlines()}
    for line in new.splitlines():
        if answers.setdefault(_asked(line), line) != line:
            raise SystemExit(f"another answer was published: {answers[_asked(line)]}")
    return "\n".join(answers.values()) + "\n"


def _asked(line: str) -> str:
    """What stands before the answer."""
    return line.rsplit(" ", {"value": 3, "refuse": 1}.get(line.split(" ")[0], 0))[0]


def main() -> None:
    """Add to every file the lines that it lacks."""
    FOLDER.mkdir(exist_ok=True)
    for name, operator in OPERATORS.items():
        path = FOLDER / f"{name}.txt"
        path.write_text(_extended(path.read_text() if path.exists() else "", text(operator)))
    LIST.write_text(_extended(LIST.read_text() if LIST.exists() else "", listed()))


if __name__ == "__main__":
    main()
