"""Dropout on the skip connections of a supernet, drawn anew for each pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adarts_ext.genotype import PRIMITIVES
from adarts_ext.nn.processes import batch_group
from adarts_ext.reference.skip_dropout import WORD

SKIP = PRIMITIVES.index("skip_connect")
STREAM = 0x1E3779B97F4A7C15  # an odd number of bits at random, which moves both halves of a number


def draw_dropout(rate: Tensor, strides: Sequence[Sequence[int]]) -> list[Tensor]:
    """Draw for each cell what the fused kernels take: (edges, 2) int64.

    Only skip connections at stride 1 drop values (P-DARTS, arXiv 1904.12760, section 3.3, and its
    code). Several processes whose generators are in one state, as they must be for all that they
    draw alike, drop different places of their parts of the batch.

    Args:
        rate: The share of the values that is dropped, a scalar; it may lie on a GPU.
        strides: Those of the edges of each cell.

    Example:
        >>> (dropout,) = draw_dropout(torch.tensor(0.25), [[2, 1]])
        >>> dropout[:, 1].tolist() == [0, WORD // 4]
        True
    """
    share = (rate * WORD).round().long()
    none = torch.zeros_like(share)
    edges = len(strides[0])
    drawn = torch.randint(-(2**63), 2**63 - 1, (len(strides), edges), device=rate.device)
    if (group := batch_group()) is not None:
        drawn += torch.full_like(drawn, STREAM) * group.rank()  # modulo 2^64
    return [
        torch.stack([row, torch.stack([share if one == 1 else none for one in of_cell])], 1)
        for row, of_cell in zip(drawn.unbind(), strides, strict=True)
    ]


def scaled(weights: Tensor, dropout: Tensor) -> Tensor:
    """Divide the weights of skip connections by the share of the values that they keep.

    Args:
        weights: Those of a cell's candidates, (edges, 8).
        dropout: (edges, 2), of :func:`draw_dropout`.
    """
    kept = (1 - dropout[:, 1:].double() / WORD).to(weights.dtype)
    skips = weights[:, SKIP : SKIP + 1] / kept
    return torch.cat([weights[:, :SKIP], skips, weights[:, SKIP + 1 :]], 1)
