"""The rules of the house that a program can check (CONTRIBUTING.md says why)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "gvm" / "_core"
SUFFIXES = {
    ".py",
    ".pyi",
    ".cc",
    ".h",
    ".c",
    ".inc",
    ".cu",
    ".md",
    ".toml",
    ".cmake",
    ".in",
    ".txt",
}

# Files that may pass 500 lines, each with its reason.
LONG = {
    "tests/core/abi_test.cc": "one short test for each promise of gvm.h",
}


def _tracked() -> list[Path]:
    """The files of the project: what git tracks or would track, or all of an unpacked archive."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        skipped = {".venv", "build", "dist", "shared"}
        paths = [p for p in ROOT.rglob("*") if p.relative_to(ROOT).parts[0] not in skipped]
    return sorted(p for p in paths if p.is_file())


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _text_files() -> list[Path]:
    special = {"Makefile", "CMakeLists.txt", ".gitignore", "run"}
    return [p for p in _tracked() if p.suffix in SUFFIXES or p.name in special]


def _core_sources() -> list[Path]:
    return [
        p for p in _tracked() if p.is_relative_to(CORE) and p.suffix in {".cc", ".h", ".inc", ".cu"}
    ]


def _python(folder: str) -> list[Path]:
    return [p for p in _tracked() if p.suffix == ".py" and p.is_relative_to(ROOT / folder)]


def _code(text: str) -> str:
    """C++ without comments, strings and character literals; lines keep their numbers."""
    pattern = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        # A digit separator (1'000'000) is not a character literal.
        return "\n" * found.count("\n") + " "

    return re.sub(pattern, blank, re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", text), flags=re.S)


def _imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, at module level) of each import, of those under TYPE_CHECKING too."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(tree):
        top = id(node) not in inside
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, top
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module, node.lineno, top
            for alias in node.names:
                yield f"{module}.{alias.name}", node.lineno, top


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def _breaches(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{_name(path)}:{line} imports {module}"
        for path in _python(folder)
        for module, line, _ in _imports(path)
        if _is_in(module, forbidden)
    ]


FLOATING = re.compile(
    r"\b(float|double|_Float\d+x?|__bf16|float(16|32|64)_t|__m(128|256|512)d?|std::float\w+"
    r"|\d+\.\d*([eE][-+]?\d+)?[fFlL]?|\d+[eE][-+]?\d+)(?![\w.])"
)


@pytest.mark.parametrize(
    "line", ["float x;", "auto y = 1.5;", "y = 2.f;", "1e9", "__m256d a;", "f(.5, double(1))"]
)
def test_floating_point_is_recognised(line: str) -> None:
    assert FLOATING.search(_code(line))


@pytest.mark.parametrize(
    "line", ["// a float", 'printf("1.5");', "__m256i a;", "1'000'000", "v1.0x", "0x1e9"]
)
def test_integers_are_not_taken_for_floating_point(line: str) -> None:
    assert not FLOATING.search(_code(line))


def test_core_has_no_floating_point() -> None:
    includes = re.compile(r"#\s*include\s*<(cmath|math\.h|cfloat|float\.h|complex|random)>")
    found = []
    for path in _core_sources():
        for number, line in enumerate(_code(path.read_text()).splitlines(), 1):
            if FLOATING.search(line) or includes.search(line):
                found.append(f"{_name(path)}:{number}: {line.strip()}")
    assert not found


def test_core_headers_are_included_once() -> None:
    public = CORE / "include"
    headers = [p for p in _core_sources() if p.suffix == ".h" and not p.is_relative_to(public)]
    assert [_name(p) for p in headers if "#pragma once" not in p.read_text()] == []


def test_only_dispatch_knows_processors() -> None:
    # kernels.h makes one 0 or 1 macro of the compiler's target; dispatch.cc does the rest.
    condition = re.compile(
        r"^\s*#\s*(el)?if.*\b(GVM_HAVE_\w+|__AVX\w*|__SSE\w*|__BMI\w*|__ARM_\w+|__aarch64__|__x86_64__"
        r"|__i386__|__riscv\w*|__wasm\w*)\b"
    )
    found = [
        f"{_name(path)}:{number}"
        for path in _core_sources()
        if path not in {CORE / "cpu" / "dispatch.cc", CORE / "cpu" / "kernels.h"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if condition.match(line)
    ]
    assert not found


def test_only_backends_knows_backends() -> None:
    condition = re.compile(r"^\s*#\s*(el)?if.*\b(GVM_CUDA|GVM_WITH_\w+)\b")
    found = {
        _name(p)
        for p in _core_sources()
        for line in p.read_text().splitlines()
        if condition.match(line)
    }
    assert found <= {"gvm/_core/backends.cc"}


def test_feature_macros_are_numbers() -> None:
    found = [
        f"{_name(path)}:{number}"
        for path in _core_sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"^\s*#\s*ifn?def\s+GVM_(HAVE|WITH|CUDA)", line)
    ]
    assert not found


def test_core_throws_nothing() -> None:
    # Nothing but the extension's own translation of statuses, and what guarded() makes a status of.
    found = [
        f"{_name(path)}:{number}"
        for path in _core_sources()
        if path.name not in ("bindings.cc", "bindings.h")
        for number, line in enumerate(_code(path.read_text()).splitlines(), 1)
        if re.search(r"\bthrow\b|\bassert\s*\(|\babort\s*\(", line)
        and "throw DeviceFailure" not in line
    ]
    assert not found


