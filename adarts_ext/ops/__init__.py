"""The compiled operators of ADARTS, differentiable, in place of the plain torch sequences.

Each has its definition in plain torch under the same name in :mod:`adarts_ext.reference`. On a
device without compiled kernels the definition itself runs.
"""

from adarts_ext.ops.channel_attention import channel_attention
from adarts_ext.ops.gather_channels import gather_channels
from adarts_ext.ops.mixed_sum import mixed_sum
from adarts_ext.ops.scatter_channels import scatter_channels
from adarts_ext.ops.select_channels import select_channels

__all__ = [
    "channel_attention",
    "gather_channels",
    "mixed_sum",
    "scatter_channels",
    "select_channels",
]
