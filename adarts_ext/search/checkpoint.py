"""Saving all that a search needs to go on exactly where it stood, and putting it back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adarts_ext.data import BatchLoader
from adarts_ext.files import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from adarts_ext.nn import SearchNetwork
from adarts_ext.training import rng_state, set_rng_state


@dataclass
class SearchState:
    """What changes during a search.

    Args:
        network: The supernet, with its alphas and betas.
        weight_optimizer: SGD on the weights.
        arch_optimizer: Adam on alphas and betas.
        train_loader: Batches of the half that trains the weights.
        validation_loader: Batches of the half that trains alphas and betas.
    """

    network: SearchNetwork
    weight_optimizer: torch.optim.SGD
    arch_optimizer: torch.optim.Adam
    train_loader: BatchLoader
    validation_loader: BatchLoader

    def save(self, folder: Path, history: list[dict[str, Any]]) -> None:
        """Write the checkpoint of a run, in one piece; ``history`` says which epochs are done.

        Raises:
            OSError: The file cannot be written; the checkpoint before it is kept.
        """
        parts = {name: getattr(self, name).state_dict() for name in self.__dataclass_fields__}
        state = {"kind": "search", **parts, "rng": rng_state(), "history": history}
        save_checkpoint(folder / CHECKPOINT_FILE, state)

    def load(self, folder: Path) -> list[dict[str, Any]]:
        """Put the checkpoint of a run back, and give the history that it holds.

        Raises:
            FileNotFoundError: There is no checkpoint.
            ValueError: It is damaged, or belongs to another network.
        """
        path = folder / CHECKPOINT_FILE
        state = load_checkpoint(path, "search")
        try:
            for name in self.__dataclass_fields__:
                getattr(self, name).load_state_dict(state[name])
            set_rng_state(state["rng"])
            return state["history"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: does not fit the options and the data set of the run"
            ) from error
