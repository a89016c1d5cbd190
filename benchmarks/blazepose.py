"""What a ShapeRefiner is worth on covered points of BlazePose, a network of another domain, without any label.

    pip install ai-edge-litert
    pip download --no-deps mediapipe==0.10.21
    unzip -j mediapipe-*.whl 'mediapipe/modules/pose_*/*.tflite' -d weights
    python benchmarks/blazepose.py --weights weights --work DIR --train 300w/lfpw/trainset --test 300w/lfpw/testset

The folders hold images of persons; annotations in them are not read. What counts as true is the network's own
prediction in the whole image: nose, eyes, ears, corners of the mouth and shoulders, 13 points of its heatmaps. A patch
of noise or of one colour then covers 10 to 40 % of their box. The refiner is fitted to pairs of predictions, with and
without a patch, in training images. BlazePose's own regression, which sees the whole body, is reported beside it.

A patch turns, scales and moves all points at once. A ShapeRefiner does not see that, because it compares points with
each other alone; a GaussianRefiner whose noise and offset also depend on where in the crop they lie does. It moves the
visible points too, to where they are without the patch. Where these are to stay, a small network that learns which
points a patch covers says how much of its step each is moved. Both are trained for a few minutes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch_geometric.data import Data

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment
from lgcn.codecs import HeatmapCodec
from lgcn.files import write_text
from lgcn.geometry import crop_image
from lgcn.images import list_images, read_image
from lgcn.models import ShapeRefiner
from lgcn.nn import GaussianRefiner
from lgcn.transforms import FacePatch
from lgcn.typing import KeyPoints

LANDMARKS = 13
"""The first of its 33 points; elbows, hands and legs are outside most of the images."""

SIZE = 256
SURE = 0.4
"""Points with less confidence in the whole image are not counted as known."""

PATCHES = {"train": 8, "test": 3}

EPOCHS, BATCH, RATE, DECAY = 20, 64, 1e-3, 0.05
LIMIT = 2.5
"""Standard deviations beyond which an input of the trained refiner is not extrapolated."""

GATE_EPOCHS, GATE_RATE, GATE_WIDTH, GATE_DROPOUT = 40, 2e-3, 128, 0.3
VISIBLE_WEIGHT = 0.2
"""What a pixel that a visible point moves costs, where a pixel that a covered one is off costs 1. The smallest of 0.2,
0.35 and 0.5: with all three, the visible points of held-out images moved by less than half a pixel."""

HELD_OUT = 5
"""Every fifth training image is held out, to choose the settings above."""


class BlazePose:
    """Pose detector and the heatmaps of the full model, from the files of MediaPipe, on one image at a time."""

    def __init__(self, weights: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.detector = Interpreter(str(weights / "pose_detection.tflite"), num_threads=1)
        self.network = Interpreter(str(weights / "pose_landmark_full.tflite"), num_threads=1)
        for each in (self.detector, self.network):
            each.allocate_tensors()
        self.anchors = np.array(
            [
                ((x + 0.5) / cells, (y + 0.5) / cells)
                for cells, count in ((28, 2), (14, 2), (7, 6))
                for y in range(cells)
                for x in range(cells)
                for _ in range(count)
            ]
        )

    @staticmethod
    def _run(interpreter: Any, image: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
        """Outputs by shape, of an image [H, W, 3] in the network's range."""
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
        interpreter.invoke()
        return {tuple(out["shape"]): interpreter.get_tensor(out["index"]) for out in interpreter.get_output_details()}

    def crop(self, image: Tensor) -> tuple[Tensor, float]:
        """The upper body of the surest person, uint8 [3, 256, 256] and upright, and the score in [0, 1]."""
        height, width = image.shape[1:]
        half = max(height, width) / 2
        middle = torch.tensor([width / 2, height / 2])
        small, _ = crop_image(image, torch.cat([middle - half, middle + half]) - 0.5, (224, 224), 1.0)
        found = self._run(self.detector, small.permute(1, 2, 0).numpy() / 127.5 - 1)
        scores = found[1, 2254, 1][0, :, 0]
        best = scores.argmax()
        # Four key points: middle of the hips, extent of the body, middle of the shoulders, extent of the upper body.
        points = found[1, 2254, 12][0, best, 4:].reshape(4, 2) / 224 + self.anchors[best]
        centre, extent = torch.from_numpy(points[2:].astype(np.float32)) * 2 * half + (middle - half - 0.5)
        up = extent - centre
        side = up.norm()
        box = torch.cat([centre - side, centre + side])
        upright = -torch.rad2deg(torch.atan2(up[0], -up[1])).item()
        crop, _ = crop_image(image, box, (SIZE, SIZE), 1.0, rotation=upright)
        return crop, float(1 / (1 + np.exp(-scores[best])))

    def __call__(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps [13, 64, 64], logits, and points of the regression [13, 2], of a crop."""
        found = self._run(self.network, crop.permute(1, 2, 0).numpy() / 255)
        heatmaps = torch.from_numpy(found[1, 64, 64, 39][0, :, :, :LANDMARKS].copy()).permute(2, 0, 1)
        return heatmaps, torch.from_numpy(found[1, 195].reshape(39, 5)[:LANDMARKS, :2].copy())


def predict_all(network: BlazePose, folders: Sequence[Path], patches: int) -> dict[str, Tensor]:
    """Points in whole images and under patches.

    Returns:
        ``pos`` [N, 1 + patches, K, 2] and ``confidence`` [N, 1 + patches, K], the whole image first, ``regressed`` as
        ``pos``, and ``covered`` [N, 1 + patches, K].
    """
    codec = HeatmapCodec((SIZE, SIZE), (SIZE // 4, SIZE // 4), decode="dark")
    found: dict[str, list[Tensor]] = {"pos": [], "confidence": [], "regressed": [], "covered": []}
    for path in (each for folder in folders for each in list_images(folder).images):
        crop, score = network.crop(read_image(path))
        if score < 0.5:
            continue
        heatmaps, regressed = network(crop)
        whole = codec.decode(heatmaps[None])
        known = whole.confidence[0] > SURE
        if known.sum() < LANDMARKS // 2:
            continue
        rows = [(whole, regressed, torch.zeros(LANDMARKS, dtype=torch.bool))]
        for number in range(patches):
            patch = FacePatch(0.1, 0.4, seed=number)
            y = whole.pos[0].masked_fill(~known.unsqueeze(-1), torch.nan)
            data = patch(Data(image=crop[None], y=y, visibility=known.float(), image_id=path.name))
            heatmaps, regressed = network(data.image[0])
            rows.append((codec.decode(heatmaps[None]), regressed, data.covered))
        found["pos"].append(torch.cat([each.pos for each, *_ in rows]))
        found["confidence"].append(torch.cat([each.confidence for each, *_ in rows]))
        found["regressed"].append(torch.stack([row[1] for row in rows]))
        found["covered"].append(torch.stack([row[2] for row in rows]))
    return {name: torch.stack(each) for name, each in found.items()}


def pairs(data: dict[str, Tensor]) -> tuple[Tensor, KeyPoints, Tensor]:
    """Points of the whole images [N, K, 2], NaN where not sure, what was found under patches, and what they cover."""
    times = data["pos"].shape[1] - 1
    truth = data["pos"][:, 0].masked_fill((data["confidence"][:, 0] <= SURE).unsqueeze(-1), torch.nan)
    patched = KeyPoints(data["pos"][:, 1:].flatten(0, 1), data["confidence"][:, 1:].flatten(0, 1))
    return truth.repeat_interleave(times, 0), patched, data["covered"][:, 1:].flatten(0, 1)


def row(label: str, pos: Tensor, given: Tensor, truth: Tensor, covered: Tensor) -> dict[str, Any]:
    """Distances of ``pos`` in pixels of the 256 x 256 crop, over all covered points, and over all others."""
    distance, before = (pos - truth).norm(dim=-1), (given - truth).norm(dim=-1)
    seen = truth.isfinite().all(-1)
    under, other = covered & seen, ~covered & seen
    return {
        "points": label,
        "covered_px": distance[under].mean().item(),
        "covered_median_px": distance[under].median().item(),
        "nearer_percent": 100 * (1 - distance[under].mean() / before[under].mean()).item(),
        "others_px": distance[other].mean().item(),
        "others_moved_px": (pos - given).norm(dim=-1)[other].mean().item(),
        "num_covered": int(under.sum()),
    }


class PlacedRefiner(nn.Module):
    """A GaussianRefiner whose noise and offset depend on where all points lie in the crop, and on their confidences."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = 3 * LANDMARKS
        self.refiner = GaussianRefiner(LANDMARKS, inputs, (SIZE, SIZE), noise="full")
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))

    def fit(self, truth: Tensor, given: KeyPoints) -> "PlacedRefiner":
        """In closed form, then by the distance to ``truth`` [N, K, 2], NaN where it is not known."""
        known = truth.isfinite().all(-1)
        whole = known.all(-1)
        confidence = cast(Tensor, given.confidence)
        self.refiner.fit(truth[whole], given.pos[whole], confidence[whole])
        inputs = self.inputs(given)
        self.mean, self.deviation = inputs.mean(0), inputs.std(0).clamp_min(1e-3)
        optimizer = torch.optim.AdamW(self.parameters(), RATE, weight_decay=DECAY)
        steps = EPOCHS * (len(truth) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
        generator = torch.Generator().manual_seed(0)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(truth), generator=generator).split(BATCH)[: steps // EPOCHS]:
                found = self(KeyPoints(given.pos[batch], confidence[batch]))
                loss = (found - truth[batch])[known[batch]].norm(dim=-1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return self.eval()

    def inputs(self, given: KeyPoints) -> Tensor:
        """[N, 3 K], of all landmarks together."""
        return torch.cat([given.pos.flatten(1) / SIZE, cast(Tensor, given.confidence)], dim=1)

    def forward(self, given: KeyPoints) -> Tensor:
        """Refined points [N, K, 2]."""
        features = ((self.inputs(given) - self.mean) / self.deviation).clamp(-LIMIT, LIMIT)
        features = features.unsqueeze(1).expand(-1, LANDMARKS, -1)
        return self.refiner(features, given.pos, given.confidence)


class CoverageGate(nn.Module):
    """How much of a :class:`PlacedRefiner`'s step each point is moved: none of it where the point is visible."""

    def __init__(self, refiner: PlacedRefiner) -> None:
        super().__init__()
        self.refiner = refiner
        sizes = (6 * LANDMARKS, GATE_WIDTH, GATE_WIDTH)
        hidden = [
            layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU(), nn.Dropout(GATE_DROPOUT))
        ]
        self.network = nn.Sequential(*hidden, nn.Linear(GATE_WIDTH, LANDMARKS))

    def fit(self, truth: Tensor, given: KeyPoints, covered: Tensor) -> "CoverageGate":
        """By which points are ``covered`` [N, K], and by what moving them gains and costs."""
        known = truth.isfinite().all(-1)
        with torch.no_grad():
            step = self.refiner(given) - given.pos
        inputs = self.inputs(given, step)
        error = torch.where(known.unsqueeze(-1), given.pos - truth, 0.0)
        optimizer = torch.optim.AdamW(self.parameters(), GATE_RATE, weight_decay=DECAY)
        steps = GATE_EPOCHS * -(-len(truth) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, GATE_RATE, steps)
        generator = torch.Generator().manual_seed(1)
        self.train()
        self.refiner.requires_grad_(False)
        for _ in range(GATE_EPOCHS):
            for batch in torch.randperm(len(truth), generator=generator).split(BATCH):
                logits, under, counted = self.network(inputs[batch]), covered[batch], known[batch]
                moved = logits.sigmoid().unsqueeze(-1) * step[batch]
                # Smooth at 0, which the norm of a vector is not.
                off = ((error[batch] + moved).square().sum(-1) + 1e-6).sqrt()
                cost = torch.where(under, off, VISIBLE_WEIGHT * (moved.square().sum(-1) + 1e-6).sqrt())
                target = under[counted].float()
                loss = nn.functional.binary_cross_entropy_with_logits(logits[counted], target) + cost[counted].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return self.eval()

    def inputs(self, given: KeyPoints, step: Tensor) -> Tensor:
        """[N, 6 K], of all landmarks together; steps in units of 5 pixels."""
        scaled = (self.refiner.inputs(given) - self.refiner.mean) / self.refiner.deviation
        return torch.cat([scaled, step.flatten(1) / 5, step.norm(dim=-1) / 5], dim=1).clamp(-3, 3)

    def forward(self, given: KeyPoints) -> Tensor:
        """Points [N, K, 2], refined where they are covered."""
        step = self.refiner(given) - given.pos
        moved: Tensor = given.pos + self.network(self.inputs(given, step)).sigmoid().unsqueeze(-1) * step
        return moved


def compare(part: str, train: dict[str, Tensor], test: dict[str, Tensor]) -> list[dict[str, Any]]:
    """All rows, on images that the refiners are not fitted to."""
    shapes, predictions, hidden = pairs(train)
    shape_refiner = ShapeRefiner(num_landmarks=LANDMARKS, use_confidence=True)
    shape_refiner.fit(shapes, predictions.pos, predictions.confidence)
    torch.manual_seed(0)
    placed = PlacedRefiner().fit(shapes, predictions)
    gated = CoverageGate(placed).fit(shapes, predictions, hidden)
    truth, given, covered = pairs(test)
    with torch.no_grad():
        found, some = placed(given), gated(given)
    regressed = test["regressed"]
    # Relative to its own prediction in the whole image.
    own = truth + (regressed[:, 1:] - regressed[:, :1]).flatten(0, 1)
    points = {
        "heatmaps": given.pos,
        "heatmaps, shapes alone": shape_refiner.refine(given).pos,
        "heatmaps, places in the crop": found,
        "the same, covered points alone": some,
        "own regression": own,
    }
    return [{"part": part, **row(label, pos, given.pos, truth, covered)} for label, pos in points.items()]


def main(argv: list[str] | None = None) -> int:
    """Predict, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the two .tflite files")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="folders of images to fit the refiner to")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="folders of images to report")
    parser.add_argument("--work", type=Path, required=True, help="folder of the predictions")
    parser.add_argument("--output", type=Path, default=Path("blazepose.json"), help="default: blazepose.json")
    args = parser.parse_args(argv)
    data = {}
    for part, patches in PATCHES.items():
        path = args.work / f"blazepose.{part}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(predict_all(BlazePose(args.weights), getattr(args, part), patches), path)
        data[part] = load_file(path)
    held = torch.arange(len(data["train"]["pos"])) % HELD_OUT == 2
    known, new = ({name: each[chosen] for name, each in data["train"].items()} for chosen in (~held, held))
    rows = compare("held out", known, new) + compare("test", data["train"], data["test"])
    counts = {f"num_{part}": len(each["pos"]) for part, each in data.items()}
    write_text(args.output, json.dumps({"environment": environment(), **counts, "rows": rows}, indent=1) + "\n")
    print(counts)
    for each in rows:
        print(
            f"{each['part']:10}{each['points']:31}covered {each['covered_px']:6.2f} px "
            f"({each['nearer_percent']:+5.1f} % nearer), "
            f"others {each['others_px']:5.2f} px, moved by {each['others_moved_px']:.2f} px"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
