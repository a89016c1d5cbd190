"""What a ShapeRefiner is worth on the points of two published 68-point predictors, which give no confidences.

    python benchmarks/points_only.py --root DIR/300w --work DIR --peer dlib --weights FILE
    python benchmarks/points_only.py --root DIR/300w --work DIR --peer face_api --weights DIR/package/model

dlib's FILE, ``shape_predictor_68_face_landmarks.dat``, is in Debian's ``libdlib-data``, its reader in PyPI's
``dlib-bin``; face-api's weights are in the npm package ``@vladmandic/face-api``. Both predictors get boxes of dlib's
face detector; a face that it misses gets one from its annotation, by the median relation of the others. Predictions are
kept in ``--work``. Refiners are fitted to training faces, where all choices are made; LFPW test is only reported.

dlib's predictor was trained on 300-W. Its error on LFPW test is as low as on training faces (NME 2.8 and 3.3 %, medians
2.5 %), so it has probably seen the test faces too: the gain is then that on faces that the predictor knows and the
refiner does not.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment
from lgcn.adapters import combine_runs
from lgcn.datasets import IBUG300W
from lgcn.files import write_text
from lgcn.models import ShapeRefiner, refine
from lgcn.typing import KeyPoints

SPLITS = {"train": "train", "test": "lfpw/testset"}
RESTARTS = 3
TRUST = 0.035
"""How far restarts must move the points, on average and in units of their root-mean-square radius, to be followed half
of the way. Cross-validated on training faces with 70 % of the bias removed, 0.02, 0.03, 0.035 and 0.04 gain 13.6, 12.8,
12.5 and 12.2 %, and 6.2, 5.0, 4.5 and 4.3 % of the faces are worse."""

WORSE = 0.1
"""Points of NME by which a face counts as worse."""

Predictor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From an image uint8 [H, W, 3] and a box [4] to points [68, 2]."""

FACE_API_BOX = (1.2, 0.1)
"""Size and downward shift of its box over dlib's. Of a grid on every 16th training face, the raw NME is 5.73 % at best,
at (1.2, 0.15), and 5.90 % here."""

POINTS_BOX = (2.75, -0.14)
"""Side of the detector's box and downward shift of its centre from the mean of dlib's points, both in units of the
points' root-mean-square radius: medians of training faces."""


def dlib_predictor(weights: Path) -> Predictor:
    """Dlib's regression trees."""
    import dlib

    predictor = dlib.shape_predictor(str(weights))

    def predict(image: np.ndarray, box: np.ndarray) -> np.ndarray:
        shape = predictor(image, dlib.rectangle(*(round(float(side)) for side in box)))
        return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)

    return predict


def face_api_predictor(weights: Path) -> Predictor:
    """face-api's network of four dense blocks on 112 x 112 pixels, from its quantised weights."""
    manifest = json.loads((weights / "face_landmark_68_model-weights_manifest.json").read_text())[0]["weights"]
    data, start, tensors = (weights / "face_landmark_68_model.bin").read_bytes(), 0, {}
    for entry in manifest:
        size, scale = int(np.prod(entry["shape"])), entry["quantization"]
        values = np.frombuffer(data, np.uint8, size, start).astype(np.float32) * scale["scale"] + scale["min"]
        tensors[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
        start += size

    def convolve(x: Tensor, name: str, stride: int) -> Tensor:
        x = F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))  # "same", as TensorFlow pads
        if f"{name}/filters" in tensors:
            return F.conv2d(x, tensors[f"{name}/filters"].permute(3, 2, 0, 1), tensors[f"{name}/bias"], stride)
        depthwise = tensors[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        x = F.conv2d(x, depthwise, stride=stride, groups=len(depthwise))
        return F.conv2d(x, tensors[f"{name}/pointwise_filter"].permute(3, 2, 0, 1), tensors[f"{name}/bias"])

    def predict(image: np.ndarray, box: np.ndarray) -> np.ndarray:
        size, shift = FACE_API_BOX
        side = float(box[2] - box[0])
        centre = (box[:2] + box[2:]) / 2 + np.array([0.0, shift * side])
        half = size * side / 2
        height, width = image.shape[:2]
        steps = (torch.arange(224) + 0.5) / 112 - 1  # two samples a pixel and axis
        extent = zip(centre, (width, height), strict=True)
        x, y = ((float(middle) + half * steps + 0.5) / size * 2 - 1 for middle, size in extent)
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).float()
        pixels = torch.from_numpy(image).permute(2, 0, 1).float()
        crop = F.avg_pool2d(F.grid_sample(pixels[None], grid[None], align_corners=False), 2)
        x = (crop - torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)) / 255
        with torch.inference_mode():
            for block in range(4):
                first = total = F.relu(convolve(x, f"dense{block}/conv0", 2))
                for layer in (1, 2, 3):
                    added = convolve(F.relu(total) if layer > 1 else first, f"dense{block}/conv{layer}", 1)
                    total = total + added
                x = F.relu(total)
            x = F.avg_pool2d(x, 7, 2).flatten(1) @ tensors["fc/weights"] + tensors["fc/bias"]
        return (x.view(68, 2).numpy() - 0.5) * 2 * half + centre

    return predict


