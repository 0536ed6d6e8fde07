"""The report of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adarts_ext.compare.plan import RANDOM, Plan
from adarts_ext.compare.report import notes, tables
from adarts_ext.compare.rows import Row
from adarts_ext.compare.summary import SizeLine, sum_up
from adarts_ext.draw.comparison import comparison_figure
from adarts_ext.genotype import Genotype
from adarts_ext.report.common import cell_pictures, command
from adarts_ext.report.options import arms_table
from adarts_ext.report.page import Commands, Facts, Page, Picture, Pictures, Section, Table, Text
from adarts_ext.runs.folder import CONFIG_FILE


def comparison_page(folder: Path, plan: Plan, rows: Sequence[Row]) -> Page:
    """Make the page of a comparison, as far as it has come.

    Args:
        folder: Its folder.
        plan: What is compared.
        rows: The runs that have been made.
    """
    rows = plan.select(rows)
    sections = [result_section(plan, rows)]
    lines = []
    if len(rows) < len(plan.runs()):
        lines.append((command("compare", "--resume", "--out", folder), "go on with it"))
    run = next(folder.glob(f"*/seed-*/search/{CONFIG_FILE}"), None)
    if run is not None:
        lines.append((command("report", run.parent), "all that is known of one run"))
    if lines:
        sections.append(Section("What to do next", [Commands(lines)]))
    if any(row["arm"] != RANDOM for row in rows):
        sections.append(cells_section(plan, rows))
    sections.append(options_section(plan))
    dataset = next(iter(plan.arms.values())).dataset
    lead = f"{len(rows)} of {len(plan.runs())} runs made; folder `{folder}`"
    return Page(f"Comparison on {dataset}", lead, sections)


def result_section(plan: Plan, rows: Sequence[Row]) -> Section:
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


def cells_section(plan: Plan, rows: Sequence[Row]) -> Section:
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
