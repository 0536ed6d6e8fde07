"""Writing the report of a run, of runs from several seeds, or of a comparison."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from adarts_ext.compare.plan import PLAN_FILE, Plan
from adarts_ext.compare.rows import ROWS_FILE, read_runs
from adarts_ext.files import write_atomic
from adarts_ext.report.comparison import comparison_page
from adarts_ext.report.page import Page
from adarts_ext.report.record import RunRecord
from adarts_ext.report.retrain import retrain_page
from adarts_ext.report.search import search_page
from adarts_ext.report.seeds import seeds_page
from adarts_ext.runs.folder import CONFIG_FILE, seed_folders
from adarts_ext.runs.seeds import seeds_of

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
    make = page_maker(Path(folder))
    try:
        html = make().html()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{folder}: damaged, or of another version: {reason}") from error
    write_atomic(path, lambda file: file.write(html.encode()))


def page_maker(folder: Path) -> Callable[[], Page]:
    """Read what a folder holds; return what makes its page.

    Raises:
        FileNotFoundError: If it holds nothing that there is a report of.
        ValueError: If a file in it is damaged; the message names it.
    """
    if (folder / PLAN_FILE).is_file():
        return partial(comparison_page, folder, Plan.load(folder), read_runs(folder / ROWS_FILE))
    if (folder / CONFIG_FILE).is_file():
        record = RunRecord.load(folder)
        return partial(PAGES[record.config.kind], record)
    records = [RunRecord.load(path) for path in seed_folders(folder)]
    if records:
        seeds = seeds_of(folder, type(records[0].config))
        return partial(seeds_page, folder, records, seeds)
    raise FileNotFoundError(
        f"{folder}: expected the folder of a run, with {CONFIG_FILE}, of runs from several seeds, "
        f"with seed-0/{CONFIG_FILE} and so on, or of a comparison, with {PLAN_FILE}; it holds none"
    )
