"""Your own GNN refines the points of somebody else's model, and an explainer says which points it looks at.

    python examples/own_gnn.py [--steps 400]

Points only, no images: hands of 21 points in random poses, some of which a detector has put in a wrong place with a low
confidence. The same class is the refiner of a detector with `refiner: {name: gnn, gnn: {model: MODULE.Attention}}`.
"""

import argparse

import torch
from torch import Tensor, nn
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import TransformerConv

from lgcn.graph import complete_edge_index
from lgcn.nn import GNNRefiner
from lgcn.schemes import SCHEMES
from lgcn.typing import KeyPoints

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=400)
steps = parser.parse_args().steps
torch.manual_seed(0)
K = SCHEMES["hand21"].num_landmarks


class Attention(nn.Module):
    """Two layers of attention whose messages know how far apart two points are."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.edge_dim = 2  # asks for edge_attr, the displacement of each pair
        self.first = TransformerConv(in_channels, 16, heads=4, edge_dim=2)
        self.second = TransformerConv(64, out_channels, edge_dim=2)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index, edge_attr).relu(), edge_index, edge_attr)


def draw_hands(count: int) -> tuple[Tensor, KeyPoints]:
    """True points [count, 21, 2] in an image of 256 pixels, and detected ones."""
    finger = torch.arange(5).repeat_interleave(4)
    joint = torch.arange(1, 5).repeat(5)
    spread, bend = 0.25 + 0.05 * torch.randn(count, 1), 1 + 0.2 * torch.randn(count, 5)
    angle = spread * (finger - 2) - 1.57
    length = 18 * joint * bend[:, finger] + 30
    tips = torch.stack([length * angle.cos(), length * angle.sin()], dim=-1)
    truth = torch.cat([torch.zeros(count, 1, 2), tips], dim=1) + 128 + 15 * torch.randn(count, 1, 2)
    wrong = torch.rand(count, K) < 0.15
    noise = torch.where(wrong, 20.0, 1.0).unsqueeze(-1) * torch.randn_like(truth)
    return truth, KeyPoints(truth + noise, torch.where(wrong, 0.2, 0.9))


refiner = GNNRefiner(K, 0, (256, 256), model=Attention)
optimizer = torch.optim.Adam(refiner.parameters(), lr=3e-3)
for _ in range(steps):
    truth, found = draw_hands(32)
    loss = (refiner.refine(found).pos - truth).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

truth, found = draw_hands(500)
with torch.no_grad():
    refined = refiner.eval().refine(found).pos
print(f"error of the detected points: {(found.pos - truth).norm(dim=-1).mean():.2f} px")
print(f"error of the refined points: {(refined - truth).norm(dim=-1).mean():.2f} px")

names, tip = SCHEMES["hand21"].names, 8
edge_index = complete_edge_index(K)
x = refiner.node_features(found)[0].detach()
neighbor, receiver = edge_index
explainer = Explainer(
    refiner.model,
    GNNExplainer(epochs=50),
    explanation_type="model",
    edge_mask_type="object",
    model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
)
mask = explainer(x, edge_index, index=tip, edge_attr=x[receiver, :2] - x[neighbor, :2]).edge_mask
best = mask.masked_fill(receiver != tip, -1).topk(3).indices
print(f"{names[tip]} listens to: {', '.join(names[int(j)] for j in neighbor[best])}")
