"""Deriving a genotype by what the operations of a trained supernet are worth to its loss."""

from typing import Any

from adarts_ext.derivation.measure import Measured, measure
from adarts_ext.derivation.perturbation import Perturbation
from adarts_ext.derivation.strength import exact_strengths, operation_strengths
from adarts_ext.derivation.tuning import tuning_step

__all__ = [
    "Measured",
    "Perturbation",
    "derive_run",
    "exact_strengths",
    "measure",
    "operation_strengths",
    "tuning_step",
]


def __getattr__(name: str) -> Any:
    """Import the derivation of a run when it is asked for: unlike the rest it needs the extra."""
    if name == "derive_run":
        from adarts_ext.derivation.run import derive_run

        return derive_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
