"""Graph convolutions, for edge lists and for complete graphs."""

from lgcn.nn.conv.dense_factor_analysis_conv import DenseFactorAnalysisConv
from lgcn.nn.conv.dense_lgcn_conv import DenseLGCNConv
from lgcn.nn.conv.factor_analysis_conv import FactorAnalysisConv
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior
from lgcn.nn.conv.lgcn_conv import LGCNConv

__all__ = ["DenseFactorAnalysisConv", "DenseLGCNConv", "FactorAnalysisConv", "FactorAnalysisPrior", "LGCNConv"]
