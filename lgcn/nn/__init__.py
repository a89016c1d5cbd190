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
from lgcn.nn.conv import DenseLGCNConv, LGCNConv
from lgcn.nn.models import LGCN, DenseLGCN, LandmarkRefiner

__all__ = [
    "LGCN",
    "AdjacencyConnectivity",
    "Connectivity",
    "DenseLGCN",
    "DenseLGCNConv",
    "LGCNConv",
    "LandmarkRefiner",
    "LearnableConnectivity",
    "TopologyConnectivity",
    "UniformConnectivity",
]
