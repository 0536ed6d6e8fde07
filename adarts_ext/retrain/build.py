"""What a training trains with: the network, its optimizer and its loaders."""

from __future__ import annotations

import torch

from adarts_ext.data import BatchLoader, ImageDataset
from adarts_ext.genotype import Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain.config import RetrainConfig


def build_network(
    genotype: Genotype, config: RetrainConfig, dataset: ImageDataset
) -> DerivedNetwork:
    """Make the derived network for the images and classes of a data set."""
    return DerivedNetwork(
        genotype,
        init_channels=config.init_channels,
        num_classes=dataset.num_classes,
        layers=config.layers,
        auxiliary=config.auxiliary,
        in_channels=dataset.in_channels,
    )


def make_optimizer(config: RetrainConfig, network: DerivedNetwork) -> torch.optim.SGD:
    """Make the optimizer of the weights."""
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def make_train_loader(
    config: RetrainConfig, dataset: ImageDataset, device: torch.device
) -> BatchLoader:
    """Make the loader of all training images.

    Raises:
        ValueError: If the batch is larger than the training images, or the cutout than an image.
    """
    cutout = min(dataset.image_size) // 2 if config.cutout is None else config.cutout
    return BatchLoader(
        dataset.train_images,
        dataset.train_labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augment=config.augment,
        flip=dataset.flip,
        padding=dataset.padding,
        cutout=cutout,
        device=device,
        seed=config.seed,
    )


def make_test_loader(
    config: RetrainConfig, dataset: ImageDataset, device: torch.device
) -> BatchLoader:
    """Make the loader of all test images, which come as they are and in their order."""
    return BatchLoader(
        dataset.test_images,
        dataset.test_labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augment=False,
        flip=False,
        padding=0,
        device=device,
        seed=0,
        shuffle=False,
        drop_last=False,
    )
