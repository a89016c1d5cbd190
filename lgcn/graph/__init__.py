"""Landmarks as PyG graphs, and the visual features of their nodes."""

from lgcn.graph.complete import complete_edge_index
from lgcn.graph.landmark_graph import landmark_graph
from lgcn.graph.sampling import SAMPLING_MODES, sample_features

__all__ = ["SAMPLING_MODES", "complete_edge_index", "landmark_graph", "sample_features"]