PEERS = {"dlib": dlib_predictor, "face_api": face_api_predictor}


def find_boxes(images: list[np.ndarray], shapes: Tensor) -> tuple[np.ndarray, int]:
    """Boxes [N, 4] of dlib's detector around annotated faces, and the number of faces that it missed."""
    import dlib

    detect = dlib.get_frontal_face_detector()
    low, high = shapes.amin(1).numpy(), shapes.amax(1).numpy()
    centre, size = (low + high) / 2, np.sqrt((high - low).prod(1))
    boxes = np.full((len(images), 4), np.nan)
    for n, image in enumerate(images):
        found = [np.array([box.left(), box.top(), box.right(), box.bottom()]) for box in detect(image, 0)]
        around = [box for box in found if (box[:2] <= centre[n]).all() and (centre[n] <= box[2:]).all()]
        if around:
            boxes[n] = max(around, key=lambda box: box[2] - box[0])
    missed = np.isnan(boxes[:, 0])
    side = np.nanmedian((boxes[:, 2] - boxes[:, 0]) / size)
    shift = np.nanmedian(((boxes[:, :2] + boxes[:, 2:]) / 2 - centre) / size[:, None], axis=0)
    middle, half = centre + shift * size[:, None], side * size[:, None] / 2
    boxes[missed] = np.concatenate([middle - half, middle + half], axis=1)[missed]
    return boxes, int(missed.sum())


def box_around(points: np.ndarray) -> np.ndarray:
    """Box [4] like the detector's, around predicted points [K, 2]."""
    side, shift = POINTS_BOX
    centre = points.mean(0)
    radius = np.sqrt(np.square(points - centre).sum(1).mean())
    middle, half = centre + np.array([0.0, shift * radius]), side * radius / 2
    return np.concatenate([middle - half, middle + half])


def predict_both(predict: Predictor, image: np.ndarray, box: np.ndarray, flip: list[int]) -> list[np.ndarray]:
    """Points [K, 2] in the image, and in its mirror image."""
    last = image.shape[1] - 1
    turned = predict(np.ascontiguousarray(image[:, ::-1]), np.array([last - box[2], box[1], last - box[0], box[3]]))
    return [predict(image, box), np.stack([last - turned[:, 0], turned[:, 1]], axis=1)[flip]]


def predict_all(predict: Predictor, root: Path, split: str, restarts: int, boxes_file: Path) -> dict[str, Tensor]:
    """``runs`` [N, 2 + 2 * restarts, K, 2] (the image and its mirror image, by turns), ``shapes``, ``eyes``."""
    dataset = IBUG300W(root, SPLITS[split])
    images = [np.ascontiguousarray(dataset[n].image[0].permute(1, 2, 0).numpy()) for n in range(len(dataset))]
    if not boxes_file.is_file():
        boxes, missed = find_boxes(images, dataset.pos)
        save_file({"boxes": torch.from_numpy(boxes), "missed": torch.tensor([missed])}, boxes_file)
    boxes = load_file(boxes_file)["boxes"].numpy()
    flip, random = list(dataset.scheme.flip_permutation), np.random.default_rng(0)
    runs = []
    for image, box in zip(images, boxes, strict=True):
        faces = predict_both(predict, image, box, flip)
        for _ in range(restarts):
            again = box_around(np.mean(faces[-2:], axis=0))
            middle, half = (again[:2] + again[2:]) / 2, (again[2] - again[0]) / 2
            middle = middle + 0.02 * 2 * half * random.normal(size=2)
            half *= np.exp(0.03 * random.normal())
            faces += predict_both(predict, image, np.concatenate([middle - half, middle + half]), flip)
        runs.append(np.stack(faces))
    return {
        "runs": torch.tensor(np.stack(runs), dtype=torch.float32),
        "shapes": dataset.pos,
        "eyes": dataset.normalizer,
    }


