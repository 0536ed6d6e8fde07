"""Networks for differentiable architecture search and the modules they are made of."""

from adarts_ext.nn.attention import ChannelAttention, EfficientChannelAttention
from adarts_ext.nn.candidates import EdgeCandidates
from adarts_ext.nn.cell import SearchCell
from adarts_ext.nn.derived import DerivedNetwork
from adarts_ext.nn.image_blocks import ImageBlocks
from adarts_ext.nn.mixed_op import PartialMixedOp
from adarts_ext.nn.network import SearchNetwork
from adarts_ext.nn.operation_weights import OperationWeights

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
]
