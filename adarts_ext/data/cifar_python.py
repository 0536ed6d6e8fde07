"""CIFAR's Python version, as most people have it: pickled arrays.

A pickle can run any code when it is read. So a file is read only if its MD5 is the published one,
and by an unpickler that admits nothing but what those files hold: arrays of numpy.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from adarts_ext.data.published import PublishedFiles

IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class PythonVersion:
    """How the Python version of a data set is published.

    Attributes:
        folder: The folder that its archive holds.
        archive: Name of the archive.
        train_files: Names and MD5 of the files of training images.
        test_file: The same of the file of test images.
        names_file: The same of the file with the class names.
        labels: Key of the labels in a file of images.
        names: Key of the class names in their file.
    """

    folder: str
    archive: str
    train_files: dict[str, str]
    test_file: tuple[str, str]
    names_file: tuple[str, str]
    labels: str
    names: str


CIFAR10_PYTHON = PythonVersion(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train_files={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test_file=("test_batch", "40351d587109b95175f43aff81a1287e"),
    names_file=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
    labels="labels",
    names="label_names",
)

CIFAR100_PYTHON = PythonVersion(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train_files={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test_file=("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    names_file=("meta", "7973b15100ade9c7d40fb424638fde48"),
    labels="fine_labels",
    names="fine_label_names",
)


def read_images(
    version: PythonVersion, files: PublishedFiles, name: str, md5: str, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of images.

    Returns:
        The images, (N, 3, 32, 32) uint8, and their labels, (N,) int64.

    Raises:
        ValueError: If the file is not as published, or does not hold images and labels.
    """
    found = _unpickle(files, name, md5)
    images, labels = found.get("data"), np.asarray(found.get(version.labels))
    shape = (len(labels), IMAGE_BYTES) if labels.ndim == 1 else None
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != shape:
        raise ValueError(f"{files.where(name)}: holds no images of 3x32x32 bytes with labels")
    if labels.dtype.kind != "i" or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{files.where(name)}: damaged, labels must be 0 to {classes - 1}")
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def read_names(version: PythonVersion, files: PublishedFiles) -> tuple[str, ...]:
    """Read the class names.

    Raises:
        ValueError: If the file is not as published.
    """
    return tuple(_unpickle(files, *version.names_file)[version.names])


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries, lists, strings, numbers and numpy's arrays; refuses all else by name."""

    _ADMITTED = ("_reconstruct", "ndarray", "dtype")

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return np.empty(0).__reduce__()[0]
            if name in self._ADMITTED:
                return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of CIFAR holds")


def _unpickle(files: PublishedFiles, name: str, md5: str) -> dict[str, Any]:
    content = files.read(name, md5)
    try:
        found = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle fails in any way
        raise ValueError(f"{files.where(name)}: not read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{files.where(name)}: holds a {type(found).__name__}, expected a dict")
    return found
