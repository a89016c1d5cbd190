"""Where the edge weights e_ij come from: modules that can be swapped in every layer and model."""

from lgcn.nn.connectivity.adjacency import AdjacencyConnectivity
from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.connectivity.learnable import LearnableConnectivity
from lgcn.nn.connectivity.topology import TopologyConnectivity
from lgcn.nn.connectivity.uniform import UniformConnectivity
from lgcn.registry import Registry

CONNECTIVITIES: Registry[type[Connectivity]] = Registry("connectivity")
CONNECTIVITIES.register("learnable", LearnableConnectivity)
CONNECTIVITIES.register("adjacency", AdjacencyConnectivity)
CONNECTIVITIES.register("topology", TopologyConnectivity)
CONNECTIVITIES.register("uniform", UniformConnectivity)

__all__ = [
    "CONNECTIVITIES",
    "AdjacencyConnectivity",
    "Connectivity",
    "LearnableConnectivity",
    "TopologyConnectivity",
    "UniformConnectivity",
]
