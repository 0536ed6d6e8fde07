"""gather_channels against index_select of the feature map and of the scores, and their product."""

import pytest

from adarts_ext.bench.operators import gather_channels
from adarts_ext.bench.parts.ops import ARMS, PASSES


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("which", PASSES)
def test_gather_channels(time_operator, shape, which, arm):
    time_operator(gather_channels, shape, which, arm)
