"""What is compared: the arms, their seeds, and how what they find is trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from adarts_ext.arguments import naming
from adarts_ext.files import read_json, write_json
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.runs.options import RunConfig, check_range, check_type
from adarts_ext.runs.seeds import check_seeds
from adarts_ext.search.config import SearchConfig
from adarts_ext.strategies.choice import is_own, parse_strategy

PLAN_FILE = "plan.json"
RANDOM = "random genotypes"  # the arm that does not search

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class Plan:
    """What :func:`adarts_ext.compare.compare` compares.

    Args:
        arms: How each arm searches, by its name; their seeds are not used. The other arms are
            compared with the first one.
        seeds: The seeds, the same for every arm: one search each, and one training.
        retrain: How the network of every genotype is trained and tested; None to search only.
        random_genotypes: How many genotypes at random of the first arm's space, those of the seeds
            0, 1 and so on, are trained too: what a search has to beat.

    Raises:
        ValueError: If there is no arm, a name cannot be that of a folder, the seeds cannot be used,
            or genotypes at random are asked for without a training.

    Example:
        >>> arms = {"attention": SearchConfig(), "random": SearchConfig(selection="random")}
        >>> Plan(arms, seeds=(0, 1)).runs()[:3]
        [('attention', 0), ('random', 0), ('attention', 1)]
    """

    arms: Mapping[str, SearchConfig]
    seeds: tuple[int, ...]
    retrain: RetrainConfig | None = None
    random_genotypes: int = 0

    def __post_init__(self) -> None:
        if not self.arms:
            raise naming(ValueError("arms: expected at least one, got none"), "arms")
        for name in self.arms:
            if not re.fullmatch(r"\w[\w .,+-]*", name) or name[-1] in " ." or name == RANDOM:
                message = (
                    "arms: expected names of letters, digits, spaces and - _ . , +, other than "
                    f"{RANDOM!r}, got {name!r}"
                )
                raise naming(ValueError(message), "arms")
        for name, config in self.arms.items():
            if any(map(is_own, parse_strategy(config.strategy))):
                message = (
                    f"arms: {name}: strategy: expected strategies by name, as a plan runs no file, "
                    f"got {config.strategy}"
                )
                raise naming(ValueError(message), "arms")
        check_seeds(self.seeds)
        check_type("random_genotypes", self.random_genotypes, int)
        check_range("random_genotypes", self.random_genotypes, 0)
        if self.random_genotypes and self.retrain is None:
            message = (
                "random_genotypes: expected 0 without a training of what is found, got "
                f"{self.random_genotypes}"
            )
            raise naming(ValueError(message), "random_genotypes")

    def runs(self) -> list[tuple[str, int]]:
        """Return the arm and the seed of every run, so ordered that all arms get on alike."""
        seeds = dict.fromkeys(self.arms, self.seeds)
        if self.random_genotypes:
            seeds[RANDOM] = tuple(range(self.random_genotypes))
        places = {
            (arm, seed): place / len(own)
            for arm, own in seeds.items()
            for place, seed in enumerate(own)
        }
        return sorted(places, key=places.__getitem__)

    def select(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those rows of :mod:`adarts_ext.compare.rows` that are of this plan's runs."""
        runs = set(self.runs())
        return [row for row in rows if (row["arm"], row["seed"]) in runs]

    def epochs(self, arm: str) -> int:
        """Return how many epochs a run of an arm has, of search and training together."""
        searching = 0 if arm == RANDOM else self.arms[arm].epochs
        return searching + (0 if self.retrain is None else self.retrain.epochs)

    def save(self, folder: Path) -> None:
        """Write the plan into the folder of the comparison.

        Raises:
            OSError: If the file cannot be written.
        """
        record = {
            "seeds": list(self.seeds),
            "random_genotypes": self.random_genotypes,
            "retrain": None if self.retrain is None else asdict(self.retrain),
            "arms": {name: asdict(config) for name, config in self.arms.items()},
        }
        write_json(folder / PLAN_FILE, record)

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read the plan of the comparison in a folder.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If the file is damaged.
        """
        path = folder / PLAN_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: no comparison to go on with, no {PLAN_FILE}")
        record = read_json(path)
        try:
            retrain = record["retrain"]
            return cls(
                {name: SearchConfig(**options) for name, options in record["arms"].items()},
                tuple(record["seeds"]),
                None if retrain is None else RetrainConfig(**retrain),
                record["random_genotypes"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: damaged, or of another version: {error}") from error

    def check_continues(self, begun: Plan) -> None:
        """Refuse a plan under which what was done under another one would not have been done.

        Arms, seeds and genotypes at random may be added or left out.

        Raises:
            ValueError: If the training, or an arm that both have, computes something else.
        """
        for name in self.arms.keys() & begun.arms.keys():
            _check_same(f"the arm {name!r}", begun.arms[name], self.arms[name])
        if (self.retrain is None) != (begun.retrain is None):
            was, now = ("without" if one.retrain is None else "with" for one in (begun, self))
            raise ValueError(f"the comparison was begun {was} a training, cannot go on {now} one")
        if self.retrain is not None:
            _check_same("the training", begun.retrain, self.retrain)


def _check_same(what: str, begun: Config, now: Config) -> None:
    for option in fields(now):
        old, new = getattr(begun, option.name), getattr(now, option.name)
        if old != new and option.name not in (*now.free_options, "seed"):
            raise ValueError(f"{what} was begun with {option.name} {old}, cannot go on with {new}")
