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
from lgcn.nn.dense_lgcn_conv import DenseLGCNConv
from lgcn.nn.lgcn import LGCN
from lgcn.nn.lgcn_conv import LGCNConv
from lgcn.nn.refiner import LandmarkRefiner

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
