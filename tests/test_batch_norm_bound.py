"""The gradient of batch normalisation's scale does not depend on the bounds of its types, which a
session's max_batch sets; not even with totals that no batch has."""

from __future__ import annotations

import numpy as np
import pytest

from gvm import _core
from gvm.operator import Case
from gvm.ops.batch_normalize_grad import BatchNormalizeGrad
from gvm.types import i64
from tests import operator_suite as suite


def _case(max_batch: int, fraction_bits: int) -> Case:
    """Totals as a session of ``max_batch`` examples of three positions bounds them."""
    of_i16 = 3 * max_batch << 15
    totals = [i64(f, 4, bound=of_i16 << (15 * (f > 20))) for f in (12, 24, 11, 23)]
    attributes = {
        "kind": 1,
        "positions": 3,
        "fraction_bits": fraction_bits,
        "epsilon_multiplier": 1,
        "epsilon_exponent": 40,
    }
    return Case("few", (*totals, i64(0, bound=max_batch)), attributes)


@pytest.mark.parametrize("fraction_bits", [3, 11, 20])
def test_a_gradient_of_the_scale_is_the_same_for_any_max_batch(fraction_bits: int) -> None:
    # One channel with totals of a batch, three whose products are larger than its spread allows.
    most = 3 * 2 << 30
    data = [[0, 5, -7, 0], [6, 25, 49, 0], [1, 2, 3, 0], [2, most, -most, most], 2]
    inputs = [np.array(d, dtype=np.int64) for d in data]
    results = []
    for max_batch in (2, 3, 1000):
        case = _case(max_batch, fraction_bits)
        attributes = BatchNormalizeGrad.complete(case.attributes)
        (wanted,), clamps = suite.reference(BatchNormalizeGrad, case, attributes, inputs)
        for level in _core.levels():
            (made,), clamped = suite.core(BatchNormalizeGrad, case, attributes, inputs, level)
            np.testing.assert_array_equal(made, wanted)
            assert clamped == clamps
        results.append(wanted.tolist())
    assert results[0] == results[1] == results[2]
    assert max(map(abs, results[0])) >= (3 * 2 << 15) * 2 ** (fraction_bits - 11)
