"""scatter_channels against the product with the scores and index_copy."""

import pytest

from adarts_ext.bench.operators import scatter_channels
from adarts_ext.bench.parts.ops import ARMS, PASSES


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("which", PASSES)
def test_scatter_channels(time_operator, shape, which, arm):
    time_operator(scatter_channels, shape, which, arm)
