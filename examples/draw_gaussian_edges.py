"""Draw the edges of a Gaussian refiner on a face, seen and partly covered: where a landmark gets its position from.

    python examples/draw_gaussian_edges.py [--model lgcn-68] [--output gaussian_edges.png]

Edges are E = S (S + R)^-1: types enter by the covariance S of shapes, confidences by the noise R of this image. The
photo is examples/astronaut.jpg (NASA, public domain).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lgcn import LandmarkPredictor
from lgcn.visualization import draw_connectivity

PHOTO = Path(__file__).with_name("astronaut.jpg")
PATCH = (196, 131, 256, 186)  # mouth and chin: x0, y0, x1, y1 in pixels of the photo
LANDMARKS = ("chin", "nose_tip", "left_eye_outer", 48)  # 48: a corner of the mouth

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="lgcn-68", help="a detector with refiner.name: gaussian (default: lgcn-68)")
parser.add_argument("--landmarks", nargs="+", default=LANDMARKS, help="names or numbers")
parser.add_argument("--output", type=Path, default=Path("gaussian_edges.png"), help="image to write")
args = parser.parse_args()

photo = np.array(Image.open(PHOTO).convert("RGB"))
covered = photo.copy()
x0, y0, x1, y1 = PATCH
covered[y0:y1, x0:x1] = 127

predictor = LandmarkPredictor.from_pretrained(args.model)
(seen,) = predictor(photo, return_connectivity=True)
# With the box of the uncovered face: the detector may miss a covered one.
(hidden,) = predictor(covered, boxes=seen.box, return_connectivity=True)
figure = draw_connectivity(
    [photo, covered],
    [seen, hidden],
    predictor.detector.scheme,
    args.landmarks,
    strongest=8,
    heat_map=False,
    titles=["seen", "covered"],
)
figure.savefig(args.output, dpi=150)

x, y = seen.landmarks.T
inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
print(f"{'':24}{'covered landmarks':>20}{'others':>10}")
for title, value in {
    "confidence": lambda face: face.confidence,
    "weight of own position": lambda face: face.connectivity.diagonal(),
    "standard deviation, px": lambda face: torch.linalg.det(face.covariance) ** 0.25,
}.items():
    before, after = value(seen), value(hidden)
    cells = [f"{before[part].mean():.2f} -> {after[part].mean():.2f}" for part in (inside, ~inside)]
    print(f"{title:24}{cells[0]:>20}{cells[1]:>16}")
