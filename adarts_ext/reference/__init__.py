"""The operators of :mod:`adarts_ext.ops` in plain torch: their definition and the tests' oracle.

The supernets in plain torch are in :mod:`adarts_ext.reference.networks`.
"""

from adarts_ext.reference.cell_layout import CellLayout, CellOutput
from adarts_ext.reference.channel_attention import channel_attention
from adarts_ext.reference.efficient_channel_attention import efficient_channel_attention
from adarts_ext.reference.gather_channels import gather_channels
from adarts_ext.reference.image_blocks import from_image_blocks, to_image_blocks
from adarts_ext.reference.mixed_sum import mixed_sum
from adarts_ext.reference.normalized_mixed_sum import NormalizedMixedSum, normalized_mixed_sum
from adarts_ext.reference.preprocess_cell import preprocess_cell
from adarts_ext.reference.scatter_channels import scatter_channels
from adarts_ext.reference.search_cell import search_cell
from adarts_ext.reference.select_channels import select_channels

__all__ = [
    "CellLayout",
    "CellOutput",
    "NormalizedMixedSum",
    "channel_attention",
    "efficient_channel_attention",
    "from_image_blocks",
    "gather_channels",
    "mixed_sum",
    "normalized_mixed_sum",
    "preprocess_cell",
    "scatter_channels",
    "search_cell",
    "select_channels",
    "to_image_blocks",
]
