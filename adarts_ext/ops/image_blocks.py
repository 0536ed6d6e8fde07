"""The memory layout of the fused search cell; laying out is plain torch, which copies well."""

from __future__ import annotations

from adarts_ext.reference.image_blocks import LANES, from_image_blocks, to_image_blocks

__all__ = ["LANES", "from_image_blocks", "to_image_blocks"]
