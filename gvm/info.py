"""The info part of a .dmodel (docs/program.md, section 7): covered by no id, so read strictly."""

from __future__ import annotations

from typing import Any

from gvm import cbor
from gvm.adaptive import DIVISOR_BITS, Adaptive
from gvm.ops import BY_OPCODE
from gvm.types import i32

TOTALS = 5
FUNCTIONS = ("predict", "loss", "grad", "apply")
KEYS = {"about", "count_total", "labels", "parameters", "training"}
TRAINING_KEYS = {"epoch", "history", "seed", "step"}


def read_info(data: bytes, native: Any) -> dict[str, Any]:
    """The map of an info part, for the core's program ``native``. What is not exactly one is a
    ValueError that names the item."""
    body = cbor.decode(data)
    _check(isinstance(body, dict) and body.keys() - {"saturation", "scaling"} == KEYS, "its keys")
    _check_parameters(body["parameters"], native)
    _check_number(body["count_total"], max(2, len(native.tensors(TOTALS))), "count_total")
    _check_labels(body["labels"], native)
    if "scaling" in body:
        _check_scaling(Adaptive.decoded(body["scaling"]), native)
    about = body["about"]
    _check(isinstance(about, dict), "about")
    _check(all(isinstance(v, str | int) for v in about.values()), "about")
    if body["training"] is not None:
        _check_training(body["training"])
    return dict(body)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _check_number(value: Any, end: int, what: str) -> None:
    """An integer in [0, end)."""
    _check(type(value) is int and 0 <= value < end, what)


def _check_parameters(rows: Any, native: Any) -> None:
    totals, types = len(native.tensors(TOTALS)), native.tensors(2)
    _check(isinstance(rows, list) and len(rows) == len(types), "parameters")
    gradients = []
    for i, row in enumerate(rows):
        what = f"parameters {i}"
        # Files of before moments were calibrated have four items.
        _check(isinstance(row, list) and len(row) in (4, 5, 6), what)
        if len(row) == 6:
            _check_rule(row[5], totals, what)
        name, trainable, bits, gradient, *moment = row[:5]
        _check(isinstance(name, str) and isinstance(trainable, bool), what)
        for number in (bits, *(m for m in moment if m is not None)):
            _check(type(number) is int and -32 <= number <= 47, what)
        if gradient is not None:
            _check_number(gradient, totals, what)
            gradients.append(gradient)
    _check(len(set(gradients)) == len(gradients), "parameters")


def _check_rule(rule: Any, totals: int, what: str) -> None:
    """A node of ``apply`` over totals: the core judges it once it stands in a program."""
    _check(isinstance(rule, list) and len(rule) == 3, what)
    opcode, read, attributes = rule
    _check(type(opcode) is int and opcode in BY_OPCODE, what)
    _check(isinstance(read, list) and isinstance(attributes, list), what)
    for number in read:
        _check_number(number, totals, what)
    _check(len(attributes) == len(BY_OPCODE[opcode].attributes), what)
    _check(all(type(a) is int for a in attributes), what)


def _check_scaling(scaling: Adaptive, native: Any) -> None:
    types, totals = [t for t, _, _ in native.tensors(2)], native.tensors(TOTALS)
    groups = len(scaling.counts)
    _check_number(scaling.first, len(types), "scaling")
    divisors = types[scaling.first]
    _check(divisors == i32(DIVISOR_BITS, scaling.sites + groups), "scaling")
    for number in scaling.counts:
        _check_number(number, len(totals), "scaling")
    for parameter, group in scaling.gradients:
        _check_number(parameter, scaling.first, "scaling")
        _check_number(group, groups, "scaling")


def _check_labels(labels: Any, native: Any) -> None:
    _check(isinstance(labels, dict), "labels")
    for name, texts in labels.items():
        _check(name in FUNCTIONS and isinstance(texts, list), "labels")
        nodes = native.cost(FUNCTIONS.index(name), 1)["nodes"]
        _check(len(texts) == nodes and all(isinstance(t, str) for t in texts), f"labels of {name}")


def _check_training(body: Any) -> None:
    _check(isinstance(body, dict) and body.keys() - {"partial"} == TRAINING_KEYS, "training")
    partial = body.get("partial", [0, 0, 0, 0])
    _check(isinstance(partial, list) and len(partial) == 4, "partial")
    _check(all(type(v) is int for v in partial), "partial")
    _check(partial[0] >= 0 and 0 <= partial[2] < 2**42, "partial")
    _check_number(body["seed"], 2**64, "seed")
    _check_number(body["step"], 2**56, "step")
    _check_number(body["epoch"], 2**56, "epoch")
    _check(isinstance(body["history"], list), "history")
    for row in body["history"]:
        _check(isinstance(row, list) and len(row) == 6, "history")
        *numbers, checked = row
        _check(all(type(v) is int for v in numbers), "history")
        if checked is not None:
            _check(isinstance(checked, list) and len(checked) == 3, "history")
            _check(all(type(v) is int for v in checked), "history")
