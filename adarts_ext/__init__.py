"""Fast, tested ADARTS: differentiable architecture search with channel attention.

``adarts_ext.ops`` are the compiled operators, ``adarts_ext.reference`` their definitions in plain
torch, ``adarts_ext.nn`` the networks, ``adarts_ext.genotype`` the cells that a search finds;
``adarts_ext.accelerate`` puts the kernels into existing DARTS-family code.
"""

from adarts_ext import genotype, nn, ops, reference
from adarts_ext.compat import accelerate, acceleration_report, restore
from adarts_ext.cuda_graph import graphed

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "accelerate",
    "acceleration_report",
    "genotype",
    "graphed",
    "nn",
    "ops",
    "reference",
    "restore",
]
