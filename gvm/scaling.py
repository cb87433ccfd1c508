"""Delayed power-of-two scaling of gradients (docs/arithmetic.md, section 8): a rewriting of
``grad``, and the nodes of ``apply`` that choose the scales of the next step.

The integer q of a gradient in group c stands for q·2^(e[c] - F), F as the program says. What
decides e is the largest magnitude. How many examples of a batch reach each power of two is an exact
sum, from which ``apply`` reads that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gvm.adaptive import DIVISOR_BITS, Adaptive, DelayedScaling
from gvm.errors import GvmError
from gvm.gradient_groups import FIXED, MOST_BITS, Groups, groups_of
from gvm.operator import AttributeValue
from gvm.ops import BY_OPCODE, OPERATORS
from gvm.ops.compare import LESS, LESS_EQUAL
from gvm.program import Function, ParameterInfo, Program, Segment, Step
from gvm.steps import Steps
from gvm.tensors import ALIGNMENT, pack_parameters
from gvm.types import DTYPES, Type, i32

Integers = NDArray[np.int64]
Attributes = dict[str, AttributeValue]
MAGNITUDE_BITS, AT_LIMIT = 15, 3
"""Powers of two that a magnitude may reach, and how many bits one at the limit of its format counts
beyond them: nobody knows how large it was."""
LEVELS = MAGNITUDE_BITS + AT_LIMIT
GRADIENT_BITS, GRADIENT_ROOM = 20, 6
"""Fraction bits of a gradient of one scale where calibration said nothing of it; else so many fewer
than a moment of mean gradients has, as room for the sum over a batch."""
DIVISORS, POWERS, BEFORE, AFTER, NUMBERS, MAGNITUDES = range(6)
"""The parameters of a scaling; of magnitudes there is one for each format."""
NAMES = ("divisors", "powers", "before", "after", "numbers", "magnitudes")
ZERO, ONE, MIDDLE, TARGET, FINEST, COARSEST = range(6)
WHOLE: Attributes = {"dtype": DTYPES["i32"], "fraction_bits": 0, "rounding": 0}


def begin_scaling(
    program: Program, parameters: bytes, scaling: DelayedScaling | None
) -> tuple[Program, bytes]:
    """The program whose gradients have delayed scales, ``apply`` still to be made, and its
    parameters, every scale 1. One that has them keeps them; asked for others it is a GvmError, and
    so is a program without a gradient that is rounded on its way."""
    known = program.scaling
    if known is None:
        if scaling is None:
            return program, parameters
        made, added = _scaled(program, scaling)
        types = made.parameters[len(program.parameters) :]
        return made, parameters + pack_parameters(types, added)
    if scaling is not None and scaling != known.options:
        raise GvmError(f"scaling: the model was trained with {known.options}; import it again")
    size = sum(_padded(t) for t in program.parameters[: known.first])
    divisors = program.parameters[known.first]
    begun = pack_parameters([divisors], [np.full(divisors.shape, 1 << DIVISOR_BITS)])
    return program, parameters[:size] + begun + parameters[size + len(begun) :]


def _padded(t: Type) -> int:
    size = int(np.prod(t.shape, dtype=np.int64)) * max(1, t.bits // 8)
    return -(-size // ALIGNMENT) * ALIGNMENT


def _scaled(program: Program, options: DelayedScaling) -> tuple[Program, list[Integers]]:
    """The program with scales, and the integers of its new parameters."""
    assert program.grad is not None
    found = groups_of(program)
    seen = [v for v in found.seen if found.of(v) != FIXED]
    names = sorted({found.of(v) for v in seen})
    group = {name: i for i, name in enumerate(names)} | {FIXED: len(names)}
    sites = {
        v: (group[found.find(a)], group[found.find(b)])
        for v, (a, b) in found.sites.items()
        if found.find(a) != found.find(b)
    }
    if not sites:
        raise GvmError("scaling: the model has no gradient between layers whose scale could change")
    bits = sorted({_square_bits(found.types[v]) for v in seen})
    # A divisor is 2^(e after - e before); that of a gradient is 2^-e.
    before = [a for a, _ in sites.values()] + list(range(len(names)))
    after = [b for _, b in sites.values()] + [len(names)] * len(names)
    numbers = [0, 1, DIVISOR_BITS, MAGNITUDE_BITS - options.margin]
    given = {
        "divisors": (DIVISOR_BITS, np.full(len(before), 1 << DIVISOR_BITS)),
        "powers": (DIVISOR_BITS, 1 << np.arange(2 * DIVISOR_BITS + 1)),
        "before": (0, np.array(before)),
        "after": (0, np.array(after)),
        "numbers": (0, np.array([*numbers, -options.more_bits, options.fewer_bits])),
        **{f"magnitudes {b}": (b, _magnitudes(found, seen, b)) for b in bits},
    }
    writer = _Writer(program, found, seen, sites, group, bits, len(given))
    grad = writer.grad()
    totals = sum(len(s.reduce) for s in program.grad.segments)
    adaptive = Adaptive(
        options,
        len(program.parameters),
        len(sites),
        tuple(range(totals, totals + len(names))),
        tuple(_gradients(program, found, group)),
    )
    assert program.loss is not None
    made = replace(
        program,
        parameters=(*program.parameters, *(i32(f, *a.shape) for f, a in given.values())),
        predict=_with_given(program.predict, len(given)),
        loss=_with_given(program.loss, len(given)),
        grad=grad,
        apply=None,
        state=(),
        info=(
            *program.info,
            *(ParameterInfo(f"scaling/{n}", False, f) for n, (f, _) in given.items()),
        ),
        scaling=adaptive,
    )
    return made, [a for _, a in given.values()]


def _square_bits(t: Type) -> int:
    return min(2 * t.fraction_bits, MOST_BITS)


def _magnitudes(found: Groups, seen: list[int], bits: int) -> Integers:
    """The squares of the magnitudes that are asked for, as a gradient's squares are rounded."""
    exact = next(
        2 * found.types[v].fraction_bits for v in seen if _square_bits(found.types[v]) == bits
    )
    roots = [1 << n for n in range(MAGNITUDE_BITS)] + [(1 << MAGNITUDE_BITS) - 1] * AT_LIMIT
    return np.array([max(1, root * root >> (exact - bits)) for root in roots])


