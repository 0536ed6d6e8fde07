"""The networks for images of 224x224: published sizes, names of DARTS, equations, checks."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from torch import nn

from adarts_ext.genotype import ADARTS_V1, DARTS_V2, PC_DARTS, PC_DARTS_IMAGENET
from adarts_ext.nn import DerivedNetwork, SearchNetwork
from adarts_ext.retrain import RetrainConfig
from adarts_ext.retrain.cost import ImageKind, network_cost


def small(**choices) -> SearchNetwork:
    settings = {"init_channels": 8, "layers": 3, "steps": 2, "proportion": 2, "stem": "imagenet"}
    return SearchNetwork(**settings | choices).double()


def count_by_hand(genotype, channels=48, layers=14, classes=1000, side=224) -> Counter:
    """What DARTS's network for ImageNet has and does, by formula, layer by layer."""
    total = Counter()

    def convolve(size, before, after, side, groups=1):
        weights = size**2 * before * after // groups
        total.update(parameters=weights, macs=weights * side**2)

    def normalise(channels, side):
        total.update(parameters=2 * channels, normalised=channels * side**2)

    def rectify(channels, side):
        total.update(rectified=channels * side**2)

    def fit(before, after, side, factor):  # ReLU, convolution of 1x1, BatchNorm
        rectify(before, factor * side)
        convolve(1, before, after, side)
        normalise(after, side)

    def separable(size, c, sides):  # ReLU, depthwise convolution, one of 1x1, BatchNorm
        for before, after in sides:
            rectify(c, before)
            convolve(size, c, c, after, groups=c)
            convolve(1, c, c, after)
            normalise(c, after)

    widths = (3, channels // 2, channels, channels)
    for before, after in itertools.pairwise(widths):
        side //= 2
        convolve(3, before, after, side)
        normalise(after, side)
    rectify(channels // 2, 4 * side)
    rectify(channels, 2 * side)

    older = newer = channels
    after_reduction = True
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        fit(older, channels, side, factor=2 if after_reduction else 1)
        fit(newer, channels, side, factor=1)
        half = side // 2 if reduction else side
        for name, source in genotype.reduce if reduction else genotype.normal:
            start = side if source < 2 else half
            if name.startswith("sep_conv"):
                separable(int(name[-1]), channels, [(start, half), (half, half)])
            elif name.startswith("dil_conv"):
                separable(int(name[-1]), channels, [(start, half)])
            elif name == "skip_connect" and start != half:
                fit(channels, channels, half, factor=2)
        older, newer, side, after_reduction = newer, 4 * channels, half, reduction
    total.update(parameters=newer * classes + classes, macs=newer * classes)
    return total


@pytest.mark.parametrize(
    ("genotype", "millions", "operations"),
    [(DARTS_V2, 4.7, None), (PC_DARTS, 5.3, 586), (PC_DARTS_IMAGENET, 5.3, 597)],
)
def test_the_network_for_imagenet_has_its_published_size(genotype, millions, operations):
    config = RetrainConfig(init_channels=48, layers=14, stem="imagenet")
    cost = network_cost(genotype, config, ImageKind(3, (224, 224), 1000))
    expected = count_by_hand(genotype)
    assert (cost["parameters"], cost["macs"]) == (expected["parameters"], expected["macs"])
    assert round(cost["parameters"] / 1e6, 1) == millions
    head = 768 * 128 + 2 * 128 + 128 * 768 * 4 + 769 * 1000  # one BatchNorm
    assert cost["parameters_with_auxiliary"] - cost["parameters"] == head
    if operations:  # PC-DARTS counts two for each value of a BatchNorm and one for each of a ReLU
        all_of_them = cost["macs"] + 2 * expected["normalised"] + expected["rectified"]
        assert round(all_of_them / 1e6) == operations


def test_the_stems_have_the_names_and_layers_of_darts():
    derived, supernet = DerivedNetwork(ADARTS_V1, 48, stem="imagenet"), SearchNetwork(16, 10, 3)
    assert not hasattr(derived, "stem")
    assert not hasattr(supernet, "stem0")
    supernet = SearchNetwork(16, 10, 3, stem="imagenet")
    for network, channels in ((derived, 48), (supernet, 48)):
        kinds = [type(layer).__name__ for layer in (*network.stem0, *network.stem1)]
        block = ["Conv2d", "BatchNorm2d"]
        assert kinds == [*block, "ReLU", *block, "ReLU", *block]
        convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][:3]
        widths = [3, channels // 2, channels, channels]
        for convolution, before, after in zip(convolutions, widths[:3], widths[1:], strict=True):
            assert convolution.weight.shape == (after, before, 3, 3)
            assert (convolution.stride, convolution.padding) == ((2, 2), (1, 1))
            assert convolution.bias is None
    assert derived.cells[0].preprocess0.conv_1.weight.shape == (24, 48, 1, 1)
    assert supernet.cells[0].preprocess0.conv_1.weight.shape == (8, 48, 1, 1)
    assert SearchNetwork(4, 10, 3, stem="imagenet").stem1[1].out_channels == 12
    assert DerivedNetwork(ADARTS_V1, 4, layers=3, stem="imagenet").stem1[1].out_channels == 4


@pytest.mark.parametrize("network", [small(), DerivedNetwork(DARTS_V2, 8, 10, 4, stem="imagenet")])
def test_the_first_cell_takes_what_both_parts_of_the_stem_give(network):
    network.double().eval()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    s0 = network.stem0(x)
    s1 = network.stem1(s0)
    assert (s0.shape[2:], s1.shape[2:]) == ((16, 24), (8, 12))
    for cell in network.cells:
        arguments = [0.0]
        if isinstance(network, SearchNetwork):
            kind = "reduce" if cell.reduction else "normal"
            alphas, betas = getattr(network, f"alphas_{kind}"), getattr(network, f"betas_{kind}")
            arguments = [
                alphas.softmax(-1),
                torch.cat([betas[:2].softmax(0), betas[2:].softmax(0)]),
            ]
        s0, s1 = s1, cell(s0, s1, *arguments)
    assert s1.shape[2:] == (2, 3)
    torch.testing.assert_close(network(x), network.classifier(s1.mean((2, 3))))


@pytest.mark.parametrize("selection", ["attention", "first"])
def test_the_fused_kernels_give_what_plain_torch_does(selection):
    plain = small(selection=selection, backend="reference")
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    fused = small(selection=selection)
    fused.load_state_dict(plain.state_dict())
    assert all(cell.is_fused for cell in fused.cells)
    results = []
    for network in (fused, plain):
        logits = network(x)
        leaves = [*network.arch_parameters(), *network.parameters()]
        gradients = torch.autograd.grad(logits.square().sum(), leaves)
        results.append((logits, list(gradients), list(network.buffers())))
    torch.testing.assert_close(*results)


def test_the_auxiliary_head_sees_windows_of_five_by_stride_two_at_seven():
    head = DerivedNetwork(ADARTS_V1, 4, 10, 3, stem="imagenet").auxiliary_head.double().eval()
    relu, _, project, norm, _, convolution, last = head.features
    x = torch.randn(2, 64, 7, 7, dtype=torch.float64)
    pooled = nn.functional.avg_pool2d(relu(x), 5, 2)
    expected = head.classifier(last(convolution(relu(norm(project(pooled))))).flatten(1))
    torch.testing.assert_close(head(x), expected)


def test_training_gives_two_logits():
    network = DerivedNetwork(PC_DARTS_IMAGENET, 4, 5, 4, stem="imagenet")
    logits, auxiliary_logits = network(torch.randn(2, 3, 64, 64))
    assert logits.shape == auxiliary_logits.shape == (2, 5)


@pytest.mark.parametrize("build", [small, lambda **c: DerivedNetwork(ADARTS_V1, layers=3, **c)])
@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"stem": "mnist"}, "stem must be one of cifar, imagenet, got 'mnist'"),
        ({"stem": "imagenet", "init_channels": 5}, "init_channels must be even .* got 5"),
    ],
)
def test_a_stem_that_cannot_be_is_refused(build, choices, message):
    with pytest.raises(ValueError, match=f"Network: {message}"):
        build(**choices)


@pytest.mark.parametrize("size", [(64, 48), (32, 64)])
def test_images_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match=r"multiples of 32 and at least 64, got shape \(2, 3, "):
        small()(torch.zeros(2, 3, *size, dtype=torch.float64))
