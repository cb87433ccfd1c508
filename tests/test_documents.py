"""What the documents state, held against the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gvm import _core, cbor, random
from gvm.fixed import convert_nearest, convert_stochastic, quotient_nearest, quotient_stochastic
from gvm.functions import FUNCTIONS
from gvm.ops import OPERATORS
from gvm.random import Purpose
from gvm.softmax import exponential
from gvm.types import DTYPES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
HEADER = ROOT / "gvm/_core/include/gvm/gvm.h"
INVENTED = re.compile(r"absolute|<|\*|^gvm/gvm\.h$")
"""Paths that a document names and that need not exist: an example, a pattern, an installed file."""


def document(name: str) -> str:
    """The text of a document."""
    return (DOCS / name).read_text()


def running(name: str) -> str:
    """A document with its lines joined, for what is stated in paragraphs."""
    return " ".join(document(name).split())


def table(name: str, first: str) -> list[list[str]]:
    """The cells of the rows of the table whose header begins with a cell."""
    lines = document(name).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


# --- arithmetic.md -----------------------------------------------------------------------------


def test_numbers_of_element_types_purposes_and_functions() -> None:
    text = document("arithmetic.md")
    types = {
        name: int(n) for n, name in re.findall(r"^\| (\d) \| `(\w+)` \| .* \| .* \|$", text, re.M)
    }
    assert types == DTYPES
    purposes = re.findall(r"^\| (\d) \| ([a-z ]+) \| ", text, re.M)
    assert [(int(n), name.replace(" ", "_").upper()) for n, name in purposes] == [
        (p.value, p.name) for p in Purpose
    ]
    functions = re.findall(r"^\| (\d+) \| `(\w+)` \| [^|]* \|$", text, re.M)
    assert [(int(n), name) for n, name in functions] == [(f.number, f.name) for f in FUNCTIONS]


def test_examples_of_convert_and_quotient() -> None:
    rows = table("arithmetic.md", "A")
    assert rows
    for row in rows:
        value, shift, *results = map(int, row)
        drawn = [convert_stochastic(value, shift, r, 16) for r in (0, 0x8000, 0xFFFF)]
        assert results == [convert_nearest(value, shift, 16), *drawn]
    ((n, d, *results),) = ([int(c) for c in row] for row in table("arithmetic.md", "N"))
    draws = (0, 1431655765, 1431655766)
    assert results == [
        quotient_nearest(n, d, 16),
        *(quotient_stochastic(n, d, r, 16) for r in draws),
    ]


def test_examples_of_draws_and_exponentials() -> None:
    text = running("arithmetic.md")
    seed, site, step, purpose = 81985529216486895, 3, 5, Purpose.FORWARD
    assert f"Seed {seed}, site {site}, step {step}, purpose {purpose.value}" in text
    words = random.words(seed, site, step, purpose, 0, 4).tolist()
    halves = random.halves(seed, site, step, purpose, 0, 4).tolist()
    assert ", ".join(map(str, words)) in text
    assert ", ".join(map(str, halves)) in text
    values = re.findall(r"E\((\d+)\) = (\d+)", text)
    assert len(values) == 6
    assert all(exponential(int(d), 8) == int(e) for d, e in values)
    for epoch in (0, 1):
        order = ", ".join(map(str, random.permutation(1, epoch, 10).tolist()))
        assert f"epoch {epoch} is {order}" in text


def test_operators_that_move_u8_are_the_stated_ones() -> None:
    text = running("arithmetic.md")
    (stated,) = re.findall(r"accepted only by operators that move elements: ([^.]*)\.", text)
    moving = {n for n, op in OPERATORS.items() if any("u8" in i.accepts for i in op.inputs)}
    assert set(re.findall(r"`(\w+)`", stated)) == moving


def test_every_exact_result_has_a_stated_bound() -> None:
    exact = {n for n, op in OPERATORS.items() if op.result == "exact"}
    rows = table("arithmetic.md", "operator | F of the result")
    stated = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert exact == stated


# --- program.md and abi.md ---------------------------------------------------------------------


def test_example_of_a_program() -> None:
    text = document("program.md")
    lines = re.findall(r"^    ([0-9a-f]{2,64})$", text, re.M)
    data = bytes.fromhex("".join(lines))
    assert f"The {len(data)} bytes:" in running("program.md")
    native = _core.Program(data)
    graph_id, parameters_id = re.findall(r"`([0-9a-f]{64})`", text)
    assert native.info()["graph_id"].hex() == graph_id
    buffer = np.array([256, -128], dtype="<i2").tobytes() + bytes(60)
    assert native.parameters_id(buffer).hex() == parameters_id
    session = _core.Session(native, 1, 0)
    session.write(2, buffer)
    examples = np.array([[256, 256], [512, -256]], dtype=np.int16)
    assert session.predict([examples])[0].tolist() == [[128], [640]]
    assert cbor.encode(cbor.decode(data)) == data


def test_statuses_are_those_of_the_header() -> None:
    stated = {int(row[0]): row[1].strip("`") for row in table("program.md", "status")}
    (enum,) = re.findall(r"enum gvm_status \{(.*?)\};", HEADER.read_text(), re.S)
    found = {int(n): name.lower() for name, n in re.findall(r"GVM_(\w+) = (-?\d+)", enum)}
    assert stated == {n: name for n, name in found.items() if n > 0}
    assert len(stated) == 13


def test_limits_are_those_of_the_header() -> None:
    stated = {row[0].strip("`"): row[1] for row in table("abi.md", "field")}
    found = re.findall(r"uint64_t (\w+);\s+/\* [^*]*default (2\^\d+)", HEADER.read_text())
    assert stated == dict(found)


def test_the_program_in_c_compiles(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is here")
    (code,) = re.findall(r"```c\n(.*?)```", document("abi.md"), re.S)
    source = tmp_path / "train.c"
    source.write_text(code)
    flags = "-std=c99 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only".split()
    done = subprocess.run(
        [compiler, *flags, f"-I{HEADER.parent.parent}", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_functions_named_in_the_documents_exist() -> None:
    header = HEADER.read_text()
    for name in ("abi.md", "program.md", "architecture.md"):
        named = set(re.findall(r"\b(gvm_[a-z0-9_]+)\b(?![./])", document(name)))
        assert [n for n in sorted(named) if n not in header] == []


# --- determinism.md and the rest ---------------------------------------------------------------


def test_tests_named_in_the_documents_exist() -> None:
    for name in ("determinism.md", "arithmetic.md", "adding-an-operator.md"):
        text = document(name)
        for file in re.findall(r"`(?:tests/)?((?:core/)?(?:test_\w+\.py|\w+_test\.cc))", text):
            assert (ROOT / "tests" / file).is_file(), file
        for file, function in re.findall(r"(test_\w+\.py)::(test_\w+)", text):
            assert f"def {function}(" in (ROOT / "tests" / file).read_text(), function
        for place in re.findall(r"`(?:tests/)?(vectors/[\w/.]+)`", text):
            if not INVENTED.search(place):
                assert (ROOT / "tests" / place).exists(), place


def test_paths_named_in_the_documents_exist() -> None:
    for path in (*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md")):
        for place in re.findall(
            r"`((?:gvm|tests|examples|benchmarks|docs)/[^`\s]*)`", path.read_text()
        ):
            if not INVENTED.search(place):
                assert (ROOT / place).exists(), f"{path.name}: {place}"


def test_decisions_are_short_numbered_and_listed() -> None:
    index = document("README.md")
    decisions = sorted(DOCS.glob("decisions/*.md"))
    assert [d.name[:4] for d in decisions] == [f"{n:04}" for n in range(1, len(decisions) + 1)]
    for decision in decisions:
        lines = decision.read_text().splitlines()
        assert len(lines) <= 50
        assert lines[0].startswith(f"# {decision.name[:4]}. ")
        assert all(f"**{part}" in "\n".join(lines) for part in ("Context", "Decision", "Rejected"))
        assert f"| [{decision.name[:4]}](decisions/{decision.name}) | {lines[0][8:]} |" in index
    for document_file in DOCS.glob("*.md"):
        assert document_file.name == "README.md" or f"({document_file.name})" in index


def test_every_operator_of_tensorflow_is_listed() -> None:
    import gvm.importers.tensorflow  # noqa: F401 (it registers operators)
    from gvm.importers import tensorflow_nodes

    text = (ROOT / "docs" / "importing.md").read_text()
    lists = [p for p in text.split("\n\n") if re.fullmatch(r"(`\w+`,\s)+`\w+`\.", p)]
    known = (tensorflow_nodes.HANDLERS, tensorflow_nodes.PATTERNS, tensorflow_nodes.DECIDED)
    course = re.compile(r"(Empty)?TensorList\w*|(Stateless)?(If|While)|(Stateful)?PartitionedCall")
    names = {name for table in known for name in table if not course.fullmatch(name)}
    assert set(re.findall(r"`(\w+)`", lists[-1])) == names
