"""Tries an installed gvm: types are there, sources are not, a model trains and is evaluated."""

from pathlib import Path

import numpy as np

import gvm
from gvm import _core
from gvm.graph import Builder
from gvm.model import Model

package = Path(gvm.__file__).parent
assert "site-packages" in package.parts, package
assert (package / "py.typed").exists() and (package / "_core" / "_gvm.pyi").exists()
assert not list(package.rglob("*.cc")), "sources in the wheel"

g = Builder()
x = g.input("x", (-1, 4))
graph = g.graph(predict=(g.matmul(x, g.parameter("w", np.eye(4))),))
data = np.random.default_rng(0).normal(size=(64, 4))
labels = data.argmax(axis=1)
model = Model.from_graph(graph, data, "softmax_cross_entropy", labels, progress=False)
history = model.train(data, labels, epochs=2, batch_size=16, seed=1, progress=False)
print(
    f"gvm {gvm.__version__}, {_core.CPU_LEVELS[_core.cpu_level()]}: {history.parameters_id}, "
    f"{model.evaluate(data, labels)}"
)
