"""Channel gather in plain torch: the definition of :func:`adarts_ext.ops.gather_channels`."""

from __future__ import annotations

from torch import Tensor


def gather_channels(x: Tensor, index: Tensor, scale: Tensor | None = None) -> Tensor:
    """Take channels of a feature map, each multiplied by its scale.

    ``out[:, j] = scale[:, index[j]] * x[:, index[j]]`` (ADARTS, arXiv 2208.00791: the selected
    channels of ``M * h``).

    Args:
        x: Feature map ``(N, C, H, W)``, floating point.
        index: Channel indices ``(k,)``, int64; a channel may appear more than once.
        scale: One factor per image and channel, ``(N, C)``, or None for no scaling.

    Returns:
        The chosen channels ``(N, k, H, W)``.

    Example:
        >>> import torch
        >>> x = torch.arange(3.0).reshape(1, 3, 1, 1)
        >>> gather_channels(x, torch.tensor([2, 0]), torch.full((1, 3), 10.0)).flatten()
        tensor([20.,  0.])
    """
    chosen = x.index_select(1, index)
    if scale is None:
        return chosen
    return chosen * scale.index_select(1, index)[:, :, None, None]
