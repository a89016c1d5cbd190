"""Predict the landmarks of a photo with the Python API, and draw them.

    python examples/predict_photo.py [PHOTO] [--output OVERLAY]

The default is examples/astronaut.jpg (NASA, public domain).
"""

import argparse
from pathlib import Path

from lgcn import LandmarkPredictor
from lgcn.visualization import save_overlay

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", nargs="?", type=Path, default=Path(__file__).with_name("astronaut.jpg"))
parser.add_argument("--model", default="lgcn-68", help="shipped name, folder or .ckpt file")
parser.add_argument("--output", type=Path, default=Path("overlay.png"), help="image to write")
args = parser.parse_args()

predictor = LandmarkPredictor.from_pretrained(args.model)
faces = predictor(args.photo, return_connectivity=True)
for number, face in enumerate(faces):
    scheme = predictor.detector.scheme
    moved = (face.landmarks - face.initial).norm(dim=1)
    sure = face.confidence.argmax()
    print(f"face {number} in the box {[round(value) for value in face.box.tolist()]}:")
    print(f"  the graph moved its landmarks by {moved.mean():.2f} pixels on average")
    print(f"  surest landmark: {scheme.names[sure]} at {face.landmarks[sure].tolist()}")

save_overlay(args.output, args.photo, faces, predictor.detector.scheme, initial=True, edges=40)
print(f"wrote {args.output}")
