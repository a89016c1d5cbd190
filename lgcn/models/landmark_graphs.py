"""Landmarks that a detector starts from as PyG graphs, with the node features and edge weights of its refiner."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from lgcn.graph import landmark_graph, sample_features
from lgcn.nn import LandmarkRefiner, Refiner, RefinerChain
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.typing import KeyPoints, Size


def build_landmark_graphs(
    keypoints: KeyPoints, refiner: nn.Module | None, input_size: Size, y: Tensor | None = None
) -> Batch:
    """Build the graphs of :meth:`lgcn.models.LandmarkDetector.landmark_graphs`.

    Args:
        keypoints: initial landmarks with confidences and a feature map.
        refiner: whose node features and edge weights are taken; of a chain, its first.
        input_size: (H, W) of the network input.
        y: [B, K, 2], true landmarks in pixels of the input.
    """
    while isinstance(refiner, RefinerChain):
        refiner = refiner.refiners[0]
    pos, confidence, features = (cast(Tensor, each) for each in (keypoints.pos, keypoints[1], keypoints.features))
    edge_weight, connectivity = None, getattr(refiner, "connectivity", None)
    with autocast_disabled(pos.device.type):
        if isinstance(refiner, LandmarkRefiner):
            x, _ = refiner.node_features(features, pos, confidence)
            edge_weight = refiner.steps(features, pos, confidence)[0][1]
            connectivity = refiner.lgcn.connectivity
        elif refiner is not None and hasattr(refiner, "node_features"):
            x = cast(Any, refiner).node_features(keypoints)
        else:
            height, width = input_size
            fraction = (pos + 0.5) / pos.new_tensor([width, height])
            x = torch.cat([fraction, sample_features(features, pos, input_size)], dim=-1)
        if edge_weight is None and isinstance(refiner, Refiner):
            edge_weight = refiner.refine(keypoints, return_connectivity=True).connectivity
    self_loops = getattr(connectivity, "self_loops", "none") != "none"
    return landmark_graph(pos, confidence, x, y, self_loops, edge_weight)
