"""Landmarks in photos that are turned in the image plane, the box of each face given.

    python benchmarks/turned_faces.py --root DIR/300w [--model lgcn-68] [--split lfpw/testset] [--output FILE.json]

Whole photos are turned about their centre, and predicted with and without ``turned`` (quarter turns of boxes whose
landmarks do not fit). NME in per cent of the distance between the outer eye corners; a failure has 8 % or more.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment
from lgcn.datasets import IBUG300W
from lgcn.files import write_text
from lgcn.geometry import landmark_box
from lgcn.metrics import landmark_errors
from lgcn.predict import LandmarkPredictor
from lgcn.schemes import normalizing_distance
from lgcn.training.calibration import FIT_NME

ANGLES = (0, 30, 45, 60, 90, 135, 180, 270)


def turn(image: Tensor, points: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """A photo uint8 [3, H, W] and points [K, 2] in it, turned counter-clockwise; the photo grows to hold all of it."""
    before = to_pil_image(image)
    after = before.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    angle = math.radians(degrees)
    matrix = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centres = ((torch.tensor(each.size) - 1) / 2 for each in (before, after))
    old, new = centres
    return pil_to_tensor(after), (points - old) @ matrix.T + new


def measure(predictor: LandmarkPredictor, faces: IBUG300W, degrees: float) -> dict[str, Any]:
    """NME and failures with and without quarter turns."""
    turned = [turn(faces.read_image(i), faces.pos[i], degrees) for i in range(len(faces))]
    target = torch.stack([points for _, points in turned])
    row: dict[str, Any] = {"degrees": degrees, "faces": len(turned)}
    for name, quarters in (("as given", False), ("turned", True)):
        predictor.turned = quarters
        found = predictor([image for image, _ in turned], [landmark_box(points)[None] for _, points in turned])
        distance = normalizing_distance(target, predictor.detector.scheme, "inter_ocular")
        nme = landmark_errors(torch.stack([face.landmarks for (face,) in found]), target, distance).mean(1)
        row[name] = {"nme_percent": 100 * nme.mean().item(), "failures": int((nme > FIT_NME).sum())}
    return row


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lgcn-68")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="lfpw/testset")
    parser.add_argument("--angles", type=float, nargs="+", default=ANGLES)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    predictor = LandmarkPredictor.from_pretrained(args.model)
    faces = IBUG300W(args.root, split=args.split, protocol=predictor.detector.protocol.name)
    rows = []
    for degrees in args.angles:
        rows.append(measure(predictor, faces, degrees))
        print(json.dumps(rows[-1]), flush=True)
    if args.output is not None:
        text = {"model": args.model, "split": args.split, "environment": environment(), "rows": rows}
        write_text(args.output, json.dumps(text, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
