"""The data of a run: loaded or given, and checked before anything is written."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import TypeAlias, TypeVar

import torch
from torch.utils.data import Dataset

from adarts_ext.arguments import naming
from adarts_ext.data import ImageDataset, image_dataset, load_dataset
from adarts_ext.data.split import stratified_indices
from adarts_ext.nn.stem import STEMS
from adarts_ext.runs import processes
from adarts_ext.runs.device import resolve_device
from adarts_ext.runs.options import GIVEN, RunConfig
from adarts_ext.runs.placement import place_images

Config = TypeVar("Config", bound=RunConfig)

#: Data given in Python: images in memory, pairs to train on, or pairs to train and to test on.
Given: TypeAlias = ImageDataset | Dataset | tuple[Dataset, Dataset]


def config_of_given(config: Config, dataset: Given | None) -> Config:
    """Return the options of a run whose data may be given in Python; if so, they say it.

    Raises:
        ValueError: If data are given, and the options name others.
    """
    if dataset is None:
        return config
    defaults = {field.name: field.default for field in fields(RunConfig)}
    for name in ("dataset", "data_dir", "download", "image_size", "augmentation"):
        value = getattr(config, name)
        if value not in (defaults[name], GIVEN):
            raise ValueError(
                f"{name}: the data are given, so expected the default {defaults[name]!r} in the "
                f"config, got {value!r}"
            )
    return replace(config, dataset=GIVEN)


def given_images(dataset: Given | None) -> ImageDataset | None:
    """Return data that were given in Python as images in memory, None for None.

    Args:
        dataset: An :class:`ImageDataset`; a map-style data set of (image, label) pairs to train
            on, as :func:`adarts_ext.data.image_dataset` takes it; or a tuple of two, to train and
            to test on.

    Raises:
        TypeError: If it is none of these.
        ValueError: If the data sets give something else.
    """
    if dataset is None or isinstance(dataset, ImageDataset):
        return dataset
    parts = dataset if isinstance(dataset, tuple) and len(dataset) == 2 else (dataset,)
    try:
        return image_dataset(*parts)
    except (TypeError, ValueError) as error:
        raise type(error)(f"dataset: {error}") from error


def load_data(config: RunConfig, dataset: Given | None) -> ImageDataset:
    """Load the data that the options name, or take those that are given, or a part of them.

    Images that the device has no room for are left on the host, see
    :func:`adarts_ext.runs.placement.place_images`.

    Raises:
        TypeError, ValueError: If the data are damaged, or were given in Python and now are not, or
            there are fewer training images than are asked for.
        FileNotFoundError: If the data are not there.
    """
    data = _part_of_data(config, dataset)
    return place_images(data, resolve_device(config.device), config.workers)


def _part_of_data(config: RunConfig, dataset: Given | None) -> ImageDataset:
    data = _all_data(config, dataset)
    count, images = config.train_images, len(data.train_labels)
    if count is None or count == images:
        return data
    if count > images:
        message = (
            f"train_images: expected at most the {images} of {place(config, data)}, got {count}"
        )
        raise naming(ValueError(message), "train_images")
    chosen, _ = stratified_indices(data.train_labels, count, seed=0)
    return replace(
        data, train_images=data.train_images[chosen], train_labels=data.train_labels[chosen]
    )


def _all_data(config: RunConfig, dataset: Given | None) -> ImageDataset:
    if dataset is not None:
        return given_images(dataset)
    if config.dataset == GIVEN:
        message = "the data of the run were given in Python; give them there again, as dataset=..."
        raise ValueError(message)
    load = partial(
        load_dataset,
        config.dataset,
        config.data_dir,
        config.download,
        config.image_size,
        config.workers,
        config.augmentation,
    )
    if not config.download:
        return load()
    with processes.first_on_machine_first():  # the others find what it fetched
        return load()


def run_data(config: RunConfig, dataset: Given | None) -> ImageDataset:
    """Load or take the data as :func:`load_data` does, and see that a network can learn from them.

    Raises:
        TypeError, ValueError: If the data are damaged, or were given in Python and now are not;
            or there is only one class, a class has no training image, or a side of the images is
            one that the network does not take.
        FileNotFoundError: If the data are not there.
    """
    data = load_data(config, dataset)
    where = place(config, data)
    if data.num_classes < 2:
        message = f"{where}: expected at least two classes, got one, {data.class_names[0]!r}"
        if config.dataset == "folder":
            message += "; data_dir must name a folder that holds train/ and test/, each with one "
            message += "folder of images a class"
        raise naming(ValueError(message), "data_dir")
    counts = torch.bincount(data.train_labels, minlength=data.num_classes).tolist()
    if 0 in counts:
        name = data.class_names[counts.index(0)]
        raise ValueError(f"{where}: the class {name!r} has no training image")
    sides = STEMS[config.stem]
    if not all(map(sides.take, data.image_size)):
        height, width = data.image_size
        message = (
            f"{where}: height and width of the images must be multiples of {sides.multiple_of} and "
            f"at least {sides.least}, got {height}x{width}"
        )
        if config.dataset == "folder":
            message += "; image_size gives them another size"
        raise naming(ValueError(message), "image_size")
    return data


def place(config: RunConfig, data: ImageDataset) -> str:
    """Return what the data are called in messages: their folder, if they have one."""
    return "dataset" if config.dataset == GIVEN else config.data_dir or data.name
