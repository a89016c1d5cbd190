"""Run as a script by ``test_processes.py``: two processes judge half of the faces each, and write what both compute.

A process that is spawned imports the file that its function is in, which a test module cannot be under pytest's
importlib mode.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing
from torchmetrics import MetricCollection

from lgcn.metrics import ErrorPercentiles, PerLandmarkError, landmark_metrics


def all_metrics(num_landmarks: int) -> MetricCollection:
    parts = {
        **{f"{name}@{percent}": each for percent in (5, 8) for name, each in landmark_metrics(percent / 100).items()},
        "per_landmark": PerLandmarkError(num_landmarks),
        "percentiles": ErrorPercentiles(),
    }
    return MetricCollection(parts, compute_groups=False)


def judge(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    case = torch.load(f"{folder}/case.pt")
    metrics = all_metrics(case[0].shape[1])
    # Parts of different sizes, in batches of different sizes.
    faces = range(0, 30, 10) if rank == 0 else range(30, 50, 7)
    for start in faces:
        end = min(start + (10 if rank == 0 else 7), 50)
        metrics.update(*(part[start:end] for part in case))
    figures = {name: value.tolist() for name, value in metrics.compute().items()}
    Path(f"{folder}/{rank}.json").write_text(json.dumps(figures))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(judge, (sys.argv[1],), nprocs=2)
