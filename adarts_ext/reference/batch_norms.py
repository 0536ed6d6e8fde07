"""BatchNorm without scale and shift, as the definitions of the fused operators use it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class BatchNorms:
    """Normalises one tensor after another, by given statistics or by the batch's.

    Args:
        given: Statistics ``(norms, 3, C)``: mean, 1 / sqrt(variance + eps), unbiased variance; or
            None for those of the tensors themselves.
        eps: Added to the variance.

    Example:
        >>> norms = BatchNorms(None, eps=1e-5)
        >>> norms(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)).flatten()
        tensor([-1.0000,  1.0000])
        >>> norms.statistics()[0].flatten()
        tensor([2.0000, 1.0000, 2.0000])
    """

    def __init__(self, given: Tensor | None, eps: float) -> None:
        self.given = given
        self.eps = eps
        self.used = 0
        self.batch: list[Tensor] = []

    def __call__(self, u: Tensor) -> Tensor:
        """Normalise ``u`` (N, C, H, W) by the next statistics."""
        if self.given is None:
            self.batch.append(_statistics(u.detach(), self.eps))
            return functional.batch_norm(u, None, None, training=True, eps=self.eps)
        mean, rstd, _ = self.given[self.used][:, :, None, None]
        self.used += 1
        return ((u - mean) * rstd).to(u.dtype)

    def statistics(self) -> Tensor:
        """Return the batch's statistics ``(norms, 3, C)``, or no elements where some were given."""
        return torch.stack(self.batch) if self.given is None else self.given.new_empty(0)


def _statistics(u: Tensor, eps: float) -> Tensor:
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    variance, mean = torch.var_mean(u.to(dtype), (0, 2, 3), correction=0)
    count = u.numel() // u.size(1)
    return torch.stack([mean, (variance + eps).rsqrt(), variance * count / max(count - 1, 1)])
