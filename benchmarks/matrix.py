"""The conformance matrix: the same sources on every target that can be built and run here.

    python -m benchmarks.matrix [--only aarch64] [--quick]

Builds the library, its C++ tests and gvm-conform for each target, natively, for QEMU's user mode or
for Node, and runs them. All targets must print one digest for the vectors and one for 10 000
training steps. A row stands until its target is run again. Writes benchmarks/results/matrix.json
and the table of docs/conformance.md. Status 1 where a target differs or fails. Compilers that are
missing are installed where this is Debian and the user is root; a target that still cannot be built
is listed as not tried.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.environment import RESULTS, ROOT, environment, write_json
from gvm.files import write_bytes

BUILD = ROOT / "build" / "matrix"
DOCUMENT = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"
VECTORS = str(ROOT / "tests" / "vectors")
LONG = 10_000
TRIPLES = {
    "aarch64": "aarch64-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "i686": "i686-linux-gnu",
}
WASM_PACKAGES = (
    *("clang", "lld", "wasi-libc", "libclang-rt-14-dev", "libclang-rt-14-dev-wasm32"),
    *("libc++-14-dev-wasm32", "libc++abi-14-dev-wasm32"),
)


@dataclass(frozen=True)
class Target:
    """One row: how it is built, and how its programs are run."""

    name: str
    about: str
    compiler: str
    options: tuple[str, ...]
    emulator: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    build: str = ""
    """The target whose build this one runs; its own where empty."""
    tests: bool = True
    """Whether the C++ tests run too."""

    @property
    def folder(self) -> str:
        return str(BUILD / (self.build or self.name))


@dataclass(frozen=True)
class Row:
    """What a target came to."""

    name: str
    about: str
    compiler: str
    tests: str
    vectors: str
    """Digest of all answers."""
    steps: str
    """Digest of 10 000 training steps."""
    levels: str
    wrong: str
    seconds: float
    date: str
    commit: str


def native(compiler: str, level: str) -> Target:
    """x86-64 as it is here."""
    c, cxx = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}[compiler]
    build_type = {"-O3": "Release", "-O0": "Debug"}[level]
    options = (
        f"-DCMAKE_BUILD_TYPE={build_type}",
        f"-DCMAKE_C_COMPILER={c}",
        f"-DCMAKE_CXX_COMPILER={cxx}",
    )
    return Target(
        f"x86-64 {compiler} {level}",
        "native",
        cxx,
        options,
        packages=("clang",) if compiler == "clang" else (),
        tests=level == "-O3",
    )


def older(cpu: str, about: str) -> Target:
    """The native build on a processor that lacks instructions."""
    return Target(
        f"x86-64 {cpu}",
        about,
        "g++",
        (),
        ("qemu-x86_64", "-cpu", cpu),
        ("qemu-user",),
        build="x86-64 gcc -O3",
        tests=False,
    )


def cross(processor: str, about: str, level: str = "-O3") -> Target:
    """A cross compiler of GCC, and QEMU; i686 runs as it is."""
    triple = TRIPLES[processor]
    emulator = () if processor == "i686" else (f"qemu-{processor}", "-L", f"/usr/{triple}")
    options = (
        f"-DCMAKE_BUILD_TYPE={'Release' if level == '-O3' else 'Debug'}",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/toolchains/linux.cmake",
        f"-DGVM_TRIPLE={triple}",
        f"-DGVM_EMULATOR={';'.join(emulator)}",
    )
    named = processor if level == "-O3" else f"{processor} {level}"
    return Target(
        named,
        about,
        f"{triple}-g++",
        options,
        emulator,
        (f"g++-{triple}", "qemu-user"),
        tests=level == "-O3",
    )


def wasm() -> Target:
    """wasm32 with wasi-libc, in Node."""
    options = (
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/toolchains/wasm.cmake",
        *("-DGVM_THREADS=OFF", "-DGVM_EXCEPTIONS=OFF", "-DGVM_STATIC=ON"),
    )
    emulator = ("node", "--no-warnings", str(ROOT / "cmake" / "toolchains" / "wasi.mjs"))
    about = "32 bits, SIMD of 128 bits by the compiler, no threads; Node"
    return Target("wasm32", about, "clang++", options, emulator, WASM_PACKAGES)


def targets() -> Iterator[Target]:
    """The rows of the table, in order."""
    for compiler in ("gcc", "clang"):
        for level in ("-O3", "-O0"):
            yield native(compiler, level)
    yield older("Nehalem", "no AVX2: scalar; QEMU")
    yield older("Haswell", "no AVX-512: scalar, AVX2; QEMU")
    yield cross("aarch64", "NEON; QEMU")
    yield cross("riscv64", "64 bits; QEMU")
    yield cross("s390x", "64 bits, big-endian; QEMU")
    yield cross("s390x", "64 bits, big-endian; QEMU", "-O0")
    yield cross("arm", "32 bits, no `__int128`; QEMU")
    yield cross("i686", "32 bits, no `__int128`; native")
    yield wasm()


def run(command: list[str], timeout: int = 3600) -> subprocess.CompletedProcess[str]:
    """A command with its output; status 124 where it took too long."""
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        late = f"{command[0]} took more than {timeout} seconds"
        return subprocess.CompletedProcess(command, 124, "", late)


def install(target: Target) -> None:
    """Debian's packages for a target whose compiler or emulator is not here."""
    needed = [target.compiler, *target.emulator[:1]]
    if target.name == "wasm32":
        needed += ["wasm-ld"]
    if all(shutil.which(name) for name in needed) or not target.packages:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        run(["apt-get", "update", "-q"])
        run(["apt-get", "install", "-qy", "--no-install-recommends", *target.packages])


