"""An image folder of one's own."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.data.dataset import GREY_MODES, ImageDataset
from adarts_ext.data.image_files import ImagesInFiles, open_image, orientation
from adarts_ext.data.stored import StoredImages, default_workers, processes_here
from adarts_ext.data.views import ViewsOfFiles
from adarts_ext.memory import available_memory

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder

MEMORY_SHARE = 1 / 4  # of the memory that is available, which decoded images may take


def load_folder(
    folder: Path,
    image_size: int | None = None,
    workers: int | None = None,
    views: bool = False,
) -> ImageDataset:
    """Load an image folder: ``train/`` and ``test/``, each with one folder of images a class.

    The images are upright where EXIF says how they were taken. They have one channel when all of
    them are grey, and three otherwise. Hidden files and folders do not count; other files that are
    no images by their suffix are skipped with a warning.

    They are decoded into memory as uint8, unless they would take more than a quarter of what is
    available: then they stay in their files, and are decoded whenever they are read.

    Args:
        folder: The folder that holds ``train/`` and ``test/``.
        image_size: Side of the square images to make: the shorter side is scaled to it, and what
            the longer side has beyond it is cut off evenly. None keeps the images as they are, for
            which the headers of all files are read.
        workers: None, or how many processes read images that stay in their files in any case.
        views: Whether to take square views of side ``image_size`` instead, as
            :class:`~adarts_ext.data.views.ViewsOfFiles`: the middle of each image, and in training
            random crops. The images stay in their files then.

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
    form = _common_form(paths, image_size)
    chosen = default_workers() if workers is None else workers
    kind = ViewsOfFiles if views else ImagesInFiles
    images: Tensor | StoredImages = kind.of(folder, paths, form, chosen)
    room = MEMORY_SHARE * available_memory() / processes_here()
    if workers is None and not views and images.shape.numel() <= room:
        images = _decoded(images)
    count = len(train.samples)
    return ImageDataset(
        name=folder.resolve().name,
        train_images=images[:count],
        train_labels=torch.tensor(train.targets),
        test_images=images[count:],
        test_labels=torch.tensor(test.targets),
        class_names=tuple(train.classes),
        flip=True,
        files=_digest(folder, paths, form),
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


def _common_form(paths: list[Path], image_size: int | None) -> tuple[int, int, int]:
    """Read the images' headers, as many as it takes; return the (C, H, W) that all will have."""
    grey = True
    size: tuple[int, int] | None = None
    for path in _with_bar(paths, "image headers"):
        with open_image(path) as image:
            grey = grey and image.mode in GREY_MODES
            if image_size is not None:
                if not grey:
                    break
                continue
            width, height = image.size
            upright = (height, width) if orientation(image, path) > 4 else image.size
            if size is None:
                size = upright
            elif upright != size:
                message = (
                    f"images differ in size: {paths[0]} is {size[0]}x{size[1]}, {path} is "
                    f"{upright[0]}x{upright[1]}; give one size to all with image_size"
                )
                raise naming(ValueError(message), "image_size")
    width, height = (image_size, image_size) if size is None else size
    return 1 if grey else 3, height, width


def _decoded(images: ImagesInFiles) -> Tensor:
    decoded = torch.empty(images.shape, dtype=torch.uint8)
    done = 0
    for chunk in images.in_chunks("images"):
        decoded[done : done + len(chunk)] = chunk
        done += len(chunk)
    return decoded


def _digest(folder: Path, paths: list[Path], form: tuple[int, int, int]) -> str:
    digest = hashlib.blake2b(f"{form}".encode(), digest_size=16)
    for path in _with_bar(paths, "image files"):
        digest.update(os.fsencode(path.relative_to(folder)))
        digest.update(f"\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def _with_bar(paths: list[Path], what: str) -> Iterable[Path]:
    from tqdm import tqdm

    return tqdm(paths, desc=what, unit="file", leave=False, disable=None)
