"""What data a run was begun with, kept in its folder, so that it does not go on with others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from adarts_ext.data.dataset import ImageDataset
from adarts_ext.files import read_json, write_json
from adarts_ext.runs.folder import DATASET_FILE

CLASSES_CHANGED = "its classes"  # how what changed_data returns begins then


def describe_data(dataset: ImageDataset) -> dict[str, Any]:
    """Return the numbers of images, the class names, and a digest of all images and labels."""
    digest = hashlib.blake2b(digest_size=16)
    parts = {
        "train": (dataset.train_images, dataset.train_labels),
        "test": (dataset.test_images, dataset.test_labels),
    }
    for images, labels in parts.values():
        for tensor in (images, labels):
            digest.update(f"{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy())
    counts = {f"{part}_images": len(images) for part, (images, _) in parts.items()}
    names = list(dataset.class_names)
    return {"name": dataset.name, **counts, "class_names": names, "digest": digest.hexdigest()}


def save_data_record(folder: Path, dataset: ImageDataset) -> None:
    """Write down what data a run is begun with.

    Raises:
        OSError: If the file cannot be written.
    """
    write_json(folder / DATASET_FILE, describe_data(dataset))


def changed_data(folder: Path, dataset: ImageDataset) -> str | None:
    """Return how data differ from those that the run in a folder was begun with, or None.

    Raises:
        ValueError: If the record is damaged.
    """
    path = folder / DATASET_FILE
    if not path.is_file():  # a run of an earlier version
        return None
    begun, now = read_json(path), describe_data(dataset)
    if not isinstance(begun, dict) or begun.keys() != now.keys():
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
    return "its images or labels have changed" if begun["digest"] != now["digest"] else None


def check_same_data(folder: Path, dataset: ImageDataset) -> None:
    """Refuse to go on with a run on other data.

    Raises:
        ValueError: If the data differ from those that the run was begun with.
    """
    changed = changed_data(folder, dataset)
    if changed:
        raise ValueError(f"{folder}: the run was begun with other data: {changed}")
