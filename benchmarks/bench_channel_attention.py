"""channel_attention against both pools, two 1x1 convolutions of each, the sum and the sigmoid."""

import pytest

from adarts_ext.bench.operators import channel_attention
from adarts_ext.bench.parts.ops import ARMS, PASSES


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("which", PASSES)
def test_channel_attention(time_operator, shape, which, arm):
    time_operator(channel_attention, shape, which, arm)
