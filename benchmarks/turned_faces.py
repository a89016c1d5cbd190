"""Landmarks in photos that are turned in the image plane.

    python benchmarks/turned_faces.py --root DIR/300w [--model lgcn-68] [--split lfpw/testset] [--output FILE.json]
    python benchmarks/turned_faces.py --root DIR/300w --detect --every 4

Whole photos are turned about their centre, and predicted with and without ``turned``, which tries other orientations.
The box of each face is given, or with --detect it has to be found. NME in per cent of the distance between the outer
eye corners; a failure has 8 % or more, or was not found.
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment
from lgcn.cli.memory import keep_freed_memory
from lgcn.datasets import IBUG300W
from lgcn.files import write_text
from lgcn.geometry import landmark_box
from lgcn.metrics import landmark_errors
from lgcn.predict import Face, LandmarkPredictor, NoFaceWarning
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


def measure(predictor: LandmarkPredictor, photos: Sequence[tuple[Tensor, Tensor]], detect: bool) -> dict[str, Any]:
    """NME and failures with and without other orientations; without NME if faces are detected."""
    row: dict[str, Any] = {}
    for name, others in (("as given", False), ("turned", True)):
        predictor.turned = others
        boxes = None if detect else [landmark_box(points)[None] for _, points in photos]
        found = predictor([image for image, _ in photos], boxes)
        errors = torch.stack(
            [error(predictor, faces, points) for faces, (_, points) in zip(found, photos, strict=True)]
        )
        row[name] = {"failures": int((errors > FIT_NME).sum())}
        if not detect:
            row[name]["nme_percent"] = 100 * errors.mean().item()
    return row


def error(predictor: LandmarkPredictor, faces: Sequence[Face], target: Tensor) -> Tensor:
    """NME of the face that is nearest to the target [K, 2]; infinite without a face."""
    if not faces:
        return torch.tensor(math.inf)
    found = torch.stack([face.landmarks for face in faces])
    targets = target.expand_as(found)
    return landmark_errors(found, targets, normalizing_distance(targets, predictor.detector.scheme)).mean(1).min()


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lgcn-68")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="lfpw/testset")
    parser.add_argument("--angles", type=float, nargs="+", default=ANGLES)
    parser.add_argument("--detect", action="store_true", help="detect the faces: their boxes are not given")
    parser.add_argument("--every", type=int, default=1, help="take every N-th photo (default: 1)")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    keep_freed_memory()  # as the commands do
    predictor = LandmarkPredictor.from_pretrained(args.model)
    faces = IBUG300W(args.root, split=args.split, protocol=predictor.detector.protocol.name)
    warnings.simplefilter("ignore", NoFaceWarning)
    rows = []
    for degrees in args.angles:
        photos = [turn(faces.read_image(i), faces.pos[i], degrees) for i in range(0, len(faces), args.every)]
        rows.append({"degrees": degrees, "faces": len(photos), **measure(predictor, photos, args.detect)})
        print(json.dumps(rows[-1]), flush=True)
    if args.output is not None:
        text = {
            "model": args.model,
            "split": args.split,
            "detect": args.detect,
            "environment": environment(),
            "rows": rows,
        }
        write_text(args.output, json.dumps(text, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
