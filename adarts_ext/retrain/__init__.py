"""Training a derived network from the start, and evaluating it."""

from adarts_ext.retrain.config import RetrainConfig
from adarts_ext.retrain.evaluate import evaluate
from adarts_ext.retrain.seeds import retrain_seeds
from adarts_ext.retrain.train import retrain

__all__ = ["RetrainConfig", "evaluate", "retrain", "retrain_seeds"]
