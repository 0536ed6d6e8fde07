"""What the folder of a run holds, as far as the run came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adarts_ext.files import read_json
from adarts_ext.genotype import Genotype
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.cost import ImageKind
from adarts_ext.runs.data_record import load_images_record
from adarts_ext.runs.folder import (
    CONFIG_FILE,
    DATASET_FILE,
    GENOTYPE_FILE,
    GENOTYPES_FOLDER,
    HISTORY_FILE,
    MACHINE_FILE,
    RESULT_FILE,
    check_holds_run,
)
from adarts_ext.runs.options import RunConfig
from adarts_ext.search.config import SearchConfig

CONFIGS: dict[Any, type[RunConfig]] = {one.kind: one for one in (SearchConfig, RetrainConfig)}


@dataclass(frozen=True)
class RunRecord:
    """A run, ended or not.

    Args:
        folder: Its folder.
        config: Its options.
        machine: What it was begun on; empty for a run of an earlier version.
        dataset: What data it was begun with; empty for a run of an earlier version.
        history: The records of the epochs that it has done, one an epoch from 1 on.
        genotypes: The genotype of every epoch of a search, by epochs.
        genotype: The genotype that was found, or that is trained; of a search that has not ended
            that of the last epoch, None if none has been done.
        result: What it came to; empty of a run that has not ended.
    """

    folder: Path
    config: RunConfig
    machine: dict[str, Any]
    dataset: dict[str, Any]
    history: list[dict[str, Any]]
    genotypes: dict[int, Genotype]
    genotype: Genotype | None
    result: dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return bool(self.result)

    @classmethod
    def load(cls, folder: Path) -> RunRecord:
        """Read what a folder holds.

        Raises:
            FileNotFoundError: If it holds no run.
            ValueError: If it holds the runs of several seeds, or a file is damaged; the message
                names it.
        """
        check_holds_run(folder)
        config = CONFIGS.get(_read(folder / CONFIG_FILE, dict).get("kind"), SearchConfig)
        files = sorted((folder / GENOTYPES_FOLDER).glob("epoch-*.json"))
        genotypes = {_epoch_of(file): Genotype.load(file) for file in files}
        found = folder / GENOTYPE_FILE
        genotype = (
            Genotype.load(found) if found.is_file() else genotypes.get(max(genotypes, default=0))
        )
        history = _read(folder / HISTORY_FILE, list)
        for place, entry in enumerate(history, 1):
            if not isinstance(entry, dict) or entry.get("epoch") != place:
                raise ValueError(f"{folder / HISTORY_FILE}: damaged, expected a record an epoch")
        return cls(
            folder=folder,
            config=config.load(folder),
            machine=_read(folder / MACHINE_FILE, dict),
            dataset=_read(folder / DATASET_FILE, dict),
            history=history,
            genotypes=genotypes,
            genotype=genotype,
            result=_read(folder / RESULT_FILE, dict),
        )

    def series(self, name: str) -> dict[int, float]:
        """Return a number of the records by epochs, without the epochs that have none."""
        return {
            entry["epoch"]: entry[name] for entry in self.history if entry.get(name) is not None
        }

    def last(self, name: str) -> float | None:
        """Return the last of the numbers of that name, None if there is none."""
        return next(reversed(self.series(name).values()), None)

    def images(self) -> ImageKind | None:
        """Return what images the network takes; None for a run of an earlier version."""
        try:
            found = load_images_record(self.folder)
        except ValueError:
            return None
        height, width = found["image_size"]
        return ImageKind(len(found["mean"]), (height, width), len(found["class_names"]))


def _read(path: Path, kind: Callable[[], Any]) -> Any:
    """Read a file that holds a list or an object; empty where it is not there."""
    found = read_json(path) if path.is_file() else kind()
    if type(found) is not kind:
        names = {list: "a list", dict: "an object"}
        raise ValueError(f"{path}: damaged, expected {names[kind]}")
    return found


def _epoch_of(file: Path) -> int:
    number = file.stem.removeprefix("epoch-")
    if not number.isdecimal():
        raise ValueError(f"{file}: expected a file name such as epoch-0001.json")
    return int(number)
