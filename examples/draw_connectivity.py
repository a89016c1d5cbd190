"""Cover parts of a face and compare the learned edge weights; the images can be given to `lgcn connectivity`.

    python examples/draw_connectivity.py [--output DIR]

Covers parts of the face of examples/astronaut.jpg (NASA, public domain), writes each image and the box of the face
to DIR, and prints how the confidences and the weights of the covered landmarks change.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lgcn import LandmarkPredictor

PHOTO = Path(__file__).with_name("astronaut.jpg")
# In pixels of the photo, (x0, y0, x1, y1), the last row and column not included.
PATCHES = {"mouth": (196, 131, 256, 186), "left_eye": (228, 92, 268, 118), "right_half": (176, 84, 226, 186)}
GREY = 127

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="lgcn-68-paper", help="with the graph of the paper")
parser.add_argument("--output", type=Path, default=Path("covered"), metavar="DIR", help="folder to write to")
args = parser.parse_args()

photo = np.array(Image.open(PHOTO).convert("RGB"))
predictor = LandmarkPredictor.from_pretrained(args.model)
(seen,) = predictor(photo, return_connectivity=True)
args.output.mkdir(parents=True, exist_ok=True)
box = ",".join(f"{value:.1f}" for value in seen.box.tolist())
boxes = [f"{PHOTO.name},{box}"]

print(f"{'covered':>12} {'landmarks':>9} {'confidence':>15} {'weight they get':>17} {'(equal)':>8} {'moved':>6}")
for name, (x0, y0, x1, y1) in PATCHES.items():
    covered_photo = photo.copy()
    covered_photo[y0:y1, x0:x1] = GREY
    Image.fromarray(covered_photo).save(args.output / f"{name}.png")
    boxes.append(f"{name}.png,{box}")
    # With the box of the uncovered face: the detector may miss a covered one.
    (hidden,) = predictor(covered_photo, boxes=seen.box, return_connectivity=True)
    x, y = seen.landmarks.T
    covered = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    confidence = [face.confidence[covered].mean() for face in (seen, hidden)]
    # The share of the weights of visible landmarks that falls on covered neighbours.
    got = [face.connectivity[~covered][:, covered].sum(dim=1).mean() for face in (seen, hidden)]
    equal = covered.sum() / (len(covered) - 1)
    moved = (hidden.connectivity - seen.connectivity).abs().sum(dim=1).mean() / 2
    print(
        f"{name:>12} {covered.sum():>9} {confidence[0]:>6.2f} -> {confidence[1]:.2f} "
        f"{got[0]:>8.1%} -> {got[1]:.1%} {equal:>8.1%} {moved:>6.1%}"
    )

(args.output / "boxes.csv").write_text("\n".join(boxes) + "\n")
print(f"wrote {len(PATCHES)} images and boxes.csv to {args.output}")
