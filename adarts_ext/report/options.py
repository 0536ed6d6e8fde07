"""The options of runs, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from adarts_ext.report.page import Table
from adarts_ext.runs.options import RunConfig


def options_table(config: RunConfig) -> Table:
    """Make the folded table of a run's options, first those that are not the defaults."""
    options = _options(config).items()
    changed = [[name, show(value), show(own)] for name, (value, own) in options if value != own]
    others = [[name, show(value), ""] for name, (value, own) in options if value == own]
    return Table(
        ("option", "value", "default, where it is another"),
        changed + others,
        f"{len(options)} options, {len(changed)} of them not the default",
    )


def arms_table(arms: Mapping[str, RunConfig]) -> Table:
    """Make the table of what options the arms have that are not the defaults, an arm a column."""
    found = {arm: _options(config) for arm, config in arms.items()}
    names = next(iter(found.values()))
    rows = [
        [name, *(show(options[name][0]) for options in found.values()), show(default)]
        for name, (_, default) in names.items()
        if any(options[name][0] != default for options in found.values())
    ]
    return Table(("option", *arms, "default"), rows)


def show(value: Any) -> str:
    """Write a value as an option file has it.

    Example:
        >>> show(True), show(None), show(0.025), show("digits")
        ('yes', '-', '0.025', 'digits')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _options(config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the value and the default of each option."""
    return {one.name: (getattr(config, one.name), one.default) for one in fields(config)}
