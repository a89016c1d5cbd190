"""The layer library: learnable-connectivity graph convolution for any PyG graph.

Imports nothing that is specific to faces.
"""

from lgcn.nn.connectivity import (
    AdjacencyConnectivity,
    Connectivity,
    LearnableConnectivity,
    TopologyConnectivity,
    UniformConnectivity,
)
from lgcn.nn.conv import (
    DenseFactorAnalysisConv,
    DenseLGCNConv,
    FactorAnalysisConv,
    FactorAnalysisPrior,
    LGCNConv,
)
from lgcn.nn.inference import for_inference
from lgcn.nn.models import (
    LGCN,
    ConvStack,
    DenseLGCN,
    GaussianRefiner,
    GNNRefiner,
    LandmarkRefiner,
    Refiner,
    RefinerChain,
)

__all__ = [
    "LGCN",
    "AdjacencyConnectivity",
    "Connectivity",
    "ConvStack",
    "DenseFactorAnalysisConv",
    "DenseLGCN",
    "DenseLGCNConv",
    "FactorAnalysisConv",
    "FactorAnalysisPrior",
    "GNNRefiner",
    "GaussianRefiner",
    "LGCNConv",
    "LandmarkRefiner",
    "LearnableConnectivity",
    "Refiner",
    "RefinerChain",
    "TopologyConnectivity",
    "UniformConnectivity",
    "for_inference",
]
