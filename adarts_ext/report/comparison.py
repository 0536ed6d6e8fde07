"""The report of a comparison."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.compare.plan import RANDOM, Plan
from adarts_ext.compare.report import notes, tables
from adarts_ext.compare.rows import ROWS_FILE, Row, read_runs
from adarts_ext.compare.summary import SizeLine, sum_up
from adarts_ext.draw.comparison import comparison_figure
from adarts_ext.genotype import Genotype
from adarts_ext.report.common import cell_pictures, command
from adarts_ext.report.options import arms_table
from adarts_ext.report.page import Commands, Facts, Page, Picture, Pictures, Section, Table, Text


def comparison_page(folder: Path) -> Page:
    """Make the page of a comparison, as far as it has come.

    Raises:
        ValueError: If a file is damaged; the message names it.
    """
    plan = Plan.load(folder)
    path = folder / ROWS_FILE
    rows = [row for row in read_runs(path) if (row["arm"], row["seed"]) in set(plan.runs())]
    try:
        sections = [result_section(plan, rows)]
        if len(rows) < len(plan.runs()):
            lines = [(command("compare", "--resume", "--out", folder), "go on with it")]
            sections.append(Section("What to do next", [Commands(lines)]))
        if any(row["arm"] != RANDOM for row in rows):
            sections.append(cells_section(plan, rows))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or of another version: {error}") from error
    sections.append(options_section(plan))
    dataset = next(iter(plan.arms.values())).dataset
    lead = f"{len(rows)} of {len(plan.runs())} runs made; folder `{folder}`"
    return Page(f"Comparison on {dataset}", lead, sections)


def result_section(plan: Plan, rows: list[Row]) -> Section:
    """Show the tables and the picture."""
    facts = [
        ("arms", str(len(plan.arms))),
        ("seeds", str(len(plan.seeds))),
        ("genotypes at random", str(plan.random_genotypes)),
    ]
    blocks = [Facts(facts)]
    arms = sum_up(plan, rows)
    if not arms:
        return Section("Result", [*blocks, Text("No run has ended yet.")])
    blocks += [Table(columns, cells) for columns, cells in tables(plan, arms)]
    trained = [row for row in rows if row["retrain"] is not None]
    if trained:
        line = SizeLine.through([row for row in trained if row["arm"] == RANDOM])
        caption = "test error against the size of the derived network"
        blocks.append(Pictures([Picture(caption, comparison_figure(trained, line))], "whole"))
    return Section("Result", [*blocks, *map(Text, notes(plan, arms))])


def cells_section(plan: Plan, rows: list[Row]) -> Section:
    """Draw the cells that every arm found."""
    blocks = []
    for arm in plan.arms:
        found = {row["seed"]: Genotype(**row["genotype"]) for row in rows if row["arm"] == arm}
        pictures = [
            picture
            for seed in sorted(found)
            for picture in cell_pictures(found[seed], f"seed {seed}, ")
        ]
        if pictures:
            blocks.append(Pictures(pictures, "cell", arm))
    return Section("Cells that were found", blocks)


def options_section(plan: Plan) -> Section:
    """Say how the arms search, and how what they find is trained."""
    blocks = [
        Text("How the arms search: the options that are not the default of ADARTS."),
        arms_table(plan.arms),
    ]
    if plan.retrain is not None:
        blocks.append(Text("How what they find is trained:"))
        blocks.append(arms_table({"training": plan.retrain}))
    return Section("Options", blocks)
