"""Two processes on one machine (gloo) train and measure what one process does with the same global batch."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lgcn.backbones import BACKBONES
from lgcn.cli.main import main
from lgcn.models import read_config
from lgcn.training import LandmarkDataModule, LandmarkModule, LossConfig, ReportUnreadable

# Without batch normalisation, whose statistics are those of a process's own part of the batch, and in float64.
SCRIPT = """
import sys
from torch import nn
from lgcn.backbones import BACKBONES, ModuleBackbone
from lgcn.cli.main import main

def tiny(num_landmarks):
    first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    net = nn.Sequential(first, nn.Tanh(), nn.Conv2d(4, num_landmarks, 3, stride=2, padding=1))
    return ModuleBackbone(net, num_landmarks, feature_channels=num_landmarks, stride=4)

BACKBONES.register("tiny", tiny)
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""

# The faces stay inside their crops, so that both halves of a batch have as many heatmaps to be judged by.
CONFIG = """
preset: default
model:
  detector: {backbone: tiny, input_size: [32, 32], refiner: {hidden_channels: [8]}}
  loss: {heatmap: cross_entropy, initial_weight: 1.0}
  backbone_lr: 1.0e-2
  refiner_lr: 1.0e-2
data:
  num_workers: 0
  val_split: lfpw/testset
  on_corrupt: skip
  augmentation: {rotation: 0, scale: [0.8, 1.0], translation: 0}
trainer:
  max_epochs: 2
  accelerator: cpu
  precision: 64-true
  log_every_n_steps: 1
  enable_model_summary: false
  enable_progress_bar: false
"""


@pytest.fixture(scope="module")
def root(face_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine faces to train on, and five to validate on, of which the second process reads one that is cut off."""
    root = tmp_path_factory.mktemp("distributed")
    for number in range(14):
        folder = "afw" if number < 9 else "lfpw/testset"
        (root / "300w" / folder).mkdir(parents=True, exist_ok=True)
        for suffix in (".png", ".pts"):
            (source,) = face_root.rglob(f"{number:02d}{suffix}")
            shutil.copy(source, root / "300w" / folder)
    cut_off = root / "300w" / "lfpw/testset" / "12.png"
    cut_off.write_bytes(cut_off.read_bytes()[:500])
    (root / "fit_tiny.py").write_text(SCRIPT)
    (root / "tiny.yaml").write_text(CONFIG)
    return root


def start(
    root: Path, runs: str, *options: str, launcher: tuple[str, ...] = (sys.executable,)
) -> subprocess.CompletedProcess[str]:
    """Runs ``lgcn fit`` to its end, in processes of its own."""
    places = ["--data.root", str(root / "300w"), "--trainer.default_root_dir", str(root / runs)]
    return subprocess.run(
        [*launcher, str(root / "fit_tiny.py"), "fit", "--config", str(root / "tiny.yaml"), *places, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=600,
    )


def fit(root: Path, runs: str, *options: str, **launcher: tuple[str, ...]) -> tuple[Path, str]:
    """A run's folder and what it wrote to stderr."""
    done = start(root, runs, *options, **launcher)
    assert done.returncode == 0, done.stderr
    (run,) = (root / runs).iterdir()
    return run, done.stderr


@pytest.fixture(scope="module")
def alone(root: Path) -> Iterator[Path]:
    """The folder of the run of this process alone, which knows the network meanwhile."""
    runpy.run_path(str(root / "fit_tiny.py"))
    places = ["--data.root", str(root / "300w"), "--trainer.default_root_dir", str(root / "alone")]
    assert main(["fit", "--config", str(root / "tiny.yaml"), *places, "--data.batch_size", "4"]) == 0
    yield root / "alone" / "version_0"
    del BACKBONES._things["tiny"]


def figures(run: Path) -> dict[str, list[float]]:
    log = EventAccumulator(str(run))
    log.Reload()
    wanted = [tag for tag in log.Tags()["scalars"] if tag.startswith(("val/", "data/"))]
    return {tag: [point.value for point in log.Scalars(tag)] for tag in wanted}


def assert_same_run(run: Path, other: Path) -> None:
    one, two = (torch.load(each / "checkpoints" / "last.ckpt", weights_only=True) for each in (run, other))
    assert one["global_step"] == two["global_step"] == 4
    weights: dict[str, Any] = one["state_dict"]
    for name, value in weights.items():
        torch.testing.assert_close(value, two["state_dict"][name], rtol=0, atol=1e-9, msg=name)
    first, second = figures(run), figures(other)
    assert (
        first.keys()
        == second.keys()
        >= {
            *("val/nme_percent", "val/initial_nme_percent", "val/fr_percent", "val/auc", "data/unreadable"),
        }
    )
    for name, values in first.items():
        assert len(values) == 2
        assert values == pytest.approx(second[name], rel=1e-6), name
    assert first["data/unreadable"] == [1, 1]
    assert (run / "unreadable.txt").read_text() == (other / "unreadable.txt").read_text()


def test_two_processes_equal_one(root: Path, alone: Path) -> None:
    two = ("--data.batch_size", "2", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    run, err = fit(root, "two", *two)
    assert "Starting with 2 processes" in err
    assert "sync_dist" not in err
    assert err.count("lgcn: warning: ") == 2, "one line an epoch, not one a process"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert_same_run(alone, run)


@pytest.mark.slow
def test_a_gaussian_refiner_starts_from_the_same_statistics_in_each_process(root: Path) -> None:
    gaussian = ("--model.detector.refiner.name", "gaussian", "--model.detector.refiner.gaussian.rank", "2")
    one, _ = fit(root, "gaussian_one", *gaussian, "--data.batch_size", "4")
    two = ("--data.batch_size", "2", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    assert_same_run(one, fit(root, "gaussian_two", *gaussian, *two)[0])


@pytest.mark.slow
def test_torchrun_equals_one_process(root: Path, alone: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = ("--data.batch_size", "2", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    assert_same_run(alone, fit(root, "torchrun", *two, launcher=torchrun)[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_cut_off_image_in_either_process_is_one_message(root: Path, tmp_path: Path, seed: int) -> None:
    two = ("--data.batch_size", "2", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    stop = ("--data.on_corrupt", "stop", "--data.val_split", "afw", "--data.train_split", "lfpw/testset")
    run = start(root, str(tmp_path / "runs"), *two, *stop, "--seed_everything", str(seed))
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    messages = [line for line in run.stderr.splitlines() if line.startswith("lgcn: error: ")]
    assert len([line for line in messages if "12.png" in line]) == 1
    assert len(messages) == 1 or (len(messages) == 2 and any("another process" in line for line in messages))


@pytest.mark.slow
def test_the_validated_model_is_the_saved_one_with_batch_normalisation(root: Path) -> None:
    network = ("--model.detector.backbone", "test_efficientnet", "--trainer.precision", "32-true")
    two = ("--data.batch_size", "2", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    run, _ = fit(root, "normalised", *two, *network)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    module = LandmarkModule(read_config(checkpoint["detector_config"]), LossConfig(heatmap="cross_entropy"))
    module.load_state_dict(checkpoint["state_dict"])
    data = LandmarkDataModule(
        str(root / "300w"), val_split="lfpw/testset", input_size=(32, 32), num_workers=0, on_corrupt="skip"
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        default_root_dir=root / "again",
        callbacks=[ReportUnreadable()],
    )
    (found,) = trainer.validate(module, datamodule=data, verbose=False)
    logged = figures(run)
    for name in ("val/nme_percent", "val/initial_nme_percent"):
        assert found[name] == pytest.approx(logged[name][-1], rel=1e-4)
