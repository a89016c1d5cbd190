"""Landmarks of a batch of images as PyG graphs."""

import torch
from torch import Tensor
from torch_geometric.data import Batch

from lgcn.checks import check_devices, check_shape
from lgcn.graph.complete import complete_edge_index


def landmark_graph(
    pos: Tensor,
    confidence: Tensor,
    x: Tensor | None = None,
    y: Tensor | None = None,
    self_loops: bool = False,
    edge_weight: Tensor | None = None,
) -> Batch:
    """Build one fully connected graph per image, batched block-diagonally.

    The detector uses the dense form of the same complete graph, without an edge list. Use this function for everything
    else in PyG: explainers, other layers, subgraphs.

    Args:
        pos: [B, K, 2], positions.
        confidence: [B, K], in [0, 1].
        x: [B, K, C], node features.
        y: [B, K, 2], target positions.
        self_loops: whether a landmark is its own neighbour.
        edge_weight: [B, K, K], row i holds the weights of node i's neighbours.

    Returns:
        A batch of B graphs with ``pos`` [N, 2], ``confidence`` [N], ``landmark_id`` [N],
        ``edge_index`` [2, E] and, if given, ``x`` [N, C], ``y`` [N, 2] and ``edge_weight`` [E]; N = B*K.
    """
    check_shape("pos", pos, "B K 2")
    images, landmarks, _ = pos.shape
    check_shape("confidence", confidence, "B K", B=images, K=landmarks)
    if x is not None:
        check_shape("x", x, "B K C", B=images, K=landmarks)
    if y is not None:
        check_shape("y", y, "B K 2", B=images, K=landmarks)
    if edge_weight is not None:
        check_shape("edge_weight", edge_weight, "B K L", B=images, K=landmarks, L=landmarks)
    check_devices(pos.device, "'pos'", confidence=confidence, x=x, y=y, edge_weight=edge_weight)
    edge_index = complete_edge_index(landmarks, self_loops, pos.device)
    first_node = landmarks * torch.arange(images + 1, device=pos.device)
    nodes = {"pos": pos, "confidence": confidence, "x": x, "y": y}
    given = {key: value.flatten(0, 1) for key, value in nodes.items() if value is not None}
    given["landmark_id"] = torch.arange(landmarks, device=pos.device).repeat(images)
    weights = {}
    if edge_weight is not None:
        neighbor, receiver = edge_index
        weights["edge_weight"] = edge_weight[:, receiver, neighbor].flatten()
    batch = Batch(
        **given,
        **weights,
        # All graphs have the same edges, relative to their first node.
        edge_index=(edge_index.unsqueeze(1) + first_node[:-1].unsqueeze(-1)).flatten(1),
        batch=torch.arange(images, device=pos.device).repeat_interleave(landmarks),
        ptr=first_node,
    )
    # Batch.from_data_list records the same, which Batch.get_example needs.
    counts = torch.arange(images + 1)
    batch._num_graphs = images
    of_edges = edge_index.shape[1] * counts
    batch._slice_dict = dict.fromkeys(given, landmarks * counts) | dict.fromkeys((*weights, "edge_index"), of_edges)
    nothing = torch.zeros(images, dtype=torch.long)
    batch._inc_dict = dict.fromkeys((*given, *weights), nothing) | {"edge_index": landmarks * counts[:-1]}
    return batch
