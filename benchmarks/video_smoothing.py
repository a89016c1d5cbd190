"""Jitter, lag and accuracy of landmarks in video, with and without smoothing.

    python benchmarks/video_smoothing.py [--root DIR --split NAME --faces 3] [--frames 135] [--output FILE]

The videos are synthetic (``benchmarks/synthetic_video.py``): a face of an image on a known path, with pixel noise and
passing occluders, followed by :class:`lgcn.video.LandmarkTracker`. The astronaut of ``examples`` has no annotation;
its landmarks are those predicted in the still image. ``--root`` adds faces of 300-W, evenly spaced in the split;
``--split held-out`` takes the training faces that the recipe of ``lgcn-68`` holds out, on which options are chosen.

The same landmarks are smoothed by two rivals: the same filter without covariances, and a One-Euro filter (Casiez et al.
2012) of each landmark.

* jitter: mean length of the second difference of the error over time, in per cent of the distance between the eyes
* lag: the shift in time, in frames, by which the true landmarks come nearest to the predicted ones but for an offset of
  each; of the shift without smoothing, which is due to the path, only the excess is reported
* nme: mean error in per cent of the distance between the outer corners of the eyes; of frames with and without an
  occluder on the face, too
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Measure the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import OtherProcesses, environment, write_figures
from benchmarks.synthetic_video import FRAME_RATE, Conditions, synthetic_video
from lgcn.datasets import IBUG300W, LandmarkDataset
from lgcn.geometry import landmark_box
from lgcn.images import as_image_tensor
from lgcn.predict import LandmarkPredictor
from lgcn.video import KalmanSmoother, LandmarkTracker

ASTRONAUT = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"
EYES = (36, 45)
SMOOTHED = ("smoothed", "without_covariances", "one_euro")
_FIRST = 6
"""Frames at either end that are left out of the lag, for the shifted truth to exist."""


def faces_of(args: argparse.Namespace, predictor: LandmarkPredictor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, image [3, H, W] and landmarks [68, 2] of the faces."""
    image = as_image_tensor(ASTRONAUT)
    yield "astronaut", image, predictor(image)[0].landmarks
    if args.root is None:
        return
    dataset: LandmarkDataset
    if args.split == "held-out":
        # Imported only here: it needs Lightning.
        from lgcn.training import LandmarkDataModule

        data = LandmarkDataModule(args.root, input_size=predictor.detector.input_size)
        data.setup()
        dataset = data.val_faces
        dataset.transform = None
    else:
        dataset = IBUG300W(args.root, split=args.split)
    step = max(1, len(dataset) // args.faces)
    for index in range(step // 2, len(dataset), step)[: args.faces]:
        yield dataset.image_ids[dataset.indices()[index]], dataset[index].image[0], dataset[index].y


def follow(
    predictor: LandmarkPredictor,
    image: Tensor,
    pos: Tensor,
    conditions: Conditions,
    args: argparse.Namespace,
    seed: int,
) -> dict[str, Tensor]:
    """Landmarks [T, 68, 2] as predicted, smoothed and true, and which frames [T] have a covered landmark."""
    video = list(synthetic_video(image, pos, EYES, args.frames, conditions, seed))
    # The tracker is measured, not the face detector.
    predictor.prepare.face_detector = lambda _: landmark_box(video[0].target).float()[None]
    tracker = LandmarkTracker(predictor, detect_every=args.frames + 1, smoother=KalmanSmoother(args.strength))
    rows: dict[str, list[Tensor]] = {"measured": [], "smoothed": [], "target": [], "covered": []}
    for frame in video:
        (found,) = tracker(frame.image, frame.time)
        rows["measured"].append(found.measured)
        rows["smoothed"].append(found.face.landmarks)
        rows["target"].append(frame.target)
        rows["covered"].append(torch.tensor(frame.covered))
    found_all = {name: torch.stack(values) for name, values in rows.items()}
    rivals = {"without_covariances": unweighted, "one_euro": one_euro}
    return found_all | {name: smooth(found_all["measured"]) for name, smooth in rivals.items()}


def unweighted(pos: Tensor) -> Tensor:
    """Landmarks [T, K, 2], smoothed by the Kalman filter; all are as uncertain as they are on average."""
    smoother = KalmanSmoother(unknown=0.05)
    state = smoother.start(pos[:1])
    found = [state.pos]
    for each in pos[1:]:
        state = smoother.update(state, each[None], None, 1 / FRAME_RATE)
        found.append(state.pos)
    return torch.cat(found)


def one_euro(pos: Tensor, min_cutoff: float = 1.0, beta: float = 3.0) -> Tensor:
    """Landmarks [T, K, 2], smoothed by a One-Euro filter each; speeds in radii a second."""
    radius = (pos - pos.mean(dim=1, keepdim=True)).square().sum(-1).mean(-1).sqrt()[:, None, None]
    found, speed = [pos[0]], torch.zeros_like(pos[0])
    for each, size in zip(pos[1:], radius[1:], strict=True):
        share = 1 / (1 + FRAME_RATE / (2 * math.pi))
        speed = speed + share * ((each - found[-1]) * FRAME_RATE / size - speed)
        cutoff = min_cutoff + beta * speed.norm(dim=-1, keepdim=True)
        found.append(found[-1] + (each - found[-1]) / (1 + FRAME_RATE / (2 * math.pi * cutoff)))
    return torch.stack(found)


def jitter_percent(pos: Tensor, target: Tensor) -> float:
    """Mean length of the second differences of the errors [T, K, 2], in per cent of the mean eye distance."""
    error = pos - target
    return 100 * float((error[2:] - 2 * error[1:-1] + error[:-2]).norm(dim=-1).mean() / eye_distance(target).mean())


def eye_distance(target: Tensor) -> Tensor:
    """[T], between the outer corners of the eyes."""
    return (target[:, EYES[0]] - target[:, EYES[1]]).norm(dim=-1)


def lag_frames(pos: Tensor, target: Tensor) -> float:
    """The shift in time of landmarks [T, K, 2] against the truth, in steps of 0.02 frames."""
    shifts = torch.arange(-_FIRST + 1, _FIRST - 1, 0.02, dtype=torch.float64)
    inner = torch.arange(_FIRST, len(pos) - _FIRST)
    residuals = []
    for shift in shifts.tolist():
        place = inner - shift
        below = place.floor().long()
        share = (place - below)[:, None, None]
        error = pos[inner] - (target[below] * (1 - share) + target[below + 1] * share)
        residuals.append((error - error.mean(dim=0)).square().sum())
    return float(shifts[torch.stack(residuals).argmin()])


def figures_of(found: dict[str, Tensor]) -> dict[str, Any]:
    """All figures of one video."""
    target, covered = found["target"], found["covered"]
    result: dict[str, Any] = {}
    for name in ("measured", *SMOOTHED):
        nme = 100 * (found[name] - target).norm(dim=-1).mean(dim=1) / eye_distance(target)
        parts = {"nme_percent": nme, "nme_clear_percent": nme[~covered], "nme_covered_percent": nme[covered]}
        result[name] = {
            "jitter_percent": jitter_percent(found[name], target),
            "lag_frames": lag_frames(found[name], target),
        }
        result[name] |= {key: float(values.mean()) for key, values in parts.items() if len(values)}
    return result


def compare(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over videos, with what smoothing changes in jitter and lag."""
    means = {
        name: {key: sum(row[name][key] for row in rows) / len(rows) for key in rows[0][name]}
        for name in ("measured", *SMOOTHED)
    }
    before = means["measured"]
    for name in SMOOTHED:
        after = means[name]
        after["jitter_change_percent"] = 100 * (after["jitter_percent"] / before["jitter_percent"] - 1)
        after["added_lag_frames"] = after["lag_frames"] - before["lag_frames"]
    return means


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="300-W in its official layout")
    parser.add_argument("--split", default="lfpw/testset", help="of 300-W, or held-out (default: lfpw/testset)")
    parser.add_argument("--faces", type=int, default=3, help="of 300-W (default: 3)")
    parser.add_argument("--frames", type=int, default=135, help="of each video, 30 a second (default: 135)")
    parser.add_argument("--motion", type=float, nargs="+", default=[1.0], help="factors of the movement (default: 1)")
    parser.add_argument("--strength", type=float, default=1.0, help="of the smoothing (default: 1)")
    parser.add_argument("--model", default="lgcn-68", help="default: lgcn-68")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--output", type=Path, default=Path("video_smoothing.json"), help="default: video_smoothing.json"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    described, others, started = environment(), OtherProcesses(), time.perf_counter()
    predictor = LandmarkPredictor.from_pretrained(args.model)
    faces = list(faces_of(args, predictor))
    predictor.min_confidence = 0.0  # no face is lost: every frame counts
    results = []
    print("motion face                 landmarks            jitter           lag     NME covered")
    for motion in args.motion:
        rows = []
        for seed, (name, image, pos) in enumerate(faces):
            found = follow(predictor, image, pos, Conditions(motion=motion), args, seed)
            rows.append({"face": name, **figures_of(found)})
            _print(f"{motion:<6g} {name[-20:]:20}", compare(rows[-1:]))
        results.append({"motion": motion, "faces": rows, "all": compare(rows)})
        _print(f"{motion:<6g} {'all':20}", results[-1]["all"])
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "root")}
    header = {"benchmark": "video_smoothing", "settings": settings, "conditions": vars(Conditions())}
    seconds = {"others_share": others.share, "seconds": round(time.perf_counter() - started, 1)}
    write_figures(args.output, {**header, "environment": described, **seconds, "results": results, "left_out": []})


def _print(name: str, means: dict[str, Any]) -> None:
    for variant, found in means.items():
        change, lag = found.get("jitter_change_percent", 0.0), found.get("added_lag_frames", 0.0)
        nme, covered = found["nme_percent"], found.get("nme_covered_percent", math.nan)
        jitter = f"{found['jitter_percent']:5.2f} {f'({change:+.0f} %)':8}"
        print(f"{name} {variant:20} {jitter} {lag:+6.2f} {nme:7.2f} {covered:7.2f}", flush=True)


if __name__ == "__main__":
    main()
