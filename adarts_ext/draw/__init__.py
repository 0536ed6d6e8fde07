"""Pictures of cells and of searches, as SVG or PNG."""

from adarts_ext.draw.cell import draw_genotype
from adarts_ext.draw.history import draw_history

__all__ = ["draw_genotype", "draw_history"]
