"""CIFAR-10 and CIFAR-100, from their binary version or from their Python version.

The binary version, which is what ``download`` fetches, is plain bytes, one image a record. The
Python version is a matter of :mod:`adarts_ext.data.cifar_python`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from adarts_ext.arguments import naming
from adarts_ext.data import cifar_python
from adarts_ext.data.cifar_python import CIFAR10_PYTHON, CIFAR100_PYTHON, PythonVersion
from adarts_ext.data.dataset import ImageDataset
from adarts_ext.data.published import PublishedFiles, check_md5, find_files

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
        python: How the Python version is published.
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
    python: PythonVersion

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
    python=CIFAR10_PYTHON,
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
    python=CIFAR100_PYTHON,
)


def load_cifar(layout: CifarLayout, data_dir: Path, download: bool = False) -> ImageDataset:
    """Load CIFAR-10 or CIFAR-100 from the files of either published version.

    Args:
        layout: ``CIFAR10`` or ``CIFAR100``.
        data_dir: The unpacked folder (``cifar-10-batches-bin``, ``cifar-10-batches-py``, ...), the
            folder that holds it, the archive, or the folder that holds that.
        download: Fetch, check and unpack the archive of the binary version when a file of it is
            missing or has not its full length.

    Raises:
        FileNotFoundError: If a file is missing, and ``download`` is False.
        ValueError: If a file is truncated, damaged, or not as published.
        OSError: If the download failed.
    """
    python = find_files(
        data_dir, layout.python.folder, layout.python.archive, layout.python.test_file[0]
    )
    if python is None and download and not _is_complete(layout, data_dir / layout.folder):
        _download(layout, data_dir)
    archive = layout.url.rsplit("/", 1)[1]
    files = find_files(data_dir, layout.folder, archive, layout.test_file)
    if files is None and python is not None:
        return _load_python(layout, python)
    needed = (*layout.files, layout.names_file)
    missing = [name for name in needed if files is None or not files.has(name)]
    if missing:
        folder = data_dir / layout.folder if files is None else files.path
        message = (
            f"{layout.name}: {folder / missing[-1]} is missing; fetch the data set with "
            f"download=True, or name with data_dir {layout.folder}, {layout.python.folder}, their "
            "archive, or what holds one of them"
        )
        raise naming(FileNotFoundError(message), "download=True", "data_dir")
    if files.contents is not None:
        check_md5(files.path.read_bytes(), layout.md5, str(files.path))
    train = [_read_images(layout, files, name) for name in layout.train_files]
    test = _read_images(layout, files, layout.test_file)
    return _dataset(layout, train, test, _read_class_names(layout, files))


def _load_python(layout: CifarLayout, files: PublishedFiles) -> ImageDataset:
    version = layout.python
    for name in (*version.train_files, version.names_file[0]):
        if not files.has(name):
            raise FileNotFoundError(f"{layout.name}: {files.where(name)} is missing")
    parts = [
        cifar_python.read_images(version, files, name, md5, layout.num_classes)
        for name, md5 in (*version.train_files.items(), version.test_file)
    ]
    return _dataset(layout, parts[:-1], parts[-1], cifar_python.read_names(version, files))


def _dataset(
    layout: CifarLayout,
    train: list[tuple[np.ndarray, np.ndarray]],
    test: tuple[np.ndarray, np.ndarray],
    names: tuple[str, ...],
) -> ImageDataset:
    return ImageDataset(
        name=layout.name,
        train_images=torch.from_numpy(np.concatenate([images for images, _ in train])),
        train_labels=torch.from_numpy(np.concatenate([labels for _, labels in train])),
        test_images=torch.from_numpy(test[0].copy()),
        test_labels=torch.from_numpy(test[1]),
        class_names=names,
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


def _read_images(
    layout: CifarLayout, files: PublishedFiles, name: str
) -> tuple[np.ndarray, np.ndarray]:
    path = files.where(name)
    content = np.frombuffer(files.read(name), dtype=np.uint8)
    expected = _file_length(layout, name)
    if len(content) != expected:
        message = (
            f"{path}: truncated or damaged, expected {expected} bytes, got {len(content)}; "
            "fetch the data set again with download=True"
        )
        raise naming(ValueError(message), "download=True")
    records = content.reshape(layout.files[name], layout.label_bytes + IMAGE_BYTES)
    labels = records[:, layout.label_bytes - 1].astype(np.int64)
    if labels.max() >= layout.num_classes:
        raise ValueError(
            f"{path}: damaged, labels must be below {layout.num_classes}, got {labels.max()}"
        )
    images = records[:, layout.label_bytes :].reshape(-1, *IMAGE_SHAPE)
    return images, labels


def _read_class_names(layout: CifarLayout, files: PublishedFiles) -> tuple[str, ...]:
    path = files.where(layout.names_file)
    names = tuple(files.read(layout.names_file).decode(errors="replace").split())
    if len(names) != layout.num_classes:
        raise ValueError(
            f"{path}: damaged, expected {layout.num_classes} class names, got {len(names)}"
        )
    return names
