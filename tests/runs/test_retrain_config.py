from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adarts_ext.data import ImageDataset
from adarts_ext.genotype import ADARTS_V1, ADARTS_V2, PC_DARTS
from adarts_ext.retrain import RetrainConfig
from adarts_ext.retrain.config import RECIPES
from adarts_ext.retrain.cost import network_cost


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "imagenet"}, "dataset: expected one of digits.*got 'imagenet'"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"learning_rate": 0.0}, r"learning_rate: expected above 0, got 0\.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected above 0, got nan"),
        ({"drop_path_prob": 1.5}, r"drop_path_prob: expected at least 0 and at most 1, got 1\.5"),
        ({"weight_decay": -1e-4}, "weight_decay: expected at least 0"),
        ({"cutout": -1}, "cutout: expected at least 0"),
        ({"image_size": 0}, "image_size: expected a multiple of 4, at least 16, got 0"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"layers": True}, "layers: expected a whole number, got True"),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected less than 1, got 1\.0"),
        ({"ema_decay": -0.1}, "ema_decay: expected at least 0"),
        ({"ema_decay": 1.0}, "ema_decay: expected less than 1"),
        ({"memory_format": "nhwc"}, "memory_format: expected one of contiguous, channels_last"),
        ({"precision": "fp16"}, "precision: expected one of fp32, bf16, got 'fp16'"),
        ({"batch_size": 1}, "batch_size: expected at least 2 with the auxiliary head, got 1"),
    ],
)
def test_options_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        RetrainConfig(**changes)


def test_defaults_are_the_published_ones():
    config = RetrainConfig()
    assert (config.init_channels, config.layers, config.epochs) == (36, 20, 600)
    assert (config.batch_size, config.learning_rate, config.learning_rate_min) == (96, 0.025, 0)
    assert (config.momentum, config.weight_decay, config.grad_clip) == (0.9, 3e-4, 5)
    assert (config.drop_path_prob, config.auxiliary, config.auxiliary_weight) == (0.3, True, 0.4)
    assert (config.label_smoothing, config.ema_decay, config.precision) == (0, 0, "fp32")
    assert RECIPES["published"] == config
    assert RECIPES["darts"] == replace(config, drop_path_prob=0.2)


def count_by_hand(genotype, channels=36, layers=20, classes=10):
    """Parameters of a DARTS network by formula: convolutions without bias, a BN after each pair."""

    def batch_norm(c):
        return 2 * c

    def parameters(name, c, strided):
        size = int(name[-1]) if name.endswith(("3x3", "5x5")) else 0
        if name.startswith("sep_conv"):
            return 2 * (c * size**2 + c * c + batch_norm(c))
        if name.startswith("dil_conv"):
            return c * size**2 + c * c + batch_norm(c)
        if name == "skip_connect" and strided:
            return c * c + batch_norm(c)
        return 0

    before = previous = 3 * channels
    total = 9 * 3 * previous + batch_norm(previous)
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        total += (before + previous) * channels + 2 * batch_norm(channels)
        for name, source in genotype.reduce if reduction else genotype.normal:
            total += parameters(name, channels, strided=reduction and source < 2)
        before, previous = previous, 4 * channels
    return total + previous * classes + classes


@pytest.mark.parametrize("genotype", [ADARTS_V1, ADARTS_V2, PC_DARTS])
def test_parameters_are_counted_without_the_auxiliary_head(genotype):
    images, labels = torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10)
    names = tuple("abcdefghij")
    data = ImageDataset("cifar10", images, labels, images, labels, names, True)
    cost = network_cost(genotype, RetrainConfig(), data)
    assert cost["parameters"] == count_by_hand(genotype)
    assert cost["parameters_with_auxiliary"] > cost["parameters"]
    published = {ADARTS_V1: 2.898, PC_DARTS: 3.635}
    if genotype in published:
        assert round(cost["parameters"] / 1e6, 3) == published[genotype]
