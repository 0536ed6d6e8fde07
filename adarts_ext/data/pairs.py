"""Data sets of one's own, from torch's map-style ones: pairs of an image and its label."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from adarts_ext.data.dataset import GREY_MODES, ImageDataset

READ_AGAIN = 8  # images, to see whether they come out the same


def image_dataset(train: Any, test: Any = None, flip: bool = False) -> ImageDataset:
    """Read map-style data sets of (image, label) pairs whole into memory.

    An image is a uint8 tensor, (C, H, W) or (H, W); a floating-point tensor of these shapes with
    values from 0 to 1, which are rounded to 256 levels; or a PIL image, which is made grey or RGB.
    All have one shape. Each is read once: resize them in the data set, but leave normalisation and
    random transforms out, since training normalises and augments by itself. A label is a whole
    number from 0 on.

    The classes are named by ``train.classes`` where there is such a list, as torchvision's data
    sets have it, and by their numbers otherwise.

    Args:
        train: The training images: a :class:`torch.utils.data.Dataset`, or anything else with a
            length that is indexed from 0 on.
        test: The test images, likewise; None for none, which will do for a search.
        flip: Whether an image keeps its label when it is mirrored left to right.

    Raises:
        TypeError: If a data set has no length or cannot be indexed.
        ValueError: If a data set gives something else than described, or other images when they
            are read again; the message names the place.

    Example:
        >>> images, labels = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.arange(4) % 2
        >>> data = image_dataset(torch.utils.data.TensorDataset(images, labels))
        >>> data.train_images.shape, data.class_names, len(data.test_images)
        (torch.Size([4, 3, 16, 16]), ('0', '1'), 0)
    """
    train_images, train_labels = _read("train", train)
    test_images, test_labels = train_images[:0], train_labels[:0]
    if test is not None:
        test_images, test_labels = _read("test", test)
    names = getattr(train, "classes", None)
    if not isinstance(names, Sequence) or isinstance(names, str):
        names = range(1 + int(torch.cat([train_labels, test_labels]).max()))
    return ImageDataset(
        name=type(train).__name__,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(str(name) for name in names),
        flip=flip,
    )


def _read(part: str, pairs: Any) -> tuple[Tensor, Tensor]:
    if (
        isinstance(pairs, type | IterableDataset | Tensor | dict)
        or not hasattr(pairs, "__getitem__")
        or not hasattr(pairs, "__len__")
    ):
        raise TypeError(
            f"{part}: expected a map-style data set of (image, label) pairs, with a length and "
            f"indexed by numbers, got {type(pairs).__name__}"
        )
    count = len(pairs)
    if count == 0:
        raise ValueError(f"{part}: expected at least one image, got an empty {_kind(pairs)}")
    first, _ = _pair(part, pairs, 0)
    images = torch.empty(count, *first.shape, dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.int64)
    for index in range(count):
        image, label = _pair(part, pairs, index)
        if image.shape != first.shape:
            raise ValueError(
                f"{part}[{index}]: expected an image of shape {tuple(first.shape)} like that of "
                f"{part}[0], got {tuple(image.shape)}"
            )
        images[index], labels[index] = image, label
    for index in range(min(count, READ_AGAIN)):
        if not torch.equal(_pair(part, pairs, index)[0], images[index]):
            raise ValueError(
                f"{part}[{index}]: gives another image each time; leave random transforms out of "
                "the data set, training augments by itself"
            )
    return images, labels


def _pair(part: str, pairs: Any, index: int) -> tuple[Tensor, int]:
    where, pair = f"{part}[{index}]", pairs[index]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        size = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
        raise ValueError(f"{where}: expected a pair (image, label), got a {_kind(pair)}{size}")
    try:
        label = operator.index(pair[1])
    except TypeError:
        label = -1
    if label < 0:
        raise ValueError(f"{where}: expected a label, a whole number from 0 on, got {pair[1]!r}")
    return _image(where, pair[0]), label


def _image(where: str, image: Any) -> Tensor:
    """Return an image as (C, H, W) uint8."""
    pil = sys.modules.get("PIL.Image")  # without it no image is of PIL
    if pil is not None and isinstance(image, pil.Image):
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{where}: expected 8 bits a channel, got PIL mode {image.mode}")
        pixels = np.array(image.convert("L" if image.mode in GREY_MODES else "RGB"))
        image = torch.from_numpy(pixels)
        image = image if image.ndim == 2 else image.permute(2, 0, 1)
    if not isinstance(image, Tensor):
        raise ValueError(f"{where}: expected an image, a tensor or of PIL, got a {_kind(image)}")
    if image.ndim not in (2, 3) or image.numel() == 0:
        raise ValueError(
            f"{where}: expected an image (C, H, W) or (H, W), got shape {tuple(image.shape)}"
        )
    if image.is_floating_point():
        low, high = image.min().item(), image.max().item()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"{where}: expected values from 0 to 1 in a floating-point image, got {low:.4g} to "
                f"{high:.4g}; leave normalisation out of the data set, training does it"
            )
        image = (image * 255).round().to(torch.uint8)
    if image.dtype != torch.uint8:
        raise ValueError(f"{where}: expected a uint8 or floating-point image, got {image.dtype}")
    image = image.detach().cpu()
    return image if image.ndim == 3 else image.unsqueeze(0)


def _kind(value: Any) -> str:
    return type(value).__name__
