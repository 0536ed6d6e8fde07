"""The epochs of a run: begun, gone on with, saved on the way, recorded and stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adarts_ext.data import ImageDataset
from adarts_ext.runs import processes
from adarts_ext.runs.checkpoint import RunState, rng_state
from adarts_ext.runs.clock import Clock
from adarts_ext.runs.data_record import save_data_record
from adarts_ext.runs.machine_record import save_machine_record, warn_of_other_machine
from adarts_ext.runs.monitor import Monitor
from adarts_ext.runs.options import RunConfig
from adarts_ext.runs.progress import Progress
from adarts_ext.runs.stop import Stop, stop_by, stop_on_request
from adarts_ext.runs.training import TrainingEpoch


def begin_run(
    config: RunConfig,
    folder: Path,
    resume: bool,
    dataset: ImageDataset,
    device: torch.device,
    state: RunState,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Write down what a run is begun with; or put the state of one that goes on back.

    Returns:
        The records of the epochs that are done, and the state of one that is under way, if any.

    Raises:
        FileNotFoundError: If there is no checkpoint to go on from.
        ValueError: If a file is damaged, or belongs to another network.
        OSError: If a file cannot be written.
    """
    if not resume:
        if processes.is_first():
            config.save(folder)
            save_data_record(folder, dataset)
            save_machine_record(folder, device)
        return [], None
    history, under_way = state.load(folder)
    if len(history) < config.epochs and processes.is_first():
        warn_of_other_machine(folder, device)
    return history, under_way


@dataclass
class Epochs:
    """The epochs that a run has left; iterating gives them.

    Args:
        state: What changes during the run.
        config: The options.
        folder: The run's folder.
        steps: Steps of an epoch.
        monitor: Gets the record of each epoch; its ``history`` has those that are done.
        progress: The bars.
        stop: Whether the run was asked to stop.
        under_way: The state of the epoch that a checkpoint was saved in, when the run goes on.
    """

    state: RunState
    config: RunConfig
    folder: Path
    steps: int
    monitor: Monitor
    progress: Progress
    stop: Stop
    under_way: dict[str, Any] | None
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.under_way and self.under_way["seconds"])
        self._saved = time.monotonic()

    def __iter__(self) -> Iterator[TrainingEpoch]:
        for epoch in range(len(self.monitor.history) + 1, self.config.epochs + 1):
            yield TrainingEpoch(epoch, self.steps, self.progress, self.under_way)
            self.under_way = None

    def pause(self, training: TrainingEpoch, rng: dict[str, Any] | None = None) -> None:
        """Between two batches: save if it is time to; if the run was asked to stop, save and stop.

        All processes of a run do so after the same batch.

        Args:
            training: The epoch, as far as it has come.
            rng: Where torch's generators stood then; None for where they are.

        Raises:
            KeyboardInterrupt, SystemExit: If the run was asked to stop.
            ValueError: If a loss is not finite, before such a state is saved.
            OSError: If the checkpoint cannot be written; the one before it is kept.
        """
        minutes = (time.monotonic() - self._saved) / 60
        received, save = self._agreed(0 < self.config.save_every <= minutes)
        if received or save:
            training.check_finite()
            self._save({**training.state_dict(), "seconds": self.clock.seconds}, rng)
        if received:
            stop_by(received)

    def watched(
        self, batches: Iterable[tuple[Tensor, Tensor]], training: TrainingEpoch
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of an evaluation after the steps of an epoch, with a pause before each.

        What is saved there is the state before the evaluation, which a run that goes on does again
        from its start; with random channels it draws from torch's generators.

        Raises:
            KeyboardInterrupt, SystemExit, OSError: As :meth:`pause` says.
        """
        rng = rng_state()
        for batch in batches:
            self.clock.lap("evaluation")
            self.pause(training, rng)
            yield batch

    def end(
        self,
        entry: dict[str, Any],
        curves: dict[str, float],
        line: str,
        warnings: Sequence[str] = (),
    ) -> None:
        """Record an epoch, save the state after it, and print a line; stop if that was asked for.

        Args:
            entry: The record; ``epoch`` counts from 1.
            curves: TensorBoard's points, by their tags.
            line: What to say of the epoch on stderr.
            warnings: What to warn of, at the end of that line and on the bar.

        Raises:
            KeyboardInterrupt, SystemExit: If the run was asked to stop.
            OSError: If a file cannot be written.
        """
        self.monitor.record(entry, curves)
        self.clock.lap("other")
        self._save(None)
        self.progress.end_epoch(entry["epoch"], entry["seconds"], line, warnings)
        received, _ = self._agreed(False)
        if received:
            stop_by(received)

    def _agreed(self, save: bool) -> tuple[int, bool]:
        """Return by which signal any of the processes is to stop, or 0, and whether any is to save.

        A request that comes later counts the next time, in all of them.
        """
        received, saves = processes.agree(self.stop.received or 0, save)
        return int(received), bool(saves)

    def _save(self, under_way: dict[str, Any] | None, rng: dict[str, Any] | None = None) -> None:
        self.state.save(self.folder, self.monitor.history, under_way, rng)
        self._saved = time.monotonic()
        self.clock.lap("saving")


@contextmanager
def epochs_left(
    state: RunState,
    config: RunConfig,
    folder: Path,
    steps: int,
    history: list[dict[str, Any]],
    under_way: dict[str, Any] | None,
    other_epochs: tuple[int, int] = (0, 0),
) -> Iterator[Epochs]:
    """Show and record the epochs that a run has left, and stop between steps where it is asked to.

    Args:
        state: What changes during the run.
        config: The options.
        folder: The run's folder.
        steps: Steps of an epoch.
        history: The records of the epochs that are done; those of the block are added.
        under_way: The state of an epoch that is under way, if any.
        other_epochs: Epochs of the runs before and after this one, which the progress includes.
    """
    with (
        stop_on_request() as stop,
        Monitor(folder, history) as monitor,
        Progress(config.kind, config.epochs, len(history), steps, *other_epochs) as progress,
    ):
        yield Epochs(state, config, folder, steps, monitor, progress, stop, under_way)
