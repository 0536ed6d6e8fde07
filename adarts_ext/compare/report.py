"""The table and the picture of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adarts_ext.bench.report.markdown import table
from adarts_ext.cli.numbers import short_number
from adarts_ext.compare.plan import RANDOM, Plan
from adarts_ext.compare.rows import Row
from adarts_ext.compare.summary import ArmSummary, Numbers, SizeLine, sum_up
from adarts_ext.draw.comparison import draw_comparison
from adarts_ext.files import write_atomic

REPORT_FILE = "comparison.md"
PICTURE_FILE = "comparison.svg"
EMPTY = "-"


def write_report(plan: Plan, rows: Sequence[Row], folder: Path) -> None:
    """Write ``comparison.md`` and, where networks were trained, ``comparison.svg``.

    Args:
        plan: What is compared.
        rows: The runs that have ended; those of other plans are left out.
        folder: Where the files go.

    Raises:
        OSError: If a file cannot be written.
    """
    rows = plan.select(rows)
    text = "\n".join(describe(plan, sum_up(plan, rows))) + "\n"
    write_atomic(folder / REPORT_FILE, lambda file: file.write(text.encode()))
    trained = [row for row in rows if row["retrain"] is not None]
    if trained:
        line = SizeLine.through([row for row in trained if row["arm"] == RANDOM])
        draw_comparison(trained, line, folder / PICTURE_FILE)


def describe(plan: Plan, arms: Sequence[ArmSummary]) -> list[str]:
    """Write what the arms come to: a table of what was found, one of what it took, and notes."""
    lines = []
    for columns, rows in tables(plan, arms):
        lines += [*table(columns, rows), ""]
    return [*lines, *notes(plan, arms)]


def tables(plan: Plan, arms: Sequence[ArmSummary]) -> list[tuple[list[str], list[list[str]]]]:
    """Return columns and rows of the tables: what was found, where it was trained, and the cost."""
    first = next(iter(plan.arms))
    found = ["arm", "runs", "test error, %", "parameters", "over random of its size, %"]
    found += [f"over {first}, %", "p"]
    took = ["arm", "skips", "poolings", "agreement, %", "supernet accuracy, %"]
    took += ["search, s", "kept, MB"]
    made = [] if plan.retrain is None else [(found, [_found(arm) for arm in arms])]
    return [*made, (took, [_took(arm) for arm in arms])]


def _found(arm: ArmSummary) -> list[str]:
    return [
        arm.arm,
        str(len(arm.seeds)),
        percent(arm.error),
        EMPTY if arm.parameters is None else short_number(round(arm.parameters.mean)),
        percent(arm.against_size, sign="+") + (f" ({arm.outside} outside)" if arm.outside else ""),
        percent(arm.against_first, sign="+"),
        EMPTY if arm.p is None else f"{arm.p:.3f}",
    ]


def _took(arm: ArmSummary) -> list[str]:
    return [
        arm.arm,
        spread(arm.skips, 1),
        spread(arm.poolings, 1),
        EMPTY if arm.agreement is None else f"{100 * arm.agreement:.0f}",
        percent(arm.accuracy),
        spread(arm.seconds, 0),
        EMPTY if arm.kept_bytes is None else f"{arm.kept_bytes / 1e6:.0f}",
    ]


def notes(plan: Plan, arms: Sequence[ArmSummary]) -> list[str]:
    """Say what the columns of the tables mean."""
    edges, done = arms[0].edges if arms else 0, sum(len(arm.seeds) for arm in arms)
    found = [
        f"Mean and sample deviation over the runs; skips and poolings among {edges} operations."
    ]
    if done < len(plan.runs()):
        found.insert(0, f"{done} of {len(plan.runs())} runs have ended.")
    if plan.retrain is not None:
        found.append(
            "Test error after the last epoch. `over random of its size`: less that of the mean "
            "genotype at random of as many parameters, by a line through those (error against the "
            "logarithm of the parameters); `outside` are smaller or larger than all of them. `p`: "
            "two-sided, of a paired permutation test over the seeds, which cannot be below "
            f"{2 / 2 ** len(plan.seeds):.2g} with {len(plan.seeds)} seeds; not corrected for the "
            "number of arms."
        )
    found.append(
        "Agreement: what part of their edges two genotypes have in common. Kept: what a forward "
        "pass of the supernet keeps for backward."
    )
    return found


def spread(numbers: Numbers | None, digits: int, sign: str = "") -> str:
    """Write mean and deviation.

    Example:
        >>> spread(Numbers((1.0, 3.0)), 1), spread(Numbers((2.5,)), 1, "+"), spread(None, 1)
        ('2.0 ± 1.4', '+2.5', '-')
    """
    if numbers is None:
        return EMPTY
    mean = f"{numbers.mean:{sign}.{digits}f}"
    return mean if numbers.deviation is None else f"{mean} ± {numbers.deviation:.{digits}f}"


def percent(numbers: Numbers | None, sign: str = "") -> str:
    """Write mean and deviation of parts of 1 in percent."""
    parts = None if numbers is None else Numbers(tuple(100 * value for value in numbers.values))
    return spread(parts, 2, sign)
