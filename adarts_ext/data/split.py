"""Splitting a data set in two, with the classes in the same proportions in both parts."""

from __future__ import annotations

import torch
from torch import Tensor

from adarts_ext.data.dataset import ImageDataset


def split(dataset: ImageDataset, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the training images in two at random, class by class.

    Args:
        dataset: The data set whose training images are split.
        fraction: The part of the images that goes into the first half, in (0, 1).
        seed: The same seed gives the same halves.

    Returns:
        Two int64 tensors of rising indices into the training images, without overlap, that
        together hold every index. Of each class the first has ``fraction``, to within one image.

    Raises:
        ValueError: If ``fraction`` is not in (0, 1), or leaves a half without an image.

    Example:
        >>> from adarts_ext.data import load_dataset
        >>> first, second = split(load_dataset("digits"), 0.5, seed=0)
        >>> len(first), len(second)
        (750, 750)
    """
    labels = dataset.train_labels
    count = round(fraction * len(labels)) if 0 < fraction < 1 else 0
    if not 0 < count < len(labels):
        raise ValueError(
            f"split: the fraction must lie in (0, 1) and leave images in both halves, "
            f"got {fraction} of {len(labels)} images"
        )
    return stratified_indices(labels, count, seed)


def stratified_indices(labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Choose ``count`` of the labels at random, each class in proportion to its size.

    A class of n of the N labels gives n * count / N of them, rounded down; what is then missing
    comes from the classes with the largest remainders, ties to the lower class.

    Returns:
        The rising indices chosen and the rising indices left, both int64.

    Example:
        >>> chosen, left = stratified_indices(torch.tensor([0, 1, 0, 1, 0, 0]), 3, seed=0)
        >>> len(chosen), len(left)
        (3, 3)
    """
    sizes = torch.bincount(labels)
    share = sizes * count
    quota = share // len(labels)
    remainder = share % len(labels)
    missing = count - int(quota.sum())
    quota[remainder.argsort(descending=True, stable=True)[:missing]] += 1

    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, wanted in enumerate(quota.tolist()):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator)
        chosen[members[order[:wanted]]] = True
    return chosen.nonzero().squeeze(1), (~chosen).nonzero().squeeze(1)
