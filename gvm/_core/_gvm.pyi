"""Types of the extension; what it does stands in gvm.h."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gvm.types import Type

Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]

ABI_VERSION: int
SEMANTICS_VERSION: int

def version() -> str: ...
def cpu_level() -> int: ...
def infer(
    opcode: int,
    types: Sequence[Type],
    attributes: Sequence[int | tuple[int, ...]],
    max_batch: int,
    node: int = -1,
) -> list[Type]: ...
def run_operator(
    opcode: int,
    attributes: Sequence[int | tuple[int, ...]],
    inputs: Sequence[tuple[Type, NDArray[Any]]],
    local: int,
    offset: int,
    batch: int,
    seed: int,
    step: int,
    site: int,
    level: int,
    threads: int,
) -> tuple[list[NDArray[Any]], int]: ...
def blake3(bytes: Buffer) -> bytes: ...
def random_words(
    seed: int, site: int, step: int, purpose: int, first: int, count: int
) -> NDArray[np.uint32]: ...
def unary_table(
    function: int, in_bits: int, out_bits: int, bits: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]: ...
def parse_file(bytes: Buffer) -> tuple[bytes, bytes, bytes, bytes]: ...
def write_file(program: bytes, parameters: bytes, state: bytes, info: bytes) -> bytes: ...

class Program:
    def __init__(self, bytes: Buffer, limits: dict[str, int] | None = None) -> None: ...
    def info(self) -> dict[str, Any]: ...
    def tensors(self, section: int) -> list[tuple[Type, int, int]]: ...
    def cost(self, function: int, batch: int) -> dict[str, int]: ...
    def parameters_id(self, bytes: Buffer) -> bytes: ...

class Session:
    def __init__(self, program: Program, threads: int = 0, level: int = -1) -> None: ...
    def write(self, section: int, bytes: Buffer) -> None: ...
    def read(self, section: int) -> bytes: ...
    def predict(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]: ...
    def loss(
        self, inputs: Sequence[NDArray[Any]], labels: Sequence[NDArray[Any]]
    ) -> tuple[int, int, int]: ...
    def apply(self, totals: NDArray[np.int64], seed: int, step: int) -> None: ...
    def step(
        self,
        inputs: Sequence[NDArray[Any]],
        labels: Sequence[NDArray[Any]],
        seed: int,
        step: int,
        count: int,
    ) -> NDArray[np.int64]: ...
    def clamps(self, function: int) -> list[int]: ...
    def plan(self, function: int, batch: int) -> str: ...

class Shard:
    def __init__(
        self,
        session: Session,
        inputs: Sequence[NDArray[Any]],
        labels: Sequence[NDArray[Any]],
        offset: int,
        batch: int,
        seed: int,
        step: int,
    ) -> None: ...
    def run(self, segment: int, totals: NDArray[np.int64], sums: NDArray[np.int64]) -> None: ...
