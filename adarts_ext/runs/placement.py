"""Where the images of a run are kept: on the device if they fit, else where they are."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor

from adarts_ext.data import ImageDataset
from adarts_ext.data.stored import ImagesInMemory, StoredImages, default_workers
from adarts_ext.runs import processes

DEVICE_SHARE = 1 / 2  # of a GPU's free memory, which images may take


def place_images(
    dataset: ImageDataset, device: torch.device, workers: int | None = None
) -> ImageDataset:
    """Leave images on the host that a GPU has no room for, and say in a line on stderr if so.

    Args:
        dataset: The data set; images in files stay there.
        device: Where its batches will be made.
        workers: None, or how many processes read the images, which are then not kept on the device
            in any case. By default they are if they take at most half of a GPU's free memory; for
            the CPU they stay the tensors that they are.

    Returns:
        The data set, or one with :class:`~adarts_ext.data.stored.StoredImages`.

    Example:
        >>> from adarts_ext.data import load_dataset
        >>> digits, cpu = load_dataset("digits"), torch.device("cpu")
        >>> place_images(digits, cpu) is digits
        True
        >>> place_images(digits, cpu, workers=2).train_images.workers
        2
    """
    parts = (dataset.train_images, dataset.test_images)
    size = sum(images.shape.numel() for images in parts)
    in_files = isinstance(parts[0], StoredImages)
    if workers is None and not in_files and size <= DEVICE_SHARE * free_memory(device):
        return dataset
    chosen = default_workers() if workers is None else workers
    if workers is None and processes.is_first():
        where = "in their files" if in_files else f"off {device}"
        print(
            f"images of {size / 2**30:.1f} GiB stay {where}, read by {chosen} processes",
            file=sys.stderr,
        )
    train, test = (_stored(images, chosen) for images in parts)
    return replace(dataset, train_images=train, test_images=test)


def free_memory(device: torch.device) -> float:
    """Return how many bytes of images a device can take: any number on the CPU, where they are."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def _stored(images: Tensor | StoredImages, workers: int) -> StoredImages:
    if isinstance(images, StoredImages):
        return replace(images, workers=workers)
    return ImagesInMemory.of(images.cpu(), workers)
