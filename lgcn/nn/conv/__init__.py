"""Graph convolutions, for edge lists and for complete graphs."""

from lgcn.nn.conv.dense_lgcn_conv import DenseLGCNConv
from lgcn.nn.conv.lgcn_conv import LGCNConv

__all__ = ["DenseLGCNConv", "LGCNConv"]