def build(target: Target, jobs: int) -> str:
    """Builds a target; what went wrong, or nothing."""
    if target.build:
        return ""
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    configure = ["cmake", "-S", str(ROOT), "-B", target.folder, "-G", "Ninja", "-DGVM_WERROR=ON"]
    for command in (
        [*configure, *target.options, *launcher],
        ["cmake", "--build", target.folder, f"-j{jobs}"]
        + ([] if target.tests else ["--target", "gvm-conform"]),
    ):
        done = run(command)
        if done.returncode != 0:
            return "\n".join((done.stdout + done.stderr).splitlines()[-30:])
    return ""


def conform(target: Target, *arguments: str) -> tuple[str, str, str]:
    """The digest of gvm-conform, the number of wrong answers, and the levels that it took."""
    program = f"{target.folder}/gvm-conform"
    done = run([*target.emulator, program, *arguments, VECTORS])
    digest = re.search(r"^all ([0-9a-f]{64})$", done.stdout, re.M)
    wrong = re.search(r"^answers (\d+), wrong (\d+)$", done.stdout, re.M)
    levels = re.search(r"levels ([\d ]+),", done.stdout)
    if digest is None or wrong is None or levels is None:
        return f"failed: {(done.stderr or done.stdout)[-200:]}", "", ""
    return digest[1], f"{wrong[2]} of {wrong[1]}", levels[1]


def version(target: Target) -> str:
    """The compiler's own name."""
    first = run([target.compiler, "--version"]).stdout.splitlines()[0]
    found = re.search(r"(\d+\.\d+\.\d+)", first)
    name = "clang" if "clang" in first else "GCC"
    return f"{name} {found[1] if found else ''}"


def tested(target: Target) -> str:
    """The C++ tests: passed of all."""
    if not target.tests:
        return "-"
    done = run(["ctest", "--test-dir", target.folder, "-E", "^conform", "-j2"])
    found = re.search(r"tests passed(?:, (\d+) tests failed)? out of (\d+)", done.stdout)
    if found is None:
        return "none ran"
    return f"{int(found[2]) - int(found[1] or 0)} of {found[2]}"


def chosen(only: str) -> list[Target]:
    """For each name in turn the target so named, or those whose names contain it."""
    found: list[Target] = []
    for name in only.split(","):
        exact = [t for t in targets() if t.name == name]
        found += exact or [t for t in targets() if name in t.name]
    return found


