"""The compiled operators of ADARTS, differentiable, in place of the plain torch sequences.

Each has its definition in plain torch under the same name in :mod:`adarts_ext.reference`. On a
device without compiled kernels the definition itself runs.
"""

from adarts_ext.ops import search_cell_shapes  # noqa: F401  registers
from adarts_ext.ops.channel_attention import channel_attention
from adarts_ext.ops.gather_channels import gather_channels
from adarts_ext.ops.image_blocks import from_image_blocks, to_image_blocks
from adarts_ext.ops.mixed_sum import mixed_sum
from adarts_ext.ops.normalized_mixed_sum import NormalizedMixedSum, normalized_mixed_sum
from adarts_ext.ops.preprocess_cell import preprocess_cell
from adarts_ext.ops.processes import SharedBatch
from adarts_ext.ops.scatter_channels import scatter_channels
from adarts_ext.ops.search_cell import CellLayout, CellOutput, search_cell
from adarts_ext.ops.select_channels import select_channels

__all__ = [
    "CellLayout",
    "CellOutput",
    "NormalizedMixedSum",
    "SharedBatch",
    "channel_attention",
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
