"""A network of your own in a detector: five marks on drawn cards, in 40 lines.

    python examples/own_network.py [--steps 300]

The network returns heatmaps and a feature map; decoding, graph and losses are the package's.
"""

import argparse

import torch
from torch import nn

from lgcn import LandmarkDetector
from lgcn.backbones import ModuleBackbone
from lgcn.losses import DetectionLoss
from lgcn.models import PRESETS
from lgcn.schemes import LandmarkScheme, define_scheme

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=300)
steps = parser.parse_args().steps
torch.manual_seed(0)


class Network(nn.Module):
    """Your network: images [B, 3, 64, 64] to heatmaps [B, 5, 16, 16] and features [B, 32, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 32, 7, stride=4, padding=3), nn.ReLU(), nn.Conv2d(32, 32, 7, padding=3), nn.ReLU()]
        self.features, self.head = nn.Sequential(*layers), nn.Conv2d(32, 5, 7, padding=3)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(images)
        return self.head(features), features


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cards [count, 3, 64, 64] and their marks [count, 5, 2]: four corners in their own colours, and the centre."""
    centre, size = 20 + 24 * torch.rand(count, 1, 2), 8 + 6 * torch.rand(count, 1, 2)
    marks = centre + size * torch.tensor([(-1, -1), (1, -1), (1, 1), (-1, 1), (0, 0)])
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    distance = (torch.stack([x, y], dim=-1) - marks[:, :, None, None]).square().sum(-1)
    colours = torch.tensor([(1.0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)])
    images = torch.einsum("bkhw,kc->bchw", torch.exp(-distance / 8), colours)
    return (images + 0.1 * torch.randn_like(images)).clamp(0, 1), marks


define_scheme(LandmarkScheme("card", ("top_left", "top_right", "bottom_right", "bottom_left", "centre")))
backbone = ModuleBackbone(Network(), num_landmarks=5, feature_channels=32, stride=4)
detector = LandmarkDetector(PRESETS["default"].with_options(scheme="card", input_size=(64, 64)), backbone)
loss = DetectionLoss("cross_entropy", initial_weight=10.0, refined_weight=10.0)
optimizer = torch.optim.Adam(detector.parameters(), lr=2e-3)
for _ in range(steps):
    images, marks = draw(16)
    terms = loss(detector(images), marks, None, detector.codec, detector.input_size)
    optimizer.zero_grad()
    terms["total"].backward()
    optimizer.step()

images, marks = draw(200)
with torch.no_grad():
    output = detector.eval()(images)
print(f"error of the network: {(output.initial - marks).norm(dim=-1).mean():.2f} px")
print(f"error after the graph: {(output.pos - marks).norm(dim=-1).mean():.2f} px")
