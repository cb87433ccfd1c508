"""Templates: classifiers from a few parameters, their weights drawn from Philox, trainable at once.

``docs/templates.md`` says how they differ from the networks whose names they bear.
"""

from __future__ import annotations

from gvm.templates.googlenet import googlenet
from gvm.templates.mlp import mlp
from gvm.templates.network import Options
from gvm.templates.resnet import resnet
from gvm.templates.vgg import vgg

__all__ = ["Options", "googlenet", "mlp", "resnet", "vgg"]