def test_primitive_has_its_paths() -> None:
    from gvm.ops import OPERATORS

    missing = [
        f"{name}: {path}"
        for name, operator in OPERATORS.items()
        if getattr(operator, "opcode", None) is not None
        for path in (f"gvm/ops/{name}.py", f"gvm/_core/ops/{name}.cc", f"gvm/_core/cpu/{name}.cc")
        if not (ROOT / path).is_file()
    ]
    assert not missing
    rules = {p.stem for p in (CORE / "ops").glob("*.cc")}
    assert rules <= set(OPERATORS)


def test_opcodes_are_unique_and_few() -> None:
    from gvm.ops import OPERATORS

    opcodes = [op.opcode for op in OPERATORS.values() if getattr(op, "opcode", None) is not None]
    assert len(opcodes) == len(set(opcodes))
    assert len(opcodes) < 64


def test_operators_of_inference_have_an_onnx_form() -> None:
    from gvm.exporters.onnx_forms import FORMS, NO_FORM
    from gvm.ops import OPERATORS

    inference = {name for name, operator in OPERATORS.items() if operator.differentiable}
    missing = inference - set(FORMS) - set(NO_FORM)
    assert not missing, "write their forms in gvm/exporters/onnx_forms.py"
    assert set(FORMS) <= set(OPERATORS)
    # Of these every network has the first, and the compiler leaves the second out of inference.
    tried = set(re.findall(r"\w+", (ROOT / "tests" / "test_export_onnx.py").read_text()))
    untried = set(FORMS) - tried - {"convert", "dropout"}
    assert not untried, "write their cases in tests/test_export_onnx.py"


def test_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gvm.generate", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_operators_know_nothing_above_them() -> None:
    above = (
        "_core",
        "importers",
        "passes",
        "model",
        "training",
        "cli",
        "quantize",
        "autodiff",
        "templates",
    )
    assert not _breaches("gvm/ops", tuple(f"gvm.{name}" for name in above))


def test_importers_and_passes_do_not_execute() -> None:
    for folder in ("gvm/importers", "gvm/passes"):
        assert not _breaches(folder, ("gvm._core", "gvm.model", "gvm.cli"))


def test_frameworks_are_imported_late_and_in_one_place() -> None:
    frameworks = ("tensorflow", "keras", "onnx", "h5py", "torch")
    doors = (ROOT / "gvm" / "importers", ROOT / "gvm" / "exporters")
    plugged_in = ROOT / "gvm" / "onnx_backend.py"  # a subclass of ONNX's, which gvm never imports
    found = [
        f"{_name(path)}:{line} imports {module}"
        for path in _python("gvm")
        if path != plugged_in
        for module, line, top in _imports(path)
        if module == "gvm.onnx_backend"
        or _is_in(module, frameworks)
        and (top or not any(path.is_relative_to(d) for d in doors))
    ]
    assert not found


def test_only_the_door_is_used() -> None:
    # Python reaches the core through one module that wraps the C ABI.
    users = {
        _name(path)
        for path in _python("gvm") + _python("chain")
        for module, _, _ in _imports(path)
        if _is_in(module, ("gvm._core._gvm",))
    }
    assert users <= {"gvm/_core/__init__.py"}


def test_chain_is_pure() -> None:
    world = (
        *(
            "asyncio",
            "datetime",
            "io",
            "multiprocessing",
            "numpy",
            "os",
            "pathlib",
            "random",
            "secrets",
        ),
        *("socket", "subprocess", "sys", "tempfile", "threading", "time", "gvm._core"),
    )
    found = [b for b in _breaches("chain", world) if not b.startswith("chain/adapters/")]
    found += [b for b in _breaches("chain/adapters", ("gvm._core",)) if b not in found]
    assert not found


def test_chain_does_not_assert() -> None:
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in _python("chain")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert not found


def test_long_files_have_a_reason() -> None:
    sources = [p for p in _tracked() if p.suffix in {".py", ".cc", ".h", ".c", ".cu", ".cmake"}]
    long = {_name(p) for p in sources if len(p.read_text().splitlines()) > 500}
    assert long <= set(LONG)
    assert all((ROOT / name).is_file() for name in LONG)


def test_nothing_is_left_to_do() -> None:
    words = re.compile(
        r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b"
    )
    found = [
        f"{_name(path)}:{number}"
        for path in _text_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not found


def test_no_path_of_one_machine() -> None:
    words = re.compile(r"(?<![\w.])/(home/\w|root/|Users/\w|work/|opt/(wheels|pypi))")
    found = [
        f"{_name(path)}:{number}"
        for path in _text_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not found


def test_texts_end_with_one_newline() -> None:
    found = []
    for path in _text_files():
        data = path.read_bytes()
        if data and (not data.endswith(b"\n") or data.endswith(b"\n\n") or b"\r" in data):
            found.append(_name(path))
    assert not found


def test_changelog_has_unreleased() -> None:
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text()


def test_version_is_written_once() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(\d+\.\d+\.\d+)"$', text, re.M)
    assert version
    quoted = f'"{version.group(1)}"'
    sources = [p for p in _tracked() if p.suffix in {".py", ".cc", ".h", ".cmake"}]
    assert [_name(p) for p in sources if quoted in p.read_text()] == []


def test_links_lead_somewhere() -> None:
    found = [
        f"{_name(path)}: {target}"
        for path in _tracked()
        if path.suffix == ".md"
        for text in [re.sub(r"```.*?```", "", path.read_text(), flags=re.S)]
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
        if not (path.parent / target).exists()
    ]
    assert not found