def _with_given(function: Function, more: int) -> Function:
    """The function with so many more given values, which it does not read."""

    def moved(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(v if v < function.given else v + more for v in values)

    segments = tuple(
        Segment(tuple(replace(s, inputs=moved(s.inputs)) for s in g.steps), moved(g.reduce))
        for g in function.segments
    )
    return Function(function.given + more, segments, moved(function.outputs))


def _gradients(
    program: Program, found: Groups, group: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """Trained parameters whose gradient has a scale, and its group."""
    for i, info in enumerate(program.info):
        if not info.trained:
            continue
        read = info.rule.totals if info.rule is not None else (info.gradient or 0,)
        of = {found.of(found.totals[t]) for t in read if found.totals[t] in found.made}
        assert len(of) == 1, "a gradient has one scale"
        (name,) = of
        if name != FIXED and name in group:
            yield i, group[name]


class _Writer:
    """Writes ``grad`` anew with divisors at its sites, and counts of magnitudes."""

    def __init__(
        self,
        program: Program,
        found: Groups,
        seen: list[int],
        sites: Mapping[int, tuple[int, int]],
        group: Mapping[int, int],
        bits: list[int],
        more: int,
    ) -> None:
        assert program.grad is not None
        self.function, self.found, self.seen, self.group = program.grad, found, seen, group
        self.order = {v: i for i, v in enumerate(sites)}
        self.parameters = self.function.given
        """The number of the first new parameter."""
        self.magnitudes = {b: self.parameters + MAGNITUDES + i for i, b in enumerate(bits)}
        self.number = list(range(self.function.given))
        """The new number of each value."""
        self.made = Steps(self.function.given + more)

    def grad(self) -> Function:
        """The function."""
        segments, largest = [], {}
        last = self.function.segments[-1]
        for segment in self.function.segments:
            self.made.steps = []
            for step in segment.steps:
                first = len(self.number)
                self.number += self._step(first, step)
                for v in range(first, len(self.number)):
                    if v in self.seen:
                        largest[v] = self._largest(v)
            counts = self._counts(largest) if segment is last else ()
            reduce = (*(self.number[v] for v in segment.reduce), *counts)
            segments.append(Segment(tuple(self.made.steps), reduce))
            following = self.made.given + self.made.produced
            self.number += range(following, following + len(segment.reduce))
            self.made.produced += len(reduce)
        return Function(self.made.given, tuple(segments))

    def _step(self, v: int, step: Step) -> list[int]:
        inputs = tuple(self.number[x] for x in step.inputs)
        operator = BY_OPCODE[step.opcode]
        if v not in self.order:
            attributes = dict(
                zip((a.name for a in operator.attributes), step.attributes, strict=True)
            )
            return self.made.add(operator.name, inputs, attributes, step.label)
        given = {n: step.get(n) for n in ("dtype", "fraction_bits", "rounding")}
        divisor = part(self.made, self.parameters + DIVISORS, self.order[v], "scale")
        kept = {n: a for n, a in given.items() if a is not None}
        return self.made.add("div", (*inputs, divisor), kept, step.label)

    def _largest(self, v: int) -> int:
        """The largest square of each example, [B, 1]."""
        q, t = self.number[v], self.found.types[v]
        (square,) = self.made.add("mul", (q, q), {}, "magnitude")
        narrow = {**WHOLE, "fraction_bits": _square_bits(t)}
        (square,) = self.made.add("convert", (square,), narrow, "magnitude")
        axes = tuple(i for i in range(len(t.shape)) if i != t.batch_axis)
        if axes:
            (square,) = self.made.add("reduce_max", (square,), {"axes": axes}, "magnitude")
        return self.made.add("reshape", (square,), {"shape": (-1, 1)}, "magnitude")[0]

    def _counts(self, largest: Mapping[int, int]) -> tuple[int, ...]:
        """For each group how many examples of a gradient reach each magnitude, partial."""
        zero, one = (part(self.made, self.parameters + NUMBERS, i, "") for i in (ZERO, ONE))
        counts: dict[int, int] = {}
        for v, square in largest.items():
            limits = self.magnitudes[_square_bits(self.found.types[v])]
            relation: Attributes = {"relation": LESS_EQUAL}
            (reached,) = self.made.add("compare", (limits, square), relation, "magnitudes")
            (ones,) = self.made.add("select", (reached, one, zero), {}, "magnitudes")
            (count,) = self.made.add("reduce_sum", (ones,), {"axes": (0,)}, "magnitudes")
            at = self.group[self.found.of(v)]
            if at in counts:
                (count,) = self.made.add("add", (counts[at], count), {}, "magnitudes")
            counts[at] = count
        return tuple(counts[i] for i in sorted(counts))


def part(made: Steps, vector: int, at: int, label: str) -> int:
    """Element ``at`` of a vector, [1]."""
    place: Attributes = {"begin": (at,), "end": (at + 1,), "strides": (1,)}
    return made.add("slice", (vector,), place, label)[0]


def history_type(program: Program) -> tuple[Type, ...]:
    """The state of a scaling: for each group the scales that its last steps asked for."""
    known = program.scaling
    return () if known is None else (i32(0, len(known.counts), known.options.history),)


def one_scale(
    made: Steps, known: Adaptive, group: int, gradient: int, t: Type, moment_bits: int | None
) -> tuple[int, Type]:
    """A gradient of a group rounded to 32 bits at the scale of 1, and its type: exact again."""
    bits = GRADIENT_BITS if moment_bits is None else moment_bits - GRADIENT_ROOM
    bits = min(bits, t.fraction_bits + known.options.more_bits, MOST_BITS)
    to: Attributes = {"dtype": DTYPES["i32"], "fraction_bits": bits, "rounding": 0}
    divisor = part(made, known.first + DIVISORS, known.sites + group, "scale")
    (rounded,) = made.add("div", (gradient, divisor), to, "gradient")
    (rows,) = made.add("reshape", (rounded,), {"shape": (1, *t.shape)}, "gradient")
    (exact,) = made.add("reduce_sum", (rows,), {"axes": (0,)}, "gradient")
    return exact, Type("i64", bits, t.shape)


def next_scales(made: Steps, known: Adaptive, first_total: int, history: int) -> tuple[int, int]:
    """The divisors of the next step, and its history: e is the largest that the last steps asked
    for, each as many bits as its largest magnitude had beyond the margin."""
    options, groups = known.options, len(known.counts)

    def node(name: str, inputs: tuple[int, ...], attributes: Attributes | None = None) -> int:
        return made.add(name, inputs, attributes or {}, "scale")[0]

    parameter = [known.first + i for i in range(MAGNITUDES)]
    number = [part(made, parameter[NUMBERS], i, "") for i in range(COARSEST + 1)]
    rows = [node("reshape", (first_total + t,), {"shape": (1, LEVELS)}) for t in known.counts]
    counts = _joined(node, rows)
    reached = node("compare", (number[ZERO], counts), {"relation": LESS})
    ones = node("select", (reached, number[ONE], number[ZERO]))
    magnitude = node("reduce_sum", (ones,), {"axes": (1,)})
    now = node("reduce_max", (history,), {"axes": (1,)})
    beyond = node("sub", (node("add", (now, magnitude)), number[TARGET]))
    asked = node("convert", (beyond,), WHOLE)
    asked = node("maximum", (node("minimum", (asked, number[COARSEST])), number[FINEST]))
    asked = node("reshape", (asked,), {"shape": (groups, 1)})
    if options.history > 1:
        kept = node(
            "slice",
            (history,),
            {"begin": (0, 1), "end": (groups, options.history), "strides": (1, 1)},
        )
        asked = node("concat", (kept, asked), {"axis": 1})
    following = node("reduce_max", (asked,), {"axes": (1,)})
    following = node("concat", (following, number[ZERO]), {"axis": 0})
    after, before = (node("gather", (following, parameter[i])) for i in (AFTER, BEFORE))
    power = node("add", (node("sub", (after, before)), number[MIDDLE]))
    divisors = node("gather", (parameter[POWERS], node("convert", (power,), WHOLE)))
    return divisors, asked


def _joined(node: Callable[..., int], rows: list[int]) -> int:
    most = OPERATORS["concat"].variadic
    while len(rows) > 1:
        parts = [rows[i : i + most] for i in range(0, len(rows), most)]
        rows = [p[0] if len(p) == 1 else node("concat", tuple(p), {"axis": 0}) for p in parts]
    return rows[0]
