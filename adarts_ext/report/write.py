"""Writing the report of a run, of runs from several seeds, or of a comparison."""

from __future__ import annotations

import os
from pathlib import Path

from adarts_ext.compare.plan import PLAN_FILE
from adarts_ext.files import write_atomic
from adarts_ext.report.comparison import comparison_page
from adarts_ext.report.page import Page
from adarts_ext.report.record import RunRecord
from adarts_ext.report.retrain import retrain_page
from adarts_ext.report.search import search_page
from adarts_ext.report.seeds import seeds_page
from adarts_ext.runs.folder import CONFIG_FILE, HISTORY_FILE, SEEDS_FILE, seed_folders

PAGES = {"search": search_page, "retrain": retrain_page}


def write_report(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write what is known of a run into one HTML file that needs nothing beside it.

    Args:
        folder: The folder of a run, of runs from several seeds or of a comparison, ended or not.
        path: The file to write.

    Raises:
        FileNotFoundError: If the folder holds none of these.
        ValueError: If a file in it is damaged; the message names it.
        OSError: If the file cannot be written.
    """
    html = make_page(Path(folder)).html().encode()
    write_atomic(path, lambda file: file.write(html))


def make_page(folder: Path) -> Page:
    """Make the page of what a folder holds.

    Raises:
        FileNotFoundError: If it holds nothing that there is a report of.
        ValueError: If a file in it is damaged; the message names it.
    """
    if (folder / PLAN_FILE).is_file():
        return comparison_page(folder)
    if (folder / CONFIG_FILE).is_file():
        record = RunRecord.load(folder)
        try:
            return PAGES[record.config.kind](record)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            path = folder / HISTORY_FILE
            raise ValueError(f"{path}: damaged, or of another version: {error!r}") from error
    if (folder / SEEDS_FILE).is_file() or seed_folders(folder):
        return seeds_page(folder)
    raise FileNotFoundError(
        f"{folder}: expected the folder of a run, with {CONFIG_FILE}, of runs from several seeds, "
        f"with {SEEDS_FILE}, or of a comparison, with {PLAN_FILE}; it holds none of these"
    )
