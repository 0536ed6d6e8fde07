"""The file ``results.jsonl``: what was measured, a row each, after a row on the machine."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adarts_ext.bench.machine import SAME
from adarts_ext.bench.rows import Row, read_rows, write_rows

RESULTS_FILE = "results.jsonl"
OLD_FILE = "results.json"  # in pytest-benchmark's format, no longer read
VERSIONS = ("torch", "adarts_ext")
MISSING = ("part", "group", "arm", "missing")  # the columns of what was not measured


@dataclass(frozen=True)
class Entry:
    """An arm of a group: its seconds in every round and what else was found."""

    part: str
    group: str
    arm: str
    seconds: Sequence[float]
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


@dataclass
class Results:
    """What was measured on one machine, and why some arms were not."""

    machine: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)

    def groups(self, part: str) -> dict[str, dict[str, Entry]]:
        """The entries of a part by group and arm."""
        found: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            if entry.part == part:
                found.setdefault(entry.group, {})[entry.arm] = entry
        return found

    def parts(self) -> set[str]:
        """The parts of which something was measured, or tried."""
        return {entry.part for entry in self.entries} | {one["part"] for one in self.missing}

    def without(self, parts: Collection[str]) -> Results:
        """The same without some parts."""
        entries = [entry for entry in self.entries if entry.part not in parts]
        missing = [one for one in self.missing if one["part"] not in parts]
        return Results(self.machine, entries, missing)

    def after(self, earlier: Results | None) -> Results:
        """These, after what stays of earlier ones: the parts that these have nothing of."""
        if earlier is None:
            return self
        stay = earlier.without(self.parts())
        return Results(self.machine, stay.entries + self.entries, stay.missing + self.missing)

    def write(self, path: Path) -> None:
        """Write them, atomically."""
        entries = [
            {"part": e.part, "group": e.group, "arm": e.arm, "seconds": e.seconds, **e.info}
            for e in self.entries
        ]
        write_rows(path, [self.machine, *entries, *self.missing])


def parse(rows: Sequence[Row], place: object) -> Results:
    """Make results of rows.

    Args:
        rows: The machine, entries, and what is missing.
        place: Where they came from, for the error.

    Raises:
        ValueError: They are not a result of ``adarts bench``.
    """
    try:
        found = Results(rows[0])
        if not all(name in found.machine for name in (*SAME, *VERSIONS)):
            raise KeyError
        for row in rows[1:]:
            if "missing" in row:
                found.missing.append({name: row[name] for name in MISSING})
                continue
            info = dict(row)
            part, group, arm = (info.pop(name) for name in MISSING[:3])
            seconds = [float(one) for one in info.pop("seconds")]
            found.entries.append(Entry(part, group, arm, seconds, info))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place}: not a result of adarts bench, or a damaged one") from error
    return found


def load(path: Path) -> Results:
    """Read the results in a folder, or in a file.

    Raises:
        FileNotFoundError: There are none.
        ValueError: The file is something else, or of an earlier version.
    """
    if path.is_dir():
        old = path / OLD_FILE
        path = path / RESULTS_FILE
        path = old if old.exists() and not path.exists() else path
    if path.suffix == ".json" and path.exists():
        raise ValueError(f"{path} is in an older format; measure again to get a {RESULTS_FILE}")
    return parse(read_rows(path), path)


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


def load_to_join(path: Path, parts: Collection[str], machine: dict[str, Any]) -> Results | None:
    """Read the results beside which new ones of some parts are to stand, if there are any.

    Of other versions nothing stays, so that none is mixed with new ones when a run is interrupted.

    Raises:
        ValueError: They are of another machine, or parts of other versions would stay.
    """
    if not path.exists():
        return None
    old = load(path)
    check_same_machine(old, machine, path)
    stay = old.without(parts)
    for name in VERSIONS:
        if old.machine[name] == machine[name]:
            continue
        if stay.entries:
            raise ValueError(
                f"{path} holds the parts {', '.join(sorted(stay.parts()))} of {name} "
                f"{old.machine[name]}, here it is {machine[name]}; measure them again too, or "
                "choose another folder"
            )
        return None
    return old


def dates(entries: Iterable[Entry]) -> str:
    """When entries were measured."""
    found = sorted({entry.info["date"] for entry in entries})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
