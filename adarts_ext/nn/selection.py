"""How a mixed operation chooses the channels that go through its candidates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Selection(NamedTuple):
    """One of :data:`SELECTIONS`, described at :class:`adarts_ext.nn.PartialMixedOp`.

    Args:
        channels: Which channels are selected: ``"attended"`` (those of the highest scores),
            ``"first"``, ``"random"`` or ``"all"``.
        attention: Whether the channel attention multiplies the input.
        shuffle: Whether the output is shuffled, so that the next edge takes other channels first.
    """

    channels: str
    attention: bool = False
    shuffle: bool = False

    def draw_index(
        self, edges: int, channels: int, selected: int, device: torch.device
    ) -> Tensor | None:
        """Choose the channels of each edge, (edges, c), where no scores choose them."""
        if self.channels == "attended":
            return None
        if self.channels == "random":
            order = torch.rand(edges, channels, device=device).argsort(dim=1)
            return order[:, :selected]
        return torch.arange(selected, device=device).expand(edges, -1)


SELECTIONS = {
    "attention": Selection("attended", attention=True),
    "first": Selection("first", shuffle=True),
    "random": Selection("random"),
    "all": Selection("all"),
    "first-unshuffled": Selection("first"),
    "attention-random": Selection("random", attention=True),
    "attention-all": Selection("all", attention=True),
}
