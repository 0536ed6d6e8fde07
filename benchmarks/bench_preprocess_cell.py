"""preprocess_cell against the layers before a cell of plain torch; ours takes image blocks."""

import pytest

from adarts_ext.bench.operators import preprocess_cell
from adarts_ext.bench.parts.ops import (
    ARMS,
    OURS,
    PASSES,
    Compiler,
    draw_arguments,
    group_name,
    make_passes,
)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("stride", [1, 2])
def test_preprocess_cell(time_call, device, shape, stride, which, arm):
    shape = (*shape[:3], stride)
    arguments = draw_arguments(preprocess_cell, shape, device)
    if arm == OURS:
        arguments = [preprocess_cell.as_blocks(*some) for some in arguments]
    passes = make_passes(arm, preprocess_cell, shape, arguments, Compiler())
    group = group_name(f"preprocess_cell, stride {stride}", shape, which)
    time_call(group, getattr(passes, which))
