"""``kill -9`` at random moments of ``lgcn fit`` leaves only checkpoints that can be read, and the run goes on.

Two kills, or ten where LGCN_FULL_TEST is set.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from lgcn.cli.main import main
from lgcn.models import LandmarkDetector
from lgcn.training import find_last_checkpoint

KILLS = 10 if "LGCN_FULL_TEST" in os.environ else 2
EPOCHS = 1000
CONFIG = """
preset: default
model:
  detector:
    backbone: test_efficientnet
    input_size: [32, 32]
    backbone_options: {head: pyramid, width: 8}
    refiner: {hidden_channels: [8]}
  loss: {heatmap: cross_entropy, initial_weight: 1.0}
  optimizer: adamw
data: {batch_size: 4, num_workers: 0, val_fraction: 0.25}
trainer: {accelerator: cpu, log_every_n_steps: 1, enable_progress_bar: false, enable_model_summary: false}
"""


class Runs:
    """Starts ``lgcn fit`` in processes that have imported everything already, and can be killed."""

    def __init__(self, folder: Path, faces: Path) -> None:
        self.folder = folder
        self.faces = faces
        (folder / "tiny.yaml").write_text(CONFIG)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["lgcn.cli.fit", "lgcn.cli.main"])

    def start(self, runs: str, epochs: int) -> BaseProcess:
        argv = ["fit", "--config", str(self.folder / "tiny.yaml"), "--data.root", str(self.faces)]
        argv += ["--trainer.default_root_dir", str(self.folder / runs), "--trainer.max_epochs", str(epochs)]
        process = self.context.Process(target=main, args=([*argv, "--ckpt_path", "last"],))
        process.start()
        return process

    def finish(self, runs: str, epochs: int) -> Path:
        """Runs to the end; the last checkpoint."""
        process = self.start(runs, epochs)
        process.join(300)
        assert process.exitcode == 0
        last = find_last_checkpoint(self.folder / runs)
        assert last is not None
        return last


@pytest.fixture
def runs(tmp_path: Path, face_root: Path) -> Iterator[Runs]:
    yield Runs(tmp_path, face_root)
    for process in multiprocessing.active_children():
        process.kill()


def modified(path: Path) -> float:
    """When the file came, 0 where there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def kill_at_random(process: BaseProcess, folder: Path, rng: random.Random) -> None:
    """After a time in which the run may be starting, training, validating or writing."""
    time.sleep(rng.uniform(0, 4))
    kill(process)


def kill_while_writing(process: BaseProcess, folder: Path, rng: random.Random) -> None:
    """While a checkpoint is half-written, some time after the run's first."""
    assert process.pid is not None
    start = time.time()
    moment = start + 120
    while process.is_alive():
        assert time.time() < start + 180
        first = max(map(modified, folder.rglob("last.ckpt")), default=0.0)
        if first > start and moment > start + 60:
            moment = time.time() + rng.uniform(0, 1)
        if time.time() > moment and next(folder.rglob(".*.ckpt.part"), None) is not None:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.01)
            if next(folder.rglob(".*.ckpt.part"), None) is not None:
                break
            os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.0005)
    kill(process)
    assert next(folder.rglob(".*.ckpt.part"), None) is not None


def kill(process: BaseProcess) -> None:
    assert process.is_alive(), "it has not ended by itself"
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def readable_epochs(folder: Path) -> dict[str, int]:
    """Reads every checkpoint there is; file -> epoch."""
    epochs = {}
    for path in sorted(folder.rglob("*.ckpt")):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        assert {"state_dict", "optimizer_states", "loops", "detector_config"} <= checkpoint.keys()
        LandmarkDetector.from_pretrained(path)
        epochs[str(path.relative_to(folder))] = checkpoint["epoch"]
    return epochs


def test_a_killed_run_always_resumes(runs: Runs) -> None:
    rng = random.Random(0)
    folder = runs.folder / "killed"
    before = -1
    for number in range(KILLS):
        process = runs.start("killed", EPOCHS)
        (kill_while_writing if number % 2 == 0 else kill_at_random)(process, folder, rng)
        epochs = readable_epochs(folder)
        last = find_last_checkpoint(folder)
        after = before if last is None else epochs[str(last.relative_to(folder))]
        print(f"kill {number + 1}: epoch {before} -> {after}, checkpoints {epochs}")
        assert after >= before
        if number % 2 == 0:
            assert after > before
        before = after

    ended = runs.finish("killed", before + 3)
    whole = runs.finish("whole", before + 3)
    one, other = (torch.load(path, weights_only=True) for path in (ended, whole))
    assert one["epoch"] == other["epoch"] == before + 2
    for name, value in one["state_dict"].items():
        assert value.equal(other["state_dict"][name]), name
    assert not list(folder.rglob(".*.part")), "what a killed run left has been replaced"
    LandmarkDetector.from_pretrained(ended.parents[1] / "model")
