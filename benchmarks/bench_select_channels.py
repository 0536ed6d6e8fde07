"""select_channels against the batch sum and a stable sort, which also puts ties in index order."""

import pytest

from adarts_ext.bench.operators import select_channels
from adarts_ext.bench.parts.ops import ARMS


@pytest.mark.parametrize("arm", ARMS)
def test_select_channels(time_operator, shape, arm):
    time_operator(select_channels, shape, "forward", arm)
