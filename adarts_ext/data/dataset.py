"""A labelled image data set, whole in memory or read when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from adarts_ext.data.stored import StoredImages

GREY_MODES = ("1", "L", "LA", "La")  # those of PIL's modes that have no colour
SAMPLE = 10_000  # images of a folder that mean and std are taken over, if it has more


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Training and test images of one size with their labels, and what follows from them.

    Shapes, the number of classes and the normalisation are read off the data, so that nothing
    that uses a data set needs to know which one it is.

    Attributes:
        name: What the data set is called in reports.
        train_images: (N, C, H, W) uint8, or :class:`~adarts_ext.data.stored.StoredImages` that
            stand for such a tensor.
        train_labels: (N,) int64 in [0, classes).
        test_images: (M, C, H, W) uint8, likewise; none of them, M = 0, will do for a search.
        test_labels: (M,) int64 in [0, classes).
        class_names: One name for each label.
        flip: Whether an image keeps its label when it is mirrored left to right.
        files: A digest of names and sizes of the files of an image folder; None for other data.

    Raises:
        ValueError: If there is no training image, or shapes, dtypes or labels do not fit together.

    Example:
        >>> images = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
        >>> labels = torch.tensor([0, 1])
        >>> data = ImageDataset("tiny", images, labels, images, labels, ("a", "b"), flip=False)
        >>> data.in_channels, data.image_size, data.num_classes
        (1, (2, 2), 2)
    """

    name: str
    train_images: Tensor | StoredImages
    train_labels: Tensor
    test_images: Tensor | StoredImages
    test_labels: Tensor
    class_names: tuple[str, ...]
    flip: bool
    files: str | None = None

    def __post_init__(self) -> None:
        self._check_part("train", self.train_images, self.train_labels)
        self._check_part("test", self.test_images, self.test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            train, test = tuple(self.train_images.shape[1:]), tuple(self.test_images.shape[1:])
            raise ValueError(f"{self.name}: training images are {train}, test images {test}")

    def _check_part(self, part: str, images: Tensor | StoredImages, labels: Tensor) -> None:
        empty = images.shape[1:].numel() == 0 or (part == "train" and len(images) == 0)
        if images.dtype != torch.uint8 or images.ndim != 4 or empty:
            got = f"{tuple(images.shape)} {images.dtype}"
            raise ValueError(f"{self.name}: {part} images must be (N, C, H, W) uint8, got {got}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            got = f"{tuple(labels.shape)} {labels.dtype}"
            raise ValueError(
                f"{self.name}: {part} labels must be ({len(images)},) int64, got {got}"
            )
        if len(labels) == 0:
            return
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"{self.name}: {part} labels must lie in [0, {self.num_classes}), "
                f"got {low} to {high}"
            )

    @property
    def in_channels(self) -> int:
        """Channels of an image: 1 for grey, 3 for colour."""
        return self.train_images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.train_images.shape[2], self.train_images.shape[3]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def padding(self) -> int:
        """Padding of the random crop, in pixels: an eighth of the height, 4 at 32 as in DARTS."""
        return self.image_size[0] // 8

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, with pixel values in [0, 1].

        Of an image folder with more than :data:`SAMPLE` of them it is the mean over so many, drawn
        at random but always the same.
        """
        return self._mean_and_std[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the same images, 1 where it is 0."""
        return self._mean_and_std[1]

    @cached_property
    def _mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        images = self.train_images
        if self.files is not None and len(images) > SAMPLE:
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
            images = images[order[:SAMPLE].sort().values]
        stored = isinstance(images, StoredImages)
        chunks = images.in_chunks("mean of the images") if stored else [images]
        # Histograms are exact, and need no float copy of the images.
        counts = sum(map(_histograms, chunks)).double()
        weights, values = counts / counts[0].sum(), torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in weights:
            mean = (channel * values).sum()
            std = (channel * (values - mean) ** 2).sum().sqrt()
            means.append(mean.item())
            stds.append(std.item() or 1.0)
        return tuple(means), tuple(stds)


def _histograms(images: Tensor) -> Tensor:
    """Return how often each channel has each value, (C, 256) int64."""
    channels = images.unbind(dim=1)
    return torch.stack([torch.bincount(one.reshape(-1), minlength=256) for one in channels])
