"""An image folder of one's own."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.data.dataset import GREY_MODES, ImageDataset

if TYPE_CHECKING:
    from PIL import Image
    from torchvision.datasets import ImageFolder

_ORIENTATION = 0x0112  # EXIF's number; from 5 on width and height are exchanged


def load_folder(folder: Path, image_size: int | None = None) -> ImageDataset:
    """Load an image folder: ``train/`` and ``test/``, each with one folder of images a class.

    The images are kept in memory as uint8, upright where EXIF says how they were taken. They have
    one channel when all of them are grey, and three otherwise. Hidden files and folders do not
    count; other files that are no images by their suffix are skipped with a warning.

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
        message = f"folder: image_size must be at least 1, got {image_size}"
        raise naming(ValueError(message), "image_size")
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
        message = (
            f"{folder}: no such folder; data_dir must name a folder that holds train/ and test/, "
            "each with one folder of images a class"
        )
        raise naming(FileNotFoundError(message), "data_dir")
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    class VisibleImages(ImageFolder):
        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            names = (path.name for path in Path(directory).iterdir() if path.is_dir())
            classes = sorted(name for name in names if not name.startswith("."))
            if not classes:
                raise FileNotFoundError(f"{directory}: no folder of images, expected one a class")
            return classes, {name: number for number, name in enumerate(classes)}

    skipped = Counter[str]()

    def is_image(name: str) -> bool:
        path = Path(name)
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            return False
        if path.suffix.lower() not in IMG_EXTENSIONS:
            skipped[path.suffix.lower() or path.name] += 1
            return False
        return True

    found = VisibleImages(str(folder), is_valid_file=is_image, allow_empty=True)
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        warnings.warn(
            f"{folder}: {skipped.total()} of {skipped.total() + len(found)} files are skipped, for "
            f"their suffix: {kinds}; expected {', '.join(IMG_EXTENSIONS)}",
            stacklevel=3,
        )
    if empty := sorted(set(range(len(found.classes))) - set(found.targets)):
        message = (
            f"{folder / found.classes[empty[0]]}: no image in this folder; data_dir must name a "
            "folder with at least one for each class, in train/ and in test/"
        )
        raise naming(FileNotFoundError(message), "data_dir")
    return found


def _common_form(paths: list[Path], image_size: int | None) -> tuple[str, tuple[int, int]]:
    """Read the images' headers; return the PIL mode and the (height, width) that all will have."""
    grey = True
    size: tuple[int, int] | None = None
    for path in paths:
        with _open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{path}: expected 8 bits a channel, got PIL mode {image.mode}")
            grey = grey and image.mode in GREY_MODES
            width, height = image.size
            upright = (height, width) if _orientation(image, path) > 4 else image.size
            if size is None:
                size = upright
            elif image_size is None and upright != size:
                message = (
                    f"images differ in size: {paths[0]} is {size[0]}x{size[1]}, {path} is "
                    f"{upright[0]}x{upright[1]}; give one size to all with image_size"
                )
                raise naming(ValueError(message), "image_size")
    width, height = size if image_size is None else (image_size, image_size)
    return "L" if grey else "RGB", (height, width)


def _read_images(paths: list[Path], mode: str, shape: tuple[int, int]) -> Tensor:
    from PIL import Image, ImageOps

    height, width = shape
    channels = 1 if mode == "L" else 3
    images = np.empty((len(paths), height, width, channels), dtype=np.uint8)
    for index, path in enumerate(paths):
        with _open(path) as image:
            try:
                turned = _orientation(image, path) > 1
                pixels = (ImageOps.exif_transpose(image) if turned else image).convert(mode)
            except MemoryError:
                raise
            except Exception as error:  # each of PIL's decoders fails in its own ways
                raise ValueError(f"{path}: damaged image: {error}") from error
        if pixels.size != (width, height):
            pixels = ImageOps.fit(pixels, (width, height), Image.Resampling.BILINEAR)
        images[index] = np.asarray(pixels).reshape(height, width, channels)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _orientation(image: Image.Image, path: Path) -> int:
    """Return how EXIF says that a photograph was taken, from 1 to 8; read from its header."""
    if image.format == "PNG" and "exif" not in image.info:  # PIL would read the pixels for it
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:
        raise ValueError(f"{path}: damaged image: {error}") from error


def _open(path: Path) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(f"{path}: too many pixels: {error}") from error
        raise ValueError(f"{path}: not an image, or a damaged one") from error
