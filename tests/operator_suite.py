"""What the tests of operators share: painted data, the reference and the core on one case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm import _core
from gvm.errors import ProgramError
from gvm.operator import AttributeValue, Case, Execution, Operator
from gvm.types import NUMPY, RANGE, Type

PERIOD = 251
SEED, STEP, SITE = 0xFEDCBA9876543210, 2**40 + 3, 77
MAX_BATCH = 1 << 20
KINDS = ("painted", "minima", "maxima", "alternating", "zeros", "random", "small")

Array = NDArray[Any]
Attributes = dict[str, AttributeValue]


def limits(case: Case, position: int) -> tuple[int, int]:
    """The least and the greatest integer that an input of a case may hold."""
    type_ = case.inputs[position]
    least, greatest = RANGE[type_.dtype]
    if type_.dtype == "i64" and type_.bound:
        least, greatest = -type_.bound, type_.bound
    if position == len(case.inputs) - 1:
        least = least if case.low is None else case.low
        greatest = greatest if case.high is None else case.high
    return least, greatest


def paint(case: Case, kind: str, largest: int = 2**63) -> list[Array]:
    """The inputs of a case: its own data for "given", else integers within its limits."""
    if kind == "given":
        return [np.array(d, dtype=np.int64) for d in case.data or ()]
    made = []
    for position, type_ in enumerate(case.inputs):
        least, greatest = limits(case, position)
        least, greatest = max(least, -largest), min(greatest, largest)
        shape = type_.concrete(case.local)
        index = np.arange(int(np.prod(shape, dtype=np.int64)))
        made.append(_painted(kind, index, least, greatest, position).reshape(shape))
    return made


def _painted(kind: str, index: Array, least: int, greatest: int, position: int) -> Array:
    span = greatest - least + 1
    if kind == "painted":
        words = ((i + 1) * (2 * position + 0x9E3779B97F4A7C15) % 2**64 for i in range(PERIOD))
        period = np.array([least + (w >> 1) * span // 2**63 for w in words], dtype=np.int64)
        return period[index % PERIOD]
    if kind in ("random", "small"):
        if kind == "small":
            least, greatest = max(least, min(-5, greatest)), min(greatest, max(5, least))
        generator = np.random.default_rng(position + 1)
        return generator.integers(least, greatest, index.shape, dtype=np.int64, endpoint=True)
    if kind == "alternating":
        return np.where((index + position) % 2 == 0, least, greatest)
    constant = {"minima": least, "maxima": greatest, "zeros": min(max(0, least), greatest)}[kind]
    return np.full(index.shape, constant, dtype=np.int64)


def is_index(operator: type[Operator], position: int, type_: Type) -> bool:
    """Whether an input is a condition, a label or a count: one type only, no fraction bits, no
    gradient."""
    only = operator.input_spec(position).accepts
    return only in (("bool",), ("i32",), ("i64",)) and type_.fraction_bits == 0


def roundings(operator: type[Operator], case: Case) -> Iterator[Attributes]:
    """The attributes of a case, to nearest and with every stochastic purpose where it rounds."""
    complete = operator.complete(case.attributes)
    names = [a.name for a in operator.attributes if a.name.endswith("rounding")]
    yield complete
    for rounding in range(5) if names else ():
        other = complete | dict.fromkeys(names, rounding)
        if other != complete and accepted(operator, case, other):
            yield other


def flat(attributes: Mapping[str, AttributeValue]) -> list[AttributeValue]:
    """Attribute values in the order of the schema."""
    return list(attributes.values())


def accepted(operator: type[Operator], case: Case, attributes: Attributes) -> bool:
    """Whether the core takes the case with these attributes (a rounding may be refused)."""
    try:
        infer(operator, case.inputs, attributes)
    except ProgramError:
        return False
    return True


def infer(
    operator: type[Operator], inputs: Sequence[Type], attributes: Mapping[str, AttributeValue]
) -> list[Type]:
    """The output types that the core derives."""
    return list(_core.infer(operator.opcode, list(inputs), flat(attributes), MAX_BATCH, -1))


def reference(
    operator: type[Operator], case: Case, attributes: Attributes, inputs: Sequence[Array]
) -> tuple[list[Array], int]:
    """Outputs and clamps by the reference."""
    execution = Execution(
        input_types=case.inputs,
        output_types=tuple(infer(operator, case.inputs, attributes)),
        local=case.local,
        offset=case.offset,
        batch=case.batch,
        seed=SEED,
        step=STEP,
        site=SITE,
    )
    made = operator.reference(execution, attributes, *inputs)
    outputs = [np.asarray(a) for a in (made if isinstance(made, tuple) else (made,))]
    for output, type_ in zip(outputs, execution.output_types, strict=True):
        assert output.shape == type_.concrete(case.local)
        least, greatest = RANGE[type_.dtype]
        if type_.dtype == "i64":
            least, greatest = -type_.bound, type_.bound
        assert all(least <= int(v) <= greatest for v in (output.min(), output.max()))
    return [output.astype(np.int64) for output in outputs], execution.clamps.count


def core(
    operator: type[Operator],
    case: Case,
    attributes: Attributes,
    inputs: Sequence[Array],
    level: int,
    threads: int = 1,
) -> tuple[list[Array], int]:
    """Outputs and clamps by the core."""
    given = [
        (t, a.astype(NUMPY[t.dtype], order="C")) for t, a in zip(case.inputs, inputs, strict=True)
    ]
    outputs, clamps = _core.run_operator(
        operator.opcode,
        flat(attributes),
        given,
        local=case.local,
        offset=case.offset,
        batch=case.batch,
        seed=SEED,
        step=STEP,
        site=SITE,
        level=level,
        threads=threads,
    )
    return [np.asarray(o) for o in outputs], int(clamps)


def shard(case: Case, offset: int, local: int) -> Case:
    """The case on a part of the batch of its own shard."""
    return replace(case, offset=case.offset + offset, local=local)


def cut(case: Case, inputs: Sequence[Array], offset: int, local: int) -> list[Array]:
    """The inputs of a shard."""
    return [
        a if t.batch_axis is None else a.take(range(offset, offset + local), axis=t.batch_axis)
        for t, a in zip(case.inputs, inputs, strict=True)
    ]
