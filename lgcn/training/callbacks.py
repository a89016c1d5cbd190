"""Callbacks of a training run: atomic checkpoints, and the export of the best model."""

import os
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import Tensor

from lgcn.checks import InputFileError
from lgcn.training.module import LandmarkModule
from lgcn.training.report_unreadable import ReportUnreadable

CHECKPOINT_DIR = "checkpoints"
LAST_CHECKPOINT = "last.ckpt"
MONITORED = "val/nme_percent"

_EVERY_EPOCH: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder and renames it.

    Lightning writes to the system's temporary folder first. Where that is on another disk, moving the file is a copy,
    and a run killed in the middle leaves half a file. Here a killed run leaves ``.<name>.part``, which no search for
    checkpoints finds and the next checkpoint replaces.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part_file = path.with_name(f".{path.name}.part")
        try:
            with part_file.open("wb") as file:
                torch.save(checkpoint, file)
                # Flushed before it is renamed: a power cut, too, leaves the old or the new file.
                file.flush()
                os.fsync(file.fileno())
            part_file.replace(path)
        finally:
            part_file.unlink(missing_ok=True)

    def load_checkpoint(self, path: _PATH, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Raise :class:`InputFileError` if a file is not a checkpoint of ``lgcn fit``."""
        try:
            checkpoint = super().load_checkpoint(path, *arguments, **options)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise InputFileError(f"Expected a checkpoint of 'lgcn fit' in '{path}' ({reason}).") from error
        if not isinstance(checkpoint, dict) or "detector_config" not in checkpoint:
            raise InputFileError(f"Expected a checkpoint of 'lgcn fit' in '{path}' (it has no 'detector_config').")
        return checkpoint


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the epoch with the lowest validation NME.

    An epoch whose NME is not a finite number is never the best. A run that is resumed in its own folder still knows its
    best epoch after the folder was moved or is given by another relative path; Lightning would forget it.
    """

    def __init__(self) -> None:
        super().__init__(monitor=MONITORED, mode="min", filename="best", **_EVERY_EPOCH)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        # Lightning would take NaN for the best value so far in the first epoch.
        return current is not None and bool(current.isfinite()) and super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best, score = Path(self.dirpath or ".") / "best.ckpt", state_dict["best_model_score"]
        if best.is_file() and score is not None:
            here = str(best)
            places = {"dirpath": self.dirpath, "best_model_path": here, "kth_best_model_path": here}
            state_dict = {**state_dict, **places, "best_k_models": {here: score}}
        super().load_state_dict(state_dict)


class ExportBestModel(Callback):
    """Writes the detector with the best weights as ``<log dir>/model/`` at the end of a run.

    Exports the last weights, with a warning on stderr, if no epoch had a finite validation NME.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log_dir = trainer.log_dir or trainer.default_root_dir
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        assert isinstance(pl_module, LandmarkModule)
        detector = deepcopy(pl_module.detector).cpu()
        best = _best_checkpoint(trainer)
        if best is not None:
            weights = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
            start = "detector."
            detector.load_state_dict({k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)})
        folder = Path(log_dir) / "model"
        detector.eval().to(memory_format=torch.contiguous_format).save_pretrained(folder)
        if best is None:
            print(
                f"lgcn: warning: no epoch has a finite validation NME ('{MONITORED}'), so no best epoch is known: the "
                "last weights are exported. Check the faces of the validation split.",
                file=sys.stderr,
            )
        print(f"Model with the {'last' if best is None else 'best'} weights: {folder}")


def default_callbacks() -> list[Callback]:
    """Best and last checkpoint, export of the best model, report of skipped images, log of the learning rates.

    ``last.ckpt`` has a separate callback because Lightning's ``save_last`` skips epochs whose metric is not among
    the best.
    """
    return [
        BestCheckpoint(),
        ModelCheckpoint(filename=Path(LAST_CHECKPOINT).stem, **_EVERY_EPOCH),
        ExportBestModel(),
        ReportUnreadable(),
        LearningRateMonitor(logging_interval="step"),
    ]


def find_last_checkpoint(root: str | Path) -> Path | None:
    """The newest ``last.ckpt`` of any run under ``root``, None if there is none."""
    found = Path(root).glob(f"**/{CHECKPOINT_DIR}/{LAST_CHECKPOINT}")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _best_checkpoint(trainer: Trainer) -> str | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and Path(callback.best_model_path).is_file():
            return callback.best_model_path
    return None
