"""The candidate operations, restated on their own state dicts in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn.operations import FactorizedReduce, Identity, ReLUConvBN, build_operation


def normalise(x: Tensor) -> Tensor:
    """BatchNorm without scale and shift, in training."""
    centred = x - x.mean((0, 2, 3), keepdim=True)
    return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()


def restate(name: str, weights: dict[str, Tensor], x: Tensor, stride: int) -> Tensor:
    """The candidate ``name`` without affine, as method and papers define it."""
    if name == "none":
        return torch.zeros_like(functional.avg_pool2d(x, stride))
    if name == "max_pool_3x3":
        padded = functional.pad(x, (1, 1, 1, 1), value=-torch.inf)
        return padded.unfold(2, 3, stride).unfold(3, 3, stride).amax((-1, -2))
    if name == "avg_pool_3x3":
        window = torch.ones(1, 1, 3, 3, dtype=x.dtype)
        planes = x.flatten(0, 1).unsqueeze(1)
        total = functional.conv2d(planes, window, stride=stride, padding=1)
        count = functional.conv2d(torch.ones_like(planes), window, stride=stride, padding=1)
        return (total / count).squeeze(1).unflatten(0, x.shape[:2])
    if name == "skip_connect" and stride == 1:
        return x
    if name == "skip_connect":
        x = functional.relu(x)
        even = functional.conv2d(x, weights["conv_1.weight"], stride=2)
        odd = functional.conv2d(x[:, :, 1:, 1:], weights["conv_2.weight"], stride=2)
        return normalise(torch.cat([even, odd], 1))
    size = int(name[-1])
    dilation = 2 if name.startswith("dil") else 1
    halves = [(1, stride)] if name.startswith("dil") else [(1, stride), (5, 1)]
    for first, step in halves:
        depthwise, pointwise = (weights[f"op.{first + i}.weight"] for i in range(2))
        x = functional.conv2d(
            functional.relu(x),
            depthwise,
            stride=step,
            padding=dilation * (size - 1) // 2,
            dilation=dilation,
            groups=x.shape[1],
        )
        x = normalise(functional.conv2d(x, pointwise))
    return x


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_candidate_computes_what_it_is_defined_to(name, stride):
    operation = build_operation(name, 4, stride, affine=False).double()
    x = torch.randn(3, 4, 8, 6, dtype=torch.float64)
    y = operation(x)
    assert y.shape == (3, 4, 8 // stride, 6 // stride)
    torch.testing.assert_close(y, restate(name, dict(operation.named_parameters()), x, stride))


@pytest.mark.parametrize(
    ("name", "stride", "keys"),
    [
        ("none", 1, set()),
        ("max_pool_3x3", 1, set()),
        ("avg_pool_3x3", 2, set()),
        ("skip_connect", 1, set()),
        ("skip_connect", 2, {"conv_1", "conv_2", "bn"}),
        ("sep_conv_3x3", 1, {f"op.{i}" for i in (1, 2, 3, 5, 6, 7)}),
        ("sep_conv_5x5", 2, {f"op.{i}" for i in (1, 2, 3, 5, 6, 7)}),
        ("dil_conv_3x3", 1, {f"op.{i}" for i in (1, 2, 3)}),
        ("dil_conv_5x5", 2, {f"op.{i}" for i in (1, 2, 3)}),
    ],
)
def test_names_are_those_of_darts(name, stride, keys):
    operation = build_operation(name, 4, stride, affine=True)
    assert {key.rpartition(".")[0] for key in operation.state_dict()} == keys
    assert not any(key.endswith("bias") and "bn" not in key for key in conv_keys(operation))


def conv_keys(operation: nn.Module) -> list[str]:
    return [
        f"{name}.{key}"
        for name, module in operation.named_modules()
        if isinstance(module, nn.Conv2d)
        for key in module.state_dict()
    ]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_affine_decides_whether_the_batchnorms_learn(name, affine):
    norms = [
        module
        for module in build_operation(name, 4, 2, affine).modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert all((norm.weight is not None) == affine for norm in norms)


def test_no_operation_changes_its_input():
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    for name in PRIMITIVES:
        for stride in (1, 2):
            build_operation(name, 4, stride, affine=False)(x)
    assert torch.equal(x, before)


def test_skip_connect_is_the_identity_or_a_factorized_reduction():
    assert isinstance(build_operation("skip_connect", 4, 1, affine=False), Identity)
    assert isinstance(build_operation("skip_connect", 4, 2, affine=False), FactorizedReduce)
    x = torch.randn(2, 4, 8, 8)
    assert build_operation("skip_connect", 4, 1, affine=False)(x) is x


def test_relu_conv_bn_is_restated():
    layer = ReLUConvBN(6, 4, affine=False).double()
    assert set(layer.state_dict()) == {
        "op.1.weight",
        "op.2.running_mean",
        "op.2.running_var",
        "op.2.num_batches_tracked",
    }
    x = torch.randn(3, 6, 5, 7, dtype=torch.float64)
    expected = normalise(functional.conv2d(functional.relu(x), layer.op[1].weight))
    torch.testing.assert_close(layer(x), expected)


def test_zero_gives_zeros_even_for_infinite_input():
    x = torch.full((1, 2, 4, 4), torch.inf)
    assert torch.equal(build_operation("none", 2, 2, affine=False)(x), torch.zeros(1, 2, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("conv_9x9", 4, 1), "name must be one of none, max_pool_3x3, .* got 'conv_9x9'"),
        (("none", 4, 3), "stride must be 1 or 2, got 3"),
        (("none", 0, 1), "channels must be at least 1, got 0"),
        (("skip_connect", 5, 2), "out_channels must be even, got 5"),
        (("skip_connect", 1, 2), "out_channels must be even, got 1"),
    ],
)
def test_an_impossible_operation_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_operation(*arguments, affine=False)


def test_a_factorized_reduction_refuses_an_odd_size():
    with pytest.raises(ValueError, match=r"even height and width, got shape \(1, 4, 7, 8\)"):
        FactorizedReduce(4, 4, affine=False)(torch.zeros(1, 4, 7, 8))
