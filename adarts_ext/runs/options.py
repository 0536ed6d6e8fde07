"""The options of a run: what all runs take, their ranges, and the file that keeps them."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from adarts_ext.arguments import naming, suggestion
from adarts_ext.data import DATASETS
from adarts_ext.data.load import AUGMENTATIONS, check_needed
from adarts_ext.files import read_json, write_json
from adarts_ext.nn.stem import STEMS
from adarts_ext.runs.folder import CONFIG_FILE, check_holds_run
from adarts_ext.runs.precision import PRECISIONS

Config = TypeVar("Config", bound="RunConfig")

KINDS = ("search", "retrain")  # of runs
GIVEN = "python"  # the option dataset of a run whose data were given in Python
LARGEST_SEED = 2**63 - 1

#: What an option takes, by its type.
EXPECTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    int | None: "a whole number",
    str | None: "a text",
    int | str: "whole numbers set apart by commas, or ranges such as 0..7",
}


def one_of(default: str, known: Collection[str]) -> Any:
    """Make a field of :class:`RunConfig` that takes one of the known values."""
    return field(default=default, metadata={"choices": tuple(known)})


@dataclass(frozen=True)
class RunConfig:
    """The options that every run takes: its data, its device and its seed.

    Args:
        dataset: the data set; digits come with scikit-learn, folder is an image folder of your own.
        data_dir: the folder with the files of a published data set ("data" by default), or the
            image folder itself.
        download: fetch a published data set when it is not in its folder.
        image_size: side of the images in pixels, for digits (16 by default) and folder (as they are
            by default): a multiple of 4 and at least 16, with stem imagenet of 32 and at least 64.
        augmentation: shift (small images, shifted by up to an eighth) or imagenet (random crops of
            the large images of a folder, scaled to image_size; tests are of the middle of images).
        train_images: how many of the training images there are, the same ones for every seed,
            with the classes in proportion; all by default.
        device: auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:<number>.
        precision: fp32, or bf16 (bfloat16 by autocast; weights, statistics, loss and optimizers
            stay float32).
        seed: seed of the initial weights, the order of the images, augmentation and all else that
            is drawn at random.
        save_every: minutes between two checkpoints within an epoch; 0 for none but after each
            epoch.
        workers: how many processes (in a search for each half) read the images batch by batch,
            which then are not kept in the device's memory, nor a folder's in memory at all; by
            default those that fit are kept there, and one a processor reads others, at most 8.
        sync_batch_norm: with several processes, have BatchNorms take the statistics of the whole
            batch, not of each process's part.
        stem: the layers before the first cell: cifar (one convolution, for small images) or
            imagenet (three of stride 2: the cells see an eighth of the images' size).

    Attributes:
        kind: The kind of the run, one of :data:`KINDS`.
        free_options: Names of the options that may differ when a run goes on: they say where it
            runs and how it keeps house, not what it computes.

    Raises:
        ValueError: If a value is out of its range, or the data set has no use for an option.
    """

    kind: ClassVar[str]
    free_options: ClassVar[tuple[str, ...]] = (
        "data_dir",
        "download",
        "device",
        "save_every",
        "workers",
    )

    dataset: str = one_of("digits", DATASETS)
    data_dir: str | None = None
    download: bool = False
    image_size: int | None = None
    augmentation: str = one_of("shift", AUGMENTATIONS)
    train_images: int | None = None
    device: str = "auto"
    precision: str = one_of("fp32", PRECISIONS)
    seed: int = 0
    save_every: float = 10.0
    workers: int | None = None
    sync_batch_norm: bool = False
    stem: str = one_of("cifar", STEMS)

    def __post_init__(self) -> None:
        if isinstance(self.data_dir, os.PathLike):
            object.__setattr__(self, "data_dir", os.fspath(self.data_dir))
        hints = get_type_hints(type(self))
        for option in fields(self):
            value = getattr(self, option.name)
            check_type(option.name, value, hints[option.name])
            if "choices" in option.metadata and (option.name, value) != ("dataset", GIVEN):
                check_choice(option.name, value, option.metadata["choices"])
        if self.data_dir == "":
            raise naming(ValueError("data_dir: expected a folder, got ''"), "data_dir")
        check_range("seed", self.seed, 0, LARGEST_SEED)
        check_range("save_every", self.save_every, 0)
        if self.image_size is not None:
            check_image_size(self.image_size, self.stem)
        if self.workers is not None:
            check_range("workers", self.workers, 0)
        if self.train_images is not None:
            check_range("train_images", self.train_images, 1)
        check_needed(self.dataset, self.data_dir, self.download, self.image_size, self.augmentation)

    def without_effect(self) -> dict[str, str]:
        """Return the options that others leave without an effect, each with the reason.

        They may have their defaults, but to give one of them is a mistake.
        """
        return {}

    def check_effect(self, given: Mapping[str, Any]) -> None:
        """Refuse options that were given, and that others leave without an effect.

        Raises:
            ValueError: If there is one.
        """
        for name, reason in self.without_effect().items():
            if name in given:
                message = f"{name}: expected none, as {reason}, got {given[name]}"
                raise naming(ValueError(message), name)

    def save(self, folder: Path) -> None:
        """Write the options of a run into its folder.

        Raises:
            OSError: If the file cannot be written.
        """
        write_json(folder / CONFIG_FILE, {"kind": self.kind, **asdict(self)})

    @classmethod
    def load(cls: type[Config], folder: Path) -> Config:
        """Read the options of a run from its folder.

        Raises:
            FileNotFoundError: If there is no run in the folder.
            ValueError: If the run is of another kind or one of several seeds, or the file is
                damaged.
        """
        check_holds_run(folder)
        path = folder / CONFIG_FILE
        options = read_json(path)
        found = options.pop("kind", None) if isinstance(options, dict) else None
        if found != cls.kind:
            got = f"one of a {found}" if found in KINDS else "something else"
            raise ValueError(f"{folder}: expected the run of a {cls.kind}, got {got}")
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ValueError(f"{path}: unknown option {name!r}{suggestion(name, known)}")
        try:
            return cls(**options)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def check_continues(self, folder: Path) -> None:
        """Refuse to go on with the run in a folder under options that compute something else.

        Raises:
            FileNotFoundError: If there is no run in the folder.
            ValueError: If an option other than ``free_options`` differs, or as :meth:`load` says.
        """
        begun = self.load(folder)
        for name, given in asdict(self).items():
            if name not in self.free_options and getattr(begun, name) != given:
                message = (
                    f"{folder}: the run was begun with {name} {getattr(begun, name)}, cannot go on "
                    f"with {given}"
                )
                raise naming(ValueError(message), name)


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the default values of a function's or a class's arguments.

    Example:
        >>> def build(classes, layers=8, memory="store"): ...
        >>> defaults_of(build)
        {'layers': 8, 'memory': 'store'}
    """
    arguments = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in arguments if one.default is not one.empty}


