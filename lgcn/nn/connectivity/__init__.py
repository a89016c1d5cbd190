"""Edge weights e_ij: interchangeable modules for every layer and model."""

from lgcn.nn.connectivity.adjacency import AdjacencyConnectivity
from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.connectivity.learnable import LearnableConnectivity
from lgcn.nn.connectivity.topology import TopologyConnectivity
from lgcn.nn.connectivity.uniform import UniformConnectivity

__all__ = [
    "AdjacencyConnectivity",
    "Connectivity",
    "LearnableConnectivity",
    "TopologyConnectivity",
    "UniformConnectivity",
]
