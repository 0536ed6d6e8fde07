"""What the runs of a comparison come to, arm by arm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from adarts_ext.compare.plan import RANDOM, Plan
from adarts_ext.compare.rows import Row
from adarts_ext.genotype import Genotype
from adarts_ext.search.result import POOLINGS, agreement, count

LEAST_RANDOM = 4  # genotypes at random to fit a line through
MOST_EXACT = 16  # pairs, of which all sign flips are tried


@dataclass(frozen=True)
class Numbers:
    """Numbers of the runs of an arm, with their mean and sample deviation (over n - 1)."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.mean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample deviation, None of one number."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class SizeLine:
    """Test error of genotypes at random against the logarithm of their parameters.

    Args:
        slope: Of the line, in parts of 1 by a factor of e.
        intercept: Of the line.
        smallest: The fewest parameters among them.
        largest: The most parameters among them.
    """

    slope: float
    intercept: float
    smallest: int
    largest: int

    @classmethod
    def through(cls, rows: Sequence[Row]) -> SizeLine | None:
        """Fit the line to genotypes at random by least squares, None where they are too few."""
        sizes = [row["retrain"]["parameters"] for row in rows]
        if len(set(sizes)) < LEAST_RANDOM:
            return None
        slope, intercept = numpy.polyfit(numpy.log(sizes), [error_of(row) for row in rows], 1)
        return cls(float(slope), float(intercept), min(sizes), max(sizes))

    def error(self, parameters: float) -> float:
        """Return the error of the mean genotype at random of a size."""
        return float(self.slope * numpy.log(parameters) + self.intercept)


@dataclass(frozen=True)
class ArmSummary:
    """What the runs of one arm come to; None for what was not made.

    Args:
        arm: Its name.
        seeds: The seeds of its runs.
        error: Test errors of the networks that were trained, in [0, 1], after the last epoch.
        parameters: Weights of those networks.
        against_size: Their errors, less that of the mean genotype at random of as many parameters.
        outside: How many of them are smaller or larger than all genotypes at random, so that the
            line is drawn on beyond those.
        against_first: Their errors, less those of the first arm from the same seeds.
        p: Two-sided p-value of a paired permutation test of the mean of ``against_first`` (sign
            flips, all of them up to 16 pairs). With n pairs it is at least 2 / 2 ** n.
        skips: Skip connections in each genotype, both cells together.
        poolings: Poolings in each.
        edges: Operations of a genotype.
        agreement: What part of their edges two of the genotypes have in common, over all pairs.
        accuracy: Accuracies of the supernets on the second half of the training images.
        seconds: Of each search.
        kept_bytes: What a forward pass of the supernet keeps for backward.
    """

    arm: str
    seeds: tuple[int, ...]
    error: Numbers | None
    parameters: Numbers | None
    against_size: Numbers | None
    outside: int
    against_first: Numbers | None
    p: float | None
    skips: Numbers
    poolings: Numbers
    edges: int
    agreement: float | None
    accuracy: Numbers | None
    seconds: Numbers | None
    kept_bytes: int | None


def sum_up(plan: Plan, rows: Sequence[Row]) -> list[ArmSummary]:
    """Sum up the runs that have ended, arm by arm in the order of the plan."""
    by_arm = {
        arm: sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["seed"])
        for arm in (*plan.arms, RANDOM)
    }
    line = SizeLine.through(by_arm[RANDOM])
    first = by_arm[next(iter(plan.arms))]
    return [_sum_up_arm(own, first, line) for own in by_arm.values() if own]


def _sum_up_arm(rows: Sequence[Row], first: Sequence[Row], line: SizeLine | None) -> ArmSummary:
    arm, trained = rows[0]["arm"], rows[0]["retrain"] is not None
    genotypes = [Genotype(**row["genotype"]) for row in rows]
    sizes = [row["retrain"]["parameters"] for row in rows] if trained else []
    above, outside, differences = None, 0, []
    if trained and line is not None:
        above = Numbers(
            tuple(error_of(row) - line.error(row["retrain"]["parameters"]) for row in rows)
        )
        outside = sum(not line.smallest <= size <= line.largest for size in sizes)
    if trained and arm not in (RANDOM, first[0]["arm"] if first else RANDOM):
        known = {row["seed"]: error_of(row) for row in first}
        differences = [error_of(row) - known[row["seed"]] for row in rows if row["seed"] in known]
    searches = [row["search"] for row in rows if row["search"] is not None]
    return ArmSummary(
        arm=arm,
        seeds=tuple(row["seed"] for row in rows),
        error=_numbers(error_of(row) for row in rows) if trained else None,
        parameters=_numbers(sizes),
        against_size=above,
        outside=outside,
        against_first=_numbers(differences),
        p=paired_p(differences) if len(differences) > 1 else None,
        skips=Numbers(tuple(count(one, ("skip_connect",)) for one in genotypes)),
        poolings=Numbers(tuple(count(one, POOLINGS) for one in genotypes)),
        edges=len(genotypes[0].normal + genotypes[0].reduce),
        agreement=agreement(genotypes) if len(genotypes) > 1 else None,
        accuracy=_numbers(one["validation_accuracy"] for one in searches),
        seconds=_numbers(one["seconds"] for one in searches),
        kept_bytes=max((one["kept_bytes"] for one in searches), default=None),
    )


def _numbers(values) -> Numbers | None:
    values = tuple(values)
    return Numbers(values) if values else None


def error_of(row: Row) -> float:
    """Return the test error of a row's network after the last epoch, in [0, 1]."""
    return 1 - row["retrain"]["test_accuracy_last"]


def paired_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of a paired permutation test that the mean is not zero.

    Under the null hypothesis every difference is as likely to have the other sign. Up to 16 of them
    all sign flips are tried, of more a fixed sample.

    Example:
        >>> paired_p([0.01, 0.02, 0.015, 0.01])
        0.125
    """
    from scipy.stats import permutation_test  # a second, of which most commands have no use

    found = permutation_test(
        (numpy.asarray(differences, dtype=float),),
        lambda values, axis: numpy.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**MOST_EXACT,
        rng=0,
    )
    return float(found.pvalue)
