"""The layer library: learnable-connectivity graph convolution for any PyG graph.

Imports nothing of the face side.
"""

from lgcn.nn.connectivity import (
    CONNECTIVITIES,
    AdjacencyConnectivity,
    Connectivity,
    LearnableConnectivity,
    TopologyConnectivity,
    UniformConnectivity,
)
from lgcn.nn.conv import DenseLGCNConv, LGCNConv
from lgcn.nn.models import LGCN, LandmarkRefiner

__all__ = [
    "CONNECTIVITIES",
    "LGCN",
    "AdjacencyConnectivity",
    "Connectivity",
    "DenseLGCNConv",
    "LGCNConv",
    "LandmarkRefiner",
    "LearnableConnectivity",
    "TopologyConnectivity",
    "UniformConnectivity",
]
