"""Runs the groups of the benchmarks as a session of pytest with pytest-benchmark."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import pytest_benchmark  # noqa: F401  (said here, so that its absence is noticed first)
import torch

from adarts_ext.bench import cell, fit, memory, ops, roofs, scaling, step
from adarts_ext.bench.groups import Group, Measured, Options
from adarts_ext.bench.machine import describe
from adarts_ext.bench.results import MACHINE, MISSING
from adarts_ext.files import read_json

PARTS = {
    "ops": ops.groups,
    "cell": cell.groups,
    "step": step.groups,
    "memory": memory.groups,
    "scaling": scaling.groups,
    "fit": fit.groups,
}
DEFAULT_PARTS = ("ops", "cell", "step", "memory")
ON_THE_ROOFLINE = ("ops", "cell")
SUITE = Path(__file__).with_name("suite.py")
FAILED = "failed"
PRIVATE = ("node", "release")  # what pytest-benchmark says of the machine and nobody needs


def with_roofs(parts: Sequence[str]) -> list[str]:
    """Name the parts that are run for the parts asked for.

    Example:
        >>> with_roofs(["step", "ops"])
        ['roofs', 'step', 'ops']
    """
    roofed = any(part in ON_THE_ROOFLINE for part in parts)
    return ["roofs", *parts] if roofed else list(parts)


class Session:
    """The plugin that gives pytest the groups, measures each once, and shapes the JSON."""

    def __init__(self, groups: list[Group], options: Options) -> None:
        self.groups = {group.name: group for group in groups}
        self.options = options
        self.found: dict[str, dict[str, Measured]] = {}
        self.missing: list[dict[str, str]] = []

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make an entry of every arm."""
        pairs = [(group.name, arm) for group in self.groups.values() for arm in group.arms]
        metafunc.parametrize(("group", "arm"), pairs)

    @pytest.fixture
    def measured(self, group: str, arm: str) -> Measured:
        """What was measured of an arm, when the first of its group is asked for."""
        if group not in self.found:
            number = 1 + list(self.groups).index(group)
            print(f"[{number}/{len(self.groups)}] {group}", file=sys.stderr, flush=True)
            self.found = {group: self._measure(self.groups[group])}
        result = self.found[group][arm]
        if not result.seconds:
            part = self.groups[group].part
            note = {"part": part, "group": group, "arm": arm, "why": result.missing}
            if all(one["why"] != result.missing for one in self.missing):
                print(f"  {arm}: {result.missing}", file=sys.stderr, flush=True)
            self.missing.append(note)
        return result

    def _measure(self, group: Group) -> dict[str, Measured]:
        try:
            return group.measure()
        except torch.OutOfMemoryError:
            missing = "out of memory"
        except Exception as error:  # the other groups are worth measuring all the same
            traceback.print_exc()
            missing = f"{FAILED}: {type(error).__name__}"
        return {arm: Measured([], missing=missing) for arm in group.arms}

    @pytest.fixture
    def described(self, group: str, measured: Measured) -> dict[str, Any]:
        """What an entry says beside its times."""
        of_group = self.groups[group]
        found = {"part": of_group.part, "date": str(date.today())}
        return {**found, **of_group.info, **measured.info}

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print nothing for an entry that is as it should be."""
        return None if report.failed else (report.outcome, "", "")

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_group_stats(self) -> list[object]:
        """Print no tables of pytest-benchmark: ours hold more."""
        return []

    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add what the reports say of the machine."""
        for name in PRIVATE:
            machine_info.pop(name, None)
        machine_info[MACHINE] = describe(self.options)

    def pytest_benchmark_update_commit_info(self, commit_info: dict[str, Any]) -> None:
        """Leave out the commit of whatever repository the command was called in."""
        commit_info.clear()

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Add why some arms were not measured."""
        output_json[MISSING] = self.missing


def run(parts: Sequence[str], options: Options) -> dict[str, Any]:
    """Measure some parts, and give the JSON of pytest-benchmark; a group may have failed in it.

    Raises:
        KeyboardInterrupt: It was interrupted.
        ValueError: Nothing was measured.
    """
    torch.set_num_threads(options.threads)
    makers = {**PARTS, "roofs": roofs.groups}
    groups = [group for part in with_roofs(parts) for group in makers[part](options)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "benchmarks.json"
        status = pytest.main(
            [
                str(SUITE),
                *("-c", os.devnull, f"--rootdir={SUITE.parent}", "--noconftest"),
                *("-p", "no:cacheprovider", "-qq", "-s", "--disable-warnings"),
                *("--benchmark-quiet", f"--benchmark-json={out}"),
            ],
            plugins=[Session(groups, options)],
        )
        if status == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if not out.exists():
            raise ValueError("nothing could be measured, as said above")
        return read_json(out)
