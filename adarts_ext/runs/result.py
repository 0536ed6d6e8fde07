"""What a run comes to, and what runs from several seeds do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from adarts_ext.files import read_json, write_json
from adarts_ext.genotype import Genotype
from adarts_ext.runs.clock import sum_up_times
from adarts_ext.runs.folder import GENOTYPE_FILE, RESULT_FILE

Ended = TypeVar("Ended", bound="RunResult")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run, or several, come to.

    Each kind adds its numbers, in the order in which ``result.json`` has them, and among them
    always ``epochs``, ``parameters`` (weights of the network) and ``seconds`` (of all epochs).

    Args:
        folder: The folder of the run or runs.
        dataset: Name of the data set.
    """

    kind: ClassVar[str]

    folder: Path
    dataset: str

    def record(self) -> dict[str, Any]:
        """Return what ``result.json`` holds: all but the folder and the genotype."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in self.recorded()}}

    @classmethod
    def recorded(cls) -> list[str]:
        """Return the names of what ``result.json`` holds, in its order, without the kind."""
        return [field.name for field in fields(cls) if field.name not in ("folder", "genotype")]

    def save(self) -> None:
        """Write ``result.json`` into the folder.

        Raises:
            OSError: If the file cannot be written.
        """
        write_json(self.folder / RESULT_FILE, self.record())


@dataclass(frozen=True, kw_only=True)
class RunResult(Result):
    """What one run comes to.

    Args:
        genotype: The two cells that were found, or whose network was trained.
    """

    genotype: Genotype

    @classmethod
    def load(cls: type[Ended], folder: Path) -> Ended | None:
        """Read the result of the run in a folder.

        Returns:
            The result; None if the run has not ended, or if another version wrote the file.

        Raises:
            ValueError: If the file is damaged.
        """
        path = folder / RESULT_FILE
        if not path.is_file():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or record.pop("kind", None) != cls.kind:
            raise ValueError(f"{path}: damaged, expected the result of a {cls.kind}")
        if record.keys() != set(cls.recorded()):
            return None
        return cls(folder=folder, genotype=Genotype.load(folder / GENOTYPE_FILE), **record)


@dataclass(frozen=True, kw_only=True)
class SeedsSummary(Result):
    """What runs that differ in nothing but their seeds come to.

    Args:
        seeds: The seeds.
        runs: The results of the runs, in the order of the seeds.
    """

    seeds: tuple[int, ...]
    runs: tuple[Any, ...]

    def record(self) -> dict[str, Any]:
        """Return what ``result.json`` holds, with the records of the ``runs`` at its end."""
        values = super().record()
        del values["runs"]
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | lists | {"runs": [run.record() for run in self.runs]}


def common_numbers(runs: Sequence[Any], folder: Path) -> dict[str, Any]:
    """Return what every :class:`SeedsSummary` says of its runs, as its arguments.

    Times are sums, the rate is the mean and the peak the highest.
    """
    return {
        "folder": folder,
        "dataset": runs[0].dataset,
        "seeds": tuple(run.seed for run in runs),
        "epochs": runs[0].epochs,
        "parameters": runs[0].parameters,
        **sum_up_times([run.record() for run in runs]),
        "runs": tuple(runs),
    }


def mean_and_deviation(runs: Sequence[Any], name: str) -> dict[str, float]:
    """Return the mean and the sample standard deviation (over n - 1) of a number of runs.

    Example:
        >>> from types import SimpleNamespace
        >>> runs = [SimpleNamespace(accuracy=value) for value in (0.25, 0.5, 0.75)]
        >>> mean_and_deviation(runs, "accuracy")
        {'accuracy_mean': 0.5, 'accuracy_std': 0.25}
    """
    values = [getattr(run, name) for run in runs]
    return {f"{name}_mean": statistics.mean(values), f"{name}_std": statistics.stdev(values)}
