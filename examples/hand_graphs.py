"""Landmark graphs that are no faces: from an annotated folder to a PyG dataset and a plain PyG training loop.

    python examples/hand_graphs.py [--images 60] [--epochs 40]

Draws hands of 21 points (the shipped scheme "hand21"), writes them as images with .pts files, and lets an untrained
detector turn each into a graph. A GCN then learns from the graphs which finger a node belongs to.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCN

from lgcn import create_detector
from lgcn.datasets import LandmarkGraphs, PtsFolder, write_pts
from lgcn.schemes import SCHEMES

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--images", type=int, default=60)
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()
torch.manual_seed(0)
random = np.random.default_rng(0)
hand = SCHEMES["hand21"]


def draw(path: Path) -> None:
    """A hand of lines on a black image, and its points."""
    finger, joint = np.arange(5).repeat(4), np.tile(np.arange(1, 5), 5)
    angle = random.normal(0.3, 0.05) * (finger - 2) - np.pi / 2
    length = 9 * joint * random.normal(1, 0.1, 5)[finger] + 15
    tips = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)
    points = np.concatenate([np.zeros((1, 2)), tips]) + random.normal((64, 90), 4, 2)
    image = Image.new("RGB", (128, 128))
    for contour in hand.contours:
        ImageDraw.Draw(image).line([tuple(points[k]) for k in contour.indices], fill=(220, 180, 160), width=5)
    image.save(path)
    write_pts(path.with_suffix(".pts"), torch.from_numpy(points + 1))  # .pts files count from 1


with TemporaryDirectory() as folder:
    for number in range(args.images):
        draw(Path(folder) / f"{number:03}.png")
    options = {"backbone": "test_efficientnet", "input_size": (64, 64), "refiner": {"name": "none"}}
    detector = create_detector("default", scheme="hand21", **options)
    graphs = LandmarkGraphs(Path(folder) / "graphs", PtsFolder(folder, scheme="hand21"), detector)
    print(f"{len(graphs)} graphs, the first: {graphs[0]}")

# Nodes of the annotated hand instead of the untrained detector's; classes 0 (wrist) to 5 (little finger).
finger = torch.tensor([0, *torch.arange(1, 6).repeat_interleave(4).tolist()])
near = list(graphs)
for graph in near:
    j, i = graph.edge_index
    closest = (graph.y[i] - graph.y[j]).norm(dim=1) < 12  # input pixels: neighbours along a finger
    graph.edge_index, graph.x = graph.edge_index[:, closest], (graph.y - graph.y.mean(0)) / 20
    graph.finger = finger
model = GCN(2, 32, 2, 6)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(args.epochs):
    for batch in DataLoader(near[len(near) // 5 :], batch_size=8, shuffle=True):
        loss = torch.nn.functional.cross_entropy(model(batch.x, batch.edge_index), batch.finger)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

(held_out,) = DataLoader(near[: len(near) // 5], batch_size=len(near))
with torch.no_grad():
    correct = model(held_out.x, held_out.edge_index).argmax(dim=1) == held_out.finger
print(f"finger named correctly: {100 * correct.float().mean():.0f} %")
