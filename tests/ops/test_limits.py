"""Memory, numbers of inputs and sizes at the limits of what the kernels take."""

from __future__ import annotations

import pytest
import torch
from cell_case import CellCase, run
from comparison import assert_exact
from conftest import as_index, feature_map
from torch import Tensor

from adarts_ext import ops, reference
from adarts_ext.ops import CellLayout, to_image_blocks
from adarts_ext.ops.image_blocks import LANES


def shifted(x: Tensor, offset: int) -> Tensor:
    """The same numbers in memory that begins so many elements behind an aligned place."""
    place = torch.empty(x.numel() + offset, dtype=x.dtype)[offset:].view(x.shape)
    return place.copy_(x)


MISALIGNED = {
    "gather_channels": lambda x: ops.gather_channels(x, as_index([2, 0]), torch.rand(3, 4)),
    "scatter_channels": lambda x: ops.scatter_channels(x, as_index([2, 0]), x[:, :2], None, 1),
    "scatter_channels, pooled": lambda x: ops.scatter_channels(
        x, as_index([2, 0]), x[:, :2, ::2, ::2], None, 2
    ),
    "mixed_sum": lambda x: ops.mixed_sum([x, x], torch.tensor([0.25, 0.5], dtype=x.dtype)),
    "channel_attention": lambda x: ops.channel_attention(x, torch.ones(2, 4), torch.ones(4, 2)),
    "preprocess_cell": lambda x: ops.preprocess_cell(x, torch.rand(2, 4), 3, 2)[0],
    "search_cell": lambda x: (
        ops.search_cell(
            [x],
            [torch.ones(shape) for shape in ONE_EDGE.weight_shapes(inputs=1, channels=4)],
            torch.full((1, 8), 0.125),
            None,
            ONE_EDGE,
            torch.tensor([[2, 0]]),
        ).nodes
    ),
}
ONE_EDGE = CellLayout(3, 1, 2, 0, 1, (0,), (0,), False)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("offset", [1, 2, 3, 4])
@pytest.mark.parametrize("name", MISALIGNED)
def test_memory_may_begin_anywhere(name, offset):
    x = feature_map(3, 4, 8, 4)
    x = to_image_blocks(x) if name.endswith("_cell") else x
    grad = torch.randn_like(MISALIGNED[name](x))
    results = []
    for place in (lambda t: t, lambda t: shifted(t, offset)):
        torch.manual_seed(0)  # of the operands that are drawn
        leaf = place(x).requires_grad_()
        out = MISALIGNED[name](leaf)
        results.append((out.detach(), *torch.autograd.grad(out, leaf, place(grad))))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("count", [16, 17, 33, 40])
@pytest.mark.parametrize("normalized", [False, True])
def test_a_sum_of_many_is_rounded_once(count, normalized, low):
    """The worst of it is half a unit in the last place of the result."""
    inputs = [feature_map(4, 3, 8, 6, low) for _ in range(count)]
    weights = torch.rand(count, dtype=low)
    flags = [normalized] * count

    def mix(functions, weights, inputs):
        return functions.normalized_mixed_sum(inputs, weights, flags).out

    actual = mix(ops, weights, inputs)
    exact = mix(reference, weights.double(), [x.double() for x in inputs])
    apart = (actual.double() - exact).abs()
    half_a_unit = torch.finfo(low).eps / 2 * 2.0 ** exact.abs().log2().floor()
    assert (apart <= 1.02 * half_a_unit + 1e-5).all()
    if not normalized:
        assert torch.equal(ops.mixed_sum(inputs, weights), actual)


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def low(request):
    return request.param


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("batch", [3, 17])
@pytest.mark.parametrize("name", ["preprocess_cell", "search_cell"])
def test_gradients_beyond_the_batch_do_not_count(name, batch):
    """Whoever sums over image blocks as they are gives images that are not there gradients too."""
    case = CellCase(batch)
    blocks = [to_image_blocks(state).requires_grad_() for state in case.states]
    weights = [weight.requires_grad_() for weight in case.weights]
    if name == "preprocess_cell":
        blocks, weights = blocks[:1], [torch.randn(4, 8, dtype=torch.float64).requires_grad_()]
        out = ops.preprocess_cell(blocks[0], weights[0], batch, 1)[0]
    else:
        out = ops.search_cell(blocks, weights, case.alphas, case.betas, case.layout).nodes
    grad = torch.randn_like(out)
    real = torch.arange(LANES) < (batch - 1) % LANES + 1
    without = torch.cat([grad[:-1], grad[-1:] * real])
    one, two = (
        torch.autograd.grad(out, [*blocks, *weights], some, retain_graph=True)
        for some in (grad, without)
    )
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("device")
def test_an_attention_that_needs_much_shared_memory():
    """Over 48 KiB, which a launch has to ask for."""
    case = CellCase(batch=2, channels=128, selected=2, hidden=64, steps=1, inputs=1, size=(2, 2))
    actual = run(ops.search_cell, case, torch.float64)
    assert_exact(actual, run(reference.search_cell, case, torch.float64))


class TestTooLarge:
    """What does not fit the CUDA kernels is an error, not an assertion that ends the GPU's use."""

    @pytest.fixture(autouse=True)
    def _cuda(self, device):
        if device == "cpu":
            pytest.skip("the CPU's kernels have no such limits")

    def test_preprocessing(self):
        x = torch.randn(1, 4, 1, 2, LANES, requires_grad=True)
        fits = ops.preprocess_cell(x, torch.randn(512, 4), 16, 1)[0]
        with pytest.raises(RuntimeError, match="got 512 channels of a convolution, expected at mo"):
            fits.sum().backward()

    @pytest.mark.parametrize(
        ("channels", "selected", "hidden", "message"),
        [
            (258, 258, 0, "search_cell: got 258 selected channels, expected at most 256"),
            (130, 130, 0, "search_cell_backward: got 130 selected channels, expected at most 128"),
            (1026, 1, 1, "search_cell: got 1026 channels, expected at most 1024"),
        ],
    )
    def test_cell(self, channels, selected, hidden, message):
        shape = {"batch": 2, "size": (1, 1), "steps": 1, "inputs": 1}
        case = CellCase(channels=channels, selected=selected, hidden=hidden, **shape)
        with pytest.raises(RuntimeError, match=message):
            run(ops.search_cell, case, torch.float32, None if hidden else case.index())


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_more_channels_than_a_grid_has_blocks():
    """Each plane of 2 KiB would take a block of its own, and a grid has 65,535 in y."""
    count = 65_536 + 3
    x = torch.arange(2.0)[:, None, None].expand(1, 2, 16, 32).contiguous()
    index = torch.arange(count) % 2
    chosen = ops.gather_channels(x, index)
    assert chosen.sum((0, 2, 3)).tolist() == [512.0 * (i % 2) for i in range(count)]
