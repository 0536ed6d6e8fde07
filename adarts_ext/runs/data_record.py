"""What data a run was begun with, kept in its folder, so that it does not go on with others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from adarts_ext.data.dataset import ImageDataset
from adarts_ext.data.image_files import ImagesInFiles
from adarts_ext.data.stored import StoredImages
from adarts_ext.files import read_json, write_json
from adarts_ext.runs.folder import DATASET_FILE

CLASSES_CHANGED = "its classes"  # how what changed_data returns begins then


def describe_data(dataset: ImageDataset) -> dict[str, Any]:
    """Return the numbers of images, the class names, and digests of what the images are.

    ``digest`` is that of all images and labels, None while the images are in their files; ``files``
    that of an image folder's file names and sizes, None for other data.
    """
    in_files = isinstance(dataset.train_images, ImagesInFiles)
    return {
        "name": dataset.name,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "class_names": list(dataset.class_names),
        "digest": None if in_files else _digest(dataset),
        "files": dataset.files,
    }


def _digest(dataset: ImageDataset) -> str:
    digest = hashlib.blake2b(digest_size=16)
    parts = (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    )
    for images, labels in parts:
        digest.update(f"{tuple(images.shape)}".encode())
        stored = isinstance(images, StoredImages)
        for tensor in images.in_chunks("digest of the images") if stored else [images]:
            digest.update(tensor.cpu().contiguous().numpy())
        digest.update(f"{tuple(labels.shape)}".encode())
        digest.update(labels.cpu().contiguous().numpy())
    return digest.hexdigest()


def save_data_record(folder: Path, dataset: ImageDataset) -> None:
    """Write down what data a run is begun with.

    Raises:
        OSError: If the file cannot be written.
    """
    write_json(folder / DATASET_FILE, describe_data(dataset) | _describe_images(dataset))


def load_images_record(folder: Path) -> dict[str, Any]:
    """Read what images the network of a run takes, from the record of its data.

    Returns:
        Its entries ``image_size``, ``mean``, ``std`` and ``class_names``, which are lists.

    Raises:
        ValueError: If they are not there: the record is damaged, or of an earlier version.
    """
    path = folder / DATASET_FILE
    record = read_json(path) if path.is_file() else None
    names = ("image_size", "mean", "std", "class_names")
    if not isinstance(record, dict) or not all(isinstance(record.get(n), list) for n in names):
        raise ValueError(
            f"{path}: expected {', '.join(names)}; it is damaged, or the run was begun by an "
            "earlier version, which did not write them down"
        )
    return {name: record[name] for name in names}


def _describe_images(dataset: ImageDataset) -> dict[str, Any]:
    return {
        "image_size": list(dataset.image_size),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }


def changed_data(folder: Path, dataset: ImageDataset) -> str | None:
    """Return how data differ from those that the run in a folder was begun with, or None.

    Raises:
        ValueError: If the record is damaged.
    """
    path = folder / DATASET_FILE
    if not path.is_file():  # a run of an earlier version
        return None
    begun, now = read_json(path), describe_data(dataset)
    # Files are not in the record of an earlier version.
    if not isinstance(begun, dict) or not now.keys() - {"files"} <= begun.keys():
        raise ValueError(f"{path}: damaged")
    if begun["class_names"] != now["class_names"]:
        return (
            f"{CLASSES_CHANGED} were {', '.join(begun['class_names'])}; they are "
            f"{', '.join(now['class_names'])}"
        )
    for part in ("train", "test"):
        before, after = begun[f"{part}_images"], now[f"{part}_images"]
        if before != after:
            return f"it had {before} {part} images, there are {after}"
    # Where the images were in files then or are now, names and sizes must do, if they are known.
    in_files = None in (begun["digest"], now["digest"])
    kind = "files" if in_files and begun.get("files") and now["files"] else "digest"
    same = begun[kind] == (now[kind] or _digest(dataset))
    return None if same else "its images or labels have changed"


def check_same_data(folder: Path, dataset: ImageDataset) -> None:
    """Refuse to go on with a run on other data.

    Raises:
        ValueError: If the data differ from those that the run was begun with.
    """
    changed = changed_data(folder, dataset)
    if changed:
        raise ValueError(f"{folder}: the run was begun with other data: {changed}")
