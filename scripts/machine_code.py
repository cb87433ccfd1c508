#!/usr/bin/env python3
"""No result of the CUDA backend passes through a floating-point number: reads the machine code.

    scripts/machine_code.py build/cuda/libgvm.so

A GPU has no instruction that divides integers. nvcc makes one of an estimate by MUFU.RCP, to and
from which I2F and F2I lead, and of 16 bits by I2FP, FMUL, FSETP and FSEL; the integers that come
out are exact. HFMA2.MMA with RZ moves a constant. Nothing else that computes with floats may be
there.
Needs cuobjdump and nvdisasm; exit status 1 where something is found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[0-9TZ]+\s+)?(?P<text>[A-Z][^;]*);")
FLOATING = re.compile(r"^(F(?!LO)|D(?!EPBAR)|H(?=ADD|MUL|FMA|SET|MNMX)|MUFU|I2F|F2|[CR]?HMMA)")
OF_DIVISIONS = re.compile(r"^(MUFU\.RCP\b|I2F|I2FP|F2I|FMUL|FSETP|FSEL)")
CONSTANT = re.compile(r"^HFMA2\.MMA R\d+, -RZ, RZ, ")


def main(library: str) -> int:
    code = subprocess.run(
        ["cuobjdump", "-sass", library], capture_output=True, text=True, check=True
    )
    seen: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for line in code.stdout.splitlines():
        found = INSTRUCTION.match(line)
        if found is None:
            continue
        text = found["text"].strip()
        seen[text.split()[0].split(".")[0]] += 1
        if FLOATING.match(text) and not OF_DIVISIONS.match(text) and not CONSTANT.match(text):
            wrong[text] += 1
    print(f"{library}: {seen.total()} instructions")
    for name in ("MUFU", "I2F", "I2FP", "F2I", "FMUL", "FSETP", "FSEL"):
        print(f"  {name}: {seen[name]}, of integer divisions")
    for text, count in wrong.most_common():
        print(f"  {count} x {text}", file=sys.stderr)
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
