"""The emulated operators as Python sees them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from emulator.library import launches, load, seed


@pytest.fixture
def any_order():
    yield seed
    seed(1)


def all_results() -> list[torch.Tensor]:
    """Return what the operators give where many threads and blocks have a share in a result."""
    torch.manual_seed(0)
    kernels = load()
    x, scores = torch.randn(5, 12, 33, 7), torch.rand(5, 12)
    w1, w2, index = torch.randn(6, 12), torch.randn(12, 6), torch.tensor([3, 3, 11])
    inputs, weights = [torch.randn(3000) for _ in range(3)], torch.randn(3)
    attention = kernels.channel_attention(x, w1, w2)
    grads = kernels.channel_attention_backward(
        scores, attention[0], w1, w2, *attention[1:], 33, 7, False, True, True, True
    )
    gathered = kernels.gather_channels_backward(x[:, :3], x, index, scores, 12, True, True)
    scattered = kernels.scatter_channels_backward(
        x[:, :, :16, :3].contiguous(), x[:, :, :32, :6], index[1:], scores, 2, True, True, True
    )
    mixed = kernels.mixed_sum_backward(inputs[0], inputs, weights, [True] * 3, True)
    maps, flags = [x, x.relu(), x.tanh()], [True, False, True]
    normalized, norms = kernels.normalized_mixed_sum(maps, weights, flags, None, 1e-5)
    of_normalized = kernels.normalized_mixed_sum_backward(
        x, maps, weights, flags, norms, True, [True] * 3, True
    )
    chosen = kernels.select_channels(scores, 4)
    first = [*attention, *grads, *gathered, *scattered, *mixed]
    return [*first, normalized, norms, *of_normalized, chosen]


def test_results_do_not_depend_on_the_order_of_threads(any_order):
    first = all_results()
    for value in (2, 3):
        any_order(value)
        for a, b in zip(first, all_results(), strict=True):
            assert torch.equal(a, b)


def test_launches_are_counted_by_kernel():
    kernels = load()
    scores = torch.rand(2, 8)
    kernels.select_channels(scores, 2)
    with launches() as counts:
        kernels.select_channels(scores, 2)
        kernels.select_channels(scores, 0)
        kernels.select_channels(scores, 3)
    assert sum(counts.values()) == 2, "no blocks are no launch"
    (name,) = counts
    assert name.startswith("select")


@pytest.mark.parametrize("wrong", [-1, 4])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_an_error_in_a_kernel_is_an_error_in_python(wrong, memory):
    x = torch.ones(1, 4, 2, 2).contiguous(memory_format=memory)
    with pytest.raises(RuntimeError, match=r"kernel gather_\w+, block .*, thread .*: assertion"):
        load().gather_channels(x, torch.tensor([0, wrong]), None)


def test_many_python_threads_may_launch():
    kernels = load()
    inputs = [torch.full((2000,), float(i)) for i in range(4)]

    def run(weight: int) -> bool:
        out = kernels.mixed_sum(inputs, torch.full((4,), float(weight)))
        return bool((out == 6 * weight).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(40)))
