"""What a model is, for people and programs: ids, types, exact costs, parameters, nodes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gvm.inspection import NodeInfo, inspect
from gvm.printing import report, table

if TYPE_CHECKING:
    from gvm.model import Model

FUNCTIONS = ("predict", "loss", "grad", "apply")


def identities(model: Model) -> dict[str, str]:
    """The ids of a model."""
    found = {"graph_id": model.graph_id, "parameters_id": model.parameters_id}
    return found | ({"train_id": model.train_id} if model.train_id else {})


def describe(model: Model) -> dict[str, Any]:
    """All of it, as JSON has it."""
    program, nodes = model.program, inspect(model)
    parameters = zip(program.info, program.parameters, strict=True)
    return {
        **_head(model),
        "outputs": [str(nodes.types[v]) for v in program.predict.outputs],
        "parameters": {p.name: str(t) for p, t in parameters},
        **_costs(model),
        "nodes": [node.row() for node in nodes.nodes],
    }


def show(model: Model) -> None:
    """Prints all of it in tables."""
    program, nodes = model.program, inspect(model)
    outputs = [str(nodes.types[v]) for v in program.predict.outputs]
    head = _head(model) | {"outputs": outputs}
    report({name: value for name, value in head.items() if value != []})
    print("\nFor one example:")
    table([{"function": name, **cost} for name, cost in _costs(model).items()])
    if program.parameters:
        print()
        parameters = zip(program.info, program.parameters, strict=True)
        table(
            [
                {"parameter": p.name, "type": str(t), "elements": math.prod(t.shape)}
                | {"trained": "yes" if p.trainable else "no"}
                for p, t in parameters
            ]
        )
    print()
    table([*(node.row() for node in nodes.nodes), _total(nodes.nodes)])


def _head(model: Model) -> dict[str, Any]:
    program = model.program
    found: dict[str, Any] = identities(model)
    found["max_batch"] = program.max_batch
    found["inputs"] = [str(t) for t in program.inputs]
    found["labels"] = [str(t) for t in program.labels]
    if model.training is not None:
        state = model.training
        found["training"] = {"seed": state.seed, "epoch": state.epoch, "step": state.step}
    return found


def _costs(model: Model) -> dict[str, dict[str, int]]:
    """Of each function that the model has, for one example."""
    return {
        name: dataclasses.asdict(model.cost_of(name, 1))
        for name in FUNCTIONS
        if getattr(model.program, name) is not None
    }


def _total(nodes: Sequence[NodeInfo]) -> dict[str, str | int]:
    return {
        "node": "",
        "operator": "total",
        "name": "",
        "result": "",
        "parameters": sum(node.parameters for node in nodes),
        "multiply_adds": sum(node.multiply_adds for node in nodes),
    }