def restarted(runs: Tensor) -> KeyPoints:
    """The first run, moved towards the mean of the restarts: the farther they are, the larger a share of the way."""
    first, again = runs[:, 0], combine_runs(runs[:, 2:].transpose(0, 1), keep=1.0)
    move = again.pos - first
    radius = (first - first.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
    distance = move.norm(dim=-1).mean(1) / radius
    share = distance.square() / (distance.square() + TRUST**2)
    return KeyPoints(first + share[:, None, None] * move, again.confidence)


def mirrored(runs: Tensor) -> KeyPoints:
    """The mean of the predictions in the image and in its mirror image."""
    return KeyPoints(combine_runs(runs[:, :2].transpose(0, 1), keep=1.0).pos)


def nme(pos: Tensor, data: dict[str, Tensor]) -> Tensor:
    """NME [N] in per cent of the distance between the outer eye corners."""
    return 100 * (pos - data["shapes"]).norm(dim=-1).mean(1) / data["eyes"]


def row(label: str, before: Tensor, after: Tensor, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Means over faces, and how many are worse."""
    return {
        "variant": label,
        "nme_percent": after.mean().item(),
        "median_percent": after.median().item(),
        "gain_percent": 100 * (1 - after.mean() / before.mean()).item(),
        "worse_faces_percent": 100 * (after - before > WORSE).float().mean().item(),
        **(extra or {}),
    }


def compare(train: dict[str, Tensor], test: dict[str, Tensor]) -> list[dict[str, Any]]:
    """All variants on test faces, and on training faces that the refiner is not fitted to."""
    held = torch.arange(len(train["shapes"])) % 5 == 2
    parts = {
        "held out": (
            {k: v[~held] for k, v in train.items()},
            {k: v[held] for k, v in train.items()},
        ),
        "test": (train, test),
    }
    rows = []
    for part, (known, new) in parts.items():
        before = nme(new["runs"][:, 0], new)
        rows.append({"part": part, **row("the predictor", before, before)})
        views: dict[str, Callable[[Tensor], KeyPoints]] = {"one run": lambda runs: KeyPoints(runs[:, 0])}
        if known["runs"].shape[1] > 2:
            views |= {
                "two runs": mirrored,
                "restarts": lambda runs: KeyPoints(restarted(runs).pos),
                "restarts, spread as confidence": restarted,
            }
        for label, view in views.items():
            given, found = view(known["runs"]), view(new["runs"])
            if label in ("two runs", "restarts"):
                rows.append({"part": part, **row(f"{label}, combined", before, nme(found.pos, new))})
            started = time.perf_counter()
            refiner = ShapeRefiner(num_landmarks=68, use_confidence=given.confidence is not None)
            refiner.fit(known["shapes"], given.pos, given.confidence)
            seconds = time.perf_counter() - started
            refined = refine(found, refiner)
            after = nme(refined.pos, new)
            expected = 100 * refined.expected_error.mean(1) / new["eyes"]
            ranks = torch.stack([expected.argsort().argsort(), after.argsort().argsort()]).double()
            extra = {
                "fit_s": seconds,
                "expected_percent": expected.mean().item(),
                "rank_correlation": torch.corrcoef(ranks)[0, 1].item(),
                **refiner.chosen,
            }
            rows.append({"part": part, **row(f"{label}, refined", before, after, extra)})
    return rows


def main(argv: list[str] | None = None) -> int:
    """Predict, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--work", type=Path, required=True, help="folder of the predictions")
    parser.add_argument("--peer", choices=PEERS, required=True, help="the predictor")
    parser.add_argument("--weights", type=Path, required=True, help="its file or folder")
    parser.add_argument("--restarts", type=int, default=RESTARTS, help=f"of each face (default: {RESTARTS})")
    parser.add_argument("--output", type=Path, default=Path("points_only.json"), help="default: points_only.json")
    args = parser.parse_args(argv)
    data = {}
    for split in SPLITS:
        path = args.work / f"{args.peer}.{split}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            boxes_file = args.work / f"boxes.{split}.safetensors"
            predict = PEERS[args.peer](args.weights)
            save_file(predict_all(predict, args.root, split, args.restarts, boxes_file), path)
        data[split] = load_file(path)
    rows = compare(data["train"], data["test"])
    figures = {"environment": environment(), "peer": args.peer, "rows": rows}
    write_text(args.output, json.dumps(figures, indent=1) + "\n")
    for each in rows:
        print(
            f"{each['part']:10}{each['variant']:42}{each['nme_percent']:7.3f}{each['gain_percent']:+7.1f} %"
            f"{each['worse_faces_percent']:7.1f} % worse"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
