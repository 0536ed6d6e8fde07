"""What the commands that make a run share."""

from __future__ import annotations

import dataclasses
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from adarts_ext.cli.options import OptionParser
from adarts_ext.runs import processes
from adarts_ext.runs.folder import CHECKPOINT_FILES, RESULT_FILE
from adarts_ext.runs.options import RunConfig, check_choice
from adarts_ext.runs.seeds import parse_seeds
from adarts_ext.runs.slurm import parse_slurm
from adarts_ext.runs.stop import stop_by

Config = TypeVar("Config", bound=RunConfig)


def pop_run(parser: OptionParser, given: dict[str, Any]) -> tuple[Path | None, bool]:
    """Take ``--out`` and ``--resume`` out of the given options."""
    out, resume = given.pop("out", None), given.pop("resume", False)
    if out == "":
        parser.error("--out: expected a folder, got ''")
    if resume and not out:
        parser.error("--resume needs the folder of the run: --out RUN")
    return Path(out) if out else None, resume


def pop_seeds(
    parser: OptionParser, given: dict[str, Any]
) -> tuple[list[int] | None, dict[str, Any] | None]:
    """Take ``--seeds`` and ``--slurm`` out of the given options; None for what is not there."""
    seeds, slurm = given.pop("seeds", None), given.pop("slurm", None)
    try:
        return (
            None if seeds is None else parse_seeds(str(seeds)),
            None if slurm is None else parse_slurm(slurm),
        )
    except ValueError as error:
        parser.refuse(error)


def add_settings(
    parser: OptionParser, name: str, settings: Mapping[str, RunConfig], default: str
) -> None:
    """Add the option that chooses among published settings, such as ``--preset``."""
    parser.add_option(
        name,
        str,
        metavar="{" + ",".join(settings) + "}",
        help=f"published settings, which other options override (default: {default})",
    )


def pop_settings(
    parser: OptionParser, given: dict[str, Any], name: str, settings: Mapping[str, Config]
) -> Config | None:
    """Take that option out of the given ones: the settings chosen, None if none are."""
    if name not in given:
        return None
    chosen = given.pop(name)
    try:
        check_choice(name, chosen, settings)
    except ValueError as error:
        parser.refuse(error)
    return settings[chosen]


def replace_options(parser: OptionParser, base: Config, given: dict[str, Any]) -> Config:
    """Put the given options in the place of those of ``base``; refuse those without an effect."""
    try:
        config = dataclasses.replace(base, **given)
        config.check_effect(given)
    except ValueError as error:
        parser.refuse(error)
    return config


def default_folder(kind: str, dataset: str) -> Path:
    """Return the name of a folder for what was not given one: no two get the same."""
    started = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return Path("runs") / f"{kind}-{dataset}-{started}"


def say_if_ended(folder: Path) -> None:
    """Say that a run that is to go on has ended already, where it has."""
    if (folder / RESULT_FILE).is_file() and processes.is_first():
        print(f"{folder}: the run has ended already; this is its result", file=sys.stderr)


@contextmanager
def running(command: str, arguments: list[str], folder: Path) -> Iterator[None]:
    """Say which folder a run has and, on Ctrl-C or SIGTERM, how to go on with it.

    Raises:
        SystemExit: With status 130 for Ctrl-C, 143 for SIGTERM.
    """
    if processes.is_first():
        print(f"run folder: {folder}", file=sys.stderr)
    try:
        with exit_on_sigterm():
            yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if any(next(folder.glob(f"**/{name}"), None) for name in CHECKPOINT_FILES):
            again = list(arguments)
            if not any(part.partition("=")[0] == "--out" for part in again):
                again += ["--out", str(folder)]
            if "--resume" not in again:
                again.append("--resume")
            hint = f"go on from its last checkpoint by: adarts {command} {shlex.join(again)}"
        else:
            hint = "it had no checkpoint yet, so there is nothing to go on from"
        if processes.is_first():
            print(f"{folder}: {hint}", file=sys.stderr)
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, which a cluster sends before it kills, end the program in order."""
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop_by(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
