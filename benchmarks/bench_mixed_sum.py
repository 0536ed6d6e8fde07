"""mixed_sum against DARTS's ``sum(w * x for w, x in zip(weights, inputs))``."""

import pytest

from adarts_ext.bench.operators import mixed_sum
from adarts_ext.bench.parts.ops import ARMS, PASSES


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("which", PASSES)
def test_mixed_sum(time_operator, shape, which, arm):
    time_operator(mixed_sum, shape, which, arm)
