"""What a search trains with: the supernet, its optimizers and its loaders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.data import BatchLoader, ImageDataset, split
from adarts_ext.data.split import stratified_indices
from adarts_ext.genotype import PRIMITIVES
from adarts_ext.genotype.candidates import columns_of
from adarts_ext.genotype.operations import draws
from adarts_ext.nn import SearchNetwork
from adarts_ext.nn.candidates import EdgeCandidates, parse_space
from adarts_ext.nn.operation_weights import softmax_weights
from adarts_ext.nn.selection import SELECTIONS
from adarts_ext.runs import processes
from adarts_ext.runs.data import place
from adarts_ext.search.config import SearchConfig
from adarts_ext.strategies import Strategy, make_strategy


def build_strategy(config: SearchConfig) -> Strategy:
    """Make the strategy of a search.

    Raises:
        ValueError: If it cannot be made, or passes that draw would be compared.
    """
    strategy = make_strategy(config.strategy)
    for name in ("unrolled", "hessian_every"):
        differing = "draws other weights" if strategy.draws_weights else "drops other values"
        differs = strategy.draws_weights or strategy.skip_dropout() is not None
        if getattr(config, name) and differs:
            message = (
                f"{name}: expected another strategy than {config.strategy}, which {differing} in "
                "each of the passes that are compared"
            )
            raise naming(ValueError(message), name, "strategy")
    if config.unrolled and strategy.uses_validation_gradients:
        message = (
            f"unrolled: expected another strategy than {config.strategy}, which needs the "
            "validation loss's gradients at the present weights"
        )
        raise naming(ValueError(message), "unrolled", "strategy")
    if strategy.compares_passes:
        check_comparable(config)
    candidates = parse_space(config.space)
    drawing = next(filter(draws, columns_of(candidates)), None)
    if drawing and (config.unrolled or strategy.compares_passes):
        name = "unrolled" if config.unrolled else "strategy"
        message = (
            f"space: expected no {drawing} with {name} {getattr(config, name)}: it draws other "
            "numbers in each of the passes that are compared"
        )
        raise naming(ValueError(message), "space", name)
    if not strategy.any_candidates and not set(PRIMITIVES) <= set(candidates):
        message = (
            f"space: expected darts with strategy {config.strategy}, whose weights are about all "
            f"candidates of it, got {config.space}"
        )
        raise naming(ValueError(message), "space", "strategy")
    return strategy


def check_comparable(config: SearchConfig) -> None:
    """Refuse options with which two passes of one network cannot be compared."""
    if config.precision != "fp32":
        message = (
            f"precision: expected fp32 with strategy {config.strategy}, got {config.precision}, "
            "which cannot tell apart what is compared there"
        )
        raise naming(ValueError(message), "precision", "strategy")
    if SELECTIONS[config.selection].channels == "random":
        message = (
            f"strategy: expected another selection than {config.selection} with {config.strategy}, "
            "which would give each of the passes that are compared a network of its own"
        )
        raise naming(ValueError(message), "strategy", "selection")


def build_network(
    config: SearchConfig,
    dataset: ImageDataset,
    weights: Callable[[Tensor], Tensor] = softmax_weights,
    skip_zeros: bool = False,
    candidates: EdgeCandidates | None = None,
    skip_dropout: Tensor | None = None,
) -> SearchNetwork:
    """Make the supernet for the images and classes of a data set, with a strategy's weights.

    Candidates of a stage's edges take the place of those of the space.
    """
    return SearchNetwork(
        init_channels=config.init_channels,
        num_classes=dataset.num_classes,
        layers=config.layers,
        proportion=config.proportion,
        selection=config.selection,
        edge_normalization=config.edge_normalization,
        backend=config.backend,
        memory=config.memory,
        in_channels=dataset.in_channels,
        steps=config.steps,
        sync_batch_norm=config.sync_batch_norm,
        stem=config.stem,
        weights=weights,
        candidates=candidates or parse_space(config.space),
        skip_zeros=skip_zeros,
        attention=config.attention,
        skip_dropout=skip_dropout,
    )


def say_kernels(network: SearchNetwork) -> None:
    """Say on stderr which cells run operator by operator, and why, where they were to be fused."""
    others = {cell.kernels() for cell in network.cells if not cell.is_fused}
    if network.backend == "fused" and others:
        print(f"search cells run {' and '.join(sorted(others))}", file=sys.stderr)


def make_optimizers(
    config: SearchConfig, weights: Iterable[Tensor], arch_parameters: Iterable[Tensor]
) -> tuple[torch.optim.SGD, torch.optim.Adam]:
    """Make the optimizers of the weights and of alphas and betas.

    A CUDA graph can hold their steps: the learning rate of the weights is a tensor on their device.
    """
    weights = list(weights)
    weight_optimizer = torch.optim.SGD(
        weights,
        lr=torch.tensor(config.learning_rate, device=weights[0].device),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if config.momentum:  # a fused step takes all of them or none: some weights may get no gradient
        for weight in weights:
            weight_optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    arch_optimizer = torch.optim.Adam(
        arch_parameters,
        lr=config.arch_learning_rate,
        betas=(config.arch_beta1, config.arch_beta2),
        weight_decay=config.arch_weight_decay,
        fused=True,
        capturable=True,
    )
    return weight_optimizer, arch_optimizer


def make_loaders(
    config: SearchConfig, dataset: ImageDataset, device: torch.device
) -> tuple[BatchLoader, BatchLoader, BatchLoader]:
    """Make the loaders that train the weights, train alphas and betas, and measure the accuracy.

    The last two share the second half of the training images; the last one gives all of them, as
    they are and in their order.

    Raises:
        ValueError: If a half holds no whole batch, or the processes of the run cannot share one.
    """
    processes.check_batch_size(config.batch_size)
    images = len(dataset.train_labels)
    half = round(config.train_portion * images)
    if config.batch_size > min(half, images - half):
        message = (
            f"batch_size: expected at most as many images as either half holds, {half} and "
            f"{images - half} (train_portion {config.train_portion} of the {images} training "
            f"images of {place(config, dataset)}), got {config.batch_size}"
        )
        raise naming(ValueError(message), "batch_size", "train_portion")
    first, second = split(dataset, config.train_portion, config.seed)

    train, validation = (
        BatchLoader(
            dataset.train_images[half],
            dataset.train_labels[half],
            config.batch_size,
            mean=dataset.mean,
            std=dataset.std,
            augment=config.augment,
            flip=dataset.flip,
            padding=dataset.padding,
            device=device,
            seed=seed,
            share=processes.share(),
        )
        for half, seed in ((first, config.seed), (second, config.seed + 1))
    )
    # The last has the same images, and the same memory.
    evaluation = BatchLoader.in_order(
        validation.images,
        validation.labels,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        device=device,
    )
    return train, validation, evaluation


def make_hessian_loader(
    config: SearchConfig, dataset: ImageDataset, device: torch.device
) -> BatchLoader:
    """Make the loader of the batch that the Hessian is measured on, always the same one.

    It has images of the second half as they are, the classes in proportion.
    """
    _, half = split(dataset, config.train_portion, config.seed)
    chosen, _ = stratified_indices(dataset.train_labels[half], config.batch_size, config.seed)
    return BatchLoader.in_order(
        dataset.train_images[half[chosen]],
        dataset.train_labels[half[chosen]],
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        device=device,
        share=processes.share(),
    )
