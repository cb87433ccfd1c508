"""The ABI as text: functions, constants, and the layout of every struct as a compiler sees it.

    python -m tests.abi

writes tests/abi.txt, the published form. A line of it may change only with GVM_ABI_VERSION; lines
may be added. tests/test_abi.py compares.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "gvm" / "_core" / "include"
PUBLISHED = Path(__file__).parent / "abi.txt"


def bare(text: str) -> str:
    """The header without comments and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"^\s*#.*(\\\n.*)*$", "", text, flags=re.M)


def functions(text: str) -> Iterator[str]:
    """Every function as it is declared, without names of arguments' lines."""
    for found in re.findall(r"GVM_API\s+([^;]+);", text):
        yield "function " + " ".join(found.split())


def constants(text: str) -> list[str]:
    """The names of all enumerators."""
    bodies = re.findall(r"enum\s*\w*\s*\{([^}]*)\}", text)
    return [name for body in bodies for name in re.findall(r"(\w+)\s*=", body)]


def structs(text: str) -> Iterator[tuple[str, list[str]]]:
    """The names of structs and of their fields."""
    for body, name in re.findall(r"typedef struct \w+ \{([^}]*)\} (\w+);", text):
        fields = []
        for declaration in body.split(";"):
            words = declaration.strip()
            if words:
                fields += [
                    re.sub(r"\[.*", "", part).split()[-1].lstrip("*")
                    for part in re.sub(r"\[[^]]*\]", "", words).split(",")
                ]
        yield name, fields


def program(text: str) -> str:
    """A C program that prints constants and layouts."""
    lines = ["#include <gvm/gvm.h>", "#include <stdio.h>", "int main(void) {"]
    lines += [f'  printf("constant {n} %ld\\n", (long){n});' for n in constants(text)]
    for name, fields in structs(text):
        lines.append(f'  printf("struct {name} %zu\\n", sizeof({name}));')
        lines += [
            f'  printf("field {name}.{f} %zu %zu\\n", offsetof({name}, {f}), '
            f"sizeof((({name}*)0)->{f}));"
            for f in fields
        ]
    return "\n".join([*lines, "  return 0;", "}", ""])


def described(compiler: str) -> list[str]:
    """All lines, for the targets whose pointers have 64 bits."""
    text = bare((INCLUDE / "gvm" / "gvm.h").read_text())
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "abi.c", Path(folder) / "abi"
        source.write_text(program(text))
        subprocess.run(
            [compiler, "-std=c99", f"-I{INCLUDE}", source, "-o", made], check=True, timeout=120
        )
        printed = subprocess.run([made], capture_output=True, text=True, check=True).stdout
    return [*sorted(functions(text)), *printed.splitlines()]


if __name__ == "__main__":
    PUBLISHED.write_text("\n".join(described("cc")) + "\n")
