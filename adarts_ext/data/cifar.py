"""CIFAR-10 and CIFAR-100, from their binary version.

The binary version is plain bytes, one image a record, so that reading it runs no code from the
file, as unpickling the Python version would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adarts_ext.data.dataset import ImageDataset

IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class CifarLayout:
    """Where a CIFAR data set is published, and how its files are laid out.

    Attributes:
        name: Name of the data set.
        url: Where its archive is published.
        md5: Published checksum of the archive.
        folder: The folder that the archive holds.
        train_files: Names of the files of training images.
        test_file: Name of the file of test images.
        names_file: Name of the text file with a class name a line.
        label_bytes: Bytes before an image's pixels; the last of them is its label.
        num_classes: Number of classes.
        train_images: Number of images in each of the training files.
        test_images: Number of images in the test file.
    """

    name: str
    url: str
    md5: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int
    num_classes: int
    train_images: int
    test_images: int

    @property
    def files(self) -> dict[str, int]:
        """The files of images, each with the number of its images."""
        return {name: self.train_images for name in self.train_files} | {
            self.test_file: self.test_images
        }


CIFAR10 = CifarLayout(
    name="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test_file="test_batch.bin",
    names_file="batches.meta.txt",
    label_bytes=1,
    num_classes=10,
    train_images=10_000,
    test_images=10_000,
)

# A record holds the label among the 20 coarse classes and then the one among the 100 fine ones.
CIFAR100 = CifarLayout(
    name="cifar100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_file="test.bin",
    names_file="fine_label_names.txt",
    label_bytes=2,
    num_classes=100,
    train_images=50_000,
    test_images=10_000,
)


def load_cifar(layout: CifarLayout, data_dir: Path, download: bool = False) -> ImageDataset:
    """Load CIFAR-10 or CIFAR-100 from the files of its published binary version.

    Args:
        layout: ``CIFAR10`` or ``CIFAR100``.
        data_dir: The folder that holds the unpacked folder ``cifar-10-batches-bin`` or
            ``cifar-100-binary``.
        download: Fetch, check and unpack the published archive when a file is missing or has
            not its full length.

    Raises:
        FileNotFoundError: If a file is missing, and ``download`` is False.
        ValueError: If a file is truncated or damaged.
        OSError: If the download failed.
    """
    folder = data_dir / layout.folder
    if download and not _is_complete(layout, folder):
        _download(layout, data_dir)
    for name in (*layout.files, layout.names_file):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{layout.name}: {folder / name} is missing; fetch the data set with --download, "
                f"or name the folder that holds {layout.folder} with --data-dir"
            )
    train = [_read_images(layout, folder, name) for name in layout.train_files]
    test_images, test_labels = _read_images(layout, folder, layout.test_file)
    return ImageDataset(
        name=layout.name,
        train_images=torch.cat([images for images, _ in train]),
        train_labels=torch.cat([labels for _, labels in train]),
        test_images=test_images,
        test_labels=test_labels,
        class_names=_read_class_names(layout, folder),
        flip=True,
    )


def _file_length(layout: CifarLayout, name: str) -> int:
    return layout.files[name] * (layout.label_bytes + IMAGE_BYTES)


def _is_complete(layout: CifarLayout, folder: Path) -> bool:
    paths = {folder / name: _file_length(layout, name) for name in layout.files}
    whole = all(path.is_file() and path.stat().st_size == size for path, size in paths.items())
    return whole and (folder / layout.names_file).is_file()


def _download(layout: CifarLayout, data_dir: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        download_and_extract_archive(
            layout.url, str(data_dir), md5=layout.md5, remove_finished=True
        )
    except (OSError, RuntimeError, EOFError) as error:
        raise OSError(f"{layout.name}: cannot fetch {layout.url}: {error}") from error


def _read_images(layout: CifarLayout, folder: Path, name: str) -> tuple[Tensor, Tensor]:
    path = folder / name
    content = np.fromfile(path, dtype=np.uint8)
    expected = _file_length(layout, name)
    if len(content) != expected:
        raise ValueError(
            f"{path}: truncated or damaged, expected {expected} bytes, got {len(content)}; "
            "fetch the data set again with --download"
        )
    records = content.reshape(layout.files[name], layout.label_bytes + IMAGE_BYTES)
    labels = records[:, layout.label_bytes - 1].astype(np.int64)
    if labels.max() >= layout.num_classes:
        raise ValueError(
            f"{path}: damaged, labels must be below {layout.num_classes}, got {labels.max()}"
        )
    images = records[:, layout.label_bytes :].reshape(-1, *IMAGE_SHAPE)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels)


def _read_class_names(layout: CifarLayout, folder: Path) -> tuple[str, ...]:
    path = folder / layout.names_file
    names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != layout.num_classes:
        raise ValueError(
            f"{path}: damaged, expected {layout.num_classes} class names, got {len(names)}"
        )
    return names
