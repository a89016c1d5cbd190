"""Gaussian message passing on graphs that are not faces: marks on boxes, some of them missing.

    python examples/gaussian_graph.py

A box of random size and skew has eight marks. Each is measured with known noise, and a quarter is missing, so
graphs differ in their nodes. The prior is fitted in closed form to complete boxes.
"""

import torch
from torch_geometric.data import Batch, Data

from lgcn.nn import FactorAnalysisConv, FactorAnalysisPrior

MARKS = torch.tensor([(-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0)], dtype=torch.float)

torch.manual_seed(0)


def draw_boxes(count: int) -> torch.Tensor:
    """Marks [count, 8, 2] of boxes, metres."""
    size, skew = 1 + 0.3 * torch.randn(count, 1, 2), 0.3 * torch.randn(count, 1)
    boxes = MARKS * size
    skewed = torch.stack([boxes[..., 0] + skew * boxes[..., 1], boxes[..., 1]], dim=-1)
    return skewed + 0.02 * torch.randn_like(skewed)  # marks are placed by hand


prior = FactorAnalysisPrior(num_landmarks=len(MARKS), rank=3).fit(draw_boxes(500))
conv = FactorAnalysisConv(prior)

graphs = []
for box in draw_boxes(200):
    landmark_id = torch.randperm(len(MARKS))[:6]  # any subset of the types, in any order
    deviation = torch.where(torch.rand(6) < 0.3, 0.5, 0.05)
    pos = box[landmark_id] + deviation.unsqueeze(1) * torch.randn(6, 2)
    graphs.append(Data(pos=pos, variance=deviation.square(), landmark_id=landmark_id, y=box[landmark_id]))
batch = Batch.from_data_list(graphs)

with torch.no_grad():
    mean, covariance, residual, _ = conv.posterior(batch.pos, batch.variance, batch.landmark_id, batch.batch)
expected = covariance.diagonal(dim1=1, dim2=2).sum(1).mean().sqrt()
print(f"measured: {(batch.pos - batch.y).square().sum(1).mean().sqrt():.3f} m")
print(f"posterior: {(mean - batch.y).square().sum(1).mean().sqrt():.3f} m, expected {expected:.3f} m")

# A mask says what is missing of all eight marks; the dense form predicts it from the rest.
boxes = draw_boxes(200)
seen = torch.rand(200, len(MARKS)) < 0.75
with torch.no_grad():
    complete = conv.to_dense()(boxes, torch.full((200, len(MARKS)), 1e-4), mask=seen)
print(f"unseen marks from the rest: {(complete - boxes)[~seen].square().sum(1).mean().sqrt():.3f} m, ", end="")
print(f"from the mean: {(prior.mean - boxes)[~seen].square().sum(1).mean().sqrt().item():.3f} m")
