"""Memory of a forward and backward pass of the supernet, in extra_info, beside the pass's time.

`kept_bytes` is what autograd holds after the forward pass, `peak_bytes` the rise of the peak in the
pass, measured in a fresh process on a CPU.
"""

import functools

import pytest
import torch

from adarts_ext.bench.arms import build_network
from adarts_ext.bench.parts.memory import COMPARED, group_name, measure_arm, pass_through


@pytest.mark.parametrize("arm", COMPARED)
def test_memory(time_call, device, size, arm):
    memory = measure_arm(arm, size, device, torch.get_num_threads()).info
    network = build_network(COMPARED[arm], size, device)
    call = functools.partial(pass_through, network, size, device)
    time_call(group_name(size), call, **memory)
