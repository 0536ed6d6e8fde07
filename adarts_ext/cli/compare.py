"""``adarts compare``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from adarts_ext.cli.option_file import check_mapping, check_options, read_yaml
from adarts_ext.cli.options import OptionParser
from adarts_ext.cli.runs import default_folder, pop_run, running
from adarts_ext.compare import Plan, compare
from adarts_ext.compare.report import PICTURE_FILE, REPORT_FILE, describe
from adarts_ext.compare.summary import sum_up
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.runs.options import RunConfig
from adarts_ext.runs.seeds import parse_seeds
from adarts_ext.search.config import SearchConfig

Config = TypeVar("Config", bound=RunConfig)

SECTIONS = {"seeds": int | str, "random_genotypes": int}  # what else a plan holds is options
MAPPINGS = ("both", "search", "retrain", "arms")


def run(arguments: list[str]) -> None:
    """Make the runs of a plan that are not made yet, and print what they come to."""
    parser = OptionParser(
        "compare",
        "Search with every arm of a plan from every seed, train and test what each search found, "
        "and sum it up in a table with a paired test. What a folder has already is not done again.",
        "PLAN [--out FOLDER] [--resume]",
    )
    parser.add_argument(
        "plan",
        metavar="PLAN",
        type=str,
        nargs="?",
        help="YAML file with seeds, arms and the options of search and retrain; with --resume that "
        "of the folder if none",
    )
    parser.add_candidates()
    parser.add_run_folder("compare")
    given = parser.given(arguments)
    out, resume = pop_run(parser, given)
    path = given.pop("plan", None)
    if not path and not resume:
        parser.error("expected the plan of the comparison: PLAN")
    try:
        plan = read_plan(path) if path else Plan.load(out)
    except ValueError as error:
        parser.error(str(error))
    folder = out or default_folder("compare", next(iter(plan.arms.values())).dataset)
    with running("compare", arguments, folder):
        rows = compare(plan, folder, resume)
    print("\n".join(describe(plan, sum_up(plan, rows))))
    print(f"this table in {folder / REPORT_FILE}", end="")
    print("" if plan.retrain is None else f", drawn in {folder / PICTURE_FILE}")


def read_plan(path: str) -> Plan:
    """Read the plan of a comparison from a YAML file.

    Raises:
        ValueError: If the file is not YAML or no plan; the message names the file and the place.
        OSError: If the file cannot be read.
    """
    found = read_yaml(path)
    sections = {name: found.pop(name, None) for name in MAPPINGS}
    common = check_options(path, found, SECTIONS)
    for name, value in sections.items():
        if value is not None:
            check_mapping(f"{path}: {name}", value)
    both, options = sections["both"] or {}, sections["search"] or {}
    arms = {}
    for name, own in (sections["arms"] or {}).items():
        where = f"{path}: arms: {name}"
        own = {} if own is None else check_mapping(where, own)
        arms[str(name)] = _config(where, SearchConfig, both | options | own)
    retrain = None
    if sections["retrain"] is not None:
        retrain = _config(f"{path}: retrain", RetrainConfig, both | sections["retrain"])
    try:
        seeds = tuple(parse_seeds(str(common.get("seeds", 0))))
        return Plan(arms, seeds, retrain, common.get("random_genotypes", 0))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _config(where: str, kind: type[Config], found: dict[Any, Any]) -> Config:
    hints = get_type_hints(kind)
    types = {field.name: hints[field.name] for field in fields(kind) if field.name != "seed"}
    options = check_options(where, found, types)
    try:
        config = kind(**options)
        config.check_effect(options)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return config
