"""Fashion-MNIST and MNIST, from the IDX files in which both are published."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adarts_ext.arguments import naming
from adarts_ext.data.dataset import ImageDataset

SIDE = 28  # pixels
#: The third byte of an IDX file is its type, the fourth its number of axes.
UNSIGNED_BYTES = 0x08
#: Both data sets name their files alike.
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class IdxLayout:
    """Where a data set in IDX files is published.

    Attributes:
        name: Name of the data set.
        torchvision: Name of torchvision's class, which is also the folder it makes.
        class_names: One name for each label.
        flip: Whether an image keeps its label when it is mirrored left to right.
        package: The Debian package that has it, if any.
        installed: Where that package puts the files.
    """

    name: str
    torchvision: str
    class_names: tuple[str, ...]
    flip: bool
    package: str | None = None
    installed: Path | None = None


FASHION_MNIST = IdxLayout(
    name="fashion-mnist",
    torchvision="FashionMNIST",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    flip=True,
    package="dataset-fashion-mnist",
    installed=Path("/usr/share/datasets/fashion-mnist"),
)
MNIST = IdxLayout(
    name="mnist",
    torchvision="MNIST",
    class_names=tuple(str(digit) for digit in range(10)),
    flip=False,
)


def load_idx(layout: IdxLayout, data_dir: Path | None, download: bool = False) -> ImageDataset:
    """Load Fashion-MNIST or MNIST: 60,000 grey images of 28x28 to train on, 10,000 to test on.

    Args:
        layout: ``FASHION_MNIST`` or ``MNIST``.
        data_dir: The folder of the four files, plain or with ``.gz``, or the one that torchvision
            was given to put them into; by default ``data``, or else where the Debian package has
            them.
        download: Fetch them into ``data_dir`` by torchvision when they are not there.

    Raises:
        FileNotFoundError: If a file is missing, and ``download`` is False.
        ValueError: If a file is truncated or damaged.
        OSError: If the download failed.
    """
    folder = find_folder(layout, data_dir)
    if folder is None and download:
        _download(layout, data_dir or Path("data"))
        folder = find_folder(layout, data_dir)
    if folder is None:
        ways = "fetch the data set with download=True, or name the folder of its files"
        if layout.package is not None:
            ways += f", or install them: apt-get install {layout.package}"
        message = f"{layout.name}: {data_dir or 'data'} has no {TRAIN[0]}; {ways}"
        raise naming(FileNotFoundError(message), "download=True", "data_dir")
    train_images, train_labels = _read_part(layout, folder, TRAIN)
    test_images, test_labels = _read_part(layout, folder, TEST)
    return ImageDataset(
        name=layout.name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=layout.class_names,
        flip=layout.flip,
    )


def find_folder(layout: IdxLayout, data_dir: Path | None) -> Path | None:
    """Find the folder with the training images of a data set."""
    given = data_dir or Path("data")
    places = [given, given / layout.torchvision / "raw"]
    if data_dir is None and layout.installed is not None:
        places.append(layout.installed)
    return next((place for place in places if _find(place, TRAIN[0]) is not None), None)


def _find(folder: Path, name: str) -> Path | None:
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _read_part(layout: IdxLayout, folder: Path, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    images, labels = (_read(layout, folder, name) for name in names)
    where = folder / names[1]
    if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{layout.name}: {folder / names[0]}: expected (N, {SIDE}, {SIDE}) and as many labels, "
            f"got {images.shape} and {labels.shape}"
        )
    if labels.size and labels.max() >= len(layout.class_names):
        raise ValueError(
            f"{where}: damaged, labels must be below {len(layout.class_names)}, got {labels.max()}"
        )
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _read(layout: IdxLayout, folder: Path, name: str) -> np.ndarray:
    """Read an IDX file of bytes: two zeros, type, axes, sizes (big-endian), and the values."""
    path = _find(folder, name)
    if path is None:
        raise FileNotFoundError(f"{layout.name}: {folder / name} is missing, with .gz and without")
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    axes = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * axes
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(content) < start:
        raise ValueError(f"{path}: expected an IDX file of bytes, got something else")
    sizes = struct.unpack(f">{axes}I", content[4:start])
    values = np.frombuffer(content, dtype=np.uint8, offset=start)
    if values.size != np.prod(sizes):
        raise ValueError(
            f"{path}: truncated or damaged, expected {np.prod(sizes)} values, got {values.size}"
        )
    return values.reshape(sizes).copy()


def _download(layout: IdxLayout, data_dir: Path) -> None:
    from torchvision import datasets

    try:
        getattr(datasets, layout.torchvision)(str(data_dir), download=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise OSError(f"{layout.name}: cannot be fetched: {error}") from error
