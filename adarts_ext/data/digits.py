"""Handwritten digits that come with scikit-learn: small enough to try everything on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from adarts_ext.arguments import naming
from adarts_ext.data.dataset import ImageDataset
from adarts_ext.data.split import stratified_indices

NATIVE_SIZE = 8
TEST_IMAGES = 297


def load_digits(image_size: int = 16) -> ImageDataset:
    """Load the 1,797 grey digits of scikit-learn: 1,500 for training and 297 for testing.

    The images are 8x8 with values 0 to 16 (UCI ML optical recognition of handwritten digits).
    They are enlarged by bilinear interpolation, and their values spread over 0 to 255. The test
    images are always the same ones, with the classes in the proportions of the whole.

    Args:
        image_size: Side of the images, in pixels, at least 8.

    Raises:
        ValueError: If ``image_size`` is below 8.

    Example:
        >>> data = load_digits(image_size=8)
        >>> data.test_images.shape, data.flip
        (torch.Size([297, 1, 8, 8]), False)
    """
    from sklearn.datasets import load_digits as load_digits_of_sklearn

    if image_size < NATIVE_SIZE:
        message = f"digits: image_size must be at least {NATIVE_SIZE}, got {image_size}"
        raise naming(ValueError(message), "image_size")
    digits = load_digits_of_sklearn()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)
    images = nn.functional.interpolate(images, size=(image_size, image_size), mode="bilinear")
    images = images.round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    test, train = stratified_indices(labels, TEST_IMAGES, seed=0)
    return ImageDataset(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(str(digit) for digit in range(10)),
        flip=False,
    )
