"""What a training trains with: the network, its optimizer and its loaders."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adarts_ext.arguments import naming
from adarts_ext.data import BatchLoader, ImageDataset
from adarts_ext.data.views import ViewsOfFiles
from adarts_ext.genotype import Genotype
from adarts_ext.nn import DerivedNetwork
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.runs import processes
from adarts_ext.runs.data import place
from adarts_ext.runs.precision import set_precision


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
        sync_batch_norm=config.sync_batch_norm,
        stem=config.stem,
    )


def place_network(
    network: DerivedNetwork, config: RetrainConfig, device: torch.device
) -> DerivedNetwork:
    """Move a network to a device, and let it compute there as the options say; return it.

    Convolutions with weights in channels_last make feature maps in it of images in any format.
    """
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    network.to(device, memory_format=formats[config.memory_format])
    set_precision(network, config.precision)
    return network


def make_average(config: RetrainConfig, network: DerivedNetwork) -> AveragedModel | None:
    """Make the moving average of a network's weights and statistics; None without one.

    Statistics are averaged too, as those of the network's own weights would not fit.
    """
    if config.ema_decay == 0:
        return None
    return AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True
    )


def make_optimizer(config: RetrainConfig, network: DerivedNetwork) -> torch.optim.SGD:
    """Make the optimizer of the weights."""
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )


def make_train_loader(
    config: RetrainConfig, dataset: ImageDataset, device: torch.device
) -> BatchLoader:
    """Make the loader of all training images.

    Raises:
        ValueError: If the batch is larger than the training images, or the processes of the run
            cannot share one; or the cutout is larger than an image.
    """
    processes.check_batch_size(config.batch_size)
    images, side = len(dataset.train_labels), min(dataset.image_size)
    views = isinstance(dataset.train_images, ViewsOfFiles)
    cutout = config.cutout
    if cutout is None:
        cutout = 0 if views else side // 2
    if config.batch_size > images:
        message = (
            f"batch_size: expected at most the {images} training images of "
            f"{place(config, dataset)}, got {config.batch_size}"
        )
        raise naming(ValueError(message), "batch_size")
    if cutout > side:
        message = f"cutout: expected at most the image's shorter side, {side}, got {cutout}"
        raise naming(ValueError(message), "cutout")
    return BatchLoader(
        dataset.train_images,
        dataset.train_labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augment=config.augment,
        flip=dataset.flip,
        padding=dataset.padding,
        colours=views,
        cutout=cutout,
        device=device,
        seed=config.seed,
        share=processes.share(),
    )


def make_test_loader(
    config: RetrainConfig, dataset: ImageDataset, device: torch.device
) -> BatchLoader:
    """Make the loader of all test images, which come as they are and in their order.

    Raises:
        ValueError: If there are none.
    """
    if len(dataset.test_labels) == 0:
        raise ValueError(
            "dataset: expected images to test on too, as in dataset=(train, test), got none"
        )
    return BatchLoader.in_order(
        dataset.test_images,
        dataset.test_labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        device=device,
    )
