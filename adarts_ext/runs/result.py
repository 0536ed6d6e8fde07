"""What a run comes to."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from adarts_ext.files import write_json
from adarts_ext.genotype import Genotype
from adarts_ext.runs.folder import RESULT_FILE


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run comes to.

    Each kind of run adds its numbers, in the order in which ``result.json`` has them, and among
    them always ``epochs``, ``parameters`` (weights of the network) and ``seconds`` (of all epochs).

    Args:
        folder: The folder of the run.
        genotype: The two cells that were found, or whose network was trained.
        dataset: Name of the data set.
    """

    kind: ClassVar[str]

    folder: Path
    genotype: Genotype
    dataset: str

    def record(self) -> dict[str, Any]:
        """Return what ``result.json`` holds: all but the folder and the genotype."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["folder"], values["genotype"]
        return {"kind": self.kind, **values}

    def save(self) -> None:
        """Write ``result.json`` into the folder.

        Raises:
            OSError: If the file cannot be written.
        """
        write_json(self.folder / RESULT_FILE, self.record())
