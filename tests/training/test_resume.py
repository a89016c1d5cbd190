"""A run killed in the middle of an epoch and resumed ends where the uninterrupted one does, to the last digit."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lgcn.cli.main import main
from lgcn.models import LandmarkDetector
from lgcn.training import LandmarkModule, find_last_checkpoint

KILLED_IN_EPOCH_1 = """
import os, signal, sys
import torch
from lgcn.cli.main import main
from lgcn.training import LandmarkModule

step = LandmarkModule.training_step

def dying_step(self, batch, batch_idx):
    if self.current_epoch == 1 and batch_idx == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx) * torch.rand(())

LandmarkModule.training_step = dying_step
sys.exit(main(sys.argv[1:]))
"""

CONFIG = """
preset: default
seed_everything: 3
model:
  detector:
    backbone: test_efficientnet
    input_size: [32, 32]
    backbone_options: {head: pyramid, width: 8}
    refiner: {hidden_channels: [8]}
  loss: {heatmap: cross_entropy, initial_weight: 1.0}
  backbone_lr: 1.0e-3
  optimizer: adamw
  weight_decay: 0.01
  schedule: {name: SCHEDULE, milestones: [1, 2]}
data:
  batch_size: 4
  val_fraction: 0.25
  augmentation: {occlusion: 0.5}
trainer:
  max_epochs: 3
  accelerator: cpu
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
"""


def arguments(tmp_path: Path, face_root: Path, runs: str, *more: str, schedule: str = "one_cycle") -> list[str]:
    config = tmp_path / f"{schedule}.yaml"
    config.write_text(CONFIG.replace("SCHEDULE", schedule))
    places = ["--data.root", str(face_root), "--trainer.default_root_dir", str(tmp_path / runs)]
    return ["fit", "--config", str(config), *places, *more]


def assert_same(first: Any, second: Any, where: str = "") -> None:
    if isinstance(first, torch.Tensor):
        assert first.equal(second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for place, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}[{place}]")
    else:
        assert first == second, where


@pytest.mark.parametrize("schedule", ["one_cycle", "multistep"])
def test_a_killed_run_resumes_to_the_last_digit(
    tmp_path: Path, face_root: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    step = LandmarkModule.training_step
    # As a layer with dropout would, every step draws from the global generator, here and in the killed run.
    monkeypatch.setattr(LandmarkModule, "training_step", lambda *arguments: step(*arguments) * torch.rand(()))
    killed = arguments(tmp_path, face_root, "killed", "--data.num_workers", "2", schedule=schedule)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_IN_EPOCH_1, *killed], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    last = find_last_checkpoint(tmp_path / "killed")
    assert last is not None
    assert torch.load(last, weights_only=True)["epoch"] == 0
    (tmp_path / "killed").rename(tmp_path / "moved")

    resumed = arguments(
        tmp_path, face_root, "moved", "--data.num_workers", "0", "--ckpt_path", "last", schedule=schedule
    )
    assert main(resumed) == 0
    whole = arguments(tmp_path, face_root, "whole", "--data.num_workers", "0", schedule=schedule)
    assert main(whole) == 0

    runs = [find_last_checkpoint(tmp_path / name) for name in ("moved", "whole")]
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["version_0"], "it goes on in its own folder"
    one, other = (torch.load(path, weights_only=True) for path in runs if path is not None)
    assert one["epoch"] == 2
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(one[part], other[part], part)
    best = [torch.load(path.with_name("best.ckpt"), weights_only=True) for path in runs if path is not None]
    assert best[0]["epoch"] == best[1]["epoch"]
    exported = [LandmarkDetector.from_pretrained(path.parents[1] / "model") for path in runs if path is not None]
    assert_same(exported[0].state_dict(), exported[1].state_dict())


def test_last_without_a_run_starts_from_the_beginning(
    tmp_path: Path, face_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--data.num_workers", "0")
    assert main(arguments(tmp_path, face_root, "new", *once, "--ckpt_path", "last")) == 0
    assert "starting from the beginning" in capsys.readouterr().err
    assert find_last_checkpoint(tmp_path / "new") is not None


def test_the_newest_last_checkpoint_is_found(tmp_path: Path) -> None:
    assert find_last_checkpoint(tmp_path / "nothing") is None
    for age, version in ((30, 10), (10, 9), (20, 11)):
        path = tmp_path / f"version_{version}" / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert find_last_checkpoint(tmp_path) == tmp_path / "version_9" / "checkpoints" / "last.ckpt"
