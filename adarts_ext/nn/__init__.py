"""Networks for differentiable architecture search and the modules they are made of."""

import adarts_ext.nn.noise  # noqa: F401  (it registers its candidate)
from adarts_ext.nn.attention import ChannelAttention, EfficientChannelAttention
from adarts_ext.nn.candidates import EdgeCandidates
from adarts_ext.nn.cell import SearchCell
from adarts_ext.nn.derived import DerivedNetwork
from adarts_ext.nn.image_blocks import ImageBlocks
from adarts_ext.nn.mixed_op import PartialMixedOp
from adarts_ext.nn.network import SearchNetwork
from adarts_ext.nn.operation_weights import OperationWeights
from adarts_ext.nn.own_candidates import load_candidates, register_candidate

__all__ = [
    "ChannelAttention",
    "DerivedNetwork",
    "EdgeCandidates",
    "EfficientChannelAttention",
    "ImageBlocks",
    "OperationWeights",
    "PartialMixedOp",
    "SearchCell",
    "SearchNetwork",
    "load_candidates",
    "register_candidate",
]
