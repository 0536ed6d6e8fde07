"""The file ``results.json``: what pytest-benchmark wrote, and why some arms are missing in it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adarts_ext.bench.machine import SAME
from adarts_ext.files import read_json

RESULTS_FILE = "results.json"
MACHINE = "adarts_ext"  # in machine_info
MISSING = "missing"
BENCHMARKS = "benchmarks"
VERSIONS = ("torch", "adarts_ext")


@dataclass(frozen=True)
class Entry:
    """An arm of a group: its seconds in every round and what else was found."""

    part: str
    group: str
    arm: str
    seconds: list[float]
    info: dict[str, Any]

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)

    def times_as_fast(self, other: Entry) -> tuple[float, float, float] | None:
        """Median, minimum and maximum of the ratio within a round; None if they took no turns."""
        if self.info.get("alone") or len(self.seconds) != len(other.seconds):
            return None
        ratios = [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


@dataclass(frozen=True)
class Results:
    """What was measured on one machine."""

    machine: dict[str, Any]
    entries: list[Entry]
    missing: list[dict[str, str]]

    def groups(self, part: str) -> dict[str, dict[str, Entry]]:
        """The entries of a part by group and arm."""
        found: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            if entry.part == part:
                found.setdefault(entry.group, {})[entry.arm] = entry
        return found


def parse(data: Any, place: object) -> Results:
    """Read results from JSON.

    Args:
        data: What the JSON holds.
        place: Where it came from, for the error.

    Raises:
        ValueError: It is not a result of ``adarts bench``.
    """
    try:
        machine = data["machine_info"][MACHINE]
        if not all(name in machine for name in (*SAME, *VERSIONS)):
            raise KeyError
        entries = [
            Entry(
                one["extra_info"]["part"],
                one["group"],
                one["name"],
                [float(seconds) for seconds in one["stats"]["data"]],
                one["extra_info"],
            )
            for one in data[BENCHMARKS]
        ]
        return Results(machine, entries, list(data[MISSING]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place}: not a result of adarts bench, or a damaged one") from error


def load(path: Path) -> Results:
    """Read the results in a folder, or in a file.

    Raises:
        FileNotFoundError: There are none.
        ValueError: The file is something else.
    """
    path = path / RESULTS_FILE if path.is_dir() else path
    return parse(read_json(path), path)


def check_same_machine(results: Results, machine: dict[str, Any], place: object) -> None:
    """Refuse results of another device, precision or size.

    Raises:
        ValueError: They differ.
    """
    for name in SAME:
        if results.machine[name] != machine[name]:
            raise ValueError(
                f"{place} was measured with {name} {results.machine[name]!r}, not "
                f"{machine[name]!r}; such results are never mixed or compared"
            )


def check_can_join(folder: Path, parts: Collection[str], machine: dict[str, Any]) -> None:
    """Refuse a folder whose results cannot stay beside new ones of some parts.

    Raises:
        ValueError: They are of another machine, or parts of other versions would stay.
    """
    path = folder / RESULTS_FILE
    if not path.exists():
        return
    old = load(path)
    check_same_machine(old, machine, path)
    stay = sorted({entry.part for entry in old.entries} - set(parts))
    for name in VERSIONS:
        if stay and old.machine[name] != machine[name]:
            raise ValueError(
                f"{path} holds the parts {', '.join(stay)} of {name} {old.machine[name]}, here it "
                f"is {machine[name]}; measure them again too, or choose another folder"
            )


def join(old: Any, new: dict[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """Put what stays of old results, all but some parts, before the new ones."""
    stay = [one for one in old[BENCHMARKS] if one["extra_info"]["part"] not in parts]
    missing = [one for one in old[MISSING] if one["part"] not in parts]
    return {**new, BENCHMARKS: stay + new[BENCHMARKS], MISSING: missing + new[MISSING]}


def dates(entries: Iterable[Entry]) -> str:
    """When entries were measured."""
    found = sorted({entry.info["date"] for entry in entries})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
