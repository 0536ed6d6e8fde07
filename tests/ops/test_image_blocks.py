from __future__ import annotations

import pytest
import torch

from adarts_ext.ops import from_image_blocks, to_image_blocks


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("batch", [0, 1, 15, 16, 17, 40])
def test_sixteen_images_lie_side_by_side_and_zeros_fill_the_last_block(batch):
    x = torch.randn(batch, 3, 4, 5)
    blocks = to_image_blocks(x)
    assert blocks.shape == (-(-batch // 16), 3, 4, 5, 16)
    assert blocks.is_contiguous()
    for image in range(blocks.size(0) * 16):
        expected = x[image] if image < batch else torch.zeros(3, 4, 5)
        assert torch.equal(blocks[image // 16, ..., image % 16], expected)
    assert torch.equal(from_image_blocks(blocks, batch), x)


@pytest.mark.usefixtures("torch_device")
def test_any_memory_format_is_taken():
    x = torch.randn(3, 4, 5, 6)
    expected = to_image_blocks(x)
    assert torch.equal(to_image_blocks(x.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(to_image_blocks(torch.cat([x, x], 1)[:, :4]), expected)


@pytest.mark.usefixtures("torch_device")
def test_gradients_go_both_ways_and_do_not_see_the_filling():
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(to_image_blocks, x)
    blocks = torch.randn(1, 1, 2, 2, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda blocks: from_image_blocks(blocks, 3), blocks)
    (gradient,) = torch.autograd.grad(from_image_blocks(blocks, 3).sum(), blocks)
    assert gradient.sum((0, 1, 2, 3)).tolist() == [4.0] * 3 + [0.0] * 13


@pytest.mark.usefixtures("torch_device")
@pytest.mark.parametrize("batch", [3, 16, 17])
def test_the_feature_map_may_be_changed_in_place(batch):
    blocks = torch.randn(-(-batch // 16), 2, 2, 2, 16, requires_grad=True)
    from_image_blocks(blocks, batch).mul_(3).sum().backward()
    assert blocks.grad.sum() == 3 * batch * 8


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (to_image_blocks, (torch.zeros(2, 3, 4),), r"\(2, 3, 4\), expected \(N, C, H, W\)"),
        (from_image_blocks, (torch.zeros(1, 3, 4, 4, 8), 8), r"expected \(1, C, H, W, 16\) for 8"),
        (from_image_blocks, (torch.zeros(1, 3, 4, 4, 16), 17), r"\(2, C, H, W, 16\) for 17 images"),
        (from_image_blocks, (torch.zeros(3, 4, 4, 16), 17), r"blocks have shape \(3, 4, 4, 16\)"),
    ],
)
def test_bad_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