def measure(target: Target, jobs: int, quick: bool, where: dict[str, Any]) -> Row:
    """One row; ``where`` is the environment when the command began, before it wrote results."""
    began = time.monotonic()
    install(target)

    def row(compiler: str, tests: str, vectors: str, steps: str, levels: str, wrong: str) -> Row:
        seconds = round(time.monotonic() - began, 1)
        return Row(
            *(target.name, target.about, compiler, tests, vectors, steps, levels, wrong, seconds),
            *(where["date"], where["commit"]),
        )

    if not shutil.which(target.compiler) or not all(map(shutil.which, target.emulator[:1])):
        return row("not here", "-", "not tried", "not tried", "", "")
    trouble = build(target, jobs)
    if trouble:
        print(trouble)
        return row(version(target), "-", "does not build", "does not build", "", "")
    vectors, wrong, levels = conform(target)
    steps = "not tried" if quick else conform(target, "--only", "training", "--steps", str(LONG))[0]
    tests = "-" if quick else tested(target)
    return row(version(target), tests, vectors, steps, levels, wrong)


def verdict(row: Row, rows: list[Row]) -> str:
    """Equal, or what is wrong: an answer that is not the published one, a C++ test, another state
    after 10 000 steps, or another digest than the first row of the same commit."""
    if row.vectors == "not tried":
        return "not tried"
    tests = row.tests.rpartition(" of ")[2]
    good = row.wrong.startswith("0 of ") and row.tests in ("-", f"{tests} of {tests}")
    first = next(r for r in rows if r.commit == row.commit)
    same = row.vectors == first.vectors and row.steps == rows[0].steps
    return "equal" if good and same else "DIFFERS"


def table(rows: list[Row]) -> str:
    """The table of the document."""
    lines = [
        "| target | what it is | compiler | C++ tests | levels | wrong answers | all | when |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.name} | {r.about} | {r.compiler} | {r.tests} | {r.levels} | {r.wrong} "
            f"| {verdict(r, rows)} | {r.date}, `{r.commit}` |"
            for r in rows
        ),
        "",
        f"Digest of all answers at commit `{rows[0].commit}`: `{rows[0].vectors}`.",
        f"Digest of the runs with {LONG} steps: `{rows[0].steps}`.",
    ]
    return "\n".join(lines)


def write(rows: list[Row], where: dict[str, Any]) -> None:
    """The rows, those of other targets as they were, in the order of the targets; the document."""
    path = RESULTS / "matrix.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    known = {r.name: r for r in [*(Row(**body) for body in before), *rows]}
    kept = [known[t.name] for t in targets() if t.name in known]
    write_json("matrix", {"environment": where, "rows": [asdict(row) for row in kept]})
    text, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    write_bytes(DOCUMENT, f"{text}{BEGIN}\n\n{table(kept)}\n\n{END}{after}".encode())


def main(
    only: Annotated[
        str, typer.Option(help="Names of targets or parts of names, comma between.")
    ] = "",
    quick: Annotated[bool, typer.Option(help="Only the vectors; writes no result.")] = False,
    jobs: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 2,
) -> None:
    """Builds and runs; status 1 where a target differs."""
    rows: list[Row] = []
    made = Table("target", "compiler", "C++ tests", "levels", "answers wrong", "seconds", "all")
    where = environment()
    for target in chosen(only):
        row = measure(target, jobs, quick, where)
        rows.append(row)
        print(f"{row.name}: {row.wrong} wrong, {row.vectors}, {row.steps}", flush=True)
        made.add_row(
            *(row.name, row.compiler, row.tests, row.levels, row.wrong, str(row.seconds)),
            verdict(row, rows),
        )
        if not quick:
            write([row], where)
    Console().print(made)
    raise typer.Exit(any(verdict(row, rows) == "DIFFERS" for row in rows))


if __name__ == "__main__":
    typer.run(main)
