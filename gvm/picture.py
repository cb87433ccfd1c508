"""Pictures of a model: a graph in the language of Graphviz, or drawn in layers as SVG.

Nodes that compute with parameters alone (views of weights) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from gvm.inspection import inspect

if TYPE_CHECKING:
    from gvm.model import Model

BOX, GAP, HEIGHT, LAYER, BEND = 190, 24, 40, 76, 12
"""Units of the drawing: width of a node and of the space beside it, its height, the height of a
layer, and the width of an edge that passes through a layer."""


class _Drawing:
    """The nodes of a model with data in them and the edges between them."""

    def __init__(self, model: Model) -> None:
        nodes = inspect(model)
        self.labels: list[tuple[str, str]] = []
        """Two lines for each vertex: operator and name, then the type."""
        self.edges: list[tuple[int, int]] = []
        at: dict[int, int] = {}
        for v in range(nodes.inputs):
            at[v] = len(self.labels)
            self.labels.append((nodes.names[v], str(nodes.types[v])))
        for info in nodes.nodes:
            if nodes.is_view(info):
                continue
            here = len(self.labels)
            at.update(dict.fromkeys(info.outputs, here))
            title = f"{info.number} {info.operator}"
            self.labels.append((title, str(info.types[0])))
            self.edges += [(at[v], here) for v in dict.fromkeys(info.inputs) if v in at]
        for i, v in enumerate(model.program.predict.outputs):
            if v in at:
                self.edges.append((at[v], len(self.labels)))
                self.labels.append((f"output {i}", str(nodes.types[v])))


def dot(model: Model) -> str:
    """The text of a .dot file."""
    drawing = _Drawing(model)
    lines = ["digraph model {", "  node [shape=box, fontname=sans];"]
    for i, (title, type_) in enumerate(drawing.labels):
        lines.append(f"  n{i} [label={_quoted(title)[:-1]}\\n{_quoted(type_)[1:]}];")
    lines += [f"  n{a} -> n{b};" for a, b in drawing.edges]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def svg(model: Model) -> str:
    """The text of an .svg file: a node stands one layer below the last that it reads, in the order
    of the mean place of those."""
    drawing = _Drawing(model)
    layers, paths = _layered(len(drawing.labels), drawing.edges)
    boxes = len(drawing.labels)
    place = _placed(layers, paths, boxes)
    width = max(x for x, _ in place.values()) + BOX // 2 + GAP
    height = len(layers) * LAYER + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for path in paths:
        (x, y), *rest = (place[v] for v in path)
        curve = [f"M{x},{y + HEIGHT}"]
        y += HEIGHT
        for to_x, to_y in rest:
            middle = (y + to_y) // 2
            curve.append(f"C{x},{middle} {to_x},{middle} {to_x},{to_y}")
            x, y = to_x, to_y + HEIGHT
            curve.append(f"L{x},{y}")
        parts.append(f'<path d="{" ".join(curve[:-1])}" fill="none" stroke="#888"/>')
    for v, (title, type_) in enumerate(drawing.labels):
        x, y = place[v]
        parts += [
            f'<rect x="{x - BOX // 2}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="4" '
            'fill="#eef3fa" stroke="#456"/>',
            f'<text x="{x}" y="{y + 17}" text-anchor="middle">{escape(title)}</text>',
            f'<text x="{x}" y="{y + 33}" text-anchor="middle" fill="#567">{escape(type_)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _layered(
    count: int, edges: Sequence[tuple[int, int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Vertices by layer, and each edge as the vertices that it passes: an edge over several layers
    gets a vertex of its own in each."""
    depth = [0] * count
    for a, b in edges:  # in the order of the program: what is read has its depth
        depth[b] = max(depth[b], depth[a] + 1)
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for v in range(count):
        layers[depth[v]].append(v)
    paths = []
    for a, b in edges:
        path = [a]
        for layer in range(depth[a] + 1, depth[b]):
            path.append(count)
            layers[layer].append(count)
            count += 1
        paths.append([*path, b])
    return layers, paths


def _placed(
    layers: Sequence[Sequence[int]], paths: Sequence[Sequence[int]], boxes: int
) -> dict[int, tuple[int, int]]:
    """Middle of the upper edge of each vertex."""
    above: dict[int, list[int]] = {}
    for path in paths:
        for a, b in zip(path, path[1:], strict=False):
            above.setdefault(b, []).append(a)
    place: dict[int, tuple[int, int]] = {}

    def mean(v: int) -> int:
        read = above.get(v, [])
        return sum(place[u][0] for u in read) // max(1, len(read))

    for number, layer in enumerate(layers):
        wanted = {v: mean(v) for v in layer}
        x = -(10**9)
        row: list[tuple[int, int]] = []
        for v in sorted(layer, key=lambda v: wanted[v]):
            half = (BOX if v < boxes else BEND) // 2
            middle = max(wanted[v], x + GAP + half)
            row.append((v, middle))
            x = middle + half
        # What had to give way went right: half of it goes back.
        back = sum(m - wanted[v] for v, m in row) // max(1, len(row))
        place.update({v: (m - back, number * LAYER + GAP) for v, m in row})
    left = min(x - (BOX if v < boxes else BEND) // 2 for v, (x, _) in place.items())
    return {v: (x - left + GAP, y) for v, (x, y) in place.items()}