def check_type(name: str, value: Any, kind: Any) -> None:
    """Refuse an option whose value is of another type.

    Args:
        name: What the option is called.
        value: Its value; a whole number is a number too.
        kind: Its type, one of :data:`EXPECTED`.

    Raises:
        ValueError: If ``value`` is of another type.

    Example:
        >>> check_type("epochs", 2.5, int)
        Traceback (most recent call last):
        ...
        ValueError: epochs: expected a whole number, got 2.5
    """
    right = isinstance(value, int | float if kind is float else kind)
    if not right or (isinstance(value, bool) and kind is not bool):
        raise naming(ValueError(f"{name}: expected {EXPECTED[kind]}, got {value!r}"), name)


def check_image_size(size: int, stem: str = "cifar") -> None:
    """Refuse a side of images that the two reduction cells cannot halve twice after a stem.

    Raises:
        ValueError: If it is none of :data:`adarts_ext.nn.stem.STEMS`.
    """
    if not STEMS[stem].take(size):
        after = "" if stem == "cifar" else f" with stem {stem}"
        message = f"image_size: expected {STEMS[stem]}{after}, got {size}"
        raise naming(ValueError(message), "image_size")


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Refuse an option whose value is none of the known ones.

    Raises:
        ValueError: If ``value`` is not in ``known``.

    Example:
        >>> check_choice("memory", "disk", ("store", "recompute"))
        Traceback (most recent call last):
        ...
        ValueError: memory: expected one of store, recompute, got 'disk'
    """
    if value not in known:
        message = f"{name}: expected one of {', '.join(known)}, got {value!r}"
        raise naming(ValueError(message), name)


def check_range(
    name: str, value: float, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuse an option whose value is out of its range.

    Args:
        name: What the option is called.
        value: Its value.
        low: The smallest value allowed.
        high: The largest value allowed.
        above: Whether ``low`` itself is refused too.

    Raises:
        ValueError: If ``value`` is not in the range.

    Example:
        >>> check_range("epochs", 0, 1)
        Traceback (most recent call last):
        ...
        ValueError: epochs: expected at least 1, got 0
    """
    if low <= value <= high and not (above and value == low):
        return
    expected = f"{'above' if above else 'at least'} {low}"
    if high != math.inf:
        expected += f" and at most {high}"
    raise naming(ValueError(f"{name}: expected {expected}, got {value!r}"), name)
