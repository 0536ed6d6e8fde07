"""The operators of :mod:`adarts_ext.ops` in plain torch: their definition and the tests' oracle."""

from adarts_ext.reference.channel_attention import channel_attention
from adarts_ext.reference.gather_channels import gather_channels
from adarts_ext.reference.mixed_sum import mixed_sum
from adarts_ext.reference.scatter_channels import scatter_channels
from adarts_ext.reference.select_channels import select_channels

__all__ = [
    "channel_attention",
    "gather_channels",
    "mixed_sum",
    "scatter_channels",
    "select_channels",
]
