"""A search cell of each kind, forward and backward.

Ours takes image blocks, the others feature maps. What autograd keeps of it for the backward pass is
`kept_bytes` in extra_info.
"""

import pytest

from adarts_ext.bench.parts.cell import NAMES, CellPass, group_name


@pytest.mark.parametrize("arm", NAMES)
def test_search_cell(time_call, device, size, position, arm):
    call = CellPass(arm, size, position, device)
    time_call(group_name(size, position), call, kept_bytes=call.kept_bytes())
