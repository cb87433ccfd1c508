"""The operators: every file of this folder is one. ``OPERATORS`` maps names to declarations; it is
read from the folder."""

from __future__ import annotations

import importlib
import pkgutil

from gvm.operator import Operator


def _load() -> dict[str, type[Operator]]:
    found: dict[str, type[Operator]] = {}
    for module in pkgutil.iter_modules(__path__):
        for item in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if (
                isinstance(item, type)
                and issubclass(item, Operator)
                and item is not Operator
                and item.__module__.endswith("." + module.name)
            ):
                if item.name != module.name:
                    raise ImportError(f"gvm/ops/{module.name}.py declares {item.name!r}")
                found[item.name] = item
    return dict(sorted(found.items(), key=lambda pair: pair[1].opcode))


OPERATORS = _load()
BY_OPCODE = {op.opcode: op for op in OPERATORS.values()}
