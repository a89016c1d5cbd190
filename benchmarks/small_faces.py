"""Small faces in large photos: how many are found, with the defaults and with more of the image's pixels searched.

    python benchmarks/small_faces.py --root DIR/300w [--model lgcn-68] [--size 100] [--output FILE.json]

Two photos at a time are shrunk until their faces have --size pixels, and pasted into a picture without a face, enlarged
to 12 megapixels. A face is found if its landmarks have an NME below 8 % of the distance between the outer eye corners.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment
from benchmarks.turned_faces import error
from lgcn.cli.memory import keep_freed_memory
from lgcn.datasets import IBUG300W
from lgcn.files import write_text
from lgcn.predict import CascadeFaceDetector, LandmarkPredictor, NoFaceWarning
from lgcn.training.calibration import FIT_NME

SETTINGS: dict[str, dict[str, float]] = {"defaults": {}, "group photo": {"max_side": 3000, "min_face": 0.02}}
BACKGROUNDS = ("coffee", "chelsea", "rocket")
CANVAS = (4000, 3000)
CORNERS = ((900, 700), (2800, 1800))


def scenes(faces: IBUG300W, numbers: Sequence[int], size: int) -> Iterator[tuple[Image.Image, list[Tensor]]]:
    """Pictures with two faces each, and the landmarks [K, 2] of both."""
    for scene, start in enumerate(range(0, len(numbers) - 1, 2)):
        background: np.ndarray[Any, Any] = getattr(data, BACKGROUNDS[scene % len(BACKGROUNDS)])()
        canvas = Image.fromarray(background).resize(CANVAS, Image.Resampling.BICUBIC)
        points = []
        for number, corner in zip(numbers[start : start + 2], CORNERS, strict=True):
            photo, pos = to_pil_image(faces.read_image(number)), faces.pos[number]
            zoom = size / float((pos.amax(0) - pos.amin(0)).max())
            shrunk = photo.resize((round(photo.width * zoom), round(photo.height * zoom)), Image.Resampling.LANCZOS)
            canvas.paste(shrunk, corner)
            points.append((pos + 0.5) * zoom - 0.5 + torch.tensor(corner))
        yield canvas, points


def measure(predictor: LandmarkPredictor, pictures: Sequence[tuple[Image.Image, list[Tensor]]]) -> dict[str, Any]:
    """Faces found, and faces and seconds a picture."""
    found = total = faces = 0
    start = time.perf_counter()
    for picture, points in pictures:
        predicted = predictor(picture)
        faces += len(predicted)
        found += sum(float(error(predictor, predicted, target)) < FIT_NME for target in points)
        total += len(points)
    seconds = (time.perf_counter() - start) / len(pictures)
    return {"faces": total, "found": found, "found_and_false": faces, "seconds_per_picture": round(seconds, 2)}


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lgcn-68")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="lfpw/testset")
    parser.add_argument("--size", type=int, default=100, help="longer side of a face in pixels (default: 100)")
    parser.add_argument("--every", type=int, default=7, help="take every N-th photo (default: 7)")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    keep_freed_memory()  # as the commands do
    warnings.simplefilter("ignore", NoFaceWarning)
    rows = []
    for name, options in SETTINGS.items():
        detector = CascadeFaceDetector(**options)  # type: ignore[arg-type]
        predictor = LandmarkPredictor.from_pretrained(args.model, face_detector=detector)
        faces = IBUG300W(args.root, split=args.split, protocol=predictor.detector.protocol.name)
        pictures = list(scenes(faces, range(0, len(faces), args.every), args.size))
        rows.append({"setting": name, **options, **measure(predictor, pictures)})
        print(json.dumps(rows[-1]), flush=True)
    if args.output is not None:
        text = {"model": args.model, "split": args.split, "size": args.size, "environment": environment(), "rows": rows}
        write_text(args.output, json.dumps(text, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
