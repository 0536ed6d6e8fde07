"""Search strategies of the DARTS family: what each does beside training weights and alphas."""

from adarts_ext.strategies.beta_darts import BetaDarts
from adarts_ext.strategies.choice import STRATEGIES, make_strategy
from adarts_ext.strategies.darts_minus import DartsMinus
from adarts_ext.strategies.drnas import DrNas, DrNasKl
from adarts_ext.strategies.fair_darts import FairDarts
from adarts_ext.strategies.gdas import Gdas
from adarts_ext.strategies.lambda_darts import LambdaDarts
from adarts_ext.strategies.oles import Oles
from adarts_ext.strategies.p_darts import PDarts
from adarts_ext.strategies.sdarts_adv import SdartsAdv
from adarts_ext.strategies.sdarts_rs import SdartsRs
from adarts_ext.strategies.stage import Stage
from adarts_ext.strategies.strategy import Strategy

__all__ = [
    "STRATEGIES",
    "BetaDarts",
    "DartsMinus",
    "DrNas",
    "DrNasKl",
    "FairDarts",
    "Gdas",
    "LambdaDarts",
    "Oles",
    "PDarts",
    "SdartsAdv",
    "SdartsRs",
    "Stage",
    "Strategy",
    "make_strategy",
]
