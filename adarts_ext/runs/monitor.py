"""The records of a run's epochs: its history, and TensorBoard's curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from adarts_ext.files import write_json
from adarts_ext.runs import processes
from adarts_ext.runs.folder import HISTORY_FILE, TENSORBOARD_FOLDER


class Monitor:
    """Writes the records of a run into its folder; of several processes the first one does.

    Args:
        folder: The run's folder.
        history: The records of the epochs that lie behind, when a run goes on; each new one is
            added to it.
    """

    def __init__(self, folder: Path, history: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.history = history
        self._writer: SummaryWriter | None = None
        if processes.is_first():
            place = str(folder / TENSORBOARD_FOLDER)
            self._writer = SummaryWriter(place, purge_step=len(history) + 1)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def record(self, entry: dict[str, Any], curves: dict[str, float]) -> None:
        """Add the record of an epoch to the history, and a point to each of TensorBoard's curves.

        Args:
            entry: The record; its entry ``"epoch"`` counts from 1.
            curves: The points, by their tags.

        Raises:
            OSError: If a file cannot be written.
        """
        self.history.append(entry)
        if self._writer is None:
            return
        write_json(self.folder / HISTORY_FILE, self.history)
        for tag, value in curves.items():
            self._writer.add_scalar(tag, value, entry["epoch"])
        self._writer.flush()
