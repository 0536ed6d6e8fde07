"""The options of searches and trainings on a small image folder that take parts of a second."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.genotype import random_genotype
from adarts_ext.retrain import RetrainConfig
from adarts_ext.search import SearchConfig

SMALL = {"dataset": "folder", "device": "cpu", "init_channels": 4, "layers": 3, "epochs": 2}
SMALL |= {"batch_size": 8}

#: Has operations of every kind, and half the nodes of published cells.
TWO_NODES = random_genotype(0, steps=2)


def small_search(images: Path, **changes) -> SearchConfig:
    """Options of a search on an image folder."""
    cells = {"steps": 2, "proportion": 2, "warmup_epochs": 0}
    return SearchConfig(**SMALL | cells | {"data_dir": str(images)} | changes)


def small_retrain(images: Path, **changes) -> RetrainConfig:
    """Options of a training on an image folder."""
    return RetrainConfig(**SMALL | {"data_dir": str(images)} | changes)
