"""Models in other formats. The frameworks are imported inside functions only.

:class:`Exports` is the part of :class:`gvm.Model` that people call.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from gvm.errors import GvmError

if TYPE_CHECKING:
    from gvm.model import Model


class Exports:
    """What a model becomes elsewhere."""

    source: Any = None
    """What was imported, for :meth:`to_keras` and :meth:`to_onnx`: no part of a file."""

    def to_keras(self, source: Any = None) -> Any:
        """A copy of the Keras model that was imported, with the parameters of this one in float.

        ``source``: that model or its file (.keras, .h5); needed where this model was loaded. Batch
        normalisation in the copy has mean 0: its scale and shift are in the layer before where the
        import folded them; one that trained is as it is. Raises GvmError where parameters cannot be
        written back.
        """
        given = self.source if source is None else source
        if given is None:
            raise GvmError("to_keras: source is needed: the Keras model that was imported")
        from gvm.importers.keras_weights import with_weights

        return with_weights(given, self._real_parameters())

    def to_onnx(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        source: Any = None,
        qdq: bool = False,
    ) -> Any:
        """This model as an onnx.ModelProto, checked, and written to ``path`` where one is given.

        In float, a model that came from ONNX is its source with these parameters; ``source`` gives
        that (an onnx.ModelProto or its file) where this model was loaded. Batch normalisation then
        has mean 0 and variance 1, its scale and shift in the layer before where the import folded
        them; one that trained is as it is. Any other model is written operator by operator.
        ``qdq``: weights and activations as 16-bit integers with QuantizeLinear and
        DequantizeLinear, biases as 32-bit ones; always operator by operator.
        Raises GvmError where parameters cannot be written back or an operator has no ONNX form.
        """
        import importlib.util

        if importlib.util.find_spec("onnx") is None:
            raise GvmError("ONNX is not installed: pip install 'gvm[onnx]'")
        if qdq and source is not None:
            raise GvmError("to_onnx: a quantised model is written from the program, not a source")
        from gvm.exporters.onnx_weights import is_onnx, with_weights

        given = self.source if source is None and is_onnx(self.source) else source
        if given is not None and not qdq:
            made = with_weights(given, self._real_parameters())
        else:
            from gvm.exporters.onnx import build

            made = build(cast("Model", self), qdq)
        if path is not None:
            from gvm.files import write_bytes

            write_bytes(path, made.SerializeToString())
        return made

    def _real_parameters(self) -> dict[str, Any]:
        return {name: a.real() for name, a in cast("Model", self).parameter_arrays().items()}
