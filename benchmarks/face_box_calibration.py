"""Position and size of the boxes of the face cascade relative to tight landmark boxes.

    python benchmarks/face_box_calibration.py --root DIR [--split train] [--every 1] > calibration.json

Prints JSON: medians and quartiles of shift and size in units of the cascade's square, over the faces of 300-W that it
detects, and how well the moved and scaled squares fit. The medians are the constants ``CENTRE_SHIFT`` and ``SIZE`` of
``lgcn.predict.CascadeFaceDetector``.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_iou
from tqdm import tqdm

from lgcn.datasets import IBUG300W
from lgcn.geometry import landmark_box
from lgcn.predict import CascadeFaceDetector


def quartiles(values: Tensor) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = values.quantile(values.new_tensor([0.25, 0.5, 0.75])).tolist()
    return {"median": round(median, 4), "quartiles": [round(low, 4), round(high, 4)]}


def longer_side_square(boxes: Tensor) -> Tensor:
    """Squares with the longer side of boxes [F, 4] around the same centres, as a crop uses them."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--split", default="train", help="split or folder (default: train)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th face (default: 1)")
    args = parser.parse_args()

    dataset = IBUG300W(args.root, split=args.split)
    detector = CascadeFaceDetector()
    pairs: list[tuple[Tensor, Tensor]] = []
    faces = elsewhere = 0
    for number in tqdm(range(0, len(dataset), args.every), file=sys.stderr):
        data = dataset[number]
        tight = landmark_box(data.y)
        squares = detector.find_squares(data.image[0])
        faces += 1
        # An overlap of about half of either box means this face, whatever the calibration will be.
        overlap = box_iou(squares, tight[None])[:, 0] if len(squares) else torch.zeros(0)
        hits = overlap > 0.35
        elsewhere += int((~hits).sum())
        if hits.any():
            pairs.append((squares[overlap.argmax()], tight))
    squares, tight = (torch.stack(each) for each in zip(*pairs, strict=True))

    side = squares[:, 2] - squares[:, 0]
    shift = ((tight[:, :2] + tight[:, 2:]) - (squares[:, :2] + squares[:, 2:])) / 2 / side[:, None]
    size = (tight[:, 2:] - tight[:, :2]) / side[:, None]
    measured = {"shift_x": shift[:, 0], "shift_y": shift[:, 1], "width": size[:, 0], "height": size[:, 1]}
    medians = {name: float(values.median()) for name, values in measured.items()}

    centre = (squares[:, :2] + squares[:, 2:]) / 2 + side[:, None] * torch.tensor(
        [medians["shift_x"], medians["shift_y"]]
    )
    half = side[:, None] * torch.tensor([medians["width"], medians["height"]]) / 2
    calibrated = torch.cat([centre - half, centre + half], dim=1)
    target = longer_side_square(tight)
    figures = {
        "faces": faces,
        "found": len(pairs),
        "found_elsewhere": elsewhere,
        **{name: quartiles(values) for name, values in measured.items()},
        "iou_of_crops": {
            "as found": quartiles(box_iou(squares, target).diagonal()),
            "calibrated": quartiles(box_iou(longer_side_square(calibrated), target).diagonal()),
        },
        "settings": str(detector),
        "split": args.split,
        "every": args.every,
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
