"""An image folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from adarts_ext.data.dataset import ImageDataset

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder

GREY_MODES = ("1", "L", "LA", "La")


def load_folder(folder: Path, image_size: int | None = None) -> ImageDataset:
    """Load an image folder: ``train/`` and ``test/``, each with one folder of images a class.

    The images are kept in memory as uint8. They have one channel when all of them are grey, and
    three otherwise.

    Args:
        folder: The folder that holds ``train/`` and ``test/``.
        image_size: Side of the square images to make: the shorter side is scaled to it, and what
            the longer side has beyond it is cut off evenly. None keeps the images as they are.

    Raises:
        FileNotFoundError: If a folder is missing, or a class has no image.
        ValueError: If an image cannot be read, the classes of the two parts differ, the images
            differ in size and ``image_size`` is None, or ``image_size`` is below 1.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"folder: --image-size must be at least 1, got {image_size}")
    train, test = _find_images(folder / "train"), _find_images(folder / "test")
    if train.classes != test.classes:
        name = min(set(train.classes) ^ set(test.classes))
        part, other = ("train", "test") if name in train.classes else ("test", "train")
        raise ValueError(f"{folder}: the class {name!r} is in {part}/ but not in {other}/")
    paths = [Path(path) for path, _ in train.samples + test.samples]
    mode, shape = _common_form(paths, image_size)
    images = _read_images(paths, mode, shape)
    count = len(train.samples)
    return ImageDataset(
        name=folder.resolve().name,
        train_images=images[:count],
        train_labels=torch.tensor(train.targets),
        test_images=images[count:],
        test_labels=torch.tensor(test.targets),
        class_names=tuple(train.classes),
        flip=True,
    )


def _find_images(folder: Path) -> ImageFolder:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; --data-dir must name a folder that holds train/ and test/, "
            "each with one folder of images a class"
        )
    from torchvision.datasets import ImageFolder

    return ImageFolder(str(folder))


def _common_form(paths: list[Path], image_size: int | None) -> tuple[str, tuple[int, int]]:
    """Read the images' headers; return the PIL mode and the (height, width) that all will have."""
    grey = True
    size: tuple[int, int] | None = None
    for path in paths:
        with _open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{path}: expected 8 bits a channel, got PIL mode {image.mode}")
            grey = grey and image.mode in GREY_MODES
            if size is None:
                size = image.size
            elif image_size is None and image.size != size:
                raise ValueError(
                    f"images differ in size: {paths[0]} is {size[0]}x{size[1]}, {path} is "
                    f"{image.size[0]}x{image.size[1]}; give one size to all with --image-size"
                )
    width, height = size if image_size is None else (image_size, image_size)
    return "L" if grey else "RGB", (height, width)


def _read_images(paths: list[Path], mode: str, shape: tuple[int, int]) -> Tensor:
    height, width = shape
    channels = 1 if mode == "L" else 3
    images = np.empty((len(paths), height, width, channels), dtype=np.uint8)
    for index, path in enumerate(paths):
        with _open(path) as image:
            try:
                pixels = image.convert(mode)
            except Exception as error:  # each of PIL's decoders fails in its own ways
                raise ValueError(f"{path}: damaged image: {error}") from error
        if pixels.size != (width, height):
            pixels = ImageOps.fit(pixels, (width, height), Image.Resampling.BILINEAR)
        images[index] = np.asarray(pixels).reshape(height, width, channels)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(f"{path}: not an image, or a damaged one") from error
