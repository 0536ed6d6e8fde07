"""What the rows of a comparison come to, on numbers that can be followed by hand."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy
import pytest

from adarts_ext.compare import Plan
from adarts_ext.compare.plan import RANDOM
from adarts_ext.compare.report import describe
from adarts_ext.compare.summary import paired_p, sum_up
from adarts_ext.retrain import RetrainConfig
from adarts_ext.search import SearchConfig

CELL = (("max_pool_3x3", 0), ("skip_connect", 1), ("avg_pool_3x3", 0), ("sep_conv_3x3", 2))
OTHER = (("max_pool_3x3", 0), ("skip_connect", 1), ("sep_conv_3x3", 0), ("sep_conv_5x5", 2))


def row(arm, seed, error, parameters, cell=CELL):
    search = {"validation_accuracy": 0.5, "seconds": 10.0 + seed, "kept_bytes": 3_000_000}
    return {
        "arm": arm,
        "seed": seed,
        "genotype": {
            "normal": cell,
            "normal_concat": (2, 3),
            "reduce": CELL,
            "reduce_concat": (2, 3),
        },
        "search": None if arm == RANDOM else search,
        "retrain": {"test_accuracy_last": 1 - error, "parameters": parameters},
    }


ROWS = [
    *(row("ours", seed, error, 2000) for seed, error in enumerate((0.10, 0.12, 0.11))),
    *(
        row("theirs", seed, error, 50_000, OTHER)
        for seed, error in ((0, 0.13), (1, 0.14), (5, 0.9))
    ),
    # On a line: 0.2 at 1,000 parameters and 0.02 less with every factor of e.
    *(row(RANDOM, k, 0.2 - 0.02 * k, round(1000 * math.e**k)) for k in range(4)),
]
PLAN = Plan(
    {"ours": SearchConfig(), "theirs": SearchConfig(selection="all", proportion=1)},
    (0, 1, 2),
    RetrainConfig(),
    4,
)


def test_means_sizes_and_pairs():
    ours, theirs, drawn = sum_up(PLAN, ROWS)
    assert ours.error.values == pytest.approx((0.10, 0.12, 0.11))
    assert ours.error.mean == pytest.approx(0.11)
    assert ours.error.deviation == pytest.approx(statistics.stdev((0.10, 0.12, 0.11)))
    assert (ours.skips.mean, ours.poolings.mean, ours.edges) == (2, 4, 8)
    assert (theirs.skips.mean, theirs.poolings.mean) == (2, 3)
    assert ours.agreement == theirs.agreement == 1
    assert ours.seconds.mean == 11
    assert ours.kept_bytes == 3_000_000
    expected = [error - (0.2 - 0.02 * math.log(2)) for error in (0.10, 0.12, 0.11)]
    assert ours.against_size.values == pytest.approx(expected, abs=1e-5)
    assert (ours.outside, theirs.outside, drawn.outside) == (0, 3, 0)
    assert drawn.against_size.mean == pytest.approx(0, abs=1e-5)
    assert ours.against_first is None
    assert theirs.against_first.values == pytest.approx((0.03, 0.02))  # seed 5 has no partner
    assert theirs.p == 0.5
    assert drawn.p is drawn.seconds is drawn.accuracy is None


def test_what_is_too_little_is_left_out():
    ours, drawn = sum_up(PLAN, [ROWS[0], *ROWS[-3:]])
    assert ours.error.deviation is ours.agreement is ours.against_size is None
    assert drawn.against_size is None
    text = "\n".join(describe(PLAN, [ours, drawn]))
    assert "| ours " in text
    assert "4 of 10 runs have ended." in text
    assert "None" not in text


@pytest.mark.parametrize("differences", [(0.3, -0.1, 0.2, 0.05), (0.1, 0.2, -0.3), (0.2,) * 5])
def test_the_p_value_is_that_of_all_sign_flips(differences):
    means = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    found = sum(differences)
    above = sum(mean >= found - 1e-12 for mean in means) / len(means)
    below = sum(mean <= found + 1e-12 for mean in means) / len(means)
    assert paired_p(differences) == pytest.approx(min(1, 2 * min(above, below)))


def test_the_p_value_of_many_pairs_is_close_to_that_of_all_sign_flips():
    differences = numpy.random.default_rng(2).normal(0.3, 1, size=17)
    signs = 1 - 2 * (numpy.arange(2**17)[:, None] >> numpy.arange(17) & 1)
    exact = (abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert 0.01 < exact < 0.5
    assert paired_p(differences) == pytest.approx(exact, abs=4 * (exact / 2**16) ** 0.5)


def test_differences_of_no_kind_are_rarely_significant():
    draws = numpy.random.default_rng(0).normal(size=(200, 6))  # 1 in 32 is expected
    assert sum(paired_p(draw) <= 0.05 for draw in draws) <= 20
