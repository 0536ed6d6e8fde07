"""Training a derived network from the start, and evaluating it."""

from adarts_ext.retrain.budget import derive_within
from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.evaluate import evaluate
from adarts_ext.retrain.loop import retrain
from adarts_ext.retrain.result import RetrainResult, SeedsResult
from adarts_ext.retrain.seeds import retrain_seeds

__all__ = [
    "RetrainConfig",
    "RetrainResult",
    "SeedsResult",
    "derive_within",
    "evaluate",
    "retrain",
    "retrain_seeds",
]
