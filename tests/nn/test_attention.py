"""The channel attention modules: equation, names, gradients and argument checks."""

from __future__ import annotations

import pytest
import torch

from adarts_ext.nn import ChannelAttention, EfficientChannelAttention

BACKENDS = ["fused", "reference"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_follow_the_equation(backend):
    attention = ChannelAttention(6, backend=backend).double()
    x = torch.randn(4, 6, 5, 7, dtype=torch.float64)
    w1, w2 = attention.fc1.weight.flatten(1), attention.fc2.weight.flatten(1)
    expected = torch.empty(4, 6, dtype=torch.float64)
    for image in range(4):
        average = torch.stack([plane.mean() for plane in x[image]])
        maximum = torch.stack([plane.max() for plane in x[image]])
        logits = w2 @ (w1 @ average).clamp(min=0) + w2 @ (w1 @ maximum).clamp(min=0)
        expected[image] = 1 / (1 + torch.exp(-logits.detach()))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_those_of_finite_differences(backend):
    attention = ChannelAttention(4, backend=backend).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    def scores(x, w1, w2):
        return torch.func.functional_call(attention, {"fc1.weight": w1, "fc2.weight": w2}, x)

    weights = [p.detach().clone().requires_grad_() for p in attention.parameters()]
    assert torch.autograd.gradcheck(scores, (x, *weights))


def test_names_shapes_and_hidden_units():
    attention = ChannelAttention(12, reduction=3)
    shapes = {name: tuple(value.shape) for name, value in attention.state_dict().items()}
    assert shapes == {"fc1.weight": (4, 12, 1, 1), "fc2.weight": (12, 4, 1, 1)}
    assert "channels=12, backend=fused" in repr(attention)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 1}, "channels must be at least 2, got 1"),
        ({"channels": 4, "reduction": 0}, "reduction must be at least 1, got 0"),
        ({"channels": 4, "backend": "cuda"}, "backend must be one of fused, reference, got 'cuda'"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ChannelAttention(**arguments)


def test_an_input_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected \(N, 4, H, W\), got shape \(2, 3, 8, 8\)"):
        ChannelAttention(4)(torch.zeros(2, 3, 8, 8))


def test_the_efficient_scores_follow_the_equation():
    attention = EfficientChannelAttention(8).double()
    x = torch.randn(4, 8, 5, 7, dtype=torch.float64)
    weight = attention.conv.weight.flatten().tolist()
    assert len(weight) == 3
    expected = torch.empty(4, 8, dtype=torch.float64)
    for image in range(4):
        averages = [0.0, *(plane.mean().item() for plane in x[image]), 0.0]
        for channel in range(8):
            around = averages[channel : channel + 3]
            logit = torch.tensor(sum(w * a for w, a in zip(weight, around, strict=True)))
            expected[image, channel] = 1 / (1 + torch.exp(-logit))
    torch.testing.assert_close(attention(x), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("channels", "taps"), [(1, 1), (4, 1), (8, 3), (64, 3), (128, 5), (256, 5)]
)
def test_the_taps_grow_with_the_logarithm_of_the_channels(channels, taps):
    weights = EfficientChannelAttention(channels).state_dict()
    assert {name: tuple(w.shape) for name, w in weights.items()} == {"conv.weight": (1, 1, taps)}


def test_what_the_efficient_attention_refuses():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        EfficientChannelAttention(0)
    with pytest.raises(ValueError, match=r"expected \(N, 4, H, W\), got shape \(2, 3, 8, 8\)"):
        EfficientChannelAttention(4)(torch.zeros(2, 3, 8, 8))
