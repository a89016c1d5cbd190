"""How well a calibrated detector tells covered landmarks from visible ones, and faces that it fits from failures.

    python benchmarks/reliability.py --root DIR/300w [--model lgcn-68] [--split lfpw/testset] [--output FILE.json]

Areas under the ROC curve, on the faces that `lgcn fit` holds out from training (with which `lgcn calibrate` has
calibrated) and on those of a split. A face fits if its NME is 8 % or less.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.loader import DataLoader

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment
from benchmarks.ranking import auroc
from lgcn.cli.memory import keep_freed_memory
from lgcn.covariance import squared_mahalanobis
from lgcn.datasets import IBUG300W
from lgcn.evaluation import crop_faces, degrade_faces
from lgcn.files import write_text
from lgcn.geometry import landmark_box
from lgcn.models import LandmarkDetector
from lgcn.nn import GaussianRefiner
from lgcn.schemes import normalizing_distance
from lgcn.training import LandmarkDataModule
from lgcn.training.calibration import FIT_NME

COVERING = ("patch20", "patch40", "texture40")
OTHERS = ("clean", "blur4", "dark10", "patch80", "texture60", "box40", "box80", "beside100")


@torch.inference_mode()
def measure(detector: LandmarkDetector, faces: Any, condition: str) -> dict[str, Tensor]:
    """What is known of each face, and how good it is."""
    refiner = detector.refiner
    assert isinstance(refiner, GaussianRefiner)
    parts: list[dict[str, Tensor]] = []
    for batch in DataLoader(degrade_faces(faces, condition), 32):
        given = detector.propose(batch.image)
        found = refiner.refine(given)
        posterior = refiner.posterior(given.features, given.pos, given.confidence)
        _, _, variance = refiner.align(given.features, given.pos, given.confidence)
        target = batch.y.view_as(found.pos)
        box = landmark_box(found.pos)
        size = (box[:, 2:] - box[:, :2]).prod(-1).sqrt()
        distance = squared_mahalanobis(posterior.residual, posterior.residual_covariance)
        covered = batch.covered if "covered" in batch else torch.zeros(target.shape[:2], dtype=torch.bool)
        nme = (found.pos - target).norm(dim=-1).mean(1) / normalizing_distance(target, detector.scheme, "inter_ocular")
        parts.append(
            {
                "nme": nme,
                "covered": covered.view(target.shape[:2]),
                "called": found.covered,
                "doubt": refiner.reliability.doubt(variance),
                "mean confidence": given.confidence.mean(1),
                "expected error over the size of the face": -found.expected_error.mean(1) / size,
                "residuals of landmarks": -distance.log1p().mean(1),
                "score": found.score,
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def summarize(found: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    """Areas, precision and recall of covered landmarks by condition; areas of fits against failures over all faces."""

    def joined(names: list[str], value: str) -> Tensor:
        return torch.cat([found[name][value] for name in names])

    covered = {}
    for name in COVERING:
        each = found[name]
        right = (each["called"] & each["covered"]).sum()
        covered[name] = {
            "auroc": auroc(each["doubt"], each["covered"]),
            "auroc_with_clean_faces": auroc(joined(["clean", name], "doubt"), joined(["clean", name], "covered")),
            "precision": (right / each["called"].sum()).item(),
            "recall": (right / each["covered"].sum()).item(),
        }
    groups = {"all": list(found), "no_box_off": [name for name in found if not name.startswith(("box", "beside"))]}
    fits = {}
    for group, names in groups.items():
        good = joined(names, "nme") <= FIT_NME
        scores = ("mean confidence", "expected error over the size of the face", "residuals of landmarks", "score")
        fits[group] = {"faces": len(good), "fits": int(good.sum())}
        fits[group] |= {score: auroc(joined(names, score), good) for score in scores}
    return {
        "covered": covered,
        "called_covered": {name: each["called"].double().mean().item() for name, each in found.items()},
        "fits": fits,
        "mean_score": {name: each["score"].mean().item() for name, each in found.items()},
    }


def parts(detector: LandmarkDetector, args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The faces of a split, and those that are held out from training."""
    protocol, size = detector.protocol.name, detector.input_size
    test = IBUG300W(args.root, split=args.split, protocol=protocol)
    crop_faces(test, detector)
    yield args.split, test
    data = LandmarkDataModule(args.root, scheme=detector.scheme.name, input_size=size, protocol=protocol)
    data.setup()
    yield "held out", data.val_faces


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lgcn-68")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="lfpw/testset")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    keep_freed_memory()  # as the commands do
    detector = LandmarkDetector.from_pretrained(args.model)
    results = {}
    for part, faces in parts(detector, args):
        results[part] = summarize({name: measure(detector, faces, name) for name in (*COVERING, *OTHERS)})
        print(part, json.dumps(results[part], indent=1), flush=True)
    if args.output is not None:
        text = {"model": args.model, "fit_nme": FIT_NME, "environment": environment(), "results": results}
        write_text(args.output, json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
