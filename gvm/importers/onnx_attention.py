"""ONNX's attention and rotary embedding, from products, softmax and choices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gvm.graph import Value
from gvm.importers.lowering import Constant, Refusal
from gvm.importers.minus_infinity import below_all
from gvm.importers.onnx_choices import TRUTH, together
from gvm.importers.onnx_nodes import Node, Translator, handles
from gvm.importers.parts import cut, join, repeat, take
from gvm.importers.shapes import Operand, Tensor, integers_of


def _value(t: Translator, x: Operand) -> Value:
    return t.low.parameter(x) if isinstance(x, Constant) else t.whole(x)


def _heads(t: Translator, x: Value, heads: int) -> Value:
    """[B, S, H * D] as [B, H, S, D]; four axes stay."""
    shape = t.g.shape(x)
    if len(shape) == 4:
        return x
    if len(shape) != 3 or not heads or shape[2] % heads:
        raise Refusal(f"the head counts do not divide a tensor of shape {list(shape)}")
    split = t.low.reshape(x, [shape[0], shape[1], heads, shape[2] // heads])
    return t.low.transpose(split, (0, 2, 1, 3))


@handles("Attention", known=(6,))
def _attention(
    t: Translator,
    node: Node,
    q: Operand,
    k: Operand,
    v: Operand,
    mask: Operand | None = None,
    past_key: Operand | None = None,
    past_value: Operand | None = None,
    lengths: Operand | None = None,
) -> list[Any]:
    """softmax(q k^T * scale + mask) v, for each head; keys that are left out have no weight, and a
    row that leaves out all keys is 0."""
    three = len(t.g.shape(_value(t, q))) == 3
    query = _heads(t, _value(t, q), node.integer("q_num_heads", 0))
    key = _heads(t, _value(t, k), node.integer("kv_num_heads", 0))
    value = _heads(t, _value(t, v), node.integer("kv_num_heads", 0))
    before = 0
    if past_key is not None and past_value is not None:
        before = t.g.shape(_value(t, past_key))[2]
        key = join(t, [_value(t, past_key), key], 2)
        value = join(t, [_value(t, past_value), value], 2)
    present = [Tensor(key), Tensor(value)]
    heads, rows, size = t.g.shape(query)[1:]
    if heads != t.g.shape(key)[1]:
        times = [1, heads // t.g.shape(key)[1], 1, 1]
        key, value = (repeat(t, x, times, outer=False) for x in (key, value))
    columns = t.g.shape(key)[2]
    scale = node.number("scale", 1 / math.sqrt(size))
    scores = int(t.g.matmul(query, key, transpose_b=1))
    scores = t.low.scale_by(scores, scale, f"{node.name}/scale")
    cap = node.number("softcap", 0.0)
    if cap:
        inner = t.low.scale_by(scores, 1 / cap, f"{node.name}/softcap")
        scores = t.low.scale_by(t.low.unary("tanh", inner), cap, f"{node.name}/softcap")
    given = scores
    allowed = _allowed(node, rows, columns, before, lengths)
    condition: Value | None = None
    if mask is not None:
        scores, condition, allowed = _masked(t, node, scores, mask, allowed, columns)
    biased = scores
    if not allowed.all():
        shown = allowed if allowed.ndim == 4 else allowed[None, None]
        constant = t.g.parameter(t.low.unique(f"{node.name}/allowed"), shown, TRUTH, 0, False)
        both = None if condition is None else t.g.logical(condition, constant, function=0)
        condition = constant if both is None else both
    weights = _weights(t, node, scores, condition)
    made = int(t.g.matmul(weights, value, name=node.name))
    if three:
        turned = t.low.transpose(made, (0, 2, 1, 3))
        shape = t.g.shape(turned)
        made = t.low.reshape(turned, [*shape[:2], shape[2] * shape[3]])
    shown_scores: Any = {0: given, 1: given, 2: biased, 3: weights}[
        node.integer("qk_matmul_output_mode", 0)
    ]
    return [Tensor(made), *present, Tensor(shown_scores)]


def _allowed(
    node: Node, rows: int, columns: int, before: int, lengths: Operand | None
) -> NDArray[Any]:
    """Which keys a query may read by their positions: [rows, columns], or for each example."""
    counts = None if lengths is None else np.asarray(integers_of(lengths)).reshape(-1, 1, 1, 1)
    offset = before if counts is None else counts - rows
    distance = np.arange(rows)[:, None] + offset - np.arange(columns)[None]
    allowed = np.ones(distance.shape, bool)
    if node.integer("is_causal", 0):
        allowed &= distance >= 0
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    if left >= 0:
        allowed &= distance <= left
    if right >= 0:
        allowed &= -distance <= right
    return allowed if counts is None else allowed & (np.arange(columns) < counts)


def _masked(
    t: Translator,
    node: Node,
    scores: Value,
    mask: Operand,
    allowed: NDArray[Any],
    columns: int,
) -> tuple[Value, Value | None, NDArray[Any]]:
    """The scores with a mask that is added; one of truth values; the keys behind both left out."""
    (value, _), _ = together(t, mask, Tensor(scores))
    shape = t.g.shape(value)
    missing = columns - shape[-1] if shape else 0
    if missing > 0 and shape[-1] != 1:
        allowed = allowed & (np.arange(columns) < shape[-1])
        after = tuple(missing if i == len(shape) - 1 else 0 for i in range(len(shape)))
        value = int(t.g.pad(value, before=(0,) * len(shape), after=after))
    if t.g.types[value].dtype == TRUTH:
        return scores, value, allowed
    return int(t.g.add(scores, value)), None, allowed


def _weights(t: Translator, node: Node, scores: Value, condition: Value | None) -> Value:
    if condition is None:
        return int(t.g.softmax(scores))
    last = (len(t.g.shape(scores)) - 1,)
    made = int(t.g.softmax(t.g.select(condition, scores, below_all(t, scores, last))))
    return int(t.g.mask(condition, made, value=1))


@handles("RotaryEmbedding", known=(3,))
def _rotary(
    t: Translator,
    node: Node,
    x: Operand,
    cosine: Operand,
    sine: Operand,
    positions: Operand | None = None,
) -> Tensor:
    """Pairs of features turned by the angles of their positions."""
    value = t.whole(x)
    shape = t.g.shape(value)
    heads = node.integer("num_heads", 0)
    four = len(shape) == 4
    if four:
        value = t.low.transpose(value, (0, 2, 1, 3))
    else:
        value = t.low.reshape(value, [*shape[:2], heads, shape[2] // heads])
    size = t.g.shape(value)[3]
    used = node.integer("rotary_embedding_dim", 0) or size
    rest = cut(t, value, 3, used, size) if used < size else None
    turned = cut(t, value, 3, 0, used)
    angles = []
    for table in (cosine, sine):
        rows = _value(t, table)
        if positions is not None:
            rows = int(t.g.gather(rows, _value(t, positions)))
        made = t.g.shape(rows)
        angles.append(t.low.reshape(rows, [*made[:-1], 1, made[-1]]))
    cos, sin = angles
    half = used // 2
    if node.integer("interleaved", 0):
        first, second = (take(t, turned, {3: (i, used, 2)}) for i in (0, 1))
    else:
        first, second = cut(t, turned, 3, 0, half), cut(t, turned, 3, half, used)
    real = int(t.g.sub(t.g.mul(cos, first), t.g.mul(sin, second)))
    imaginary = int(t.g.add(t.g.mul(sin, first), t.g.mul(cos, second)))
    if node.integer("interleaved", 0):
        pair = [t.low.reshape(p, [*t.g.shape(p), 1]) for p in (real, imaginary)]
        joined = t.low.reshape(join(t, pair, 4), t.g.shape(turned))
    else:
        joined = join(t, [real, imaginary], 3)
    if rest is not None:
        joined = join(t, [joined, rest], 3)
    if four:
        return Tensor(t.low.transpose(joined, (0, 2, 1, 3)))
    return Tensor(t.low.reshape(joined, shape))
