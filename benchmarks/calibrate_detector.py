"""Calibrates the covariances of a detector on held-out training faces, and measures them on test faces.

    python benchmarks/calibrate_detector.py --root DIR/300w --model FOLDER --output FOLDER [--draws 1]

Both under the seven conditions of the ablation. Prints the share of the landmarks in their 90 % regions and the mean
error over the expected error, and saves the calibrated detector.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform

# The checkout that holds this script is what is measured, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation.degradations import CONDITIONS
from benchmarks.ablation.outputs import Extraction, crop_transform, faces_of
from lgcn.datasets import LandmarkDataset
from lgcn.models import LandmarkDetector
from lgcn.nn.models.covariance_calibration import mean_error
from lgcn.training import calibrate_refiner
from lgcn.training.samplers import SeededDataset, mix_seed


def batches(
    faces: LandmarkDataset, detector: LandmarkDetector, change: BaseTransform | None, draws: int, place: int
) -> Iterator[Batch]:
    """Crops of all faces under one condition, ``draws`` times."""
    for draw in range(draws):
        faces.transform = crop_transform(faces, detector, augmented=False, change=change)
        keys = [(index, mix_seed(0, place, draw, index)) for index in range(len(faces))]
        yield from DataLoader(SeededDataset(faces), batch_size=32, sampler=keys)


@torch.inference_mode()
def measure(detector: LandmarkDetector, crops: Iterator[Batch]) -> tuple[float, float, float]:
    """NME in per cent, coverage of the 90 % regions in per cent, mean error over its expectation."""
    errors, covered, expected, nme = [], [], [], []
    for batch in crops:
        output = detector(batch.image)
        assert output.covariance is not None
        error = output.pos - batch.y.view_as(output.pos)
        distance = (error * torch.linalg.solve(output.covariance, error)).sum(-1)
        covered.append(distance <= -2 * math.log(0.1))
        errors.append(error.norm(dim=-1))
        expected.append(_factor(detector) * mean_error(output.covariance))
        scale = batch.affine[:, :, :2].det().abs().sqrt()
        nme.append(errors[-1].mean(1) / (batch.normalizer * scale))
    ratio = torch.cat(errors).mean() / torch.cat(expected).mean()
    return 100 * torch.cat(nme).mean().item(), 100 * torch.cat(covered).float().mean().item(), ratio.item()


def _factor(detector: LandmarkDetector) -> Tensor:
    factors = [value for name, value in detector.named_buffers() if name.endswith("calibration.error_factor")]
    return factors[-1]


def main() -> int:
    """Calibrates, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="300-W in its official layout")
    parser.add_argument("--model", required=True, help="a detector with a Gaussian refiner")
    parser.add_argument("--output", type=Path, required=True, help="folder of the calibrated detector")
    parser.add_argument("--draws", type=int, default=1, help="crops of a face under a condition (default: 1)")
    args = parser.parse_args()

    detector = LandmarkDetector.from_pretrained(args.model)
    faces = faces_of(Extraction(str(args.root.resolve()), args.model), detector)
    before = {
        name: measure(detector, batches(faces["test"], detector, change, args.draws, place))
        for place, (name, change) in enumerate(CONDITIONS.items())
    }
    calibrate_refiner(
        detector,
        [
            list(batches(faces["held out"], detector, change, args.draws, 100 + place))
            for place, change in enumerate(CONDITIONS.values())
        ],
    )
    detector.save_pretrained(args.output)
    print(f"{'':12} {'NME':>8} {'coverage before':>16} {'coverage':>9} {'error / expected':>17}")
    for place, (name, change) in enumerate(CONDITIONS.items()):
        nme, covered, ratio = measure(detector, batches(faces["test"], detector, change, args.draws, place))
        print(f"{name:12} {nme:8.3f} {before[name][1]:16.1f} {covered:9.1f} {ratio:17.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
