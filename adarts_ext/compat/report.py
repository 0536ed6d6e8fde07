"""What :func:`adarts_ext.accelerate` did to a model, and what it left as it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What was done to one module.

    Attributes:
        name: Where the module is in the model.
        module: Name of its class.
        level: ``"cell"`` (the whole of it), ``"mixed op"``, ``"weighted sum"`` (BatchNorms and
            weighted sum only) or ``"untouched"``.
        reason: Why no higher level was possible, or why its own code runs now; "" otherwise.
    """

    name: str
    module: str
    level: str
    reason: str = ""


@dataclass(frozen=True)
class AccelerationReport:
    """The modules of a model that are cells or mixed operations, and how each is computed.

    Mixed operations of a cell that is fused as a whole are not listed.
    """

    entries: tuple[Entry, ...]

    def levels(self) -> dict[str, int]:
        """Count the entries of each level."""
        return dict(Counter(entry.level for entry in self.entries))

    def __str__(self) -> str:
        if not self.entries:
            return "nothing was recognised as a search cell or a mixed operation"
        groups: dict[tuple[str, str, str], list[str]] = {}
        for entry in self.entries:
            groups.setdefault((entry.module, entry.level, entry.reason), []).append(entry.name)
        lines = []
        for (module, level, reason), names in groups.items():
            where = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            line = f"{len(names):4} {module}: {level} ({where or 'the model'})"
            lines.append(f"{line}: {reason}" if reason else line)
        return "\n".join(lines)
