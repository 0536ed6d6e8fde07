"""Fused networks with a given selection, where a near-tie of scores might decide otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from adarts_ext.nn.fused import EdgeKind


def pin_selection(patch: pytest.MonkeyPatch, chosen: Iterator[Tensor]) -> None:
    """Let edges with attention take the next of ``chosen``, one after another."""
    draw = EdgeKind.draw_index

    def replay(kind: EdgeKind, edges: int, device: torch.device) -> Tensor | None:
        if kind.selection != "attention":
            return draw(kind, edges, device)
        return torch.stack([next(chosen) for _ in range(edges)])

    patch.setattr(EdgeKind, "draw_index", replay)
