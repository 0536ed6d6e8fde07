"""What searches come to: one from one seed, or several from several."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from adarts_ext.genotype import Genotype
from adarts_ext.genotype.cell_graph import POOLINGS
from adarts_ext.runs.result import RunResult, SeedsSummary, common_numbers, mean_and_deviation


@dataclass(frozen=True, kw_only=True)
class SearchResult(RunResult):
    """What a search comes to: the genotype that it found, and how the supernet did.

    Args:
        seed: Seed of the search.
        epochs: Its epochs, fewer than were asked for if it was stopped.
        genotype_epoch: The epoch after which the genotype is derived: the last, or where
            ``stop_on_collapse`` stopped the search the last good one.
        collapse: The signs of a collapse after the last epoch
            (:class:`~adarts_ext.search.CollapseMonitor`); they say why a search was stopped.
        stopped: Why its strategy stopped the search, or None.
        parameters: How many weights the supernet has, beside alphas and betas.
        validation_loss: The supernet's mean cross entropy on the second half of the training
            images after the last epoch, in nats.
        validation_accuracy: Its accuracy there, in [0, 1].
        seconds: Time of all epochs.
        time: Where it went, in seconds: ``data``, ``architecture step``, ``weight step``,
            ``evaluation``, ``saving`` and ``other``, by the clock of the host
            (:class:`~adarts_ext.runs.clock.Clock`).
        images_per_second: Images that trained the weights, by the time of the steps and their data;
            None where a version that did not measure it ran a part of the epochs.
        peak_memory_bytes: The most memory taken: the device's, or the process's on the CPU.
    """

    kind: ClassVar[str] = "search"

    seed: int
    epochs: int
    genotype_epoch: int
    collapse: list[str]
    stopped: str | None
    parameters: int
    validation_loss: float
    validation_accuracy: float
    seconds: float
    time: dict[str, float]
    images_per_second: float | None
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class SweepResult(SeedsSummary):
    """What searches from several seeds come to.

    Args:
        seeds: The seeds.
        epochs: Epochs of each search; of the longest, where some were stopped.
        parameters: As in each search.
        validation_accuracy_mean: Mean of the supernets' accuracies on the second half of the
            training images after the last epoch, in [0, 1].
        validation_accuracy_std: Its sample standard deviation (over n - 1).
        agreement: What part of their edges two of the genotypes have in common, in [0, 1], on
            average over all pairs (:func:`agreement`).
        skip_connections: How many of the operations of each genotype, both cells together, are
            skip connections.
        poolings: How many are poolings.
        seconds: Time of all epochs of all searches.
        time: Where it went.
        images_per_second: The mean over the searches.
        peak_memory_bytes: The most memory that one took.
        runs: The results of the searches, in the order of the seeds; each has its ``genotype``.
    """

    kind: ClassVar[str] = "search"

    epochs: int
    parameters: int
    validation_accuracy_mean: float
    validation_accuracy_std: float
    agreement: float
    skip_connections: tuple[int, ...]
    poolings: tuple[int, ...]
    seconds: float
    time: dict[str, float]
    images_per_second: float | None
    peak_memory_bytes: int | None

    @classmethod
    def of(cls, runs: Sequence[SearchResult], folder: Path) -> SweepResult:
        """Sum up searches that differ in nothing but their seeds."""
        genotypes = [run.genotype for run in runs]
        return cls(
            **mean_and_deviation(runs, "validation_accuracy"),
            agreement=agreement(genotypes),
            skip_connections=tuple(count(one, ("skip_connect",)) for one in genotypes),
            poolings=tuple(count(one, POOLINGS) for one in genotypes),
            **common_numbers(runs, folder) | {"epochs": max(run.epochs for run in runs)},
        )


def agreement(genotypes: Sequence[Genotype]) -> float:
    """Return what part of their edges two genotypes have in common, on average over all pairs.

    An edge is the same in two genotypes if it has the same operation from the same source into the
    same node of the same cell; in which order a node's two edges are listed does not matter, and
    ``none`` is no edge. Where two genotypes have other numbers of edges it is a part of the mean.

    Args:
        genotypes: Two or more, with as many nodes.

    Returns:
        A number in [0, 1]: 1 if all are the same, 0 if no two share an edge.

    Example:
        >>> cells = [(("skip_connect", 0), (op, 1)) for op in ("sep_conv_3x3", "max_pool_3x3")]
        >>> agreement([Genotype(cells[0], (2,), cell, (2,)) for cell in cells])
        0.75
    """
    edges = [
        {
            (cell, place // 2, *edge)
            for cell in ("normal", "reduce")
            for place, edge in enumerate(getattr(genotype, cell))
            if edge[0] != "none"
        }
        for genotype in genotypes
    ]
    shares = [
        2 * len(one & other) / (len(one) + len(other)) for one, other in combinations(edges, 2)
    ]
    return statistics.mean(shares)


def count(genotype: Genotype, operations: Collection[str]) -> int:
    """Return how many edges of both cells have one of some operations."""
    return sum(op in operations for op, _ in (*genotype.normal, *genotype.reduce))
