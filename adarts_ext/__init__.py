"""Fast, tested ADARTS: differentiable architecture search with channel attention.

``adarts_ext.ops`` are the compiled operators, ``adarts_ext.reference`` their definitions in plain
torch, ``adarts_ext.nn`` the networks, ``adarts_ext.genotype`` the cells that a search finds.
"""

from adarts_ext import genotype, nn, ops, reference

__version__ = "0.1.0"
__all__ = ["__version__", "genotype", "nn", "ops", "reference"]
