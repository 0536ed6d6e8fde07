"""normalized_mixed_sum against a BatchNorm for each candidate and their weighted sum."""

import pytest

from adarts_ext.bench.operators import normalized_mixed_sum
from adarts_ext.bench.parts.ops import ARMS, PASSES


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("which", PASSES)
def test_normalized_mixed_sum(time_operator, shape, which, arm):
    time_operator(normalized_mixed_sum, shape, which, arm)
